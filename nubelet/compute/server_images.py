"""The image that a server is made from: may the caller use it, does it fit the flavor?

In OpenStack: nova/compute/api.py _validate_flavor_image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from nubelet import image
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.ids import is_uuid

ZERO_DISK_RULE = "os_compute_api:servers:create:zero_disk_flavor"
_GIB = 1 << 30
# Properties that name further images, from which the guest is booted.
_BOOT_FILES = ("kernel_id", "ramdisk_id")
# What servers remember of their image besides its properties, in the same spelling as nova.
_BASE_KEYS = ("min_ram", "min_disk", "container_format", "disk_format")
# Properties that are about the image itself and say nothing of servers made from it.
_NOT_INHERITED = (
    "owner_specified.",
    "os_glance_",
    "stores",
    "locations",
    "direct_url",
    "self",
    "file",
    "schema",
    "checksum",
)


class BootImage(NamedTuple):
    """An image that a server may be made from."""

    id: str
    properties: dict[str, str]  # as the server keeps them
    root_gb: int  # how large a root disk it needs


def read_reference(value: Any) -> str:
    """The id in an imageRef (an id, or a URL that ends with one); raises BadRequest."""
    identifier = str(value or "").rstrip("/").rsplit("/", 1)[-1]
    if not is_uuid(identifier):
        raise BadRequest(f"Invalid imageRef provided: '{value}' is not the ID of an image.")
    return identifier


def find(ctx: Context, tx: Tx, image_id: str, flavor: Mapping[str, Any]) -> BootImage:
    """The image, if a server of this flavor can be made from it; raises BadRequest."""
    found = _usable(ctx, tx, image_id)
    row = found.row
    for name in _BOOT_FILES:
        if found.properties.get(name):
            _usable(ctx, tx, found.properties[name])  # their data reaches the guest, too
    if flavor["memory_mb"] < row.min_ram:
        raise BadRequest(
            "Flavor's memory is too small for requested image: it has "
            f"{flavor['memory_mb']} MiB, the image needs {row.min_ram} MiB."
        )
    needed_gb = _check_disk(ctx, row, flavor)
    return BootImage(image_id, _kept(row, found.properties), needed_gb)


def _usable(ctx: Context, tx: Tx, image_id: str) -> image.Image:
    """An active image that the caller may see; raises BadRequest."""
    try:
        found = image.find(ctx.within("image"), tx, image_id)
    except NotFound:
        raise BadRequest(f"Image {image_id} could not be found.") from None
    if found.row.status != "active":
        raise BadRequest(f"Image {image_id} is not active.")
    return found


def _check_disk(ctx: Context, row: Any, flavor: Mapping[str, Any]) -> int:
    size = max(row.size or 0, row.virtual_size or 0)
    needed_gb: int = max(-(-size // _GIB), row.min_disk)
    root_gb = flavor["root_gb"]
    if root_gb == 0:
        # The root disk is then as large as the image, which no quota and no claim covers.
        ctx.authorize(ZERO_DISK_RULE)
        return needed_gb
    if size > root_gb * _GIB:
        raise BadRequest(
            "Flavor's disk is too small for requested image. Flavor disk is "
            f"{root_gb * _GIB} bytes, image is {size} bytes."
        )
    if row.min_disk > root_gb:
        raise BadRequest(
            "Flavor's disk is smaller than the minimum size specified in image "
            f"metadata. Flavor disk is {root_gb * _GIB} bytes, minimum size is "
            f"{row.min_disk * _GIB} bytes."
        )
    return needed_gb


def _kept(row: Any, properties: Mapping[str, str]) -> dict[str, str]:
    kept = {key: str(getattr(row, key)) for key in _BASE_KEYS if getattr(row, key) is not None}
    for key, value in properties.items():
        if not key.startswith(_NOT_INHERITED) and value is not None:
            kept[key[:255]] = str(value)[:255]
    kept["base_image_ref"] = row.id
    return kept
