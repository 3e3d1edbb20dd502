"""Copies of guests' disks: one qcow2 file each, flattened, in the guest's folder.

`snapshot-<id>.qcow2` is a copy that is done. Until then its file has a name that begins with a dot
and ends as all half made files do, so that the next start removes what a killed process left.
A disk that a QEMU has open is copied by that QEMU (`hypervisor/`); the others by qemu-img here,
beside the calls that ask how far it is.

In OpenStack: nova/virt/libvirt/imagebackend.py snapshot_extract, nova/privsep/qemu.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from nubelet.node import commands
from nubelet.node.disks.file import qemu_img
from nubelet.node.disks.file.space import Space
from nubelet.node.errors import COMMAND_FAILED, SNAPSHOT_MISSING, HostError
from nubelet.node.files import PARTIAL, safe_name
from nubelet.node.wire import SnapshotState, TakeSnapshot

PREFIX = "snapshot-"
_MOST_BYTES = 16 << 20  # of one answer


class Snapshots:
    """The copies below the folder of the guests."""

    def __init__(self, guests: Path, space: Space) -> None:
        self._guests = guests
        self._space = space
        self._lock = threading.Lock()
        self._running: dict[str, commands.Started] = {}  # copies that qemu-img is making

    def find(self, guest_id: str, snapshot_id: str) -> SnapshotState | None:
        """A copy that is done."""
        try:
            size = self._path(guest_id, snapshot_id).stat().st_size
        except FileNotFoundError:
            return None
        return SnapshotState(is_done=True, copied_bytes=size, total_bytes=size, size_bytes=size)

    def begin(self, argument: TakeSnapshot, data_bytes: int) -> Path:
        """Where to write. A copy that was begun goes on; others of this guest's are in the way of
        nobody who still waits for them. `data_bytes`: what the disk takes at most."""
        target = self._partial(argument.guest_id, argument.id)
        if not target.exists():
            for name in [*self.names(argument.guest_id)]:
                self.remove(argument.guest_id, name)
            self._space.need(f"the copy of disk {argument.disk.id}", data_bytes)
        return target

    def copy(self, argument: TakeSnapshot, source: Path, data_bytes: int) -> SnapshotState:
        """Copy with qemu-img; the first call begins, later ones look."""
        target = self._partial(argument.guest_id, argument.id)
        with self._lock:
            started = self._running.get(argument.id)
            if started is None:
                target.unlink(missing_ok=True)  # what a QEMU that is off now has begun
                started = qemu_img.start_convert(source, argument.disk.format, target, "qcow2")
                self._running[argument.id] = started
        done = started.poll()
        if done is None:
            copied = target.stat().st_blocks * 512 if target.exists() else 0
            return SnapshotState(copied_bytes=min(copied, data_bytes), total_bytes=data_bytes)
        with self._lock:
            del self._running[argument.id]
        if done.status != 0:
            target.unlink(missing_ok=True)
            error = HostError(
                COMMAND_FAILED,
                f"Disk {argument.disk.id} could not be copied: {done.complaint}",
                done.complaint,
            )
            what = f"the copy of disk {argument.disk.id}"
            raise self._space.translate(what, data_bytes, error)
        return SnapshotState(is_done=True, copied_bytes=data_bytes, total_bytes=data_bytes)

    def finish(self, argument: TakeSnapshot) -> SnapshotState:
        """Give the file its name."""
        path = self._path(argument.guest_id, argument.id)
        partial = self._partial(argument.guest_id, argument.id)
        partial.chmod(0o600)
        partial.rename(path)
        size = path.stat().st_size
        return SnapshotState(is_done=True, copied_bytes=size, total_bytes=size, size_bytes=size)

    def read(self, guest_id: str, snapshot_id: str, offset: int, length: int) -> bytes:
        """A part of a copy that is done; `snapshot_missing` for any other."""
        try:
            with open(self._path(guest_id, snapshot_id), "rb", buffering=0) as file:
                file.seek(max(0, offset))
                return file.read(min(max(0, length), _MOST_BYTES))
        except FileNotFoundError:
            raise HostError(
                SNAPSHOT_MISSING,
                f"The copy {snapshot_id} of a disk of guest {guest_id} is missing on host "
                f"{self._space.host}",
            ) from None

    def remove(self, guest_id: str, snapshot_id: str) -> None:
        """Stop it, and remove its file."""
        with self._lock:
            started = self._running.pop(snapshot_id, None)
        if started is not None:
            started.kill()
        self._partial(guest_id, snapshot_id).unlink(missing_ok=True)
        self._path(guest_id, snapshot_id).unlink(missing_ok=True)

    def all(self) -> dict[str, str]:
        """Copy -> guest, also of those that are being made."""
        guests = [path.name for path in self._guests.iterdir() if path.is_dir()]
        return {name: guest_id for guest_id in guests for name in self.names(guest_id)}

    def names(self, guest_id: str) -> Iterator[str]:
        """The copies of one guest's disks."""
        folder = self._guests / safe_name(guest_id)
        for pattern in (f"{PREFIX}*.qcow2", f".{PREFIX}*.qcow2{PARTIAL}"):
            for path in folder.glob(pattern):
                yield path.name.lstrip(".").removeprefix(PREFIX).split(".", 1)[0]

    def _path(self, guest_id: str, snapshot_id: str) -> Path:
        return self._guests / safe_name(guest_id) / f"{PREFIX}{safe_name(snapshot_id)}.qcow2"

    def _partial(self, guest_id: str, snapshot_id: str) -> Path:
        path = self._path(guest_id, snapshot_id)
        return path.with_name(f".{path.name}{PARTIAL}")
