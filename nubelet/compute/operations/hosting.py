"""Steps that several operations share: calls to a server's node, its ports, disks and guest.

Each is idempotent. A host that is down (no heartbeats for long) is left alone when something is
to be taken away from it: `reconcilers.py` clears up when it comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import sqlalchemy as sa

from nubelet import network, placement
from nubelet.compute import guests, hosts, servers, states
from nubelet.compute.model import compute_host, server_nic
from nubelet.kernel.database import Tx
from nubelet.kernel.operations.run import Run
from nubelet.node.client import NodeClient, NodeError, NodeUnreachable
from nubelet.node.wire import EnsureGuest, SetPower


class ServerGone(Exception):  # noqa: N818 - a state
    """The server was deleted while something was being done to it."""

    def __init__(self, server_id: str) -> None:
        self.message = f"Instance {server_id} could not be found."
        super().__init__(self.message)


def node(run: Run, host: str) -> NodeClient:
    """Calls to a host; what it does is kept in the run's trail."""
    return NodeClient(run.cloud.bus, host, on_trail=run.on_trail)


def server_of(run: Run, tx: Tx) -> Any:
    """The row of the operation's server; raises ServerGone."""
    row = servers.get(tx, run.subject_id)
    if row is None:
        raise ServerGone(run.subject_id)
    return row


def change(run: Run, **values: Any) -> None:
    """Change the server in a transaction of its own."""
    with run.cloud.database.write() as tx:
        servers.change(tx, run.subject_id, run, **values)


def leave_down_host(run: Run, host: str, call: Callable[[], None]) -> None:
    """Take something away from a host. One that is down is skipped, one that merely does not
    answer now is tried again by the engine."""
    try:
        call()
    except NodeUnreachable:
        with run.cloud.database.read() as tx:
            row = tx.first(sa.select(compute_host).where(compute_host.c.name == host))
        if row is not None and hosts.is_up(run.cloud.settings, row):
            raise
        run.note(
            "node",
            f"{host} is down: what is left there is removed when it comes back",
            ok=False,
            host=host,
        )


# --- Ports -----------------------------------------------------------------------------------


def make_ports(run: Run, tx: Tx, row: Any, group_ids: list[str]) -> list[str]:
    """The server's ports exist, belong to it and are bound to its host; returns their ids."""
    ctx = run.ctx("network")
    owner = {"device_id": row.id, "device_owner": f"compute:{row.availability_zone}"}
    found = []
    for nic in guests.nics_of(tx, row.id):
        port_id = nic.port_id
        if nic.requested_port_id:
            port_id = nic.requested_port_id
            network.update_port(ctx, tx, port_id, **owner, host=row.host)
        elif port_id is None:
            fields: dict[str, Any] = {
                **owner,
                "network_id": nic.network_id,
                "host": row.host,
                "security_groups": group_ids,
            }
            if nic.fixed_ip:
                fields["fixed_ips"] = [{"ip_address": nic.fixed_ip}]
            port_id = network.create_port(ctx, tx, **fields).id
        else:
            network.bind_port(tx, port_id, row.host)
        tx.update(server_nic, server_nic.c.auto_id == nic.auto_id, port_id=port_id)
        found.append(port_id)
    return found


def take_ports_from_host(run: Run, host: str) -> None:
    """None of the server's ports is on the host any more."""
    with run.cloud.database.read() as tx:
        port_ids = guests.port_ids_of(tx, run.subject_id)
    for port_id in port_ids:
        leave_down_host(run, host, partial(network.remove_port_from_host, run, port_id, host))


def release_ports(tx: Tx, server_id: str, *, forget: bool) -> None:
    """Ports made for the server are deleted, others belong to nobody again. `forget`: so are
    its cards; else they wait for new ports."""
    for nic in guests.nics_of(tx, server_id):
        if nic.port_id:
            release_port(tx, nic)
    if forget:
        tx.delete(server_nic, server_nic.c.server_id == server_id)
    else:
        tx.update(server_nic, server_nic.c.server_id == server_id, port_id=None)


def release_port(tx: Tx, nic: Any) -> None:
    """Delete the port of a card, or give it back to its owner."""
    if nic.is_own:
        network.delete_port(None, tx, nic.port_id)
    else:
        network.unbind_port(tx, nic.port_id)


def put_ports_on_host(run: Run, host: str) -> None:
    """All of the server's ports are on the host."""
    with run.cloud.database.read() as tx:
        port_ids = guests.port_ids_of(tx, run.subject_id)
    for port_id in port_ids:
        network.ensure_port_on_host(run, port_id, host)


# --- Images, disks, guests ---------------------------------------------------------------------


def fetch_images(run: Run, host: str) -> None:
    """The images of the server are in the host's cache."""
    with run.cloud.database.read() as tx:
        specs = guests.images(run.cloud, tx, server_of(run, tx))
    for spec in specs:
        node(run, host).ensure_image(spec, run.fence)


def make_disks(run: Run, host: str) -> None:
    """The disks of the server are on the host."""
    with run.cloud.database.read() as tx:
        specs = guests.disks(server_of(run, tx))
    for spec in specs:
        node(run, host).ensure_disk(spec, run.fence)


def remove_disks(run: Run, host: str) -> None:
    """No disk of the server is on the host."""
    leave_down_host(run, host, lambda: node(run, host).remove_disks(run.subject_id, run.fence))


def ensure_guest(run: Run, host: str, power: str = "running") -> None:
    """The guest is defined as its rows say, and has this power."""
    with run.cloud.database.read() as tx:
        spec = guests.guest_spec(run.cloud, tx, server_of(run, tx))
    node(run, host).ensure_guest(EnsureGuest(guest=spec, power=power), run.fence)  # type: ignore[arg-type]


def remove_guest(run: Run, host: str) -> None:
    """There is no such guest on the host."""
    leave_down_host(run, host, lambda: node(run, host).remove_guest(run.subject_id, run.fence))


def set_power(run: Run, host: str, power: str, soft_timeout_seconds: float = 0) -> None:
    """Bring the guest to a power state."""
    node(run, host).set_power(
        SetPower(
            id=run.subject_id,
            power=power,  # type: ignore[arg-type]
            soft_timeout_seconds=soft_timeout_seconds,
        ),
        run.fence,
    )


def observed_power(run: Run, host: str) -> int:
    """The power state (of the API) that the guest really has."""
    return states.POWER_STATES[node(run, host).observe_guest(run.subject_id).power]


# --- Failures ----------------------------------------------------------------------------------


def fail(run: Run, reason: str, *, vm_state: str | None = None) -> None:
    """End the task with a fault; `vm_state` when the server is not what it was."""
    values: dict[str, Any] = {
        "task_state": None,
        "fault": servers.fault(reason, details=_details(run, reason)),
    }
    if vm_state is not None:
        values["vm_state"] = vm_state
    change(run, **values)


def _details(run: Run, reason: str) -> str:
    rounds = [f"{each.outputs.get('host', each.step)}: {each.reason}" for each in run.retried]
    return "\n".join([reason, *rounds])


def refusals(run: Run) -> Mapping[str, str]:
    """The hosts that refused this server in earlier rounds, and why."""
    return {
        str(each.outputs["host"]): each.reason for each in run.retried if each.outputs.get("host")
    }


def is_refusal(error: NodeError, run: Run) -> bool:
    """Shall another host be tried? At once when the host said no, later when it is silent."""
    return not isinstance(error, NodeUnreachable) or run.tries >= 2


def release_claim(tx: Tx, server_id: str) -> None:
    """Give back the server's resources."""
    placement.release(tx, server_id)
