"""The disks of a server: root from the image, ephemeral and swap from the flavor.

`block_device_mapping_v2` may name the image as local root disk and divide up the flavor's
ephemeral and swap space; whatever would need the block storage service is refused.

In OpenStack: nova/block_device.py, nova/objects/block_device.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nubelet.compute.api.schemas import as_int
from nubelet.kernel.errors import BadRequest

_MIB_PER_GIB = 1024
NO_VOLUMES = (
    "Block device mapping is invalid: {} needs a volume, and this cloud has no block "
    "storage service"
)


class Layout(NamedTuple):
    """The image that the mapping names as root (None: imageRef counts), and all disks."""

    image_id: str | None
    disks: list[dict[str, Any]]


def lay_out(flavor: Mapping[str, Any], mappings: Sequence[Mapping[str, Any]] = ()) -> Layout:
    """The disks of a server of this flavor; raises BadRequest for what cannot be."""
    image_id, root_tag, ephemeral, swap = None, None, [], []
    for mapping in mappings:
        kind = _kind_of(mapping)
        if kind == "root":
            if image_id is not None:
                raise BadRequest(
                    "Block Device Mapping is Invalid: Boot sequence for the "
                    "instance and image/block device mapping combination is not "
                    "valid: two devices have boot_index 0."
                )
            image_id, root_tag = str(mapping["uuid"]), mapping.get("tag")
        elif kind == "swap":
            swap.append(_blank(mapping, "swap", flavor["swap_mb"]))
        elif kind == "ephemeral":
            ephemeral.append(_blank(mapping, "ephemeral", flavor["ephemeral_gb"] * _MIB_PER_GIB))
    disks = [{"role": "root", "size_mb": flavor["root_gb"] * _MIB_PER_GIB, "tag": root_tag}]
    disks += _within(ephemeral, "ephemeral", flavor["ephemeral_gb"] * _MIB_PER_GIB)
    disks += _within(swap, "swap", flavor["swap_mb"])
    return Layout(image_id, disks)


def _kind_of(mapping: Mapping[str, Any]) -> str:
    """root, ephemeral, swap, or "" for one that is not there."""
    if mapping.get("no_device"):
        return ""
    source, destination = mapping.get("source_type"), mapping.get("destination_type")
    if source is None:
        raise BadRequest("Block device mapping is invalid: source_type is required")
    if source in ("volume", "snapshot") or destination == "volume" or "volume_id" in mapping:
        raise BadRequest(
            NO_VOLUMES.format(
                f"source_type {source} with destination_type {destination or 'volume'}"
            )
        )
    if source == "image":
        if destination != "local":
            raise BadRequest(NO_VOLUMES.format("source_type image without destination_type local"))
        if not mapping.get("uuid"):
            raise BadRequest(
                "Invalid input for field/attribute uuid: a block device of "
                "source_type image names its image there."
            )
        if _boot_index(mapping) != 0:
            raise BadRequest("Mapping image to local is not supported but for boot_index 0.")
        return "root"
    return "swap" if mapping.get("guest_format") == "swap" else "ephemeral"


def _boot_index(mapping: Mapping[str, Any]) -> int:
    given = mapping.get("boot_index")
    if given is None:
        return -1
    return as_int("boot_index", given, minimum=-(1 << 31))


def _blank(mapping: Mapping[str, Any], role: str, most_mb: int) -> dict[str, Any]:
    given = mapping.get("volume_size")
    factor = 1 if role == "swap" else _MIB_PER_GIB
    size_mb = most_mb if given is None else as_int("volume_size", given, 1) * factor
    return {"role": role, "size_mb": size_mb, "tag": mapping.get("tag")}


def _within(disks: list[dict[str, Any]], role: str, most_mb: int) -> list[dict[str, Any]]:
    """The disks that were asked for, or one of all that the flavor has."""
    if role == "swap" and len(disks) > 1:
        raise BadRequest("More than one swap drive requested.")
    if sum(disk["size_mb"] for disk in disks) > most_mb:
        what = (
            "Swap drive requested is larger than instance type allows."
            if role == "swap"
            else "Ephemeral disks requested are larger than the instance type allows."
        )
        raise BadRequest(what)
    if disks:
        return [disk for disk in disks if disk["size_mb"]]
    return [{"role": role, "size_mb": most_mb, "tag": None}] if most_mb else []


def space_gb(disks: Sequence[Mapping[str, Any]], flavor: Mapping[str, Any]) -> int:
    """What the disks take of a host in placement's DISK_GB: the flavor's measure, rounded up."""
    swap_gb = -(-flavor["swap_mb"] // _MIB_PER_GIB)
    return int(flavor["root_gb"] + flavor["ephemeral_gb"] + swap_gb)
