"""`/os-networks` and `/os-tenant-networks` (until 2.35): names and ids of networks.

Most attributes are of networks as compute once made them itself; they are null. The network
service's API tells the rest.

API reference: https://docs.openstack.org/api-ref/compute/#networks-os-networks-deprecated
"""

from __future__ import annotations

from typing import Any

from nubelet import network
from nubelet.compute.api import schemas as s
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route

_RULE, _TENANT_RULE = "os_compute_api:os-networks:", "os_compute_api:os-tenant-networks:"
_UNTIL = (2, 35)
_NULLS = (
    "cidr",
    "netmask",
    "gateway",
    "broadcast",
    "dns1",
    "dns2",
    "cidr_v6",
    "gateway_v6",
    "netmask_v6",
)
_NULLS_FOR_ADMINISTRATORS = (
    "bridge",
    "bridge_interface",
    "created_at",
    "deleted",
    "deleted_at",
    "dhcp_server",
    "dhcp_start",
    "enable_dhcp",
    "host",
    "injected",
    "multi_host",
    "priority",
    "project_id",
    "rxtx_base",
    "share_address",
    "updated_at",
    "vlan",
    "vpn_private_address",
    "vpn_public_address",
    "vpn_public_port",
)


def _networks(ctx: Context, tx: Tx) -> Any:
    return network.list_resources(ctx.within("network"), tx, "networks")


def _network(ctx: Context, tx: Tx, network_id: str) -> Any:
    try:
        return network.show_resource(ctx.within("network"), tx, "networks", network_id)
    except NotFound:
        raise NotFound(message=f"Network {network_id} not found") from None


def _view(ctx: Context, each: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": each["id"], "label": each["name"], **dict.fromkeys(_NULLS)}
    if ctx.is_admin:
        shown |= {**dict.fromkeys(_NULLS_FOR_ADMINISTRATORS), "mtu": each["mtu"]}
    return shown


def _tenant_view(each: dict[str, Any]) -> dict[str, Any]:
    # Old clients expect text, and get the text that they always got.
    return {"id": each["id"], "label": each["name"], "cidr": "None"}


def list(ctx: Context, request: Request) -> object:
    """List networks."""
    with ctx.cloud.database.read() as tx:
        return {"networks": [_view(ctx, each) for each in _networks(ctx, tx)]}


def show(ctx: Context, request: Request) -> object:
    """Show a network."""
    with ctx.cloud.database.read() as tx:
        return {"network": _view(ctx, _network(ctx, tx, request.params["network_id"]))}


def list_of_project(ctx: Context, request: Request) -> object:
    """List the networks that a project may use."""
    with ctx.cloud.database.read() as tx:
        return {"networks": [_tenant_view(each) for each in _networks(ctx, tx)]}


def show_of_project(ctx: Context, request: Request) -> object:
    """Show a network that a project may use."""
    with ctx.cloud.database.read() as tx:
        return {"network": _tenant_view(_network(ctx, tx, request.params["network_id"]))}


_LISTED: s.Schema = {"type": "object", "properties": {"networks": s.array(s.obj({}, extra=True))}}
_SHOWN = s.answer("network", {})

ROUTES = (
    Route(
        method="GET",
        path="/os-networks",
        handler=list,
        rule=_RULE + "list",
        until=_UNTIL,
        response=_LISTED,
    ),
    Route(
        method="GET",
        path="/os-networks/{network_id}",
        handler=show,
        rule=_RULE + "show",
        until=_UNTIL,
        response=_SHOWN,
    ),
    Route(
        method="GET",
        path="/os-tenant-networks",
        handler=list_of_project,
        rule=_TENANT_RULE + "list",
        until=_UNTIL,
        response=_LISTED,
    ),
    Route(
        method="GET",
        path="/os-tenant-networks/{network_id}",
        handler=show_of_project,
        rule=_TENANT_RULE + "show",
        until=_UNTIL,
        response=_SHOWN,
    ),
)
