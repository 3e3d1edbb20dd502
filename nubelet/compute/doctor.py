"""What must always be true of servers, for `nubelet doctor`: in the rows, and on the nodes.

Each sentence names the thing and what is wrong with it. Rows of deleted servers are kept, which
is how a port, a claim or a guest is known to belong to a server that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet import network, placement
from nubelet.compute import hosts, states
from nubelet.compute.model import compute_host, server, server_nic
from nubelet.compute.scheduling.request import resources_of
from nubelet.kernel import clock, guards
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.operations import journal
from nubelet.node.client import NodeClient, NodeError
from nubelet.node.wire import GuestState

_SETTLED = (states.ACTIVE, states.PAUSED, states.SUSPENDED, states.STOPPED)
_POWER_OF = {
    states.ACTIVE: "running",
    states.PAUSED: "paused",
    states.SUSPENDED: "suspended",
    states.STOPPED: "shutdown",
}
_COLUMNS = (
    server.c.id,
    server.c.vm_state,
    server.c.task_state,
    server.c.host,
    server.c.fault,
    server.c.deleted_at,
    server.c.flavor,
    server.c.disks,
)


def check(cloud: Cloud) -> list[str]:
    """All violated invariants, in words."""
    with cloud.database.read() as tx:
        present = tx.all(sa.select(*_COLUMNS).where(server.c.deleted_at.is_(None)))
        gone = [
            row.id for row in tx.all(sa.select(server.c.id).where(server.c.deleted_at.is_not(None)))
        ]
        busy = journal.open_subjects(tx, "server")
        said = [
            *_transitions(present, busy),
            *_places(tx, present, busy),
            *_claims(tx, present, gone, busy),
            *_cards(tx, present, gone, busy),
        ]
        machines = hosts.all_hosts(tx)
    up = [row for row in machines if hosts.is_up(cloud.settings, row)]
    down = [row for row in machines if row not in up]
    said += _silent(down, present)
    for row in up:
        said += _on_host(cloud, row.name)
    return said


def _silent(down: Sequence[Any], rows: Sequence[Any]) -> Iterator[str]:
    """Hosts are heard of, unless an administrator said that they are down."""
    for host in down:
        if not host.forced_down:
            here = sum(row.host == host.name for row in rows)
            yield (
                f"host {host.name}, with {here} servers, was not heard of since "
                f"{clock.iso_seconds(host.seen_at)}"
            )


def _transitions(rows: Sequence[Any], busy: set[str]) -> Iterator[str]:
    """Whatever is under way has an operation that will end it."""
    for row in rows:
        if row.id in busy:
            continue
        if row.task_state is not None:
            yield f"server {row.id} is in task_state {row.task_state}, but no operation owns it"
        elif row.vm_state == states.BUILDING:
            yield f"server {row.id} is in vm_state building, but no operation builds it"
        elif row.vm_state == states.ERROR and not row.fault:
            yield f"server {row.id} is in vm_state error, but no fault tells why"


def _places(tx: Tx, rows: Sequence[Any], busy: set[str]) -> Iterator[str]:
    """A server that is settled is on a host that is known."""
    known = {row.name for row in tx.all(sa.select(compute_host.c.name))}
    for row in rows:
        if row.id in busy:
            continue
        if row.vm_state in _SETTLED and not row.host:
            yield f"server {row.id} is {row.vm_state}, but on no host"
        elif row.host and row.host not in known:
            yield f"server {row.id} is on host {row.host}, which is not known"


def _claims(tx: Tx, rows: Sequence[Any], gone: Sequence[str], busy: set[str]) -> Iterator[str]:
    """A server has a claim on its host and on no other; one that is gone has none."""
    allocations = placement.allocations_of(tx)
    providers = {row.hypervisor_id: row.name for row in hosts.all_hosts(tx)}
    for row in rows:
        if row.id in busy:
            continue
        on = {providers.get(each, each) for each in allocations.get(row.id, ())}
        if row.vm_state in _SETTLED and row.host and not on:
            yield f"server {row.id} is on host {row.host} without an allocation"
        for name in sorted(on - {row.host}):
            yield f"server {row.id} has an allocation on {name}, but is on {row.host or 'no host'}"
        yield from _amounts(row, allocations.get(row.id, {}), on)
    for server_id in sorted(allocations.keys() & set(gone) - busy):
        yield f"server {server_id} is gone, but still has an allocation"
    known = {row.id for row in rows} | set(gone) | busy
    for consumer_id in sorted(allocations.keys() - known):
        for name in sorted(
            providers[each] for each in allocations[consumer_id].keys() & providers.keys()
        ):
            yield f"consumer {consumer_id} has an allocation on {name}, but is no server"


def _amounts(row: Any, claim: Mapping[str, Mapping[str, int]], on: set[str]) -> Iterator[str]:
    """A claim is as large as the server's flavor."""
    if row.vm_state not in _SETTLED or on != {row.host}:
        return
    wanted = resources_of(row.flavor, row.disks)
    claimed = {name: amount for each in claim.values() for name, amount in each.items()}
    for name in sorted(wanted.keys() | claimed.keys()):
        if wanted.get(name, 0) != claimed.get(name, 0):
            yield (
                f"server {row.id} has an allocation of {claimed.get(name, 0)} {name}, its "
                f"flavor asks for {wanted.get(name, 0)}"
            )


def _cards(tx: Tx, rows: Sequence[Any], gone: Sequence[str], busy: set[str]) -> Iterator[str]:
    """Every card has its port, every port of a server a card; servers that are gone have none."""
    cards = tx.all(sa.select(server_nic))
    ports = network.ports_by_id(tx, [card.port_id for card in cards if card.port_id])
    owners = {row.id: row for row in rows}
    for card in cards:
        row, port = owners.get(card.server_id), ports.get(card.port_id)
        if card.server_id in busy or (row is not None and row.vm_state == states.ERROR):
            continue
        if row is None:
            yield f"server {card.server_id} is gone, but still has a card on {card.network_id}"
        elif port is None:
            yield f"server {row.id} has a card without a port on network {card.network_id}"
        elif port.device_id != row.id:
            yield (
                f"port {port.id} is a card of server {row.id}, but belongs to "
                f"{port.device_id or 'nobody'}"
            )
        elif port.host != row.host:
            yield (
                f"port {port.id} of server {row.id} is bound to {port.host or 'no host'}, the "
                f"server is on {row.host or 'no host'}"
            )
    for server_id, left in _ports_of(tx, gone).items():
        for port in left if server_id not in busy else ():
            if port.host:  # which only a binding writes; the device anybody may
                yield f"port {port.id} is bound to server {server_id}, which is gone"


def _ports_of(tx: Tx, server_ids: Sequence[str]) -> Mapping[str, Sequence[Any]]:
    """In portions: databases take only so many parameters."""
    found: dict[str, Sequence[Any]] = {}
    for start in range(0, len(server_ids), 500):
        found |= network.ports_of(tx, server_ids[start : start + 500])
    return found


# --- On the nodes ----------------------------------------------------------------------------


def _on_host(cloud: Cloud, host: str) -> list[str]:
    """What is on a host, against the rows before and after the look: what came or went meanwhile
    is not held against anybody."""
    client = NodeClient(cloud.bus, host)
    before, busy_before = _rows(cloud, host)
    try:
        with guards.node_calls_allowed():
            guests = {state.id: state for state in client.observe_guests()}
            storage = client.observe_storage()
    except NodeError as error:
        return [f"host {host} does not say what it runs: {error}"]
    after, busy = _rows(cloud, host)
    busy |= busy_before
    known = before.keys() | after.keys() | busy
    settled = [
        row
        for row in after.values()
        if row.id in before and row.id not in busy and row.vm_state in _SETTLED
    ]
    with cloud.database.read() as tx:
        cards = tx.all(
            sa.select(server_nic.c.server_id, server_nic.c.port_id)
            .join(server, server.c.id == server_nic.c.server_id)
            .where(server.c.host == host)
        )
    return [
        *(
            f"host {host} has guest {each}, which is no server there"
            for each in sorted(guests.keys() - known)
        ),
        *_guests(host, settled, guests),
        *_plugged(host, settled, guests, cards),
        *(
            f"server {row.id} has no disks on host {host}"
            for row in settled
            if row.id not in storage.guest_disks
        ),
        *(
            f"host {host} has disks of {each}, which is no server there"
            for each in sorted(set(storage.guest_disks) - known)
        ),
        *(
            f"host {host} has file {each}, which belongs to nothing"
            for each in storage.unknown_files
        ),
    ]


def _rows(cloud: Cloud, host: str) -> tuple[dict[str, Any], set[str]]:
    """The servers of a host, and those that an operation is at work on."""
    with cloud.database.read() as tx:
        rows = tx.all(
            sa.select(*_COLUMNS).where(server.c.host == host, server.c.deleted_at.is_(None))
        )
        return {row.id: row for row in rows}, journal.open_subjects(tx, "server")


def _guests(host: str, rows: Sequence[Any], guests: Mapping[str, GuestState]) -> Iterator[str]:
    for row in rows:
        power = guests[row.id].power if row.id in guests else "missing"
        if power == "missing":
            yield f"server {row.id} is {row.vm_state} on host {host}, which has no such guest"
        elif power != _POWER_OF[row.vm_state]:
            yield f"server {row.id} is {row.vm_state}, but its guest on host {host} is {power}"


def _plugged(
    host: str, rows: Sequence[Any], guests: Mapping[str, GuestState], cards: Sequence[Any]
) -> Iterator[str]:
    """A guest has the cards that its server has."""
    wanted: dict[str, set[str]] = {row.id: set() for row in rows if row.id in guests}
    for card in cards:
        if card.server_id in wanted and card.port_id:
            wanted[card.server_id].add(card.port_id)
    for server_id, port_ids in wanted.items():
        plugged = set(guests[server_id].nics)
        for port_id in sorted(port_ids - plugged):
            yield f"the guest of server {server_id} on host {host} has no card for port {port_id}"
        for port_id in sorted(plugged - port_ids):
            yield (
                f"the guest of server {server_id} on host {host} has a card for port "
                f"{port_id}, which is not the server's"
            )
