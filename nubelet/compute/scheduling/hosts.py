"""A host as the scheduler looks at it: its row, aggregates, use and load, in a few queries.

In OpenStack: nova/scheduler/host_manager.py HostState.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from nubelet.compute import aggregates, hosts, states
from nubelet.compute.model import server
from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.settings import Settings

_BUSY = (
    states.SCHEDULING,
    states.NETWORKING,
    states.BLOCK_DEVICE_MAPPING,
    states.SPAWNING,
    states.REBUILDING,
    states.REBUILD_BLOCK_DEVICE_MAPPING,
    states.REBUILD_SPAWNING,
)
_LOAD = (
    sa.select(
        server.c.host,
        sa.func.count().label("servers"),
        sa.func.coalesce(sa.func.sum(server.c.vcpus), 0).label("vcpus"),
        sa.func.coalesce(sa.func.sum(server.c.memory_mb), 0).label("memory_mb"),
        sa.func.sum(sa.case((server.c.task_state.in_(_BUSY), 1), else_=0)).label("busy"),
    )
    .where(server.c.host.is_not(None), server.c.deleted_at.is_(None))
    .group_by(server.c.host)
)


@dataclass(frozen=True)
class Host:
    """One host. free_*: what its servers leave, by plain numbers (placement decides what fits)."""

    name: str
    provider_id: str
    up: bool
    seen_at: int
    forced_down: bool
    disabled: bool
    disabled_reason: str
    zone: str
    state: Mapping[str, Any]
    aggregates: tuple[Mapping[str, str], ...] = field(default=())  # their metadata
    servers: int = 0
    busy_servers: int = 0
    used_vcpus: int = 0
    used_memory_mb: int = 0

    @property
    def free_memory_mb(self) -> int:
        """Memory that no server has."""
        return int(self.state["memory_mb"]) - self.used_memory_mb

    @property
    def free_disk_gb(self) -> int:
        """Space on the host's disks, as the host says."""
        return int(self.state.get("free_disk_gb", 0))


def all_hosts(settings: Settings, tx: Tx) -> list[Host]:
    """All hosts, in four queries."""
    by_host = aggregates.of_hosts(tx)
    load = {row.host: row for row in tx.all(_LOAD)}
    now = clock.now()
    found = []
    for row in hosts.all_hosts(tx):
        grouped, used = by_host.get(row.name, []), load.get(row.name)
        found.append(
            Host(
                name=row.name,
                provider_id=row.hypervisor_id,
                up=hosts.is_up(settings, row, now),
                seen_at=row.seen_at,
                forced_down=row.forced_down,
                disabled=row.disabled,
                disabled_reason=row.disabled_reason or "",
                zone=aggregates.zone_of(grouped),
                state=row.state,
                aggregates=tuple(each.metadata for each in grouped),
                servers=used.servers if used else 0,
                busy_servers=int(used.busy) if used else 0,
                used_vcpus=int(used.vcpus) if used else 0,
                used_memory_mb=int(used.memory_mb) if used else 0,
            )
        )
    return found
