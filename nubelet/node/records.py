"""Records of the fake drivers: one small file each, held in memory, whole after any kill.

A file has a line of JSON for each state of its record; the last whole one counts. Making a file
costs a hundred times what adding a line costs, and security groups change all the time.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from nubelet.decoding import prepared
from nubelet.node.files import safe_name, write_whole

R = TypeVar("R")
_MOST_LINES = 32


class Records(Generic[R]):
    """A dictionary id -> record that is written through to a folder."""

    def __init__(self, folder: Path, kind: type[R]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.Lock()
        self._records: dict[str, R] = {}
        self._lines: dict[str, int] = {}
        for path in folder.glob("*.json"):
            self._load(path, kind)

    def _load(self, path: Path, kind: type[R]) -> None:
        *lines, torn = path.read_bytes().split(b"\n")
        try:
            record = msgspec.json.decode(lines[-1] if lines else torn, type=prepared(kind))
        except msgspec.DecodeError:  # killed while it wrote the first line
            path.unlink()
            return
        if torn:
            write_whole(path, msgspec.json.encode(record) + b"\n")
        self._records[path.stem], self._lines[path.stem] = record, len(lines) or 1

    def get(self, key: str) -> R | None:
        """The record, or None."""
        return self._records.get(key)

    def put(self, key: str, record: R) -> None:
        """Write a record; nothing is written when it is as it was."""
        if self._records.get(key) == record:
            return
        path, line = self._folder / f"{safe_name(key)}.json", msgspec.json.encode(record) + b"\n"
        lines = self._lines.get(key, 0) + 1
        if lines > _MOST_LINES or not _append(path, line):
            self._lines[key] = _MOST_LINES  # should this fail: a torn line is never added to
            write_whole(path, line)
            lines = 1
        with self._lock:
            self._records[key], self._lines[key] = record, lines

    def drop(self, key: str) -> bool:
        """Remove a record; says whether there was one."""
        (self._folder / f"{safe_name(key)}.json").unlink(missing_ok=True)
        with self._lock:
            self._lines.pop(key, None)
            return self._records.pop(key, None) is not None

    def keys(self) -> tuple[str, ...]:
        """All ids, sorted."""
        with self._lock:
            return tuple(sorted(self._records))

    def values(self) -> tuple[R, ...]:
        """All records, by id."""
        with self._lock:
            return tuple(self._records[key] for key in sorted(self._records))

    def purge(self, noun: str) -> list[str]:
        """Remove all records and the folder; one line for each."""
        said = []
        for key in self.keys():
            self.drop(key)
            said.append(f"{noun} {key}")
        for path in self._folder.glob("*"):  # leftovers of a killed write
            path.unlink(missing_ok=True)
        if self._folder.is_dir():
            self._folder.rmdir()
        return said


def _append(path: Path, line: bytes) -> bool:
    """Add a line; False when only a part of it could be written."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        return os.write(file, line) == len(line)
    finally:
        os.close(file)
