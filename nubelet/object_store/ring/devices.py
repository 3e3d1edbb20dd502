"""A device of a ring: a disk of a storage node, where it is, and how much it should hold.

Written as operators of Swift write it: `r<region>z<zone>-<ip>:<port>/<device>_<meta>`, with
`R<ip>:<port>` before the slash where replication has a network of its own.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

_SYNTAX = re.compile(
    r"(?:r(?P<region>\d+))?(?:z(?P<zone>\d+))?"
    r"(?:-?(?P<ip>\[[0-9A-Fa-f:]+\]|[0-9A-Za-z][0-9A-Za-z.-]*)(?::(?P<port>\d+))?)?"
    r"(?:R(?P<replication_ip>\[[0-9A-Fa-f:]+\]|[0-9A-Za-z.-]+)(?::(?P<replication_port>\d+))?)?"
    r"(?:/(?P<device>[0-9A-Za-z.-]+))?(?:_(?P<meta>.*))?"
)
_ID = re.compile(r"d(\d+)")
_NAME = re.compile(r"[0-9A-Za-z.-]+")


class DeviceSyntaxError(ValueError):
    """What was written is no device, or no search for one."""


class Device(msgspec.Struct, kw_only=True, frozen=True):
    """A disk. `weight` is in proportion to its size; 0 drains it."""

    id: int
    region: int
    zone: int
    ip: str
    port: int
    device: str
    weight: float
    meta: str = ""
    replication_ip: str = ""
    replication_port: int = 0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.device) or self.device in (".", ".."):
            raise DeviceSyntaxError(f"{self.device!r} is no name of a device")
        if not 0 < self.port < 65536 or not 0 <= self.replication_port < 65536:
            raise DeviceSyntaxError("a port is between 1 and 65535")
        if not 0 <= self.weight < float("inf"):
            raise DeviceSyntaxError("a weight is a number from 0 up")
        if self.region < 0 or self.zone < 0:
            raise DeviceSyntaxError("regions and zones are numbers from 0 up")

    @property
    def tiers(self) -> tuple[tuple[object, ...], ...]:
        """The failure domains that it lies in, the widest first: region, zone, server, itself."""
        return (
            (self.region,),
            (self.region, self.zone),
            (self.region, self.zone, self.ip),
            (self.region, self.zone, self.ip, self.id),
        )

    @property
    def peer(self) -> tuple[str, int]:
        """Where other storage nodes reach its server."""
        return self.replication_ip or self.ip, self.replication_port or self.port

    def __str__(self) -> str:
        ip = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"d{self.id}r{self.region}z{self.zone}-{ip}:{self.port}/{self.device}"


def parse_device(text: str) -> dict[str, Any]:
    """The fields of a device to add, as written; region 1 when none is named.

    Raises DeviceSyntaxError.
    """
    fields = parse_search(text)
    missing = [name for name in ("zone", "ip", "port", "device") if name not in fields]
    if missing or "id" in fields:
        raise DeviceSyntaxError(
            f"{text!r}: write r<region>z<zone>-<ip>:<port>/<device>"
            + (f" ({', '.join(missing)} missing)" if missing else "")
        )
    return {"region": 1, **fields}


def parse_search(text: str) -> dict[str, Any]:
    """The fields to look for: `d3`, `z2`, `r1z2`, `10.0.0.1`, `10.0.0.1:6200/sdb`, `/sdb`, `_meta`.

    Raises DeviceSyntaxError.
    """
    by_id = _ID.fullmatch(text)
    if by_id:
        return {"id": int(by_id[1])}
    match = _SYNTAX.fullmatch(text)
    fields: dict[str, Any] = {
        name: value for name, value in (match.groupdict() if match else {}).items() if value
    }
    if not fields:
        raise DeviceSyntaxError(f"{text!r} names no device")
    for name in ("region", "zone", "port", "replication_port"):
        if name in fields:
            fields[name] = int(fields[name])
    for name in ("ip", "replication_ip"):
        if name in fields:
            fields[name] = fields[name].strip("[]").lower()
    return fields
