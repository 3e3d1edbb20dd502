"""Creating, changing and deleting registered limits and limits.

Several are created at once, all or none. A registered limit stays as it is while there are
exceptions of it.

In OpenStack: keystone/limit/core.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.identity import changes
from nubelet.identity.limits import rules
from nubelet.identity.limits.model import limit, registered_limit
from nubelet.identity.limits.rules import Model
from nubelet.identity.model import project, region, service
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, Forbidden
from nubelet.kernel.ids import new_hex

# A limit with what its registration says of it.
SHOWN = sa.select(
    limit,
    registered_limit.c.service_id,
    registered_limit.c.region_id,
    registered_limit.c.resource_name,
).join(registered_limit, registered_limit.c.id == limit.c.registered_limit_id)


def find_registered(tx: Tx, identifier: str) -> Any:
    """The row of a registered limit; None where there is none."""
    return tx.first(sa.select(registered_limit).where(registered_limit.c.id == identifier))


def find(tx: Tx, identifier: str) -> Any:
    """The row of a limit with service_id, region_id and resource_name; None where there is none."""
    return tx.first(SHOWN.where(limit.c.id == identifier))


def register(ctx: Context, tx: Tx, given: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Insert registered limits; answers their rows."""
    made = []
    for values in given:
        _require_places(tx, values)
        _refuse_duplicate(tx, values["service_id"], values.get("region_id"), values)
        identifier = new_hex()
        tx.insert(
            registered_limit,
            id=identifier,
            service_id=values["service_id"],
            region_id=values.get("region_id"),
            resource_name=values["resource_name"],
            default_limit=values["default_limit"],
            description=values.get("description"),
            created_at=clock.now(),
        )
        changes.record(ctx, tx, "registered_limit.created", identifier)
        made.append(find_registered(tx, identifier))
    return made


def update_registered(ctx: Context, tx: Tx, row: Any, values: Mapping[str, Any]) -> Any:
    """Change a registered limit that has no exceptions; answers its row."""
    _refuse_used(tx, row)
    _require_places(tx, values)
    new = {**row._mapping, **values}
    same = ("service_id", "region_id", "resource_name")
    if any(new[name] != row._mapping[name] for name in same):
        _refuse_duplicate(tx, new["service_id"], new["region_id"], new)
    if values:
        tx.update(registered_limit, registered_limit.c.id == row.id, **values)
        changes.record(ctx, tx, "registered_limit.updated", row.id)
    return find_registered(tx, row.id)


def delete_registered(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete a registered limit that has no exceptions."""
    _refuse_used(tx, row)
    tx.delete(registered_limit, registered_limit.c.id == row.id)
    changes.record(ctx, tx, "registered_limit.deleted", row.id)


def create(ctx: Context, tx: Tx, model: Model, given: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Insert limits of projects and domains; answers their rows. Domains go first, so that the
    limits of their projects are held to the new ones."""
    made: dict[int, Any] = {}
    for at in sorted(range(len(given)), key=lambda index: bool(given[index].get("project_id"))):
        values = given[at]
        _require_places(tx, values)
        registered = _registered_for(tx, values)
        _refuse_second(tx, registered.id, values)
        identifier = new_hex()
        tx.insert(
            limit,
            id=identifier,
            registered_limit_id=registered.id,
            project_id=values.get("project_id"),
            domain_id=values.get("domain_id"),
            resource_limit=values["resource_limit"],
            description=values.get("description"),
            created_at=clock.now(),
        )
        made[at] = find(tx, identifier)
        rules.check_tree(tx, model, made[at], values["resource_limit"])
        changes.record(ctx, tx, "limit.created", identifier)
    return [made[at] for at in range(len(given))]


def update(ctx: Context, tx: Tx, model: Model, row: Any, values: Mapping[str, Any]) -> Any:
    """Change a limit; answers its row."""
    if "resource_limit" in values:
        rules.check_tree(tx, model, row, values["resource_limit"])
    if values:
        tx.update(limit, limit.c.id == row.id, **values)
        changes.record(ctx, tx, "limit.updated", row.id)
    return find(tx, row.id)


def delete(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete a limit: what is registered holds again."""
    tx.delete(limit, limit.c.id == row.id)
    changes.record(ctx, tx, "limit.deleted", row.id)


# --- Rules ----------------------------------------------------------------------------------------


def _require_places(tx: Tx, values: Mapping[str, Any]) -> None:
    """Service, region, project and domain must be there."""
    for name, statement in (
        ("service_id", sa.select(service.c.id)),
        ("region_id", sa.select(region.c.id)),
        ("project_id", sa.select(project.c.id)),
        ("domain_id", sa.select(project.c.id).where(project.c.is_domain)),
    ):
        identifier = values.get(name)
        if identifier is None:
            continue
        column = statement.selected_columns[0]
        if tx.first(statement.where(column == identifier)) is None:
            raise BadRequest(
                f"Invalid input for field/attribute {name}: there is no "
                f"{name.removesuffix('_id')} {identifier}."
            )


def _registered_for(tx: Tx, values: Mapping[str, Any]) -> Any:
    row = tx.first(
        sa.select(registered_limit).where(
            registered_limit.c.service_id == values["service_id"],
            _same_region(values.get("region_id")),
            registered_limit.c.resource_name == values["resource_name"],
        )
    )
    if row is None:
        raise BadRequest(
            "Invalid input for field/attribute resource_name: no limit of "
            f"{values['resource_name']} is registered for the service {values['service_id']} in "
            f"{'the region ' + values['region_id'] if values.get('region_id') else 'all regions'}."
        )
    return row


def _same_region(region_id: str | None) -> sa.ColumnElement[bool]:
    column = registered_limit.c.region_id
    return column.is_(None) if region_id is None else column == region_id


def _refuse_duplicate(
    tx: Tx, service_id: str, region_id: str | None, values: Mapping[str, Any]
) -> None:
    name = values["resource_name"]
    tx.lock("identity", "registered_limit", service_id, name)
    found = tx.scalar(
        sa.select(registered_limit.c.id).where(
            registered_limit.c.service_id == service_id,
            _same_region(region_id),
            registered_limit.c.resource_name == name,
        )
    )
    if found is not None:
        raise Conflict(f"A limit of {name} is registered there already: {found}.")


def _refuse_second(tx: Tx, registered_id: str, values: Mapping[str, Any]) -> None:
    name = "project_id" if values.get("project_id") else "domain_id"
    tx.lock("identity", "limit", registered_id, values[name])
    found = tx.scalar(
        sa.select(limit.c.id).where(
            limit.c.registered_limit_id == registered_id, limit.c[name] == values[name]
        )
    )
    if found is not None:
        raise Conflict(
            f"The {name.removesuffix('_id')} {values[name]} has a limit of "
            f"{values['resource_name']} already: {found}."
        )


def _refuse_used(tx: Tx, row: Any) -> None:
    found = tx.scalar(sa.select(limit.c.id).where(limit.c.registered_limit_id == row.id))
    if found is not None:
        raise Forbidden(
            f"The registered limit {row.id} cannot be changed or deleted while there are limits "
            f"of it, such as {found}."
        )
