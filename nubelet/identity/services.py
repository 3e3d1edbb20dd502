"""Services, endpoints and regions: what the catalog is made of.

In OpenStack: keystone/catalog/core.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import catalog, catalog_file, changes, regions
from nubelet.identity.endpoint_filter.associations import forget_endpoints
from nubelet.identity.limits.model import registered_limit
from nubelet.identity.model import endpoint, region, service
from nubelet.identity.policies import keeping
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, Forbidden, NotFound
from nubelet.kernel.ids import new_hex


def find(tx: Tx, table: sa.Table, identifier: str) -> Any:
    """The row of a service, endpoint or region; None where there is none."""
    return tx.first(sa.select(table).where(table.c.id == identifier))


def create_service(
    ctx: Context, tx: Tx, values: Mapping[str, Any], extra: Mapping[str, Any]
) -> Any:
    """Insert a service; answers its row."""
    catalog_file.refuse(ctx.cloud)
    identifier = new_hex()
    tx.insert(
        service,
        id=identifier,
        type=values["type"],
        name=values.get("name") or "",
        enabled=values.get("enabled", True),
        extra=dict(extra),
        created_at=clock.now(),
    )
    changes.record(ctx, tx, "service.created", identifier)
    return find(tx, service, identifier)


def update_service(
    ctx: Context, tx: Tx, row: Any, values: Mapping[str, Any], extra: Mapping[str, Any]
) -> Any:
    """Change a service; answers its row."""
    catalog_file.refuse(ctx.cloud)
    tx.update(service, service.c.id == row.id, **values, extra={**row.extra, **extra})
    changes.record(ctx, tx, "service.updated", row.id)
    return find(tx, service, row.id)


def delete_service(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete a service with its endpoints; refused while limits are registered for it."""
    catalog_file.refuse(ctx.cloud)
    _refuse_limited(tx, "service", row.id)
    forget_endpoints(tx, endpoint.c.service_id == row.id)
    keeping.forget(tx, service_id=row.id)
    tx.delete(endpoint, endpoint.c.service_id == row.id)
    tx.delete(service, service.c.id == row.id)
    changes.record(ctx, tx, "service.deleted", row.id)


def create_endpoint(
    ctx: Context, tx: Tx, values: Mapping[str, Any], extra: Mapping[str, Any]
) -> Any:
    """Insert an endpoint; answers its row. `region` in the values names a region that is made
    if need be, `region_id` one that must be there."""
    catalog_file.refuse(ctx.cloud)
    checked = _check_endpoint(ctx, tx, values)
    identifier = new_hex()
    tx.insert(
        endpoint,
        id=identifier,
        service_id=checked["service_id"],
        region_id=checked.get("region_id"),
        interface=checked["interface"],
        url=checked["url"],
        enabled=checked.get("enabled", True),
        extra=dict(extra),
        created_at=clock.now(),
    )
    changes.record(ctx, tx, "endpoint.created", identifier)
    return find(tx, endpoint, identifier)


def update_endpoint(
    ctx: Context, tx: Tx, row: Any, values: Mapping[str, Any], extra: Mapping[str, Any]
) -> Any:
    """Change an endpoint; answers its row."""
    catalog_file.refuse(ctx.cloud)
    checked = _check_endpoint(ctx, tx, values)
    tx.update(endpoint, endpoint.c.id == row.id, **checked, extra={**row.extra, **extra})
    changes.record(ctx, tx, "endpoint.updated", row.id)
    return find(tx, endpoint, row.id)


def delete_endpoint(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete an endpoint."""
    catalog_file.refuse(ctx.cloud)
    forget_endpoints(tx, endpoint.c.id == row.id)
    keeping.forget(tx, endpoint_id=row.id)
    tx.delete(endpoint, endpoint.c.id == row.id)
    changes.record(ctx, tx, "endpoint.deleted", row.id)


def create_region(ctx: Context, tx: Tx, values: Mapping[str, Any], extra: Mapping[str, Any]) -> Any:
    """Insert a region; answers its row."""
    catalog_file.refuse(ctx.cloud)
    identifier = values.get("id") or new_hex()
    tx.lock("identity", "region", identifier)
    if find(tx, region, identifier) is not None:
        raise Conflict(f"There is a region {identifier} already.")
    _check_parent(tx, identifier, values.get("parent_region_id"))
    tx.insert(
        region,
        id=identifier,
        description=values.get("description") or "",
        parent_region_id=values.get("parent_region_id"),
        extra=dict(extra),
        created_at=clock.now(),
    )
    changes.record(ctx, tx, "region.created", identifier)
    return find(tx, region, identifier)


def update_region(
    ctx: Context, tx: Tx, row: Any, values: Mapping[str, Any], extra: Mapping[str, Any]
) -> Any:
    """Change a region; answers its row."""
    catalog_file.refuse(ctx.cloud)
    if "id" in values and values["id"] != row.id:
        raise BadRequest("Invalid input for field/attribute id: it cannot be changed.")
    changed: dict[str, Any] = {"extra": {**row.extra, **extra}}
    if "description" in values:
        changed["description"] = values["description"] or ""
    if "parent_region_id" in values:
        _check_parent(tx, row.id, values["parent_region_id"])
        changed["parent_region_id"] = values["parent_region_id"]
    tx.update(region, region.c.id == row.id, **changed)
    changes.record(ctx, tx, "region.updated", row.id)
    return find(tx, region, row.id)


def delete_region(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete a region with those below it; refused while an endpoint is in one of them."""
    catalog_file.refuse(ctx.cloud)
    parents = regions.parents(tx)
    doomed = [identifier for identifier in parents if row.id in regions.line(parents, identifier)]
    used = tx.first(
        sa.select(endpoint.c.id, endpoint.c.region_id).where(endpoint.c.region_id.in_(doomed))
    )
    if used is not None:
        raise Forbidden(
            f"The region {row.id} cannot be deleted: the endpoint {used.id} is in {used.region_id}."
        )
    for identifier in doomed:
        _refuse_limited(tx, "region", identifier)
        keeping.forget(tx, region_id=identifier)
    tx.update(region, region.c.id.in_(doomed), parent_region_id=None)
    tx.delete(region, region.c.id.in_(doomed))
    for identifier in doomed:
        changes.record(ctx, tx, "region.deleted", identifier)


def _refuse_limited(tx: Tx, noun: str, identifier: str) -> None:
    found = tx.scalar(
        sa.select(registered_limit.c.id).where(registered_limit.c[f"{noun}_id"] == identifier)
    )
    if found is not None:
        raise Conflict(
            f"The {noun} {identifier} cannot be deleted: the registered limit {found} is for it."
        )


def _check_endpoint(ctx: Context, tx: Tx, values: Mapping[str, Any]) -> dict[str, Any]:
    checked = dict(values)
    if "service_id" in checked and find(tx, service, checked["service_id"]) is None:
        raise BadRequest(
            "Invalid input for field/attribute service_id: there is no service "
            f"{checked['service_id']}."
        )
    if "url" in checked:
        unknown = catalog.placeholders(checked["url"]) - set(catalog.ALLOWED)
        if unknown:
            raise BadRequest(
                "Invalid input for field/attribute url: nothing can be put in place "
                f"of {', '.join(sorted(unknown))}."
            )
    name = checked.pop("region", None)
    if "region_id" in checked:
        if checked["region_id"] is not None and find(tx, region, checked["region_id"]) is None:
            raise BadRequest(
                "Invalid input for field/attribute region_id: there is no region "
                f"{checked['region_id']}."
            )
    elif name:
        checked["region_id"] = name
        if find(tx, region, name) is None:
            create_region(ctx, tx, {"id": name}, {})
    return checked


def _check_parent(tx: Tx, identifier: str, parent_id: str | None) -> None:
    if parent_id is None:
        return
    parents = regions.parents(tx)
    if parent_id not in parents:
        raise NotFound("region", parent_id)
    if identifier in regions.line(parents, parent_id):
        raise BadRequest(
            "Invalid input for field/attribute parent_region_id: "
            f"{parent_id} is below {identifier}."
        )
