"""Usage: how many hours of how much a project's servers took within a period.

A server counts from its first launch to its end, whatever its state in between, as it keeps its
place on its host. All of it follows from the rows of servers, which stay after a deletion.

In OpenStack: nova/api/openstack/compute/simple_tenant_usage.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from nubelet.compute.model import server
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest

Row = sa.Row[Any]
_HOUR_MICROS = 3_600_000_000
_c = server.c
_COLUMNS = (
    _c.auto_id,
    _c.id,
    _c.project_id,
    _c.name,
    _c.vm_state,
    _c.vcpus,
    _c.memory_mb,
    _c.flavor,
    _c.launched_at,
    _c.terminated_at,
)


@dataclass(frozen=True)
class Period:
    """From start up to stop, in microseconds."""

    start: int
    stop: int


@dataclass
class ServerUsage:
    """What one server took. hours: within the period; uptime_seconds: of its whole life."""

    row: Row
    hours: float
    local_gb: int
    uptime_seconds: int


@dataclass
class ProjectUsage:
    """What the servers of a project took within the period, in hours times amount."""

    project_id: str
    servers: list[ServerUsage] = field(default_factory=list)
    hours: float = 0.0
    vcpu_hours: float = 0.0
    memory_mb_hours: float = 0.0
    local_gb_hours: float = 0.0

    def add(self, each: ServerUsage) -> None:
        """Count a server."""
        self.servers.append(each)
        self.hours += each.hours
        self.vcpu_hours += each.hours * each.row.vcpus
        self.memory_mb_hours += each.hours * each.row.memory_mb
        self.local_gb_hours += each.hours * each.local_gb


def servers_within(
    tx: Tx,
    period: Period,
    project_id: str | None,
    *,
    marker: str | None = None,
    limit: int | None = None,
) -> list[Row]:
    """The servers (of a project, or all) that lived within the period, oldest first.

    marker: a server's id, to begin behind it; raises BadRequest when it is none.
    """
    statement = sa.select(*_COLUMNS).where(
        _c.launched_at < period.stop,
        sa.or_(_c.terminated_at.is_(None), _c.terminated_at > period.start),
    )
    if project_id is not None:
        statement = statement.where(_c.project_id == project_id)
    if marker is not None:
        after = tx.scalar(sa.select(_c.auto_id).where(_c.id == marker))
        if after is None:
            raise BadRequest(f"marker [{marker}] not found")
        statement = statement.where(_c.auto_id > after)
    return [*tx.all(statement.order_by(_c.auto_id).limit(limit))]


def by_project(rows: Iterable[Row], period: Period, now: int) -> list[ProjectUsage]:
    """The usage of each project that has servers among the rows."""
    found: dict[str, ProjectUsage] = {}
    for row in rows:
        project = found.setdefault(row.project_id, ProjectUsage(row.project_id))
        project.add(_of_server(row, period, now))
    return [*found.values()]


def _of_server(row: Row, period: Period, now: int) -> ServerUsage:
    end = row.terminated_at
    stop = min(period.stop, end if end is not None else period.stop)
    micros = max(0, stop - max(period.start, row.launched_at))
    return ServerUsage(
        row,
        micros / _HOUR_MICROS,
        row.flavor["root_gb"] + row.flavor["ephemeral_gb"],
        max(0, (end if end is not None else now) - row.launched_at) // 1_000_000,
    )
