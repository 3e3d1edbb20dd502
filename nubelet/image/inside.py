"""The Image API for other services: what it does, in the caller's transaction.

Things are checked and authorized as they are over HTTP. For compute's old proxies, which offer
images under names of their own. `ctx` is the caller in this service: `ctx.within("image")`.

Read next: `images.py`, `filters.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from nubelet.image import filters, patching, property_protection
from nubelet.image.images import Image, complete, delete, find, update, visible
from nubelet.image.images import set_properties as _set_properties
from nubelet.image.model import image
from nubelet.image.schemas import CREATE, RESERVED_PREFIX, WRITABLE
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http import schemas
from nubelet.kernel.http.messages import Query


def list_images(
    ctx: Context, tx: Tx, query: Query, *, marker: str | None, limit: int
) -> list[Image]:
    """The images that the caller may see and the filters of this API leave, newest first.

    marker: the id to begin behind; raises BadRequest when it is none.
    """
    seen = visible(ctx, None, "accepted")
    statement = sa.select(image).where(seen, *filters.conditions(ctx, query))
    if marker is not None:
        after = tx.first(
            sa.select(image.c.created_at, image.c.id).where(image.c.id == marker, seen)
        )
        if after is None:
            raise BadRequest(f"marker [{marker}] not found")
        statement = statement.where(
            sa.tuple_(image.c.created_at, image.c.id) < sa.tuple_(after.created_at, after.id)
        )
    rows = tx.all(statement.order_by(image.c.created_at.desc(), image.c.id.desc()).limit(limit))
    found = complete(tx, rows)
    for each in found:
        each.properties = property_protection.readable(ctx, each.properties)
    return found


def delete_image(ctx: Context, tx: Tx, image_id: str) -> None:
    """Delete an image and its data; NotFound when the caller may not see it."""
    found = find(ctx, tx, image_id)
    ctx.authorize("delete_image", found.target(ctx))
    delete(ctx, tx, found)


def set_properties(ctx: Context, tx: Tx, image_id: str, wanted: Mapping[str, str]) -> None:
    """Give an image exactly these additional properties."""
    found = find(ctx, tx, image_id)
    ctx.authorize("modify_image", found.target(ctx))
    ours = {
        name: value for name, value in found.properties.items() if name.startswith(RESERVED_PREFIX)
    }  # shown, but only the service sets them
    wanted = {name: value for name, value in wanted.items() if ours.get(name) != value}
    for name in wanted:
        patching.refuse_protected(name)
        if name in WRITABLE:
            raise BadRequest(f"{name} is an attribute of images, not a property.")
    schemas.check(CREATE, dict(wanted), "body")
    readable = property_protection.readable(ctx, found.properties)
    unseen = {name: each for name, each in found.properties.items() if name not in readable}
    wanted = {**unseen, **wanted, **ours}  # nobody removes what they cannot see
    property_protection.require(ctx, found.properties, wanted)
    _set_properties(tx, image_id, wanted, found.properties)
    update(tx, image_id)
