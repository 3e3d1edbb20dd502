"""An image as the API shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any

from nubelet.image.images import Image
from nubelet.image.locations import by_weight
from nubelet.image.model import image
from nubelet.image.property_protection import reader
from nubelet.image.stores import Stores
from nubelet.kernel.clock import iso_seconds
from nubelet.kernel.context import Context

# Shown always; additional properties come beside them.
BASE = (
    "id",
    "name",
    "status",
    "visibility",
    "protected",
    "os_hidden",
    "owner",
    "size",
    "virtual_size",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "disk_format",
    "container_format",
    "min_disk",
    "min_ram",
)
# By their place in a row of all columns: names are looked up slowly, and lists show a thousand.
_values_of = itemgetter(*map(image.columns.keys().index, (*BASE, "created_at", "updated_at")))


def show(ctx: Context, found: Image) -> dict[str, Any]:
    """One image."""
    return show_all(ctx, (found,))[0]


def show_all(ctx: Context, images: Iterable[Image]) -> list[dict[str, Any]]:
    """Images in their order; what is the same for all is asked once."""
    readable, places = reader(ctx), _places(ctx)
    stores = ctx.cloud.get(Stores)
    views = []
    for found in images:
        *values, created_at, updated_at = _values_of(found.row)
        view: dict[str, Any] = readable(found.properties)
        view.update(zip(BASE, values, strict=True))
        path = f"/v2/images/{values[0]}"
        view["tags"] = sorted(found.tags)
        view["created_at"] = iso_seconds(created_at)
        view["updated_at"] = iso_seconds(updated_at)
        view["self"] = path
        view["file"] = f"{path}/file"
        view["schema"] = "/v2/schemas/image"
        if found.locations:
            ordered = by_weight(stores, found.locations)
            view["stores"] = ",".join(dict.fromkeys(each.store for each in ordered))
        if places is not None:
            view.update(places(found))
        views.append(view)
    return views


def _places(ctx: Context) -> Callable[[Image], dict[str, Any]] | None:
    """What tells those who may know where an image's data lies; None when nobody is told."""
    wanted, stores = ctx.cloud.settings.image, ctx.cloud.get(Stores)
    if not (wanted.show_locations or wanted.show_direct_url):
        return None

    def places(found: Image) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        if not ctx.allows("get_image_location", found.target(ctx)):
            return shown
        if wanted.show_locations:
            shown["locations"] = [each.show(stores) for each in found.locations]
        if wanted.show_direct_url and found.locations:
            shown["direct_url"] = found.locations[0].url(stores)
        return shown

    return places


def show_member(row: Any) -> dict[str, Any]:
    """One member of an image."""
    return {
        "image_id": row.image_id,
        "member_id": row.member_id,
        "status": row.status,
        "created_at": iso_seconds(row.created_at),
        "updated_at": iso_seconds(row.updated_at),
        "schema": "/v2/schemas/member",
    }
