"""What an operator changes: devices, weights, replicas; and the ring that comes of it.

Changes are collected; `rebalance` makes them true in the tables, `ring` makes what servers read.
In OpenStack: swift/common/ring/builder.py and `swift-ring-builder`.
"""

from __future__ import annotations

import math
import time
from array import array
from pathlib import Path
from typing import Any

import msgspec

from nubelet.object_store.ring import files
from nubelet.object_store.ring.devices import Device, parse_search
from nubelet.object_store.ring.dispersion import Dispersion
from nubelet.object_store.ring.placement import NONE, Placement
from nubelet.object_store.ring.ring import Ring
from nubelet.object_store.ring.tiers import Plan

MAX_PART_POWER = 32
_HOUR = 3600


class RingError(ValueError):
    """What was asked of the builder cannot be; says why."""


class Rebalanced(msgspec.Struct, frozen=True):
    """What a rebalance did. `balance`: by how many percent the device that is farthest from its
    weight's share is off; `waiting`: partitions that may not move yet."""

    moved: int
    balance: float
    dispersion: float
    waiting: int


class _State(msgspec.Struct, kw_only=True):
    """The header of a builder file."""

    version: int = 0
    part_power: int
    next_part_power: int | None = None
    replicas: float
    min_part_hours: int
    overload: float = 0.0
    next_id: int = 0
    devices: list[Device] = []
    removed: list[int] = []
    table_lengths: list[int] = []


class RingBuilder:
    """A ring in the making."""

    def __init__(self, part_power: int, replicas: float, min_part_hours: int) -> None:
        """`min_part_hours`: how long a partition that moved stays where it is, which should be
        longer than replication takes. Raises RingError."""
        if not 0 <= part_power <= MAX_PART_POWER:
            raise RingError(f"the partition power is between 0 and {MAX_PART_POWER}")
        if min_part_hours < 0:
            raise RingError("min_part_hours is 0 or more")
        _check_replicas(replicas)
        self._state = _State(
            part_power=part_power, replicas=float(replicas), min_part_hours=min_part_hours
        )
        self._tables: list[array[int]] = []
        self._moved_at: array[int] = array("I", bytes(4 << part_power))

    @classmethod
    def load(cls, path: Path) -> RingBuilder:
        """Read a builder file; raises files.RingFileError."""
        state, tables = files.read(path, files.BUILDER, _State, types="I")
        builder = cls(state.part_power, state.replicas, state.min_part_hours)
        builder._state, builder._moved_at = state, tables.pop()
        builder._tables = tables
        return builder

    def save(self, path: Path) -> None:
        """Write the builder file, whole or not at all."""
        tables = [*self._tables, self._moved_at]
        self._state.table_lengths = [len(table) for table in tables]
        files.write(path, files.BUILDER, self._state, tables)

    # --- What it is -------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """Counts the changes."""
        return self._state.version

    @property
    def part_power(self) -> int:
        """There are 2 to this power partitions."""
        return self._state.part_power

    @property
    def next_part_power(self) -> int | None:
        """What the partition power is being raised to."""
        return self._state.next_part_power

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return 1 << self._state.part_power

    @property
    def replicas(self) -> float:
        """Of each partition; with 2.5, half of the partitions have three."""
        return self._state.replicas

    @property
    def min_part_hours(self) -> int:
        """How long a moved partition stays."""
        return self._state.min_part_hours

    @property
    def overload(self) -> float:
        """By which fraction a device may exceed its weight's share for the sake of dispersion."""
        return self._state.overload

    @property
    def devices(self) -> list[Device]:
        """All devices that were not removed."""
        return [d for d in self._state.devices if d.id not in self._state.removed]

    def held(self) -> dict[int, int]:
        """Device id -> replicas that the tables give it."""
        counts = {device.id: 0 for device in self._state.devices}
        for table in self._tables:
            for holder in table:
                if holder != NONE:
                    counts[holder] += 1
        return counts

    def wanted(self) -> dict[int, float]:
        """Device id -> replicas that its weight alone would give it."""
        if not self.devices or not any(device.weight for device in self.devices):
            return {device.id: 0.0 for device in self.devices}
        plan = self._plan()
        return {number: share * self.partitions for number, share in plan.weighted.items()}

    def balance(self) -> float:
        """By how many percent the worst device is off its weight's share."""
        held, worst = self.held(), 0.0
        for number, share in self.wanted().items():
            if share:
                worst = max(worst, abs(held[number] / share - 1) * 100)
            elif held[number]:
                return 999.99
        return worst

    def dispersion(self) -> Dispersion:
        """How well the replicas are spread over failure domains; raises RingError."""
        self._require_devices()
        return Dispersion.of(self._plan(), self._tables)

    def search(self, text: str) -> list[Device]:
        """Devices by `d3`, `z2`, `10.0.0.1`, `/sdb`...; raises DeviceSyntaxError."""
        wanted = parse_search(text)
        return [
            device
            for device in self.devices
            if all(getattr(device, name) == value for name, value in wanted.items())
        ]

    # --- Changing ---------------------------------------------------------------------------

    def add(self, **fields: Any) -> Device:
        """Add a device (fields of Device but `id`); raises RingError, DeviceSyntaxError."""
        number = self._state.next_id
        if number >= NONE:
            raise RingError("a ring has at most 65,535 devices")
        device = Device(id=number, **fields)
        for other in self.devices:
            same = (other.ip, other.port, other.device) == (device.ip, device.port, device.device)
            if same:
                raise RingError(f"{other} is in the ring already")
        self._state.devices.append(device)
        self._state.next_id += 1
        self._state.version += 1
        return device

    def remove(self, number: int) -> None:
        """Take a device away: its replicas move at the next rebalance, whatever moved before."""
        self._find(number)
        self._state.removed.append(number)
        self._state.version += 1

    def set_weight(self, number: int, weight: float) -> Device:
        """Raises RingError, DeviceSyntaxError."""
        return self.set_info(number, weight=weight)

    def set_info(self, number: int, **fields: Any) -> Device:
        """Change fields of a device; raises RingError, DeviceSyntaxError."""
        old = self._find(number)
        new = msgspec.structs.replace(old, **fields)
        for other in self.devices:
            same = (other.ip, other.port, other.device) == (new.ip, new.port, new.device)
            if same and other.id != number:
                raise RingError(f"{other} is in the ring already")
        self._state.devices[self._state.devices.index(old)] = new
        self._state.version += 1
        return new

    def set_replicas(self, replicas: float) -> None:
        """Raises RingError."""
        _check_replicas(replicas)
        self._state.replicas = float(replicas)
        self._state.version += 1

    def set_overload(self, overload: float) -> None:
        """Raises RingError."""
        if not 0 <= overload < math.inf:
            raise RingError("an overload is a fraction from 0 up, such as 0.1 for 10 %")
        self._state.overload = overload
        self._state.version += 1

    def set_min_part_hours(self, hours: int) -> None:
        """Raises RingError."""
        if hours < 0:
            raise RingError("min_part_hours is 0 or more")
        self._state.min_part_hours = hours
        self._state.version += 1

    def pretend_min_part_hours_passed(self) -> None:
        """Let every partition move at the next rebalance."""
        self._moved_at = array("I", bytes(4 << self._state.part_power))

    def rebalance(self, *, seed: int | None = None, now: float | None = None) -> Rebalanced:
        """Give each replica a device. `now`: seconds since 1970. Raises RingError."""
        self._require_no_increase()
        self._require_devices()
        self._size_tables()
        self._forget_removed()
        hour = int((time.time() if now is None else now) // _HOUR)
        movable = bytearray(hour - moved >= self._state.min_part_hours for moved in self._moved_at)
        waiting = len(movable) - sum(movable)
        placement = Placement(self._plan(), self._tables, movable, seed)
        placement.run()
        for part, _ in placement.moved:
            self._moved_at[part] = hour
        self._state.version += 1
        return Rebalanced(len(placement.moved), self.balance(), self.dispersion().percent, waiting)

    def validate(self) -> None:
        """Raises RingError that names the first thing wrong."""
        self._require_devices()
        if not self._tables:
            raise RingError("the ring was never balanced")
        known = {device.id for device in self.devices}
        for part in range(self.partitions):
            holders = [table[part] for table in self._tables if part < len(table)]
            if NONE in holders:
                raise RingError(f"a replica of partition {part} is on no device")
            if not known.issuperset(holders):
                raise RingError(f"partition {part} is on a device that is not in the ring")
            if len(set(holders)) < len(holders):
                raise RingError(f"partition {part} has two replicas on one device")
        if sum(map(len, self._tables)) != self._slots():
            raise RingError("the number of replicas has changed: rebalance")

    def ring(self, *, prefix: bytes = b"", suffix: bytes = b"") -> Ring:
        """What servers read; raises RingError."""
        self.validate()
        return Ring(
            self._state.part_power,
            self.devices,
            [table[:] for table in self._tables],
            version=self._state.version,
            next_part_power=self._state.next_part_power,
            prefix=prefix,
            suffix=suffix,
        )

    # --- More partitions --------------------------------------------------------------------

    def prepare_increase_partition_power(self) -> None:
        """First step: servers link new objects where both powers look. Raises RingError."""
        if self._state.next_part_power is not None:
            raise RingError("the partition power is being raised already")
        if self._state.part_power >= MAX_PART_POWER:
            raise RingError(f"the partition power is at most {MAX_PART_POWER}")
        self.validate()
        self._state.next_part_power = self._state.part_power + 1
        self._state.version += 1

    def increase_partition_power(self) -> None:
        """Second step, after the relinker: partition p becomes 2p and 2p+1, on the same devices.

        Raises RingError.
        """
        if self._state.next_part_power != self._state.part_power + 1:
            raise RingError("prepare the increase of the partition power first")
        self._tables = [_doubled(table) for table in self._tables]
        self._moved_at = _doubled(self._moved_at)
        self._state.part_power += 1
        self._state.version += 1

    def cancel_increase_partition_power(self) -> None:
        """Instead of the second step. Raises RingError."""
        if self._state.next_part_power != self._state.part_power + 1:
            raise RingError("no increase of the partition power is prepared")
        self._state.next_part_power = None
        self._state.version += 1

    def finish_increase_partition_power(self) -> None:
        """Third step, after the relinker has cleaned up. Raises RingError."""
        if self._state.next_part_power != self._state.part_power:
            raise RingError("the partition power was not raised")
        self._state.next_part_power = None
        self._state.version += 1

    # --- Inside -----------------------------------------------------------------------------

    def _find(self, number: int) -> Device:
        for device in self.devices:
            if device.id == number:
                return device
        raise RingError(f"no device d{number} is in the ring")

    def _plan(self) -> Plan:
        return Plan(self.devices, self._state.replicas, self._slots(), self._state.overload)

    def _slots(self) -> int:
        return sum(self._lengths())

    def _lengths(self) -> list[int]:
        whole = int(self._state.replicas)
        part = round((self._state.replicas - whole) * self.partitions)
        return [self.partitions] * whole + ([part] if part else [])

    def _require_devices(self) -> None:
        have = sum(1 for device in self.devices if device.weight > 0)
        if have < len(self._lengths()):
            raise RingError(
                f"{self._state.replicas:g} replicas need as many devices with a weight: "
                f"there are {have}"
            )

    def _require_no_increase(self) -> None:
        if self._state.next_part_power is not None:
            raise RingError("the partition power is being raised: finish this first")

    def _size_tables(self) -> None:
        lengths = self._lengths()
        del self._tables[len(lengths) :]
        for place, length in enumerate(lengths):
            if place == len(self._tables):
                self._tables.append(array("H", [NONE]) * length)
            table = self._tables[place]
            del table[length:]
            table.extend([NONE] * (length - len(table)))

    def _forget_removed(self) -> None:
        removed = set(self._state.removed)
        if not removed:
            return
        for table in self._tables:
            for part, holder in enumerate(table):
                if holder in removed:
                    table[part] = NONE
        self._state.devices = self.devices
        self._state.removed = []


def _doubled(table: array[int]) -> array[int]:
    return array(table.typecode, (value for value in table for _ in range(2)))


def _check_replicas(replicas: float) -> None:
    if not 1 <= replicas < 1000:
        raise RingError("a ring has between 1 and 999 replicas")
