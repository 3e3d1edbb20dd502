"""Hypervisors: the hosts as an administrator looks at them, with what their servers take.

A hypervisor is a host's row, what the host said of itself in its last heartbeat, and what
placement has given out of it. All hypervisors are read in a fixed number of queries.

In OpenStack: nova/objects/compute_node.py, nova/compute/api.py HostAPI.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from nubelet import placement
from nubelet.compute import hosts
from nubelet.compute.model import compute_host, server
from nubelet.decoding import prepared
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.ids import is_uuid
from nubelet.node.wire import HostState

Row = sa.Row[Any]

_COUNTS = (
    sa.select(
        server.c.host,
        sa.func.count().label("servers"),
        sa.func.count(server.c.task_state).label("busy"),
    )
    .where(server.c.host.is_not(None), server.c.deleted_at.is_(None))
    .group_by(server.c.host)
)


@dataclass(frozen=True)
class Hypervisor:
    """A host with its use. Sizes are in MiB and GiB; memory used holds what the host keeps for
    itself."""

    row: Row
    state: HostState  # as of the last heartbeat
    up: bool
    vcpus_used: int
    memory_mb_used: int
    disk_gb_used: int
    running_servers: int
    tasks: int  # servers that something is being done to
    servers: Sequence[Row] = field(default=())  # id and name of each, when asked for


def read(
    cloud: Cloud,
    tx: Tx,
    rows: Iterable[Row],
    *,
    with_servers: bool = False,
) -> list[Hypervisor]:
    """The hypervisors of these hosts, in their order."""
    rows = [*rows]
    used = placement.usages_of(tx, [row.hypervisor_id for row in rows])
    counts = {found.host: found for found in tx.all(_COUNTS)}
    on_hosts = hosts.servers_on(tx, [row.name for row in rows]) if with_servers else {}
    return [
        _hypervisor(
            cloud,
            row,
            used.get(row.hypervisor_id, {}),
            counts.get(row.name),
            on_hosts.get(row.name, ()),
        )
        for row in rows
    ]


def _hypervisor(
    cloud: Cloud, row: Row, used: Mapping[str, int], count: Row | None, servers: Sequence[Row]
) -> Hypervisor:
    state = msgspec.convert(row.state, prepared(HostState))
    kept_mb = min(cloud.settings.compute.reserved_memory_mib, max(0, state.memory_mb - 1))
    return Hypervisor(
        row=row,
        state=state,
        up=hosts.is_up(cloud.settings, row),
        vcpus_used=used.get("VCPU", 0),
        memory_mb_used=kept_mb + used.get("MEMORY_MB", 0),
        disk_gb_used=used.get("DISK_GB", 0),
        running_servers=count.servers if count else 0,
        tasks=count.busy if count else 0,
        servers=servers,
    )


def page(tx: Tx, *, marker: str | None, limit: int | None, by_uuid: bool) -> list[Row]:
    """Hosts after the marker, at most `limit`, in the order they joined; raises BadRequest for
    a marker that is no hypervisor."""
    statement = sa.select(compute_host).order_by(compute_host.c.auto_id).limit(limit)
    if marker is not None:
        try:
            after = find(tx, marker, by_uuid=by_uuid).auto_id
        except (NotFound, BadRequest):
            raise BadRequest(f"marker [{marker}] not found") from None
        statement = statement.where(compute_host.c.auto_id > after)
    return [*tx.all(statement)]


def search(tx: Tx, pattern: str) -> list[Row]:
    """Hosts whose name contains the text; raises NotFound when there is none."""
    rows = [
        *tx.all(
            sa.select(compute_host)
            .where(compute_host.c.name.contains(pattern, autoescape=True))
            .order_by(compute_host.c.auto_id)
        )
    ]
    if not rows:
        raise NotFound(message=f"No hypervisor matching '{pattern}' could be found.")
    return rows


def find(tx: Tx, identifier: str, *, by_uuid: bool) -> Row:
    """A host by the id of its hypervisor: a number, or (`by_uuid`) a UUID.

    Raises NotFound, and BadRequest for what is no UUID.
    """
    column: sa.ColumnElement[bool]
    if by_uuid:
        if not is_uuid(identifier):
            raise BadRequest(f"Invalid uuid {identifier}")
        column = compute_host.c.hypervisor_id == identifier
    else:
        column = compute_host.c.auto_id == (int(identifier) if _is_number(identifier) else -1)
    row = tx.first(sa.select(compute_host).where(column))
    if row is None:
        raise NotFound(message=f"Hypervisor with ID '{identifier}' could not be found.")
    return row


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
