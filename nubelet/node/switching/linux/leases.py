"""Leases that must not outlive their port.

dnsmasq refuses an address to a new MAC while another one holds a lease on it. When a port goes
or changes its addresses, the lease is given back in its name: for IPv4 by the DHCPRELEASE a
well-behaved guest would have sent, put on the wire at the bridge's end of the service's veth; for
IPv6 (where a release needs the guest's DUID) by taking the line out of the lease file.

RFC 2131 section 4.4.6. In OpenStack: dhcp_release from dnsmasq-utils.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

_COOKIE = bytes([99, 130, 83, 99])
_MESSAGE_TYPE, _SERVER_IDENTIFIER, _END = 53, 54, 255
_RELEASE = 7


def release_frame(mac: str, ip: str, server_mac: str, server_ip: str) -> bytes:
    """An Ethernet frame with the DHCPRELEASE of an address."""
    address, server = socket.inet_aton(ip), socket.inet_aton(server_ip)
    hardware = bytes.fromhex(mac.replace(":", ""))
    message = struct.pack(
        "!BBBBIHH4s4s4s4s16s", 1, 1, 6, 0, 1, 0, 0, address, *[bytes(4)] * 3, hardware
    )
    message += bytes(192) + _COOKIE
    message += bytes([_MESSAGE_TYPE, 1, _RELEASE, _SERVER_IDENTIFIER, 4]) + server + bytes([_END])
    message = message.ljust(300, b"\0")
    udp = struct.pack("!HHHH", 68, 67, 8 + len(message), 0) + message
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, address, server)
    header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
    target = bytes.fromhex(server_mac.replace(":", ""))
    return target + hardware + b"\x08\x00" + header + udp


def send(device: str, frames: Iterable[bytes]) -> None:
    """Put frames on a device of the calling thread's namespace."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind((device, 0))
        for frame in frames:
            wire.send(frame)


def without(text: str, addresses: set[str]) -> str:
    """A lease file without the leases of these addresses."""
    return "".join(line for line in text.splitlines(True) if _address(line) not in addresses)


def held(path: Path, version: int) -> set[str]:
    """Addresses of an IP version that have a lease."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return set()
    found = (_address(line) for line in lines)
    return {a for a in found if a and ipaddress.ip_address(a).version == version}


def _address(line: str) -> str:
    words = line.split()
    if len(words) < 3:
        return ""
    try:
        return str(ipaddress.ip_address(words[2]))
    except ValueError:
        return ""


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
