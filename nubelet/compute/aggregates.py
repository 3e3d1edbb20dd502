"""Aggregates: named sets of hosts with metadata; those with an `availability_zone` are zones.

A host is in at most one zone, and in `nova` when it is in none. Placement is told which hosts an
aggregate has, so that `member_of` finds them.

In OpenStack: nova/compute/api.py AggregateAPI, nova/availability_zones.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from nubelet import image, placement
from nubelet.compute.model import aggregate, aggregate_host, compute_host, server
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import ApiError, BadRequest, Conflict, NotFound
from nubelet.kernel.ids import new_uuid
from nubelet.kernel.operations import journal

Row = sa.Row[Any]

DEFAULT_ZONE: Final = "nova"
ZONE_KEY: Final = "availability_zone"


def find(tx: Tx, aggregate_id: str) -> Row:
    """An aggregate by its number; raises NotFound, or BadRequest for what is no number."""
    try:
        number = int(aggregate_id)
    except ValueError:
        raise BadRequest(f"Invalid aggregate id '{aggregate_id}': not an integer.") from None
    row = (
        tx.first(sa.select(aggregate).where(aggregate.c.auto_id == number))
        if 0 <= number < 1 << 62
        else None
    )
    if row is None:
        raise NotFound(message=f"Aggregate {aggregate_id} could not be found.")
    return row


_ALL = sa.select(aggregate).order_by(aggregate.c.auto_id)
_HOSTS = sa.select(aggregate_host).order_by(aggregate_host.c.host)


def all_aggregates(tx: Tx) -> list[Row]:
    """All aggregates, oldest first."""
    return [*tx.all(_ALL)]


def hosts_of(tx: Tx, aggregate_ids: Iterable[str] | None = None) -> dict[str, list[str]]:
    """Aggregate id (UUID) -> names of its hosts; None: of all aggregates."""
    statement = _HOSTS
    if aggregate_ids is not None:
        statement = statement.where(aggregate_host.c.aggregate_id.in_(list(aggregate_ids)))
    found: dict[str, list[str]] = {}
    for row in tx.all(statement):
        found.setdefault(row.aggregate_id, []).append(row.host)
    return found


def of_hosts(tx: Tx) -> dict[str, list[Row]]:
    """Host name -> its aggregates, for all hosts, in two queries."""
    by_id = {row.id: row for row in all_aggregates(tx)}
    found: dict[str, list[Row]] = {}
    for aggregate_id, names in hosts_of(tx).items():
        for name in names:
            found.setdefault(name, []).append(by_id[aggregate_id])
    return found


def zone_of(rows: Iterable[Row]) -> str:
    """The zone of a host with these aggregates."""
    return next(
        (str(row.metadata[ZONE_KEY]) for row in rows if ZONE_KEY in row.metadata), DEFAULT_ZONE
    )


def zones(tx: Tx) -> dict[str, str]:
    """Host name -> availability zone, for all hosts."""
    by_host = of_hosts(tx)
    return {
        row.name: zone_of(by_host.get(row.name, ()))
        for row in tx.all(sa.select(compute_host.c.name))
    }


def create(tx: Tx, name: str, zone: str | None) -> Row:
    """A new aggregate without hosts; raises Conflict for a taken name."""
    _require_free(tx, name)
    tx.insert(
        aggregate,
        id=new_uuid(),
        name=name,
        metadata={ZONE_KEY: zone} if zone else {},
        created_at=clock.now(),
        updated_at=None,
    )
    row = tx.first(sa.select(aggregate).where(aggregate.c.name == name))
    assert row is not None
    return row


def _require_free(tx: Tx, name: str) -> None:
    tx.lock("aggregate")
    if tx.scalar(sa.select(aggregate.c.id).where(aggregate.c.name == name)):
        raise Conflict(f"Aggregate {name} already exists.")


def update(tx: Tx, row: Row, name: str | None, zone: str | None) -> Row:
    """Rename an aggregate, or move it to another zone."""
    if name is not None and name != row.name:
        _require_free(tx, name)
        tx.update(aggregate, aggregate.c.id == row.id, name=name, updated_at=clock.now())
    if zone is not None:
        return set_metadata(tx, row, {ZONE_KEY: zone})
    return find(tx, str(row.auto_id))


def set_metadata(tx: Tx, row: Row, changes: Mapping[str, str | None]) -> Row:
    """Set metadata items, and remove those that are None.

    Raises BadRequest when hosts with servers would change their zone, or be in two.
    """
    tx.lock("aggregate")
    if ZONE_KEY in changes and changes[ZONE_KEY] != row.metadata.get(ZONE_KEY):
        _require_zone_can_change(tx, row, changes[ZONE_KEY])
    items = {key: value for key, value in {**row.metadata, **changes}.items() if value is not None}
    tx.update(aggregate, aggregate.c.id == row.id, metadata=items, updated_at=clock.now())
    return find(tx, str(row.auto_id))


def _require_zone_can_change(tx: Tx, row: Row, zone: str | None) -> None:
    names = hosts_of(tx, [row.id]).get(row.id, [])
    by_host = of_hosts(tx)
    for name in names:
        others = [other for other in by_host.get(name, ()) if other.id != row.id]
        _require_one_zone(name, others, zone, BadRequest)
        _require_no_servers(
            tx,
            name,
            "update aggregate",
            row,
            zone_of(others) if zone is None else zone,
            zone_of([row, *others]),
            BadRequest,
        )


def _require_one_zone(
    name: str, others: Iterable[Row], zone: str | None, refusal: type[ApiError] = Conflict
) -> None:
    present = {str(other.metadata[ZONE_KEY]) for other in others if ZONE_KEY in other.metadata}
    if zone is not None and present - {zone}:
        raise refusal(f"Host {name} is already in availability zone {', '.join(sorted(present))}")


def _require_no_servers(
    tx: Tx,
    host: str,
    action: str,
    row: Row,
    after: str,
    before: str,
    refusal: type[ApiError] = Conflict,
) -> None:
    """A server never changes its zone by itself."""
    if after != before and tx.scalar(
        sa.select(server.c.id).where(server.c.host == host, server.c.deleted_at.is_(None)).limit(1)
    ):
        raise refusal(
            f"Cannot {action} {row.auto_id}. Reason: One or more hosts contain "
            f"instances in this zone (host {host}, zone {before})."
        )


def delete(tx: Tx, row: Row) -> None:
    """Delete an aggregate without hosts; raises BadRequest for another."""
    if hosts_of(tx, [row.id]):
        raise BadRequest(
            f"Cannot delete aggregate {row.auto_id}. Reason: Host aggregate is not empty."
        )
    tx.delete(aggregate, aggregate.c.id == row.id)


def add_host(tx: Tx, row: Row, host: str) -> None:
    """Add a host; raises NotFound for an unknown host, Conflict for one that is there already
    or would be in two zones."""
    tx.lock("aggregate")
    _provider_of(tx, host)
    present = of_hosts(tx).get(host, [])
    if any(other.id == row.id for other in present):
        raise Conflict(f"Aggregate {row.auto_id} already has host {host}.")
    zone = row.metadata.get(ZONE_KEY)
    _require_one_zone(host, present, zone)
    _require_no_servers(
        tx, host, "add host to aggregate", row, zone_of([*present, row]), zone_of(present)
    )
    tx.insert(aggregate_host, aggregate_id=row.id, host=host)
    tx.update(aggregate, aggregate.c.id == row.id, updated_at=clock.now())
    _mirror(tx, host)


def remove_host(tx: Tx, row: Row, host: str) -> None:
    """Remove a host; raises NotFound when it is not there."""
    tx.lock("aggregate")
    present = of_hosts(tx).get(host, [])
    others = [other for other in present if other.id != row.id]
    if len(others) == len(present):
        raise NotFound(message=f"Aggregate {row.auto_id} has no host {host}.")
    _require_no_servers(
        tx, host, "remove host from aggregate", row, zone_of(others), zone_of(present)
    )
    tx.delete(
        aggregate_host, aggregate_host.c.aggregate_id == row.id, aggregate_host.c.host == host
    )
    tx.update(aggregate, aggregate.c.id == row.id, updated_at=clock.now())
    _mirror(tx, host)


def forget_host(tx: Tx, host: str) -> None:
    """A host is gone: so are its places in aggregates."""
    tx.delete(aggregate_host, aggregate_host.c.host == host)


def _provider_of(tx: Tx, host: str) -> str:
    found = tx.scalar(sa.select(compute_host.c.hypervisor_id).where(compute_host.c.name == host))
    if found is None:
        raise NotFound(message=f"Compute host {host} could not be found.")
    return str(found)


def _mirror(tx: Tx, host: str) -> None:
    """Tell placement the aggregates of a host."""
    placement.set_aggregates(
        tx, _provider_of(tx, host), [row.id for row in of_hosts(tx).get(host, ())]
    )


def cache_images(ctx: Context, tx: Tx, row: Row, image_ids: Sequence[str]) -> None:
    """Have the images in the caches of all its hosts soon; raises BadRequest for an image that
    is not there or has no data."""
    from nubelet.compute.operations import CACHE_IMAGES

    for image_id in image_ids:
        try:
            found = image.find(ctx.within("image"), tx, image_id)
        except NotFound as error:
            raise BadRequest(error.message) from None
        if found.row.status != "active":
            raise BadRequest(f"Image {image_id} is {found.row.status}, not active.")
    statement = sa.select(compute_host.c.name, compute_host.c.service_id).where(
        compute_host.c.name.in_(hosts_of(tx, [row.id]).get(row.id, ()))
    )
    for host in tx.all(statement):
        journal.start(
            tx,
            CACHE_IMAGES,
            project_id=ctx.project_id or "",
            ctx=ctx,
            subject_type="compute_host",
            subject_id=host.service_id,
            inputs={"host": host.name, "image_ids": [*image_ids]},
        )
