"""Subnets: address ranges of networks, with their pools, gateway, routes and IPv6 modes.

Read next: `addresses.py` (the arithmetic), `dhcp.py` (who serves them), `ports.py`.
In OpenStack: neutron/db/db_base_plugin_v2.py create_subnet.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.fields import UNSET
from nubelet.kernel.ids import new_uuid
from nubelet.network import (
    addresses,
    allocation,
    dhcp,
    networks,
    presence,
    records,
    refusals,
    subnet_pools,
)
from nubelet.network.addresses import IpNetwork, Pool
from nubelet.network.model import network, port, port_address, router_interface, subnet
from nubelet.network.quotas import quotas

AUTOMATIC = ("slaac", "dhcpv6-stateless")
MAX_NAMESERVERS = 5
MAX_HOST_ROUTES = 20
ROUTER_LEGS = ("network:router_interface", "network:router_gateway")


def is_automatic(row: Any) -> bool:
    """Do hosts of this subnet make their address of their MAC address?"""
    return row.ipv6_address_mode in AUTOMATIC or row.ipv6_ra_mode in AUTOMATIC


def find(tx: Tx, subnet_id: str) -> Any:
    """The row of a subnet; raises SubnetNotFound."""
    row = tx.first(sa.select(subnet).where(subnet.c.id == subnet_id))
    if row is None:
        raise refusals.not_found("Subnet", subnet_id)
    return row


def visible(ctx: Context) -> sa.ColumnElement[bool] | None:
    """Which subnets the caller may know of: own ones, and those of visible networks."""
    condition = networks.visible(ctx)
    if condition is None:
        return None
    return sa.or_(
        subnet.c.project_id == ctx.project_id,
        subnet.c.network_id.in_(sa.select(network.c.id).where(condition)),
    )


def of_network(tx: Tx, network_id: str) -> Sequence[Any]:
    """The subnets of a network, oldest first."""
    return tx.all(
        sa.select(subnet)
        .where(subnet.c.network_id == network_id)
        .order_by(subnet.c.created_at, subnet.c.id)
    )


def create(ctx: Context, tx: Tx, values: dict[str, Any]) -> str:
    """Insert a subnet with its pools; returns its id. What is UNSET is chosen here."""
    quotas(ctx).require(tx, values["project_id"], subnet=1)
    of = networks.find_visible(ctx, tx, values["network_id"])
    networks.lock(tx, of.id)
    cidr = _cidr(ctx, tx, values)
    _check_form(values, cidr, of)
    _check_overlap(tx, of, cidr)
    gateway = _gateway(values.get("gateway_ip", UNSET), cidr)
    pools = _pools(values.get("allocation_pools", UNSET), cidr, gateway)
    values = {**values, "cidr": str(cidr), "gateway_ip": gateway}
    subnet_id = records.insert(ctx, tx, subnet, **values)
    allocation.replace_ranges(tx, subnet_id, pools, new_uuid)
    row = find(tx, subnet_id)
    if is_automatic(row):
        _give_automatic_addresses(tx, row)
    if row.enable_dhcp:
        dhcp.serve_subnet(ctx, tx, of, row)
    networks.resend(tx, of.id)
    return subnet_id


def update(ctx: Context, tx: Tx, row: Any, changes: dict[str, Any]) -> None:
    """Change attributes of a subnet."""
    networks.lock(tx, row.network_id)
    cidr = ipaddress.ip_network(row.cidr)
    after = {**row._mapping, **changes}
    _check_modes(after, cidr)
    _check_lists(after)
    pools_given = changes.get("allocation_pools", UNSET)
    if "gateway_ip" in changes and changes["gateway_ip"] != row.gateway_ip:
        _require_gateway_free(tx, row)
        changes["gateway_ip"] = after["gateway_ip"] = _gateway(changes["gateway_ip"], cidr)
    pools = (
        addresses.read_pools(pools_given, cidr)
        if pools_given is not UNSET
        else [
            Pool(ipaddress.ip_address(each.first), ipaddress.ip_address(each.last))
            for each in allocation.ranges_of(tx, [row.id])[row.id]
        ]
    )
    if "gateway_ip" in changes or pools_given is not UNSET:
        _require_gateway_outside(after["gateway_ip"], pools)
    if pools_given is not UNSET:
        allocation.replace_ranges(tx, row.id, pools, new_uuid)
        records.bump(tx, subnet, row.id)
    records.change(ctx, tx, subnet, row, **changes)
    if changes.get("enable_dhcp", row.enable_dhcp) != row.enable_dhcp:
        of = networks.find(tx, row.network_id)
        if changes["enable_dhcp"]:
            dhcp.serve_subnet(ctx, tx, of, find(tx, row.id))
        else:
            dhcp.leave_subnet(ctx, tx, row)
    networks.resend(tx, row.network_id)


def delete(ctx: Context, tx: Tx, row: Any) -> None:
    """Remove a subnet that no port needs. Addresses that hosts made for themselves, and those of
    the DHCP service, go with it."""
    networks.lock(tx, row.network_id)
    used = tx.all(
        sa.select(port.c.id, port.c.device_owner)
        .join(port_address, port_address.c.port_id == port.c.id)
        .where(port_address.c.subnet_id == row.id)
    )
    for each in used:
        if each.device_owner == networks.DHCP_OWNER:
            continue
        if each.device_owner in ROUTER_LEGS or not is_automatic(row):
            raise refusals.subnet_in_use(
                row.id, "One or more ports have an IP allocation from this subnet"
            )
    dhcp.leave_subnet(ctx, tx, row)
    tx.delete(port_address, port_address.c.subnet_id == row.id)
    allocation.replace_ranges(tx, row.id, [], new_uuid)
    records.remove(ctx, tx, subnet, row)
    networks.resend(tx, row.network_id)


# --- Choosing and checking -------------------------------------------------------------------


def _cidr(ctx: Context, tx: Tx, values: dict[str, Any]) -> IpNetwork:
    """The range of a new subnet: as given, or from a subnet pool."""
    given, pool_id = values.get("cidr"), values.get("subnetpool_id")
    if values.pop("use_default_subnetpool", False):
        if pool_id:
            raise refusals.malformed(
                "subnetpool_id and use_default_subnetpool cannot both be specified"
            )
        pool_id = subnet_pools.default_pool(ctx, tx, values["ip_version"])
    prefix_length = values.pop("prefixlen", None)
    if pool_id and pool_id != subnet_pools.PREFIX_DELEGATION:
        values["subnetpool_id"] = pool_id
        cidr = subnet_pools.allocate(ctx, tx, pool_id, values, given, prefix_length)
    elif given is None:
        raise refusals.malformed("A cidr must be specified in the absence of a subnet pool")
    elif prefix_length is not None:
        raise refusals.malformed("allocation by prefix length needs a subnet pool")
    else:
        cidr = addresses.parse_network(given)
    if cidr.version != values["ip_version"]:
        raise refusals.invalid(
            f"cidr: '{cidr}' does not match the ip_version '{values['ip_version']}'"
        )
    return cidr


def _check_form(values: dict[str, Any], cidr: IpNetwork, of: Any) -> None:
    if cidr.prefixlen == 0:
        raise refusals.invalid("0 is not allowed as CIDR prefix length")
    if cidr.is_multicast or cidr.is_loopback or (cidr.version == 6 and cidr.is_link_local):
        raise refusals.invalid(f"{cidr} is not a range of unicast addresses for hosts")
    if values["enable_dhcp"] and cidr.prefixlen > cidr.max_prefixlen - 2:
        raise refusals.invalid(
            "Subnet has a prefix length that is incompatible with DHCP service enabled"
        )
    if cidr.version == 6 and of.mtu < 1280:
        raise refusals.conflict(
            "NetworkMTUSubnetConflict",
            f"IPv6 needs an MTU of at least 1280, network {of.id} has {of.mtu}.",
        )
    _check_modes(values, cidr)
    _check_lists(values)


def _check_modes(values: dict[str, Any], cidr: IpNetwork) -> None:
    """RFC 4861 and 4862: who announces, and who makes addresses."""
    ra_mode, address_mode = values.get("ipv6_ra_mode"), values.get("ipv6_address_mode")
    if not ra_mode and not address_mode:
        return
    if cidr.version == 4:
        raise refusals.invalid(
            "ipv6_ra_mode and ipv6_address_mode are not valid when ip_version is 4"
        )
    if not values["enable_dhcp"]:
        raise refusals.invalid(
            "ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False"
        )
    if ra_mode and address_mode and ra_mode != address_mode:
        raise refusals.invalid(
            f"ipv6_ra_mode set to '{ra_mode}' with ipv6_address_mode set to '{address_mode}' is "
            "not valid. If both attributes are set, they must be the same value"
        )
    if (ra_mode in AUTOMATIC or address_mode in AUTOMATIC) and cidr.prefixlen != 64:
        raise refusals.invalid(
            f"Invalid CIDR {cidr} for IPv6 address mode. Addresses made of MAC "
            "addresses (EUI-64) require the prefix to be /64"
        )


def _check_lists(values: dict[str, Any]) -> None:
    servers, routes = values["dns_nameservers"] or [], values["host_routes"] or []
    if len(servers) > MAX_NAMESERVERS:
        raise refusals.invalid(
            f"The number of DNS nameservers exceeds the limit {MAX_NAMESERVERS}",
            "DNSNameServersExhausted",
        )
    if len(set(servers)) != len(servers):
        raise refusals.malformed("Invalid input for dns_nameservers. Reason: Duplicate nameserver.")
    for each in servers:
        addresses.parse_address(each, "dns_nameservers")
    if len(routes) > MAX_HOST_ROUTES:
        raise refusals.invalid(
            f"The number of host routes exceeds the limit {MAX_HOST_ROUTES}", "HostRoutesExhausted"
        )
    for each in routes:
        destination = addresses.parse_network(each["destination"], "host_routes")
        next_hop = addresses.parse_address(each["nexthop"], "host_routes")
        if destination.version != values["ip_version"] or next_hop.version != destination.version:
            raise refusals.invalid(
                f"host route {each['destination']} via {each['nexthop']} does "
                "not match the ip_version of the subnet"
            )


def _check_overlap(tx: Tx, of: Any, cidr: IpNetwork) -> None:
    others = [ipaddress.ip_network(each.cidr) for each in of_network(tx, of.id)]
    if addresses.overlapping(others, cidr) is not None:
        raise refusals.invalid(
            f"Requested subnet with cidr: {cidr} for network: {of.id} overlaps with another subnet"
        )


def _gateway(given: Any, cidr: IpNetwork) -> str | None:
    if given is UNSET:
        return addresses.default_gateway(cidr)
    if given is None:
        return None
    gateway = addresses.parse_address(given, "gateway_ip")
    if gateway.version != cidr.version:
        raise refusals.invalid(f"gateway_ip '{gateway}' does not match the ip_version of {cidr}")
    if gateway in cidr and gateway not in addresses.usable(cidr):
        raise refusals.invalid(f"Gateway {gateway} is not valid on subnet {cidr}")
    return str(gateway)


def _pools(given: Any, cidr: IpNetwork, gateway: str | None) -> list[Pool]:
    if given is UNSET:
        return addresses.default_pools(cidr, gateway)
    pools = addresses.read_pools(given, cidr)
    _require_gateway_outside(gateway, pools)
    return pools


def _require_gateway_outside(gateway: str | None, pools: Sequence[Pool]) -> None:
    if gateway is None:
        return
    address = ipaddress.ip_address(gateway)
    for pool in pools:
        if address in pool:
            raise refusals.conflict(
                "GatewayConflictWithAllocationPools",
                f"Gateway ip {gateway} conflicts with allocation pool {pool.first}-{pool.last}.",
            )


def _require_gateway_free(tx: Tx, row: Any) -> None:
    """A gateway address that a router holds cannot be taken from under it."""
    if row.gateway_ip is None:
        return
    holder = tx.scalar(
        sa.select(port_address.c.port_id)
        .join(router_interface, router_interface.c.port_id == port_address.c.port_id)
        .where(port_address.c.subnet_id == row.id, port_address.c.ip == row.gateway_ip)
    )
    if holder:
        raise refusals.conflict(
            "GatewayIpInUse",
            f"Current gateway ip {row.gateway_ip} already in "
            f"use by port {holder}. Unable to update.",
        )


def _give_automatic_addresses(tx: Tx, row: Any) -> None:
    """Ports that are on the network already make themselves an address of the new subnet."""
    cidr = ipaddress.ip_network(row.cidr)
    found = tx.all(
        sa.select(port.c.id, port.c.mac_address).where(
            port.c.network_id == row.network_id,
            port.c.device_owner.not_in((*ROUTER_LEGS, networks.DHCP_OWNER)),
        )
    )
    if found:
        tx.insert(
            port_address,
            *(
                {
                    "port_id": each.id,
                    "subnet_id": row.id,
                    "position": 100,
                    "ip": addresses.eui64(cidr, each.mac_address),
                    "range_id": None,
                    "range_index": None,
                }
                for each in found
            ),
        )
    presence.touch(tx, presence.PORT, [each.id for each in found])
