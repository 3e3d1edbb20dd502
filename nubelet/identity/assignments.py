"""Role assignments: who holds which role where, and what follows from it.

A row says that an actor (user or group) holds a role on a target (project, domain, or the
system). Three things follow: a group's roles are its members'; an inherited row on a domain or a
project holds in every project below it (not there itself); a role brings the roles it implies.
`roles_in` answers the one question tokens ask; `listing.py` answers the API's.

In OpenStack: keystone/assignment/core.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.identity.federation.model import expiring_membership
from nubelet.identity.model import assignment, implied_role, membership, project, role
from nubelet.identity.tokens import Scope
from nubelet.kernel import clock
from nubelet.kernel.database import Tx

SYSTEM_TARGET = "system"


class RoleName(NamedTuple):
    """A role as tokens show it."""

    id: str
    name: str


def roles_in(tx: Tx, user_id: str, scope: Scope, groups: Collection[str] = ()) -> list[RoleName]:
    """The roles that a user has in a scope, by whatever way, sorted by name.

    `groups`: ids of groups that a federated login put the user in. Roles of a domain never show:
    only the global roles that they imply do.
    """
    return named(tx, held_in(tx, user_id, scope, groups))


def held_in(tx: Tx, user_id: str, scope: Scope, groups: Collection[str] = ()) -> set[str]:
    """The ids of the roles that a user has in a scope, implied ones and those of domains too."""
    conditions = _target_conditions(tx, scope)
    if conditions is None:
        return set()
    statement = (
        sa.select(assignment.c.role_id).distinct().where(_actor_is(user_id, groups), conditions)
    )
    held = {row.role_id for row in tx.all(statement)}
    return with_implied(tx, held) if held else held


def named(tx: Tx, role_ids: Collection[str]) -> list[RoleName]:
    """The global ones of these roles, as tokens show them, sorted by name."""
    if not role_ids:
        return []
    rows = tx.all(
        sa.select(role.c.id, role.c.name)
        .where(role.c.id.in_(role_ids), role.c.domain_id.is_(None))
        .order_by(role.c.name)
    )
    return [RoleName(row.id, row.name) for row in rows]


def with_implied(tx: Tx, role_ids: Iterable[str]) -> set[str]:
    """These roles and all that they imply, over any number of steps."""
    return closure(implications(tx), role_ids)


def implications(tx: Tx) -> dict[str, list[str]]:
    """Which roles each role implies directly."""
    found: dict[str, list[str]] = {}
    for row in tx.all(sa.select(implied_role)):
        found.setdefault(row.prior_role_id, []).append(row.implied_role_id)
    return found


def closure(implies: Mapping[str, Sequence[str]], roots: Iterable[str]) -> set[str]:
    """Everything that can be reached from `roots`, themselves included; cycles do no harm."""
    found: set[str] = set()
    left = list(roots)
    while left:
        each = left.pop()
        if each not in found:
            found.add(each)
            left.extend(implies.get(each, ()))
    return found


def ancestors(tx: Tx, project_id: str) -> list[str]:
    """The ids above a project, nearest first; the last is its domain."""
    chain = (
        sa.select(project.c.parent_id, sa.literal(1).label("distance"))
        .where(project.c.id == project_id)
        .cte("chain", recursive=True)
    )
    chain = chain.union_all(
        sa.select(project.c.parent_id, chain.c.distance + 1).where(
            project.c.id == chain.c.parent_id, project.c.parent_id.is_not(None)
        )
    )
    return [
        row.parent_id
        for row in tx.all(
            sa.select(chain.c.parent_id)
            .where(chain.c.parent_id.is_not(None))
            .order_by(chain.c.distance)
        )
    ]


def descendants(roots: Collection[str]) -> Any:
    """A subquery of the ids of all projects below `roots`."""
    below = (
        sa.select(project.c.id).where(project.c.parent_id.in_(roots)).cte("below", recursive=True)
    )
    below = below.union(sa.select(project.c.id).where(project.c.parent_id == below.c.id))
    return sa.select(below.c.id)


def group_ids(tx: Tx, user_id: str) -> list[str]:
    """The groups that a user belongs to."""
    return [row.group_id for row in tx.all(_groups_of(user_id))]


def direct_roles(tx: Tx, user_id: str, project_id: str) -> set[str]:
    """The ids of the roles that were given to the user themselves on that very project."""
    return {
        row.role_id
        for row in tx.all(
            sa.select(assignment.c.role_id).where(
                assignment.c.actor_type == "user",
                assignment.c.actor_id == user_id,
                assignment.c.target_type == "project",
                assignment.c.target_id == project_id,
                ~assignment.c.inherited,
            )
        )
    }


def projects_of(tx: Tx, user_id: str, groups: Collection[str] = ()) -> sa.ColumnElement[bool]:
    """The condition on `identity_project` of the projects where a user has any role. `groups`: as
    of `roles_in`."""
    rows = tx.all(
        sa.select(assignment.c.target_type, assignment.c.target_id, assignment.c.inherited)
        .distinct()
        .where(_actor_is(user_id, groups))
    )
    direct = {row.target_id for row in rows if row.target_type == "project" and not row.inherited}
    above = {row.target_id for row in rows if row.inherited}
    condition: sa.ColumnElement[bool] = project.c.id.in_(direct)
    if above:
        condition = sa.or_(condition, project.c.id.in_(descendants(above)))
    return condition


def domains_of(tx: Tx, user_id: str, groups: Collection[str] = ()) -> sa.ColumnElement[bool]:
    """The condition on `identity_project` of the domains where a user has any role. `groups`: as
    of `roles_in`."""
    held = sa.select(assignment.c.target_id).where(
        _actor_is(user_id, groups), assignment.c.target_type == "domain", ~assignment.c.inherited
    )
    return sa.and_(project.c.is_domain, project.c.id.in_(held))


def grant(
    tx: Tx, actor: tuple[str, str], target: tuple[str, str], role_id: str, inherited: bool = False
) -> None:
    """Insert an assignment unless it is there. Actor and target are (type, id)."""
    where = _same(actor, target, role_id, inherited)
    if tx.first(sa.select(assignment.c.role_id).where(*where)) is None:
        tx.insert(
            assignment,
            actor_type=actor[0],
            actor_id=actor[1],
            target_type=target[0],
            target_id=target[1],
            role_id=role_id,
            inherited=inherited,
        )


def revoke(
    tx: Tx, actor: tuple[str, str], target: tuple[str, str], role_id: str, inherited: bool = False
) -> bool:
    """Delete an assignment; False when there was none."""
    return tx.delete(assignment, *_same(actor, target, role_id, inherited)) > 0


def is_granted(
    tx: Tx, actor: tuple[str, str], target: tuple[str, str], role_id: str, inherited: bool = False
) -> bool:
    """Is there exactly this assignment?"""
    return (
        tx.first(sa.select(assignment.c.role_id).where(*_same(actor, target, role_id, inherited)))
        is not None
    )


def forget_actor(tx: Tx, kind: str, identifier: str) -> None:
    """Delete all assignments of a user or group that is being deleted."""
    tx.delete(assignment, assignment.c.actor_type == kind, assignment.c.actor_id == identifier)


def forget_targets(tx: Tx, identifiers: Collection[str]) -> None:
    """Delete all assignments on projects and domains that are being deleted."""
    tx.delete(
        assignment, assignment.c.target_id.in_(identifiers), assignment.c.target_type != "system"
    )


def _same(
    actor: tuple[str, str], target: tuple[str, str], role_id: str, inherited: bool
) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        assignment.c.actor_type == actor[0],
        assignment.c.actor_id == actor[1],
        assignment.c.target_type == target[0],
        assignment.c.target_id == target[1],
        assignment.c.role_id == role_id,
        assignment.c.inherited == inherited,
    )


def _groups_of(user_id: str) -> Any:
    """A subquery of the ids of a user's groups, with those of a federated login as long as its
    provider vouches for them."""
    return sa.union_all(
        sa.select(membership.c.group_id).where(membership.c.user_id == user_id),
        sa.select(expiring_membership.c.group_id).where(
            expiring_membership.c.user_id == user_id,
            expiring_membership.c.expires_at > clock.now(),
        ),
    )


def _actor_is(user_id: str, groups: Collection[str] = ()) -> sa.ColumnElement[bool]:
    member_of: sa.ColumnElement[bool] = assignment.c.actor_id.in_(_groups_of(user_id))
    if groups:
        member_of = sa.or_(member_of, assignment.c.actor_id.in_(groups))
    return sa.or_(
        sa.and_(assignment.c.actor_type == "user", assignment.c.actor_id == user_id),
        sa.and_(assignment.c.actor_type == "group", member_of),
    )


def _target_conditions(tx: Tx, scope: Scope) -> sa.ColumnElement[bool] | None:
    if scope.kind == "unscoped":
        return None
    if scope.kind == "system":
        return sa.and_(
            assignment.c.target_type == "system", assignment.c.target_id == SYSTEM_TARGET
        )
    here = sa.and_(
        assignment.c.target_type == scope.kind,
        assignment.c.target_id == scope.id,
        ~assignment.c.inherited,
    )
    if scope.kind == "domain":
        return here
    above = ancestors(tx, scope.id)
    return sa.or_(here, sa.and_(assignment.c.target_id.in_(above), assignment.c.inherited))
