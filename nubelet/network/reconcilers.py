"""The loop that keeps nodes as the rows say: rung by every change, and by itself now and then.

A run: work of lost hosts goes to others; networks and routers that no node serves yet get one;
hosts that came back are compared with what they should carry; then whatever is behind is sent.

Read next: `realization.py`.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.reconcile import Reconciler
from nubelet.network import desired, dhcp, hosts, presence, results, routers
from nubelet.network.model import dhcp_service, host, network, router, router_interface
from nubelet.network.model import presence as presence_table
from nubelet.network.realization import Realizer
from nubelet.node.client import NodeClient, NodeError
from nubelet.node.wire import NetworkState

log = logging.getLogger(__name__)
OBSERVE_EVERY_SECONDS = 60.0
PERIOD_SECONDS = 5.0
_p = presence_table.c


def run(cloud: Cloud) -> None:
    """One run of the loop."""
    with cloud.database.read() as tx:
        todo = _Due(tx)
    if todo.lost or todo.idle:
        cloud.database.transact(_assign)
    for name in todo.collect:
        cloud.database.transact(partial(_settle, name))
    for row in todo.observe:
        _compare(cloud, row)
    cloud.get(Realizer).run()


def _settle(name: str, tx: Tx) -> None:
    desired.settle(tx, name)


class _Due:
    """What has to be done besides sending what is behind."""

    def __init__(self, tx: Tx) -> None:
        now = clock.now()
        old = now - round(OBSERVE_EVERY_SECONDS * 1e6)
        rows = tx.all(sa.select(host))
        alive = [row for row in rows if hosts.is_alive(row)]
        self.lost = [row.name for row in rows if not hosts.is_alive(row) and not row.lost]
        self.collect = [row.name for row in alive if row.collect]
        self.observe = [
            row for row in alive if row.synced_start != row.started_at or row.observed_at < old
        ]
        self.idle = bool(alive) and bool(dhcp.unserved(tx) or _unhosted(tx))


def _unhosted(tx: Tx) -> list[Any]:
    """Routers with legs and without a host."""
    legs = sa.select(router_interface.c.router_id)
    return list(
        tx.all(
            sa.select(router).where(
                router.c.host == "",
                ~router.c.unscheduled,
                sa.or_(router.c.gateway_port_id.is_not(None), router.c.id.in_(legs)),
            )
        )
    )


def _assign(tx: Tx) -> None:
    """Give work to hosts: that of lost ones, and what had none."""
    for row in tx.all(sa.select(host).where(~host.c.lost)):
        if not hosts.is_alive(row):
            _lose(tx, row.name)
    for of in dhcp.unserved(tx):
        for service in dhcp.services_of(tx, of.id):  # its port was deleted: it gets a new one
            dhcp.add(None, tx, of, service.host)
            break
        else:
            dhcp.schedule(None, tx, of)
    for row in _unhosted(tx):
        routers.schedule(tx, row)


def _lose(tx: Tx, name: str) -> None:
    """A host is silent: its networks and routers go to others that live."""
    log.warning("host %s is silent: its DHCP services and routers go to other hosts", name)
    tx.update(host, host.c.name == name, lost=True)
    results.set_host_down(tx, name)
    for service in tx.all(sa.select(dhcp_service).where(dhcp_service.c.host == name)):
        of = tx.first(sa.select(network).where(network.c.id == service.network_id))
        other = hosts.choose(tx, hosts.DHCP, physical_network=of.physical_network if of else None)
        if of is not None and other is not None:
            dhcp.remove(None, tx, of.id, name)
            dhcp.add(None, tx, of, other)
    for row in tx.all(sa.select(router).where(router.c.host == name)):
        routers.schedule(tx, row, avoid=[name])
    desired.settle(tx, name)


# --- Comparing -------------------------------------------------------------------------------


def _compare(cloud: Cloud, row: Any) -> None:
    """Look what is on a host, and mark what differs."""
    try:
        state = NodeClient(cloud.bus, row.name).observe_network()
    except NodeError as error:
        log.info("host %s was not compared: %s", row.name, error)
        return
    cloud.database.transact(lambda tx: mark_differences(tx, row, state))


def mark_differences(tx: Tx, row: Any, state: NetworkState) -> None:
    """What is missing on a host is sent again, what does not belong there shall go. A node that
    has started anew is sent everything: what it lost may be inside of things that are there."""
    name = row.name
    desired.settle(tx, name)
    have = desired.present(tx, name)
    for kind, found in _found(state).items():
        rows = have[kind]
        missing = [
            each
            for each, entry in rows.items()
            if not entry.absent and entry.made and each not in found
        ]
        presence.touch(tx, kind, missing, name)
        strays = sorted(found - set(rows))
        presence.want(tx, name, kind, strays)
        presence.release(tx, kind, strays, name)
    if row.synced_start != row.started_at:
        tx.update(presence_table, _p.host == name, wanted=_p.wanted + 1, tries=0, not_before=0)
    else:
        silent = [
            each.network_id
            for each in tx.all(
                sa.select(dhcp_service.c.network_id).where(
                    dhcp_service.c.host == name, dhcp_service.c.port_id.is_not(None)
                )
            )
            if each.network_id not in state.dhcp_servers and each.network_id in state.networks
        ]
        presence.touch(tx, presence.NETWORK, silent, name)
    tx.update(host, host.c.name == name, observed_at=clock.now(), synced_start=row.started_at)


def _found(state: NetworkState) -> dict[str, set[str]]:
    return {
        presence.NETWORK: set(state.networks),
        presence.PORT: set(state.ports),
        presence.ROUTER: set(state.routers),
        presence.SECURITY_GROUP: set(state.security_groups),
    }


RECONCILERS = (Reconciler(presence.RECONCILER, PERIOD_SECONDS, run),)
