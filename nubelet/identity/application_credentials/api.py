"""`/v3/users/{user_id}/application_credentials` and `/v3/users/{user_id}/access_rules`.

Only users in person make and delete application credentials: one that is restricted could otherwise
make one that is not.

In OpenStack: keystone/api/users.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.identity import authenticator, changes, times
from nubelet.identity.api.resource import ID, TEXT, list_answer, name_schema
from nubelet.identity.application_credentials import access_rules, issuing
from nubelet.identity.application_credentials.binding import view_rule
from nubelet.identity.application_credentials.model import access_rule, application_credential
from nubelet.identity.binding import require_user
from nubelet.identity.model import role
from nubelet.kernel.clock import iso_micros
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Forbidden
from nubelet.kernel.http.fields import Field, Resource, View, read_bool
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Handler, Route
from nubelet.kernel.ids import new_secret

_ROLES = {
    "type": "array",
    "items": {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {"id": ID, "name": name_schema(255)},
    },
}
_BY_ID = {"type": "object", "required": ["id"], "additionalProperties": False}
_RULES = {
    "type": ["array", "null"],
    "items": {
        "anyOf": [
            {**_BY_ID, "properties": {"id": ID}},
            {
                "type": "object",
                "required": ["path", "method", "service"],
                "additionalProperties": False,
                "properties": {
                    "id": ID,
                    "path": {"type": "string", "maxLength": 225, "pattern": r"^/.*"},
                    "method": {"enum": ["POST", "GET", "HEAD", "PATCH", "PUT", "DELETE"]},
                    "service": {"type": "string", "minLength": 1, "maxLength": 255},
                },
            },
        ]
    },
}
APPLICATION_CREDENTIALS = Resource(
    "application_credential",
    "application_credentials",
    application_credential,
    (
        Field(name="id", schema={"type": "string"}),
        Field(name="name", schema=name_schema(255), create="required", filter="exact", sort=True),
        Field(name="description", schema=TEXT, create="optional"),
        Field(name="project_id", schema={"type": "string"}, filter="exact"),
        Field(
            name="unrestricted",
            schema={"anyOf": [{"type": "null"}, {"type": "boolean"}, {"type": "string"}]},
            create="optional",
        ),
        Field(
            name="expires_at",
            schema=TEXT,
            create="optional",
            show=lambda row, ctx: iso_micros(row.expires_at),
        ),
        Field(name="secret", schema=TEXT, create="optional", show=False),
        Field(name="roles", schema=_ROLES, create="optional", show=False),
        Field(name="access_rules", schema=_RULES, create="optional", show=False),
    ),
)
ACCESS_RULES = Resource(
    "access_rule",
    "access_rules",
    access_rule,
    (
        Field(name="id", schema={"type": "string"}),
        *(
            Field(name=name, schema={"type": "string"}, filter="exact", sort=True)
            for name in ("path", "method", "service")
        ),
    ),
)


def list_all(ctx: Context, request: Request) -> object:
    """List the application credentials of a user."""
    user_id = _authorize(ctx, request)
    statement = sa.select(application_credential).where(application_credential.c.user_id == user_id)
    with ctx.cloud.database.read() as tx:
        return list_answer(
            ctx,
            tx,
            request,
            APPLICATION_CREDENTIALS,
            statement,
            lambda rows: _view(ctx, tx, rows),
        )


def create(ctx: Context, request: Request) -> object:
    """Create an application credential for oneself. Its secret is shown this once."""
    user_id = _authorize(ctx, request)
    if user_id != ctx.user_id:
        raise Forbidden("An application credential cannot be made for another user.")
    if ctx.project_id is None:
        raise Forbidden(f"Policy doesn't allow {ctx.rule} to be performed.", code=ctx.rule)
    subject = authenticator.subject_of(ctx, request)
    require_user(subject.token, subject.binding, "managing application credentials")
    given = dict(request.body["application_credential"])
    given["expires_at"] = times.read_future("expires_at", given.get("expires_at"))
    if isinstance(given.get("unrestricted"), str):
        given["unrestricted"] = read_bool("unrestricted", given["unrestricted"])
    secret = given.get("secret") or new_secret(64)
    hashed = authenticator.of(ctx.cloud).passwords.hash(secret)
    with ctx.cloud.database.write() as tx:
        row = issuing.create(ctx, tx, given, hashed, subject.roles)
        shown = _view(ctx, tx, [row])(row)
    return {"application_credential": {**shown, "secret": secret}}


def show(ctx: Context, request: Request) -> object:
    """Show an application credential."""
    with ctx.cloud.database.read() as tx:
        row = _find(ctx, tx, request)
        return {"application_credential": _view(ctx, tx, [row])(row)}


def delete(ctx: Context, request: Request) -> None:
    """Delete an application credential."""
    subject = authenticator.subject_of(ctx, request)
    with ctx.cloud.database.write() as tx:
        row = _find(ctx, tx, request)
        require_user(subject.token, subject.binding, "managing application credentials")
        issuing.delete(ctx, tx, row)


def list_rules(ctx: Context, request: Request) -> object:
    """List the access rules of a user."""
    user_id = _authorize(ctx, request)
    statement = sa.select(access_rule).where(access_rule.c.user_id == user_id)
    with ctx.cloud.database.read() as tx:
        return list_answer(
            ctx,
            tx,
            request,
            ACCESS_RULES,
            statement,
            lambda rows: lambda row: _view_rule(ctx, row),
        )


def show_rule(ctx: Context, request: Request) -> object:
    """Show an access rule."""
    user_id = _authorize(ctx, request)
    with ctx.cloud.database.read() as tx:
        row = access_rules.find(tx, user_id, request.params["access_rule_id"])
    return {"access_rule": _view_rule(ctx, row)}


def delete_rule(ctx: Context, request: Request) -> None:
    """Delete an access rule that no application credential has."""
    user_id = _authorize(ctx, request)
    subject = authenticator.subject_of(ctx, request)
    require_user(subject.token, subject.binding, "managing access rules")
    with ctx.cloud.database.write() as tx:
        row = access_rules.find(tx, user_id, request.params["access_rule_id"])
        access_rules.delete(tx, row)
        changes.record(ctx, tx, "access_rule.deleted", row.id)


def _find(ctx: Context, tx: Tx, request: Request) -> Any:
    """The application credential of the path. The rule is asked about its owner: naming oneself
    in the path opens no other's."""
    user_id = request.params["user_id"]
    identifier = request.params["application_credential_id"]
    owner = issuing.owner(tx, identifier) or user_id
    ctx.authorize(target={"user_id": owner, "target.user.id": owner})
    return issuing.find(tx, user_id, identifier)


def _authorize(ctx: Context, request: Request) -> str:
    """The user of the path, once the route's rule allows the caller."""
    user_id = request.params["user_id"]
    ctx.authorize(target={"user_id": user_id, "target.user.id": user_id})
    return user_id


def _view(ctx: Context, tx: Tx, rows: Sequence[Any]) -> View:
    """A function that shows one of these application credentials."""
    shown = APPLICATION_CREDENTIALS.view(ctx)
    rules = access_rules.of_credentials(tx, [row.id for row in rows if row.has_rules])
    wanted = {role_id for row in rows for role_id in row.role_ids}
    names = {
        each.id: {"id": each.id, "name": each.name, "domain_id": each.domain_id}
        for each in tx.all(
            sa.select(role.c.id, role.c.name, role.c.domain_id).where(role.c.id.in_(wanted))
        )
    }

    def show_row(row: Any) -> dict[str, Any]:
        answer = shown(row)
        answer["roles"] = [names[role_id] for role_id in row.role_ids if role_id in names]
        if row.has_rules:
            answer["access_rules"] = [view_rule(each) for each in rules.get(row.id, ())]
        path = f"/users/{row.user_id}/application_credentials/{row.id}"
        answer["links"] = {"self": f"{ctx.base_url}/identity/v3{path}"}
        return answer

    return show_row


def _view_rule(ctx: Context, row: Any) -> dict[str, Any]:
    link = f"{ctx.base_url}/identity/v3/users/{row.user_id}/access_rules/{row.id}"
    return {**view_rule(row), "links": {"self": link}}


def _route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
    return Route(
        method=method,
        path=f"/users/{{user_id}}/{path}",
        handler=handler,
        rule=f"identity:{rule}",
        rule_needs_target=True,
        **more,
    )


_ONE = "application_credentials/{application_credential_id}"
ROUTES = (
    _route(
        "GET",
        "application_credentials",
        list_all,
        "list_application_credentials",
        response=APPLICATION_CREDENTIALS.list_schema,
    ),
    _route(
        "POST",
        "application_credentials",
        create,
        "create_application_credential",
        body=APPLICATION_CREDENTIALS.create_schema,
        response=APPLICATION_CREDENTIALS.show_schema,
        status=201,
        slow=True,
    ),
    _route(
        "GET",
        _ONE,
        show,
        "get_application_credential",
        response=APPLICATION_CREDENTIALS.show_schema,
    ),
    _route("DELETE", _ONE, delete, "delete_application_credential", status=204),
    _route(
        "GET", "access_rules", list_rules, "list_access_rules", response=ACCESS_RULES.list_schema
    ),
    _route(
        "GET",
        "access_rules/{access_rule_id}",
        show_rule,
        "get_access_rule",
        response=ACCESS_RULES.show_schema,
    ),
    _route(
        "DELETE", "access_rules/{access_rule_id}", delete_rule, "delete_access_rule", status=204
    ),
)
