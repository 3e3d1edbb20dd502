"""What keeps rows and hosts alike when nobody asked for a change.

    power_states      what hypervisors say of guests, into the rows
    returning_hosts   a node that was started again gets its servers back
    stray_guests      guests and disks of servers that are not there are removed
    departures        what is gone elsewhere (users, projects, ports): departures.py

In OpenStack: the periodic tasks of nova/compute/manager.py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.compute import hosts, servers, states
from nubelet.compute.departures import read_departures
from nubelet.compute.model import compute_host, server
from nubelet.compute.operations import POWER_OPERATIONS, RECOVER_SERVER
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.operations import journal
from nubelet.kernel.reconcile import Reconciler
from nubelet.node.client import NodeClient, NodeError
from nubelet.node.wire import Fence, GuestEvent, GuestState, SnapshotName

log = logging.getLogger(__name__)

# A server this young is left to its own operation.
_GRACE_MICROS = 60_000_000
# A guest lost this often within that time is not brought back any more.
_LOSSES, _LOSSES_MICROS = 3, 600_000_000


# --- Power states ------------------------------------------------------------------------------


def guest_changed(cloud: Cloud, event: GuestEvent) -> None:
    """A guest changed by itself: crashed, or was shut down from inside."""
    with cloud.database.write() as tx:
        tx.lock("power_state", event.guest_id)  # the same news may come twice at once
        row = servers.get(tx, event.guest_id)
        if row is not None and row.host == event.host:
            _take_note(tx, row, states.POWER_STATES[event.power], event.reason)


def _take_note(tx: Tx, row: Any, power: int, reason: str = "") -> None:
    """The guest has this power state now; while an operation is at work it knows better."""
    if row.task_state is not None or journal.find(
        tx, subject_id=row.id, states=journal.OPEN, limit=1
    ):
        return
    if power != row.power_state:
        servers.change(tx, row.id, power_state=power)
    lost = power in (states.CRASHED, states.NO_POWER_STATE)
    if row.vm_state == states.ACTIVE and lost and not _lost_too_often(tx, row.id):
        _bring_back(tx, row, row.host)  # nobody wanted that: it runs again
    elif row.vm_state in (states.ACTIVE, states.PAUSED) and (lost or power == states.SHUTDOWN):
        _stop(tx, row, reason)
    elif row.vm_state == states.ACTIVE and power == states.POWER_PAUSED:
        servers.change(tx, row.id, vm_state=states.PAUSED)
    elif row.vm_state in (states.PAUSED, states.STOPPED) and power == states.RUNNING:
        servers.change(tx, row.id, vm_state=states.ACTIVE)


def _lost_too_often(tx: Tx, server_id: str) -> bool:
    """A guest that is lost again and again is left off, for somebody to look at."""
    since = clock.now() - _LOSSES_MICROS
    past = journal.find(tx, subject_id=server_id, kind=RECOVER_SERVER.kind)
    return sum(record.created_at > since for record in past) >= _LOSSES


def _stop(tx: Tx, row: Any, reason: str) -> None:
    """The server is off: by an operation, so that the action is there to be read."""
    servers.change(tx, row.id, task_state=states.POWERING_OFF)
    journal.start(
        tx,
        POWER_OPERATIONS["stop"],
        project_id=row.project_id,
        subject_type="server",
        subject_id=row.id,
        inputs={
            "power_state": states.SHUTDOWN,
            "vm_state": row.vm_state,
            "reason": reason or "shut down from inside",
        },
    )


def power_states(cloud: Cloud) -> None:
    """Ask every host that is up about its guests, and write down what differs."""
    for host in _hosts_up(cloud):
        try:
            found = {state.id: state for state in _client(cloud, host.name).observe_guests()}
        except NodeError as error:
            log.info("guests of host %s are not known now: %s", host.name, error)
            continue
        _compare(cloud, host, found)


def _compare(cloud: Cloud, host: Any, found: dict[str, GuestState]) -> None:
    with cloud.database.read() as tx:
        rows = tx.all(
            sa.select(
                server.c.id, server.c.vm_state, server.c.task_state, server.c.power_state
            ).where(
                server.c.host == host.name,
                server.c.deleted_at.is_(None),
                server.c.vm_state.not_in((states.BUILDING, states.ERROR)),
                server.c.task_state.is_(None),
            )
        )
        returning = host.booted_at != host.started_at
    for row in rows:
        power = states.POWER_STATES[found[row.id].power if row.id in found else "missing"]
        if power == row.power_state or returning:
            continue
        with cloud.database.write() as tx:
            tx.lock("power_state", row.id)
            present = servers.get(tx, row.id)
            if present is not None and present.host == host.name:
                _take_note(tx, present, power)


def _hosts_up(cloud: Cloud) -> list[Any]:
    with cloud.database.read() as tx:
        return [row for row in hosts.all_hosts(tx) if hosts.is_up(cloud.settings, row)]


def _client(cloud: Cloud, host: str) -> NodeClient:
    return NodeClient(cloud.bus, host)


# --- Hosts that come back ------------------------------------------------------------------------


def returning_hosts(cloud: Cloud) -> None:
    """Bring back the servers of nodes that were started again, where they do not run."""
    for host in _hosts_up(cloud):
        if host.booted_at == host.started_at:
            continue
        try:
            found = {state.id: state.power for state in _client(cloud, host.name).observe_guests()}
        except NodeError as error:
            log.info("host %s came back but does not answer yet: %s", host.name, error)
            continue
        with cloud.database.write() as tx:
            for row in _servers_to_bring_back(tx, host.name):
                if found.get(row.id) != _wanted_power(row):
                    _bring_back(tx, row, host.name)
            tx.update(compute_host, compute_host.c.name == host.name, booted_at=host.started_at)


def _servers_to_bring_back(tx: Tx, host: str) -> list[Any]:
    return [
        *tx.all(
            sa.select(server).where(
                server.c.host == host,
                server.c.deleted_at.is_(None),
                server.c.task_state.is_(None),
                server.c.vm_state.in_(
                    (states.ACTIVE, states.PAUSED, states.STOPPED, states.SUSPENDED)
                ),
            )
        )
    ]


def _wanted_power(row: Any) -> str:
    return {
        states.ACTIVE: "running",
        states.PAUSED: "paused",
        states.STOPPED: "shutdown",
        states.SUSPENDED: "suspended",
    }[row.vm_state]


def _bring_back(tx: Tx, row: Any, host: str) -> None:
    if journal.find(tx, subject_id=row.id, states=journal.OPEN, limit=1):
        return
    journal.start(
        tx,
        RECOVER_SERVER,
        project_id=row.project_id,
        subject_type="server",
        subject_id=row.id,
        inputs={"host": host},
    )


# --- Strays ------------------------------------------------------------------------------------


def stray_guests(cloud: Cloud) -> None:
    """Remove guests and disks that no server on that host owns."""
    for host in _hosts_up(cloud):
        client = _client(cloud, host.name)
        try:
            here = {state.id for state in client.observe_guests()}
            storage = client.observe_storage()
        except NodeError as error:
            log.info("host %s was not searched for strays: %s", host.name, error)
            continue
        disks = set(storage.guest_disks)
        _remove_stray_copies(cloud, client, storage.snapshots)
        for guest_id in sorted((here | disks) - _owned(cloud, host.name, here | disks)):
            _remove_stray(cloud, host.name, guest_id, guest_id in here)


def _remove_stray_copies(cloud: Cloud, client: NodeClient, snapshots: Mapping[str, str]) -> None:
    """Copies of disks that an operation had to leave on a host that was down."""
    if not snapshots:
        return
    with cloud.database.read() as tx:
        busy = journal.open_subjects(tx, "server")
        known = tx.all(sa.select(server.c.id).where(server.c.id.in_(set(snapshots.values()))))
    ours = {row.id for row in known}
    for snapshot_id, guest_id in snapshots.items():
        if guest_id in busy or guest_id not in ours:  # others' guests may be another cloud's
            continue
        fence = Fence(operation_id=f"stray-{snapshot_id}", attempt=clock.now())
        try:
            client.remove_snapshot(SnapshotName(id=snapshot_id, guest_id=guest_id), fence)
            log.info("removed the copy %s of a disk from host %s", snapshot_id, client.host)
        except NodeError as error:
            log.info("the copy %s on host %s stays for now: %s", snapshot_id, client.host, error)


def _owned(cloud: Cloud, host: str, guest_ids: set[str]) -> set[str]:
    """Those of the guests that belong there, or that an operation is busy with."""
    with cloud.database.read() as tx:
        rows = tx.all(
            sa.select(server.c.id, server.c.host, server.c.deleted_at).where(
                server.c.id.in_(guest_ids)
            )
        )
        busy = journal.open_subjects(tx, "server")
    young = clock.now() - _GRACE_MICROS
    owned = {row.id for row in rows if row.deleted_at is None and row.host == host}
    fresh = {row.id for row in rows if row.deleted_at is not None and row.deleted_at > young}
    return owned | fresh | (busy & guest_ids)


def _remove_stray(cloud: Cloud, host: str, guest_id: str, has_guest: bool) -> None:
    """Guests of a stranger (a server this cloud never had) are only reported: they may be
    another cloud's."""
    with cloud.database.read() as tx:
        row = servers.get(tx, guest_id, deleted=True)
    if row is None:
        log.warning("host %s has guest %s, which this cloud does not know", host, guest_id)
        return
    fence = Fence(operation_id=f"stray-{guest_id}", attempt=clock.now())
    client = _client(cloud, host)
    try:
        if has_guest:
            client.remove_guest(guest_id, fence)
        client.remove_disks(guest_id, fence)
        log.info("removed what was left of server %s on host %s", guest_id, host)
    except NodeError as error:
        log.info("what is left of server %s on host %s stays for now: %s", guest_id, host, error)


RECONCILERS = (
    Reconciler("power_states", 60.0, power_states),
    Reconciler(hosts.RETURN_RECONCILER, 30.0, returning_hosts),
    Reconciler("stray_guests", 120.0, stray_guests),
    Reconciler("departures", 10.0, read_departures),
)
