"""Promises: a device lets one writer at a time replace what it has, if that is what he expects.

    promises/<last two digits of the hash>    {hash: promise}, one line, under a lock of its file

A writer with a condition asks the devices of the object for a promise once its body is there
(`deciding.py`), and writes when a majority gave one. Two majorities share a device, so of two
writers that expect the same one gets it. A promise that is not used ends after a while; who takes
it over must have a newer timestamp, because the write of the one before may still have come to some
device, and must not outlive his.

Promises outlive the process (it may be killed between promise and write), not a loss of power,
after which they would be over anyway.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from nubelet.decoding import prepared
from nubelet.kernel.errors import Conflict, PreconditionFailed
from nubelet.object_store.storage import Outdated
from nubelet.object_store.storage.objects import State
from nubelet.object_store.storage.timestamps import Timestamp

# A proxy asks for a promise and uses it within moments.
LIVE_SECONDS = 30.0
# So long it is remembered to whom a promise was given that was never used.
_KEPT_SECONDS = 86_400.0


class _Promise(msgspec.Struct):
    writer: str
    timestamp: Timestamp
    expected: Timestamp
    until: float


_Promises = dict[str, _Promise]


class Promises:
    """The promises of one device."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        os.makedirs(folder, 0o700, exist_ok=True)

    def give(
        self,
        digest: str,
        writer: str,
        timestamp: Timestamp,
        expected: Timestamp,
        look: Callable[[], State],
    ) -> None:
        """Promise a writer that nobody else gets a promise until he wrote. Raises
        PreconditionFailed where there is newer data than he expects (empty: any), Conflict where
        another writer has a promise."""
        with self._kept(digest) as kept:
            found = look()
            _check(found, expected)
            if found.data_timestamp >= timestamp:
                raise Outdated(found.data_timestamp)
            other = kept.get(digest)
            if other is not None and other.writer != writer:
                is_open = other.timestamp > found.data_timestamp
                if is_open and (time.time() < other.until or other.timestamp >= timestamp):
                    raise Conflict("Another write of the object is under way. Please try again.")
            kept[digest] = _Promise(writer, timestamp, expected, time.time() + LIVE_SECONDS)

    def take_back(self, digest: str, writer: str) -> None:
        """The writer will not write."""
        with self._kept(digest) as kept:
            if digest in kept and kept[digest].writer == writer:
                del kept[digest]

    @contextmanager
    def used(self, digest: str, writer: str, look: Callable[[], State]) -> Iterator[None]:
        """Inside, the writer writes. Raises Conflict where he has no promise (any more),
        PreconditionFailed where a write came meanwhile that asks for none and would be replaced."""
        with self._kept(digest) as kept:
            if digest not in kept or kept[digest].writer != writer:
                raise Conflict("Another write of the object came first. Please try again.")
            found = look()
            if found.data_timestamp < kept[digest].timestamp:
                _check(found, kept[digest].expected)
            yield
            del kept[digest]

    @contextmanager
    def _kept(self, digest: str) -> Iterator[_Promises]:
        """The promises of a file, alone. What becomes of them is kept, unless something raises."""
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
        descriptor = os.open(f"{self._folder}/{digest[-2:]}", flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            line = os.pread(descriptor, os.fstat(descriptor).st_size, 0).partition(b"\n")[0]
            kept = _read(line)
            before = dict(kept)
            yield kept
            if kept != before:
                oldest = time.time() - _KEPT_SECONDS
                kept = {key: each for key, each in kept.items() if each.until > oldest}
                # By one write, so that a kill leaves one or the other.
                os.pwrite(descriptor, msgspec.json.encode(kept) + b"\n", 0)
        finally:
            os.close(descriptor)


def _check(found: State, expected: Timestamp) -> None:
    there = found.data_timestamp if found.is_there else ""
    # A device that has something older missed a write, which does not count here.
    if there != expected and found.data_timestamp > expected:
        raise PreconditionFailed("The object is there, or has changed.")


def _read(line: bytes) -> _Promises:
    try:
        found: _Promises = msgspec.json.decode(line, type=prepared(_Promises))
    except (msgspec.DecodeError, UnicodeDecodeError):  # there is none yet, or power was lost
        return {}
    return found
