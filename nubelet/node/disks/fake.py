"""Disks without bytes: the same rules as the file driver, kept in small files.

Images are looked up when they lie on this machine (file:// urls), so that a missing image file
is found here too; nothing is copied. Space is counted by the sizes asked for.

Read next: `disks/file.py` for the real thing.
"""

from __future__ import annotations

import shutil
import struct
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from nubelet.node.disks import capacity
from nubelet.node.errors import (
    DISK_DIFFERS,
    DISK_MISSING,
    IMAGE_MISSING,
    SNAPSHOT_MISSING,
    HostError,
)
from nubelet.node.faults import Faults
from nubelet.node.files import safe_name, write_whole
from nubelet.node.hypervisor import Drive
from nubelet.node.records import Records
from nubelet.node.wire import (
    ConfigDrive,
    DiskSpec,
    GuestSpec,
    ImageSpec,
    SnapshotState,
    StorageState,
    TakeSnapshot,
)


class FakeGuestDisks(msgspec.Struct):
    """What a guest has here: disks by id, and the names of the files on its config drive."""

    disks: dict[str, DiskSpec] = msgspec.field(default_factory=dict)
    config_files: tuple[str, ...] | None = None


class FakeDisks:
    """Images and disks as records."""

    name = "fake"

    def __init__(
        self,
        state_dir: Path,
        *,
        host: str = "fake",
        total_bytes: int = 4096 << 30,
        faults: Faults | None = None,
    ) -> None:
        self._folder = state_dir / "disks"
        self._host = host
        self._total_bytes = total_bytes
        self.faults = faults or Faults(state_dir / "faults")
        self._images = Records(self._folder / "images", ImageSpec)
        self._guests = Records(self._folder / "guests", FakeGuestDisks)
        self._snapshots = self._folder / "snapshots"
        self._lock = threading.Lock()
        self._used_bytes = sum(_size(guest) for guest in self._guests.values())
        self._used_bytes += sum(image.size_bytes for image in self._images.values())

    def start(self) -> None:
        """Records were read when this was made."""

    def ensure_image(self, spec: ImageSpec) -> None:
        """Record an image; one that should lie on this machine must lie there."""
        self.faults.meet("ensure_image")
        if self._images.get(spec.id) is not None:
            return
        parts = urlsplit(spec.url)
        if parts.scheme == "file" and not Path(unquote(parts.path)).is_file():
            raise HostError(
                IMAGE_MISSING,
                f"The data of image {spec.id} is missing: there is no file {parts.path}",
            )
        self._take(f"image {spec.id}", spec.size_bytes)
        # The token opens the image service: it is not for the disk.
        self._images.put(spec.id, msgspec.structs.replace(spec, token=""))

    def remove_image(self, image_id: str) -> None:
        """Forget an image, unless a disk is based on it."""
        self.faults.meet("remove_image")
        image = self._images.get(image_id)
        if image is None or image_id in self._bases():
            return
        self._images.drop(image_id)
        self._give(image.size_bytes)

    def image_path(self, image_id: str) -> str:
        """A path that names the image; nothing lies there."""
        if self._images.get(image_id) is None:
            raise HostError(IMAGE_MISSING, f"Image {image_id} is not in the cache of {self._host}")
        return str(self._folder / "images" / image_id)

    def ensure_disk(self, spec: DiskSpec) -> None:
        """Record a disk; its image must be here."""
        self.faults.meet("ensure_disk")
        if spec.image_id is not None:
            self.image_path(spec.image_id)
        guest = self._guests.get(spec.guest_id) or FakeGuestDisks()
        known = guest.disks.get(spec.id)
        if known is not None and (known.image_id, known.format) != (spec.image_id, spec.format):
            raise HostError(
                DISK_DIFFERS,
                f"Disk {spec.id} is here already, as {known.format} from image {known.image_id}; "
                "it has to be removed first",
            )
        if known is not None and known.size_bytes >= spec.size_bytes:
            return
        grown = spec.size_bytes - (known.size_bytes if known else 0)
        self._take(f"disk {spec.id}", grown)
        self._guests.put(
            spec.guest_id,
            FakeGuestDisks(disks={**guest.disks, spec.id: spec}, config_files=guest.config_files),
        )

    def ensure_config_drive(self, guest_id: str, drive: ConfigDrive) -> None:
        """Record which files are on the config drive."""
        self.faults.meet("ensure_config_drive")
        guest = self._guests.get(guest_id) or FakeGuestDisks()
        files = tuple(sorted(drive.files))
        self._guests.put(guest_id, FakeGuestDisks(disks=guest.disks, config_files=files))

    def drives(self, guest: GuestSpec) -> tuple[Drive, ...]:
        """The guest's disks; `disk_missing` names one that was not made."""
        self.faults.meet("drives")
        record = self._guests.get(guest.id) or FakeGuestDisks()
        found = []
        for disk in guest.disks:
            if disk.id not in record.disks:
                raise HostError(
                    DISK_MISSING, f"Disk {disk.id} of guest {guest.id} is missing on {self._host}"
                )
            path = str(self._folder / guest.id / disk.id)
            found.append(Drive(id=disk.id, path=path, format=disk.format, bus=disk.bus))
        return tuple(found)

    def remove_disks(self, guest_id: str) -> None:
        """Forget all disks of a guest."""
        self.faults.meet("remove_disks")
        guest = self._guests.get(safe_name(guest_id))
        shutil.rmtree(self._snapshots / guest_id, ignore_errors=True)
        if guest is not None:
            self._guests.drop(guest_id)
            self._give(_size(guest))

    # --- Copies of disks --------------------------------------------------------------------

    def find_snapshot(self, guest_id: str, snapshot_id: str) -> SnapshotState | None:
        """A copy that is done."""
        self.faults.meet("ensure_snapshot")
        path = self._snapshot(guest_id, snapshot_id)
        size = path.stat().st_size if path.is_file() else None
        if size is None:
            return None
        return SnapshotState(is_done=True, copied_bytes=size, total_bytes=size, size_bytes=size)

    def begin_snapshot(self, argument: TakeSnapshot) -> Path:
        """Where the copy is to be; the guest has no others."""
        guest = self._guests.get(argument.guest_id) or FakeGuestDisks()
        if argument.disk.id not in guest.disks:
            raise HostError(
                DISK_MISSING,
                f"Disk {argument.disk.id} of guest {argument.guest_id} is missing on {self._host}",
            )
        path = self._snapshot(argument.guest_id, argument.id)
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir(parents=True)
        return path

    def copy_disk(self, argument: TakeSnapshot) -> SnapshotState:
        """Nothing to copy: it is done at once."""
        return SnapshotState(is_done=True)

    def finish_snapshot(self, argument: TakeSnapshot) -> SnapshotState:
        """Write a disk of the right size, on which nobody ever wrote."""
        path = self._snapshot(argument.guest_id, argument.id)
        image = self._images.get(argument.disk.image_id or "")
        size = argument.disk.size_bytes or (image.size_bytes if image else 0)
        write_whole(path, empty_qcow2(size))
        found = self.find_snapshot(argument.guest_id, argument.id)
        assert found is not None
        return found

    def read_snapshot(self, guest_id: str, snapshot_id: str, offset: int, length: int) -> bytes:
        """A part of a copy."""
        self.faults.meet("read_snapshot")
        try:
            return self._snapshot(guest_id, snapshot_id).read_bytes()[offset : offset + length]
        except FileNotFoundError:
            raise HostError(
                SNAPSHOT_MISSING,
                f"The copy {snapshot_id} of a disk of guest {guest_id} is missing on {self._host}",
            ) from None

    def remove_snapshot(self, guest_id: str, snapshot_id: str) -> None:
        """Remove a copy."""
        self.faults.meet("remove_snapshot")
        self._snapshot(guest_id, snapshot_id).unlink(missing_ok=True)

    def _snapshot(self, guest_id: str, snapshot_id: str) -> Path:
        return self._snapshots / safe_name(guest_id) / f"{safe_name(snapshot_id)}.qcow2"

    def observe(self) -> StorageState:
        """What is recorded."""
        self.faults.meet("observe_storage")
        return StorageState(
            images=self._images.keys(),
            guest_disks=self._guests.keys(),
            free_bytes=self._total_bytes - self._used_bytes,
            snapshots={path.stem: path.parent.name for path in self._snapshots.glob("*/*.qcow2")},
        )

    def capacity(self) -> tuple[int, int]:
        """Total and free bytes of the disk that is not there."""
        return self._total_bytes, self._total_bytes - self._used_bytes

    def keep_house(self) -> None:
        """Nothing grows old here."""

    def purge(self) -> list[str]:
        """Remove all records."""
        said = [*self._guests.purge("disks of guest"), *self._images.purge("image")]
        shutil.rmtree(self._snapshots, ignore_errors=True)
        if self._folder.is_dir():
            self._folder.rmdir()
        self._used_bytes = 0
        return said

    def _bases(self) -> set[str]:
        return {
            disk.image_id
            for guest in self._guests.values()
            for disk in guest.disks.values()
            if disk.image_id is not None
        }

    def _take(self, what: str, wanted_bytes: int) -> None:
        with self._lock:
            free_bytes = self._total_bytes - self._used_bytes
            if wanted_bytes > free_bytes:
                raise capacity.disk_full(self._host, what, wanted_bytes, free_bytes)
            self._used_bytes += wanted_bytes

    def _give(self, freed_bytes: int) -> None:
        with self._lock:
            self._used_bytes -= freed_bytes


def _size(guest: FakeGuestDisks) -> int:
    return sum(disk.size_bytes for disk in guest.disks.values())


_CLUSTER_BITS = 16


def empty_qcow2(size_bytes: int) -> bytes:
    """A valid qcow2 file of a disk of this size that is all zeros: header, refcounts, L1 table."""
    cluster = 1 << _CLUSTER_BITS
    l1_entries = max(1, -(-size_bytes // (cluster * (cluster // 8))))
    l1_clusters = -(-l1_entries * 8 // cluster)
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        *(b"QFI\xfb", 3, 0, 0, _CLUSTER_BITS, size_bytes, 0),  # no backing file, no encryption
        *(l1_entries, 3 * cluster, cluster, 1, 0, 0),  # L1 and refcount tables; no snapshots
        *(0, 0, 0, 4, 104),  # no features; refcounts of 16 bits
    )
    refcounts = struct.pack(">H", 1) * (3 + l1_clusters)
    parts = (header, struct.pack(">Q", 2 * cluster), refcounts)
    return b"".join(part.ljust(cluster, b"\0") for part in parts) + bytes(l1_clusters * cluster)
