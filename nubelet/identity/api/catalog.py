"""`/v3/services`, `/v3/endpoints`, `/v3/regions`: the catalog as administrators edit it.

In OpenStack: keystone/api/{services,endpoints,regions}.py.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity import services
from nubelet.identity.api.resource import TEXT, IdentityResource, bool_filter, list_answer, require
from nubelet.identity.model import endpoint, region, service
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.fields import Field
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Handler, Route

_BOOLEAN = {"type": "boolean"}
_URL = {"type": "string", "minLength": 1, "maxLength": 225, "pattern": r"^[a-zA-Z0-9+.-]+:.+"}
_REGION_ID = {"type": ["string", "null"], "maxLength": 255}

SERVICES = IdentityResource(
    "service",
    "services",
    service,
    (
        Field(name="id", schema={"type": "string"}),
        Field(
            name="type",
            schema={"type": "string", "minLength": 1, "maxLength": 255},
            create="required",
            update=True,
            filter="exact",
        ),
        Field(
            name="name",
            schema={"type": "string", "maxLength": 255},
            create="optional",
            update=True,
            filter="exact",
        ),
        Field(
            name="enabled",
            schema=_BOOLEAN,
            create="optional",
            update=True,
            filter=bool_filter(service.c.enabled, "enabled"),
        ),
    ),
    extra_create={},
)
ENDPOINTS = IdentityResource(
    "endpoint",
    "endpoints",
    endpoint,
    (
        Field(name="id", schema={"type": "string"}),
        Field(
            name="service_id",
            schema={"type": "string"},
            create="required",
            update=True,
            filter="exact",
        ),
        Field(
            name="interface",
            schema={"enum": ["public", "internal", "admin"]},
            create="required",
            update=True,
            filter="exact",
        ),
        Field(name="url", schema=_URL, create="required", update=True),
        Field(name="region_id", schema=_REGION_ID, create="optional", update=True, filter="exact"),
        Field(
            name="region",
            column="region_id",
            schema=_REGION_ID,
            create="optional",
            update=True,
            filter="exact",
        ),
        Field(
            name="enabled",
            schema=_BOOLEAN,
            create="optional",
            update=True,
            filter=bool_filter(endpoint.c.enabled, "enabled"),
        ),
    ),
    extra_create={},
)
REGIONS = IdentityResource(
    "region",
    "regions",
    region,
    (
        Field(
            name="id",
            schema={"type": ["string", "null"], "maxLength": 255},
            create="optional",
            update=True,
        ),
        Field(
            name="description", schema={**TEXT, "maxLength": 255}, create="optional", update=True
        ),
        Field(
            name="parent_region_id",
            schema={**TEXT, "minLength": 1, "maxLength": 255},
            create="optional",
            update=True,
            filter="exact",
        ),
    ),
    extra_create={},
)

# noun -> resource, table, and the three functions that change it
_NOUNS: dict[str, Any] = {
    "service": (
        SERVICES,
        services.create_service,
        services.update_service,
        services.delete_service,
    ),
    "endpoint": (
        ENDPOINTS,
        services.create_endpoint,
        services.update_endpoint,
        services.delete_endpoint,
    ),
    "region": (REGIONS, services.create_region, services.update_region, services.delete_region),
}


def create_region_by_id(ctx: Context, request: Request) -> object:
    """Create a region under an id of the caller's choice."""
    values, extra = REGIONS.split(request.body["region"])
    identifier = request.params["region_id"]
    if values.get("id") not in (None, "", identifier):
        raise BadRequest("Invalid input for field/attribute id: it is not the one in the URL.")
    with ctx.cloud.database.write() as tx:
        row = services.create_region(ctx, tx, {**values, "id": identifier}, extra)
        return Response(201, {"region": REGIONS.view(ctx)(row)})


def _routes(noun: str) -> tuple[Route, ...]:
    """The five operations of a noun."""
    resource, insert, change, remove = _NOUNS[noun]
    table, plural, parameter = resource.table, resource.plural, f"{noun}_id"

    def find(tx: Tx, request: Request) -> Any:
        identifier = request.params[parameter]
        return require(services.find(tx, table, identifier), noun, identifier)

    def list_all(ctx: Context, request: Request) -> object:
        with ctx.cloud.database.read() as tx:
            return list_answer(ctx, tx, request, resource, sa.select(table))

    def create(ctx: Context, request: Request) -> object:
        values, extra = resource.split(request.body[noun])
        with ctx.cloud.database.write() as tx:
            return {noun: resource.view(ctx)(insert(ctx, tx, values, extra))}

    def show(ctx: Context, request: Request) -> object:
        with ctx.cloud.database.read() as tx:
            return {noun: resource.view(ctx)(find(tx, request))}

    def update(ctx: Context, request: Request) -> object:
        values, extra = resource.split(request.body[noun])
        values.pop("links", None)
        with ctx.cloud.database.write() as tx:
            row = find(tx, request)
            if noun != "region":
                values.pop("id", None)
            return {noun: resource.view(ctx)(change(ctx, tx, row, values, extra))}

    def delete(ctx: Context, request: Request) -> None:
        with ctx.cloud.database.write() as tx:
            remove(ctx, tx, find(tx, request))

    def route(
        method: str,
        path: str,
        handler: Handler,
        rule: str,
        summary: str,
        **more: Any,
    ) -> Route:
        return Route(
            method=method,
            path=f"/{plural}{path}",
            handler=handler,
            rule=f"identity:{rule}",
            summary=summary,
            **more,
        )

    one = f"/{{{parameter}}}"
    return (
        route(
            "GET", "", list_all, f"list_{plural}", f"List {plural}.", response=resource.list_schema
        ),
        route(
            "POST",
            "",
            create,
            f"create_{noun}",
            f"Create a {noun}.",
            status=201,
            body=resource.create_schema,
            response=resource.show_schema,
        ),
        route("GET", one, show, f"get_{noun}", f"Show a {noun}.", response=resource.show_schema),
        route(
            "PATCH",
            one,
            update,
            f"update_{noun}",
            f"Change a {noun}.",
            body=resource.update_schema,
            response=resource.show_schema,
        ),
        route("DELETE", one, delete, f"delete_{noun}", f"Delete a {noun}.", status=204),
    )


ROUTES = (
    *_routes("service"),
    *_routes("endpoint"),
    *_routes("region"),
    Route(
        method="PUT",
        path="/regions/{region_id}",
        handler=create_region_by_id,
        rule="identity:create_region",
        body=REGIONS.create_schema,
        status=201,
    ),
)
