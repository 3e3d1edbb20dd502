"""Arithmetic of addresses: pools, overlaps, EUI-64, MAC addresses. No database here.

Read next: `allocation.py`, which gives addresses out.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
import secrets
from collections.abc import Iterable, Sequence

from nubelet.network import refusals

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

MAC_PREFIX = "fa:16:3e"
# Of a pool larger than this, only the first so many addresses are chosen by us.
MAX_POOL = 2**62
_MAC = re.compile(r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")


class Pool:
    """An allocation pool: all addresses from `first` to `last`."""

    __slots__ = ("first", "last")

    def __init__(self, first: IpAddress, last: IpAddress) -> None:
        self.first, self.last = first, last

    @property
    def size(self) -> int:
        """How many addresses we may choose from."""
        return min(int(self.last) - int(self.first) + 1, MAX_POOL)

    def index(self, address: IpAddress) -> int | None:
        """The place of an address in the pool; None outside, and beyond what we choose from."""
        if address.version != self.first.version:
            return None
        index = int(address) - int(self.first)
        return index if 0 <= index < self.size else None

    def at(self, index: int) -> str:
        """The address at a place."""
        return str(self.first + index)

    def __contains__(self, address: IpAddress) -> bool:
        return int(self.first) <= int(address) <= int(self.last)


def parse_address(text: str, name: str = "ip_address") -> IpAddress:
    """An address; 400 naming the attribute."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise refusals.malformed(
            f"Invalid input for {name}. Reason: '{text}' is not a valid IP address."
        ) from None


def parse_network(text: str, name: str = "cidr") -> IpNetwork:
    """A CIDR; host bits are cut off. 400 naming the attribute."""
    try:
        if "/" not in text:
            raise ValueError
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise refusals.malformed(
            f"Invalid input for {name}. Reason: '{text}' is not a valid IP subnet."
        ) from None


def default_gateway(network: IpNetwork) -> str | None:
    """The gateway of a subnet that does not name one: its second address, if it has two."""
    if network.prefixlen == network.max_prefixlen:
        return None
    return str(network.network_address + 1)


def usable(network: IpNetwork) -> Pool:
    """The addresses that ports may have: without network and broadcast (IPv4 up to /30), and
    without the subnet-router anycast address (IPv6 up to /126)."""
    first, last = network.network_address, network.broadcast_address
    if network.version == 4 and network.prefixlen <= 30:
        return Pool(first + 1, last - 1)
    if network.version == 6 and network.prefixlen <= 126:
        return Pool(first + 1, last)
    return Pool(first, last)


def default_pools(network: IpNetwork, gateway_ip: str | None) -> list[Pool]:
    """All usable addresses but the gateway."""
    whole = usable(network)
    if gateway_ip is None:
        return [whole]
    gateway = ipaddress.ip_address(gateway_ip)
    if gateway not in whole:
        return [whole]
    pools = []
    if gateway > whole.first:  # type: ignore[operator]
        pools.append(Pool(whole.first, gateway - 1))
    if gateway < whole.last:  # type: ignore[operator]
        pools.append(Pool(gateway + 1, whole.last))
    return pools


def read_pools(pools: Sequence[dict[str, str]], network: IpNetwork) -> list[Pool]:
    """Pools as a user gave them; refuses the crooked, the overlapping and the outlying."""
    usable_pool, found = usable(network), []
    for each in pools:
        first = parse_address(each["start"], "allocation_pools")
        last = parse_address(each["end"], "allocation_pools")
        if first.version != network.version or last.version != network.version or last < first:  # type: ignore[operator]
            raise refusals.invalid(
                f"The allocation pool {each['start']}-{each['end']} is not valid.",
                "InvalidAllocationPool",
            )
        if first not in usable_pool or last not in usable_pool:
            raise refusals.invalid(
                f"The allocation pool {each['start']}-{each['end']} spans beyond the subnet cidr "
                f"{network}.",
                "OutOfBoundsAllocationPool",
            )
        found.append(Pool(first, last))
    found.sort(key=lambda pool: int(pool.first))
    for former, latter in itertools.pairwise(found):
        if latter.first <= former.last:  # type: ignore[operator]
            raise refusals.conflict(
                "OverlappingAllocationPools",
                f"Found overlapping allocation pools: {former.first}-{former.last} "
                f"{latter.first}-{latter.last} for subnet {network}.",
            )
    return found


def overlapping(networks: Iterable[IpNetwork], network: IpNetwork) -> IpNetwork | None:
    """The first of `networks` that shares addresses with `network`."""
    for other in networks:
        if other.version == network.version and other.overlaps(network):
            return other
    return None


def eui64(network: IpNetwork, mac: str) -> str:
    """The address that a host gives itself by SLAAC (RFC 4291, appendix A)."""
    parts = [int(part, 16) for part in mac.split(":")]
    parts[0] ^= 0x02
    identifier = int.from_bytes(bytes([*parts[:3], 0xFF, 0xFE, *parts[3:]]), "big")
    return str(ipaddress.IPv6Address(int(network.network_address) + identifier))


def new_mac() -> str:
    """A random MAC address of the range OpenStack uses."""
    tail = secrets.token_bytes(3)
    return f"{MAC_PREFIX}:{tail[0]:02x}:{tail[1]:02x}:{tail[2]:02x}"


def canonical_mac(text: str | None, name: str = "mac_address") -> str:
    """A MAC address in lower case with colons; 400 when it is none, or a group address."""
    mac = (text or "").strip().lower().replace("-", ":")
    if not _MAC.match(mac) or mac == "00:00:00:00:00:00":
        raise refusals.malformed(
            f"Invalid input for {name}. Reason: '{text}' is not a valid MAC address."
        )
    if int(mac[:2], 16) & 1:
        raise refusals.malformed(
            f"Invalid input for {name}. Reason: '{text}' is a multicast MAC address."
        )
    return mac
