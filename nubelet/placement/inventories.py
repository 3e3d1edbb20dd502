"""Inventories: how much of a resource class a provider has.

In OpenStack: placement/objects/inventory.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Conflict
from nubelet.placement import capacity, providers
from nubelet.placement.model import allocation, inventory

IN_USE = "placement.inventory.inuse"
Values = Mapping[str, Any]
_i = inventory.c


def inventories_of(tx: Tx, provider_id: str) -> dict[str, Any]:
    """Resource class -> inventory row of a provider."""
    return {
        row.resource_class: row
        for row in tx.all(
            sa.select(inventory).where(_i.provider_id == provider_id).order_by(_i.resource_class)
        )
    }


def set_inventory(tx: Tx, provider_id: str, inventories: Mapping[str, Values]) -> bool:
    """The provider has exactly these inventories; True if that changed anything.

    Raises NotFound, and Conflict `placement.inventory.inuse` when a used one would go.
    """
    providers.lock(tx, provider_id)
    changed = put(tx, provider_id, inventories)
    gone = inventories_of(tx, provider_id).keys() - inventories.keys()
    if gone:
        remove(tx, provider_id, gone)
    if changed or gone:
        providers.touch(tx, [provider_id])
    return bool(changed or gone)


def put(tx: Tx, provider_id: str, inventories: Mapping[str, Values]) -> bool:
    """The (locked) provider has these inventories, among others; True if that changed any."""
    present = inventories_of(tx, provider_id)
    new: list[dict[str, Any]] = []
    changed, now = False, clock.now()
    for name, given in inventories.items():
        values = {key: {**providers.DEFAULTS, **given}[key] for key in capacity.FIELDS}
        row = present.get(name)
        if row is None:
            new.append(
                {"provider_id": provider_id, "resource_class": name, "updated_at": now, **values}
            )
        elif any(getattr(row, key) != value for key, value in values.items()):
            tx.update(
                inventory,
                _i.provider_id == provider_id,
                _i.resource_class == name,
                updated_at=now,
                **values,
            )
            changed = True
    tx.insert(inventory, *new)
    return changed or bool(new)


def remove(tx: Tx, provider_id: str, names: Iterable[str]) -> None:
    """The (locked) provider has these inventories no more; raises Conflict when one is used."""
    gone = sorted(names)
    used = [
        row[0]
        for row in tx.all(
            sa.select(allocation.c.resource_class)
            .distinct()
            .where(allocation.c.provider_id == provider_id, allocation.c.resource_class.in_(gone))
        )
    ]
    if used:
        raise Conflict(
            f"Inventory for '{', '.join(sorted(used))}' on resource provider "
            f"'{provider_id}' in use.",
            code=IN_USE,
        )
    tx.delete(inventory, _i.provider_id == provider_id, _i.resource_class.in_(gone))
