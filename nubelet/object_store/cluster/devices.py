"""The devices of a storage node: the engine of `storage/`, once for each disk.

    <root>/<device>/accounts/<partition>/<suffix>/<hash>/<hash>.db
                    containers/...  objects[-N]/...  tmp/  locks/    as storage/local.py has them
                    fragments-N/...       of erasure-coded objects (fragment_files.py)
                    changed/<hash>        containers whose account must learn; <hash>.<random> while
                                          it is told, and then those that know, marked as below
                    updates/<random>      what listings on other nodes must still learn; those that
                                          know are marked in the name (daemons/updater.py)
                    quarantined/          what was found damaged
                    promises/             to writers with conditions (promises.py)

A device is there when its folder is: an operator makes it, or mounts a disk on it. Nothing is
written where a disk is not mounted.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from nubelet.decoding import prepared
from nubelet.kernel.errors import InsufficientStorage
from nubelet.object_store.cluster.fragment_files import FragmentFiles
from nubelet.object_store.cluster.listing_files import NodeAccountFile, NodeContainerFile
from nubelet.object_store.cluster.object_files import NodeObjectFiles
from nubelet.object_store.cluster.open_listings import OpenListings
from nubelet.object_store.cluster.promises import Promises
from nubelet.object_store.ring import Ring, hash_path, partition_of
from nubelet.object_store.storage.containers import ObjectRow
from nubelet.object_store.storage.objects import Writing
from nubelet.object_store.storage.sqlite import sync_folders

log = logging.getLogger(__name__)


class Update(msgspec.Struct, kw_only=True):
    """A row that the listing of a container must learn."""

    account: str
    container: str
    row: ObjectRow


class Device:
    """One disk."""

    def __init__(self, folder: Path, hash_words: str) -> None:
        self.name = folder.name
        self.folder = str(folder)
        self._words = hash_words.encode()
        self.objects = NodeObjectFiles(self.folder, locks=f"{self.folder}/locks")
        self.promises = Promises(f"{self.folder}/promises")
        self.fragments = FragmentFiles(self.folder, self.objects)
        self.accounts = OpenListings(NodeAccountFile)
        self.containers = OpenListings(NodeContainerFile)
        for name in ("changed", "updates", "quarantined"):
            with suppress(FileExistsError):
                os.mkdir(f"{self.folder}/{name}", 0o700)
        self._identity = self._found()

    def is_same(self) -> bool:
        """Is the disk that is there the one that was there?"""
        return self._identity is not None and self._found() == self._identity

    def _found(self) -> tuple[int, int] | None:
        # Not the device's own folder: a disk that is emptied has the same one.
        try:
            found = os.stat(f"{self.folder}/changed")
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def close(self) -> None:
        """Close the listing files."""
        self.accounts.close()
        self.containers.close()

    def has_room(self, size: int) -> bool:
        """Is there room for so many bytes?"""
        room = os.statvfs(self.folder)
        return room.f_bavail * room.f_frsize >= size

    def hash(self, *names: str) -> str:
        """The hash of an account, container or object."""
        return hash_path(*names, suffix=self._words)

    def place(self, part_power: int, digest: str) -> str:
        """`<partition>/<suffix>/<hash>`."""
        return f"{partition_of(digest, part_power)}/{digest[-3:]}/{digest}"

    def listing_path(self, kind: str, ring: Ring, digest: str) -> str:
        """The file of an account or container; kind: "accounts" or "containers". While the
        partition power is raised it may be where the other power looks, too."""
        path = self._listing_at(kind, ring.part_power, digest)
        if ring.next_part_power is not None and not os.path.exists(path):
            is_raised = ring.next_part_power == ring.part_power
            power = ring.part_power - 1 if is_raised else ring.next_part_power
            other = self._listing_at(kind, power, digest)
            if os.path.exists(other):
                return other
        return path

    def _listing_at(self, kind: str, part_power: int, digest: str) -> str:
        return f"{self.folder}/{kind}/{self.place(part_power, digest)}/{digest}.db"

    def listings(self, kind: str) -> Iterator[tuple[str, str]]:
        """(hash, path) of every listing file."""
        for path in sorted(Path(self.folder, kind).glob("*/*/*/*.db")):
            if path.parts[-4].isdigit():
                yield path.stem, str(path)

    # --- Queues -----------------------------------------------------------------------------

    def queue(self, update: Update) -> str:
        """Remember, durably, what a listing must learn; its path."""
        path = f"{self.folder}/updates/{secrets.token_hex(12)}"
        file = Writing(self.objects.temporary, ".update")
        try:
            file.write(msgspec.json.encode(update))
            os.fsync(file.descriptor)
            os.rename(file.path, path)
        finally:
            file.done()  # what did not come so far
            file.close()
        sync_folders(f"{self.folder}/updates", 1)
        return path

    def queued(self) -> Iterator[tuple[str, Update]]:
        """What listings must still learn, in any order, each with its path; remove that when it was
        told. What cannot be read is logged and passed over."""
        for name in self._names("updates"):
            path = f"{self.folder}/updates/{name}"
            try:
                update = msgspec.json.decode(Path(path).read_bytes(), type=prepared(Update))
            except FileNotFoundError:
                continue
            except (OSError, msgspec.DecodeError) as error:
                log.error("%s cannot be read: %s", path, error)
                continue
            yield path, update

    def changed(self, digest: str) -> None:
        """Note that the totals of a container are news for its account."""
        with suppress(FileExistsError):
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            os.close(os.open(f"{self.folder}/changed/{digest}", flags, 0o600))

    def take_changed(self) -> Iterator[tuple[str, str]]:
        """Containers whose totals are news, in any order, each with the path of its note; remove
        that when it was told. Who knows may be marked in the name, `.<mark>` for each. A change
        from now on makes a note of its own; one that was taken before is void then."""
        notes: dict[str, list[str]] = defaultdict(list)
        for name in self._names("changed"):
            notes[name.partition(".")[0]].append(name)
        for digest, names in notes.items():
            note, *void = sorted(names)  # a new one is first
            if note == digest or void:
                taken = f"{digest}.{secrets.token_hex(4)}"
                try:
                    os.rename(f"{self.folder}/changed/{note}", f"{self.folder}/changed/{taken}")
                except FileNotFoundError:
                    continue
                note = taken
            for name in void:
                with suppress(FileNotFoundError):
                    os.unlink(f"{self.folder}/changed/{name}")
            yield digest, f"{self.folder}/changed/{note}"

    def _names(self, queue: str) -> list[str]:
        """Shuffled: where more wait than can be told at a time, each comes to its turn."""
        try:
            names = os.listdir(f"{self.folder}/{queue}")
        except FileNotFoundError:
            return []
        random.shuffle(names)
        return names

    # --- Damage -----------------------------------------------------------------------------

    def quarantine(self, folder: str) -> None:
        """Put the folder of an object or listing aside; replicas elsewhere replace it."""
        target = f"{self.folder}/quarantined/{os.path.basename(folder)}-{secrets.token_hex(4)}"
        with suppress(FileNotFoundError):
            os.rename(folder, target)


class Devices:
    """All disks of a node."""

    def __init__(self, root: Path, hash_words: str) -> None:
        """`root`: folder of the devices' folders."""
        self.root = root
        self._words = hash_words
        self._open: dict[str, Device] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Device:
        """Raises InsufficientStorage when the device is not there."""
        device = self._open.get(name)
        if device is not None and device.is_same():
            return device
        folder = self.root / name
        with self._lock:
            known = self._open.get(name)
            if known is not None and known is not device:
                return known  # another thread was quicker
            if device is not None:
                device.close()  # the disk was taken away, emptied or exchanged
                del self._open[name]
            if "/" in name or name in ("", ".", "..") or not folder.is_dir():
                raise InsufficientStorage(f"The device {name} is not there.")
            self._open[name] = device = Device(folder, self._words)
        return device

    def all(self) -> list[Device]:
        """Every device that is there."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            with suppress(InsufficientStorage, OSError):
                found.append(self.get(name))
        return found

    def close(self) -> None:
        """Close all of them."""
        for device in list(self._open.values()):
            device.close()


def remove_tree(folder: str, stop: str) -> None:
    """Remove a folder, and those above it that are empty then, up to `stop`."""
    shutil.rmtree(folder, ignore_errors=True)
    above = os.path.dirname(folder)
    while above.startswith(stop + "/") and above != stop:
        try:
            os.rmdir(above)
        except OSError:
            return
        above = os.path.dirname(above)
