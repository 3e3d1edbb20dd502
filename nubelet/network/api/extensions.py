"""/extensions and /service-providers: what this cloud has of the Networking API.

An alias stands here only when all that it promises works.

API reference: https://docs.openstack.org/api-ref/network/v2/#extensions
"""

from __future__ import annotations

from typing import Any

from nubelet.kernel.context import Context
from nubelet.kernel.errors import NotFound
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.network.api.noun import authorize_list, chosen

# alias: (name, description, date of the extension's definition)
_EXTENSIONS: dict[str, tuple[str, str, str]] = {
    "address-scope": ("Address scope", "Groups of subnet pools without overlap", "2015-07-26"),
    "agent": ("agent", "The services that nodes run", "2013-02-03"),
    "agent_sort_key": ("Agents Sort Key", "Agents can be sorted", "2013-02-03"),
    "allowed-address-pairs": (
        "Allowed Address Pairs",
        "Further source addresses of a port",
        "2013-07-23",
    ),
    "availability_zone": ("Availability Zone", "Zones of networks and routers", "2015-01-01"),
    "availability_zone_filter": (
        "Availability Zone Filter Extension",
        "Zones can be filtered",
        "2018-06-22",
    ),
    "binding": ("Port Binding", "On which host a port is", "2014-02-03"),
    "default-subnetpools": (
        "Default Subnetpools",
        "A pool for subnets that name none",
        "2016-02-18",
    ),
    "dhcp_agent_scheduler": (
        "DHCP Agent Scheduler",
        "Which node serves DHCP of a network",
        "2013-02-07",
    ),
    "dns-integration": ("DNS Integration", "Names of ports", "2015-08-15"),
    "empty-string-filtering": (
        "Empty String Filtering Extension",
        "Filters match empty values",
        "2018-05-01",
    ),
    "ext-gw-mode": (
        "Neutron L3 Configurable external gateway mode",
        "Source translation of a router can be turned off",
        "2013-03-28",
    ),
    "external-net": ("Neutron external network", "Networks outside of the cloud", "2013-01-14"),
    "extra_dhcp_opt": ("Neutron Extra DHCP options", "DHCP options of a port", "2013-03-17"),
    "extraroute": ("Neutron Extra Route", "Static routes of a router", "2013-02-01"),
    "extraroute-atomic": (
        "Atomically add/remove extra routes",
        "Single routes are added and removed",
        "2019-07-10",
    ),
    "filter-validation": (
        "Filter parameters validation",
        "Unknown filters are refused",
        "2018-07-04",
    ),
    "fip-port-details": (
        "Floating IP Port Details Extension",
        "A floating IP shows its port",
        "2018-04-09",
    ),
    "ip-substring-filtering": (
        "IP address substring filtering",
        "Ports can be found by a part of an address",
        "2017-11-28",
    ),
    "l3_agent_scheduler": ("L3 Agent Scheduler", "Which node a router is on", "2013-02-07"),
    "net-mtu": ("Network MTU", "Networks show their MTU", "2015-03-25"),
    "net-mtu-writable": ("Network MTU (writable)", "The MTU of a network can be set", "2017-07-12"),
    "network-ip-availability": (
        "Network IP Availability",
        "How many addresses are left",
        "2015-09-24",
    ),
    "network_availability_zone": ("Network Availability Zone", "Zones of networks", "2015-01-01"),
    "pagination": ("Pagination support", "Lists come in pages", "2016-06-12"),
    "port-security": ("Port Security", "Filters of a port can be turned off", "2012-07-23"),
    "port-security-groups-filtering": (
        "Port filtering on security groups",
        "Ports can be found by their groups",
        "2018-01-09",
    ),
    "project-id": ("project_id field enabled", "project_id beside tenant_id", "2016-09-09"),
    "provider": ("Provider Network", "What carries a network", "2012-09-07"),
    "quota-check-limit": (
        "Quota engine limit check",
        "A limit below the usage can be refused",
        "2022-02-28",
    ),
    "quota_details": ("Quota details management support", "Usage beside limits", "2017-02-10"),
    "quotas": ("Quota management support", "Limits of projects", "2012-07-29"),
    "rbac-address-scope": (
        "Add address_scope type to RBAC",
        "Address scopes can be shared",
        "2020-07-16",
    ),
    "rbac-policies": ("RBAC Policies", "Networks can be shared", "2015-06-17"),
    "rbac-security-groups": (
        "Add security_group type to network RBAC",
        "Security groups can be shared",
        "2018-07-05",
    ),
    "rbac-subnetpool": ("Add subnetpool type to RBAC", "Subnet pools can be shared", "2020-07-16"),
    "router": ("Neutron L3 Router", "Routers and floating IPs", "2012-07-20"),
    "router_availability_zone": ("Router Availability Zone", "Zones of routers", "2015-01-01"),
    "security-group": ("security-group", "Filters of ports", "2012-10-05"),
    "security-groups-default-rules": (
        "Default rules for security groups",
        "What new groups begin with",
        "2022-12-16",
    ),
    "security-groups-normalized-cidr": (
        "Normalized CIDR field for security group rules",
        "Rules show their prefix without host bits",
        "2018-09-14",
    ),
    "security-groups-rules-belongs-to-default-sg": (
        "Security group rule belongs to the project's default security group",
        "Rules say so when their group is a default one",
        "2023-06-08",
    ),
    "security-groups-shared-filtering": (
        "Security group filtering on the shared field",
        "Shared groups can be found",
        "2021-10-05",
    ),
    "service-type": ("Neutron Service Type Management", "Who provides services", "2013-01-20"),
    "sorting": ("Sorting support", "Lists can be sorted", "2016-06-12"),
    "standard-attr-description": (
        "standard-attr-description",
        "Things have descriptions",
        "2016-02-10",
    ),
    "standard-attr-revisions": (
        "Resource revision numbers",
        "Things count their changes",
        "2016-04-11",
    ),
    "standard-attr-tag": (
        "Tag support for resources with standard attribute",
        "Things can have tags",
        "2017-01-01",
    ),
    "standard-attr-timestamp": (
        "Resource timestamps",
        "Things know when they changed",
        "2016-09-12",
    ),
    "stateful-security-group": ("Stateful security group", "Groups can be stateless", "2019-11-26"),
    "subnet-external-network": (
        "Subnet belongs to an external network",
        "Subnets say so when they lie outside",
        "2024-02-05",
    ),
    "subnet-service-types": (
        "Subnet service types",
        "Subnets for some kinds of ports only",
        "2016-03-15",
    ),
    "subnet_allocation": ("Subnet Allocation", "Subnets come from pools", "2015-03-30"),
    "subnetpool-prefix-ops": (
        "Subnet Pool Prefix Operations",
        "Single prefixes are added and removed",
        "2019-02-08",
    ),
    "tag": ("Tag support", "Networks can have tags", "2016-01-01"),
    "tag-ext": (
        "Tag support for resources: subnet, subnetpool, port, router",
        "More things can have tags",
        "2017-01-01",
    ),
    "tag-creation": ("Tag creation extension", "Several tags at once", "2024-07-23"),
    "tag-ports-during-bulk-creation": (
        "Tag Ports During Bulk Creation",
        "Ports are created with tags",
        "2019-12-29",
    ),
    "revision-if-match": (
        "If-Match constraints based on revision_number",
        "A change can name the revision it expects",
        "2016-12-11",
    ),
}


def _view(alias: str) -> dict[str, Any]:
    name, description, updated = _EXTENSIONS[alias]
    return {
        "alias": alias,
        "name": name,
        "description": description,
        "updated": f"{updated}T00:00:00-00:00",
        "links": [],
    }


def list_extensions(ctx: Context, request: Request) -> dict[str, Any]:
    """All extensions."""
    return {
        "extensions": chosen(
            [_view(alias) for alias in sorted(_EXTENSIONS)], request.query.get("fields", [])
        )
    }


def show_extension(ctx: Context, request: Request) -> dict[str, Any]:
    """One extension."""
    alias = request.params["alias"]
    if alias not in _EXTENSIONS:
        raise NotFound(
            message=f"Extension with alias {alias} does not exist", code="ExtensionNotFound"
        )
    return {"extension": _view(alias)}


def list_providers(ctx: Context, request: Request) -> dict[str, Any]:
    """Who provides which service."""
    authorize_list(ctx, "get_service_provider")
    if not ctx.allows("get_service_provider"):
        return {"service_providers": []}
    return {
        "service_providers": [{"service_type": "L3_ROUTER_NAT", "name": "nubelet", "default": True}]
    }


ROUTES = (
    Route(
        method="GET",
        path="/extensions",
        handler=list_extensions,
        rule="get_extension",
        summary="List extensions",
    ),
    Route(
        method="GET",
        path="/extensions/{alias}",
        handler=show_extension,
        rule="get_extension",
        summary="Show an extension",
    ),
    Route(
        method="GET",
        path="/service-providers",
        handler=list_providers,
        rule="get_service_provider",
        rule_needs_target=True,
        summary="List service providers",
    ),
)
