"""Locations: where the data of an image lies, and adding data that lies somewhere already.

This is the API of version 2.17; `placing.py` has the older one, by PATCH.
"""

from __future__ import annotations

from nubelet.image import images, placing
from nubelet.image.stores import Stores
from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route

_HASH = {
    "type": "object",
    "properties": {
        "os_hash_algo": {"type": "string", "maxLength": 64},
        "os_hash_value": {"type": "string", "maxLength": 128},
    },
    "additionalProperties": False,
}
_BODY = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": {"type": "string", "minLength": 1, "maxLength": 2048},
        "validation_data": _HASH,
    },
    "additionalProperties": False,
}


def list_locations(ctx: Context, request: Request) -> object:
    """List where the data of an image lies."""
    with ctx.cloud.database.read() as tx:
        found = images.find_for_service(ctx, tx, request.params["image_id"])
        ctx.authorize(target=found.target(ctx))
    stores = ctx.cloud.get(Stores)
    return [each.show(stores) for each in found.locations]


def add(ctx: Context, request: Request) -> object:
    """Add data that lies somewhere already to a queued image."""
    with ctx.cloud.database.write() as tx:
        found = images.find_for_service(ctx, tx, request.params["image_id"])
        ctx.authorize(target=found.target(ctx))
        placing.add_by_operation(
            ctx, tx, found, request.body["url"], request.body.get("validation_data") or {}
        )
    return None


_PATH = "/images/{image_id}/locations"
ROUTES = (
    Route(
        method="GET",
        path=_PATH,
        handler=list_locations,
        rule="fetch_image_location",
        rule_needs_target=True,
    ),
    Route(
        method="POST",
        path=_PATH,
        handler=add,
        rule="add_image_location",
        rule_needs_target=True,
        body=_BODY,
        status=202,
    ),
)
