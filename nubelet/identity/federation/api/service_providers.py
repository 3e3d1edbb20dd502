"""`/v3/OS-FEDERATION/service_providers`: the clouds that our users may enter.

In OpenStack: keystone/api/os_federation.py.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity.api.resource import BOOLEAN, TEXT, bool_filter, list_answer, to_bool
from nubelet.identity.federation import service_providers
from nubelet.identity.federation.api.resource import FederationResource, check_id, route
from nubelet.identity.federation.model import service_provider
from nubelet.kernel.context import Context
from nubelet.kernel.http.fields import Field
from nubelet.kernel.http.messages import Request

_URL = {
    "type": "string",
    "minLength": 0,
    "maxLength": 225,
    "pattern": "^[a-zA-Z0-9+.-]+:.+",
}

SERVICE_PROVIDERS = FederationResource(
    "service_provider",
    "service_providers",
    service_provider,
    (
        Field(name="id", schema={"type": "string"}, filter="exact", sort=True),
        Field(name="auth_url", schema=_URL, create="required", update=True),
        Field(name="sp_url", schema=_URL, create="required", update=True),
        Field(name="description", schema=TEXT, create="optional", update=True),
        Field(
            name="enabled",
            schema={"anyOf": [BOOLEAN, {"type": "null"}]},
            create="optional",
            update=True,
            filter=bool_filter(service_provider.c.enabled, "enabled"),
        ),
        Field(
            name="relay_state_prefix",
            schema={**TEXT, "maxLength": 255},
            create="optional",
            update=True,
        ),
    ),
)


def _read(request: Request) -> dict[str, Any]:
    values = dict(request.body["service_provider"])
    if "enabled" in values:
        values["enabled"] = bool(values["enabled"]) and to_bool(values["enabled"])
    return values


def _one(ctx: Context, row: Any) -> dict[str, Any]:
    return {"service_provider": SERVICE_PROVIDERS.view(ctx)(row)}


def list_all(ctx: Context, request: Request) -> object:
    """List service providers."""
    with ctx.cloud.database.read() as tx:
        return list_answer(ctx, tx, request, SERVICE_PROVIDERS, sa.select(service_provider))


def create(ctx: Context, request: Request) -> object:
    """Register a service provider under the id in the path."""
    identifier = check_id("service_provider_id", request.params["service_provider_id"])
    with ctx.cloud.database.write() as tx:
        return _one(ctx, service_providers.create(ctx, tx, identifier, _read(request)))


def show(ctx: Context, request: Request) -> object:
    """Show a service provider."""
    with ctx.cloud.database.read() as tx:
        return _one(ctx, service_providers.find(tx, request.params["service_provider_id"]))


def update(ctx: Context, request: Request) -> object:
    """Change a service provider."""
    identifier = request.params["service_provider_id"]
    with ctx.cloud.database.write() as tx:
        return _one(ctx, service_providers.update(ctx, tx, identifier, _read(request)))


def delete(ctx: Context, request: Request) -> None:
    """Delete a service provider."""
    with ctx.cloud.database.write() as tx:
        service_providers.delete(ctx, tx, request.params["service_provider_id"])


_ONE = "/service_providers/{service_provider_id}"
ROUTES = (
    route(
        "GET",
        "/service_providers",
        list_all,
        "list_service_providers",
        response=SERVICE_PROVIDERS.list_schema,
    ),
    route(
        "PUT",
        _ONE,
        create,
        "create_service_provider",
        status=201,
        body=SERVICE_PROVIDERS.create_schema,
        response=SERVICE_PROVIDERS.show_schema,
    ),
    route("GET", _ONE, show, "get_service_provider", response=SERVICE_PROVIDERS.show_schema),
    route(
        "PATCH",
        _ONE,
        update,
        "update_service_provider",
        body=SERVICE_PROVIDERS.update_schema,
        response=SERVICE_PROVIDERS.show_schema,
    ),
    route("DELETE", _ONE, delete, "delete_service_provider", status=204),
)
