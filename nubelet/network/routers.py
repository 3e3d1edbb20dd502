"""Routers: legs on project networks, a gateway to an external one, static routes.

Read next: `router_gateways.py`, `floating_ips.py`.
In OpenStack: neutron/db/l3_db.py.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.network import (
    addresses,
    fixed_ips,
    hosts,
    networks,
    ports,
    presence,
    records,
    refusals,
    sharing,
    subnets,
)
from nubelet.network.model import (
    floating_ip,
    network,
    port,
    port_address,
    router,
    router_interface,
    subnet,
)
from nubelet.network.quotas import quotas
from nubelet.network.records import Who

INTERFACE = "network:router_interface"
MAX_ROUTES = 30


def find(tx: Tx, router_id: str) -> Any:
    """The row of a router; raises RouterNotFound."""
    row = tx.first(sa.select(router).where(router.c.id == router_id))
    if row is None:
        raise refusals.not_found("Router", router_id)
    return row


def create(ctx: Context, tx: Tx, values: dict[str, Any]) -> str:
    """Insert a router, with its gateway if it asks for one."""
    from nubelet.network import router_gateways

    quotas(ctx).require(tx, values["project_id"], router=1)
    hosts.require_zones(tx, values["availability_zone_hints"])
    gateway = values.pop("external_gateway_info", None)
    router_id = records.insert(
        ctx, tx, router, **values, status="ACTIVE", host="", enable_snat=True, routes=[]
    )
    if gateway:
        router_gateways.set_gateway(ctx, tx, find(tx, router_id), gateway)
    return router_id


def update(ctx: Context, tx: Tx, row: Any, changes: dict[str, Any]) -> None:
    """Change attributes, gateway and routes."""
    from nubelet.network import router_gateways

    tx.lock("network", "router", row.id)
    if "external_gateway_info" in changes:
        router_gateways.set_gateway(ctx, tx, row, changes.pop("external_gateway_info"))
        row = find(tx, row.id)
    if "routes" in changes:
        changes["routes"] = checked_routes(tx, row.id, changes["routes"] or [])
    records.change(ctx, tx, router, row, **changes)
    presence.touch(tx, presence.ROUTER, [row.id])


def delete(ctx: Context | None, tx: Tx, row: Any) -> None:
    """Remove a router without legs inside; its gateway goes with it."""
    from nubelet.network import router_gateways

    tx.lock("network", "router", row.id)
    if tx.first(
        sa.select(router_interface.c.port_id).where(router_interface.c.router_id == row.id)
    ):
        raise refusals.conflict("RouterInUse", f"Router {row.id} still has ports")
    if row.gateway_port_id:
        router_gateways.clear(ctx, tx, row)
    records.remove(ctx, tx, router, row)
    presence.release(tx, presence.ROUTER, [row.id])


def schedule(tx: Tx, row: Any, *, avoid: Sequence[str] = ()) -> str:
    """The router's host; one is chosen if it has none yet. Empty when no node can, or none
    shall."""
    if row.unscheduled:
        return ""
    if row.host and row.host not in avoid:
        place(tx, row.id, row.host)
        return str(row.host)
    physical = (
        tx.scalar(
            sa.select(network.c.physical_network).where(network.c.id == row.gateway_network_id)
        )
        if row.gateway_network_id
        else None
    )
    chosen = hosts.choose(
        tx, hosts.L3, physical_network=physical, zones=row.availability_zone_hints, avoid=avoid
    )
    if chosen is not None:
        assign(tx, row, chosen)
    return chosen or ""


def assign(tx: Tx, row: Any, host: str) -> None:
    """Put a router on a host, or ("") on none."""
    if row.host and row.host != host:
        presence.release(tx, presence.ROUTER, [row.id], row.host)
        presence.collect(tx, [row.host])
    legs = leg_ports(tx, row.id)
    tx.update(router, router.c.id == row.id, host=host, unscheduled=False)
    if legs:
        tx.update(port, port.c.id.in_([leg.id for leg in legs]), host=host, status="DOWN")
    if row.host and row.host != host:  # until another host has it
        tx.update(
            floating_ip,
            floating_ip.c.router_id == row.id,
            floating_ip.c.status == "ACTIVE",
            status="DOWN",
        )
    if host:
        place(tx, row.id, host)


def place(tx: Tx, router_id: str, host: str) -> None:
    """A router and the networks of its legs shall be on a host."""
    presence.want(
        tx, host, presence.NETWORK, sorted({leg.network_id for leg in leg_ports(tx, router_id)})
    )
    presence.want(tx, host, presence.ROUTER, [router_id])
    presence.touch(tx, presence.ROUTER, [router_id], host)


def leg_ports(tx: Tx, router_id: str) -> Sequence[Any]:
    """The ports of all legs of a router."""
    inside = sa.select(router_interface.c.port_id).where(router_interface.c.router_id == router_id)
    outside = sa.select(router.c.gateway_port_id).where(
        router.c.id == router_id, router.c.gateway_port_id.is_not(None)
    )
    return tx.all(
        sa.select(port)
        .where(sa.or_(port.c.id.in_(inside), port.c.id.in_(outside)))
        .order_by(port.c.created_at, port.c.id)
    )


# --- Interfaces ------------------------------------------------------------------------------


def add_interface(ctx: Context, tx: Tx, row: Any, body: dict[str, Any]) -> dict[str, Any]:
    """Give a router a leg, by subnet or by port; returns what the API answers."""
    tx.lock("network", "router", row.id)
    subnet_id, port_id = body.get("subnet_id"), body.get("port_id")
    if bool(subnet_id) == bool(port_id):
        raise refusals.bad_request(
            "router",
            "Cannot specify both subnet-id and port-id"
            if subnet_id
            else "Either subnet_id or port_id must be specified",
        )
    leg, own = (
        _by_subnet(ctx, tx, row, str(subnet_id))
        if subnet_id
        else _by_port(ctx, tx, row, str(port_id))
    )
    schedule(tx, find(tx, row.id))
    host = find(tx, row.id).host
    tx.update(port, port.c.id == leg.id, host=host)
    records.bump(tx, router, row.id)
    presence.touch(tx, presence.ROUTER, [row.id])
    return interface_view(row, leg, own)


def interface_view(row: Any, leg: Any, subnet_ids: Sequence[str]) -> dict[str, Any]:
    """What adding and removing an interface answer."""
    return {
        "id": row.id,
        "tenant_id": row.project_id,
        "project_id": row.project_id,
        "port_id": leg.id,
        "network_id": leg.network_id,
        "subnet_id": subnet_ids[0],
        "subnet_ids": list(subnet_ids),
        "tags": row.tags,
    }


def _by_subnet(ctx: Context, tx: Tx, row: Any, subnet_id: str) -> tuple[Any, list[str]]:
    statement = sa.select(subnet).where(subnet.c.id == subnet_id)
    condition = subnets.visible(ctx)
    found = tx.first(statement if condition is None else statement.where(condition))
    if found is None:
        raise refusals.not_found("Subnet", subnet_id)
    if not found.gateway_ip:
        raise refusals.bad_request("router", "Subnet for router interface must have a gateway IP")
    of = networks.find(tx, found.network_id)
    if condition is not None and not _may_be_gateway(ctx, tx, of, found):
        raise refusals.bad_request(
            "router",
            f"Subnet {subnet_id} belongs to another project; connect the router by a port",
        )
    _check_legs(tx, row, [found])
    networks.lock(tx, of.id)
    asked = [{"subnet_id": found.id, "ip_address": found.gateway_ip}]
    leg = _ipv6_leg(tx, row, of) if found.ip_version == 6 else None
    if leg is not None:  # one leg per network serves all its IPv6 subnets
        chosen = fixed_ips.choose(tx, of, asked, leg.mac_address, INTERFACE)
        fixed_ips.store(tx, leg.id, chosen, first_position=len(leg_subnets(tx, row.id)))
        records.bump(tx, port, leg.id)
        return leg, [found.id]
    leg = ports.create_service_port(
        ctx,
        tx,
        of,
        device_owner=INTERFACE,
        device_id=row.id,
        project_id=row.project_id,
        fixed_ips=asked,
    )
    tx.insert(router_interface, port_id=leg.id, router_id=row.id)
    return leg, [found.id]


def _may_be_gateway(ctx: Context, tx: Tx, of: Any, found: Any) -> bool:
    """May the caller's router have the gateway's address of a subnet, and so the traffic of all who
    are there? Its owners' may, and that of a project with which they shared the network by name."""
    own = ctx.project_id or ""
    return own in (found.project_id, of.project_id) or sharing.is_open(
        tx, of.id, sharing.SHARED, own
    )


def _ipv6_leg(tx: Tx, row: Any, of: Any) -> Any:
    """The leg a router has on this network with IPv6 addresses already."""
    return tx.first(
        sa.select(port)
        .join(router_interface, router_interface.c.port_id == port.c.id)
        .join(port_address, port_address.c.port_id == port.c.id)
        .join(subnet, subnet.c.id == port_address.c.subnet_id)
        .where(
            router_interface.c.router_id == row.id,
            port.c.network_id == of.id,
            subnet.c.ip_version == 6,
        )
        .limit(1)
    )


def _by_port(ctx: Context, tx: Tx, row: Any, port_id: str) -> tuple[Any, list[str]]:
    statement = sa.select(port).where(port.c.id == port_id)
    condition = ports.visible(ctx)
    leg = tx.first(statement if condition is None else statement.where(condition))
    if leg is None:
        raise refusals.not_found("Port", port_id)
    if condition is not None and leg.project_id != ctx.project_id:
        # Its network's owner sees the port of another project, and may not take it.
        raise refusals.bad_request("router", f"Port {leg.id} belongs to another project")
    if leg.device_id:
        raise refusals.port_in_use(leg.id, leg.network_id, leg.device_id)
    own = fixed_ips.of_ports(tx, [leg.id])[leg.id]
    if not own:
        raise refusals.bad_request("router", f"Port {leg.id} does not have fixed IP addresses")
    found = [subnets.find(tx, each.subnet_id) for each in own]
    if sum(each.ip_version == 4 for each in found) > 1:
        raise refusals.bad_request("router", "Cannot have multiple IPv4 subnets on router port")
    _check_legs(tx, row, found)
    from nubelet.network import security_groups
    from nubelet.network.model import port_security_group

    groups = security_groups.of_port(tx, leg.id)
    tx.delete(port_security_group, port_security_group.c.port_id == leg.id)
    presence.touch(tx, presence.SECURITY_GROUP, groups)
    records.change(
        ctx, tx, port, leg, device_id=row.id, device_owner=INTERFACE, port_security_enabled=False
    )
    tx.insert(router_interface, port_id=leg.id, router_id=row.id)
    return leg, [each.id for each in found]


def _check_legs(tx: Tx, row: Any, new: Sequence[Any]) -> None:
    """No subnet twice, and no overlap among the subnets of a router's legs."""
    for other in leg_subnets(tx, row.id):
        for each in new:
            if each.id == other.id:
                raise refusals.bad_request(
                    "router", f"Router already has a port on subnet {each.id}"
                )
            mine, theirs = ipaddress.ip_network(each.cidr), ipaddress.ip_network(other.cidr)
            if addresses.overlapping([theirs], mine):
                raise refusals.bad_request(
                    "router",
                    f"Cidr {each.cidr} of subnet {each.id} overlaps with cidr "
                    f"{other.cidr} of subnet {other.id}",
                )


def leg_subnets(tx: Tx, router_id: str) -> Sequence[Any]:
    """The subnets a router has a leg in."""
    ids = [leg.id for leg in leg_ports(tx, router_id)]
    return tx.all(
        sa.select(subnet).where(
            subnet.c.id.in_(
                sa.select(port_address.c.subnet_id).where(port_address.c.port_id.in_(ids))
            )
        )
    )


def remove_interface(ctx: Context, tx: Tx, row: Any, body: dict[str, Any]) -> dict[str, Any]:
    """Take a leg from a router, by subnet or by port; returns what the API answers."""
    tx.lock("network", "router", row.id)
    subnet_id, port_id = body.get("subnet_id"), body.get("port_id")
    if not subnet_id and not port_id:
        raise refusals.bad_request("router", "Either subnet_id or port_id must be specified")
    leg = _leg(tx, row, subnet_id, port_id)
    own = [each.subnet_id for each in fixed_ips.of_ports(tx, [leg.id])[leg.id]]
    gone = [subnet_id] if subnet_id and not port_id else own
    for each in gone:
        _require_subnet_unused(tx, row, subnets.find(tx, each))
    if len(gone) < len(own):
        tx.delete(
            port_address, port_address.c.port_id == leg.id, port_address.c.subnet_id.in_(gone)
        )
        records.bump(tx, port, leg.id)
    else:
        tx.delete(router_interface, router_interface.c.port_id == leg.id)
        ports.remove(ctx, tx, leg)
    records.bump(tx, router, row.id)
    presence.touch(tx, presence.ROUTER, [row.id])
    presence.collect(tx, [row.host])
    return interface_view(row, leg, gone)


def _leg(tx: Tx, row: Any, subnet_id: str | None, port_id: str | None) -> Any:
    statement = (
        sa.select(port)
        .join(router_interface, router_interface.c.port_id == port.c.id)
        .where(router_interface.c.router_id == row.id)
    )
    if port_id:
        leg = tx.first(statement.where(port.c.id == port_id))
        if leg is None:
            raise refusals.not_found("RouterInterface", "").__class__(
                message=f"Router {row.id} does not have an interface with id {port_id}",
                code="RouterInterfaceNotFound",
            )
        has = {each.subnet_id for each in fixed_ips.of_ports(tx, [leg.id])[leg.id]}
        if subnet_id and subnet_id not in has:
            raise refusals.conflict(
                "SubnetMismatchForPort",
                f"Subnet on port {port_id} does not match the requested subnet {subnet_id}.",
            )
        return leg
    subnets.find(tx, str(subnet_id))
    leg = tx.first(
        statement.join(port_address, port_address.c.port_id == port.c.id).where(
            port_address.c.subnet_id == subnet_id
        )
    )
    if leg is None:
        raise refusals.not_found("RouterInterface", "").__class__(
            message=f"Router {row.id} has no interface on subnet {subnet_id}",
            code="RouterInterfaceNotFoundForSubnet",
        )
    return leg


def _require_subnet_unused(tx: Tx, row: Any, of: Any) -> None:
    """No floating IP and no route may need the leg."""
    cidr = ipaddress.ip_network(of.cidr)
    used = tx.all(
        sa.select(floating_ip.c.fixed_ip_address)
        .join(
            port_address,
            sa.and_(
                port_address.c.port_id == floating_ip.c.port_id,
                port_address.c.ip == floating_ip.c.fixed_ip_address,
            ),
        )
        .where(floating_ip.c.router_id == row.id, port_address.c.subnet_id == of.id)
    )
    if used:
        raise refusals.conflict(
            "RouterInterfaceInUseByFloatingIP",
            f"Router interface for subnet {of.id} on router "
            f"{row.id} cannot be deleted, as it is required by one or more floating IPs.",
        )
    for route in row.routes:
        next_hop = ipaddress.ip_address(route["nexthop"])
        if next_hop.version == cidr.version and next_hop in cidr:
            raise refusals.conflict(
                "RouterInterfaceInUseByRoute",
                f"Router interface for subnet {of.id} on router "
                f"{row.id} cannot be deleted, as it is required by one or more routes.",
            )


# --- Routes ----------------------------------------------------------------------------------


def checked_routes(tx: Tx, router_id: str, routes: Sequence[dict[str, str]]) -> list[Any]:
    """Static routes whose next hop lies in a subnet of the router and is not the router."""
    if len(routes) > MAX_ROUTES:
        raise refusals.invalid(
            f"Unable to complete operation for {router_id}. The number of "
            f"routes exceeds the maximum {MAX_ROUTES}.",
            "RoutesExhausted",
        )
    connected = [ipaddress.ip_network(each.cidr) for each in leg_subnets(tx, router_id)]
    ids = [leg.id for leg in leg_ports(tx, router_id)]
    own = {
        row.ip
        for row in tx.all(sa.select(port_address.c.ip).where(port_address.c.port_id.in_(ids)))
    }
    seen = []
    for route in routes:
        addresses.parse_network(route["destination"], "routes")
        next_hop = addresses.parse_address(route["nexthop"], "routes")
        why = (
            "the nexthop is used by router"
            if str(next_hop) in own
            else ""
            if any(each.version == next_hop.version and next_hop in each for each in connected)
            else "the nexthop is not connected with router"
        )
        if why:
            raise refusals.invalid(
                f"Invalid format for routes: {list(routes)}, {why}", "InvalidRoutes"
            )
        entry = {"destination": route["destination"], "nexthop": route["nexthop"]}
        if entry in seen:
            raise refusals.malformed(
                f"Invalid input for routes. Reason: Duplicate hostroute '{entry}'."
            )
        seen.append(entry)
    return seen


def change_routes(
    ctx: Who, tx: Tx, row: Any, *, add: Sequence[Any] = (), remove: Sequence[Any] = ()
) -> None:
    """Add and remove single routes; what is there already, or not, makes no difference."""
    tx.lock("network", "router", row.id)
    row = find(tx, row.id)

    def key(route: dict[str, str]) -> tuple[Any, Any]:
        return (
            addresses.parse_network(route["destination"], "routes"),
            addresses.parse_address(route["nexthop"], "routes"),
        )

    gone = {key(route) for route in remove}
    kept = [route for route in row.routes if key(route) not in gone]
    have = {key(route) for route in kept}
    kept += [route for route in add if key(route) not in have]
    records.change(ctx, tx, router, row, routes=checked_routes(tx, row.id, kept))
    presence.touch(tx, presence.ROUTER, [row.id])
