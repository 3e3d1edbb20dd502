"""Listing role assignments, as they were made or as they take effect.

`select` finds rows as they were made. `effective` works out what follows from them, as tokens
see it: a group's row becomes one per member, an inherited row one per project below, a row whose
role implies others one more per implied role; roles of domains drop out. Each derived row keeps
where it came from, for its links.

A fixed number of queries, whatever the number of rows. Read next: `api/role_assignments.py`.
In OpenStack: keystone/assignment/core.py list_role_assignments.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from nubelet.identity import assignments
from nubelet.identity.assignments import SYSTEM_TARGET
from nubelet.identity.model import assignment, membership, project, role
from nubelet.kernel.database import Tx


@dataclass(frozen=True)
class Row:
    """An assignment. `made` is the row it follows from (itself unless derived); `group_id` the
    group by which a user has it; `prior_role_id` the role that implied its role."""

    actor_type: str
    actor_id: str
    target_type: str
    target_id: str
    role_id: str
    inherited: bool
    made: Row | None = None
    group_id: str | None = None
    prior_role_id: str | None = None


@dataclass(frozen=True)
class Filters:
    """What a list is narrowed to; None does not narrow. `projects`: scope.project.id, with its
    subtree where that is asked for. `domain_only`: the domain of a domain-scoped caller."""

    user_id: str | None = None
    group_id: str | None = None
    role_id: str | None = None
    projects: Collection[str] | None = None
    domain_id: str | None = None
    system: bool = False
    inherited: bool = False
    domain_only: str | None = None


def select(tx: Tx, filters: Filters) -> list[Row]:
    """The assignments as they were made."""
    return [row for row in _rows(tx, _made(filters)) if _in_domain(tx, filters)(row)]


def effective(tx: Tx, filters: Filters) -> list[Row]:
    """The assignments as they take effect for users."""
    rows = _rows(tx, _may_matter(tx, filters))
    found = list(_imply(tx, _inherit(tx, filters, _expand_groups(tx, rows))))
    wanted = [row for row in found if _fits(row, filters)]
    visible = _in_domain(tx, filters)
    return sorted({row for row in wanted if visible(row)}, key=_order)


# --- Rows as they were made ---------------------------------------------------------------------


def _rows(tx: Tx, condition: sa.ColumnElement[bool]) -> list[Row]:
    c = assignment.c
    statement = (
        sa.select(assignment)
        .where(condition)
        .order_by(c.target_type, c.target_id, c.actor_type, c.actor_id, c.role_id, c.inherited)
    )
    return [Row(**row._mapping) for row in tx.all(statement)]


def _made(filters: Filters) -> sa.ColumnElement[bool]:
    c = assignment.c
    conditions: list[sa.ColumnElement[bool]] = [sa.true()]
    if filters.user_id:
        conditions += [c.actor_type == "user", c.actor_id == filters.user_id]
    if filters.group_id:
        conditions += [c.actor_type == "group", c.actor_id == filters.group_id]
    if filters.role_id:
        conditions.append(c.role_id == filters.role_id)
    if filters.projects is not None:
        conditions += [c.target_type == "project", c.target_id.in_(filters.projects)]
    if filters.domain_id:
        conditions += [c.target_type == "domain", c.target_id == filters.domain_id]
    if filters.system:
        conditions += [c.target_type == "system", c.target_id == SYSTEM_TARGET]
    if filters.inherited:
        conditions.append(c.inherited)
    return sa.and_(*conditions)


def _may_matter(tx: Tx, filters: Filters) -> sa.ColumnElement[bool]:
    """The rows from which a wanted one could follow."""
    c = assignment.c
    conditions: list[sa.ColumnElement[bool]] = [sa.true()]
    if filters.user_id:
        groups = assignments.group_ids(tx, filters.user_id)
        conditions.append(
            sa.or_(
                sa.and_(c.actor_type == "user", c.actor_id == filters.user_id),
                sa.and_(c.actor_type == "group", c.actor_id.in_(groups)),
            )
        )
    if filters.domain_id:
        conditions += [c.target_type == "domain", c.target_id == filters.domain_id, ~c.inherited]
    if filters.system:
        conditions.append(c.target_type == "system")
    return sa.and_(*conditions)


def _in_domain(tx: Tx, filters: Filters) -> Any:
    """Whether a row is about the domain of a domain-scoped caller."""
    if filters.domain_only is None:
        return lambda row: True
    inside = {
        row.id
        for row in tx.all(sa.select(project.c.id).where(project.c.domain_id == filters.domain_only))
    }
    inside.add(filters.domain_only)
    return lambda row: row.target_type != "system" and row.target_id in inside


# --- What follows ---------------------------------------------------------------------------------


def _expand_groups(tx: Tx, rows: Sequence[Row]) -> Iterator[Row]:
    wanted = {row.actor_id for row in rows if row.actor_type == "group"}
    members: dict[str, list[str]] = {}
    if wanted:
        for each in tx.all(sa.select(membership).where(membership.c.group_id.in_(wanted))):
            members.setdefault(each.group_id, []).append(each.user_id)
    for row in rows:
        if row.actor_type == "user":
            yield replace(row, made=row)
        for user_id in members.get(row.actor_id, ()) if row.actor_type == "group" else ():
            yield replace(row, actor_type="user", actor_id=user_id, made=row, group_id=row.actor_id)


def _inherit(tx: Tx, filters: Filters, rows: Iterable[Row]) -> Iterator[Row]:
    children: dict[str, list[str]] | None = None
    for row in rows:
        if not row.inherited:
            yield row
            continue
        if children is None:
            children = _children(tx)
        for project_id in _below(children, row.target_id):
            if filters.projects is None or project_id in filters.projects:
                yield replace(row, target_type="project", target_id=project_id)


def _children(tx: Tx) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in tx.all(
        sa.select(project.c.id, project.c.parent_id).where(project.c.parent_id.is_not(None))
    ):
        found.setdefault(row.parent_id, []).append(row.id)
    return found


def _below(children: dict[str, list[str]], root: str) -> list[str]:
    found: list[str] = []
    left = list(children.get(root, ()))
    while left:
        each = left.pop()
        found.append(each)
        left.extend(children.get(each, ()))
    return found


def _imply(tx: Tx, rows: Iterable[Row]) -> Iterator[Row]:
    implies = assignments.implications(tx)
    of_domains = {
        row.id for row in tx.all(sa.select(role.c.id).where(role.c.domain_id.is_not(None)))
    }
    for row in rows:
        for role_id in assignments.closure(implies, [row.role_id]):
            if role_id in of_domains:
                continue
            yield (
                row
                if role_id == row.role_id
                else replace(row, role_id=role_id, prior_role_id=row.role_id)
            )


def _fits(row: Row, filters: Filters) -> bool:
    return (
        (filters.user_id is None or row.actor_id == filters.user_id)
        and (filters.role_id is None or row.role_id == filters.role_id)
        and (
            filters.projects is None
            or (row.target_type == "project" and row.target_id in filters.projects)
        )
        and (
            filters.domain_id is None
            or (row.target_type == "domain" and row.target_id == filters.domain_id)
        )
        and (not filters.system or row.target_type == "system")
        and (not filters.inherited or row.inherited)
    )


def _order(row: Row) -> tuple[str, ...]:
    return (
        row.target_type,
        row.target_id,
        row.actor_id,
        row.role_id,
        row.group_id or "",
        row.prior_role_id or "",
        row.made.target_id if row.made else "",
    )
