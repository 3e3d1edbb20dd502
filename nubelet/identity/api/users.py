"""`/v3/users`: users, their passwords, groups and projects.

In OpenStack: keystone/api/users.py.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.identity import (
    assignments,
    authenticator,
    password_login,
    password_rules,
    projects,
    users,
)
from nubelet.identity.api.groups import GROUPS
from nubelet.identity.api.projects import PROJECTS, with_tags
from nubelet.identity.api.resource import (
    ID,
    TEXT,
    IdentityResource,
    enabled_field,
    list_answer,
    list_target,
    most_of_domain,
    name_schema,
    refresh_directory,
    require,
    to_bool,
)
from nubelet.identity.federation import shadows
from nubelet.identity.federation.model import federated_user
from nubelet.identity.model import group, password, project, user
from nubelet.kernel.clock import iso_micros_z
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Unauthorized
from nubelet.kernel.http.fields import Condition, Field, FilterCall, View, read_time
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Handler, Route

_FLAG = {"type": ["boolean", "null"]}
_OPTIONS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "ignore_change_password_upon_first_use": _FLAG,
        "ignore_password_expiry": _FLAG,
        "ignore_lockout_failure_attempts": _FLAG,
        "lock_password": _FLAG,
        "ignore_user_inactivity": _FLAG,
        "multi_factor_auth_enabled": _FLAG,
        "multi_factor_auth_rules": {
            "type": ["array", "null"],
            "uniqueItems": True,
            "items": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "uniqueItems": True,
            },
        },
    },
}


_COMPARE: dict[str, Any] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "eq": operator.eq,
    "neq": operator.ne,
}


def _by_expiry(values: list[str], ctx: Context) -> Condition:
    """`password_expires_at=lt:2026-01-01T00:00:00Z`; a bare time means eq. Passwords that never
    expire fit no time."""
    conditions = []
    for value in values:
        name, _, moment = value.partition(":")
        if name.isalpha():
            if name not in _COMPARE:
                raise BadRequest(
                    f"Invalid input for query parameter password_expires_at: {name} "
                    "is none of lt, lte, gt, gte, eq and neq."
                )
        else:
            name, moment = "eq", value
        conditions.append(
            _COMPARE[name](password.c.expires_at, read_time("password_expires_at", moment))
        )
    return sa.and_(*conditions)


_FEDERATED: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["idp_id", "protocols"],
        "properties": {
            "idp_id": {"type": "string"},
            "protocols": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["protocol_id", "unique_id"],
                    "properties": {
                        "protocol_id": {"type": "string"},
                        "unique_id": {"type": "string", "minLength": 1, "maxLength": 255},
                    },
                },
            },
        },
    },
}


def _by_federation(column: sa.ColumnElement[Any]) -> FilterCall:
    """Users who come by links with this in them."""

    def condition(values: list[str], ctx: Context) -> Condition:
        return user.c.id.in_(sa.select(federated_user.c.user_id).where(column.in_(values)))

    return condition


USERS = IdentityResource(
    "user",
    "users",
    user,
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
        enabled_field(user.c.enabled),
        Field(name="default_project_id", schema=TEXT, create="optional", update=True, show=False),
        Field(name="options", schema=_OPTIONS, create="optional", update=True),
        Field(name="password", schema=TEXT, create="optional", update=True, show=False),
        Field(
            name="federated",
            schema=_FEDERATED,
            create="optional",
            update=True,
            show=lambda row, ctx: [],  # `view` fills it in for all users of a list at once
        ),
        Field(
            name="password_expires_at",
            schema=TEXT,
            show=lambda row, ctx: iso_micros_z(row.password_expires_at),
            filter=_by_expiry,
        ),
        Field(
            name="idp_id",
            schema=TEXT,
            show=False,
            filter=_by_federation(federated_user.c.idp_id),
        ),
        Field(
            name="protocol_id",
            schema=TEXT,
            show=False,
            filter=_by_federation(federated_user.c.protocol_id),
        ),
        Field(
            name="unique_id",
            schema=TEXT,
            show=False,
            filter=_by_federation(federated_user.c.unique_id),
        ),
    ),
    extra_create={},
)
_CHANGE_PASSWORD = {
    "type": "object",
    "required": ["user"],
    "properties": {
        "user": {
            "type": "object",
            "required": ["original_password", "password"],
            "additionalProperties": False,
            "properties": {"original_password": {"type": "string"}, "password": {"type": "string"}},
        }
    },
}


def target(row: Any) -> dict[str, Any]:
    """What policy sees of a user."""
    return (
        {}
        if row is None
        else {"target.user.id": row.id, "target.user.domain_id": row.domain_id, "user_id": row.id}
    )


def view(ctx: Context, tx: Tx, rows: Sequence[Any]) -> View:
    """A function that shows each of these users."""
    shown = USERS.view(ctx)
    federated = [row.id for row in rows if row.is_federated]
    links = shadows.shown(tx, federated) if federated else {}

    def show_row(row: Any) -> dict[str, Any]:
        answer = shown(row)
        if row.is_federated:
            answer["federated"] = links.get(row.id, [])
        if row.default_project_id:
            answer["default_project_id"] = row.default_project_id
        return answer

    return show_row


def _one(ctx: Context, tx: Tx, row: Any) -> dict[str, Any]:
    return {"user": view(ctx, tx, [row])(row)}


def list_all(ctx: Context, request: Request) -> object:
    """List users; those of the token's domain when it is scoped to one."""
    domain_id = ctx.credentials.domain_id
    ctx.authorize(target=list_target(ctx))
    statement = users.SHOWN
    if domain_id:
        statement = statement.where(user.c.domain_id == domain_id)
    refresh_directory(ctx, request)
    with ctx.cloud.database.read() as tx:
        most = most_of_domain(ctx, tx, request)
        return list_answer(
            ctx, tx, request, USERS, statement, lambda rows: view(ctx, tx, rows), most
        )


def create(ctx: Context, request: Request) -> object:
    """Create a user."""
    values, extra = _read(request.body["user"])
    # A manager must name their domain (as upstream): only then is it looked at.
    domain_id = values.get("domain_id")
    ctx.authorize(target={"target.user.domain_id": domain_id} if domain_id else {})
    values["domain_id"] = domain_id or projects.domain_of_caller(ctx)
    hashed = _hash(ctx, values)
    with ctx.cloud.database.write() as tx:
        return _one(ctx, tx, users.create(ctx, tx, values, extra, hashed))


def show(ctx: Context, request: Request) -> object:
    """Show a user."""
    with ctx.cloud.database.read() as tx:
        return _one(ctx, tx, _find(ctx, tx, request))


def update(ctx: Context, request: Request) -> object:
    """Change a user."""
    with ctx.cloud.database.read() as tx:  # whoever may not, must not make us hash
        _find(ctx, tx, request)
    values, extra = _read(request.body["user"])
    if not values and not extra:
        raise BadRequest("Invalid input for field/attribute user: it is empty.")
    hashed = _hash(ctx, values)
    with ctx.cloud.database.write() as tx:
        row = _find(ctx, tx, request)
        return _one(ctx, tx, users.update(ctx, tx, row, values, extra, hashed))


def delete(ctx: Context, request: Request) -> None:
    """Delete a user."""
    with ctx.cloud.database.write() as tx:
        users.delete(ctx, tx, _find(ctx, tx, request))


def change_password(ctx: Context, request: Request) -> None:
    """Change one's own password. The old one is the proof: no token is needed, for it may be
    wanted by somebody who cannot get one."""
    given, identifier = request.body["user"], request.params["user_id"]
    old, new = password_login.change(
        ctx.cloud, identifier, given["original_password"], given["password"]
    )
    with ctx.cloud.database.write() as tx:
        if not users.change_password(ctx, tx, identifier, old, new):
            raise Unauthorized


def revoke_tokens(ctx: Context, request: Request) -> None:
    """Revoke all tokens of a user."""
    with ctx.cloud.database.write() as tx:
        users.revoke_tokens(ctx, tx, _find(ctx, tx, request))


def list_groups(ctx: Context, request: Request) -> object:
    """The groups that a user belongs to; those of the token's domain when it is scoped to one."""
    with ctx.cloud.database.read() as tx:
        row = _find(ctx, tx, request)
        statement = sa.select(group).where(group.c.id.in_(assignments.group_ids(tx, row.id)))
        if ctx.credentials.domain_id:
            statement = statement.where(group.c.domain_id == ctx.credentials.domain_id)
        ends = shadows.ends_of_memberships(tx, row.id)
        return list_answer(
            ctx, tx, request, GROUPS, statement, lambda rows: _with_end(GROUPS.view(ctx), ends)
        )


def _with_end(show_group: View, ends: Mapping[str, int]) -> View:
    """Show with a group until when the user is in it, where a provider vouches for that."""
    return lambda row: (
        {**show_group(row), "membership_expires_at": iso_micros_z(ends[row.id])}
        if row.id in ends
        else show_group(row)
    )


def list_projects(ctx: Context, request: Request) -> object:
    """The projects where a user has a role."""
    with ctx.cloud.database.read() as tx:
        row = _find(ctx, tx, request)
        statement = sa.select(project).where(assignments.projects_of(tx, row.id))
        return list_answer(
            ctx,
            tx,
            request,
            PROJECTS,
            statement,
            lambda rows: with_tags(tx, rows, PROJECTS.view(ctx)),
        )


def _find(ctx: Context, tx: Tx, request: Request) -> Any:
    identifier = request.params["user_id"]
    row = users.find(tx, identifier)
    ctx.authorize(target=target(row))
    return require(row, "user", identifier)


def _read(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    values, extra = USERS.split(given)
    if "enabled" in values:
        values["enabled"] = to_bool(values["enabled"])
    return values, extra


def _hash(ctx: Context, values: Mapping[str, Any]) -> str | None:
    given = values.get("password")
    if given is not None:
        password_rules.check_strength(ctx.cloud.settings.security_compliance, given)
    return None if given is None else authenticator.of(ctx.cloud).passwords.hash(given)


def _route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
    return Route(
        method=method,
        path=f"/users{path}",
        handler=handler,
        rule=f"identity:{rule}",
        rule_needs_target=True,
        **more,
    )


_ONE = "/{user_id}"
ROUTES = (
    _route("GET", "", list_all, "list_users", response=USERS.list_schema),
    _route(
        "POST",
        "",
        create,
        "create_user",
        body=USERS.create_schema,
        status=201,
        slow=True,
        response=USERS.show_schema,
    ),
    _route("GET", _ONE, show, "get_user", response=USERS.show_schema),
    _route(
        "PATCH",
        _ONE,
        update,
        "update_user",
        body=USERS.update_schema,
        slow=True,
        response=USERS.show_schema,
    ),
    _route("DELETE", _ONE, delete, "delete_user", status=204),
    _route("GET", "/{user_id}/groups", list_groups, "list_groups_for_user"),
    _route("GET", "/{user_id}/projects", list_projects, "list_user_projects"),
    _route("DELETE", "/{user_id}/tokens", revoke_tokens, "revoke_tokens_for_user", status=204),
    Route(
        method="POST",
        path="/users/{user_id}/password",
        handler=change_password,
        open=True,
        slow=True,
        body=_CHANGE_PASSWORD,
        status=204,
    ),
)
