"""`/servers/{id}/os-interface`: the network cards of a server.

API reference: https://docs.openstack.org/api-ref/compute/#port-interfaces-servers-os-interface
"""

from __future__ import annotations

from typing import Any

from nubelet.compute import interfaces, servers
from nubelet.compute.api import schemas as s
from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route, by_version

_RULE = "os_compute_api:os-attach-interfaces:"
_IP: s.Schema = {"type": "string", "oneOf": [{"format": "ipv4"}, {"format": "ipv6"}]}
_FIELDS: s.Schema = {
    "net_id": s.UUID,
    "port_id": s.UUID,
    "fixed_ips": {
        "type": "array",
        "minItems": 1,
        "maxItems": 1,
        "items": s.obj({"ip_address": _IP}, ("ip_address",)),
    },
}
_ATTACH = by_version(
    ((2, 1), s.obj({"interfaceAttachment": s.obj(_FIELDS)})),
    ((2, 49), s.obj({"interfaceAttachment": s.obj(_FIELDS | {"tag": s.TAG})})),
)


def _view(ctx: Context, interface: interfaces.Interface) -> dict[str, Any]:
    port = interface.port
    shown: dict[str, Any] = {
        "net_id": port.network_id,
        "port_id": port.id,
        "mac_addr": port.mac,
        "port_state": port.status,
        "fixed_ips": [
            {"ip_address": address.ip, "subnet_id": address.subnet.id}
            for address in port.addresses
            if address.subnet is not None
        ],
    }
    if ctx.at_least(2, 70):
        shown["tag"] = interface.card.tag
    return shown


def list(ctx: Context, request: Request) -> object:
    """List the interfaces of a server."""
    with ctx.cloud.database.read() as tx:
        row = servers.find(ctx, tx, request.params["server_id"])
        ctx.authorize(target=servers.target_of(row))
        return {
            "interfaceAttachments": [_view(ctx, each) for each in interfaces.all_of(tx, row.id)]
        }


def show(ctx: Context, request: Request) -> object:
    """Show an interface of a server."""
    with ctx.cloud.database.read() as tx:
        row = servers.find(ctx, tx, request.params["server_id"])
        ctx.authorize(target=servers.target_of(row))
        found = interfaces.find(tx, row.id, request.params["port_id"])
    return {"interfaceAttachment": _view(ctx, found)}


def attach(ctx: Context, request: Request) -> object:
    """Attach an interface: a port, a network, or the only network there is."""
    given = (request.body or {}).get("interfaceAttachment") or {}
    with ctx.cloud.database.write() as tx:
        row = servers.find_to_change(ctx, tx, request.params["server_id"])
        made = interfaces.attach(ctx, tx, row, given)
    return {"interfaceAttachment": _view(ctx, made)}


def detach(ctx: Context, request: Request) -> object:
    """Detach an interface."""
    with ctx.cloud.database.write() as tx:
        row = servers.find_to_change(ctx, tx, request.params["server_id"])
        interfaces.detach(ctx, tx, row, request.params["port_id"])
    return Response(202)


_PATH = "/servers/{server_id}/os-interface"
_ITEM = "/servers/{server_id}/os-interface/{port_id}"
_SHOWN = s.answer("interfaceAttachment", {})

ROUTES = (
    Route(
        method="GET",
        path=_PATH,
        handler=list,
        rule=_RULE + "list",
        rule_needs_target=True,
        response={"type": "object", "properties": {"interfaceAttachments": {"type": "array"}}},
    ),
    Route(
        method="POST",
        path=_PATH,
        handler=attach,
        rule=_RULE + "create",
        rule_needs_target=True,
        body=_ATTACH,
        response=_SHOWN,
    ),
    Route(
        method="GET",
        path=_ITEM,
        handler=show,
        rule=_RULE + "show",
        rule_needs_target=True,
        response=_SHOWN,
    ),
    Route(
        method="DELETE",
        path=_ITEM,
        handler=detach,
        rule=_RULE + "delete",
        rule_needs_target=True,
        status=202,
    ),
)
