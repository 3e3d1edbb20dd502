"""`/resource_providers`: providers and their trees."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.kernel.ids import new_uuid
from nubelet.placement import capacity, providers
from nubelet.placement.api import query, schemas
from nubelet.placement.api.answers import answer, canonical, provider_view
from nubelet.placement.model import provider_aggregate, provider_trait, resource_provider

_KEYS = {
    "name": (1, 0),
    "uuid": (1, 0),
    "member_of": (1, 3),
    "resources": (1, 4),
    "in_tree": (1, 14),
    "required": (1, 18),
}
_rp = resource_provider.c


def index(ctx: Context, request: Request) -> object:
    """List the providers that have what is asked for, each by itself."""
    asked = request.query
    statement: sa.Select[Any] = sa.select(resource_provider).order_by(_rp.created_at, _rp.id)
    name, uuid = query.one(asked, "name"), query.uuid("uuid", query.one(asked, "uuid"))
    if name is not None:
        statement = statement.where(_rp.name == name)
    if uuid is not None:
        statement = statement.where(_rp.id == uuid)
    in_tree = query.uuid("in_tree", query.one(asked, "in_tree"))
    if in_tree is not None:
        statement = statement.where(
            _rp.root_id == sa.select(_rp.root_id).where(_rp.id == in_tree).scalar_subquery()
        )
    belonging = query.aggregates(ctx, "member_of", asked.get("member_of", []))
    statement = _in_aggregates(statement, belonging)
    traits = query.traits(ctx, "required", asked.get("required", []))
    text = query.one(asked, "resources")
    resources = query.resources("resources", text) if text is not None else {}
    with ctx.cloud.database.read() as tx:
        query.require_known_traits(tx, {*traits.forbidden}.union(*traits.required))
        query.require_known_classes(tx, "resources", resources)
        rows = list(tx.all(_with_traits(statement, traits)))
        if resources:
            rows = _with_room(tx, rows, resources)
    return answer(
        ctx,
        {"resource_providers": [provider_view(ctx, request, row) for row in rows]},
        modified=[row.updated_at for row in rows],
    )


def _in_aggregates(statement: sa.Select[Any], asked: query.Aggregates) -> sa.Select[Any]:
    table = provider_aggregate.c
    for one_of in asked.member_of:
        statement = statement.where(
            _rp.id.in_(sa.select(table.provider_id).where(table.aggregate_id.in_(one_of)))
        )
    if asked.excluded:
        statement = statement.where(
            _rp.id.not_in(
                sa.select(table.provider_id).where(table.aggregate_id.in_(asked.excluded))
            )
        )
    return statement


def _with_traits(statement: sa.Select[Any], asked: query.Traits) -> sa.Select[Any]:
    table = provider_trait.c
    for one_of in asked.required:
        statement = statement.where(
            _rp.id.in_(sa.select(table.provider_id).where(table.trait.in_(one_of)))
        )
    if asked.forbidden:
        statement = statement.where(
            _rp.id.not_in(sa.select(table.provider_id).where(table.trait.in_(asked.forbidden)))
        )
    return statement


def _with_room(tx: Tx, rows: list[Any], resources: dict[str, int]) -> list[Any]:
    stocks = capacity.stocks(tx, None, sorted(resources))
    return [row for row in rows if not capacity.refusals(stocks.get(row.id, {}), resources)]


def create(ctx: Context, request: Request) -> object:
    """Create a provider."""
    body = request.body
    provider_id = canonical(body.get("uuid") or new_uuid())
    parent = body.get("parent_provider_uuid")
    with ctx.cloud.database.write() as tx:
        row = providers.create(tx, provider_id, body["name"], canonical(parent) if parent else None)
    location = f"{request.base_url}/resource_providers/{provider_id}"
    if not ctx.at_least(1, 20):
        return answer(ctx, None, status=201, location=location)
    return answer(
        ctx, provider_view(ctx, request, row), location=location, modified=[row.updated_at]
    )


def show(ctx: Context, request: Request) -> object:
    """Show a provider."""
    with ctx.cloud.database.read() as tx:
        row = find(tx, request)
    return answer(ctx, provider_view(ctx, request, row), modified=[row.updated_at])


def find(tx: Tx, request: Request) -> providers.Row:
    """The provider in the path; raises NotFound."""
    return providers.find_provider(tx, provider_id(request))


def provider_id(request: Request) -> str:
    """The id in the path, in its one spelling; raises NotFound for what is no UUID."""
    from nubelet.kernel.ids import is_uuid

    given = request.params["uuid"]
    if not is_uuid(given):
        raise NotFound(message=f"No resource provider with uuid {given} found")
    return canonical(given)


def update(ctx: Context, request: Request) -> object:
    """Rename a provider, or move it in or between trees."""
    body = request.body
    with ctx.cloud.database.write() as tx:
        row = providers.lock(tx, provider_id(request))
        providers.rename(tx, row, body["name"])
        if "parent_provider_uuid" in body:
            parent = body["parent_provider_uuid"]
            providers.move(
                tx, row, canonical(parent) if parent else None, freely=ctx.at_least(1, 37)
            )
        row = find(tx, request)
    return answer(ctx, provider_view(ctx, request, row), modified=[row.updated_at])


def delete(ctx: Context, request: Request) -> object:
    """Delete a provider that nobody uses."""
    with ctx.cloud.database.write() as tx:
        providers.delete(tx, provider_id(request))
    return None


_RULE = "placement:resource_providers"
ROUTES = (
    Route(
        method="GET",
        path="/resource_providers",
        handler=index,
        rule=f"{_RULE}:list",
        query=lambda version: query.allowed_keys(version, _KEYS),
    ),
    Route(
        method="POST",
        path="/resource_providers",
        handler=create,
        rule=f"{_RULE}:create",
        body=schemas.PROVIDER_POST,
    ),
    Route(method="GET", path="/resource_providers/{uuid}", handler=show, rule=f"{_RULE}:show"),
    Route(
        method="PUT",
        path="/resource_providers/{uuid}",
        handler=update,
        rule=f"{_RULE}:update",
        body=schemas.PROVIDER_PUT,
    ),
    Route(
        method="DELETE",
        path="/resource_providers/{uuid}",
        handler=delete,
        rule=f"{_RULE}:delete",
        status=204,
    ),
)
