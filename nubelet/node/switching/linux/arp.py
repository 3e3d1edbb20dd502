"""Gratuitous ARP: tell the neighbours of an external network where an address is now.

Sent as request and as reply, as hosts differ in what they learn from (RFC 5227 section 3).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

_BROADCAST = b"\xff" * 6
_REQUEST, _REPLY = 1, 2


def gratuitous(mac: str, ip: str, operation: int) -> bytes:
    """An Ethernet frame in which an address announces itself."""
    hardware, address = bytes.fromhex(mac.replace(":", "")), socket.inet_aton(ip)
    target = bytes(6) if operation == _REQUEST else _BROADCAST
    header = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return _BROADCAST + hardware + b"\x08\x06" + header + hardware + address + target + address


def announce(device: str, mac: str, addresses: Iterable[str]) -> None:
    """Announce IPv4 addresses on a device of the calling thread's namespace."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((device, 0))
        for address in addresses:
            wire.send(gratuitous(mac, address, _REQUEST))
            wire.send(gratuitous(mac, address, _REPLY))
