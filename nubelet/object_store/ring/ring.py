"""The ring as servers read it: from a name to its devices in about two microseconds.

`hash_path` is MD5, for spreading and not for secrecy; the cluster's prefix and suffix keep tenants
from choosing names that all fall on one device. In OpenStack: swift/common/ring/ring.py.
"""

from __future__ import annotations

import os
import threading
import time
from array import array
from collections.abc import Iterator, Sequence
from hashlib import md5
from pathlib import Path

import msgspec

from nubelet.object_store.ring import files
from nubelet.object_store.ring.devices import Device

NONE = 0xFFFF  # a replica that no device holds

Tables = list["array[int]"]


def hash_path(
    account: str, container: str = "", obj: str = "", *, prefix: bytes = b"", suffix: bytes = b""
) -> str:
    """The 32 hexadecimal digits that an account, container or object is filed under."""
    return _digest(account, container, obj, prefix, suffix).hex()


def _digest(account: str, container: str, obj: str, prefix: bytes, suffix: bytes) -> bytes:
    path = f"/{account}/{container}/{obj}" if obj else f"/{account}/{container}"
    if not container:
        path = f"/{account}"
    return md5(prefix + path.encode() + suffix, usedforsecurity=False).digest()


def partition_of(hashed: str, part_power: int) -> int:
    """The partition of a hash (32 hexadecimal digits)."""
    return int(hashed[:8], 16) >> (32 - part_power)


class RingHeader(msgspec.Struct, kw_only=True, forbid_unknown_fields=False):
    """What a ring file says before its tables."""

    version: int
    part_power: int
    next_part_power: int | None = None
    devices: list[Device]
    table_lengths: list[int]


class Ring:
    """A table of devices. Never changes; a changed file is a new Ring."""

    def __init__(
        self,
        part_power: int,
        devices: Sequence[Device],
        tables: Tables,
        *,
        version: int = 0,
        next_part_power: int | None = None,
        prefix: bytes = b"",
        suffix: bytes = b"",
    ) -> None:
        self.part_power = part_power
        self.next_part_power = next_part_power
        self.version = version
        self.partitions = 1 << part_power
        self.devices = tuple(devices)
        self._shift = 32 - part_power
        self._prefix, self._suffix = prefix, suffix
        self._tables = tables
        self._by_id: list[Device | None] = [None] * (max((d.id for d in devices), default=-1) + 1)
        for device in devices:
            self._by_id[device.id] = device
        self._tier_counts = [
            len({device.tiers[level] for device in devices if device.weight > 0})
            for level in range(4)
        ]

    @classmethod
    def load(cls, path: Path, *, prefix: bytes = b"", suffix: bytes = b"") -> Ring:
        """Read a ring file; raises files.RingFileError."""
        header, tables = files.read(path, files.RING, RingHeader)
        return cls(
            header.part_power,
            header.devices,
            tables,
            version=header.version,
            next_part_power=header.next_part_power,
            prefix=prefix,
            suffix=suffix,
        )

    def save(self, path: Path) -> None:
        """Write a ring file, whole or not at all."""
        header = RingHeader(
            version=self.version,
            part_power=self.part_power,
            next_part_power=self.next_part_power,
            devices=list(self.devices),
            table_lengths=[len(table) for table in self._tables],
        )
        files.write(path, files.RING, header, self._tables)

    @property
    def replicas(self) -> float:
        """How many replicas a partition has, on average."""
        return sum(len(table) for table in self._tables) / self.partitions

    def part(self, account: str, container: str = "", obj: str = "") -> int:
        """The partition of a name."""
        digest = _digest(account, container, obj, self._prefix, self._suffix)
        return int.from_bytes(digest[:4], "big") >> self._shift

    def hash(self, account: str, container: str = "", obj: str = "") -> str:
        """The hash that a name is filed under on its devices."""
        return hash_path(account, container, obj, prefix=self._prefix, suffix=self._suffix)

    def lookup(self, account: str, container: str = "", obj: str = "") -> tuple[int, list[Device]]:
        """The partition of a name and its devices, by replica number."""
        digest = _digest(account, container, obj, self._prefix, self._suffix)
        part = int.from_bytes(digest[:4], "big") >> self._shift
        return part, self.nodes(part)

    def nodes(self, part: int) -> list[Device]:
        """The devices of a partition; the place in the list is the number of the replica."""
        by_id = self._by_id
        try:
            found = [by_id[table[part]] for table in self._tables]
        except IndexError:  # the last table of a fractional ring is short, or a replica is nowhere
            found = [
                by_id[table[part]]
                for table in self._tables
                if part < len(table) and table[part] != NONE
            ]
        return found  # type: ignore[return-value] # tables name only devices that are there

    def handoffs(self, part: int) -> Iterator[Device]:
        """All other devices, in the order in which they stand in for those of `part`.

        First those in regions that have no replica, then zones, servers, and at last any; within
        that from a place in the table that depends on `part`, so that the work of a dead device
        is spread over all and each by its weight. The order is the same on every server.
        """
        primary = self.nodes(part)
        for level in range(4):
            used = {device.tiers[level] for device in primary}
            yield from self._handoffs_in(level, part, primary, used)

    def _handoffs_in(
        self, level: int, part: int, found: list[Device], used: set[tuple[object, ...]]
    ) -> Iterator[Device]:
        want = self._tier_counts[level]
        start = int.from_bytes(md5(str(part).encode(), usedforsecurity=False).digest()[:4], "big")
        by_id, size = self._by_id, self.partitions
        if len(used) >= want:
            return
        for step in range(size):
            place = (start + step) & (size - 1)
            for table in self._tables:
                number = table[place] if place < len(table) else NONE
                device = by_id[number] if number != NONE else None
                if device is None or device.tiers[level] in used:
                    continue
                used.add(device.tiers[level])
                found.append(device)
                yield device
                if len(used) >= want:
                    return

    def device(self, number: int) -> Device | None:
        """A device by its id."""
        return self._by_id[number] if 0 <= number < len(self._by_id) else None

    def partitions_of(self, number: int) -> list[tuple[int, int]]:
        """(partition, replica) of everything that a device holds."""
        return [
            (part, replica)
            for replica, table in enumerate(self._tables)
            for part, holder in enumerate(table)
            if holder == number
        ]


class RingFile:
    """A ring that is read again when its file has changed."""

    def __init__(
        self, path: Path, *, prefix: bytes = b"", suffix: bytes = b"", check_seconds: float = 5.0
    ) -> None:
        self._path, self._prefix, self._suffix = path, prefix, suffix
        self._check_seconds = check_seconds
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._checked = time.monotonic()
        self._ring = self._load()

    @property
    def ring(self) -> Ring:
        """The newest ring there is; the one before where the file cannot be read."""
        if time.monotonic() - self._checked > self._check_seconds and self._lock.acquire(False):
            try:
                self._checked = time.monotonic()
                stamp = self._look()
                if stamp != self._stamp:
                    self._ring, self._stamp = self._load(), stamp
            except (OSError, files.RingFileError):
                pass
            finally:
                self._lock.release()
        return self._ring

    def _load(self) -> Ring:
        return Ring.load(self._path, prefix=self._prefix, suffix=self._suffix)

    def _look(self) -> tuple[int, int]:
        status = os.stat(self._path)
        return status.st_mtime_ns, status.st_ino
