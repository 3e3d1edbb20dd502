"""`/resource_providers/{uuid}/inventories`: what a provider has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, NotFound
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.placement import capacity, inventories, names, providers
from nubelet.placement.api import schemas
from nubelet.placement.api.answers import answer
from nubelet.placement.api.resource_providers import find, provider_id

_GENERATION = "resource_provider_generation"


def index(ctx: Context, request: Request) -> object:
    """List what a provider has."""
    with ctx.cloud.database.read() as tx:
        row = find(tx, request)
        return _all(ctx, tx, row)


def _all(ctx: Context, tx: Tx, row: providers.Row) -> object:
    found = inventories.inventories_of(tx, row.id)
    return answer(
        ctx,
        {
            _GENERATION: row.generation,
            "inventories": {name: capacity.row_values(each) for name, each in found.items()},
        },
        modified=[each.updated_at for each in found.values()],
    )


def show(ctx: Context, request: Request) -> object:
    """Show what a provider has of one resource class."""
    with ctx.cloud.database.read() as tx:
        row = find(tx, request)
        return _one(ctx, tx, row, request.params["resource_class"])


def _one(
    ctx: Context, tx: Tx, row: providers.Row, name: str, status: int = 200, location: str = ""
) -> object:
    found = inventories.inventories_of(tx, row.id).get(name)
    if found is None:
        raise NotFound(message=f"No inventory of class {name} for {row.id}")
    return answer(
        ctx,
        {_GENERATION: row.generation, **capacity.row_values(found)},
        status=status,
        modified=[found.updated_at],
        location=location,
    )


def require_valid(
    ctx: Context,
    tx: Tx,
    row_id: str,
    given: Mapping[str, Mapping[str, Any]],
) -> None:
    """Raise BadRequest for an unknown resource class, or one of which nothing can be given out."""
    unknown = names.unknown_resource_classes(tx, given)
    if unknown:
        raise BadRequest(
            f"Unknown resource class in inventory for resource provider {row_id}: "
            f"{', '.join(unknown)}"
        )
    for name, values in given.items():
        left = values["total"] - values.get("reserved", 0)
        if left < 0 or (left == 0 and not ctx.at_least(1, 26)):
            raise BadRequest(
                f"Unable to update inventory for resource provider {row_id}: reserved of {name} "
                f"must be {'at most' if ctx.at_least(1, 26) else 'less than'} its total"
            )
        if values.get("min_unit", 1) > values.get("max_unit", providers.DEFAULTS["max_unit"]):
            raise BadRequest(f"min_unit of {name} is greater than its max_unit")


def replace(ctx: Context, request: Request) -> object:
    """Set everything that a provider has."""
    body = request.body
    with ctx.cloud.database.write() as tx:
        row = providers.lock(tx, provider_id(request), body[_GENERATION])
        require_valid(ctx, tx, row.id, body["inventories"])
        if not inventories.set_inventory(tx, row.id, body["inventories"]):
            providers.touch(tx, [row.id])
        return _all(ctx, tx, find(tx, request))


def create(ctx: Context, request: Request) -> object:
    """Add a resource class that the provider has nothing of."""
    values = dict(request.body)
    name, generation = values.pop("resource_class"), values.pop(_GENERATION, None)
    with ctx.cloud.database.write() as tx:
        row = providers.lock(tx, provider_id(request), generation)
        require_valid(ctx, tx, row.id, {name: values})
        if name in inventories.inventories_of(tx, row.id):
            raise Conflict(f"Resource provider {row.id} has an inventory of {name} already.")
        inventories.put(tx, row.id, {name: values})
        providers.touch(tx, [row.id])
        location = f"{request.base_url}/resource_providers/{row.id}/inventories/{name}"
        return _one(ctx, tx, find(tx, request), name, 201, location)


def update(ctx: Context, request: Request) -> object:
    """Set what a provider has of one resource class."""
    values, name = dict(request.body), request.params["resource_class"]
    with ctx.cloud.database.write() as tx:
        row = providers.lock(tx, provider_id(request), values.pop(_GENERATION))
        require_valid(ctx, tx, row.id, {name: values})
        if name not in inventories.inventories_of(tx, row.id):
            raise BadRequest(
                f"No inventory record with resource class {name} for resource provider {row.id}"
            )
        inventories.put(tx, row.id, {name: values})
        providers.touch(tx, [row.id])
        return _one(ctx, tx, find(tx, request), name)


def delete(ctx: Context, request: Request) -> object:
    """The provider has nothing more of a resource class."""
    name = request.params["resource_class"]
    with ctx.cloud.database.write() as tx:
        row = providers.lock(tx, provider_id(request))
        if name not in inventories.inventories_of(tx, row.id):
            raise NotFound(
                message=f"No inventory of class {name} found for resource provider {row.id}"
            )
        inventories.remove(tx, row.id, [name])
        providers.touch(tx, [row.id])
    return None


def clear(ctx: Context, request: Request) -> object:
    """The provider has nothing more."""
    with ctx.cloud.database.write() as tx:
        inventories.set_inventory(tx, find(tx, request).id, {})
    return None


_RULE = "placement:resource_providers:inventories"
_ALL = "/resource_providers/{uuid}/inventories"
_ONE = "/resource_providers/{uuid}/inventories/{resource_class}"
ROUTES = (
    Route(method="GET", path=_ALL, handler=index, rule=f"{_RULE}:list"),
    Route(
        method="PUT",
        path=_ALL,
        handler=replace,
        rule=f"{_RULE}:update",
        body=schemas.INVENTORIES_PUT,
    ),
    Route(
        method="POST",
        path=_ALL,
        handler=create,
        rule=f"{_RULE}:create",
        status=201,
        body=schemas.INVENTORY_POST,
    ),
    Route(
        method="DELETE", path=_ALL, handler=clear, rule=f"{_RULE}:delete", status=204, since=(1, 5)
    ),
    Route(method="GET", path=_ONE, handler=show, rule=f"{_RULE}:show"),
    Route(
        method="PUT", path=_ONE, handler=update, rule=f"{_RULE}:update", body=schemas.INVENTORY_PUT
    ),
    Route(method="DELETE", path=_ONE, handler=delete, rule=f"{_RULE}:delete", status=204),
)
