"""The last administrator stays: nobody can shut everybody out of the cloud by the API.

An administrator is an enabled user of an enabled domain who holds the role `admin` of the whole
cloud, directly or by a group, on the system or on an enabled project or domain. Whatever could take
the last one away is done first and looked at afterwards, in the same transaction.

In OpenStack there is nothing like it: `keystone-manage bootstrap` repairs it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from nubelet.identity.model import assignment, login, membership, password, project, role, user
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Conflict

ROLE = "admin"

_home, _place, _place_home = project.alias("home"), project.alias(), project.alias()
_ALL = (
    sa.select(
        user.c.id,
        user.c.options,
        password.c.user_id.label("has_password"),
        login.c.failed_count,
        login.c.failed_at,
        login.c.last_active_at,
    )
    .select_from(assignment)
    .join(role, role.c.id == assignment.c.role_id)
    .join(
        user,
        sa.or_(
            sa.and_(assignment.c.actor_type == "user", user.c.id == assignment.c.actor_id),
            sa.and_(
                assignment.c.actor_type == "group",
                user.c.id.in_(
                    sa.select(membership.c.user_id).where(
                        membership.c.group_id == assignment.c.actor_id
                    )
                ),
            ),
        ),
    )
    .join(_home, _home.c.id == user.c.domain_id)
    .outerjoin(password, password.c.user_id == user.c.id)
    .outerjoin(login, login.c.user_id == user.c.id)
    .outerjoin(_place, _place.c.id == assignment.c.target_id)
    .outerjoin(_place_home, _place_home.c.id == _place.c.domain_id)
    .where(
        role.c.name == ROLE,
        role.c.domain_id.is_(None),
        user.c.enabled,
        _home.c.enabled,
        ~assignment.c.inherited,
        sa.or_(
            assignment.c.target_type == "system",
            sa.and_(_place.c.enabled, sa.func.coalesce(_place_home.c.enabled, True)),
        ),
    )
)


def exist(tx: Tx) -> bool:
    """Is there an administrator, as this transaction sees it?"""
    return tx.first(_ALL.limit(1)) is not None


def require_one(tx: Tx, what: str) -> None:
    """Raise Conflict unless somebody is left who may do everything. `what` was done before:
    "disabling the user 42"; the transaction takes it back."""
    if not exist(tx):
        raise Conflict(
            f"Nobody would be left with the role {ROLE}: {what} would take it from the last "
            "enabled user who holds it. Give it to somebody else first."
        )


def is_last(tx: Tx, user_id: str, may_log_in: Callable[[Any], bool]) -> bool:
    """Is this user an administrator, and no other one has a password and may log in by it?
    `may_log_in` is asked of rows of users with what is known of their logins."""
    found = {row.id: row for row in tx.all(_ALL)}
    if found.pop(user_id, None) is None:
        return False
    return not any(row.has_password and may_log_in(row) for row in found.values())
