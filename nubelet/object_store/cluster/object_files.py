"""Objects of a device as replicas of others: what a replicator compares, sends and takes.

`storage/objects.py` writes what a user sends. A replicator moves files as they are: the same
name, bytes and metadata on each device.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from nubelet.object_store.storage import Metadata, attributes
from nubelet.object_store.storage.hashing import data_folder
from nubelet.object_store.storage.objects import ObjectFiles, state

# Hash of a folder -> the names of its files that matter.
Files = dict[str, list[str]]
READ_BYTES = 1 << 18


class DamagedObject(Exception):  # noqa: N818 - a state of a file
    """The bytes are not those that were written."""


class NodeObjectFiles(ObjectFiles):
    """The objects of one device of a cluster."""

    def policies(self) -> Iterator[int]:
        """The policies that have a folder here."""
        for entry in os.scandir(self.folder):
            name, _, number = entry.name.partition("-")
            if name == "objects" and entry.is_dir() and (number.isdigit() or not number):
                yield int(number or 0)

    def partitions(self, policy: int) -> list[int]:
        """The partitions that have a folder here."""
        return sorted(int(name) for name in _listed(self._root(policy)) if name.isdigit())

    def suffixes(self, policy: int, part: int) -> dict[str, str]:
        """Suffix -> hash of the names of everything below. Equal hashes: equal content."""
        folder = f"{self._root(policy)}/{part}"
        hashes = {}
        for suffix in _listed(folder):
            files = self.files(policy, part, suffix)
            if files:
                text = repr(sorted(files.items())).encode()
                hashes[suffix] = hashlib.md5(text, usedforsecurity=False).hexdigest()
        return hashes

    def files(self, policy: int, part: int, suffix: str) -> Files:
        """The files of a suffix that matter, by hash."""
        folder = f"{self._root(policy)}/{part}/{suffix}"
        found = {}
        for digest in _listed(folder):
            now = state(_listed(f"{folder}/{digest}"))
            names = [name for name in (now.newest, now.meta) if name]
            if names:
                found[digest] = names
        return found

    def path(self, policy: int, part: int, digest: str, name: str = "") -> str:
        """The path of a file, or of the folder of an object."""
        folder = f"{self._root(policy)}/{part}/{digest[-3:]}/{digest}"
        return f"{folder}/{name}" if name else folder

    def age_of(self, policy: int, place: str, now: float) -> float:
        """For how many seconds the last PUT or DELETE of an object has been here; 0 without one."""
        newest = self.state(policy, place).newest
        with suppress(FileNotFoundError):
            if newest is not None:
                return now - os.stat(f"{self.folder_of(policy, place)}/{newest}").st_mtime
        return 0.0

    def take(
        self, policy: int, place: str, name: str, metadata: Metadata, body: Iterable[bytes]
    ) -> None:
        """Store a file of another device as it is. Raises DamagedObject when it did not arrive
        whole."""
        folder = self.folder_of(policy, place)
        timestamp, extension = os.path.splitext(name)
        now = state(_listed(folder))
        if now.newest is not None and os.path.splitext(now.newest)[0] >= timestamp:
            return
        if now.meta is not None and extension == ".meta" and now.meta >= name:
            return
        with self._begin(extension) as file:
            for piece in body:
                file.write(piece)
            if extension == ".data":
                check_whole(metadata, file.md5(), file.size)
            file.seal(metadata)
            with suppress(FileExistsError):
                file.link(folder, timestamp)
            self.tidy(folder)

    def store(self, folder: str, stem: str, extension: str, pieces: Iterable[bytes]) -> str:
        """Store a file that is no object, durably; its MD5. One that is there stays."""
        with self._begin(extension) as file:
            for piece in pieces:
                file.write(piece)
            md5 = file.md5()
            file.seal({"etag": md5, "content-length": str(file.size)})
            with suppress(FileExistsError):
                file.link(folder, stem)
        return md5

    def remove(self, policy: int, part: int, digest: str, names: Iterable[str]) -> None:
        """Remove files that others hold now, and the folders that are empty then."""
        folder = self.path(policy, part, digest)
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(f"{folder}/{name}")
            attributes.remove_side(f"{folder}/{name}")
        self.prune(folder)

    def suffix_names(self, policy: int, part: int) -> list[str]:
        """The suffixes that have a folder here."""
        return _listed(f"{self._root(policy)}/{part}")

    def prune_partition(self, policy: int, part: int) -> None:
        """Remove the folders of a partition that are empty."""
        folder = f"{self._root(policy)}/{part}"
        for suffix in _listed(folder):
            for digest in _listed(f"{folder}/{suffix}"):
                with suppress(OSError):
                    os.rmdir(f"{folder}/{suffix}/{digest}")
            with suppress(OSError):
                os.rmdir(f"{folder}/{suffix}")
        with suppress(OSError):
            os.rmdir(folder)

    def prune(self, folder: str) -> None:
        """Remove empty folders from that of an object up to that of its partition."""
        for _ in range(3):
            try:
                os.rmdir(folder)
            except OSError:
                return
            folder = os.path.dirname(folder)

    def all_files(self, policy: int) -> Iterator[tuple[int, str, str]]:
        """(partition, hash, name) of every file that matters."""
        for part in self.partitions(policy):
            for suffix in _listed(f"{self._root(policy)}/{part}"):
                for digest, names in self.files(policy, part, suffix).items():
                    for name in names:
                        yield part, digest, name

    def _root(self, policy: int) -> str:
        return f"{self.folder}/{data_folder(policy)}"


def check_whole(metadata: Mapping[str, str], md5: str, size: int) -> None:
    """Raises DamagedObject unless that is what was written."""
    stored = metadata.get("x-backend-md5") or metadata.get("etag")
    length = metadata.get("x-backend-size") or metadata.get("content-length")
    if stored != md5 or length != str(size):
        raise DamagedObject(f"{metadata.get('name', '')}: its MD5 is {md5}, not {stored}")


def read_file(path: str) -> tuple[Metadata, int, Iterator[bytes]]:
    """Metadata, size and bytes of a file; raises FileNotFoundError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        metadata = attributes.read(descriptor, path)
        size = os.fstat(descriptor).st_size
    except BaseException:
        os.close(descriptor)
        raise

    def pieces() -> Iterator[bytes]:
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            while piece := file.read(READ_BYTES):
                yield piece

    return metadata, size, pieces()


def verify(path: str) -> Metadata:
    """The metadata of a `.data` file that is whole; raises DamagedObject, FileNotFoundError."""
    try:
        metadata, _, pieces = read_file(path)
    except FileNotFoundError:
        if os.path.exists(path):
            raise DamagedObject(f"{path}: its metadata is gone") from None
        raise
    except (OSError, ValueError) as error:
        raise DamagedObject(f"{path}: {error}") from error
    digest, size = hashlib.md5(usedforsecurity=False), 0
    try:
        for piece in pieces:
            digest.update(piece)
            size += len(piece)
    except OSError as error:
        raise DamagedObject(f"{path}: {error}") from error
    check_whole(metadata, digest.hexdigest(), size)
    return metadata


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(Path(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
