"""`/v3/groups`: groups and their members.

In OpenStack: keystone/api/groups.py.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity import groups, projects, users
from nubelet.identity.api.resource import (
    ID,
    TEXT,
    IdentityResource,
    list_answer,
    most_of_domain,
    name_schema,
    refresh_directory,
    require,
)
from nubelet.identity.model import group, user
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound
from nubelet.kernel.http.fields import Field
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Handler, Route

GROUPS = IdentityResource(
    "group",
    "groups",
    group,
    (
        Field(name="id", schema={"type": "string"}),
        Field(
            name="name",
            schema=name_schema(255),
            create="required",
            update=True,
            filter="exact",
            sort=True,
        ),
        Field(
            name="domain_id", schema=ID, create="optional", update=True, filter="exact", sort=True
        ),
        Field(name="description", schema=TEXT, create="optional", update=True),
    ),
    extra_create={},
)


def target(row: Any) -> dict[str, Any]:
    """What policy sees of a group."""
    return (
        {} if row is None else {"target.group.id": row.id, "target.group.domain_id": row.domain_id}
    )


def list_all(ctx: Context, request: Request) -> object:
    """List groups; those of the token's domain when it is scoped to one."""
    domain_id = ctx.credentials.domain_id
    ctx.authorize(target={"target.group.domain_id": domain_id} if domain_id else {})
    statement = sa.select(group)
    if domain_id:
        statement = statement.where(group.c.domain_id == domain_id)
    refresh_directory(ctx, request)
    with ctx.cloud.database.read() as tx:
        most = most_of_domain(ctx, tx, request)
        return list_answer(ctx, tx, request, GROUPS, statement, most=most)


def create(ctx: Context, request: Request) -> object:
    """Create a group."""
    values, extra = GROUPS.split(request.body["group"])
    if not values.get("domain_id"):
        values["domain_id"] = projects.domain_of_caller(ctx)
    ctx.authorize(target={"target.group.domain_id": values["domain_id"]})
    with ctx.cloud.database.write() as tx:
        return {"group": GROUPS.view(ctx)(groups.create(ctx, tx, values, extra))}


def show(ctx: Context, request: Request) -> object:
    """Show a group."""
    with ctx.cloud.database.read() as tx:
        return {"group": GROUPS.view(ctx)(_find(ctx, tx, request))}


def update(ctx: Context, request: Request) -> object:
    """Change a group."""
    values, extra = GROUPS.split(request.body["group"])
    with ctx.cloud.database.write() as tx:
        row = _find(ctx, tx, request)
        return {"group": GROUPS.view(ctx)(groups.update(ctx, tx, row, values, extra))}


def delete(ctx: Context, request: Request) -> None:
    """Delete a group. Everybody is told of one that is not there (as upstream)."""
    with ctx.cloud.database.write() as tx:
        require(groups.find(tx, request.params["group_id"]), "group", request.params["group_id"])
        groups.delete(ctx, tx, _find(ctx, tx, request))


def list_members(ctx: Context, request: Request) -> object:
    """The users who belong to a group; those of the token's domain when it is scoped to one."""
    from nubelet.identity.api.users import USERS, view

    with ctx.cloud.database.read() as tx:
        row = _find(ctx, tx, request)
        statement = users.SHOWN.where(user.c.id.in_(groups.members(row.id)))
        if ctx.credentials.domain_id:
            statement = statement.where(user.c.domain_id == ctx.credentials.domain_id)
        return list_answer(ctx, tx, request, USERS, statement, lambda rows: view(ctx, tx, rows))


def check_member(ctx: Context, request: Request) -> None:
    """204 if the user belongs to the group."""
    with ctx.cloud.database.read() as tx:
        group_row, user_row = _find_both(ctx, tx, request)
        if not groups.is_member(tx, group_row.id, user_row.id):
            raise _no_member(group_row, user_row)


def add_member(ctx: Context, request: Request) -> None:
    """Add a user to a group."""
    with ctx.cloud.database.write() as tx:
        group_row, user_row = _find_both(ctx, tx, request)
        groups.add_member(ctx, tx, group_row.id, user_row.id)


def remove_member(ctx: Context, request: Request) -> None:
    """Remove a user from a group."""
    with ctx.cloud.database.write() as tx:
        group_row, user_row = _find_both(ctx, tx, request)
        if not groups.remove_member(ctx, tx, group_row.id, user_row.id):
            raise _no_member(group_row, user_row)


def _find(ctx: Context, tx: Tx, request: Request) -> Any:
    identifier = request.params["group_id"]
    row = groups.find(tx, identifier)
    ctx.authorize(target=target(row))
    return require(row, "group", identifier)


def _find_both(ctx: Context, tx: Tx, request: Request) -> tuple[Any, Any]:
    group_row = groups.find(tx, request.params["group_id"])
    user_row = users.find(tx, request.params["user_id"])
    about_user = (
        {}
        if user_row is None
        else {"target.user.id": user_row.id, "target.user.domain_id": user_row.domain_id}
    )
    ctx.authorize(target={**target(group_row), **about_user})
    return (
        require(group_row, "group", request.params["group_id"]),
        require(user_row, "user", request.params["user_id"]),
    )


def _no_member(group_row: Any, user_row: Any) -> NotFound:
    return NotFound(message=f"The user {user_row.id} does not belong to the group {group_row.id}.")


def _route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
    return Route(
        method=method,
        path=f"/groups{path}",
        handler=handler,
        rule=f"identity:{rule}",
        rule_needs_target=True,
        **more,
    )


_ONE, _MEMBER = "/{group_id}", "/{group_id}/users/{user_id}"
ROUTES = (
    _route("GET", "", list_all, "list_groups", response=GROUPS.list_schema),
    _route(
        "POST",
        "",
        create,
        "create_group",
        body=GROUPS.create_schema,
        status=201,
        response=GROUPS.show_schema,
    ),
    _route("GET", _ONE, show, "get_group", response=GROUPS.show_schema),
    _route(
        "PATCH",
        _ONE,
        update,
        "update_group",
        body=GROUPS.update_schema,
        response=GROUPS.show_schema,
    ),
    _route("DELETE", _ONE, delete, "delete_group", status=204),
    _route("GET", "/{group_id}/users", list_members, "list_users_in_group"),
    _route("GET", _MEMBER, check_member, "check_user_in_group", status=204),
    _route("PUT", _MEMBER, add_member, "add_user_to_group", status=204),
    _route("DELETE", _MEMBER, remove_member, "remove_user_from_group", status=204),
)
