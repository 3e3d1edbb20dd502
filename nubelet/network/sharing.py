"""Who else may use a thing: RBAC entries, of which `shared` is the one for everybody.

In OpenStack: neutron/db/rbac_db_models.py.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.ids import new_uuid
from nubelet.network.model import rbac_policy

SHARED, EXTERNAL = "access_as_shared", "access_as_external"
EVERYBODY = "*"
_c = rbac_policy.c


def _targets(ctx: Context) -> tuple[str, ...]:
    return (EVERYBODY, ctx.project_id) if ctx.project_id else (EVERYBODY,)


def granted(ctx: Context, object_type: str, *actions: str) -> sa.Select[Any]:
    """A select of the ids that an entry opens to the caller's project (any action if none)."""
    statement = sa.select(_c.object_id).where(
        _c.object_type == object_type, _c.target_tenant.in_(_targets(ctx))
    )
    return statement.where(_c.action.in_(actions)) if actions else statement


def shared_ids(ctx: Context, tx: Tx, object_type: str, ids: Collection[str]) -> set[str]:
    """Those of `ids` that are shared with the caller's project or with everybody."""
    if not ids:
        return set()
    statement = granted(ctx, object_type, SHARED)
    if len(ids) <= 100:
        statement = statement.where(_c.object_id.in_(ids))
    return {row.object_id for row in tx.all(statement)}


def is_open(tx: Tx, object_id: str, action: str, to: str = EVERYBODY) -> bool:
    """Is there an entry for everybody, or for that project by its name?"""
    return (
        tx.scalar(
            sa.select(sa.literal(1)).where(
                _c.object_id == object_id, _c.action == action, _c.target_tenant == to
            )
        )
        is not None
    )


def open_to_all(tx: Tx, object_type: str, object_id: str, project_id: str, action: str) -> None:
    """Add the entry for everybody, if it is not there."""
    if not is_open(tx, object_id, action):
        tx.insert(
            rbac_policy,
            id=new_uuid(),
            project_id=project_id,
            object_type=object_type,
            object_id=object_id,
            action=action,
            target_tenant=EVERYBODY,
            created_at=clock.now(),
        )


def close_to_all(tx: Tx, object_id: str, action: str) -> None:
    """Remove the entry for everybody."""
    tx.delete(
        rbac_policy, _c.object_id == object_id, _c.action == action, _c.target_tenant == EVERYBODY
    )


def forget(tx: Tx, object_id: str) -> None:
    """Remove all entries of a thing that goes away."""
    tx.delete(rbac_policy, _c.object_id == object_id)
