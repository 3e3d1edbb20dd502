"""The version documents: / and /v2.0."""

from __future__ import annotations

from typing import Any

from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route

COLLECTIONS = (
    ("subnet", "subnets"),
    ("network", "networks"),
    ("port", "ports"),
    ("router", "routers"),
    ("floatingip", "floatingips"),
    ("security_group", "security-groups"),
    ("security_group_rule", "security-group-rules"),
    ("subnetpool", "subnetpools"),
    ("address_scope", "address-scopes"),
    ("rbac_policy", "rbac-policies"),
    ("agent", "agents"),
    ("availability_zone", "availability_zones"),
    ("quota", "quotas"),
    ("extension", "extensions"),
    ("service_provider", "service-providers"),
    ("network_ip_availability", "network-ip-availabilities"),
    ("default_security_group_rule", "default-security-group-rules"),
)


def versions(ctx: Context, request: Request) -> dict[str, Any]:
    """The versions of the API."""
    url = f"{ctx.base_url}/network/v2.0/"
    return {
        "versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": url}]}]
    }


def resources(ctx: Context, request: Request) -> dict[str, Any]:
    """The collections of version 2.0."""
    base = f"{ctx.base_url}/network/v2.0"
    return {
        "resources": [
            {
                "name": name,
                "collection": collection,
                "links": [{"rel": "self", "href": f"{base}/{collection}"}],
            }
            for name, collection in COLLECTIONS
        ]
    }


ROUTES = (
    Route(
        method="GET", path="/", handler=versions, open=True, prefixed=False, summary="List versions"
    ),
    Route(method="GET", path="/", handler=resources, open=True, summary="Show version 2.0"),
)
