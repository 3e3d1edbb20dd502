"""`/os-server-groups`: list, show, create, delete.

What a group has:  2.1    policies (one of affinity, anti-affinity), metadata
                   2.13   project and user
                   2.15   soft-affinity, soft-anti-affinity
                   2.64   policy and rules instead of policies and metadata

API reference: https://docs.openstack.org/api-ref/compute/#server-groups-os-server-groups
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.compute import server_groups
from nubelet.compute.api import schemas as s
from nubelet.compute.model import server_group
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.collections import read_limit
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route, by_version

_RULE = "os_compute_api:os-server-groups:"
_HARD = ("affinity", "anti-affinity")
_ONE_NUMBER: s.Schema = {**s.NUMBERS, "maxItems": 1}
_FILTERS: s.Schema = {"all_projects": s.ANY_VALUES, "limit": s.NUMBERS, "offset": s.NUMBERS}
_QUERY = by_version(
    ((2, 1), s.query(_FILTERS)),
    (
        (2, 75),
        s.query(
            {"all_projects": s.ONE_VALUE, "limit": _ONE_NUMBER, "offset": _ONE_NUMBER}, extra=False
        ),
    ),
)


def _policies(*names: str) -> s.Schema:
    return s.wrapped(
        "server_group",
        s.obj(
            {
                "name": s.NAME,
                "policies": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 1,
                    "items": {"type": "string", "enum": [*names]},
                },
            },
            ("name", "policies"),
        ),
    )


_CREATE = by_version(
    ((2, 1), _policies(*_HARD)),
    ((2, 15), _policies(*server_groups.POLICIES)),
    (
        (2, 64),
        s.wrapped(
            "server_group",
            s.obj(
                {
                    "name": s.NAME,
                    "policy": {"type": "string", "enum": [*server_groups.POLICIES]},
                    "rules": s.obj({"max_server_per_host": s.integer(1)}),
                },
                ("name", "policy"),
            ),
        ),
    ),
)


def _view(ctx: Context, row: Any, members: object) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": row.id, "name": row.name, "members": members}
    if ctx.at_least(2, 13):
        shown |= {"project_id": row.project_id, "user_id": row.user_id}
    if ctx.at_least(2, 64):
        return shown | {"policy": row.policy, "rules": row.rules}
    return shown | {"policies": [row.policy], "metadata": {}}


def list(ctx: Context, request: Request) -> object:
    """List the server groups of the project, or (administrators) of all."""
    statement = sa.select(server_group).order_by(server_group.c.auto_id)
    if "all_projects" not in request.query or not ctx.allows(_RULE + "index:all_projects"):
        statement = statement.where(server_group.c.project_id == ctx.project_id)
    offset = s.as_int("offset", request.first("offset", "0"))
    limit = read_limit(request, ctx.cloud.settings.limits.page_size)
    with ctx.cloud.database.read() as tx:
        # nova reads limit=0 as no limit but the greatest.
        rows = tx.all(statement.offset(offset).limit(limit or ctx.cloud.settings.limits.page_size))
        members = server_groups.members_of(tx, [row.id for row in rows])
    return {"server_groups": [_view(ctx, row, members.get(row.id, [])) for row in rows]}


def show(ctx: Context, request: Request) -> object:
    """Show a server group."""
    with ctx.cloud.database.read() as tx:
        row = server_groups.find(ctx, tx, request.params["server_group_id"])
        members = server_groups.members_of(tx, [row.id])
    ctx.authorize(target={"project_id": row.project_id, "user_id": row.user_id})
    return {"server_group": _view(ctx, row, members.get(row.id, []))}


def create(ctx: Context, request: Request) -> object:
    """Create a server group."""
    given = request.body["server_group"]
    policy = given["policy"] if ctx.at_least(2, 64) else given["policies"][0]
    rules = {name: s.as_int(name, value, 1) for name, value in given.get("rules", {}).items()}
    if rules and policy != "anti-affinity":
        raise BadRequest("Only anti-affinity policy supports rules.")
    with ctx.cloud.database.write() as tx:
        row = server_groups.create(ctx, tx, given["name"], policy, rules)
    return {"server_group": _view(ctx, row, [])}


def delete(ctx: Context, request: Request) -> object:
    """Delete a server group; its servers stay."""
    with ctx.cloud.database.write() as tx:
        row = server_groups.find(ctx, tx, request.params["server_group_id"])
        ctx.authorize(target={"project_id": row.project_id, "user_id": row.user_id})
        server_groups.delete(tx, row)
    return Response(204)


_ONE = "/os-server-groups/{server_group_id}"
_SHOWN = s.answer("server_group", {})

ROUTES = (
    Route(
        method="GET",
        path="/os-server-groups",
        handler=list,
        rule=_RULE + "index",
        query=_QUERY,
        response={
            "type": "object",
            "properties": {"server_groups": s.array(s.obj({}, extra=True))},
        },
    ),
    Route(
        method="POST",
        path="/os-server-groups",
        handler=create,
        rule=_RULE + "create",
        body=_CREATE,
        response=_SHOWN,
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=show,
        rule=_RULE + "show",
        rule_needs_target=True,
        response=_SHOWN,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=delete,
        rule=_RULE + "delete",
        rule_needs_target=True,
        status=204,
    ),
)
