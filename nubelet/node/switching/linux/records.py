"""What the driver was asked for, in small files: one per subject, below `<state_dir>/switching`.

They serve a restart (which devices are ours, which numbers were given out) and a reboot
(`LinuxSwitching.restore` makes everything anew from them). What *is* on the host is never read
from here: that is `observation.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from nubelet.decoding import prepared
from nubelet.node.wire import NetworkSpec, PortSpec, RouterSpec, SecurityGroupSpec

log = logging.getLogger(__name__)


class NetworkRecord(msgspec.Struct, frozen=True):
    """A network and its conntrack zone (1 to 65535), which keeps overlapping addresses apart."""

    spec: NetworkSpec
    zone: int

    @property
    def id(self) -> str:
        """The network's id."""
        return self.spec.id


class PortRecord(msgspec.Struct, frozen=True):
    """A port and its packet mark, by which the inet family knows it behind the bridge."""

    spec: PortSpec
    mark: int

    @property
    def id(self) -> str:
        """The port's id."""
        return self.spec.id


class RouterRecord(msgspec.Struct, frozen=True):
    """A router."""

    spec: RouterSpec

    @property
    def id(self) -> str:
        """The router's id."""
        return self.spec.id


class GroupRecord(msgspec.Struct, frozen=True):
    """A security group."""

    spec: SecurityGroupSpec

    @property
    def id(self) -> str:
        """The group's id."""
        return self.spec.id


R = TypeVar("R", NetworkRecord, PortRecord, RouterRecord, GroupRecord)


class Shelf(Generic[R]):
    """The records of one kind: read once, written through."""

    def __init__(self, folder: Path, kind: type[R]) -> None:
        self.folder = folder
        self._kind: type[R] = kind
        self._records: dict[str, R] = {}

    def load(self) -> None:
        """Read every file; one that cannot be read is reported and left out."""
        self._records.clear()
        for path in sorted(self.folder.glob("*.json")):
            try:
                record = msgspec.json.decode(path.read_bytes(), type=prepared(self._kind))
            except (OSError, msgspec.DecodeError) as error:
                log.warning("switching record %s cannot be read: %s", path, error)
            else:
                self._records[record.id] = record

    def get(self, identifier: str) -> R | None:
        """The record of a subject, or None."""
        return self._records.get(identifier)

    def all(self) -> list[R]:
        """Every record."""
        return list(self._records.values())

    def put(self, record: R) -> None:
        """Keep a record; the file is replaced as a whole or not at all."""
        if self._records.get(record.id) == record:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(record.id)
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(record))
        new.replace(path)
        self._records[record.id] = record

    def set_aside(self, identifier: str) -> None:
        """Count a subject as gone, but keep its file: should this process die before the host is
        clear of it, the next one still knows what to remove.
        """
        self._records.pop(identifier, None)

    def drop(self, identifier: str) -> None:
        """Forget a subject for good."""
        self._records.pop(identifier, None)
        self._path(identifier).unlink(missing_ok=True)

    def _path(self, identifier: str) -> Path:
        # Ids come from the control plane; none may name a file elsewhere.
        if not identifier or "/" in identifier or identifier.startswith("."):
            raise ValueError(f"{identifier!r} is no id")
        return self.folder / f"{identifier}.json"


class Records:
    """All shelves of one cloud."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.networks = Shelf(folder / "networks", NetworkRecord)
        self.ports = Shelf(folder / "ports", PortRecord)
        self.routers = Shelf(folder / "routers", RouterRecord)
        self.groups = Shelf(folder / "security_groups", GroupRecord)

    def load(self) -> None:
        """Read everything from the files."""
        self.networks.load()
        self.ports.load()
        self.routers.load()
        self.groups.load()

    def zone_for(self, network_id: str) -> int:
        """The network's conntrack zone: the one it has, else a free one."""
        known = self.networks.get(network_id)
        return known.zone if known else _free((r.zone for r in self.networks.all()), 65535)

    def mark_for(self, port_id: str) -> int:
        """The port's packet mark: the one it has, else a free one."""
        known = self.ports.get(port_id)
        return known.mark if known else _free((r.mark for r in self.ports.all()), 2**31)

    def ports_of(self, network_id: str) -> list[PortRecord]:
        """Ports on a network."""
        return [r for r in self.ports.all() if r.spec.network_id == network_id]

    def routers_of(self, network_id: str) -> list[RouterRecord]:
        """Routers with a leg on a network."""
        return [
            r
            for r in self.routers.all()
            if any(leg.network_id == network_id for leg in r.spec.interfaces)
            or (r.spec.gateway and r.spec.gateway.port.network_id == network_id)
        ]


def _free(used: Iterable[int], highest: int) -> int:
    taken = set(used)
    return next(number for number in range(1, highest + 1) if number not in taken)
