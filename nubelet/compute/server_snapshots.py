"""Images of servers: createImage and createBackup, up to the operation that fills the image.

The image is made with the answer, which names it: queued, with the server's own image's properties,
those of the request, and what tells where it comes from. Its size of disk is the flavor's.

Read next: `operations/create_image.py`.

In OpenStack: nova/compute/api.py snapshot, backup, _create_image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nubelet import image
from nubelet.compute import quotas, server_actions, servers, states
from nubelet.compute.operations import CREATE_BACKUP, CREATE_IMAGE
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Forbidden, TooLarge

Row = Any

# What an image says of its own data, or of this cloud only, is not true of a snapshot.
_NOT_INHERITED: Final = (
    "img_signature",
    "cache_in_nova",
    "bittorrent",
    "image_type",
    "image_state",
    "image_location",
    "backup_type",
    "owner_id",
    "user_id",
    "instance_uuid",
)
_ATTRIBUTES: Final = ("min_ram", "min_disk", "container_format", "disk_format")


def snapshot(ctx: Context, tx: Tx, row: Row, name: str, given: Mapping[str, str]) -> str:
    """Begin to make an image of a server; returns the image's id."""
    rule = states.require("createImage", row)
    image_id = _image(ctx, tx, row, name, {"image_type": "snapshot"}, given)
    server_actions.begin(ctx, tx, row, CREATE_IMAGE, rule.task, _inputs(row, image_id))
    return image_id


def backup(
    ctx: Context,
    tx: Tx,
    row: Row,
    name: str,
    given: Mapping[str, str],
    *,
    backup_type: str,
    rotation: int,
) -> str:
    """As `snapshot`; of the backups of this type of the server only the newest `rotation` stay."""
    rule = states.require("createBackup", row)
    about = {"image_type": "backup", "backup_type": backup_type}
    image_id = _image(ctx, tx, row, name, about, given)
    inputs = _inputs(row, image_id) | {"backup_type": backup_type, "rotation": rotation}
    server_actions.begin(ctx, tx, row, CREATE_BACKUP, rule.task, inputs)
    return image_id


def _inputs(row: Row, image_id: str) -> dict[str, Any]:
    return {"image_id": image_id, "host": row.host}


def _image(
    ctx: Context,
    tx: Tx,
    row: Row,
    name: str,
    about: Mapping[str, str],
    given: Mapping[str, str],
) -> str:
    server_actions.require_host_up(ctx, tx, row)
    allowed = quotas.limit(ctx.cloud, tx, ctx.project_id or row.project_id, "metadata_items")
    servers.require_metadata_quota(allowed, given)
    kept = row.image_properties
    values = {
        "name": name,
        "disk_format": "qcow2",
        "container_format": "bare",
        "min_ram": int(kept.get("min_ram", 0)),
        "min_disk": max(int(kept.get("min_disk", 0)), row.flavor["root_gb"]),
    }
    properties = {
        **_inherited(kept),
        **about,
        "instance_uuid": row.id,
        "user_id": ctx.user_id,
        "owner_id": row.project_id,
        "image_location": "snapshot",
        "image_state": "available",
    }
    try:
        return image.create_snapshot(ctx.within("image"), tx, values, properties, given)
    except TooLarge as error:
        raise Forbidden(error.message) from None


def _inherited(kept: Mapping[str, str]) -> dict[str, str]:
    """The properties of the image that the server was made from; `base_image_ref` is among them."""
    return {
        name: value
        for name, value in kept.items()
        if name not in _ATTRIBUTES and not name.startswith(_NOT_INHERITED)
    }
