"""Endpoint groups, and what is shown to a project.

A change shows in the catalog of the next request: `changes.record` moves the revision.

In OpenStack: keystone/catalog/core.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import changes
from nubelet.identity.endpoint_filter.model import (
    endpoint_group,
    project_endpoint,
    project_endpoint_group,
)
from nubelet.identity.model import endpoint
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict
from nubelet.kernel.ids import new_hex

FILTERS = ("service_id", "region_id", "interface")


def find_group(tx: Tx, identifier: str) -> Any:
    """The row of an endpoint group; None where there is none."""
    return tx.first(sa.select(endpoint_group).where(endpoint_group.c.id == identifier))


def create_group(ctx: Context, tx: Tx, values: Mapping[str, Any]) -> Any:
    """Insert an endpoint group; answers its row."""
    _check_filters(values)
    identifier = new_hex()
    tx.insert(
        endpoint_group,
        id=identifier,
        name=values["name"],
        description=values.get("description"),
        filters=values["filters"],
        created_at=clock.now(),
    )
    changes.record(ctx, tx, "endpoint_group.created", identifier)
    return find_group(tx, identifier)


def update_group(ctx: Context, tx: Tx, row: Any, values: Mapping[str, Any]) -> Any:
    """Change an endpoint group; answers its row. Filters are merged; null takes one off."""
    changed = dict(values)
    if "filters" in changed:
        changed["filters"] = changes.merge_options(row.filters, changed["filters"])
        _check_filters(changed)
    if changed:
        tx.update(endpoint_group, endpoint_group.c.id == row.id, **changed)
        changes.record(ctx, tx, "endpoint_group.updated", row.id)
    return find_group(tx, row.id)


def delete_group(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete an endpoint group; projects no longer see it."""
    tx.delete(project_endpoint_group, project_endpoint_group.c.endpoint_group_id == row.id)
    tx.delete(endpoint_group, endpoint_group.c.id == row.id)
    changes.record(ctx, tx, "endpoint_group.deleted", row.id)


def endpoints_in(tx: Tx, groups: Iterable[Any]) -> list[Any]:
    """The endpoints that fit at least one of these endpoint groups."""
    fits = [
        sa.and_(*(endpoint.c[name] == value for name, value in group.filters.items()))
        for group in groups
    ]
    if not fits:
        return []
    statement = sa.select(endpoint).where(sa.or_(*fits))
    return list(tx.all(statement.order_by(endpoint.c.created_at, endpoint.c.id)))


def groups_of(tx: Tx, project_id: str) -> list[Any]:
    """The endpoint groups that a project sees."""
    return list(
        tx.all(
            sa.select(endpoint_group)
            .join(
                project_endpoint_group,
                project_endpoint_group.c.endpoint_group_id == endpoint_group.c.id,
            )
            .where(project_endpoint_group.c.project_id == project_id)
            .order_by(endpoint_group.c.id)
        )
    )


def endpoints_of(tx: Tx, project_id: str) -> list[Any]:
    """The endpoints that a project sees, by themselves or by a group; none for no filter."""
    direct = tx.all(
        sa.select(endpoint)
        .join(project_endpoint, project_endpoint.c.endpoint_id == endpoint.c.id)
        .where(project_endpoint.c.project_id == project_id)
        .order_by(endpoint.c.created_at, endpoint.c.id)
    )
    by_id = {row.id: row for row in (*direct, *endpoints_in(tx, groups_of(tx, project_id)))}
    return list(by_id.values())


def visible(tx: Tx) -> dict[str, frozenset[str]]:
    """The ids of the endpoints that each project with a filter sees."""
    found: dict[str, set[str]] = {}
    for row in tx.all(sa.select(project_endpoint)):
        found.setdefault(row.project_id, set()).add(row.endpoint_id)
    shown = tx.all(sa.select(project_endpoint_group))
    groups = {row.id: row for row in tx.all(sa.select(endpoint_group))} if shown else {}
    members = {
        identifier: {row.id for row in endpoints_in(tx, [group])}
        for identifier, group in groups.items()
    }
    for row in shown:
        found.setdefault(row.project_id, set()).update(members[row.endpoint_group_id])
    return {project_id: frozenset(each) for project_id, each in found.items()}


def is_associated(tx: Tx, table: sa.Table, project_id: str, other_id: str) -> bool:
    """Does the project see the endpoint or the group itself?"""
    return tx.first(sa.select(table).where(*_pair(table, project_id, other_id))) is not None


def associate(ctx: Context, tx: Tx, table: sa.Table, project_id: str, other_id: str) -> None:
    """Show an endpoint or a group to a project; raises Conflict where it sees it already."""
    tx.lock("identity", table.name, project_id, other_id)
    if is_associated(tx, table, project_id, other_id):
        raise Conflict(f"The project {project_id} sees {other_id} already.")
    tx.insert(table, {"project_id": project_id, _other(table): other_id})
    changes.record(ctx, tx, "endpoint_filter.created", other_id)


def dissociate(ctx: Context, tx: Tx, table: sa.Table, project_id: str, other_id: str) -> bool:
    """Hide an endpoint or a group from a project again; False where it did not see it."""
    gone = tx.delete(table, *_pair(table, project_id, other_id)) > 0
    if gone:
        changes.record(ctx, tx, "endpoint_filter.deleted", other_id)
    return gone


def forget_projects(tx: Tx, identifiers: list[str]) -> None:
    """Delete what is said of projects that are being deleted."""
    for table in (project_endpoint, project_endpoint_group):
        tx.delete(table, table.c.project_id.in_(identifiers))


def forget_endpoints(tx: Tx, condition: sa.ColumnElement[bool]) -> None:
    """Delete what is said of endpoints that are being deleted."""
    doomed = sa.select(endpoint.c.id).where(condition)
    tx.delete(project_endpoint, project_endpoint.c.endpoint_id.in_(doomed))


def _other(table: sa.Table) -> str:
    return "endpoint_id" if table is project_endpoint else "endpoint_group_id"


def _pair(table: sa.Table, project_id: str, other_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.project_id == project_id, table.c[_other(table)] == other_id)


def _check_filters(values: Mapping[str, Any]) -> None:
    if not values["filters"]:
        raise BadRequest("Invalid input for field/attribute filters: it must not be empty.")
