"""Move objects to where a larger partition power looks for them, while the cluster runs.

The partition is a folder name: `objects/<partition>/<suffix>/<hash>/`. With one bit more, a hash
of partition p is in 2p or 2p+1. First every object is hard-linked there (servers that read the old
ring and servers that read the new one both find it, and it costs no space); once all servers have
the new ring, the old links are removed. In OpenStack: swift-object-relinker.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from nubelet.object_store.ring.ring import Ring, partition_of
from nubelet.object_store.storage import attributes
from nubelet.object_store.storage.objects import state

log = logging.getLogger(__name__)
_HASH_DIGITS = 32


class Relinked(msgspec.Struct):
    """What was done: folders of objects handled, and those that could not be."""

    done: int = 0
    errors: int = 0


class Relinker:
    """For one ring, on the devices of one server. Running it again goes on where it stopped."""

    def __init__(self, ring: Ring) -> None:
        """Raises ValueError when the partition power is not being raised."""
        if ring.next_part_power is None:
            raise ValueError("the partition power of this ring is not being raised")
        self._ring = ring

    def relink(self, objects: Path) -> Relinked:
        """Link everything to where `next_part_power` looks; before `increase`."""
        power = self._ring.next_part_power
        assert power is not None
        report = Relinked()
        for part, folder in _hash_folders(objects):
            target = partition_of(folder.name, power)
            if target == part:
                continue
            try:
                link_folder(folder, objects / str(target) / folder.parent.name / folder.name)
                report.done += 1
            except OSError as error:
                log.error("%s cannot be linked: %s", folder, error)
                report.errors += 1
        return report

    def cleanup(self, objects: Path) -> Relinked:
        """Remove the old places, after `increase`; nothing that is not in its new place."""
        report = Relinked()
        for part, folder in _hash_folders(objects):
            target = partition_of(folder.name, self._ring.part_power)
            if target == part:
                continue
            try:
                # What was written since the links were made is linked now.
                link_folder(folder, objects / str(target) / folder.parent.name / folder.name)
                _remove_folder(folder)
                report.done += 1
            except OSError as error:
                log.error("%s cannot be removed: %s", folder, error)
                report.errors += 1
        return report


def link_folder(source: Path, target: Path) -> None:
    """Hard-link the files of an object's folder into another one, which is made; what is newer
    stays."""
    if source == target:
        return
    target.mkdir(parents=True, exist_ok=True)
    for entry in list(os.scandir(source)):
        if not entry.is_file(follow_symlinks=False):
            continue
        try:
            os.link(entry.path, target / entry.name)
        except FileExistsError:
            there = (target / entry.name).stat()
            own = entry.stat()
            # The clean-up of a server may have taken the file away meanwhile.
            if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino) and not _same(
                Path(entry.path), target / entry.name
            ):
                raise
        except FileNotFoundError:
            continue
    for name in state(os.listdir(target)).obsolete:  # one of the two had something newer
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target / name)
        attributes.remove_side(str(target / name))
    _sync_folder(target)


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def _remove_folder(folder: Path) -> None:
    for entry in list(os.scandir(folder)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(entry.path)
    folder.rmdir()
    for above in (folder.parent, folder.parent.parent):
        for name in ("hashes.json", "hashes.invalid"):
            with contextlib.suppress(OSError):
                (above / name).unlink()
        try:
            above.rmdir()
        except OSError:
            break


def _hash_folders(objects: Path) -> Iterator[tuple[int, Path]]:
    for part in sorted(_folders(objects)):
        if not part.name.isdigit():
            continue
        for suffix in _folders(part):
            for folder in _folders(suffix):
                if len(folder.name) == _HASH_DIGITS:
                    yield int(part.name), folder


def _folders(path: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(path) if entry.is_dir()]
    except FileNotFoundError:
        return []


def _sync_folder(path: Path) -> None:
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
