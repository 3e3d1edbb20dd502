"""Disk drivers: the image cache and the guests' disks on one host.

`fake` keeps records only, `file` makes qcow2 and raw files. Both pass the same driver suite.

In OpenStack: nova/virt/libvirt/imagebackend.py, imagecache.py and configdrive.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from nubelet.node.hypervisor import Drive
from nubelet.node.wire import (
    ConfigDrive,
    DiskSpec,
    GuestSpec,
    ImageSpec,
    SnapshotState,
    StorageState,
    TakeSnapshot,
)


class Disks(Protocol):
    """What the agent asks of a disk driver.

    `ensure_` and `remove_` calls are idempotent and may be repeated after a crash in the middle
    of a former call. Two calls for one image or one guest never run at once; calls for different
    ones do. Refusals are `nubelet.node.errors.HostError`.
    """

    name: str

    def start(self) -> None:
        """Take up what an earlier process left."""

    def ensure_image(self, spec: ImageSpec) -> None:
        """The image is in the cache, complete and verified."""

    def remove_image(self, image_id: str) -> None:
        """Drop an image from the cache; kept as long as a guest's disk is based on it."""

    def image_path(self, image_id: str) -> str:
        """The file of a cached image (kernel or ramdisk)."""

    def ensure_disk(self, spec: DiskSpec) -> None:
        """The disk exists with at least this size."""

    def ensure_config_drive(self, guest_id: str, drive: ConfigDrive) -> None:
        """The guest's config drive holds exactly these files."""

    def drives(self, guest: GuestSpec) -> tuple[Drive, ...]:
        """The guest's disks, in the order of its spec, config drive last; every one is there."""

    def remove_disks(self, guest_id: str) -> None:
        """Remove all disks of a guest."""

    def find_snapshot(self, guest_id: str, snapshot_id: str) -> SnapshotState | None:
        """A copy that is done; None for any other."""

    def begin_snapshot(self, argument: TakeSnapshot) -> Path:
        """The file that the copy is to be written to; other copies of this guest's are gone."""

    def copy_disk(self, argument: TakeSnapshot) -> SnapshotState:
        """Begin to copy a disk that nobody has open; called again: how far that is."""

    def finish_snapshot(self, argument: TakeSnapshot) -> SnapshotState:
        """All is written: the copy is done."""

    def read_snapshot(self, guest_id: str, snapshot_id: str, offset: int, length: int) -> bytes:
        """A part of the file of a copy that is done; `snapshot_missing` for any other."""

    def remove_snapshot(self, guest_id: str, snapshot_id: str) -> None:
        """Stop copying, and remove what there is of the copy."""

    def observe(self) -> StorageState:
        """What lies on this host, strays included."""

    def capacity(self) -> tuple[int, int]:
        """Total and free bytes for guest disks."""

    def keep_house(self) -> None:
        """Periodic work: drop cached images that nobody used for long."""

    def purge(self) -> list[str]:
        """Remove everything this driver ever made; say what."""
