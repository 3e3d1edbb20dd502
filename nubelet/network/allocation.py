"""Giving out addresses, MAC addresses and segments, so that nobody ever gets one twice.

All of it happens inside the transaction that stores the result. A named lock per network makes
two allocations wait for each other (on SQLite the one writer does); unique constraints are the
guarantee behind it. No pool is ever read as a whole: the next free address is found by its
place in the pool, beginning where the last search ended.

In OpenStack: neutron/ipam/drivers/neutrondb_ipam.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.database import Tx
from nubelet.network import refusals
from nubelet.network.addresses import Pool, new_mac
from nubelet.network.model import network, port, port_address, subnet_range

_random = random.SystemRandom()
_near = port_address.alias("near")
_beside = port_address.alias("beside")


@dataclass(frozen=True, slots=True)
class Allocation:
    """An address on its way to a port, and its place in an allocation pool (if it has one)."""

    subnet_id: str
    ip: str
    range_id: str | None = None
    range_index: int | None = None


_RANGES_OF = (
    sa.select(subnet_range)
    .where(subnet_range.c.subnet_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(subnet_range.c.subnet_id, subnet_range.c.position)
)


def ranges_of(tx: Tx, subnet_ids: Sequence[str]) -> dict[str, list[Any]]:
    """The allocation pools of subnets, in order."""
    found: dict[str, list[Any]] = {subnet_id: [] for subnet_id in subnet_ids}
    if subnet_ids:
        for row in tx.all(_RANGES_OF, ids=list(subnet_ids)):
            found[row.subnet_id].append(row)
    return found


def next_free(tx: Tx, subnet_id: str) -> Allocation | None:
    """The next free address of a subnet's pools; None when all are used."""
    for row in ranges_of(tx, [subnet_id])[subnet_id]:
        index = _free_index(tx, row.id, row.next_index, row.size)
        if index is not None:
            tx.update(
                subnet_range,
                subnet_range.c.id == row.id,
                next_index=index + 1 if index + 1 < row.size else 0,
            )
            return Allocation(subnet_id, _pool(row).at(index), row.id, index)
    return None


def place(tx: Tx, subnet_id: str, ip: str) -> Allocation:
    """An address that somebody chose, with its place in the pools."""
    return _placed(ranges_of(tx, [subnet_id])[subnet_id], subnet_id, ip)


def _placed(ranges: Sequence[Any], subnet_id: str, ip: str) -> Allocation:
    address = ipaddress.ip_address(ip)
    for row in ranges:
        index = _pool(row).index(address)
        if index is not None:
            return Allocation(subnet_id, str(address), row.id, index)
    return Allocation(subnet_id, str(address))


def _pool(row: Any) -> Pool:
    return Pool(ipaddress.ip_address(row.first), ipaddress.ip_address(row.last))


def owner(tx: Tx, subnet_id: str, ip: str) -> str | None:
    """The port that has an address."""
    found: str | None = tx.scalar(_OWNER, subnet_id=subnet_id, ip=ip)
    return found


_OWNER = sa.select(port_address.c.port_id).where(
    port_address.c.subnet_id == sa.bindparam("subnet_id"),
    port_address.c.ip == sa.bindparam("ip"),
)


def _free_index(tx: Tx, range_id: str, start: int, size: int) -> int | None:
    """A free place from `start` on, else from the beginning."""
    if start < size and not _used(tx, range_id, start):
        return start
    found = _gap(tx, range_id, start, size)
    if found is None and start > 0:
        found = 0 if not _used(tx, range_id, 0) else _gap(tx, range_id, 0, size)
    return found


def _used(tx: Tx, range_id: str, index: int) -> bool:
    return tx.scalar(_USED, range_id=range_id, index=index) is not None


_USED = sa.select(sa.literal(1)).where(
    port_address.c.range_id == sa.bindparam("range_id"),
    port_address.c.range_index == sa.bindparam("index"),
)


def _gap(tx: Tx, range_id: str, start: int, size: int) -> int | None:
    """The first unused place behind a used one, from `start` on."""
    statement = (
        sa.select(_near.c.range_index + 1)
        .where(
            _near.c.range_id == range_id,
            _near.c.range_index >= start,
            _near.c.range_index < size - 1,
            ~sa.exists().where(
                _beside.c.range_id == range_id, _beside.c.range_index == _near.c.range_index + 1
            ),
        )
        .order_by(_near.c.range_index)
        .limit(1)
    )
    return tx.scalar(statement)  # type: ignore[no-any-return]


def replace_ranges(tx: Tx, subnet_id: str, pools: Sequence[Pool], new_id: Any) -> None:
    """Give a subnet these pools; addresses in use find their new places."""
    tx.delete(subnet_range, subnet_range.c.subnet_id == subnet_id)
    rows = [
        {
            "id": new_id(),
            "subnet_id": subnet_id,
            "position": position,
            "first": str(pool.first),
            "last": str(pool.last),
            "size": pool.size,
            "next_index": 0,
        }
        for position, pool in enumerate(pools)
    ]
    if rows:
        tx.insert(subnet_range, *rows)
    used = tx.all(sa.select(port_address.c.ip).where(port_address.c.subnet_id == subnet_id))
    if not used:
        return
    tx.update(port_address, port_address.c.subnet_id == subnet_id, range_id=None, range_index=None)
    ranges = ranges_of(tx, [subnet_id])[subnet_id]
    found = [_placed(ranges, subnet_id, each.ip) for each in used]
    placed = [
        {"at": each.ip, "place": each.range_id, "number": each.range_index}
        for each in found
        if each.range_id is not None
    ]
    if placed:
        tx.execute(
            sa.update(port_address)
            .where(port_address.c.subnet_id == subnet_id, port_address.c.ip == sa.bindparam("at"))
            .values(range_id=sa.bindparam("place"), range_index=sa.bindparam("number")),
            placed,
        )


def free_mac(tx: Tx, network_id: str) -> str:
    """A MAC address that nobody on the network has."""
    for _ in range(16):
        mac = new_mac()
        if not mac_used(tx, network_id, mac):
            return mac
    raise refusals.conflict(
        "MacAddressGenerationFailure", f"Unable to generate unique mac on network {network_id}."
    )


def mac_used(tx: Tx, network_id: str, mac: str) -> bool:
    """Does a port of the network have this MAC address?"""
    return tx.scalar(_MAC_USED, network_id=network_id, mac=mac) is not None


_MAC_USED = sa.select(sa.literal(1)).where(
    port.c.network_id == sa.bindparam("network_id"), port.c.mac_address == sa.bindparam("mac")
)


def free_vni(tx: Tx, first: int, last: int) -> int:
    """A VXLAN identifier nobody uses. Chosen at random, so that the identifier of a network that
    is just being taken off the nodes does not come back at once."""
    tx.lock("network", "vni")
    vxlan = network.c.network_type == "vxlan"
    tried = [_random.randint(first, last) for _ in range(8)]
    used = {
        row[0]
        for row in tx.all(
            sa.select(network.c.segmentation_id).where(vxlan, network.c.segmentation_id.in_(tried))
        )
    }
    for vni in tried:
        if vni not in used:
            return vni
    taken = {
        row[0]
        for row in tx.all(
            sa.select(network.c.segmentation_id).where(
                vxlan, network.c.segmentation_id.between(first, last)
            )
        )
    }
    for vni in range(first, last + 1):
        if vni not in taken:
            return vni
    raise refusals.no_network(f"All VXLAN identifiers from {first} to {last} are in use.")
