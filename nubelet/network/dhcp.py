"""DHCP services: which node serves which network, and the port that the service has there.

A network is served when one of its subnets asks for DHCP and a node lives that can do it; until
then the reconciler looks again. The service's port has an address in each subnet it serves.

Read next: `hosts.py` (which nodes live), `desired.py`.
In OpenStack: neutron/scheduler/dhcp_agent_scheduler.py and neutron/agent/dhcp.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Conflict
from nubelet.network import hosts, networks, presence, records
from nubelet.network.model import dhcp_service, network, port, port_address, subnet
from nubelet.network.records import Who

log = logging.getLogger(__name__)


def device_id(host: str, network_id: str) -> str:
    """What a DHCP port says it belongs to."""
    return f"dhcp{uuid.uuid5(uuid.NAMESPACE_DNS, host)}-{network_id}"


def services_of(tx: Tx, network_id: str) -> Sequence[Any]:
    """The services of a network."""
    return tx.all(sa.select(dhcp_service).where(dhcp_service.c.network_id == network_id))


def serve_subnet(ctx: Who, tx: Tx, of: Any, row: Any) -> None:
    """A subnet asks for DHCP: its network's services take it up; without one, a node is chosen."""
    services = services_of(tx, of.id)
    if not services:
        schedule(ctx, tx, of)
        return
    for service in services:
        _equip(ctx, tx, of, service.host)


def schedule(ctx: Who, tx: Tx, of: Any) -> str | None:
    """Choose a node to serve a network; None when no node can, or none shall."""
    if of.unscheduled:
        return None
    host = hosts.choose(
        tx, hosts.DHCP, physical_network=of.physical_network, zones=of.availability_zone_hints
    )
    if host is not None:
        add(ctx, tx, of, host)
    return host


def add(ctx: Who, tx: Tx, of: Any, host: str) -> None:
    """Let a node serve a network."""
    networks.lock(tx, of.id)
    tx.update(network, network.c.id == of.id, network.c.unscheduled, unscheduled=False)
    if not any(service.host == host for service in services_of(tx, of.id)):
        tx.insert(dhcp_service, network_id=of.id, host=host, port_id=None)
    _equip(ctx, tx, of, host)


def remove(ctx: Who, tx: Tx, network_id: str, host: str) -> bool:
    """Let a node no longer serve a network. False when it did not."""
    from nubelet.network import ports

    service = tx.first(
        sa.select(dhcp_service).where(
            dhcp_service.c.network_id == network_id, dhcp_service.c.host == host
        )
    )
    if service is None:
        return False
    tx.delete(dhcp_service, dhcp_service.c.network_id == network_id, dhcp_service.c.host == host)
    row = tx.first(sa.select(port).where(port.c.id == service.port_id))
    if row is not None:
        ports.remove(ctx, tx, row)
    presence.touch(tx, presence.NETWORK, [network_id])
    presence.collect(tx, [host])
    return True


def leave_subnet(ctx: Who, tx: Tx, row: Any) -> None:
    """A subnet asks for DHCP no longer: services give its addresses back, and end when they have
    no other."""
    for service in services_of(tx, row.network_id):
        tx.delete(
            port_address,
            port_address.c.port_id == service.port_id,
            port_address.c.subnet_id == row.id,
        )
        left = tx.scalar(
            sa.select(sa.func.count())
            .select_from(subnet)
            .where(
                subnet.c.network_id == row.network_id, subnet.c.enable_dhcp, subnet.c.id != row.id
            )
        )
        if not left:
            remove(ctx, tx, row.network_id, service.host)


def unserved(tx: Tx) -> Sequence[Any]:
    """Networks that ask for DHCP and have no service, or one without its port."""
    served = sa.select(dhcp_service.c.network_id).where(dhcp_service.c.port_id.is_not(None))
    asking = sa.select(subnet.c.network_id).where(subnet.c.enable_dhcp)
    return tx.all(
        sa.select(network).where(
            network.c.id.in_(asking), network.c.id.not_in(served), ~network.c.unscheduled
        )
    )


def _equip(ctx: Who, tx: Tx, of: Any, host: str) -> None:
    """The service on a host has its port, with an address in each subnet that asks for DHCP."""
    from nubelet.network import fixed_ips, ports

    service = tx.first(
        sa.select(dhcp_service).where(
            dhcp_service.c.network_id == of.id, dhcp_service.c.host == host
        )
    )
    assert service is not None
    asking = tx.all(
        sa.select(subnet)
        .where(subnet.c.network_id == of.id, subnet.c.enable_dhcp)
        .order_by(subnet.c.created_at, subnet.c.id)
    )
    if not asking:
        return
    row = tx.first(sa.select(port).where(port.c.id == service.port_id)) if service.port_id else None
    if row is None:
        try:
            row = ports.create_service_port(
                ctx,
                tx,
                of,
                device_owner=networks.DHCP_OWNER,
                device_id=device_id(host, of.id),
                host=host,
                project_id=of.project_id,
                fixed_ips=[{"subnet_id": each.id} for each in asking],
            )
        except Conflict as full:  # tried again by the reconciler, when addresses are free
            log.info("network %s has no address for its DHCP service: %s", of.id, full)
            return
        tx.update(
            dhcp_service,
            dhcp_service.c.network_id == of.id,
            dhcp_service.c.host == host,
            port_id=row.id,
        )
    else:
        has = {
            each.subnet_id
            for each in tx.all(
                sa.select(port_address.c.subnet_id).where(port_address.c.port_id == row.id)
            )
        }
        missing = [{"subnet_id": each.id} for each in asking if each.id not in has]
        if missing:
            chosen = fixed_ips.choose(tx, of, missing, row.mac_address, row.device_owner, has)
            fixed_ips.store(tx, row.id, chosen, first_position=len(has))
            records.bump(tx, port, row.id)
    presence.want(tx, host, presence.NETWORK, [of.id])
    presence.touch(tx, presence.NETWORK, [of.id], host)
