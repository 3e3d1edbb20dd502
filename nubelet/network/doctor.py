"""What must always be true of networks, for `nubelet doctor`: in the rows, and on the nodes.

Each sentence names the thing, so that whoever reads it can look at it.
"""

from __future__ import annotations

import ipaddress
from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock, guards
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.network import desired, hosts, presence
from nubelet.network.model import (
    dhcp_service,
    floating_ip,
    host,
    port,
    port_address,
    router,
    router_interface,
    subnet,
)
from nubelet.network.model import presence as presence_table
from nubelet.node.client import NodeClient, NodeError
from nubelet.node.wire import NetworkState

STUCK_SECONDS = 60.0
_p = presence_table.c


def check(cloud: Cloud) -> list[str]:
    """All violated invariants, in words."""
    with cloud.database.read() as tx:
        said = [
            *_service_ports(tx),
            *_addresses(tx),
            *_translations(tx),
            *_unrouted(tx),
            *_stuck(tx),
            *_lost(tx),
        ]
        alive = [row for row in tx.all(sa.select(host)) if hosts.is_alive(row)]
    for row in alive:
        said += _on_host(cloud, row.name)
    return said


def _service_ports(tx: Tx) -> list[str]:
    """Ports of the network service belong to something that exists."""
    # What a member cannot write tells a port that the service made from one that only says so.
    nobodys, placed = port.c.project_id == "", port.c.host != ""
    owners: dict[str, tuple[sa.Select[Any], sa.ColumnElement[bool], str]] = {
        "network:router_interface": (
            sa.select(router_interface.c.port_id),
            port.c.device_id.in_(sa.select(router.c.id)),
            "is no router's leg",
        ),
        "network:router_gateway": (
            sa.select(router.c.gateway_port_id).where(router.c.gateway_port_id.is_not(None)),
            nobodys,
            "is no router's gateway",
        ),
        "network:floatingip": (
            sa.select(floating_ip.c.floating_port_id),
            nobodys,
            "holds no floating IP",
        ),
        "network:dhcp": (
            sa.select(dhcp_service.c.port_id).where(dhcp_service.c.port_id.is_not(None)),
            placed,
            "serves no DHCP",
        ),
    }
    said = []
    for owner, (used, ours, why) in owners.items():
        said += [
            f"port {row.id} ({owner}) {why}"
            for row in tx.all(
                sa.select(port.c.id).where(
                    port.c.device_owner == owner, ours, port.c.id.not_in(used)
                )
            )
        ]
    legs = (
        sa.select(router_interface.c.port_id, router_interface.c.router_id)
        .join(port, port.c.id == router_interface.c.port_id)
        .where(
            sa.or_(
                port.c.device_id != router_interface.c.router_id,
                port.c.device_owner != "network:router_interface",
            )
        )
    )
    said += [
        f"router {row.router_id} has leg {row.port_id}, but that port says otherwise"
        for row in tx.all(legs)
    ]
    return said


def _addresses(tx: Tx) -> list[str]:
    """Every address has a port, lies in its subnet, and that on its port's network."""
    said = []
    for row in tx.all(
        sa.select(
            port_address.c.ip,
            port_address.c.port_id,
            port_address.c.subnet_id,
            subnet.c.cidr,
            subnet.c.network_id,
            port.c.network_id.label("port_network"),
        )
        .outerjoin(port, port.c.id == port_address.c.port_id)
        .outerjoin(subnet, subnet.c.id == port_address.c.subnet_id)
    ):
        if row.port_network is None:
            said.append(f"address {row.ip} of subnet {row.subnet_id} is allocated without a port")
        elif row.cidr is None:
            said.append(f"address {row.ip} of port {row.port_id} is of no subnet")
        elif row.network_id != row.port_network:
            said.append(f"address {row.ip} of port {row.port_id} is of another network")
        elif ipaddress.ip_address(row.ip) not in ipaddress.ip_network(row.cidr):
            said.append(f"address {row.ip} of port {row.port_id} lies outside of {row.cidr}")
    return said


def _translations(tx: Tx) -> list[str]:
    """A floating IP leads to an address that its port has."""
    has = (
        sa.select(sa.literal(1))
        .where(
            port_address.c.port_id == floating_ip.c.port_id,
            port_address.c.ip == floating_ip.c.fixed_ip_address,
        )
        .exists()
    )
    return [
        f"floating IP {row.id} leads to {row.fixed_ip_address}, which port {row.port_id} does "
        "not have"
        for row in tx.all(sa.select(floating_ip).where(floating_ip.c.port_id.is_not(None), ~has))
    ]


def _unrouted(tx: Tx) -> list[str]:
    """A floating IP that leads to a port does so through a router on its network."""
    rows = tx.all(
        sa.select(
            floating_ip.c.id,
            floating_ip.c.floating_ip_address,
            floating_ip.c.floating_network_id,
            floating_ip.c.router_id,
            router.c.id.label("found"),
            router.c.gateway_network_id,
        )
        .outerjoin(router, router.c.id == floating_ip.c.router_id)
        .where(floating_ip.c.port_id.is_not(None))
    )
    said = []
    for row in rows:
        what = f"floating IP {row.id} ({row.floating_ip_address}) leads to a port"
        if row.found is None:
            said.append(f"{what}, but through no router")
        elif row.gateway_network_id != row.floating_network_id:
            said.append(
                f"{what} through router {row.router_id}, which has no gateway on network "
                f"{row.floating_network_id}"
            )
    return said


def _stuck(tx: Tx) -> list[str]:
    """What is wanted on a live host gets there."""
    rows = tx.all(
        sa.select(presence_table)
        .join(host, host.c.name == _p.host)
        .where(hosts.alive(), _p.applied != _p.wanted, _p.tries > 3)
    )
    return [
        f"{row.kind} {row.subject_id} cannot be "
        f"{'taken off' if row.absent else 'brought to'} host {row.host}: {row.error}"
        for row in rows
    ]


def _lost(tx: Tx) -> list[str]:
    """Nothing is active on a host that is silent."""
    silent = sa.select(host.c.name).where(~hosts.alive(clock.now() - round(STUCK_SECONDS * 1e6)))
    return [
        f"port {row.id} is ACTIVE on host {row.host}, which is silent"
        for row in tx.all(
            sa.select(port.c.id, port.c.host).where(
                port.c.status == "ACTIVE", port.c.host.in_(silent)
            )
        )
    ]


# --- On the nodes ----------------------------------------------------------------------------


def _on_host(cloud: Cloud, name: str) -> list[str]:
    with cloud.database.read() as tx:
        before = desired.present(tx, name)
    try:
        with guards.node_calls_allowed():
            state = NodeClient(cloud.bus, name).observe_network()
    except NodeError as error:
        return [f"host {name} does not say what it carries: {error}"]
    with cloud.database.read() as tx:
        wanted, have = desired.on_host(tx, name), desired.present(tx, name)
        served = {
            row.network_id
            for row in tx.all(
                sa.select(dhcp_service.c.network_id).where(
                    dhcp_service.c.host == name, dhcp_service.c.port_id.is_not(None)
                )
            )
        }
    return [
        *_differences(name, wanted, have, before, state),
        *(
            f"network {each} has no living DHCP service on host {name}"
            for each in sorted(served & set(state.networks) - set(state.dhcp_servers))
        ),
        *(f"host {name} has {each}, which belongs to nothing" for each in state.unknown_devices),
    ]


def _differences(
    name: str,
    wanted: dict[str, set[str]],
    have: dict[str, dict[str, Any]],
    before: dict[str, dict[str, Any]],
    state: NetworkState,
) -> list[str]:
    """`have` and `before`: the presence rows after and before the look. What came or went
    meanwhile is not held against anybody."""
    found = {
        presence.NETWORK: state.networks,
        presence.PORT: state.ports,
        presence.ROUTER: state.routers,
        presence.SECURITY_GROUP: state.security_groups,
    }
    said = []
    for kind, ids in wanted.items():
        rows = have[kind]
        settled = {
            each
            for each, row in before[kind].items()
            if row.applied == row.wanted and each in rows and rows[each].wanted == row.wanted
        }
        said += [
            f"{kind} {each} is missing on host {name}"
            for each in sorted((ids & settled) - set(found[kind]))
        ]
        said += [
            f"{kind} {each} shall be on host {name}, but nothing sees to it"
            for each in sorted(ids - set(rows))
        ]
        said += [
            f"host {name} has {kind} {each}, which nothing asks for"
            for each in sorted(set(found[kind]) - ids - set(rows) - set(before[kind]))
        ]
    return said
