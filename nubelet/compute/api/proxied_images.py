"""`/images` (until 2.35) and `/images/{id}/metadata` (until 2.38): the image service's images.

API reference: https://docs.openstack.org/api-ref/compute/#images-deprecated
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from nubelet import image
from nubelet.compute import quotas, servers
from nubelet.compute.api import schemas as s
from nubelet.compute.api.links import Links
from nubelet.image import Image
from nubelet.kernel.clock import iso_seconds
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http.collections import read_limit
from nubelet.kernel.http.messages import Query, Request, Response
from nubelet.kernel.http.routes import Route

_RULE = "os_compute_api:images"
_UNTIL, _METADATA_UNTIL = (2, 35), (2, 38)
_STATUSES = {
    "queued": ("SAVING", 25),
    "saving": ("SAVING", 50),
    "importing": ("SAVING", 50),
    "active": ("ACTIVE", 100),
    "killed": ("ERROR", 0),
    "deleted": ("DELETED", 0),
    "pending_delete": ("DELETED", 0),
}
# Parameter here -> filter of the image service.
_FILTERS = {
    "name": "name",
    "status": "status",
    "changes-since": "updated_at",
    "server": "instance_uuid",
    "type": "image_type",
    "minRam": "min_ram",
    "minDisk": "min_disk",
}
_SERVER_PROPERTY, _DISK_CONFIG = "instance_uuid", "auto_disk_config"
_POSITIVE: s.Schema = {"type": "array", "items": {"type": "string", "pattern": "^[1-9][0-9]*$"}}
_QUERY = s.query(
    {
        "limit": _POSITIVE,
        "offset": _POSITIVE,
        "page_size": _POSITIVE,
        "marker": s.ANY_VALUES,
        **dict.fromkeys(_FILTERS, s.ANY_VALUES),
    }
)
_METADATA = s.wrapped("metadata", s.METADATA)
_ITEM = s.wrapped("meta", {**s.METADATA, "minProperties": 1, "maxProperties": 1})


# --- Showing -------------------------------------------------------------------------------------


class _AllLinks:
    """The links of images, here and at the image service, and of the servers they are of."""

    def __init__(self, ctx: Context, request: Request) -> None:
        self.images = Links(ctx, request, "images")
        self.servers = Links(ctx, request, "servers")
        self.elsewhere = f"{ctx.base_url}/image/images/"


def _brief(links: _AllLinks, found: Image) -> dict[str, Any]:
    row = found.row
    return {
        "id": row.id,
        "name": row.name,
        "links": [
            *links.images.of(row.id),
            {
                "rel": "alternate",
                "href": links.elsewhere + row.id,
                "type": "application/vnd.openstack.image",
            },
        ],
    }


def _detailed(links: _AllLinks, found: Image) -> dict[str, Any]:
    row = found.row
    status, progress = _STATUSES.get(row.status, ("UNKNOWN", 0))
    shown = _brief(links, found) | {
        "status": status,
        "progress": progress,
        "minRam": row.min_ram,
        "minDisk": row.min_disk,
        "created": iso_seconds(row.created_at),
        "updated": iso_seconds(row.updated_at),
        "metadata": found.properties,
        "OS-EXT-IMG-SIZE:size": row.size,
    }
    if _DISK_CONFIG in found.properties:
        automatic = s.as_bool(found.properties[_DISK_CONFIG])
        shown["OS-DCF:diskConfig"] = "AUTO" if automatic else "MANUAL"
    server_id = found.properties.get(_SERVER_PROPERTY)
    if server_id:
        shown["server"] = {"id": server_id, "links": links.servers.of(server_id)}
    return shown


def list(ctx: Context, request: Request) -> object:
    """List images."""
    return _list(ctx, request, _brief)


def list_details(ctx: Context, request: Request) -> object:
    """List images with details."""
    return _list(ctx, request, _detailed)


def _list(
    ctx: Context, request: Request, view: Callable[[_AllLinks, Image], dict[str, Any]]
) -> object:
    limit = read_limit(request, ctx.cloud.settings.limits.page_size)
    assert limit is not None
    with ctx.cloud.database.read() as tx:
        found = image.list_images(
            ctx.within("image"),
            tx,
            _filters(request),
            marker=request.first("marker"),
            limit=limit + 1,
        )
    links = _AllLinks(ctx, request)
    answer: dict[str, Any] = {"images": [view(links, each) for each in found[:limit]]}
    if len(found) > limit:
        query = {name: values for name, values in request.query.items() if name != "marker"}
        text = urlencode(query | {"marker": [found[limit - 1].row.id]}, doseq=True)
        answer["images_links"] = [{"rel": "next", "href": f"{request.url}?{text}"}]
    return answer


def _filters(request: Request) -> Query:
    """The filters in the image service's words."""
    found: Query = {}
    for name, values in request.query.items():
        if name in _FILTERS:
            found[_FILTERS[name]] = [_value(name, value) for value in values]
        elif name.startswith("property-"):
            found[name.removeprefix("property-")] = values
    return found


def _value(name: str, value: str) -> str:
    if name == "status":
        return value.lower()
    if name == "changes-since":
        return f"gte:{value}"
    if name == "server":
        return value.rstrip("/").rsplit("/", 1)[-1]
    return value


def _find(ctx: Context, tx: Tx, request: Request) -> Image:
    caller = ctx.within("image")
    try:
        found = image.find(caller, tx, request.params["image_id"])
    except NotFound:
        raise NotFound(message="Image not found.") from None
    found.properties = image.readable_properties(caller, found.properties)
    return found


def show(ctx: Context, request: Request) -> object:
    """Show an image."""
    with ctx.cloud.database.read() as tx:
        found = _find(ctx, tx, request)
    return {"image": _detailed(_AllLinks(ctx, request), found)}


def delete(ctx: Context, request: Request) -> object:
    """Delete an image."""
    with ctx.cloud.database.write() as tx:
        image.delete_image(ctx.within("image"), tx, _find(ctx, tx, request).row.id)
    return Response(204)


# --- Metadata ------------------------------------------------------------------------------------


def list_metadata(ctx: Context, request: Request) -> object:
    """List the metadata of an image."""
    with ctx.cloud.database.read() as tx:
        return {"metadata": _find(ctx, tx, request).properties}


def show_metadata(ctx: Context, request: Request) -> object:
    """Show a metadata item of an image."""
    with ctx.cloud.database.read() as tx:
        found = _find(ctx, tx, request)
    key = request.params["key"]
    return {"meta": {key: _item(found, key)}}


def _item(found: Image, key: str) -> str:
    if key not in found.properties:
        raise NotFound(message=f"Metadata item {key} was not found")
    return found.properties[key]


def add_metadata(ctx: Context, request: Request) -> object:
    """Add metadata of an image."""
    given = request.body["metadata"]
    return {"metadata": _change(ctx, request, lambda found: found.properties | given)}


def replace_metadata(ctx: Context, request: Request) -> object:
    """Replace the metadata of an image."""
    given = request.body["metadata"]
    return {"metadata": _change(ctx, request, lambda found: given)}


def set_metadata(ctx: Context, request: Request) -> object:
    """Set a metadata item of an image."""
    given, key = request.body["meta"], request.params["key"]
    if key not in given:
        raise BadRequest("Request body and URI mismatch")
    _change(ctx, request, lambda found: found.properties | given)
    return {"meta": given}


def delete_metadata(ctx: Context, request: Request) -> object:
    """Delete a metadata item of an image."""
    key = request.params["key"]

    def without(found: Image) -> dict[str, str]:
        _item(found, key)
        return {name: value for name, value in found.properties.items() if name != key}

    _change(ctx, request, without)
    return Response(204)


def _change(
    ctx: Context,
    request: Request,
    change: Callable[[Image], dict[str, str]],
) -> dict[str, str]:
    """Give the image other metadata, within the project's quota."""
    with ctx.cloud.database.write() as tx:
        found = _find(ctx, tx, request)
        wanted = change(found)
        servers.require_metadata_quota(
            quotas.limit(ctx.cloud, tx, ctx.project_id or "", "metadata_items"), wanted
        )
        image.set_properties(ctx.within("image"), tx, found.row.id, wanted)
    return wanted


_ONE, _META, _KEY = (
    "/images/{image_id}",
    "/images/{image_id}/metadata",
    "/images/{image_id}/metadata/{key}",
)
_LISTED: s.Schema = {"type": "object", "properties": {"images": s.array(s.obj({}, extra=True))}}

ROUTES = (
    Route(
        method="GET",
        path="/images",
        handler=list,
        rule=_RULE,
        until=_UNTIL,
        query=_QUERY,
        response=_LISTED,
    ),
    Route(
        method="GET",
        path="/images/detail",
        handler=list_details,
        rule=_RULE,
        until=_UNTIL,
        query=_QUERY,
        response=_LISTED,
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=show,
        rule=_RULE,
        until=_UNTIL,
        response=s.answer("image", {}),
    ),
    Route(method="DELETE", path=_ONE, handler=delete, rule=_RULE, until=_UNTIL, status=204),
    Route(
        method="GET",
        path=_META,
        handler=list_metadata,
        rule=_RULE,
        until=_METADATA_UNTIL,
        response=s.answer("metadata", {}),
    ),
    Route(
        method="POST",
        path=_META,
        handler=add_metadata,
        rule=_RULE,
        until=_METADATA_UNTIL,
        body=_METADATA,
        response=s.answer("metadata", {}),
    ),
    Route(
        method="PUT",
        path=_META,
        handler=replace_metadata,
        rule=_RULE,
        until=_METADATA_UNTIL,
        body=_METADATA,
        response=s.answer("metadata", {}),
    ),
    Route(
        method="GET",
        path=_KEY,
        handler=show_metadata,
        rule=_RULE,
        until=_METADATA_UNTIL,
        response=s.answer("meta", {}),
    ),
    Route(
        method="PUT",
        path=_KEY,
        handler=set_metadata,
        rule=_RULE,
        until=_METADATA_UNTIL,
        body=_ITEM,
        response=s.answer("meta", {}),
    ),
    Route(
        method="DELETE",
        path=_KEY,
        handler=delete_metadata,
        rule=_RULE,
        until=_METADATA_UNTIL,
        status=204,
    ),
)
