"""`/resource_classes`: the kinds of things that inventories are of."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, NotFound
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.placement import names
from nubelet.placement.api import schemas
from nubelet.placement.api.answers import answer
from nubelet.placement.model import custom_resource_class, inventory

_table = custom_resource_class


def _view(request: Request, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "links": [{"rel": "self", "href": f"{request.base}/resource_classes/{name}"}],
    }


def index(ctx: Context, request: Request) -> object:
    """List all resource classes."""
    with ctx.cloud.database.read() as tx:
        rows = tx.all(sa.select(_table).order_by(_table.c.created_at, _table.c.name))
    found = [*names.standard_resource_classes(), *(row.name for row in rows)]
    return answer(
        ctx,
        {"resource_classes": [_view(request, name) for name in found]},
        modified=[row.created_at for row in rows],
    )


def show(ctx: Context, request: Request) -> object:
    """Show a resource class."""
    name = request.params["name"]
    with ctx.cloud.database.read() as tx:
        _require(tx, name)
        row = tx.first(sa.select(_table).where(_table.c.name == name))
    return answer(ctx, _view(request, name), modified=[row.created_at] if row else ())


def _require(tx: Tx, name: str) -> None:
    if names.unknown_resource_classes(tx, [name]):
        raise NotFound(message=f"No such resource class {name}.")


def create(ctx: Context, request: Request) -> object:
    """Create a custom resource class."""
    name = request.body["name"]
    with ctx.cloud.database.write() as tx:
        tx.lock("custom_resource_class")
        if not names.unknown_resource_classes(tx, [name]):
            raise Conflict(f"Conflicting resource class already exists: {name}")
        tx.insert(_table, name=name, created_at=clock.now())
    return answer(ctx, None, status=201, location=f"{request.base_url}/resource_classes/{name}")


def ensure(ctx: Context, request: Request) -> object:
    """Create a custom resource class (201), or find that it exists (204)."""
    name = request.params["name"]
    if name not in names.standard_resource_classes() and not names.CUSTOM.fullmatch(name):
        raise BadRequest(
            f"The resource class '{name}' is invalid: a custom one is CUSTOM_ and "
            "A-Z, 0-9 or _, at most 255 characters in all."
        )
    with ctx.cloud.database.write() as tx:
        tx.lock("custom_resource_class")
        new = bool(names.unknown_resource_classes(tx, [name]))
        if new:
            tx.insert(_table, name=name, created_at=clock.now())
    return answer(
        ctx,
        None,
        status=201 if new else 204,
        location=f"{request.base_url}/resource_classes/{name}",
    )


def rename(ctx: Context, request: Request) -> object:
    """Rename a custom resource class, and everything that is of it."""
    name, wanted = request.params["name"], request.body["name"]
    with ctx.cloud.database.write() as tx:
        tx.lock("custom_resource_class")
        _require_custom(tx, name, "update")
        if wanted != name:
            if not names.unknown_resource_classes(tx, [wanted]):
                raise Conflict(f"Resource class already exists: {wanted}")
            from nubelet.placement.model import allocation

            tx.update(_table, _table.c.name == name, name=wanted)
            for table in (inventory, allocation):
                tx.update(table, table.c.resource_class == name, resource_class=wanted)
    return answer(ctx, _view(request, wanted))


def _require_custom(tx: Tx, name: str, verb: str) -> None:
    _require(tx, name)
    if name in names.standard_resource_classes():
        raise BadRequest(f"Cannot {verb} standard resource class {name}")


def delete(ctx: Context, request: Request) -> object:
    """Delete a custom resource class that no provider has anything of."""
    name = request.params["name"]
    with ctx.cloud.database.write() as tx:
        tx.lock("custom_resource_class")
        _require_custom(tx, name, "delete")
        if tx.first(
            sa.select(inventory.c.provider_id).where(inventory.c.resource_class == name).limit(1)
        ):
            raise Conflict(f"Resource class {name} is in use in inventory.")
        tx.delete(_table, _table.c.name == name)
    return None


_RULE = "placement:resource_classes"
_ONE = "/resource_classes/{name}"
ROUTES = (
    Route(
        method="GET", path="/resource_classes", handler=index, rule=f"{_RULE}:list", since=(1, 2)
    ),
    Route(
        method="POST",
        path="/resource_classes",
        handler=create,
        rule=f"{_RULE}:create",
        since=(1, 2),
        status=201,
        body=schemas.RESOURCE_CLASS,
    ),
    Route(method="GET", path=_ONE, handler=show, rule=f"{_RULE}:show", since=(1, 2)),
    Route(
        method="PUT",
        path=_ONE,
        handler=rename,
        rule=f"{_RULE}:update",
        since=(1, 2),
        until=(1, 6),
        body=schemas.RESOURCE_CLASS,
    ),
    Route(
        method="PUT", path=_ONE, handler=ensure, rule=f"{_RULE}:update", since=(1, 7), status=201
    ),
    Route(
        method="DELETE", path=_ONE, handler=delete, rule=f"{_RULE}:delete", since=(1, 2), status=204
    ),
)
