"""Compute's policy rules: upstream's names and today's defaults.

Callers: administrators of the cloud or of compute; readers, members and managers of the project
that owns the thing; and who administers that project, for its quotas. All tokens are scoped to a
project (`scope_types`), as upstream.
A rule without a counterpart upstream, where any authenticated caller may act, is marked so.

In OpenStack: nova/policies/.
"""

from __future__ import annotations

from nubelet.kernel.policy import MONITOR, Rule

_ADMIN = "rule:context_is_admin"
_READER = "rule:project_reader_or_admin"
_MEMBER = "rule:project_member_or_admin"
_ANY = "@"
_KEY_OWNER = "(rule:context_is_admin) or user_id:%(user_id)s"
_SCOPE = ("project",)
_API = "os_compute_api:"
_ACTION = "/servers/{server_id}/action"


def _rule(name: str, check: str, description: str, *operations: tuple[str, str]) -> Rule:
    return Rule(name, check, description, operations, _SCOPE)


_BASE = (
    Rule(
        "context_is_admin",
        "role:admin or role:compute_admin",
        "Administrators of the cloud, and of this service",
    ),
    Rule(
        "project_admin",
        "role:project_admin and project_id:%(project_id)s",
        "The administrator of the project: of its quotas, no more",
    ),
    Rule(
        "project_manager_api",
        "role:manager and project_id:%(project_id)s",
        "Managers of the project",
    ),
    Rule(
        "project_member_api", "role:member and project_id:%(project_id)s", "Members of the project"
    ),
    Rule(
        "project_reader_api", "role:reader and project_id:%(project_id)s", "Readers of the project"
    ),
    Rule(
        "project_manager_or_admin",
        "rule:project_manager_api or rule:context_is_admin",
        "Managers of the project, and administrators",
    ),
    Rule(
        "project_member_or_admin",
        "rule:project_member_api or rule:context_is_admin",
        "Members of the project, and administrators",
    ),
    Rule(
        "project_reader_or_admin",
        "rule:project_reader_api or rule:context_is_admin",
        "Readers of the project, and administrators",
    ),
)

_FLAVORS = (
    # Upstream has no rule here: whoever is authenticated may look at flavors.
    _rule(
        f"{_API}flavors:list",
        _ANY,
        "List and show flavors",
        ("GET", "/flavors"),
        ("GET", "/flavors/detail"),
        ("GET", "/flavors/{flavor_id}"),
    ),
    _rule(f"{_API}os-flavor-manage:create", _ADMIN, "Create a flavor", ("POST", "/flavors")),
    _rule(
        f"{_API}os-flavor-manage:update",
        _ADMIN,
        "Change a flavor's description",
        ("PUT", "/flavors/{flavor_id}"),
    ),
    _rule(
        f"{_API}os-flavor-manage:delete",
        _ADMIN,
        "Delete a flavor",
        ("DELETE", "/flavors/{flavor_id}"),
    ),
    _rule(
        f"{_API}os-flavor-access",
        _ADMIN,
        "List the projects that may use a private flavor",
        ("GET", "/flavors/{flavor_id}/os-flavor-access"),
    ),
    _rule(
        f"{_API}os-flavor-access:add_tenant_access",
        _ADMIN,
        "Let a project use a flavor",
        ("POST", "/flavors/{flavor_id}/action"),
    ),
    _rule(
        f"{_API}os-flavor-access:remove_tenant_access",
        _ADMIN,
        "Let a project no longer use a flavor",
        ("POST", "/flavors/{flavor_id}/action"),
    ),
    _rule(
        f"{_API}os-flavor-extra-specs:index",
        _READER,
        "List a flavor's extra specs",
        ("GET", "/flavors/{flavor_id}/os-extra_specs"),
    ),
    _rule(
        f"{_API}os-flavor-extra-specs:show",
        _READER,
        "Show an extra spec of a flavor",
        ("GET", "/flavors/{flavor_id}/os-extra_specs/{key}"),
    ),
    _rule(
        f"{_API}os-flavor-extra-specs:create",
        _ADMIN,
        "Create extra specs of a flavor",
        ("POST", "/flavors/{flavor_id}/os-extra_specs"),
    ),
    _rule(
        f"{_API}os-flavor-extra-specs:update",
        _ADMIN,
        "Change an extra spec of a flavor",
        ("PUT", "/flavors/{flavor_id}/os-extra_specs/{key}"),
    ),
    _rule(
        f"{_API}os-flavor-extra-specs:delete",
        _ADMIN,
        "Delete an extra spec of a flavor",
        ("DELETE", "/flavors/{flavor_id}/os-extra_specs/{key}"),
    ),
)

_KEYPAIRS = (
    _rule(
        f"{_API}os-keypairs:index", _KEY_OWNER, "List a user's keypairs", ("GET", "/os-keypairs")
    ),
    _rule(
        f"{_API}os-keypairs:create",
        _KEY_OWNER,
        "Create a keypair of a user",
        ("POST", "/os-keypairs"),
    ),
    _rule(
        f"{_API}os-keypairs:show",
        _KEY_OWNER,
        "Show a keypair of a user",
        ("GET", "/os-keypairs/{keypair_name}"),
    ),
    _rule(
        f"{_API}os-keypairs:delete",
        _KEY_OWNER,
        "Delete a keypair of a user",
        ("DELETE", "/os-keypairs/{keypair_name}"),
    ),
)

_SERVERS = (
    _rule(f"{_API}servers:index", _READER, "List servers", ("GET", "/servers")),
    _rule(
        f"{_API}servers:detail", _READER, "List servers with details", ("GET", "/servers/detail")
    ),
    _rule(
        f"{_API}servers:index:get_all_tenants",
        _ADMIN,
        "List the servers of all projects",
        ("GET", "/servers"),
    ),
    _rule(
        f"{_API}servers:detail:get_all_tenants",
        _ADMIN,
        "List the servers of all projects with details",
        ("GET", "/servers/detail"),
    ),
    _rule(
        f"{_API}servers:allow_all_filters",
        _ADMIN,
        "Use all filters in lists of servers",
        ("GET", "/servers"),
        ("GET", "/servers/detail"),
    ),
    _rule(f"{_API}servers:show", _READER, "Show a server", ("GET", "/servers/{server_id}")),
    _rule(
        f"{_API}servers:show:flavor-extra-specs",
        _READER,
        "See the flavor's extra specs in a server",
    ),
    _rule(f"{_API}servers:show:host_status", _ADMIN, "See host_status in a server"),
    _rule(
        f"{_API}servers:show:host_status:unknown-only",
        _ADMIN,
        "See host_status in a server when it is UNKNOWN",
    ),
    _rule(f"{_API}servers:create", _MEMBER, "Create a server", ("POST", "/servers")),
    _rule(
        f"{_API}servers:create:forced_host",
        _ADMIN,
        "Force a server on a host (availability_zone zone:host)",
        ("POST", "/servers"),
    ),
    _rule(
        "compute:servers:create:requested_destination",
        _ADMIN,
        "Ask for a host or hypervisor_hostname",
        ("POST", "/servers"),
    ),
    _rule(
        f"{_API}servers:create:attach_volume",
        _MEMBER,
        "Create a server with a volume",
        ("POST", "/servers"),
    ),
    _rule(
        f"{_API}servers:create:attach_network",
        _MEMBER,
        "Create a server on named networks",
        ("POST", "/servers"),
    ),
    _rule(
        f"{_API}servers:create:trusted_certs",
        _MEMBER,
        "Create a server with trusted image certificates",
        ("POST", "/servers"),
    ),
    _rule(
        f"{_API}servers:create:zero_disk_flavor",
        _ADMIN,
        "Create a server from an image with a flavor without root disk",
        ("POST", "/servers"),
    ),
    _rule(
        "network:attach_external_network",
        _ADMIN,
        "Attach a server to an external network that is not shared",
    ),
    _rule(f"{_API}servers:update", _MEMBER, "Change a server", ("PUT", "/servers/{server_id}")),
    _rule(f"{_API}servers:delete", _MEMBER, "Delete a server", ("DELETE", "/servers/{server_id}")),
    _rule(f"{_API}servers:start", _MEMBER, "Start a server", ("POST", _ACTION)),
    _rule(f"{_API}servers:stop", _MEMBER, "Stop a server", ("POST", _ACTION)),
    _rule(f"{_API}servers:reboot", _MEMBER, "Reboot a server", ("POST", _ACTION)),
    _rule(f"{_API}servers:rebuild", _MEMBER, "Rebuild a server", ("POST", _ACTION)),
    _rule(
        f"{_API}servers:rebuild:trusted_certs",
        _MEMBER,
        "Rebuild a server with trusted image certificates",
        ("POST", _ACTION),
    ),
    _rule(
        f"{_API}servers:create_image",
        _MEMBER,
        "Make an image of a server",
        ("POST", _ACTION),
    ),
    _rule(f"{_API}os-create-backup", _MEMBER, "Make a backup of a server", ("POST", _ACTION)),
    _rule(f"{_API}os-pause-server:pause", _MEMBER, "Pause a server", ("POST", _ACTION)),
    _rule(f"{_API}os-pause-server:unpause", _MEMBER, "Unpause a server", ("POST", _ACTION)),
    _rule(f"{_API}os-suspend-server:suspend", _MEMBER, "Suspend a server", ("POST", _ACTION)),
    _rule(f"{_API}os-suspend-server:resume", _MEMBER, "Resume a server", ("POST", _ACTION)),
    _rule(f"{_API}os-lock-server:lock", _MEMBER, "Lock a server", ("POST", _ACTION)),
    _rule(f"{_API}os-lock-server:unlock", _MEMBER, "Unlock a server", ("POST", _ACTION)),
    _rule(
        f"{_API}os-lock-server:unlock:unlock_override",
        _ADMIN,
        "Unlock a server that an administrator locked, and act on locked servers",
        ("POST", _ACTION),
    ),
    _rule(
        f"{_API}os-deferred-delete:force",
        _MEMBER,
        "Force the deletion of a server",
        ("POST", _ACTION),
    ),
    _rule(
        f"{_API}os-admin-actions:reset_state",
        _ADMIN,
        "Set the state of a server by hand",
        ("POST", _ACTION),
    ),
    _rule(
        f"{_API}os-console-output", _MEMBER, "Read the console log of a server", ("POST", _ACTION)
    ),
    # With them goes the user data, which may hold secrets: not for monitors.
    _rule(
        f"{_API}os-extended-server-attributes", _ADMIN, "See OS-EXT-SRV-ATTR:* in servers"
    )._replace(monitored=False),
    _rule(
        f"{_API}ips:index",
        _READER,
        "List the addresses of a server",
        ("GET", "/servers/{server_id}/ips"),
    ),
    _rule(
        f"{_API}ips:show",
        _READER,
        "Show the addresses of a server on a network",
        ("GET", "/servers/{server_id}/ips/{network_label}"),
    ),
    _rule(
        f"{_API}os-server-diagnostics",
        _ADMIN,
        "See counters of a server",
        ("GET", "/servers/{server_id}/diagnostics"),
    ),
    _rule(
        "compute:server:topology:index",
        _READER,
        "Show the NUMA topology of a server",
        ("GET", "/servers/{server_id}/topology"),
    ),
    _rule(
        "compute:server:topology:host:index",
        _ADMIN,
        "See host nodes and pinning in the topology of a server",
        ("GET", "/servers/{server_id}/topology"),
    ),
    _rule(
        f"{_API}os-server-password:show",
        _READER,
        "Show the encrypted password of a server",
        ("GET", "/servers/{server_id}/os-server-password"),
    ),
    _rule(
        f"{_API}os-server-password:clear",
        _MEMBER,
        "Forget the encrypted password of a server",
        ("DELETE", "/servers/{server_id}/os-server-password"),
    ),
)

_PARTS_OF_SERVERS = (
    _rule(
        f"{_API}server-metadata:index",
        _READER,
        "List the metadata of a server",
        ("GET", "/servers/{server_id}/metadata"),
    ),
    _rule(
        f"{_API}server-metadata:show",
        _READER,
        "Show a metadata item of a server",
        ("GET", "/servers/{server_id}/metadata/{key}"),
    ),
    _rule(
        f"{_API}server-metadata:create",
        _MEMBER,
        "Add metadata of a server",
        ("POST", "/servers/{server_id}/metadata"),
    ),
    _rule(
        f"{_API}server-metadata:update_all",
        _MEMBER,
        "Replace the metadata of a server",
        ("PUT", "/servers/{server_id}/metadata"),
    ),
    _rule(
        f"{_API}server-metadata:update",
        _MEMBER,
        "Set a metadata item of a server",
        ("PUT", "/servers/{server_id}/metadata/{key}"),
    ),
    _rule(
        f"{_API}server-metadata:delete",
        _MEMBER,
        "Delete a metadata item of a server",
        ("DELETE", "/servers/{server_id}/metadata/{key}"),
    ),
    _rule(
        f"{_API}os-server-tags:index",
        _READER,
        "List the tags of a server",
        ("GET", "/servers/{server_id}/tags"),
    ),
    _rule(
        f"{_API}os-server-tags:show",
        _READER,
        "Ask whether a server has a tag",
        ("GET", "/servers/{server_id}/tags/{tag}"),
    ),
    _rule(
        f"{_API}os-server-tags:update",
        _MEMBER,
        "Add a tag to a server",
        ("PUT", "/servers/{server_id}/tags/{tag}"),
    ),
    _rule(
        f"{_API}os-server-tags:update_all",
        _MEMBER,
        "Replace the tags of a server",
        ("PUT", "/servers/{server_id}/tags"),
    ),
    _rule(
        f"{_API}os-server-tags:delete",
        _MEMBER,
        "Remove a tag from a server",
        ("DELETE", "/servers/{server_id}/tags/{tag}"),
    ),
    _rule(
        f"{_API}os-server-tags:delete_all",
        _MEMBER,
        "Remove all tags from a server",
        ("DELETE", "/servers/{server_id}/tags"),
    ),
    _rule(
        f"{_API}os-attach-interfaces:list",
        _READER,
        "List the interfaces of a server",
        ("GET", "/servers/{server_id}/os-interface"),
    ),
    _rule(
        f"{_API}os-attach-interfaces:show",
        _READER,
        "Show an interface of a server",
        ("GET", "/servers/{server_id}/os-interface/{port_id}"),
    ),
    _rule(
        f"{_API}os-attach-interfaces:create",
        _MEMBER,
        "Attach an interface to a server",
        ("POST", "/servers/{server_id}/os-interface"),
    ),
    _rule(
        f"{_API}os-attach-interfaces:delete",
        _MEMBER,
        "Detach an interface from a server",
        ("DELETE", "/servers/{server_id}/os-interface/{port_id}"),
    ),
    _rule(
        f"{_API}os-security-groups:list",
        _READER,
        "List the security groups of a server",
        ("GET", "/servers/{server_id}/os-security-groups"),
    ),
    _rule(
        f"{_API}os-security-groups:add",
        _MEMBER,
        "Add a security group to a server",
        ("POST", _ACTION),
    ),
    _rule(
        f"{_API}os-security-groups:remove",
        _MEMBER,
        "Remove a security group from a server",
        ("POST", _ACTION),
    ),
    _rule(
        f"{_API}os-instance-actions:list",
        _READER,
        "List the actions on a server",
        ("GET", "/servers/{server_id}/os-instance-actions"),
    ),
    _rule(
        f"{_API}os-instance-actions:show",
        _READER,
        "Show an action on a server",
        ("GET", "/servers/{server_id}/os-instance-actions/{request_id}"),
    ),
    _rule(
        f"{_API}os-instance-actions:events",
        _ADMIN,
        "See the events of an action before 2.51, and their tracebacks",
    ),
    _rule(
        f"{_API}os-instance-actions:events:details",
        _ADMIN,
        "See the details of the events of an action (2.84)",
    ),
)

_GROUPS_AND_QUOTAS = (
    _rule(
        f"{_API}os-server-groups:create",
        _MEMBER,
        "Create a server group",
        ("POST", "/os-server-groups"),
    ),
    _rule(
        f"{_API}os-server-groups:delete",
        _MEMBER,
        "Delete a server group",
        ("DELETE", "/os-server-groups/{server_group_id}"),
    ),
    _rule(
        f"{_API}os-server-groups:index", _READER, "List server groups", ("GET", "/os-server-groups")
    ),
    _rule(
        f"{_API}os-server-groups:index:all_projects",
        _ADMIN,
        "List the server groups of all projects",
        ("GET", "/os-server-groups"),
    ),
    _rule(
        f"{_API}os-server-groups:show",
        _READER,
        "Show a server group",
        ("GET", "/os-server-groups/{server_group_id}"),
    ),
    _rule(f"{_API}limits", _ANY, "Show the limits of the own project", ("GET", "/limits")),
    _rule(
        f"{_API}limits:other_project",
        _ADMIN,
        "Show the limits of another project",
        ("GET", "/limits"),
    ),
    _rule(
        f"{_API}os-quota-sets:show",
        f"{_READER} or rule:project_admin",
        "Show the quotas of a project",
        ("GET", "/os-quota-sets/{tenant_id}"),
    ),
    _rule(
        f"{_API}os-quota-sets:defaults",
        _ANY,
        "Show the default quotas",
        ("GET", "/os-quota-sets/{tenant_id}/defaults"),
    ),
    _rule(
        f"{_API}os-quota-sets:detail",
        f"{_READER} or rule:project_admin",
        "Show the quotas of a project and their use",
        ("GET", "/os-quota-sets/{tenant_id}/detail"),
    ),
    _rule(
        f"{_API}os-quota-sets:update",
        f"{_ADMIN} or rule:project_admin",
        "Set the quotas of a project",
        ("PUT", "/os-quota-sets/{tenant_id}"),
    ),
    _rule(
        f"{_API}os-quota-sets:delete",
        f"{_ADMIN} or rule:project_admin",
        "Give a project the default quotas again",
        ("DELETE", "/os-quota-sets/{tenant_id}"),
    ),
    _rule(
        f"{_API}os-quota-class-sets:show",
        _ADMIN,
        "Show the default quotas of a class",
        ("GET", "/os-quota-class-sets/{quota_class}"),
    ),
    _rule(
        f"{_API}os-quota-class-sets:update",
        _ADMIN,
        "Set the default quotas of a class",
        ("PUT", "/os-quota-class-sets/{quota_class}"),
    ),
    _rule(
        f"{_API}os-simple-tenant-usage:list",
        _ADMIN,
        "Show the usage of all projects",
        ("GET", "/os-simple-tenant-usage"),
    ),
    _rule(
        f"{_API}os-simple-tenant-usage:show",
        _READER,
        "Show the usage of a project",
        ("GET", "/os-simple-tenant-usage/{tenant_id}"),
    ),
    _rule(
        f"{_API}extensions",
        _ANY,
        "List the extensions of the API",
        ("GET", "/extensions"),
        ("GET", "/extensions/{alias}"),
    ),
)

_HOSTS = (
    _rule(f"{_API}os-hypervisors:list", _ADMIN, "List hypervisors", ("GET", "/os-hypervisors")),
    _rule(
        f"{_API}os-hypervisors:list-detail",
        _ADMIN,
        "List hypervisors with details",
        ("GET", "/os-hypervisors/detail"),
    ),
    _rule(
        f"{_API}os-hypervisors:statistics",
        _ADMIN,
        "Sum up all hypervisors",
        ("GET", "/os-hypervisors/statistics"),
    ),
    _rule(
        f"{_API}os-hypervisors:show",
        _ADMIN,
        "Show a hypervisor",
        ("GET", "/os-hypervisors/{hypervisor_id}"),
    ),
    _rule(
        f"{_API}os-hypervisors:uptime",
        _ADMIN,
        "Show the uptime of a hypervisor",
        ("GET", "/os-hypervisors/{hypervisor_id}/uptime"),
    ),
    _rule(
        f"{_API}os-hypervisors:search",
        _ADMIN,
        "Search hypervisors by name",
        ("GET", "/os-hypervisors/{hypervisor_hostname_pattern}/search"),
    ),
    _rule(
        f"{_API}os-hypervisors:servers",
        _ADMIN,
        "List the servers of hypervisors",
        ("GET", "/os-hypervisors/{hypervisor_hostname_pattern}/servers"),
    ),
    _rule(f"{_API}os-hosts:list", _ADMIN, "List hosts", ("GET", "/os-hosts")),
    _rule(f"{_API}os-hosts:show", _ADMIN, "Show a host", ("GET", "/os-hosts/{host_name}")),
    _rule(
        f"{_API}os-hosts:update",
        _ADMIN,
        "Enable or disable a host",
        ("PUT", "/os-hosts/{host_name}"),
    ),
    # These act, though by GET: not for monitors.
    _rule(
        f"{_API}os-hosts:start", _ADMIN, "Start a host", ("GET", "/os-hosts/{host_name}/startup")
    )._replace(monitored=False),
    _rule(
        f"{_API}os-hosts:shutdown",
        _ADMIN,
        "Shut a host down",
        ("GET", "/os-hosts/{host_name}/shutdown"),
    )._replace(monitored=False),
    _rule(
        f"{_API}os-hosts:reboot", _ADMIN, "Reboot a host", ("GET", "/os-hosts/{host_name}/reboot")
    )._replace(monitored=False),
    _rule(
        f"{_API}os-instance-usage-audit-log:list",
        _ADMIN,
        "Show the audits of usage",
        ("GET", "/os-instance_usage_audit_log"),
    ),
    _rule(
        f"{_API}os-instance-usage-audit-log:show",
        _ADMIN,
        "Show the audits of usage before a time",
        ("GET", "/os-instance_usage_audit_log/{before_timestamp}"),
    ),
    _rule(f"{_API}os-services:list", _ADMIN, "List compute services", ("GET", "/os-services")),
    _rule(
        f"{_API}os-services:update",
        _ADMIN,
        "Change a compute service",
        ("PUT", "/os-services/{service_id}"),
    ),
    _rule(
        f"{_API}os-services:delete",
        _ADMIN,
        "Forget a compute service",
        ("DELETE", "/os-services/{service_id}"),
    ),
    _rule(
        f"{_API}os-availability-zone:list",
        _ANY,
        "List availability zones",
        ("GET", "/os-availability-zone"),
    ),
    _rule(
        f"{_API}os-availability-zone:detail",
        _ADMIN,
        "List availability zones and their hosts",
        ("GET", "/os-availability-zone/detail"),
    ),
    _rule(f"{_API}os-aggregates:index", _ADMIN, "List aggregates", ("GET", "/os-aggregates")),
    _rule(
        f"{_API}os-aggregates:show",
        _ADMIN,
        "Show an aggregate",
        ("GET", "/os-aggregates/{aggregate_id}"),
    ),
    _rule(f"{_API}os-aggregates:create", _ADMIN, "Create an aggregate", ("POST", "/os-aggregates")),
    _rule(
        f"{_API}os-aggregates:update",
        _ADMIN,
        "Change an aggregate",
        ("PUT", "/os-aggregates/{aggregate_id}"),
    ),
    _rule(
        f"{_API}os-aggregates:delete",
        _ADMIN,
        "Delete an aggregate",
        ("DELETE", "/os-aggregates/{aggregate_id}"),
    ),
    _rule(
        f"{_API}os-aggregates:add_host",
        _ADMIN,
        "Add a host to an aggregate",
        ("POST", "/os-aggregates/{aggregate_id}/action"),
    ),
    _rule(
        f"{_API}os-aggregates:remove_host",
        _ADMIN,
        "Remove a host from an aggregate",
        ("POST", "/os-aggregates/{aggregate_id}/action"),
    ),
    _rule(
        f"{_API}os-aggregates:set_metadata",
        _ADMIN,
        "Change the metadata of an aggregate",
        ("POST", "/os-aggregates/{aggregate_id}/action"),
    ),
    _rule(
        "compute:aggregates:images",
        _ADMIN,
        "Have images in the caches of an aggregate's hosts",
        ("POST", "/os-aggregates/{aggregate_id}/images"),
    ),
    _rule(
        f"{_API}os-server-external-events:create",
        "role:service",
        "Tell compute that something happened to a server's network",
        ("POST", "/os-server-external-events"),
    ),
)

# What belongs to other services, whose own rules are asked as well.
_PROXIES = (
    _rule(
        f"{_API}os-security-groups:get",
        _READER,
        "List security groups",
        ("GET", "/os-security-groups"),
    ),
    _rule(
        f"{_API}os-security-groups:show",
        _READER,
        "Show a security group",
        ("GET", "/os-security-groups/{security_group_id}"),
    ),
    _rule(
        f"{_API}os-security-groups:create",
        _MEMBER,
        "Create a security group",
        ("POST", "/os-security-groups"),
    ),
    _rule(
        f"{_API}os-security-groups:update",
        _MEMBER,
        "Change a security group",
        ("PUT", "/os-security-groups/{security_group_id}"),
    ),
    _rule(
        f"{_API}os-security-groups:delete",
        _MEMBER,
        "Delete a security group",
        ("DELETE", "/os-security-groups/{security_group_id}"),
    ),
    _rule(
        f"{_API}os-security-groups:rule:create",
        _MEMBER,
        "Create a rule of a security group",
        ("POST", "/os-security-group-rules"),
    ),
    _rule(
        f"{_API}os-security-groups:rule:delete",
        _MEMBER,
        "Delete a rule of a security group",
        ("DELETE", "/os-security-group-rules/{security_group_rule_id}"),
    ),
    _rule(
        f"{_API}os-floating-ip-pools",
        _ANY,
        "List the networks floating IPs are taken from",
        ("GET", "/os-floating-ip-pools"),
    ),
    _rule(f"{_API}os-floating-ips:list", _READER, "List floating IPs", ("GET", "/os-floating-ips")),
    _rule(
        f"{_API}os-floating-ips:show",
        _READER,
        "Show a floating IP",
        ("GET", "/os-floating-ips/{floating_ip_id}"),
    ),
    _rule(
        f"{_API}os-floating-ips:create", _MEMBER, "Take a floating IP", ("POST", "/os-floating-ips")
    ),
    _rule(
        f"{_API}os-floating-ips:delete",
        _MEMBER,
        "Give a floating IP back",
        ("DELETE", "/os-floating-ips/{floating_ip_id}"),
    ),
    _rule(
        f"{_API}os-floating-ips:add", _MEMBER, "Lead a floating IP to a server", ("POST", _ACTION)
    ),
    _rule(
        f"{_API}os-floating-ips:remove",
        _MEMBER,
        "Lead a floating IP no longer to a server",
        ("POST", _ACTION),
    ),
    _rule(f"{_API}os-networks:list", _READER, "List networks", ("GET", "/os-networks")),
    _rule(
        f"{_API}os-networks:show", _READER, "Show a network", ("GET", "/os-networks/{network_id}")
    ),
    _rule(
        f"{_API}os-tenant-networks:list",
        _READER,
        "List the networks of a project",
        ("GET", "/os-tenant-networks"),
    ),
    _rule(
        f"{_API}os-tenant-networks:show",
        _READER,
        "Show a network of a project",
        ("GET", "/os-tenant-networks/{network_id}"),
    ),
    # Upstream has no rules here: the image service's own decide.
    _rule(
        f"{_API}images",
        _ANY,
        "List, show, change and delete images",
        ("GET", "/images"),
        ("GET", "/images/detail"),
        ("GET", "/images/{image_id}"),
        ("DELETE", "/images/{image_id}"),
        ("GET", "/images/{image_id}/metadata"),
        ("POST", "/images/{image_id}/metadata"),
        ("PUT", "/images/{image_id}/metadata"),
        ("GET", "/images/{image_id}/metadata/{key}"),
        ("PUT", "/images/{image_id}/metadata/{key}"),
        ("DELETE", "/images/{image_id}/metadata/{key}"),
    ),
)

RULES: tuple[Rule, ...] = (
    MONITOR,
    *_BASE,
    *_FLAVORS,
    *_KEYPAIRS,
    *_SERVERS,
    *_PARTS_OF_SERVERS,
    *_GROUPS_AND_QUOTAS,
    *_HOSTS,
    *_PROXIES,
)
