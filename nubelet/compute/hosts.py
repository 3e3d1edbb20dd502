"""Hosts: the nodes that run servers, as their heartbeats describe them.

A heartbeat refreshes one row, and placement's inventory when the host has changed. Whether a
host is up follows from the age of the last heartbeat when somebody asks; nothing marks it down.

Read next: `scheduling/`, `api/hypervisors.py` and `api/services.py` (the two faces of a host).

In OpenStack: nova/compute/resource_tracker.py, nova/servicegroup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from nubelet import network, placement
from nubelet.compute import aggregates
from nubelet.compute.model import compute_host, server
from nubelet.kernel import clock, events, reconcile
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Conflict, NotFound
from nubelet.kernel.ids import new_uuid
from nubelet.node.wire import Heartbeat, HostState
from nubelet.settings import Settings

Row = sa.Row[Any]

BINARY = "nova-compute"
STATUS_DISABLED = "COMPUTE_STATUS_DISABLED"  # the trait of hosts that take no servers
# What of a host's state changes by itself and concerns placement in nothing.
_VOLATILE = frozenset(
    ("free_disk_gb", "free_memory_mb", "running_guests", "uptime", "load_average")
)
RETURN_RECONCILER = "returning_hosts"
_ALL = sa.select(compute_host).order_by(compute_host.c.auto_id)
_BY_NAME = sa.select(compute_host).where(compute_host.c.name == sa.bindparam("name"))


def heartbeat(cloud: Cloud, beat: Heartbeat) -> None:
    """A node says that it is alive, and how it is."""
    now = clock.now()
    # As the database gives it back, so that the two can be compared: lists, not tuples.
    state = msgspec.json.decode(msgspec.json.encode(beat.host))
    name = beat.host.name
    with cloud.database.write() as tx:
        tx.lock("compute_host", name)  # two first heartbeats of one host make one row
        row = tx.first(_BY_NAME, name=name)
        if row is None:
            row = _welcome(tx, beat, state, now)
            changed = True
        else:
            changed = _lasting(row.state) != _lasting(state)
            tx.update(
                compute_host,
                compute_host.c.name == name,
                seen_at=now,
                state=state,
                started_at=beat.started_at,
                switching=beat.switching,
            )
        if changed:
            _describe(cloud.settings, tx, row, beat.host)
        network.host_seen(tx, beat)
        if row.booted_at != beat.started_at:
            reconcile.ring(tx, RETURN_RECONCILER)


def _welcome(tx: Tx, beat: Heartbeat, state: dict[str, Any], now: int) -> Row:
    name = beat.host.name
    tx.insert(
        compute_host,
        name=name,
        service_id=new_uuid(),
        hypervisor_id=new_uuid(),
        disabled=False,
        disabled_reason=None,
        forced_down=False,
        seen_at=now,
        started_at=beat.started_at,
        booted_at=beat.started_at,
        state=state,
        switching=beat.switching,
        created_at=now,
        updated_at=now,
    )
    row = tx.first(_BY_NAME, name=name)
    assert row is not None
    events.emit(
        tx,
        "compute_host.created",
        project_id=None,
        subject_type="compute_host",
        subject_id=row.service_id,
        payload={"name": name},
    )
    return row


def _lasting(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name not in _VOLATILE}


def _describe(settings: Settings, tx: Tx, row: Row, state: HostState) -> None:
    """Tell placement what the host has."""
    placement.ensure_provider(tx, row.hypervisor_id, state.name)
    placement.set_inventory(tx, row.hypervisor_id, inventory_of(settings, state))
    _set_traits(tx, row.hypervisor_id, state.traits, row.disabled)


def _set_traits(tx: Tx, provider_id: str, traits: Iterable[str], disabled: bool) -> None:
    """The host's own traits; those that an administrator gave it stay."""
    given = {
        name
        for name in placement.traits_of(tx, [provider_id]).get(provider_id, ())
        if name.startswith("CUSTOM_")
    }
    status = {STATUS_DISABLED} if disabled else set()
    placement.set_traits(tx, provider_id, {*traits, *given, *status})


def inventory_of(settings: Settings, state: HostState) -> dict[str, dict[str, Any]]:
    """A host's inventory as placement keeps it."""
    compute = settings.compute
    reserved_mb = min(compute.reserved_memory_mib, max(0, state.memory_mb - 1))
    found = {
        "VCPU": {
            "total": state.vcpus,
            "max_unit": state.vcpus,
            "allocation_ratio": compute.cpu_allocation_ratio,
        },
        "MEMORY_MB": {
            "total": state.memory_mb,
            "max_unit": state.memory_mb,
            "reserved": reserved_mb,
            "allocation_ratio": compute.ram_allocation_ratio,
        },
        "DISK_GB": {
            "total": state.disk_gb,
            "max_unit": state.disk_gb,
            "allocation_ratio": compute.disk_allocation_ratio,
        },
    }
    return {name: values for name, values in found.items() if values["total"]}


# --- Looking at hosts --------------------------------------------------------------------------


def all_hosts(tx: Tx) -> list[Row]:
    """All hosts, in the order they joined."""
    return [*tx.all(_ALL)]


def find(tx: Tx, name: str) -> Row:
    """A host by name; raises NotFound."""
    row = tx.first(_BY_NAME, name=name)
    if row is None:
        raise NotFound(message=f"Compute host {name} could not be found.")
    return row


def is_up(settings: Settings, row: Row, now: int | None = None) -> bool:
    """Did the host say so lately, and nobody force it down?"""
    age = (clock.now() if now is None else now) - row.seen_at
    return not row.forced_down and age < settings.compute.host_down_seconds * 1_000_000


def status_of(settings: Settings, row: Row | None) -> str:
    """The `host_status` of servers: UP, UNKNOWN, DOWN, MAINTENANCE, or "" without a host."""
    if row is None:
        return ""
    if row.disabled:
        return "MAINTENANCE"
    if row.forced_down:
        return "DOWN"
    return "UP" if is_up(settings, row) else "UNKNOWN"


class HostSummary(NamedTuple):
    """A host in a line: what it is, and how it fares. `since`: up or down since then, in
    microseconds."""

    name: str
    hypervisor: str
    accelerator: str
    accelerator_reason: str
    switching: str
    up: bool
    since: int
    forced_down: bool
    disabled: bool
    disabled_reason: str | None
    servers: int


def summaries(settings: Settings, tx: Tx) -> list[HostSummary]:
    """All hosts, for operators."""
    rows = all_hosts(tx)
    on = servers_on(tx, [row.name for row in rows])
    found = []
    for row in rows:
        up = is_up(settings, row)
        found.append(
            HostSummary(
                row.name,
                row.state["hypervisor_type"],
                row.state["accelerator"],
                row.state["accelerator_reason"],
                row.switching,
                up,
                row.started_at if up else row.seen_at,
                row.forced_down,
                row.disabled,
                row.disabled_reason,
                len(on.get(row.name, ())),
            )
        )
    return found


def servers_on(tx: Tx, names: Iterable[str]) -> dict[str, list[Row]]:
    """Host -> id and auto_id of the servers there."""
    found: dict[str, list[Row]] = {}
    statement = (
        sa.select(server.c.host, server.c.id, server.c.auto_id, server.c.name)
        .where(server.c.host.in_(list(names)), server.c.deleted_at.is_(None))
        .order_by(server.c.auto_id)
    )
    for row in tx.all(statement):
        found.setdefault(row.host, []).append(row)
    return found


# --- Changing hosts ------------------------------------------------------------------------------


def set_disabled(tx: Tx, row: Row, disabled: bool, reason: str | None = None) -> Row:
    """Let a host take servers or no new ones; what runs there goes on."""
    tx.update(
        compute_host,
        compute_host.c.name == row.name,
        disabled=disabled,
        disabled_reason=reason if disabled else None,
        updated_at=clock.now(),
    )
    _set_traits(tx, row.hypervisor_id, row.state.get("traits", ()), disabled)
    _announce(tx, row, disabled=disabled)
    return find(tx, row.name)


def set_forced_down(tx: Tx, row: Row, forced_down: bool) -> Row:
    """Say that a host is down (it was fenced), whatever its heartbeats say; or believe them."""
    tx.update(
        compute_host,
        compute_host.c.name == row.name,
        forced_down=forced_down,
        updated_at=clock.now(),
    )
    _announce(tx, row, forced_down=forced_down)
    return find(tx, row.name)


def _announce(tx: Tx, row: Row, **payload: Any) -> None:
    events.emit(
        tx,
        "compute_host.changed",
        project_id=None,
        subject_type="compute_host",
        subject_id=row.service_id,
        payload={"name": row.name, **payload},
    )


def remove(tx: Tx, row: Row) -> None:
    """Forget a host; raises Conflict while it has servers. It comes back with its next
    heartbeat, if it is still alive."""
    if tx.scalar(
        sa.select(server.c.id)
        .where(server.c.host == row.name, server.c.deleted_at.is_(None))
        .limit(1)
    ):
        raise Conflict(
            f"Unable to delete compute service that is hosting instances. Migrate or "
            f"delete the instances on {row.name} first."
        )
    aggregates.forget_host(tx, row.name)
    placement.remove_provider(tx, row.hypervisor_id)
    tx.delete(compute_host, compute_host.c.name == row.name)
    events.emit(
        tx,
        "compute_host.deleted",
        project_id=None,
        subject_type="compute_host",
        subject_id=row.service_id,
        payload={"name": row.name},
    )
