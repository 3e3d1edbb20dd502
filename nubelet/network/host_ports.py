"""Ports on hosts, for operations of other services: put a port there now, take it off now.

An operation cannot wait for the reconciler's next round without losing the reason of a failure;
so it makes the calls itself, in the same way (`realization.send`) and with the same fences. Only
what the host lacks is sent, besides the port itself.

Read next: `realization.py`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.kernel.operations.run import Run
from nubelet.network import bindings, ports, presence, realization, results, security_groups
from nubelet.network.model import dhcp_service, port
from nubelet.network.model import host as host_table
from nubelet.network.model import presence as presence_table
from nubelet.network.realization import Work
from nubelet.network.specs import Specs
from nubelet.node.client import NodeClient, NodeUnreachable
from nubelet.node.errors import NO_SUCH_NETWORK

_p = presence_table.c
_TRIES = 5


def ensure(run: Run, port_id: str, host: str) -> None:
    """The port is on the host, with its network and security groups; DHCP knows it.

    Raises NodeError (NodeUnreachable) with the node's reason, PortNotFound when it was deleted.
    """
    send_all = False
    for _ in range(_TRIES):
        with run.cloud.database.read() as tx:
            row = ports.find(tx, port_id)
            bound = _is_bound(tx, row, host)
            works = _works(run, tx, row, host, send_all) if bound else []
        if not bound:
            with run.cloud.database.write() as tx:
                bindings.move(tx, ports.find(tx, port_id), host)
            continue
        outcomes = [
            (work.host, realization.send(_client(run, work.host), work, run.request_id))
            for work in works
        ]
        with run.cloud.database.write() as tx:
            for name, found in outcomes:
                results.record(tx, name, found)
        failed = [(name, each) for name, found in outcomes for each in found if each.error]
        if not failed:
            return
        if not send_all and any(_lacks_network(each) for _, each in failed):
            send_all = True  # the host lost what it had: a reboot that nobody has noticed yet
            continue
        if any(not each.fenced for _, each in failed):
            _refuse(*next((name, each) for name, each in failed if not each.fenced))
    raise NodeUnreachable(host, "ensure_port", "its networks change faster than they can be sent")


def _lacks_network(outcome: results.Outcome) -> bool:
    return outcome.refusal is not None and outcome.refusal.code == NO_SUCH_NETWORK


def _refuse(name: str, outcome: results.Outcome) -> None:
    if outcome.unreachable:
        raise NodeUnreachable(name, f"ensure_{outcome.row.kind}", outcome.error)
    assert outcome.refusal is not None
    raise outcome.refusal


def _client(run: Run, host: str) -> NodeClient:
    return NodeClient(run.cloud.bus, host, on_trail=run.on_trail)


_ABSENT = sa.select(_p.absent).where(
    _p.host == sa.bindparam("host"),
    _p.kind == sa.bindparam("kind"),
    _p.subject_id == sa.bindparam("id"),
)
_STARTED_ANEW = sa.select(host_table.c.synced_start != host_table.c.started_at).where(
    host_table.c.name == sa.bindparam("host")
)


def _needed(lacking: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The rows of a port, and those `lacking` ones of its network and groups."""
    return sa.select(presence_table).where(
        _p.host == sa.bindparam("host"),
        ~_p.absent,
        sa.or_(
            sa.and_(_p.kind == presence.PORT, _p.subject_id == sa.bindparam("id")),
            sa.and_(
                _p.kind == presence.NETWORK, _p.subject_id == sa.bindparam("network_id"), lacking
            ),
            sa.and_(
                _p.kind == presence.SECURITY_GROUP,
                _p.subject_id.in_(sa.bindparam("groups", expanding=True)),
                lacking,
            ),
        ),
    )


_NEEDED = {True: _needed(sa.true()), False: _needed(sa.or_(~_p.made, _p.error != ""))}
_FAILING = (
    sa.select(presence_table)
    .join(
        dhcp_service,
        sa.and_(dhcp_service.c.network_id == _p.subject_id, dhcp_service.c.host == _p.host),
    )
    .where(
        _p.kind == presence.NETWORK,
        _p.subject_id == sa.bindparam("network_id"),
        _p.host != sa.bindparam("host"),
        ~_p.absent,
        _p.error != "",
    )
)


def _is_bound(tx: Tx, row: Any, host: str) -> bool:
    """Do the rows say that the port belongs on the host?"""
    return (
        row.host == host and tx.scalar(_ABSENT, host=host, kind=presence.PORT, id=row.id) is False
    )


def _works(run: Run, tx: Tx, row: Any, host: str, send_all: bool) -> list[Work]:
    """What has to be sent so that the port works: to its host, and to where its DHCP is."""
    if tx.scalar(_STARTED_ANEW, host=host):
        send_all = True  # the node has started anew, and may have lost anything
    groups = security_groups.with_remotes(tx, security_groups.of_port(tx, row.id))
    needed = tx.all(
        _NEEDED[send_all], host=host, id=row.id, network_id=row.network_id, groups=groups
    )
    works = [Work(host, list(needed))]
    # A guest whose DHCP is known not to work would boot without an address.
    failing = tx.all(_FAILING, host=host, network_id=row.network_id)
    works += [Work(each.host, [each]) for each in failing]
    specs = Specs(run.cloud, tx)
    for work in works:
        realization.equip(specs, work)
    return works


def remove(run: Run, port_id: str, host: str) -> None:
    """The port is off the host and bound to none; what nothing needs any more follows soon.

    Raises NodeError (NodeUnreachable); the row stays marked, so the reconciler goes on.
    """
    with run.cloud.database.write() as tx:
        row = _release(tx, port_id, host)
    if row is None:
        row = presence.Absent(presence.PORT, port_id, clock.now())
    _client(run, host).remove_port(port_id, realization.fence(row, run.request_id))
    with run.cloud.database.write() as tx:
        results.record(tx, host, [results.Outcome(row)])


def _release(tx: Tx, port_id: str, host: str) -> Any:
    tx.update(port, port.c.id == port_id, port.c.host == host, host="", status="DOWN")
    presence.release(tx, presence.PORT, [port_id], host)
    return tx.first(
        sa.select(presence_table).where(
            _p.host == host, _p.kind == presence.PORT, _p.subject_id == port_id
        )
    )
