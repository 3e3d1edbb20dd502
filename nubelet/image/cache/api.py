"""The cache as administrators see and steer it: that of the machine which answers."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.image.cache import entries, filling, folder
from nubelet.image.cache.model import CACHED, QUEUED
from nubelet.image.model import image
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route

_TARGET_HEADER = "x-image-cache-clear-target"
_TARGETS = {"": (CACHED, QUEUED), "cache": (CACHED,), "queue": (QUEUED,)}


def _require_cache(ctx: Context) -> None:
    if not folder.is_on(ctx.cloud):
        raise NotFound(message="Caching via API is not supported at this site.")


def show(ctx: Context, request: Request) -> object:
    """Show the cached and the queued images."""
    _require_cache(ctx)
    with ctx.cloud.database.read() as tx:
        cached, queued = (
            entries.list_all(ctx.cloud, tx, CACHED),
            entries.list_all(ctx.cloud, tx, QUEUED),
        )
    return {
        "cached_images": [
            {
                "image_id": row.image_id,
                "hits": row.hits,
                "last_accessed": row.last_accessed / 1e6,
                "last_modified": row.last_modified / 1e6,
                "size": row.size,
            }
            for row in cached
        ],
        "queued_images": [row.image_id for row in queued],
    }


def queue(ctx: Context, request: Request) -> object:
    """Queue an active image to be cached."""
    _require_cache(ctx)
    image_id = request.params["image_id"]
    with ctx.cloud.database.write() as tx:
        row = _image(tx, image_id)
        ctx.authorize(target=_target(row))
        if row is None:
            raise NotFound(message=f"Image {image_id} not found.")
        if row.status != "active":
            raise BadRequest("Only images with status active can be targeted for queueing")
        if row.size > folder.limit(ctx.cloud):
            raise BadRequest(
                f"Image {image_id} has {row.size} bytes; the cache takes {folder.limit(ctx.cloud)}."
            )
        entries.queue(ctx.cloud, tx, image_id)
    return None


def delete(ctx: Context, request: Request) -> object:
    """Remove an image from the cache or the queue."""
    _require_cache(ctx)
    image_id = request.params["image_id"]
    with ctx.cloud.database.write() as tx:
        row = _image(tx, image_id)
        ctx.authorize(target=_target(row))
        if not entries.remove(ctx.cloud, tx, image_id) and row is None:
            raise NotFound(message=f"Image {image_id} not found.")
    folder.remove(ctx.cloud, image_id)
    return None


def _target(row: Any) -> dict[str, Any]:
    """What rules see; of an image that is not there, too, so that nobody learns whether it is."""
    owner = row.owner if row else None
    return {"project_id": owner, "owner": owner}


def _image(tx: Tx, image_id: str) -> Any:
    return tx.first(sa.select(image).where(image.c.id == image_id))


def clear(ctx: Context, request: Request) -> object:
    """Remove all images from the cache, the queue, or both."""
    _require_cache(ctx)
    target = request.headers.get(_TARGET_HEADER, "").strip().lower()
    if target not in _TARGETS:
        raise BadRequest(
            f"If provided '{_TARGET_HEADER}' must be 'cache', 'queue' or empty string."
        )
    with ctx.cloud.database.write() as tx:
        entries.clear(ctx.cloud, tx, *_TARGETS[target])
    return None


def clean(ctx: Context, request: Request) -> object:
    """Forget cached images that are gone, changed or damaged, and what was left half fetched."""
    _require_cache(ctx)
    filling.clean(ctx.cloud)
    return Response(200)


def prune(ctx: Context, request: Request) -> object:
    """Let go of cached images until the rest fits into the limit."""
    _require_cache(ctx)
    files, size = filling.prune(ctx.cloud)
    return {"total_files_pruned": files, "total_bytes_pruned": size}


_ONE = "/cache/{image_id}"
ROUTES = (
    Route(method="GET", path="/cache", handler=show, rule="cache_list"),
    Route(method="DELETE", path="/cache", handler=clear, rule="cache_delete", status=204),
    Route(
        method="PUT",
        path=_ONE,
        handler=queue,
        rule="cache_image",
        rule_needs_target=True,
        status=202,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=delete,
        rule="cache_delete",
        rule_needs_target=True,
        status=204,
    ),
    Route(method="POST", path="/cache/clean", handler=clean, rule="cache_clean"),
    Route(method="POST", path="/cache/prune", handler=prune, rule="cache_prune"),
)
