"""`/v3/OS-OAUTH1`: consumers, request tokens, access tokens; and the access tokens of a user.

In OpenStack: keystone/api/os_oauth1.py, keystone/api/users.py.
"""

from __future__ import annotations

import hmac
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from nubelet.identity import authenticator, projects
from nubelet.identity.api.resource import (
    ID,
    TEXT,
    IdentityResource,
    all_links,
    list_answer,
    name_schema,
    require,
)
from nubelet.identity.api.roles import ROLES
from nubelet.identity.binding import require_user
from nubelet.identity.model import role
from nubelet.identity.oauth1 import delegation, signed
from nubelet.identity.oauth1.model import access_token, consumer
from nubelet.kernel.clock import iso_micros_z
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound, Unauthorized
from nubelet.kernel.http.fields import Field
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Handler, Route

CONSUMERS = IdentityResource(
    "consumer",
    "consumers",
    consumer,
    (
        Field(name="id", schema={"type": "string"}),
        Field(name="description", schema=TEXT, create="optional", update=True),
        Field(name="secret", schema={"not": {}}, create="optional", update=True, show=False),
    ),
    extra_create={},
)
_AUTHORIZE = {
    "type": "object",
    "required": ["roles"],
    "properties": {
        "roles": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
                "properties": {"id": ID, "name": name_schema(255)},
            },
        }
    },
}


# --- Consumers ----------------------------------------------------------------------------------


def list_consumers(ctx: Context, request: Request) -> object:
    """List consumers."""
    with ctx.cloud.database.read() as tx:
        return list_answer(
            ctx,
            tx,
            request,
            CONSUMERS,
            sa.select(consumer),
            lambda rows: lambda row: _view_consumer(ctx, row),
        )


def create_consumer(ctx: Context, request: Request) -> object:
    """Create a consumer. Its secret is shown this once."""
    values, extra = CONSUMERS.split(request.body["consumer"])
    seal = authenticator.of(ctx.cloud).seal_of_secrets
    with ctx.cloud.database.write() as tx:
        row, secret = delegation.create_consumer(ctx, tx, seal, values, extra)
    return {"consumer": {**_view_consumer(ctx, row), "secret": secret}}


def show_consumer(ctx: Context, request: Request) -> object:
    """Show a consumer."""
    with ctx.cloud.database.read() as tx:
        row = delegation.find_consumer(tx, request.params["consumer_id"])
    return {"consumer": _view_consumer(ctx, row)}


def update_consumer(ctx: Context, request: Request) -> object:
    """Change the description of a consumer."""
    values, extra = CONSUMERS.split(request.body["consumer"])
    with ctx.cloud.database.write() as tx:
        row = delegation.find_consumer(tx, request.params["consumer_id"])
        if values.get("id", row.id) != row.id:
            raise BadRequest("Invalid input for field/attribute id: it cannot be changed.")
        row = delegation.update_consumer(ctx, tx, row, values, extra)
    return {"consumer": _view_consumer(ctx, row)}


def delete_consumer(ctx: Context, request: Request) -> None:
    """Delete a consumer with its tokens."""
    with ctx.cloud.database.write() as tx:
        delegation.delete_consumer(
            ctx, tx, delegation.find_consumer(tx, request.params["consumer_id"])
        )


def _view_consumer(ctx: Context, row: Any) -> dict[str, Any]:
    link = f"{ctx.base_url}/identity/v3/OS-OAUTH1/consumers/{row.id}"
    return {**CONSUMERS.view(ctx)(row), "links": {"self": link}}


# --- The dance ----------------------------------------------------------------------------------


def create_request_token(ctx: Context, request: Request) -> object:
    """A request token for a consumer, who signs the request."""
    asked = signed.read(request.method, request.url, request.headers, request.query)
    consumer_id = asked.require("oauth_consumer_key")
    project_id = request.headers.get("requested-project-id")
    if not project_id:
        raise BadRequest("The header Requested-Project-Id is required.")
    seal = authenticator.of(ctx.cloud).seal_of_secrets
    with ctx.cloud.database.write() as tx:
        row = delegation.find_consumer(tx, consumer_id)
        signed.verify(asked, seal.require(row.secret))
        require(projects.find(tx, project_id), "project", project_id)
        signed.spend(tx, consumer_id, asked)
        made = delegation.create_request_token(tx, seal, consumer_id, project_id)
    return _form(made)


def authorize(ctx: Context, request: Request) -> object:
    """Authorize a request token with some of one's roles."""
    subject = authenticator.subject_of(ctx, request)
    require_user(subject.token, subject.binding, "authorizing OAuth consumers")
    with ctx.cloud.database.write() as tx:
        row = delegation.find_request_token(tx, request.params["request_token_id"])
        verifier = delegation.authorize(ctx, tx, row, request.body["roles"])
    return {"token": {"oauth_verifier": verifier}}


def create_access_token(ctx: Context, request: Request) -> object:
    """An access token for an authorized request token; the consumer signs with both secrets."""
    asked = signed.read(request.method, request.url, request.headers, request.query)
    consumer_id = asked.require("oauth_consumer_key")
    identifier, verifier = asked.require("oauth_token"), asked.require("oauth_verifier")
    seal = authenticator.of(ctx.cloud).seal_of_secrets
    with ctx.cloud.database.write() as tx:
        row = delegation.find_request_token(tx, identifier)
        if row.consumer_id != consumer_id:
            raise Unauthorized
        owner = delegation.find_consumer(tx, consumer_id)
        signed.verify(asked, seal.require(owner.secret), seal.require(row.secret))
        if not row.verifier or not hmac.compare_digest(row.verifier.encode(), verifier.encode()):
            raise Unauthorized
        signed.spend(tx, consumer_id, asked)
        made = delegation.create_access_token(tx, seal, row)
    return _form(made)


def _form(made: dict[str, Any]) -> Response:
    text = urlencode(
        {
            "oauth_token": made["id"],
            "oauth_token_secret": made["secret"],
            "oauth_expires_at": iso_micros_z(made["expires_at"]),
        },
        safe=":",  # clients of Keystone read the time as it stands
    )
    return Response(201, text.encode(), {}, "application/x-www-form-urlencoded")


# --- Access tokens of a user ----------------------------------------------------------------------


def list_access_tokens(ctx: Context, request: Request) -> object:
    """List the access tokens that a user authorized."""
    subject = authenticator.subject_of(ctx, request)
    require_user(subject.token, subject.binding, "managing OAuth access tokens")
    with ctx.cloud.database.read() as tx:
        rows = tx.all(
            sa.select(access_token)
            .where(access_token.c.user_id == request.params["user_id"])
            .order_by(access_token.c.created_at, access_token.c.id)
        )
    return {"access_tokens": [_view(ctx, row) for row in rows], "links": all_links(request)}


def show_access_token(ctx: Context, request: Request) -> object:
    """Show an access token, without its secret."""
    with ctx.cloud.database.read() as tx:
        return {"access_token": _view(ctx, _find(tx, request))}


def delete_access_token(ctx: Context, request: Request) -> None:
    """Revoke an access token."""
    subject = authenticator.subject_of(ctx, request)
    require_user(subject.token, subject.binding, "managing OAuth access tokens")
    with ctx.cloud.database.write() as tx:
        delegation.delete_access_token(ctx, tx, _find(tx, request))


def list_roles(ctx: Context, request: Request) -> object:
    """List the roles of an access token."""
    with ctx.cloud.database.read() as tx:
        found = _roles(ctx, tx, _find(tx, request))
    return {"roles": found, "links": all_links(request)}


def show_role(ctx: Context, request: Request) -> object:
    """Show a role of an access token."""
    with ctx.cloud.database.read() as tx:
        found = _roles(ctx, tx, _find(tx, request), request.params["role_id"])
    if not found:
        raise NotFound("role", request.params["role_id"])
    return {"role": found[0]}


def _find(tx: Tx, request: Request) -> Any:
    params = request.params
    return delegation.find_access_token(tx, params["user_id"], params["access_token_id"])


def _view(ctx: Context, row: Any) -> dict[str, Any]:
    path = f"/identity/v3/users/{row.user_id}/OS-OAUTH1/access_tokens/{row.id}"
    return {
        "id": row.id,
        "consumer_id": row.consumer_id,
        "project_id": row.project_id,
        "authorizing_user_id": row.user_id,
        "expires_at": iso_micros_z(row.expires_at),
        "links": {"self": ctx.base_url + path, "roles": f"{ctx.base_url}{path}/roles"},
    }


def _roles(ctx: Context, tx: Tx, row: Any, only: str | None = None) -> list[dict[str, Any]]:
    wanted = [each for each in row.role_ids if only in (None, each)]
    shown = ROLES.view(ctx)
    found = tx.all(sa.select(role).where(role.c.id.in_(wanted)).order_by(role.c.name))
    return [
        {name: shown(each)[name] for name in ("id", "name", "domain_id", "links")} for each in found
    ]


def _route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
    return Route(method=method, path=path, handler=handler, rule=f"identity:{rule}", **more)


_CONSUMERS = "/OS-OAUTH1/consumers"
_CONSUMER = f"{_CONSUMERS}/{{consumer_id}}"
_TOKENS = "/users/{user_id}/OS-OAUTH1/access_tokens"
_TOKEN = f"{_TOKENS}/{{access_token_id}}"
ROUTES = (
    _route("GET", _CONSUMERS, list_consumers, "list_consumers", response=CONSUMERS.list_schema),
    _route(
        "POST",
        _CONSUMERS,
        create_consumer,
        "create_consumer",
        body=CONSUMERS.create_schema,
        response=CONSUMERS.show_schema,
        status=201,
    ),
    _route("GET", _CONSUMER, show_consumer, "get_consumer", response=CONSUMERS.show_schema),
    _route(
        "PATCH",
        _CONSUMER,
        update_consumer,
        "update_consumer",
        body=CONSUMERS.update_schema,
        response=CONSUMERS.show_schema,
    ),
    _route("DELETE", _CONSUMER, delete_consumer, "delete_consumer", status=204),
    Route(
        method="POST",
        path="/OS-OAUTH1/request_token",
        handler=create_request_token,
        open=True,
        form=True,
        status=201,
    ),
    _route(
        "PUT",
        "/OS-OAUTH1/authorize/{request_token_id}",
        authorize,
        "authorize_request_token",
        body=_AUTHORIZE,
    ),
    Route(
        method="POST",
        path="/OS-OAUTH1/access_token",
        handler=create_access_token,
        open=True,
        form=True,
        status=201,
    ),
    _route("GET", _TOKENS, list_access_tokens, "list_access_tokens"),
    _route("GET", _TOKEN, show_access_token, "get_access_token"),
    _route("DELETE", _TOKEN, delete_access_token, "delete_access_token", status=204),
    _route("GET", f"{_TOKEN}/roles", list_roles, "list_access_token_roles"),
    _route("GET", f"{_TOKEN}/roles/{{role_id}}", show_role, "get_access_token_role"),
)
