"""Tags of an image, one by one."""

from __future__ import annotations

from nubelet.image import images
from nubelet.image.api.images import find_for_change
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route


def add(ctx: Context, request: Request) -> object:
    """Add a tag."""
    tag = request.params["tag"]
    if len(tag) > 255:
        raise BadRequest("A tag is at most 255 characters long.")
    with ctx.cloud.database.write() as tx:
        found = find_for_change(ctx, request, tx)
        images.set_tags(tx, found.row.id, [*found.tags, tag])
        images.update(tx, found.row.id)
    return None


def remove(ctx: Context, request: Request) -> object:
    """Remove a tag."""
    tag = request.params["tag"]
    with ctx.cloud.database.write() as tx:
        found = find_for_change(ctx, request, tx)
        if tag not in found.tags:
            raise NotFound(message=f"The image {found.row.id} has no tag {tag!r}.")
        images.set_tags(tx, found.row.id, [other for other in found.tags if other != tag])
        images.update(tx, found.row.id)
    return None


_ONE = "/images/{image_id}/tags/{tag}"
ROUTES = (
    Route(
        method="PUT",
        path=_ONE,
        handler=add,
        rule="modify_image",
        rule_needs_target=True,
        status=204,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=remove,
        rule="modify_image",
        rule_needs_target=True,
        status=204,
    ),
)
