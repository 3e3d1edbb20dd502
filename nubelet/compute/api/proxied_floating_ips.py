"""`/os-floating-ips`, `/os-floating-ip-pools` (until 2.35); addFloatingIp, removeFloatingIp (2.43).

API reference: https://docs.openstack.org/api-ref/compute/
#floating-ips-os-floating-ips-deprecated
"""

from __future__ import annotations

from nubelet.compute import proxied_floating_ips as proxied
from nubelet.compute import servers
from nubelet.compute.api import schemas as s
from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route

_RULE, _UNTIL, _ACTIONS_UNTIL = "os_compute_api:os-floating-ips:", (2, 35), (2, 43)
_ADDRESS: s.Schema = {"type": "string", "format": "ip"}
_ADD = s.wrapped(
    "addFloatingIp", s.obj({"address": _ADDRESS, "fixed_address": _ADDRESS}, ("address",))
)
_REMOVE = s.wrapped("removeFloatingIp", s.obj({"address": _ADDRESS}, ("address",)))


def list_pools(ctx: Context, request: Request) -> object:
    """List the networks that floating IPs are taken from."""
    with ctx.cloud.database.read() as tx:
        found = proxied.pools(ctx, tx)
    return {"floating_ip_pools": [{"name": each["name"] or each["id"]} for each in found]}


def list(ctx: Context, request: Request) -> object:
    """List the floating IPs of the project."""
    with ctx.cloud.database.read() as tx:
        return {"floating_ips": proxied.floating_ips(ctx, tx)}


def show(ctx: Context, request: Request) -> object:
    """Show a floating IP."""
    with ctx.cloud.database.read() as tx:
        return {"floating_ip": proxied.floating_ip(ctx, tx, request.params["floating_ip_id"])}


def create(ctx: Context, request: Request) -> object:
    """Take a floating IP."""
    pool = request.body.get("pool") if isinstance(request.body, dict) else None
    with ctx.cloud.database.write() as tx:
        return {"floating_ip": proxied.create(ctx, tx, None if pool is None else str(pool))}


def delete(ctx: Context, request: Request) -> object:
    """Give a floating IP back."""
    with ctx.cloud.database.write() as tx:
        proxied.delete(ctx, tx, request.params["floating_ip_id"])
    return Response(202)


def add(ctx: Context, request: Request) -> object:
    """Lead a floating IP to a server."""
    given = request.body["addFloatingIp"]
    with ctx.cloud.database.write() as tx:
        row = servers.find_to_change(ctx, tx, request.params["server_id"], locked=True)
        proxied.add(ctx, tx, row, given["address"], given.get("fixed_address"))
    return Response(202)


def remove(ctx: Context, request: Request) -> object:
    """Lead a floating IP no longer to a server."""
    with ctx.cloud.database.write() as tx:
        row = servers.find_to_change(ctx, tx, request.params["server_id"], locked=True)
        proxied.remove(ctx, tx, row, request.body["removeFloatingIp"]["address"])
    return Response(202)


_PATH, _ONE = "/os-floating-ips", "/os-floating-ips/{floating_ip_id}"
_SHOWN = s.answer("floating_ip", {})

ROUTES = (
    Route(
        method="GET",
        path="/os-floating-ip-pools",
        handler=list_pools,
        until=_UNTIL,
        rule="os_compute_api:os-floating-ip-pools",
        response={
            "type": "object",
            "properties": {"floating_ip_pools": s.array(s.obj({"name": {"type": "string"}}))},
        },
    ),
    Route(
        method="GET",
        path=_PATH,
        handler=list,
        rule=_RULE + "list",
        until=_UNTIL,
        response={"type": "object", "properties": {"floating_ips": s.array(s.obj({}, extra=True))}},
    ),
    Route(
        method="POST",
        path=_PATH,
        handler=create,
        rule=_RULE + "create",
        until=_UNTIL,
        response=_SHOWN,
    ),
    Route(
        method="GET", path=_ONE, handler=show, rule=_RULE + "show", until=_UNTIL, response=_SHOWN
    ),
    Route(
        method="DELETE", path=_ONE, handler=delete, rule=_RULE + "delete", until=_UNTIL, status=202
    ),
    Route(
        method="POST",
        path="/servers/{server_id}/action",
        action="addFloatingIp",
        handler=add,
        rule=_RULE + "add",
        rule_needs_target=True,
        until=_ACTIONS_UNTIL,
        body=_ADD,
        status=202,
    ),
    Route(
        method="POST",
        path="/servers/{server_id}/action",
        action="removeFloatingIp",
        handler=remove,
        rule=_RULE + "remove",
        rule_needs_target=True,
        until=_ACTIONS_UNTIL,
        body=_REMOVE,
        status=202,
    ),
)
