"""`/v3/credentials`. In OpenStack: keystone/api/credentials.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import authenticator
from nubelet.identity.api.resource import IdentityResource, list_answer, require
from nubelet.identity.binding import require_user
from nubelet.identity.credentials import credentials
from nubelet.identity.credentials.model import credential
from nubelet.identity.validation import Subject
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.fields import Field, View
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Handler, Route

_ID = {"type": "string", "minLength": 1, "maxLength": 64}
_TYPE = {"type": "string", "minLength": 1, "maxLength": 255}
CREDENTIALS = IdentityResource(
    "credential",
    "credentials",
    credential,
    (
        Field(name="id", schema={"type": "string"}),
        Field(name="user_id", schema=_ID, create="required", update=True, filter="exact"),
        Field(
            name="project_id",
            schema={**_ID, "type": ["string", "null"]},
            create="optional",
            update=True,
            filter="exact",
        ),
        Field(name="type", schema=_TYPE, create="required", update=True, filter="exact", sort=True),
        Field(
            name="blob",
            schema={"type": "string", "maxLength": 65536},
            create="required",
            update=True,
            show=False,
        ),
    ),
    extra_create={},
)


def target(row: Any) -> dict[str, Any]:
    """What policy sees of a credential."""
    return {} if row is None else {"target.credential.user_id": row.user_id}


def list_all(ctx: Context, request: Request) -> object:
    """List credentials: all, or one's own."""
    ctx.authorize(target={"target.credential.user_id": ctx.user_id})
    subject = authenticator.subject_of(ctx, request)
    statement = sa.select(credential).where(credentials.visible_to(subject))
    if not ctx.allows("identity:get_credential", {}):
        statement = statement.where(credential.c.user_id == ctx.user_id)
    with ctx.cloud.database.read() as tx:
        return list_answer(ctx, tx, request, CREDENTIALS, statement, lambda rows: _view(ctx))


def create(ctx: Context, request: Request) -> object:
    """Create a credential."""
    values, extra = CREDENTIALS.split(request.body["credential"])
    ctx.authorize(target={"target.credential.user_id": values["user_id"]})
    subject = authenticator.subject_of(ctx, request)
    _require_user(subject)
    seal = authenticator.of(ctx.cloud).seal_of_secrets
    with ctx.cloud.database.write() as tx:
        row = credentials.create(ctx, tx, seal, values, extra, subject.token.origin)
        return {"credential": _view(ctx)(row)}


def show(ctx: Context, request: Request) -> object:
    """Show a credential with its secret."""
    subject = authenticator.subject_of(ctx, request)
    with ctx.cloud.database.read() as tx:
        return {"credential": _view(ctx)(_find(ctx, tx, request, subject))}


def update(ctx: Context, request: Request) -> object:
    """Change a credential."""
    given: Mapping[str, Any] = request.body["credential"]
    if not given:
        raise BadRequest("Invalid input for field/attribute credential: it is empty.")
    values, extra = CREDENTIALS.split(given)
    seal = authenticator.of(ctx.cloud).seal_of_secrets
    subject = authenticator.subject_of(ctx, request)
    with ctx.cloud.database.write() as tx:
        row = _find(ctx, tx, request, subject)
        _require_user(subject)
        return {"credential": _view(ctx)(credentials.update(ctx, tx, seal, row, values, extra))}


def delete(ctx: Context, request: Request) -> None:
    """Delete a credential."""
    subject = authenticator.subject_of(ctx, request)
    with ctx.cloud.database.write() as tx:
        row = _find(ctx, tx, request, subject)
        _require_user(subject)
        credentials.delete(ctx, tx, row)


def _find(ctx: Context, tx: Tx, request: Request, subject: Subject) -> Any:
    identifier = request.params["credential_id"]
    row = credentials.find(tx, subject, identifier)
    ctx.authorize(target=target(row))
    return require(row, "credential", identifier)


def _require_user(subject: Subject) -> None:
    require_user(subject.token, subject.binding, "managing credentials", by_trust=True)


def _view(ctx: Context) -> View:
    shown, seal = CREDENTIALS.view(ctx), authenticator.of(ctx.cloud).seal_of_secrets
    return lambda row: {**shown(row), "blob": seal.open(row.blob) or ""}


def _route(method: str, path: str, handler: Handler, verb: str, **more: Any) -> Route:
    noun = "credentials" if verb == "list" else "credential"
    return Route(
        method=method,
        path=f"/credentials{path}",
        handler=handler,
        rule=f"identity:{verb}_{noun}",
        rule_needs_target=True,
        **more,
    )


_ONE = "/{credential_id}"
ROUTES = (
    _route("GET", "", list_all, "list", response=CREDENTIALS.list_schema),
    _route(
        "POST",
        "",
        create,
        "create",
        body=CREDENTIALS.create_schema,
        response=CREDENTIALS.show_schema,
        status=201,
    ),
    _route("GET", _ONE, show, "get", response=CREDENTIALS.show_schema),
    _route(
        "PATCH",
        _ONE,
        update,
        "update",
        body=CREDENTIALS.update_schema,
        response=CREDENTIALS.show_schema,
    ),
    _route("DELETE", _ONE, delete, "delete", status=204),
)
