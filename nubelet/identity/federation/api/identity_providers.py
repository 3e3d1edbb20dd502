"""`/v3/OS-FEDERATION/identity_providers`: identity providers.

In OpenStack: keystone/api/os_federation.py.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity.api.resource import (
    BOOLEAN,
    ID_OR_NULL,
    TEXT,
    bool_filter,
    list_answer,
    to_bool,
)
from nubelet.identity.federation import providers
from nubelet.identity.federation.api.resource import FederationResource, check_id, route
from nubelet.identity.federation.model import identity_provider
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.fields import LARGEST_INT, Field, View
from nubelet.kernel.http.messages import Request

_REMOTE_IDS = {
    "type": ["array", "null"],
    "uniqueItems": True,
    # Upstream takes 64 characters; the issuers of real providers are longer.
    "items": {"type": "string", "minLength": 1, "maxLength": 255},
}
_TTL = {"type": ["integer", "null"], "minimum": 0, "maximum": LARGEST_INT // 60_000_000 // 1000}

IDENTITY_PROVIDERS = FederationResource(
    "identity_provider",
    "identity_providers",
    identity_provider,
    (
        Field(name="id", schema={"type": "string"}, filter="exact", sort=True),
        Field(name="domain_id", schema=ID_OR_NULL, create="optional"),
        Field(
            name="enabled",
            schema={"anyOf": [BOOLEAN, {"type": "null"}]},
            create="optional",
            update=True,
            filter=bool_filter(identity_provider.c.enabled, "enabled"),
        ),
        Field(name="description", schema=TEXT, create="optional", update=True),
        Field(name="authorization_ttl", schema=_TTL, create="optional", update=True),
        Field(name="remote_ids", schema=_REMOTE_IDS, create="optional", update=True, show=False),
    ),
)


def _view(ctx: Context, tx: Tx, rows: list[Any]) -> View:
    """A function that shows a provider; the remote ids of all `rows` in one query."""
    shown = IDENTITY_PROVIDERS.view(ctx)
    known = providers.remote_ids(tx, [row.id for row in rows])

    def show_row(row: Any) -> dict[str, Any]:
        answer = shown(row) | {"remote_ids": known[row.id]}
        answer["links"]["protocols"] = f"{answer['links']['self']}/protocols"
        return answer

    return show_row


def _one(ctx: Context, tx: Tx, row: Any) -> dict[str, Any]:
    return {"identity_provider": _view(ctx, tx, [row])(row)}


def _read(given: dict[str, Any]) -> dict[str, Any]:
    values = dict(given)
    if "enabled" in values:
        values["enabled"] = bool(values["enabled"]) and to_bool(values["enabled"])
    return values


def list_all(ctx: Context, request: Request) -> object:
    """List identity providers."""
    with ctx.cloud.database.read() as tx:
        return list_answer(
            ctx,
            tx,
            request,
            IDENTITY_PROVIDERS,
            sa.select(identity_provider),
            lambda rows: _view(ctx, tx, rows),
        )


def create(ctx: Context, request: Request) -> object:
    """Register an identity provider under the id in the path."""
    identifier = check_id("idp_id", request.params["idp_id"])
    values = _read(request.body["identity_provider"])
    with ctx.cloud.database.write() as tx:
        return _one(ctx, tx, providers.create(ctx, tx, identifier, values))


def show(ctx: Context, request: Request) -> object:
    """Show an identity provider."""
    with ctx.cloud.database.read() as tx:
        return _one(ctx, tx, providers.find(tx, request.params["idp_id"]))


def update(ctx: Context, request: Request) -> object:
    """Change an identity provider."""
    values = _read(request.body["identity_provider"])
    with ctx.cloud.database.write() as tx:
        return _one(ctx, tx, providers.update(ctx, tx, request.params["idp_id"], values))


def delete(ctx: Context, request: Request) -> None:
    """Delete an identity provider."""
    with ctx.cloud.database.write() as tx:
        providers.delete(ctx, tx, request.params["idp_id"])


_ONE = "/identity_providers/{idp_id}"
ROUTES = (
    route(
        "GET",
        "/identity_providers",
        list_all,
        "list_identity_providers",
        response=IDENTITY_PROVIDERS.list_schema,
    ),
    route(
        "PUT",
        _ONE,
        create,
        "create_identity_provider",
        status=201,
        body=IDENTITY_PROVIDERS.create_schema,
        response=IDENTITY_PROVIDERS.show_schema,
    ),
    route("GET", _ONE, show, "get_identity_provider", response=IDENTITY_PROVIDERS.show_schema),
    route(
        "PATCH",
        _ONE,
        update,
        "update_identity_provider",
        body=IDENTITY_PROVIDERS.update_schema,
        response=IDENTITY_PROVIDERS.show_schema,
    ),
    route("DELETE", _ONE, delete, "delete_identity_provider", status=204),
)
