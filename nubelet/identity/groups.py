"""Groups: users who hold roles together.

In OpenStack: keystone/identity/core.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import administrators, assignments, changes, projects
from nubelet.identity.directories import mirror
from nubelet.identity.domain_config import options
from nubelet.identity.federation import departures
from nubelet.identity.federation.model import expiring_membership
from nubelet.identity.model import group, membership, user
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, Forbidden
from nubelet.kernel.ids import new_hex


def find(tx: Tx, identifier: str) -> Any:
    """The row of a group; None where there is none."""
    return tx.first(sa.select(group).where(group.c.id == identifier))


def create(ctx: Context, tx: Tx, values: Mapping[str, Any], extra: Mapping[str, Any]) -> Any:
    """Insert a group; answers its row."""
    domain = projects.require_domain(tx, values["domain_id"])
    if domain.id in options.drivers(tx):
        raise Forbidden(
            f"The groups of the domain {domain.id} are read from its directory, and can be made "
            "there only."
        )
    _refuse_duplicate(tx, values["name"], domain.id)
    identifier = new_hex()
    tx.insert(
        group,
        id=identifier,
        name=values["name"],
        domain_id=domain.id,
        description=values.get("description") or "",
        extra=dict(extra),
        created_at=clock.now(),
    )
    changes.record(ctx, tx, "group.created", identifier)
    return find(tx, identifier)


def update(
    ctx: Context, tx: Tx, row: Any, values: Mapping[str, Any], extra: Mapping[str, Any]
) -> Any:
    """Change a group; answers its row."""
    mirror.require_own(tx, row.id)
    if "domain_id" in values and values["domain_id"] != row.domain_id:
        raise BadRequest("Invalid input for field/attribute domain_id: it cannot be changed.")
    changed: dict[str, Any] = {"extra": {**row.extra, **extra}}
    if "name" in values and values["name"] != row.name:
        _refuse_duplicate(tx, values["name"], row.domain_id)
        changed["name"] = values["name"]
    if "description" in values:
        changed["description"] = values["description"] or ""
    tx.update(group, group.c.id == row.id, **changed)
    changes.record(ctx, tx, "group.updated", row.id)
    return find(tx, row.id)


def delete(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete a group; its members lose the roles they had by it."""
    mirror.require_own(tx, row.id)
    assignments.forget_actor(tx, "group", row.id)
    mirror.forget(tx, [row.id])
    tx.delete(membership, membership.c.group_id == row.id)
    departures.forget_groups(tx, [row.id])
    tx.delete(group, group.c.id == row.id)
    administrators.require_one(tx, f"deleting the group {row.id}")
    changes.record(ctx, tx, "group.deleted", row.id)


def members(group_id: str) -> Any:
    """A subquery of the ids of a group's users, with those who are in it for a while."""
    return sa.union_all(
        sa.select(membership.c.user_id).where(membership.c.group_id == group_id),
        sa.select(expiring_membership.c.user_id).where(
            expiring_membership.c.group_id == group_id,
            expiring_membership.c.expires_at > clock.now(),
        ),
    )


def is_member(tx: Tx, group_id: str, user_id: str) -> bool:
    """Does the user belong to the group, be it for a while?"""
    wanted = sa.select(user.c.id).where(user.c.id == user_id, user.c.id.in_(members(group_id)))
    return tx.first(wanted) is not None


def add_member(ctx: Context, tx: Tx, group_id: str, user_id: str) -> None:
    """Make the user a member; nothing changes for one who is."""
    mirror.require_own(tx, group_id)
    lasting = sa.select(membership.c.user_id).where(*_pair(group_id, user_id))
    if tx.first(lasting) is None:
        tx.insert(membership, group_id=group_id, user_id=user_id)
        changes.record(ctx, tx, "group.updated", group_id)


def remove_member(ctx: Context, tx: Tx, group_id: str, user_id: str) -> bool:
    """End a membership; False when there was none."""
    mirror.require_own(tx, group_id)
    gone = tx.delete(membership, *_pair(group_id, user_id)) > 0
    c = expiring_membership.c
    gone |= tx.delete(expiring_membership, c.group_id == group_id, c.user_id == user_id) > 0
    if gone:
        administrators.require_one(tx, f"removing the user {user_id} from the group {group_id}")
        changes.record(ctx, tx, "group.updated", group_id)
    return gone


def _pair(group_id: str, user_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (membership.c.group_id == group_id, membership.c.user_id == user_id)


def _refuse_duplicate(tx: Tx, name: str, domain_id: str) -> None:
    tx.lock("identity", "group", domain_id, name)
    found = tx.scalar(
        sa.select(group.c.id).where(group.c.name == name, group.c.domain_id == domain_id)
    )
    if found is not None:
        raise Conflict(f"There is a group named {name} in the domain {domain_id} already: {found}.")
