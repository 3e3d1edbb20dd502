"""Who may do what with networks: rule names and defaults as upstream has them.

`create_port` guards the operation, `create_port:mac_address` one attribute of it (looked at only
when a caller sets the attribute to something other than its default). The target of a rule holds
the attributes of the thing, of which rules use `project_id`, `device_owner`, `shared`,
`router:external`, and for ports and subnets `network:tenant_id`, the owner of their network.

In OpenStack: neutron/conf/policies.
"""

from __future__ import annotations

from collections.abc import Iterable

from nubelet.kernel.policy import MONITOR, Rule

_PROJECT = ("project",)
ADMIN = "rule:admin_only"
SERVICE = "rule:service_api"
ADMIN_OR_SERVICE = f"({ADMIN}) or ({SERVICE})"
MEMBER = "role:member and project_id:%(project_id)s"
READER = "role:reader and project_id:%(project_id)s"
# Who administers a project sets its quotas; `id` is the project's, none where all are listed.
_SETS_QUOTAS = f"{ADMIN} or (role:project_admin and project_id:%(id)s)"
ADMIN_OR_MEMBER = f"({ADMIN}) or ({MEMBER})"
ADMIN_OR_READER = f"({ADMIN}) or ({READER})"
NET_OWNER_MEMBER = "role:member and rule:network_owner"
NET_OWNER_READER = "role:reader and rule:network_owner"
SG_OWNER_MEMBER = "role:member and rule:sg_owner"
SG_OWNER_READER = "role:reader and rule:sg_owner"


def any_of(*checks: str) -> str:
    """Checks joined by `or`."""
    return " or ".join(f"({check})" if " " in check else check for check in checks)


_SHARED = (
    Rule(
        "context_is_admin",
        "role:admin or role:network_admin",
        "Administrators of the cloud, and of this service: they see the things of every project.",
    ),
    Rule("service_api", "role:service", "Calls between services."),
    Rule("owner", "tenant_id:%(tenant_id)s"),
    Rule("admin_or_owner", "rule:context_is_admin or rule:owner"),
    Rule("context_is_advsvc", "role:advsvc"),
    Rule("admin_or_network_owner", "rule:context_is_admin or rule:network_owner"),
    Rule("admin_owner_or_network_owner", "rule:owner or rule:admin_or_network_owner"),
    Rule("network_owner", "tenant_id:%(network:tenant_id)s"),
    Rule("admin_only", "rule:context_is_admin"),
    Rule("regular_user", ""),
    Rule("shared", "field:networks:shared=True", "The network is shared with everybody."),
    Rule("default", "rule:admin_or_owner"),
    Rule("admin_or_ext_parent_owner", "rule:context_is_admin or rule:ext_parent_owner"),
    Rule("ext_parent_owner", "tenant_id:%(ext_parent:tenant_id)s"),
    Rule("sg_owner", "tenant_id:%(security_group:tenant_id)s"),
    Rule("external", "field:networks:router:external=True", "The network is an external one."),
    Rule(
        "network_device",
        "field:port:device_owner=~^network:",
        "The port belongs to the network service itself.",
    ),
    Rule("shared_subnetpools", "field:subnetpools:shared=True"),
    Rule("shared_address_scopes", "field:address_scopes:shared=True"),
    Rule("shared_address_groups", "field:address_groups:shared=True"),
    Rule("shared_security_group", "field:security_groups:shared=True"),
    Rule("admin_or_sg_owner", "rule:context_is_admin or rule:sg_owner"),
    Rule("admin_owner_or_sg_owner", "rule:owner or rule:admin_or_sg_owner"),
    Rule(
        "restrict_wildcard",
        "(not field:rbac_policy:target_tenant=* and not field:rbac_policy:target_project=*)"
        f" or {ADMIN}",
    ),
)


def _noun(
    noun: str,
    collection: str,
    *,
    create: str = ADMIN_OR_MEMBER,
    get: str = ADMIN_OR_READER,
    update: str | None = ADMIN_OR_MEMBER,
    delete: str = ADMIN_OR_MEMBER,
    tags: bool = True,
) -> Iterable[Rule]:
    """The rules of the standard operations of one resource, and of its tags."""
    many, one = f"/{collection}", f"/{collection}/{{id}}"
    yield Rule(f"create_{noun}", create, f"Create {collection}", (("POST", many),), _PROJECT)
    yield Rule(
        f"get_{noun}", get, f"List and show {collection}", (("GET", many), ("GET", one)), _PROJECT
    )
    if update is not None:
        yield Rule(f"update_{noun}", update, f"Update {collection}", (("PUT", one),), _PROJECT)
    yield Rule(f"delete_{noun}", delete, f"Delete {collection}", (("DELETE", one),), _PROJECT)
    if tags:
        place = f"{one}/tags"
        yield Rule(f"create_{noun}:tags", create, "Add tags", (("POST", place),), _PROJECT)
        yield Rule(
            f"get_{noun}:tags",
            get,
            "List and check tags",
            (("GET", place), ("GET", f"{place}/{{tag}}")),
            _PROJECT,
        )
        yield Rule(
            f"update_{noun}:tags",
            update or delete,
            "Set tags",
            (("PUT", place), ("PUT", f"{place}/{{tag}}")),
            _PROJECT,
        )
        yield Rule(
            f"delete_{noun}:tags",
            delete,
            "Remove tags",
            (("DELETE", place), ("DELETE", f"{place}/{{tag}}")),
            _PROJECT,
        )


def _attributes(noun: str, verbs: str, check: str, *names: str) -> Iterable[Rule]:
    for verb in verbs.split():
        for name in names:
            yield Rule(f"{verb}_{noun}:{name}", check, f"Attribute {name}", (), _PROJECT)


_PROVIDER = ("provider:network_type", "provider:physical_network", "provider:segmentation_id")

_NETWORKS = (
    *_noun(
        "network", "networks", get=any_of(ADMIN_OR_READER, "rule:shared", "rule:external", SERVICE)
    ),
    *_attributes(
        "network",
        "create update",
        ADMIN,
        "shared",
        "router:external",
        "is_default",
        "segments",
        *_PROVIDER,
    ),
    *_attributes("network", "create update", ADMIN_OR_MEMBER, "port_security_enabled"),
    *_attributes("network", "get", ADMIN, "segments", *_PROVIDER),
)

_SUBNETS = (
    *_noun(
        "subnet",
        "subnets",
        create=any_of(ADMIN, NET_OWNER_MEMBER),
        get=any_of(ADMIN, READER, NET_OWNER_READER, "rule:shared", "rule:external", SERVICE),
        update=any_of(ADMIN, MEMBER, NET_OWNER_MEMBER),
        delete=any_of(ADMIN, MEMBER, NET_OWNER_MEMBER),
    ),
    *_attributes("subnet", "create update", ADMIN, "service_types"),
)

_PORT_OWNERSHIP = any_of(ADMIN_OR_SERVICE, NET_OWNER_MEMBER)
_PORTS = (
    *_noun(
        "port",
        "ports",
        create=any_of(ADMIN_OR_SERVICE, MEMBER),
        get=any_of(ADMIN_OR_SERVICE, NET_OWNER_READER, READER),
        update=any_of(ADMIN_OR_SERVICE, MEMBER),
        delete=any_of(ADMIN_OR_SERVICE, NET_OWNER_MEMBER, MEMBER),
    ),
    *_attributes(
        "port",
        "create update",
        any_of("not rule:network_device", ADMIN_OR_SERVICE, NET_OWNER_MEMBER),
        "device_owner",
    ),
    *_attributes(
        "port",
        "create",
        _PORT_OWNERSHIP,
        "mac_address",
        "fixed_ips:ip_address",
        "port_security_enabled",
    ),
    *_attributes(
        "port", "create", any_of(_PORT_OWNERSHIP, "rule:shared"), "fixed_ips", "fixed_ips:subnet_id"
    ),
    *_attributes("port", "update", ADMIN_OR_SERVICE, "mac_address"),
    *_attributes(
        "port",
        "update",
        _PORT_OWNERSHIP,
        "fixed_ips",
        "fixed_ips:ip_address",
        "port_security_enabled",
    ),
    *_attributes("port", "update", any_of(_PORT_OWNERSHIP, "rule:shared"), "fixed_ips:subnet_id"),
    *_attributes("port", "create update", ADMIN_OR_SERVICE, "binding:host_id"),
    *_attributes("port", "create update", SERVICE, "binding:profile"),
    *_attributes("port", "create update", any_of(ADMIN_OR_SERVICE, MEMBER), "binding:vnic_type"),
    *_attributes(
        "port",
        "create update",
        any_of(ADMIN, NET_OWNER_MEMBER),
        "allowed_address_pairs",
        "allowed_address_pairs:mac_address",
        "allowed_address_pairs:ip_address",
    ),
    *_attributes(
        "port",
        "get",
        ADMIN_OR_SERVICE,
        "binding:vif_type",
        "binding:vif_details",
        "binding:host_id",
        "binding:profile",
    ),
)

_GATEWAY = "external_gateway_info"
_ROUTERS = (
    *_noun("router", "routers"),
    *_attributes("router", "create update", ADMIN_OR_MEMBER, _GATEWAY, f"{_GATEWAY}:network_id"),
    *_attributes(
        "router",
        "create update",
        ADMIN,
        f"{_GATEWAY}:enable_snat",
        f"{_GATEWAY}:external_fixed_ips",
    ),
    *(
        Rule(
            name,
            ADMIN_OR_MEMBER,
            name.replace("_", " "),
            (("PUT", f"/routers/{{id}}/{name}"),),
            _PROJECT,
        )
        for name in (
            "add_router_interface",
            "remove_router_interface",
            "add_extraroutes",
            "remove_extraroutes",
        )
    ),
)

_FLOATING_IPS = (
    *_noun("floatingip", "floatingips"),
    *_attributes("floatingip", "create", ADMIN, "floating_ip_address"),
)

_SECURITY_GROUPS = (
    *_noun(
        "security_group",
        "security-groups",
        get=any_of(ADMIN_OR_READER, "rule:shared_security_group"),
    ),
    *_noun(
        "security_group_rule",
        "security-group-rules",
        tags=False,
        update=None,
        create=any_of(ADMIN_OR_MEMBER, SG_OWNER_MEMBER),
        get=any_of(ADMIN_OR_READER, SG_OWNER_READER),
        delete=any_of(ADMIN_OR_MEMBER, SG_OWNER_MEMBER),
    ),
    *_noun(
        "default_security_group_rule",
        "default-security-group-rules",
        tags=False,
        update=None,
        create=ADMIN,
        get=any_of(ADMIN, "role:reader"),
        delete=ADMIN,
    ),
)

_POOLS = (
    *_noun("subnetpool", "subnetpools", get=any_of(ADMIN_OR_READER, "rule:shared_subnetpools")),
    *_attributes("subnetpool", "create", ADMIN, "shared"),
    *_attributes("subnetpool", "create update", ADMIN, "is_default"),
    Rule(
        "add_prefixes",
        ADMIN_OR_MEMBER,
        "Add prefixes to a subnet pool",
        (("PUT", "/subnetpools/{id}/add_prefixes"),),
        _PROJECT,
    ),
    Rule(
        "remove_prefixes",
        ADMIN_OR_MEMBER,
        "Remove prefixes from a subnet pool",
        (("PUT", "/subnetpools/{id}/remove_prefixes"),),
        _PROJECT,
    ),
    *_noun(
        "address_scope",
        "address-scopes",
        tags=False,
        get=any_of(ADMIN_OR_READER, "rule:shared_address_scopes"),
    ),
    *_attributes("address_scope", "create update", ADMIN, "shared"),
)

_RBAC = (
    *_noun("rbac_policy", "rbac-policies", tags=False),
    *_attributes("rbac_policy", "create update", "rule:restrict_wildcard", "target_tenant"),
)


def _admin(name: str, description: str, *operations: tuple[str, str]) -> Rule:
    return Rule(name, ADMIN, description, operations, _PROJECT)


_AGENTS = (
    _admin("get_agent", "List and show agents", ("GET", "/agents"), ("GET", "/agents/{id}")),
    _admin("update_agent", "Update an agent", ("PUT", "/agents/{id}")),
    _admin("delete_agent", "Delete an agent", ("DELETE", "/agents/{id}")),
    _admin(
        "create_dhcp-network",
        "Add a network to a DHCP agent",
        ("POST", "/agents/{agent_id}/dhcp-networks"),
    ),
    _admin(
        "get_dhcp-networks",
        "List the networks of a DHCP agent",
        ("GET", "/agents/{agent_id}/dhcp-networks"),
    ),
    _admin(
        "delete_dhcp-network",
        "Remove a network from a DHCP agent",
        ("DELETE", "/agents/{agent_id}/dhcp-networks/{network_id}"),
    ),
    _admin(
        "create_l3-router", "Add a router to an L3 agent", ("POST", "/agents/{agent_id}/l3-routers")
    ),
    _admin(
        "get_l3-routers",
        "List the routers of an L3 agent",
        ("GET", "/agents/{agent_id}/l3-routers"),
    ),
    _admin(
        "delete_l3-router",
        "Remove a router from an L3 agent",
        ("DELETE", "/agents/{agent_id}/l3-routers/{router_id}"),
    ),
    _admin(
        "get_dhcp-agents",
        "List the DHCP agents of a network",
        ("GET", "/networks/{network_id}/dhcp-agents"),
    ),
    _admin(
        "get_l3-agents", "List the L3 agents of a router", ("GET", "/routers/{router_id}/l3-agents")
    ),
)

_REST = (
    Rule(
        "get_availability_zone",
        any_of(ADMIN, "role:reader"),
        "List availability zones",
        (("GET", "/availability_zones"),),
        _PROJECT,
    ),
    Rule(
        "get_service_provider",
        any_of(ADMIN, "role:reader"),
        "List service providers",
        (("GET", "/service-providers"),),
        _PROJECT,
    ),
    _admin(
        "get_network_ip_availability",
        "How many addresses a network has left",
        ("GET", "/network-ip-availabilities"),
        ("GET", "/network-ip-availabilities/{id}"),
    ),
    Rule(
        "get_quota",
        any_of(ADMIN, READER, "role:project_admin and project_id:%(project_id)s"),
        "Show quotas",
        (("GET", "/quotas"), ("GET", "/quotas/{id}")),
        _PROJECT,
    ),
    Rule("update_quota", _SETS_QUOTAS, "Change quotas", (("PUT", "/quotas/{id}"),), _PROJECT),
    Rule(
        "delete_quota",
        _SETS_QUOTAS,
        "Forget the quotas of a project",
        (("DELETE", "/quotas/{id}"),),
        _PROJECT,
    ),
    Rule("get_extension", "rule:regular_user", "List extensions", (("GET", "/extensions"),)),
)

RULES: tuple[Rule, ...] = (
    MONITOR,
    *_SHARED,
    *_NETWORKS,
    *_SUBNETS,
    *_PORTS,
    *_ROUTERS,
    *_FLOATING_IPS,
    *_SECURITY_GROUPS,
    *_POOLS,
    *_RBAC,
    *_AGENTS,
    *_REST,
)
