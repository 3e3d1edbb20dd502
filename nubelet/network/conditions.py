"""How things of the network are, for `nubelet explain`: their status, and what a node said last
when it could not bring them about.

A port's trouble is often that of something below it, so that is looked at first: its network on
its host, then the router or DHCP service that it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.clock import iso_seconds
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.conditions import Condition
from nubelet.kernel.database import Tx
from nubelet.network import hosts, presence
from nubelet.network.model import (
    dhcp_service,
    floating_ip,
    host,
    network,
    port,
    router,
    security_group,
    subnet,
)
from nubelet.network.model import presence as presence_table

_p = presence_table.c
_NOUNS: tuple[tuple[str, sa.Table, sa.ColumnElement[Any]], ...] = (
    ("network", network, network.c.name),
    ("subnet", subnet, subnet.c.name),
    ("port", port, port.c.name),
    ("router", router, router.c.name),
    ("security group", security_group, security_group.c.name),
    ("floating IP", floating_ip, floating_ip.c.floating_ip_address),
)


def describe(cloud: Cloud, tx: Tx, identifier: str) -> list[Condition]:
    """The things with this id or name (floating IPs: this address)."""
    found = []
    for noun, table, name in _NOUNS:
        for row in tx.all(
            sa.select(table).where(sa.or_(table.c.id == identifier, name == identifier)).limit(100)
        ):
            trouble = next(_troubles(tx, noun, row), "")
            status = getattr(row, "status", "there")
            if trouble and status in ("there", "ACTIVE"):
                status = "in trouble"
            found.append(
                Condition(
                    noun=noun,
                    id=row.id,
                    name=str(getattr(row, name.key or "")),
                    project_id=row.project_id,
                    status=status,
                    trouble=trouble,
                )
            )
    return found


def _troubles(tx: Tx, noun: str, row: Any) -> Iterator[str]:
    match noun:
        case "network":
            yield from _refused(tx, presence.NETWORK, row.id)
        case "subnet":
            yield from _refused(tx, presence.NETWORK, row.network_id)
        case "security group":
            yield from _refused(tx, presence.SECURITY_GROUP, row.id)
        case "router":
            yield from _of_router(tx, row.id)
        case "floating IP":
            if row.port_id is not None and row.router_id is None:
                yield "no router leads to its port"
            if row.router_id is not None:
                yield from _of_router(tx, row.router_id)
        case "port":
            yield from _of_port(tx, row)


def _of_router(tx: Tx, router_id: str) -> Iterator[str]:
    row = tx.first(sa.select(router).where(router.c.id == router_id))
    if row is None:
        return
    if row.host:
        yield from _silent(tx, row.host)
        if row.gateway_network_id:
            yield from _refused(tx, presence.NETWORK, row.gateway_network_id, row.host)
    yield from _refused(tx, presence.ROUTER, router_id)


def _of_port(tx: Tx, row: Any) -> Iterator[str]:
    if row.device_owner in ("network:router_interface", "network:router_gateway"):
        yield from _of_router(tx, row.device_id)
    elif row.device_owner == "network:dhcp":
        for service in tx.all(sa.select(dhcp_service).where(dhcp_service.c.port_id == row.id)):
            yield from _silent(tx, service.host)
            yield from _refused(tx, presence.NETWORK, row.network_id, service.host)
    elif row.host:
        yield from _silent(tx, row.host)
        yield from _refused(tx, presence.NETWORK, row.network_id, row.host)
        yield from _refused(tx, presence.PORT, row.id, row.host)


def _silent(tx: Tx, name: str) -> Iterator[str]:
    row = tx.first(sa.select(host).where(host.c.name == name))
    if row is None:
        yield f"host {name} is not known"
    elif not hosts.is_alive(row):
        yield f"host {name} is silent since {iso_seconds(row.seen_at)}"


def _refused(tx: Tx, kind: str, identifier: str, on_host: str | None = None) -> Iterator[str]:
    """What nodes said that could not bring it about, and have not done so since."""
    statement = sa.select(presence_table).where(
        _p.kind == kind, _p.subject_id == identifier, _p.applied != _p.wanted, _p.error != ""
    )
    if on_host is not None:
        statement = statement.where(_p.host == on_host)
    for row in tx.all(statement.order_by(_p.host)):
        yield f"{row.error}, tried {row.tries} times"
