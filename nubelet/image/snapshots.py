"""Images that another service fills: compute's snapshots of servers.

The image is made in the request's transaction, queued, so that the answer can name it. An
operation of the other service then fills it, as an upload does, and may do so again after it was
killed; when it fails before that, the image goes.

In OpenStack: what nova does with glance's API in nova/compute/api.py _create_image.
Read next: `uploads.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from nubelet.image import images, loose_data, patching, property_protection, uploads
from nubelet.image.images import find_any
from nubelet.image.model import image
from nubelet.image.schemas import CREATE, WRITABLE
from nubelet.image.stores import Stores
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http import schemas
from nubelet.kernel.ids import new_uuid
from nubelet.kernel.operations.run import Run


def create(
    ctx: Context,
    tx: Tx,
    values: Mapping[str, Any],
    properties: Mapping[str, str],
    given: Mapping[str, str],
) -> str:
    """A private, queued image of the caller's project; returns its id.

    `values`: attributes. `properties`: what the other service says of it. `given`: what the user
    says of it, which is judged as in this API and wins. Raises Forbidden, BadRequest,
    QuotaExceeded, TooLarge. `ctx` is the caller in this service.
    """
    owner = ctx.project_id
    ctx.authorize("add_image", {"project_id": owner, "owner": owner})
    for name in given:
        patching.refuse_protected(name)
        if name in WRITABLE:
            raise BadRequest(f"{name} is an attribute of images, not a property.")
    schemas.check(CREATE, dict(given), "body")
    property_protection.require(ctx, {}, given)
    made = {
        "owner": owner,
        "visibility": "private",
        "protected": False,
        "os_hidden": False,
        "min_disk": 0,
        "min_ram": 0,
        **values,
    }
    image_id = new_uuid()
    images.create(ctx, tx, image_id, made, {**properties, **given}, ())
    return image_id


def require(tx: Tx, image_id: str) -> None:
    """Raise NotFound when the image was deleted meanwhile."""
    find_any(tx, image_id)


def fill(run: Run, image_id: str, chunks: Iterator[bytes]) -> None:
    """Give the image its data, and make it active; nothing when it is.

    For an operation, the only one that fills this image: what an earlier try of it was killed over
    is cleaned up first, at once and not when its lease has run out. Raises NotFound or Gone
    when the image is gone, ServiceUnavailable when the store does not answer, what `chunks` raises.
    """
    cloud = run.cloud
    with cloud.database.read() as tx:
        row = find_any(tx, image_id).row
    if row.status == "active":
        return
    if row.status == "saving":
        left = uploads.end(cloud, image.c.id == image_id, image.c.status == "saving")
        loose_data.remove(cloud, left, patient=True)
    uploads.fill(cloud, image_id, cloud.get(Stores).default, chunks)


def discard(ctx: Context, tx: Tx, image_id: str) -> None:
    """An image that has not got its data goes; one that is gone already is no error.

    One that has all its data stays: its owner may have seen it, and boot from it.
    """
    with contextlib.suppress(NotFound):
        found = find_any(tx, image_id)
        if found.row.status not in ("active", "deactivated"):
            images.remove(ctx, tx, found)
