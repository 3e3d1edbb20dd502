"""Interoperable import: stage data or name where it is, start the import, see how it fares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nubelet.image import images, imports, tasks, uploads
from nubelet.image.api.data import chunks_of, require_octets
from nubelet.image.operations.storing import COPY_IMAGE
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route

_BODY = {
    "type": "object",
    "required": ["method"],
    "properties": {
        "method": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "uri": {"type": "string"},
                "glance_image_id": {"type": "string"},
                "glance_region": {"type": "string"},
                "glance_service_interface": {"type": "string"},
            },
        },
        "stores": {"type": "array", "items": {"type": "string"}},
        "all_stores": {"type": "boolean"},
        "all_stores_must_succeed": {"type": "boolean"},
    },
}


def stage(ctx: Context, request: Request) -> object:
    """Upload data for a later import."""
    require_octets(request)
    with ctx.cloud.database.read() as tx:
        found = images.find(ctx, tx, request.params["image_id"])
    ctx.authorize(target=found.target(ctx))
    uploads.stage(ctx, found, chunks_of(request))
    return None


def start(ctx: Context, request: Request) -> object:
    """Start an import."""
    method = request.body["method"]
    with ctx.cloud.database.write() as tx:
        found = images.find(ctx, tx, request.params["image_id"])
        rule = "copy_image" if method["name"] == COPY_IMAGE else ""
        ctx.authorize(rule, target=found.target(ctx))
        imports.check_method(ctx, method)
        imports.start(ctx, tx, found, _with_store(request))
    return Response(202, None, {"OpenStack-image-import-methods": ",".join(imports.methods(ctx))})


def _with_store(request: Request) -> Mapping[str, Any]:
    """The body; its stores may be named by the header of uploads, too."""
    name, body = request.headers.get("x-image-meta-store"), request.body
    if name is None:
        return dict(body)
    if body.get("stores") or body.get("all_stores"):
        raise BadRequest("X-Image-Meta-Store cannot be combined with 'stores' or 'all_stores'.")
    return {**body, "stores": [name]}


def list_tasks(ctx: Context, request: Request) -> object:
    """List the tasks of an image, newest first."""
    with ctx.cloud.database.read() as tx:
        found = images.find(ctx, tx, request.params["image_id"])
        ctx.authorize(target=found.target(ctx))
        records = tasks.of_image(ctx, tx, found.row.id)
        told = tasks.messages(tx, records)
    return {"tasks": [tasks.show_of_image(each, told.get(each.id, "")) for each in records]}


def methods(ctx: Context, request: Request) -> object:
    """Show the ways to import."""
    return {
        "import-methods": {
            "description": "Import methods available.",
            "type": "array",
            "value": list(imports.methods(ctx)),
        }
    }


_ONE = "/images/{image_id}"
ROUTES = (
    Route(
        method="PUT",
        path=_ONE + "/stage",
        handler=stage,
        rule="modify_image",
        rule_needs_target=True,
        stream=True,
        status=204,
    ),
    Route(
        method="POST",
        path=_ONE + "/import",
        handler=start,
        rule="modify_image",
        rule_needs_target=True,
        body=_BODY,
        status=202,
    ),
    Route(
        method="GET",
        path=_ONE + "/tasks",
        handler=list_tasks,
        rule="get_image",
        rule_needs_target=True,
    ),
    Route(method="GET", path="/info/import", handler=methods, rule="get_images"),
)
