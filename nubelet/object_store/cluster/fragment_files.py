"""Fragments on a device: `fragments-N/<partition>/<suffix>/<hash>/<timestamp>#<index>.fragment`.

Written once and never changed; which of them count is said by the manifest of the same hash
(erasure.py).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from nubelet.object_store.cluster.object_files import (
    READ_BYTES,
    DamagedObject,
    NodeObjectFiles,
    read_file,
    verify,
)
from nubelet.object_store.storage import Missing, attributes
from nubelet.object_store.storage.timestamps import Timestamp

_EXTENSION = ".fragment"


class FragmentName(NamedTuple):
    """Which write it belongs to, and which of its fragments it is."""

    timestamp: Timestamp
    number: int

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.timestamp}#{self.number}{_EXTENSION}"

    @classmethod
    def of(cls, file: str) -> FragmentName | None:
        """Of the name of a file; None for another file."""
        stem, extension = os.path.splitext(file)
        timestamp, _, index = stem.partition("#")
        return cls(timestamp, int(index)) if extension == _EXTENSION and index.isdigit() else None


class FragmentFiles:
    """The fragments of one device."""

    def __init__(self, folder: str, objects: NodeObjectFiles) -> None:
        self._folder, self._objects = folder, objects

    def folder_of(self, policy: int, place: str) -> str:
        """The folder of an object's fragments; place: `<partition>/<suffix>/<hash>`."""
        return f"{self._folder}/fragments-{policy}/{place}"

    def write(self, policy: int, place: str, name: FragmentName, pieces: Iterable[bytes]) -> str:
        """Store a fragment durably; its MD5."""
        return self._objects.store(
            self.folder_of(policy, place), f"{name.timestamp}#{name.number}", _EXTENSION, pieces
        )

    def open(
        self, policy: int, place: str, name: FragmentName, start: int, end: int
    ) -> tuple[int, Iterator[bytes]]:
        """How many bytes there are from `start` to before `end`, and those; raises Missing."""
        path = f"{self.folder_of(policy, place)}/{name.file}"
        try:
            file = open(path, "rb", buffering=0)  # noqa: SIM115 - the iterator closes it
        except FileNotFoundError:
            raise Missing("fragment", name.file) from None
        left = max(0, min(end, os.fstat(file.fileno()).st_size) - start)

        def pieces() -> Iterator[bytes]:
            with file:
                file.seek(start)
                rest = left
                while rest and (piece := file.read(min(READ_BYTES, rest))):
                    rest -= len(piece)
                    yield piece

        return left, pieces()

    def names(self, policy: int, place: str) -> list[FragmentName]:
        """The fragments of an object."""
        found = (FragmentName.of(file) for file in _listed(self.folder_of(policy, place)))
        return sorted(name for name in found if name is not None)

    def partitions(self, policy: int) -> list[int]:
        """The partitions that have a folder here."""
        folder = f"{self._folder}/fragments-{policy}"
        return sorted(int(name) for name in _listed(folder) if name.isdigit())

    def partition(self, policy: int, part: int) -> dict[str, list[FragmentName]]:
        """Hash -> fragments, of a partition."""
        found = {}
        for suffix in _listed(f"{self._folder}/fragments-{policy}/{part}"):
            for digest in _listed(f"{self._folder}/fragments-{policy}/{part}/{suffix}"):
                names = self.names(policy, f"{part}/{suffix}/{digest}")
                if names:
                    found[digest] = names
        return found

    def age_of(self, policy: int, place: str, name: FragmentName, now: float) -> float:
        """For how many seconds it has been there."""
        with suppress(FileNotFoundError):
            return now - os.stat(f"{self.folder_of(policy, place)}/{name.file}").st_mtime
        return 0.0

    def remove(self, policy: int, place: str, name: FragmentName) -> None:
        """Remove a fragment, and the folders that are empty then."""
        folder = self.folder_of(policy, place)
        with suppress(FileNotFoundError):
            os.unlink(f"{folder}/{name.file}")
        attributes.remove_side(f"{folder}/{name.file}")
        self._objects.prune(folder)

    def verify(self, policy: int, place: str, name: FragmentName) -> None:
        """Raises DamagedObject, FileNotFoundError."""
        verify(f"{self.folder_of(policy, place)}/{name.file}")

    def pieces(self, policy: int, place: str, name: FragmentName) -> Iterator[bytes]:
        """All its bytes, checked at the end; raises FileNotFoundError, DamagedObject."""
        metadata, _, pieces = read_file(f"{self.folder_of(policy, place)}/{name.file}")
        digest = hashlib.md5(usedforsecurity=False)
        for piece in pieces:
            digest.update(piece)
            yield piece
        if digest.hexdigest() != metadata.get("etag"):
            raise DamagedObject(f"{name.file} is damaged")


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
