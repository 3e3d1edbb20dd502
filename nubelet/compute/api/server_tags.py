"""`/servers/{id}/tags` (2.26): short words by which servers are found.

API reference: https://docs.openstack.org/api-ref/compute/#server-tags-servers-tags
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nubelet.compute import servers, states
from nubelet.compute.api import schemas as s
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route
from nubelet.kernel.http.schemas import check

_RULE = "os_compute_api:os-server-tags:"
_SINCE = (2, 26)
_TAGS = s.wrapped("tags", {**s.TAGS, "uniqueItems": False})


def _read(ctx: Context, request: Request) -> list[str]:
    with ctx.cloud.database.read() as tx:
        row = servers.find(ctx, tx, request.params["server_id"])
        ctx.authorize(target=servers.target_of(row))
        return servers.tags_of(tx, [row.id]).get(row.id, [])


def _write(
    ctx: Context,
    request: Request,
    change: Callable[[list[str]], list[str]],
) -> tuple[list[str], list[str]]:
    """Replace the tags by what `change` makes of them; returns those before and after."""
    with ctx.cloud.database.write() as tx:
        row = servers.find_to_change(ctx, tx, request.params["server_id"], locked=True)
        states.require("update tag", row)
        present = servers.tags_of(tx, [row.id]).get(row.id, [])
        after = servers.set_tags(tx, row.id, change(present))
        servers.change(tx, row.id, ctx)
    return present, after


def show_all(ctx: Context, request: Request) -> object:
    """List the tags."""
    return {"tags": _read(ctx, request)}


def show(ctx: Context, request: Request) -> object:
    """204 when the server has the tag, 404 when not."""
    tag = request.params["tag"]
    if tag not in _read(ctx, request):
        raise NotFound(message=f"Server {request.params['server_id']} has no tag '{tag}'")
    return Response(204)


def add(ctx: Context, request: Request) -> object:
    """Add a tag: 201 when it is new, 204 when it was there."""
    tag = request.params["tag"]
    try:
        check(s.TAG, tag, "body")
    except BadRequest:
        raise BadRequest(
            f"Tag '{tag}' is invalid. It must be a non empty string without "
            "characters '/' and ',' of at most 60 characters."
        ) from None
    present, _ = _write(ctx, request, lambda before: [*before, tag])
    if tag in present:
        return Response(204)
    return Response(201, headers={"Location": request.url})


def replace(ctx: Context, request: Request) -> object:
    """Replace all tags."""
    _, after = _write(ctx, request, lambda present: request.body["tags"])
    return {"tags": after}


def delete(ctx: Context, request: Request) -> object:
    """Remove a tag."""
    tag = request.params["tag"]

    def without(present: list[str]) -> list[str]:
        if tag not in present:
            raise NotFound(message=f"Server {request.params['server_id']} has no tag '{tag}'")
        return [each for each in present if each != tag]

    _write(ctx, request, without)
    return Response(204)


def delete_all(ctx: Context, request: Request) -> object:
    """Remove all tags."""
    _write(ctx, request, lambda present: [])
    return Response(204)


def _route(method: str, handler: Any, rule: str, *, item: bool, **more: Any) -> Route:
    path = "/servers/{server_id}/tags" + ("/{tag}" if item else "")
    return Route(
        method=method,
        path=path,
        handler=handler,
        rule=_RULE + rule,
        since=_SINCE,
        rule_needs_target=True,
        **more,
    )


ROUTES = (
    _route("GET", show_all, "index", item=False, response=_TAGS),
    _route("PUT", replace, "update_all", item=False, body=_TAGS, response=_TAGS),
    _route("DELETE", delete_all, "delete_all", item=False, status=204),
    _route("GET", show, "show", item=True, status=204),
    _route("PUT", add, "update", item=True, status=201),
    _route("DELETE", delete, "delete", item=True, status=204),
)
