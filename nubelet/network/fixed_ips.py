"""The addresses of ports: chosen, stored, replaced.

A user may name a subnet, an address, both, or nothing: then a port gets one address of each IP
version that the network has, and all addresses that its host will make for itself anyway.

Read next: `allocation.py`.
In OpenStack: neutron/db/ipam_pluggable_backend.py.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.database import Tx
from nubelet.network import addresses, allocation, refusals
from nubelet.network.allocation import Allocation
from nubelet.network.model import port_address, subnet
from nubelet.network.records import among

AUTOMATIC = ("slaac", "dhcpv6-stateless")
ROUTER_PORTS = ("network:router_interface", "network:router_gateway")
FixedIps = Sequence[dict[str, str]]


def of_ports(tx: Tx, port_ids: Sequence[str]) -> dict[str, list[Any]]:
    """The addresses of ports, in the order they were given."""
    found: dict[str, list[Any]] = {identifier: [] for identifier in port_ids}
    if port_ids:
        for row in tx.all(
            sa.select(port_address)
            .where(port_address.c.port_id.in_(port_ids))
            .order_by(port_address.c.port_id, port_address.c.position)
        ):
            found[row.port_id].append(row)
    return found


def brief(tx: Tx, port_ids: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """(subnet id, address) of ports, in the order they were given: what the API shows."""
    found: dict[str, list[tuple[str, str]]] = {identifier: [] for identifier in port_ids}
    c = port_address.c
    rows: Sequence[Any] = tx.all(
        sa.select(c.port_id, c.subnet_id, c.ip)
        .where(among(tx, c.port_id, port_ids))
        .order_by(c.position)
    )
    for port_id, subnet_id, ip in rows:
        found[port_id].append((subnet_id, ip))
    return found


def choose(
    tx: Tx, of: Any, asked: FixedIps | None, mac: str, device_owner: str, have: Collection[str] = ()
) -> list[Allocation]:
    """Addresses for a port of network `of`. `asked` None: what a port gets by itself; empty: none.

    `have`: ids of subnets in which the port has its own address already. The caller holds the
    network's lock and stores what comes back in the same transaction.
    """
    if asked is not None and not asked and not have:
        return []
    rows = _candidates(tx, of.id, device_owner)
    is_router = device_owner in ROUTER_PORTS
    found: list[Allocation] = []
    if asked is None:
        found = _by_itself(tx, of, rows)
    for each in asked or ():
        one = _asked(tx, of, each, mac, is_router)
        if any(other.ip == one.ip for other in found):
            raise refusals.invalid(f"Duplicate IP address '{one.ip}'")
        found.append(one)
    if not is_router:  # hosts make themselves these addresses whether they are asked for or not
        covered = {each.subnet_id for each in found} | set(have)
        found += [
            _automatic(tx, of, row, mac)
            for row in rows
            if _is_automatic(row) and row.id not in covered
        ]
    return found


def store(tx: Tx, port_id: str, chosen: Sequence[Allocation], first_position: int = 0) -> None:
    """Give a port what was chosen."""
    if chosen:
        tx.insert(
            port_address,
            *(
                {
                    "port_id": port_id,
                    "subnet_id": each.subnet_id,
                    "ip": each.ip,
                    "position": first_position + number,
                    "range_id": each.range_id,
                    "range_index": each.range_index,
                }
                for number, each in enumerate(chosen)
            ),
        )


def replace(tx: Tx, of: Any, row: Any, asked: FixedIps, mac: str, device_owner: str) -> bool:
    """Give a port other addresses; what stays is kept as it is. True when something changed."""
    present = of_ports(tx, [row.id])[row.id]
    kept, new = _matched(present, asked)
    if asked and device_owner not in ROUTER_PORTS:
        automatic = {
            each.id for each in _candidates(tx, of.id, device_owner) if _is_automatic(each)
        }
        kept += [have for have in present if have.subnet_id in automatic and have not in kept]
    gone = [have for have in present if have not in kept]
    for have in gone:
        tx.delete(
            port_address, port_address.c.subnet_id == have.subnet_id, port_address.c.ip == have.ip
        )
    chosen = choose(tx, of, new, mac, device_owner, {have.subnet_id for have in kept})
    store(
        tx, row.id, chosen, first_position=max((have.position + 1 for have in present), default=0)
    )
    return bool(gone or chosen)


def remake(tx: Tx, of: Any, row: Any, mac: str) -> None:
    """A port has another MAC address: what its host made of the old one is made anew."""
    own = {each.subnet_id: each for each in of_ports(tx, [row.id])[row.id]}
    for each in tx.all(sa.select(subnet).where(subnet.c.network_id == of.id)):
        if each.id in own and _is_automatic(each):
            tx.delete(
                port_address,
                port_address.c.subnet_id == each.id,
                port_address.c.ip == own[each.id].ip,
            )
            store(tx, row.id, [_automatic(tx, of, each, mac)], own[each.id].position)


def _matched(present: Sequence[Any], asked: FixedIps) -> tuple[list[Any], list[dict[str, str]]]:
    """The present addresses that were asked for again, and what else was asked for."""
    left, kept, new = list(present), [], []
    for each in asked:
        match = next((have for have in left if _fits(have, each)), None)
        if match is None:
            new.append(each)
        else:
            left.remove(match)
            kept.append(match)
    return kept, new


def _fits(have: Any, asked: dict[str, str]) -> bool:
    ip, subnet_id = asked.get("ip_address"), asked.get("subnet_id")
    return (ip is None or str(addresses.parse_address(ip)) == have.ip) and (
        subnet_id is None or subnet_id == have.subnet_id
    )


def _is_automatic(row: Any) -> bool:
    return row.ipv6_address_mode in AUTOMATIC or row.ipv6_ra_mode in AUTOMATIC


_SUBNETS_OF = (
    sa.select(subnet)
    .where(subnet.c.network_id == sa.bindparam("network_id"))
    .order_by(subnet.c.created_at, subnet.c.id)
)


def _candidates(tx: Tx, network_id: str, device_owner: str) -> list[Any]:
    """The subnets of a network that serve this kind of device."""
    rows = tx.all(_SUBNETS_OF, network_id=network_id)
    matching = [
        row
        for row in rows
        if device_owner and any(device_owner.startswith(kind) for kind in row.service_types)
    ]
    return matching or [row for row in rows if not row.service_types]


def _by_itself(tx: Tx, of: Any, rows: Sequence[Any]) -> list[Allocation]:
    found = []
    for version in (4, 6):
        group = [row for row in rows if row.ip_version == version and not _is_automatic(row)]
        if not group:
            continue
        for row in group:
            free = allocation.next_free(tx, row.id)
            if free is not None:
                found.append(free)
                break
        else:
            raise refusals.no_more_addresses(of.id)
    return found


def _asked(tx: Tx, of: Any, asked: dict[str, str], mac: str, is_router: bool) -> Allocation:
    ip, subnet_id = asked.get("ip_address"), asked.get("subnet_id")
    if not ip and not subnet_id:
        raise refusals.malformed(
            "Invalid input for fixed_ips. Reason: IP allocation requires subnet_id or ip_address."
        )
    row = _subnet_by_id(tx, of, subnet_id) if subnet_id else _subnet_of_address(tx, of, str(ip))
    if ip is None:
        if _is_automatic(row) and not is_router:
            return _automatic(tx, of, row, mac)
        free = allocation.next_free(tx, row.id)
        if free is None:
            raise refusals.no_more_addresses(of.id, row.id)
        return free
    return _exactly(tx, of, row, ip, mac, is_router)


def _exactly(tx: Tx, of: Any, row: Any, ip: str, mac: str, is_router: bool) -> Allocation:
    address, cidr = addresses.parse_address(ip), ipaddress.ip_network(row.cidr)
    if address not in addresses.usable(cidr) if address.version == cidr.version else True:
        raise refusals.invalid(
            f"IP address {address} is not a valid IP for the specified subnet.",
            "InvalidIpForSubnet",
        )
    if _is_automatic(row) and not is_router and str(address) != addresses.eui64(cidr, mac):
        raise refusals.invalid(
            f"IPv6 address {address} cannot be directly assigned to a port on subnet {row.id} as "
            "the subnet is configured for automatic addresses",
            "AllocationOnAutoAddressSubnet",
        )
    _require_unused(tx, of, row.id, str(address))
    return allocation.place(tx, row.id, str(address))


def _automatic(tx: Tx, of: Any, row: Any, mac: str) -> Allocation:
    ip = addresses.eui64(ipaddress.ip_network(row.cidr), mac)
    _require_unused(tx, of, row.id, ip)
    return Allocation(row.id, ip)


def _require_unused(tx: Tx, of: Any, subnet_id: str, ip: str) -> None:
    if allocation.owner(tx, subnet_id, ip) is not None:
        raise refusals.address_in_use(of.id, ip)


def _subnet_by_id(tx: Tx, of: Any, subnet_id: str) -> Any:
    row = tx.first(sa.select(subnet).where(subnet.c.id == subnet_id))
    if row is None:
        raise refusals.not_found("Subnet", subnet_id)
    if row.network_id != of.id:
        raise refusals.invalid(
            f"Failed to create port on network {of.id}, because fixed_ips "
            f"included invalid subnet {subnet_id}"
        )
    return row


def _subnet_of_address(tx: Tx, of: Any, ip: str) -> Any:
    address = addresses.parse_address(ip)
    for row in tx.all(sa.select(subnet).where(subnet.c.network_id == of.id)):
        cidr = ipaddress.ip_network(row.cidr)
        if cidr.version == address.version and address in cidr:
            return row
    raise refusals.invalid(
        f"IP address {address} is not a valid IP for any of the subnets on the specified network.",
        "InvalidIpForNetwork",
    )
