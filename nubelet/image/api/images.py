"""Images: list, create, show, patch, delete, (de)activate."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.image import (
    filters,
    images,
    imports,
    patching,
    placing,
    property_protection,
    views,
)
from nubelet.image.images import Image
from nubelet.image.model import image
from nubelet.image.schemas import CREATE, IMAGE, VISIBILITIES, WRITABLE, collection
from nubelet.image.stores import Stores
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest, Forbidden
from nubelet.kernel.http.collections import list_page, render
from nubelet.kernel.http.fields import Field, Resource
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route
from nubelet.kernel.ids import new_uuid

_SORTABLE = (
    "id",
    "name",
    "status",
    "container_format",
    "disk_format",
    "size",
    "created_at",
    "updated_at",
    "min_disk",
    "min_ram",
    "owner",
    "visibility",
    "protected",
    "virtual_size",
    "checksum",
    "os_hidden",
)
IMAGES = Resource(
    "image", "images", image, (Field(name=name, schema={}, sort=True) for name in _SORTABLE)
)
_DEFAULTS = {
    "visibility": "shared",
    "protected": False,
    "os_hidden": False,
    "min_disk": 0,
    "min_ram": 0,
    "name": None,
    "disk_format": None,
    "container_format": None,
}


def list_images(ctx: Context, request: Request) -> object:
    """List images that the caller may see."""
    visibility = request.first("visibility")
    if visibility is not None and visibility not in (*VISIBILITIES, "all"):
        raise BadRequest(f"Invalid visibility value: {visibility}")
    member_status = request.query.get("member_status", ["accepted"])[0]
    if member_status not in ("pending", "accepted", "rejected", "all"):
        raise BadRequest(f"Invalid status: {member_status}")
    if "sort" in request.query and {"sort_key", "sort_dir"} & request.query.keys():
        raise BadRequest("sort cannot be combined with sort_key or sort_dir.")
    statement = sa.select(image).where(
        images.visible(ctx, visibility, member_status), *filters.conditions(ctx, request.query)
    )
    with ctx.cloud.database.read() as tx:
        page = list_page(
            ctx,
            tx,
            request,
            IMAGES,
            statement,
            direction="desc",
            filtered=False,
            max_limit=ctx.cloud.settings.limits.page_size,
            marker_scope=images.visible(ctx, "all", "all"),
        )
        found = images.complete(tx, page.rows)
    answer = render(ctx, request, IMAGES, page, views.show_all(ctx, found))
    answer["schema"] = "/v2/schemas/images"
    return answer


def create(ctx: Context, request: Request) -> object:
    """Create an image without data."""
    body: dict[str, Any] = dict(request.body)
    image_id = body.pop("id", None) or new_uuid()
    tags = body.pop("tags", [])
    values = {
        **_DEFAULTS,
        "owner": ctx.project_id,
        **{name: body.pop(name) for name in WRITABLE.keys() & body.keys()},
    }
    for name in body:
        patching.refuse_protected(name)
        patching.check_name(name)
    _refuse_foreign_owner(ctx, values["owner"])
    ctx.authorize("add_image", {"project_id": values["owner"], "owner": values["owner"]})
    _authorize_visibility(ctx, values["visibility"], values["owner"])
    property_protection.require(ctx, {}, body)
    with ctx.cloud.database.write() as tx:
        found = images.create(ctx, tx, image_id, values, body, tags)
    headers = {
        "Location": f"{request.base_url}/images/{image_id}",
        "OpenStack-image-import-methods": ",".join(imports.methods(ctx)),
        "OpenStack-image-store-ids": ",".join(ctx.cloud.get(Stores).names),
    }
    return Response(201, views.show(ctx, found), headers)


def show(ctx: Context, request: Request) -> object:
    """Show an image."""
    with ctx.cloud.database.read() as tx:
        found = images.find(ctx, tx, request.params["image_id"])
    ctx.authorize(target=found.target(ctx))
    return views.show(ctx, found)


def update(ctx: Context, request: Request) -> object:
    """Change attributes by a JSON patch."""
    changes = patching.parse(request.headers.get("content-type", ""), request.body)
    places = [change for change in changes if change.name == "locations"]
    for change in places:
        placing.check(change)
    sizes = placing.measure(ctx, places)
    with ctx.cloud.database.write() as tx:
        found = images.find(ctx, tx, request.params["image_id"])
        ctx.authorize(target=found.target(ctx))
        patched = patching.apply(changes, found.row, found.properties, found.tags)
        property_protection.require(ctx, found.properties, patched.properties)
        values = patched.values
        if "owner" in values:
            _refuse_foreign_owner(ctx, values["owner"])
        if "visibility" in values and values["visibility"] != found.row.visibility:
            _authorize_visibility(ctx, values["visibility"], found.row.owner)
        images.update(tx, found.row.id, **values)
        images.set_properties(tx, found.row.id, patched.properties, found.properties)
        if patched.tags is not None:
            images.set_tags(tx, found.row.id, patched.tags)
        if places:
            removed = placing.apply(ctx, tx, found, places, sizes)
            if removed:
                images.remove_copies(ctx, tx, found, removed)
        changed = images.find(ctx.within("image"), tx, found.row.id)
    return views.show(ctx, changed)


def delete(ctx: Context, request: Request) -> object:
    """Delete an image and its data."""
    with ctx.cloud.database.write() as tx:
        found = images.find(ctx, tx, request.params["image_id"])
        ctx.authorize(target=found.target(ctx))
        images.delete(ctx, tx, found)
    return None


def deactivate(ctx: Context, request: Request) -> object:
    """Forbid downloads."""
    _set_active(ctx, request, False)
    return None


def reactivate(ctx: Context, request: Request) -> object:
    """Allow downloads again."""
    _set_active(ctx, request, True)
    return None


def _set_active(ctx: Context, request: Request, active: bool) -> None:
    with ctx.cloud.database.write() as tx:
        found = images.find(ctx, tx, request.params["image_id"])
        ctx.authorize(target=found.target(ctx))
        images.set_active(tx, found, active)


def _refuse_foreign_owner(ctx: Context, owner: str | None) -> None:
    if owner != ctx.project_id and not ctx.is_admin:
        raise Forbidden(f"You are not permitted to create images owned by '{owner}'.")


def _authorize_visibility(ctx: Context, visibility: str, owner: str | None) -> None:
    target = {"project_id": owner, "owner": owner, "visibility": visibility}
    if visibility == "public":
        ctx.authorize("publicize_image", target)
    elif visibility == "community":
        ctx.authorize("communitize_image", target)


def find_for_change(ctx: Context, request: Request, tx: Any) -> Image:
    """The image of the path, which the route's rule must allow to change."""
    found = images.find(ctx, tx, request.params["image_id"])
    ctx.authorize(target=found.target(ctx))
    return found


_ONE = "/images/{image_id}"
_SHOWN = {"type": "object", "properties": IMAGE["properties"]}
ROUTES = (
    Route(
        method="GET",
        path="/images",
        handler=list_images,
        rule="get_images",
        response=collection("images", _SHOWN),
    ),
    Route(
        method="POST",
        path="/images",
        handler=create,
        rule="add_image",
        body=CREATE,
        rule_needs_target=True,
        response=_SHOWN,
        status=201,
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=show,
        rule="get_image",
        rule_needs_target=True,
        response=_SHOWN,
    ),
    Route(
        method="PATCH",
        path=_ONE,
        handler=update,
        rule="modify_image",
        rule_needs_target=True,
        response=_SHOWN,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=delete,
        rule="delete_image",
        rule_needs_target=True,
        status=204,
    ),
    Route(
        method="POST",
        path=_ONE + "/actions/deactivate",
        handler=deactivate,
        rule="deactivate",
        rule_needs_target=True,
        status=204,
    ),
    Route(
        method="POST",
        path=_ONE + "/actions/reactivate",
        handler=reactivate,
        rule="reactivate",
        rule_needs_target=True,
        status=204,
    ),
)
