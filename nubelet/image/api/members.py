"""Members: the projects an image is shared with."""

from __future__ import annotations

from typing import Any

from nubelet.image import images, members, views
from nubelet.image.schemas import MEMBER, collection
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Forbidden
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route

_ADD = {
    "type": "object",
    "required": ["member"],
    "properties": {"member": {"type": "string", "minLength": 1, "maxLength": 255}},
}
_SET = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"type": "string", "enum": list(members.STATUSES)}},
}


def list_members(ctx: Context, request: Request) -> object:
    """List the members of an image."""
    with ctx.cloud.database.read() as tx:
        found = images.find(ctx, tx, request.params["image_id"])
        if found.row.visibility != "shared":
            raise Forbidden("Only shared images have members.")
        ctx.authorize(target=found.target(ctx))
        rows = members.list_members(ctx, tx, found)
    return {"members": [views.show_member(row) for row in rows], "schema": "/v2/schemas/members"}


def show(ctx: Context, request: Request) -> object:
    """Show a member."""
    with ctx.cloud.database.read() as tx:
        _, row = _member(ctx, tx, request)
    return views.show_member(row)


def create(ctx: Context, request: Request) -> object:
    """Share an image with a project."""
    with ctx.cloud.database.write() as tx:
        found = images.find(ctx, tx, request.params["image_id"])
        ctx.authorize(target=found.target(ctx))
        members.add_member(tx, found, request.body["member"])
        row = members.find_member(ctx, tx, found, request.body["member"])
    return views.show_member(row)


def update(ctx: Context, request: Request) -> object:
    """Accept or reject a shared image: only the member itself may."""
    with ctx.cloud.database.write() as tx:
        found, row = _member(ctx, tx, request)
        members.set_status(tx, found.row.id, row.member_id, request.body["status"])
        row = members.find_member(ctx, tx, found, row.member_id)
    return views.show_member(row)


def delete(ctx: Context, request: Request) -> object:
    """Stop sharing with a project."""
    with ctx.cloud.database.write() as tx:
        found = images.find(ctx, tx, request.params["image_id"])
        ctx.authorize(target=found.target(ctx))
        row = members.find_member(ctx, tx, found, request.params["member_id"])
        members.remove_member(tx, found.row.id, row.member_id)
    return None


def _member(ctx: Context, tx: Tx, request: Request) -> tuple[images.Image, Any]:
    found = images.find(ctx, tx, request.params["image_id"])
    row = members.find_member(ctx, tx, found, request.params["member_id"])
    ctx.authorize(target={**found.target(ctx), "member_id": row.member_id})
    return found, row


_ALL, _ONE = "/images/{image_id}/members", "/images/{image_id}/members/{member_id}"
_SHOWN = {"type": "object", "properties": MEMBER["properties"]}
ROUTES = (
    Route(
        method="GET",
        path=_ALL,
        handler=list_members,
        rule="get_members",
        rule_needs_target=True,
        response=collection("members", _SHOWN),
    ),
    Route(
        method="POST",
        path=_ALL,
        handler=create,
        rule="add_member",
        body=_ADD,
        rule_needs_target=True,
        response=_SHOWN,
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=show,
        rule="get_member",
        rule_needs_target=True,
        response=_SHOWN,
    ),
    Route(
        method="PUT",
        path=_ONE,
        handler=update,
        rule="modify_member",
        body=_SET,
        rule_needs_target=True,
        response=_SHOWN,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=delete,
        rule="delete_member",
        rule_needs_target=True,
        status=204,
    ),
)
