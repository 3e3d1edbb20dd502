"""`/servers`: list, show, create, update, delete.

API reference: https://docs.openstack.org/api-ref/compute/#servers-servers
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.compute import aggregates, server_actions, server_creation, servers
from nubelet.compute.api import schemas as s
from nubelet.compute.api import server_queries, server_schemas
from nubelet.compute.api.links import Links
from nubelet.compute.api.server_views import ServerViews, brief
from nubelet.compute.model import server
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.collections import Page, list_page, read_limit, render
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route

_RULE = "os_compute_api:servers:"
_SORT = (("created_at", "desc"), ("id", "desc"))
_BRIEF = (server.c.id, server.c.name)


def _page(ctx: Context, tx: Tx, request: Request, columns: Any) -> Page:
    request = server_queries.sortable(ctx, request)
    most = ctx.cloud.settings.limits.page_size
    limit = read_limit(request, most)
    conditions = server_queries.conditions(ctx, tx, request)
    if conditions is None or limit == 0:
        return Page([], False, limit, request.first("marker"))
    statement = sa.select(*columns).where(*conditions)
    return list_page(
        ctx,
        tx,
        request,
        server_queries.SERVERS,
        statement,
        default_sort=_SORT,
        max_limit=most,
        filtered=False,
        marker_scope=_markers(ctx),
    )


def _markers(ctx: Context) -> sa.ColumnElement[bool] | None:
    """Servers of others are no markers, or their existence would show."""
    return None if ctx.is_admin else server.c.project_id == ctx.project_id


def list(ctx: Context, request: Request) -> object:
    """List servers."""
    links = Links(ctx, request, "servers")
    with ctx.cloud.database.read() as tx:
        page = _page(ctx, tx, request, _BRIEF)
    return render(
        ctx, request, server_queries.SERVERS, page, [brief(row, links) for row in page.rows]
    )


def list_details(ctx: Context, request: Request) -> object:
    """List servers with details."""
    views = ServerViews(ctx, request, single=False)
    with ctx.cloud.database.read() as tx:
        page = _page(ctx, tx, request, server.c)
        views.prepare(tx, page.rows)
    return render(
        ctx, request, server_queries.SERVERS, page, [views.view(row) for row in page.rows]
    )


def show(ctx: Context, request: Request) -> object:
    """Show a server."""
    with ctx.cloud.database.read() as tx:
        row = servers.find(ctx, tx, request.params["server_id"])
        ctx.authorize(target=servers.target_of(row))
        return {"server": ServerViews(ctx, request).one(tx, row)}


def create(ctx: Context, request: Request) -> object:
    """Create one or more servers."""
    given = request.body["server"]
    hints = (
        request.body.get("os:scheduler_hints")
        or request.body.get("OS-SCH-HNT:scheduler_hints")
        or {}
    )
    with ctx.cloud.database.write() as tx:
        made = server_creation.create(ctx, tx, given, hints)
    if s.as_bool(given.get("return_reservation_id", False)):
        return Response(202, {"reservation_id": made.reservation_id})
    links = Links(ctx, request, "servers")
    server_id = made.server_ids[0]
    return Response(
        202,
        {
            "server": {
                "id": server_id,
                "links": links.of(server_id),
                "adminPass": made.admin_password,
                "OS-DCF:diskConfig": given.get("OS-DCF:diskConfig", "MANUAL"),
                "security_groups": [{"name": name} for name in made.security_groups],
            },
        },
        {"Location": links.itself(server_id)},
    )


def update(ctx: Context, request: Request) -> object:
    """Change name, description, host name, access addresses or pinned zone."""
    given = request.body["server"]
    with ctx.cloud.database.write() as tx:
        row = servers.find_to_change(ctx, tx, request.params["server_id"], locked=True)
        if "pinned_availability_zone" in given:
            _check_pin(tx, row, given["pinned_availability_zone"])
        servers.change(tx, row.id, ctx, **servers.plain_changes(given))
        changed = servers.find(ctx, tx, row.id)
        views = ServerViews(ctx, request, full=ctx.at_least(2, 75))
        return {"server": views.one(tx, changed)}


def _check_pin(tx: Tx, row: Any, zone: str | None) -> None:
    """A server can be pinned only to the zone that it is in."""
    if zone is None:
        return
    present = aggregates.zones(tx).get(row.host) if row.host else None
    if zone != present:
        raise BadRequest(
            f"Server {row.id} is in availability zone {present}: it cannot be pinned to {zone}."
        )


def delete(ctx: Context, request: Request) -> object:
    """Delete a server, whatever it is doing."""
    with ctx.cloud.database.write() as tx:
        row = servers.find_to_change(ctx, tx, request.params["server_id"])
        server_actions.delete(ctx, tx, row)
    return Response(204)


_LISTED: s.Schema = {"type": "object", "properties": {"servers": {"type": "array"}}}
_SHOWN = s.answer("server", {})
_ITEM = "/servers/{server_id}"

ROUTES = (
    Route(
        method="GET",
        path="/servers",
        handler=list,
        rule=_RULE + "index",
        query=server_queries.QUERY,
        response=_LISTED,
    ),
    Route(
        method="GET",
        path="/servers/detail",
        handler=list_details,
        rule=_RULE + "detail",
        query=server_queries.QUERY,
        response=_LISTED,
    ),
    Route(
        method="POST",
        path="/servers",
        handler=create,
        rule=_RULE + "create",
        body=server_schemas.create_body,
        status=202,
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
        method="PUT",
        path=_ITEM,
        handler=update,
        rule=_RULE + "update",
        rule_needs_target=True,
        body=server_schemas.update_body,
        response=_SHOWN,
    ),
    Route(
        method="DELETE",
        path=_ITEM,
        handler=delete,
        rule=_RULE + "delete",
        rule_needs_target=True,
        status=204,
    ),
)
