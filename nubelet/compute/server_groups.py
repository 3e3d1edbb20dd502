"""Server groups: servers that shall be (or shall not be) on the same host.

In OpenStack: nova/objects/instance_group.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.compute import quotas
from nubelet.compute.model import server, server_group, server_group_member
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound, QuotaExceeded
from nubelet.kernel.ids import new_uuid

Row = sa.Row[Any]

POLICIES = ("affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity")


def find(ctx: Context, tx: Tx, group_id: str) -> Row:
    """A group of the caller's project, for administrators of any; raises NotFound."""
    row = tx.first(sa.select(server_group).where(server_group.c.id == group_id))
    if row is None or (row.project_id != ctx.project_id and not ctx.is_admin):
        raise NotFound(message=f"Instance group {group_id} could not be found.")
    return row


def create(ctx: Context, tx: Tx, name: str, policy: str, rules: Mapping[str, int]) -> Row:
    """A new group without members."""
    project_id = ctx.project_id or ""
    try:
        quotas.require(ctx, tx, project_id, server_groups=1)
    except QuotaExceeded as error:
        raise QuotaExceeded(
            "server_groups",
            limit=error.limit,
            used=error.used,
            requested=1,
            message=f"Quota exceeded, too many server groups: {error.used} of {error.limit}.",
        ) from None
    group_id = new_uuid()
    tx.insert(
        server_group,
        id=group_id,
        project_id=project_id,
        user_id=ctx.user_id,
        name=name,
        policy=policy,
        rules=dict(rules),
        created_at=clock.now(),
    )
    return find(ctx, tx, group_id)


def delete(tx: Tx, row: Row) -> None:
    """Delete a group; its servers stay where they are."""
    tx.delete(server_group_member, server_group_member.c.group_id == row.id)
    tx.delete(server_group, server_group.c.id == row.id)


def members_of(tx: Tx, group_ids: Iterable[str]) -> dict[str, list[str]]:
    """Group id -> ids of its servers that are not deleted."""
    statement = (
        sa.select(server_group_member.c.group_id, server.c.id)
        .join(server, server.c.id == server_group_member.c.server_id)
        .where(server_group_member.c.group_id.in_(list(group_ids)), server.c.deleted_at.is_(None))
        .order_by(server.c.auto_id)
    )
    found: dict[str, list[str]] = {}
    for row in tx.all(statement):
        found.setdefault(row.group_id, []).append(row.id)
    return found


def groups_of(tx: Tx, server_ids: Iterable[str]) -> dict[str, str]:
    """Server id -> id of its group; servers without are left out."""
    found = tx.execute(_GROUPS_OF, {"ids": list(server_ids)}).fetchall()
    return {row.server_id: row.group_id for row in found}


_GROUPS_OF = sa.select(server_group_member.c.server_id, server_group_member.c.group_id).where(
    server_group_member.c.server_id.in_(sa.bindparam("ids", expanding=True))
)


def leave(tx: Tx, server_id: str) -> None:
    """A server is gone from its group."""
    tx.delete(server_group_member, server_group_member.c.server_id == server_id)
