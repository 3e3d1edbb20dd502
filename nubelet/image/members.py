"""Projects that an image is shared with: pending, accepted or rejected by themselves."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.image.images import MAX_MEMBERS, Image, require_quota
from nubelet.image.model import image_member
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, Forbidden, NotFound

STATUSES = ("pending", "accepted", "rejected")


def list_members(ctx: Context, tx: Tx, found: Image) -> list[Any]:
    """All members for the owner, itself for a member."""
    statement = sa.select(image_member).where(image_member.c.image_id == found.row.id)
    if not ctx.is_admin and found.row.owner != ctx.project_id:
        statement = statement.where(image_member.c.member_id == ctx.project_id)
    return list(tx.all(statement.order_by(image_member.c.created_at)))


def find_member(ctx: Context, tx: Tx, found: Image, member_id: str) -> Any:
    """One member; raises NotFound, also for members the caller may not know of."""
    for row in list_members(ctx, tx, found):
        if row.member_id == member_id:
            return row
    raise NotFound(message=f"{member_id} not found in the member list of the image {found.row.id}.")


def add_member(tx: Tx, found: Image, member_id: str) -> None:
    """Share with a project; the image must be shared, the project new to it."""
    if not member_id or len(member_id) > 255:
        raise BadRequest("member must be the id of a project")
    if found.row.visibility != "shared":
        raise Forbidden("Only shared images have members.")
    if tx.first(
        sa.select(image_member.c.status).where(
            image_member.c.image_id == found.row.id, image_member.c.member_id == member_id
        )
    ):
        raise Conflict(f"The image {found.row.id} is already shared with project {member_id}.")
    count = tx.scalar(sa.select(sa.func.count()).where(image_member.c.image_id == found.row.id))
    require_quota("members", count + 1, MAX_MEMBERS)
    now = clock.now()
    tx.insert(
        image_member,
        image_id=found.row.id,
        member_id=member_id,
        status="pending",
        created_at=now,
        updated_at=now,
    )


def set_status(tx: Tx, image_id: str, member_id: str, status: str) -> None:
    """Accept or reject."""
    if status not in STATUSES:
        raise BadRequest(f"status must be one of {', '.join(STATUSES)}, not {status!r}")
    tx.update(
        image_member,
        image_member.c.image_id == image_id,
        image_member.c.member_id == member_id,
        status=status,
        updated_at=clock.now(),
    )


def remove_member(tx: Tx, image_id: str, member_id: str) -> None:
    """Stop sharing."""
    tx.delete(
        image_member, image_member.c.image_id == image_id, image_member.c.member_id == member_id
    )
