"""Where the data of an image lies: its copies in the stores of this cloud, and places on the web.

The rows are the truth: data in a store that no row names belongs to nobody, and the reconciler
removes it. In OpenStack: glance/location.py and the table image_locations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.image.model import image_location
from nubelet.image.stores import ImageStore, Stores
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound


class Location(NamedTuple):
    """One place. `metadata` is what a user said of it."""

    store: str
    key: str
    metadata: Mapping[str, Any] = {}

    def url(self, stores: Stores) -> str:
        """As the API shows it; the bare key for a store that is not configured any more."""
        return stores.get(self.store).url(self.key) if self.store in stores else self.key

    def show(self, stores: Stores) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "url": self.url(stores),
            "metadata": {**self.metadata, "store": self.store},
        }


def by_weight(stores: Stores, found: Iterable[Location]) -> list[Location]:
    """The ones to read first come first."""
    return sorted(found, key=lambda each: -stores.weight(each.store))


def source(cloud: Cloud, image_id: str, found: Iterable[Location]) -> tuple[ImageStore, str]:
    """The store and key to read an image from; raises NotFound when it lies nowhere we can read."""
    stores = cloud.get(Stores)
    for each in by_weight(stores, found):
        if each.store in stores:
            return stores.get(each.store), each.key
    raise NotFound(message=f"The data of image {image_id} is missing from the stores.")


_OF_IMAGE = (
    sa.select(image_location)
    .where(image_location.c.image_id == sa.bindparam("image_id"))
    .order_by(image_location.c.position, image_location.c.seq)
)


def find_all(tx: Tx, image_id: str) -> list[Location]:
    """The locations of an image, in their order."""
    return [
        Location(row.store, row.key, row.metadata) for row in tx.all(_OF_IMAGE, image_id=image_id)
    ]


def replace(tx: Tx, image_id: str, wanted: Iterable[Location]) -> None:
    """The image has exactly these locations."""
    tx.delete(image_location, image_location.c.image_id == image_id)
    tx.insert(
        image_location,
        *(
            {
                "image_id": image_id,
                "store": each.store,
                "key": each.key,
                "position": position,
                "metadata": dict(each.metadata),
            }
            for position, each in enumerate(wanted)
        ),
    )


def add(tx: Tx, image_id: str, new: Location) -> None:
    """One more copy; nothing when it is known already."""
    found = find_all(tx, image_id)
    if not any((each.store, each.key) == (new.store, new.key) for each in found):
        replace(tx, image_id, [*found, new])


def remove(tx: Tx, image_id: str, store: str, key: str) -> None:
    """One copy less; none is no error."""
    tx.delete(
        image_location,
        image_location.c.image_id == image_id,
        image_location.c.store == store,
        image_location.c.key == key,
    )
