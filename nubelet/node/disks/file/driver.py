"""The file driver: guests' disks, each in its guest's folder.

In OpenStack: nova/virt/libvirt/imagebackend.py (Qcow2, Flat).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from nubelet.decoding import prepared
from nubelet.node import commands
from nubelet.node.disks.file import config_drive, qemu_img
from nubelet.node.disks.file.images import CachedImage, ImageCache
from nubelet.node.disks.file.snapshots import PREFIX, Snapshots
from nubelet.node.disks.file.space import Space
from nubelet.node.errors import DISK_DIFFERS, DISK_MISSING, DISK_TOO_SMALL, HostError
from nubelet.node.files import PARTIAL, partial_path, safe_name, write_whole
from nubelet.node.hypervisor import CONFIG_DRIVE_ID, Drive
from nubelet.node.wire import (
    ConfigDrive,
    DiskSpec,
    GuestSpec,
    ImageSpec,
    SnapshotState,
    StorageState,
    TakeSnapshot,
)

_NEW_DISK_BYTES = 4 << 20  # what an empty disk takes at most before anything is written to it
_UNUSED_IMAGE_SECONDS = 24 * 3600.0
_PROGRAMS = ("qemu-img", "mkswap", "mke2fs")  # what works on disks for long


class FileDisks:
    """Images and disks as qcow2 and raw files below the state folder."""

    name = "file"

    def __init__(
        self,
        state_dir: Path,
        *,
        host: str,
        reserve_bytes: int = 0,
        unused_image_seconds: float = _UNUSED_IMAGE_SECONDS,
    ) -> None:
        self._state_dir = state_dir
        self._guests = state_dir / "guests"
        self._images_folder = state_dir / "images"
        self._host = host
        # Either folder may lie on a file system of its own.
        self._space = Space(self._guests, host, reserve_bytes)
        self._unused_image_seconds = unused_image_seconds
        self._snapshots = Snapshots(self._guests, self._space)
        self._images = ImageCache(
            self._images_folder, Space(self._images_folder, host, reserve_bytes), self._bases
        )

    def start(self) -> None:
        """End what an earlier process left at work, and remove what it left half made."""
        self._end_left()
        self._images.start()
        self._guests.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._guests.glob(f"*/.*{PARTIAL}"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    # --- Images -----------------------------------------------------------------------------

    def ensure_image(self, spec: ImageSpec) -> None:
        """The image is in the cache."""
        self._images.ensure(spec)

    def remove_image(self, image_id: str) -> None:
        """Drop an image that no disk stands on."""
        self._images.remove(image_id)

    def image_path(self, image_id: str) -> str:
        """The file of a cached image."""
        return str(self._images.path(self._images.need(image_id)))

    # --- Disks ------------------------------------------------------------------------------

    def ensure_disk(self, spec: DiskSpec) -> None:
        """Make the disk, or make it larger."""
        folder = self._guests / safe_name(spec.guest_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path_of(folder, spec)
        record = folder / f"{spec.id}.json"
        known = self._spec_of(record)
        if known is not None and self._path_of(folder, known).exists():
            self._grow(known, spec, path)
            write_whole(record, msgspec.json.encode(spec))
            return
        image = self._claim(record, spec)
        size_bytes = self._size_of(spec, image)
        self._space.need(f"disk {spec.id}", _NEW_DISK_BYTES)
        made = partial_path(path)
        try:
            self._guarded(spec, lambda: self._make(spec, made, size_bytes, image))
            made.chmod(0o600)
            os.rename(made, path)
        finally:
            made.unlink(missing_ok=True)

    def _grow(self, known: DiskSpec, spec: DiskSpec, path: Path) -> None:
        if (known.image_id, known.format) != (spec.image_id, spec.format):
            raise HostError(
                DISK_DIFFERS,
                f"Disk {spec.id} is here already, as {known.format} from image {known.image_id}; "
                "it has to be removed first",
            )
        if known.size_bytes < spec.size_bytes:
            self._guarded(spec, lambda: qemu_img.resize(path, spec.format, spec.size_bytes))

    def _claim(self, record: Path, spec: DiskSpec) -> CachedImage | None:
        """Write the disk's record: from here on its image stays."""
        with self._images.guard:
            image = self._images.need(spec.image_id) if spec.image_id else None
            write_whole(record, msgspec.json.encode(spec))
        if image is not None:
            self._images.touch(image.id)
        return image

    def _size_of(self, spec: DiskSpec, image: CachedImage | None) -> int:
        if image is None or image.disk_format == "iso":
            return spec.size_bytes
        least = image.virtual_size_bytes
        if spec.size_bytes and spec.size_bytes < least:
            raise HostError(
                DISK_TOO_SMALL,
                f"Image {image.id} holds a disk of {least} bytes, which does not fit on disk "
                f"{spec.id} of {spec.size_bytes} bytes",
            )
        return spec.size_bytes or least

    def _make(self, spec: DiskSpec, made: Path, size_bytes: int, image: CachedImage | None) -> None:
        if image is not None and image.disk_format != "iso":
            base = self._images.path(image)
            if spec.format == "qcow2":
                qemu_img.create(made, "qcow2", size_bytes, (base, image.format))
                return
            self._space.need(f"disk {spec.id}", image.virtual_size_bytes)
            qemu_img.convert(base, image.format, made, "raw")
            os.truncate(made, max(size_bytes, image.virtual_size_bytes))
        elif spec.role == "root":
            qemu_img.create(made, spec.format, size_bytes, None)
        else:
            _make_formatted(spec, made, size_bytes)

    def _guarded(self, spec: DiskSpec, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, HostError) as error:
            raise self._space.translate(f"disk {spec.id}", _NEW_DISK_BYTES, error) from None

    def ensure_config_drive(self, guest_id: str, drive: ConfigDrive) -> None:
        """Make the config drive, unless one with these contents is there."""
        folder = self._guests / safe_name(guest_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / f"config.{config_drive.SUFFIXES[drive.format]}"
        mark = folder / "config.digest"
        digest = config_drive.digest(drive).encode()
        if path.exists() and mark.exists() and mark.read_bytes() == digest:
            return
        made = partial_path(path)
        try:
            config_drive.build(drive, made)
            for other in config_drive.SUFFIXES.values():
                (folder / f"config.{other}").unlink(missing_ok=True)
            os.rename(made, path)
        except (OSError, HostError) as error:
            what, size = f"the config drive of guest {guest_id}", _NEW_DISK_BYTES
            raise self._space.translate(what, size, error) from None
        finally:
            made.unlink(missing_ok=True)
        write_whole(mark, digest)

    def drives(self, guest: GuestSpec) -> tuple[Drive, ...]:
        """The guest's disks as files."""
        folder = self._guests / safe_name(guest.id)
        found: list[Drive] = []
        for disk in guest.disks:
            path = self._disk_of(disk)
            is_root = disk.role == "root"
            if is_root and disk.image_id:
                found += self._installation_disc(disk.image_id)
            found.append(Drive(disk.id, str(path), disk.format, disk.bus, bootable=is_root))
        return (*found, *self._config_drive(folder, guest))

    def _installation_disc(self, image_id: str) -> list[Drive]:
        """An ISO image is put in as a disc, before the empty disk that it may install to."""
        image = self._images.need(image_id)
        if image.disk_format != "iso":
            return []
        path = str(self._images.path(image))
        return [Drive(image_id, path, "raw", "sata", "cdrom", read_only=True, bootable=True)]

    def _config_drive(self, folder: Path, guest: GuestSpec) -> list[Drive]:
        if guest.config_drive is None:
            return []
        path = str(folder / f"config.{config_drive.SUFFIXES[guest.config_drive.format]}")
        bus = guest.extra.get("hw_cdrom_bus")
        if bus and guest.config_drive.format == "iso9660":
            return [Drive(CONFIG_DRIVE_ID, path, "raw", bus, "cdrom", read_only=True)]
        # A virtio disk: small guests have no driver for any other.
        return [Drive(CONFIG_DRIVE_ID, path, "raw", "virtio", read_only=True)]

    def remove_disks(self, guest_id: str) -> None:
        """Remove the guest's folder."""
        folder = self._guests / safe_name(guest_id)
        if folder.is_dir():
            shutil.rmtree(folder)

    # --- Copies of disks --------------------------------------------------------------------

    def find_snapshot(self, guest_id: str, snapshot_id: str) -> SnapshotState | None:
        """A copy that is done."""
        return self._snapshots.find(guest_id, snapshot_id)

    def begin_snapshot(self, argument: TakeSnapshot) -> Path:
        """Where the copy is to be written."""
        return self._snapshots.begin(argument, self._data_bytes(argument.disk))

    def copy_disk(self, argument: TakeSnapshot) -> SnapshotState:
        """Copy a disk that nobody has open."""
        source = self._disk_of(argument.disk)
        return self._snapshots.copy(argument, source, self._data_bytes(argument.disk))

    def finish_snapshot(self, argument: TakeSnapshot) -> SnapshotState:
        """The copy is done."""
        return self._snapshots.finish(argument)

    def read_snapshot(self, guest_id: str, snapshot_id: str, offset: int, length: int) -> bytes:
        """A part of a copy."""
        return self._snapshots.read(guest_id, snapshot_id, offset, length)

    def remove_snapshot(self, guest_id: str, snapshot_id: str) -> None:
        """Stop and remove a copy."""
        self._snapshots.remove(guest_id, snapshot_id)

    def _disk_of(self, disk: DiskSpec) -> Path:
        path = self._path_of(self._guests / safe_name(disk.guest_id), disk)
        if not path.is_file():
            raise HostError(
                DISK_MISSING,
                f"Disk {disk.id} of guest {disk.guest_id} is missing on host {self._host}",
                str(path),
            )
        return path

    def _data_bytes(self, disk: DiskSpec) -> int:
        """What the disk and the image below it hold: a flattened copy takes no more."""
        size = _allocated_bytes(self._disk_of(disk))
        image = self._images.find(disk.image_id) if disk.image_id else None
        if image is not None and disk.format == "qcow2":
            size += _allocated_bytes(self._images.path(image))
        return size

    # --- The host ---------------------------------------------------------------------------

    def observe(self) -> StorageState:
        """What lies here."""
        entries = sorted(self._guests.iterdir()) if self._guests.is_dir() else []
        strays = [*self._images.strays()] if self._images_folder.is_dir() else []
        for entry in entries:
            strays += self._strays_of(entry) if entry.is_dir() else [entry]
        return StorageState(
            images=tuple(self._images.list()),
            guest_disks=tuple(entry.name for entry in entries if entry.is_dir()),
            unknown_files=tuple(sorted(str(path) for path in strays)),
            free_bytes=self._space.total_and_free()[1],
            snapshots=self._snapshots.all() if self._guests.is_dir() else {},
        )

    def _strays_of(self, folder: Path) -> list[Path]:
        known = {"config.iso", "config.img", "config.digest"}
        for record in folder.glob("*.json"):
            spec = self._spec_of(record)
            if spec is not None:
                known |= {record.name, f"{spec.id}.{spec.format}"}
        return [
            path
            for path in folder.iterdir()
            if path.name not in known
            and not path.name.endswith(PARTIAL)
            and not path.name.startswith(PREFIX)
        ]

    def capacity(self) -> tuple[int, int]:
        """Total and free bytes of the file system, without the reserve."""
        return self._space.total_and_free()

    def keep_house(self) -> None:
        """Drop images that nobody used for a day."""
        self._images.drop_unused(self._unused_image_seconds)

    def purge(self) -> list[str]:
        """Remove all disks and images, and what still works on them."""
        self._end_left()
        said = []
        for folder, noun in ((self._guests, "disks of guest"), (self._images_folder, "image")):
            if not folder.is_dir():
                continue
            names = sorted({path.name if path.is_dir() else path.stem for path in folder.iterdir()})
            said += [f"{noun} {name}" for name in names if not name.startswith(".")]
            shutil.rmtree(folder)
        return said

    def _end_left(self) -> None:
        for folder in (self._guests, self._images_folder):
            commands.end_left(_PROGRAMS, folder)

    def _bases(self) -> set[str]:
        specs = (self._spec_of(path) for path in self._guests.glob("*/*.json"))
        return {spec.image_id for spec in specs if spec is not None and spec.image_id}

    @staticmethod
    def _path_of(folder: Path, spec: DiskSpec) -> Path:
        return folder / f"{safe_name(spec.id)}.{spec.format}"

    @staticmethod
    def _spec_of(record: Path) -> DiskSpec | None:
        try:
            return msgspec.json.decode(record.read_bytes(), type=prepared(DiskSpec))
        except (FileNotFoundError, msgspec.MsgspecError):
            return None


def _allocated_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512


def _make_formatted(spec: DiskSpec, made: Path, size_bytes: int) -> None:
    """Ephemeral disks come with a file system, swap disks as swap space, as guests expect."""
    plain = made if spec.format == "raw" else partial_path(made)
    try:
        with open(plain, "wb") as file:
            file.truncate(size_bytes)
        if spec.role == "swap":
            commands.run(["mkswap", "-q", plain])
        else:
            number = re.search(r"\d*$", spec.id)
            label = f"ephemeral{(number.group() if number else '') or 0}"[:16]
            options = ["-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"]
            commands.run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", label, *options, plain])
        if plain != made:
            qemu_img.convert(plain, "raw", made, spec.format)
    finally:
        if plain != made:
            plain.unlink(missing_ok=True)
