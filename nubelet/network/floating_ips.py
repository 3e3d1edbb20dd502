"""Floating IPs: addresses of an external network that lead to ports inside.

In OpenStack: neutron/db/l3_db.py create_floatingip.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound
from nubelet.network import (
    fixed_ips,
    networks,
    ports,
    presence,
    records,
    refusals,
    subnets,
)
from nubelet.network.model import (
    floating_ip,
    port,
    port_address,
    router,
    router_interface,
    subnet,
)
from nubelet.network.quotas import quotas
from nubelet.network.records import Who

OWNER = "network:floatingip"


def find(tx: Tx, floating_id: str) -> Any:
    """The row of a floating IP; raises FloatingIPNotFound."""
    row = tx.first(sa.select(floating_ip).where(floating_ip.c.id == floating_id))
    if row is None:
        raise refusals.not_found("FloatingIP", floating_id)
    return row


def create(ctx: Context, tx: Tx, values: dict[str, Any]) -> str:
    """Take an address of an external network, and lead it to a port if one is named."""
    from nubelet.kernel.ids import new_uuid

    of = networks.find_visible(ctx, tx, values["floating_network_id"])
    if not of.external:
        raise refusals.bad_request("floatingip", f"Network {of.id} is not a valid external network")
    if not any(each.ip_version == 4 for each in subnets.of_network(tx, of.id)):
        raise refusals.bad_request(
            "floatingip", f"Network {of.id} does not contain any IPv4 subnet"
        )
    quotas(ctx).require(tx, values["project_id"], floatingip=1)
    floating_id = new_uuid()
    # The port that holds the address is nobody's: the project manages the floating IP.
    holder = ports.create_service_port(
        ctx,
        tx,
        of,
        device_owner=OWNER,
        device_id=floating_id,
        project_id="",
        status="N/A",
        fixed_ips=_asked(tx, of, values),
    )
    held = [each.ip for each in fixed_ips.of_ports(tx, [holder.id])[holder.id] if "." in each.ip]
    records.insert(
        ctx,
        tx,
        floating_ip,
        **{
            **values,
            "id": floating_id,
            "floating_ip_address": held[0],
            "status": "DOWN",
            "floating_port_id": holder.id,
            "port_id": None,
            "fixed_ip_address": None,
            "router_id": None,
        },
    )
    if values.get("port_id"):
        _associate(
            ctx, tx, find(tx, floating_id), values["port_id"], values.get("fixed_ip_address")
        )
    elif values.get("fixed_ip_address"):
        raise refusals.bad_request(
            "floatingip", "fixed_ip_address cannot be specified without a port_id"
        )
    return floating_id


def _asked(tx: Tx, of: Any, values: dict[str, Any]) -> list[dict[str, str]]:
    """An IPv4 address outside: the one asked for, or any of the subnet asked for."""
    entry = {}
    if values.get("subnet_id"):
        entry["subnet_id"] = values["subnet_id"]
    if values.get("floating_ip_address"):
        entry["ip_address"] = values["floating_ip_address"]
    if entry:
        return [entry]
    from nubelet.network import allocation

    four = [
        each
        for each in subnets.of_network(tx, of.id)
        if each.ip_version == 4 and (not each.service_types or OWNER in each.service_types)
    ]
    networks.lock(tx, of.id)
    for each in four:
        free = allocation.next_free(tx, each.id)
        if free is not None:
            return [{"subnet_id": each.id, "ip_address": free.ip}]
    raise refusals.no_more_addresses(of.id)


def update(ctx: Context, tx: Tx, row: Any, changes: dict[str, Any]) -> None:
    """Change attributes, and where the address leads."""
    if "port_id" in changes or "fixed_ip_address" in changes:
        target = changes.pop("port_id", row.port_id)
        fixed = changes.pop("fixed_ip_address", None)
        if target is None:
            if fixed:
                raise refusals.bad_request(
                    "floatingip", "fixed_ip_address cannot be specified without a port_id"
                )
            _disassociate(ctx, tx, row)
        else:
            _associate(ctx, tx, row, target, fixed)
        row = find(tx, row.id)
    records.change(ctx, tx, floating_ip, row, **changes)


def delete(ctx: Who, tx: Tx, row: Any) -> None:
    """Give the address back."""
    if row.router_id:
        presence.touch(tx, presence.ROUTER, [row.router_id])
    records.remove(ctx, tx, floating_ip, row)
    ports.remove(ctx, tx, ports.find(tx, row.floating_port_id))


# --- Where it leads --------------------------------------------------------------------------


def _associate(ctx: Context, tx: Tx, row: Any, port_id: str, fixed: str | None) -> None:
    statement = sa.select(port).where(port.c.id == port_id)
    condition = ports.visible(ctx)
    inside = tx.first(statement if condition is None else statement.where(condition))
    if inside is None:
        raise refusals.not_found("Port", port_id)
    tx.lock("network", "port", port_id)
    if not ctx.is_admin and inside.project_id != row.project_id:
        raise refusals.bad_request(
            "floatingip",
            f"Port {port_id} is associated with a different project than the floating IP",
        )
    address = _fixed_address(tx, inside, fixed)
    router_id = _router_between(tx, row, inside, address)
    taken = tx.first(
        sa.select(floating_ip).where(
            floating_ip.c.port_id == port_id,
            floating_ip.c.fixed_ip_address == address.ip,
            floating_ip.c.id != row.id,
        )
    )
    if taken is not None:
        raise refusals.conflict(
            "FloatingIPPortAlreadyAssociated",
            f"Cannot associate floating IP {row.floating_ip_address} ({row.id}) with port "
            f"{port_id} using fixed IP {address.ip}, as that fixed IP already has a floating IP on "
            f"external network {taken.floating_network_id}.",
        )
    presence.touch(tx, presence.ROUTER, [each for each in (row.router_id, router_id) if each])
    same = (row.port_id, row.fixed_ip_address, row.router_id) == (port_id, address.ip, router_id)
    records.change(
        ctx,
        tx,
        floating_ip,
        row,
        port_id=port_id,
        fixed_ip_address=address.ip,
        router_id=router_id,
        status=row.status if same else "DOWN",
    )


def _fixed_address(tx: Tx, inside: Any, fixed: str | None) -> Any:
    four = [each for each in fixed_ips.of_ports(tx, [inside.id])[inside.id] if "." in each.ip]
    if fixed:
        for each in four:
            if each.ip == fixed:
                return each
        raise refusals.bad_request("floatingip", f"Port {inside.id} does not have fixed ip {fixed}")
    if not four:
        raise refusals.bad_request(
            "floatingip",
            f"Cannot add floating IP to port {inside.id} that has no fixed IPv4 addresses",
        )
    if len(four) > 1:
        raise refusals.bad_request(
            "floatingip",
            f"Port {inside.id} has multiple fixed IPv4 addresses. Must provide a "
            "specific IPv4 address when assigning a floating IP",
        )
    return four[0]


def _router_between(tx: Tx, row: Any, inside: Any, address: Any) -> str:
    """The router with a leg in the port's subnet and a gateway on the floating IP's network."""
    gateway_ip = tx.scalar(sa.select(subnet.c.gateway_ip).where(subnet.c.id == address.subnet_id))
    found = tx.all(
        sa.select(router.c.id, port_address.c.ip)
        .join(router_interface, router_interface.c.router_id == router.c.id)
        .join(port_address, port_address.c.port_id == router_interface.c.port_id)
        .where(
            port_address.c.subnet_id == address.subnet_id,
            router.c.gateway_network_id == row.floating_network_id,
        )
    )
    if not found:
        raise NotFound(
            message=f"External network {row.floating_network_id} is not reachable from subnet "
            f"{address.subnet_id}. Therefore, cannot associate Port {inside.id} with a Floating "
            "IP.",
            code="ExternalGatewayForFloatingIPNotFound",
        )
    # Hosts answer through their gateway, so the router there is the one that must translate.
    return str(min(found, key=lambda each: each.ip != gateway_ip).id)


def _disassociate(ctx: Who, tx: Tx, row: Any) -> None:
    if row.router_id:
        presence.touch(tx, presence.ROUTER, [row.router_id])
    records.change(
        ctx,
        tx,
        floating_ip,
        row,
        port_id=None,
        fixed_ip_address=None,
        router_id=None,
        status="DOWN",
    )


def disassociate_port(ctx: Who, tx: Tx, port_id: str) -> None:
    """A port goes away: the floating IPs that lead to it lead nowhere."""
    for row in tx.all(sa.select(floating_ip).where(floating_ip.c.port_id == port_id)):
        _disassociate(ctx, tx, row)


def disassociate_lost(tx: Tx, port_id: str) -> None:
    """A port lost addresses: floating IPs that led to those lead nowhere."""
    has = {each.ip for each in fixed_ips.of_ports(tx, [port_id])[port_id]}
    for row in tx.all(sa.select(floating_ip).where(floating_ip.c.port_id == port_id)):
        if row.fixed_ip_address not in has:
            _disassociate(None, tx, row)


def delete_unused(ctx: Who, tx: Tx, network_id: str) -> None:
    """A network goes away: floating IPs of it that lead nowhere go with it."""
    for row in tx.all(
        sa.select(floating_ip).where(
            floating_ip.c.floating_network_id == network_id, floating_ip.c.port_id.is_(None)
        )
    ):
        delete(ctx, tx, row)
