"""Resource providers: made, described, moved, removed.

Whoever changes a provider locks its row first (`lock`), so that a claim on it either sees the
change or is seen by it. In OpenStack: placement/objects/resource_provider.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, NotFound
from nubelet.placement.model import (
    allocation,
    inventory,
    provider_aggregate,
    provider_trait,
    resource_provider,
)

Row = sa.Row[Any]
CONCURRENT_UPDATE = "placement.concurrent_update"
DEFAULTS: dict[str, Any] = {
    "reserved": 0,
    "min_unit": 1,
    "max_unit": 2147483647,
    "step_size": 1,
    "allocation_ratio": 1.0,
}
_rp = resource_provider.c


def find_provider(tx: Tx, provider_id: str) -> Row:
    """The provider's row; raises NotFound."""
    row = tx.first(sa.select(resource_provider).where(_rp.id == provider_id))
    if row is None:
        raise NotFound(message=f"No resource provider with uuid {provider_id} found")
    return row


def lock(tx: Tx, provider_id: str, expected_generation: int | None = None) -> Row:
    """The provider's row, which nobody else changes until the transaction ends.

    Raises NotFound, and Conflict `placement.concurrent_update` when the provider is not at the
    expected generation.
    """
    row = tx.first(sa.select(resource_provider).where(_rp.id == provider_id).with_for_update())
    if row is None:
        raise NotFound(message=f"No resource provider with uuid {provider_id} found")
    if expected_generation is not None and row.generation != expected_generation:
        raise Conflict(
            f"resource provider generation conflict: {provider_id} is at generation "
            f"{row.generation}, not {expected_generation}",
            code=CONCURRENT_UPDATE,
        )
    return row


_TOUCH = (
    sa.update(resource_provider)
    .where(_rp.id.in_(sa.bindparam("b_ids", expanding=True)))
    .values(updated_at=sa.bindparam("b_now"), generation=_rp.generation + 1)
)


def touch(tx: Tx, provider_ids: Iterable[str]) -> None:
    """Count a change of each of the providers (which are locked)."""
    ids = list(provider_ids)
    if ids:
        tx.execute(_TOUCH, {"b_ids": ids, "b_now": clock.now()})


def create(tx: Tx, provider_id: str, name: str, parent_id: str | None = None) -> Row:
    """A new provider; raises Conflict for a taken name or id, BadRequest without its parent."""
    tx.lock("resource_provider")
    _require_free(tx, sa.or_(_rp.name == name, _rp.id == provider_id), name, provider_id)
    now = clock.now()
    root = _parent(tx, parent_id).root_id if parent_id else provider_id
    tx.insert(
        resource_provider,
        id=provider_id,
        name=name,
        generation=0,
        root_id=root,
        parent_id=parent_id,
        created_at=now,
        updated_at=now,
    )
    return find_provider(tx, provider_id)


def _parent(tx: Tx, parent_id: str) -> Row:
    try:
        return lock(tx, parent_id)
    except NotFound:
        raise BadRequest(
            f"parent_provider_uuid: there is no resource provider {parent_id}.",
        ) from None


def _require_free(tx: Tx, condition: sa.ColumnElement[bool], name: str, provider_id: str) -> None:
    taken = tx.first(sa.select(resource_provider).where(condition))
    if taken is not None:
        what = f"name: {name}" if taken.name == name else f"uuid: {provider_id}"
        raise Conflict(
            f"Conflicting resource provider {what} already exists.", code="placement.duplicate_name"
        )


def ensure_provider(tx: Tx, provider_id: str, name: str, parent_id: str | None = None) -> None:
    """A provider of this id and name exists. An existing one keeps its place in its tree."""
    row = tx.first(sa.select(resource_provider).where(_rp.id == provider_id))
    if row is None:
        create(tx, provider_id, name, parent_id)
    elif row.name != name:
        rename(tx, row, name)


def rename(tx: Tx, row: Row, name: str) -> None:
    """Give a provider another name; raises Conflict for a taken one."""
    if name == row.name:
        return
    tx.lock("resource_provider")
    _require_free(tx, sa.and_(_rp.name == name, _rp.id != row.id), name, row.id)
    tx.update(resource_provider, _rp.id == row.id, name=name, updated_at=clock.now())


def move(tx: Tx, row: Row, parent_id: str | None, *, freely: bool) -> None:
    """Put a provider and all below it under another parent, or make it a root.

    Unless `freely`, only a root may be moved. Raises BadRequest; also for a loop.
    """
    if parent_id == row.parent_id:
        return
    if not freely and row.parent_id is not None:
        raise BadRequest(
            f"Unable to change the parent of resource provider {row.id}: "
            + ("un-parenting" if parent_id is None else "re-parenting")
            + " a provider is not possible before microversion 1.37."
        )
    tx.lock("resource_provider")
    below = _subtree(tx, row)
    root = row.id
    if parent_id is not None:
        root = _parent(tx, parent_id).root_id
        if parent_id in below:
            raise BadRequest(
                f"parent_provider_uuid: {parent_id} is below {row.id}; a loop in the "
                "provider tree is not allowed."
            )
    now = clock.now()
    tx.update(resource_provider, _rp.id.in_(below), root_id=root, updated_at=now)
    tx.update(resource_provider, _rp.id == row.id, parent_id=parent_id)


def _subtree(tx: Tx, row: Row) -> set[str]:
    """The provider and all below it."""
    children: dict[str | None, list[str]] = {}
    for each in tx.all(sa.select(_rp.id, _rp.parent_id).where(_rp.root_id == row.root_id)):
        children.setdefault(each.parent_id, []).append(each.id)
    found, waiting = {row.id}, [row.id]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found.add(child)
            waiting.append(child)
    return found


def set_traits(tx: Tx, provider_id: str, traits: Iterable[str]) -> bool:
    """The provider has exactly these traits; True if that changed anything."""
    return _set_names(tx, provider_trait, provider_trait.c.trait, provider_id, set(traits))


def set_aggregates(
    tx: Tx, provider_id: str, aggregates: Iterable[str], *, counted: bool = True
) -> bool:
    """The provider is in exactly these aggregates; True if that changed anything.

    `counted=False` leaves its generation alone (API before 1.19).
    """
    return _set_names(
        tx,
        provider_aggregate,
        provider_aggregate.c.aggregate_id,
        provider_id,
        set(aggregates),
        counted,
    )


def _set_names(
    tx: Tx,
    table: sa.Table,
    column: sa.Column[Any],
    provider_id: str,
    wanted: set[str],
    counted: bool = True,
) -> bool:
    lock(tx, provider_id)
    present = {
        row[0] for row in tx.all(sa.select(column).where(table.c.provider_id == provider_id))
    }
    gone, new = present - wanted, wanted - present
    if gone:
        tx.delete(table, table.c.provider_id == provider_id, column.in_(gone))
    if new:
        tx.insert(table, *({"provider_id": provider_id, column.name: name} for name in sorted(new)))
    if (gone or new) and counted:
        touch(tx, [provider_id])
    return bool(gone or new)


def traits_of(
    tx: Tx, provider_ids: Iterable[str] | None = None, among: Iterable[str] | None = None
) -> dict[str, set[str]]:
    """Provider id -> its traits (those `among` some); None: of all providers."""
    return _grouped(tx, provider_trait, provider_trait.c.trait, provider_ids, among)


def aggregates_of(
    tx: Tx, provider_ids: Iterable[str] | None = None, among: Iterable[str] | None = None
) -> dict[str, set[str]]:
    """Provider id -> the aggregates it is in (those `among` some); None: of all providers."""
    return _grouped(tx, provider_aggregate, provider_aggregate.c.aggregate_id, provider_ids, among)


def _grouped(
    tx: Tx,
    table: sa.Table,
    column: sa.Column[Any],
    provider_ids: Iterable[str] | None,
    among: Iterable[str] | None,
) -> dict[str, set[str]]:
    statement = sa.select(table.c.provider_id, column)
    if provider_ids is not None:
        statement = statement.where(table.c.provider_id.in_(list(provider_ids)))
    if among is not None:
        statement = statement.where(column.in_(list(among)))
    found: dict[str, set[str]] = {}
    rows: Sequence[Any] = tx.all(statement)
    for provider_id, name in rows:
        found.setdefault(provider_id, set()).add(name)
    return found


def delete(tx: Tx, provider_id: str) -> None:
    """Delete a provider; raises NotFound.

    Raises Conflict while it has allocations (`placement.resource_provider.inuse`) or children
    (`placement.resource_provider.cannot_delete_parent`).
    """
    lock(tx, provider_id)
    if tx.first(sa.select(_rp.id).where(_rp.parent_id == provider_id).limit(1)):
        raise Conflict(
            f"Unable to delete parent resource provider {provider_id}: it has child "
            "resource providers.",
            code="placement.resource_provider.cannot_delete_parent",
        )
    if tx.first(
        sa.select(allocation.c.consumer_id).where(allocation.c.provider_id == provider_id).limit(1)
    ):
        raise Conflict(
            f"Unable to delete resource provider {provider_id}: it has allocations.",
            code="placement.resource_provider.inuse",
        )
    for table in (inventory, provider_trait, provider_aggregate):
        tx.delete(table, table.c.provider_id == provider_id)
    tx.delete(resource_provider, _rp.id == provider_id)


def remove_provider(tx: Tx, provider_id: str) -> None:
    """The provider does not exist; raises the Conflicts of `delete`."""
    if tx.first(sa.select(_rp.id).where(_rp.id == provider_id)):
        delete(tx, provider_id)


def names_of(tx: Tx, provider_ids: Iterable[str]) -> Mapping[str, str]:
    """Provider id -> name."""
    return {
        row.id: row.name
        for row in tx.all(sa.select(_rp.id, _rp.name).where(_rp.id.in_(list(provider_ids))))
    }
