"""How images are, for `nubelet explain`: their status, and whether their data is there."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from nubelet.image.locations import Location
from nubelet.image.model import image, image_location
from nubelet.image.stores import Stores, StoreUnreachable
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.conditions import Condition
from nubelet.kernel.database import Tx


def describe(cloud: Cloud, tx: Tx, identifier: str) -> list[Condition]:
    """The images with this id or name."""
    rows = tx.all(
        sa.select(image)
        .where(sa.or_(image.c.id == identifier, image.c.name == identifier))
        .limit(100)
    )
    placed = complete_locations(tx, [row.id for row in rows])
    return [
        Condition(
            noun="image",
            id=row.id,
            name=row.name or "",
            project_id=row.owner,
            status=row.status,
            trouble=trouble(cloud, row, placed.get(row.id, [])),
        )
        for row in rows
    ]


def complete_locations(
    tx: Tx, image_ids: Collection[str] | None = None
) -> dict[str, list[Location]]:
    """The locations of images (all of them without `image_ids`)."""
    statement = sa.select(image_location).order_by(image_location.c.position)
    if image_ids is not None:
        statement = statement.where(image_location.c.image_id.in_(image_ids))
    found: dict[str, list[Location]] = {}
    for row in tx.all(statement):
        found.setdefault(row.image_id, []).append(Location(row.store, row.key, row.metadata))
    return found


def trouble(cloud: Cloud, row: Any, placed: list[Location], *, grace_seconds: int = 0) -> str:
    """What is wrong with an image's data, or empty."""
    if row.status in ("active", "deactivated"):
        if not placed:
            return "it has no data in any store"
        return "; ".join(filter(None, (_missing(cloud, row, each) for each in placed)))
    since = clock.now() - grace_seconds * 1_000_000
    if row.status == "saving" and (row.lease_until or 0) < since:
        return "no upload is alive"
    return ""


def _missing(cloud: Cloud, row: Any, place: Location) -> str:
    stores = cloud.get(Stores)
    if place.store not in stores:
        return f"its data is in the store {place.store}, which is not configured"
    store = stores.get(place.store)
    if store.read_only:  # others answer for what lies there
        return ""
    try:
        size = store.size(place.key)
    except StoreUnreachable as error:
        return f"the store {store.name} cannot be asked for its data: {error}"
    if size is None:
        return f"its data is missing from the store {store.name}"
    if size != row.size:
        return f"it should have {row.size} bytes of data, the store {store.name} has {size}"
    return ""
