"""Stores: which there are, and deleting an image from one of them."""

from __future__ import annotations

from typing import Any

from nubelet.image import images
from nubelet.image.stores import Stores
from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route


def list_stores(ctx: Context, request: Request) -> object:
    """List the stores."""
    stores = ctx.cloud.get(Stores)
    return {"stores": [_show(stores, store) for store in stores]}


def list_details(ctx: Context, request: Request) -> object:
    """List the stores with what an operator wants to know."""
    stores = ctx.cloud.get(Stores)
    return {
        "stores": [
            {
                **_show(stores, store),
                "type": store.type,
                "weight": store.weight,
                "properties": dict(store.properties),
            }
            for store in stores
        ]
    }


def _show(stores: Stores, store: Any) -> dict[str, Any]:
    view = {"id": store.name, "description": store.description}
    if store is stores.default:
        view["default"] = "true"
    if store.read_only:
        view["read-only"] = "true"
    return view


def delete_image(ctx: Context, request: Request) -> object:
    """Delete an image from a store."""
    store = ctx.cloud.get(Stores).get(request.params["store_id"])
    with ctx.cloud.database.write() as tx:
        found = images.find(ctx, tx, request.params["image_id"])
        ctx.authorize(target=found.target(ctx))
        images.delete_from_store(ctx, tx, found, store.name)
    return None


ROUTES = (
    Route(method="GET", path="/info/stores", handler=list_stores, rule="get_images"),
    Route(
        method="GET", path="/info/stores/detail", handler=list_details, rule="stores_info_detail"
    ),
    Route(
        method="DELETE",
        path="/stores/{store_id}/{image_id}",
        handler=delete_image,
        rule="delete_image_location",
        rule_needs_target=True,
        status=204,
    ),
)
