"""Objects as files of one device: written beside, made durable, then given their name.

    objects/<partition>/<suffix>/<hash>/<timestamp>.data   bytes, with metadata beside (attributes)
                                        <timestamp>.meta   metadata of a later POST
                                        <timestamp>.ts     tombstone of a DELETE
    tmp/<random>.data                                      being written

The newest `.data` or `.ts` says how things are; what is older is removed. A write goes:

1. `tmp/x` is written, with metadata, and fsynced. A crash until here leaves a `tmp` file with one
   link, which is removed.
2. `tmp/x` is *linked* into its folder, which is fsynced. From here on the write is there.
3. The container's listing learns of it; only then `tmp/x` is removed. A `tmp` file with two
   links is therefore a listing that may still have to learn (`unfinished`): the queue costs
   nothing and cannot be lost.

A writer holds a lock on its file in `tmp`; the kernel drops it with the process, so nobody waits
for the dead by time.

In OpenStack: swift/obj/diskfile.py; the queue is its async_pending.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import NamedTuple

from nubelet.kernel.errors import InsufficientStorage
from nubelet.object_store.storage import (
    WITHIN_RESERVE,
    Finish,
    Metadata,
    Missing,
    Outdated,
    PreconditionFailed,
    Stored,
    attributes,
)
from nubelet.object_store.storage.hashing import data_folder
from nubelet.object_store.storage.metadata import after_post
from nubelet.object_store.storage.sqlite import sync_folders
from nubelet.object_store.storage.timestamps import Timestamp
from nubelet.object_store.storage.write_behind import AFTER_BYTES, Behind, appending, write_all

READ_BYTES = 1 << 20
RESERVE_BYTES = 16 << 20  # or one in a hundred where that is more, never above a sixteenth
_KINDS = (".data", ".ts", ".meta")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class State(NamedTuple):
    """What the folder of an object holds: names of files. `newest` is `.data` or `.ts`."""

    newest: str | None
    meta: str | None
    obsolete: tuple[str, ...]

    @property
    def is_there(self) -> bool:
        """Is there an object?"""
        return self.newest is not None and self.newest.endswith(".data")

    @property
    def data_timestamp(self) -> Timestamp:
        """Of the last PUT or DELETE; empty when there was none."""
        return (self.newest or "").rpartition(".")[0]

    @property
    def timestamp(self) -> Timestamp:
        """Of the last write of any kind; empty when there was none."""
        return (self.meta or self.newest or "").rpartition(".")[0]


def state(names: Iterable[str]) -> State:
    """How the files of a folder are to be read."""
    ordered = sorted((name for name in names if name.endswith(_KINDS)), reverse=True)
    newest = next((name for name in ordered if name.endswith((".data", ".ts"))), None)
    meta = None
    if newest is not None and newest.endswith(".data"):
        meta = next((name for name in ordered if name.endswith(".meta")), None)
        if meta is not None and meta < newest:
            meta = None
    return State(newest, meta, tuple(name for name in ordered if name not in (newest, meta)))


class Opened:
    """An object opened for reading (`OpenObject`)."""

    __slots__ = ("metadata", "size", "path", "_descriptor")

    def __init__(self, descriptor: int, path: str, metadata: Metadata) -> None:
        self._descriptor: int | None = descriptor
        self.path = path
        self.metadata = metadata
        self.size = os.fstat(descriptor).st_size

    def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Bytes from `start` to before `end`."""
        left = (self.size if end is None else min(end, self.size)) - start
        while left > 0:
            assert self._descriptor is not None
            piece = os.pread(self._descriptor, min(READ_BYTES, left), start)
            if not piece:
                raise OSError(errno.EIO, f"{self.path} is shorter than it was")
            start += len(piece)
            left -= len(piece)
            yield piece

    def close(self) -> None:
        """Give up the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.close()


class Writing:
    """A file of `tmp`, locked by this process until it is closed."""

    def __init__(self, folder: str, extension: str) -> None:
        self.extension = extension
        while True:
            self.path = f"{folder}/{secrets.token_hex(12)}{extension}"
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            self.descriptor = os.open(self.path, flags, 0o600)
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            if os.fstat(self.descriptor).st_nlink:  # else taken for one that was left behind
                break
            os.close(self.descriptor)
        self.has_side = False
        self.linked = ""
        self.size = 0
        self._digest = hashlib.md5(usedforsecurity=False)
        self._behind: tuple[Behind, ...] = ()  # hashing, writing

    def write(self, piece: bytes) -> None:
        """Append; what is large is hashed and written while the caller goes on."""
        self.size += len(piece)
        if not self._behind and self.size > AFTER_BYTES:
            self._behind = Behind(self._digest.update), Behind(appending(self.descriptor))
        if self._behind:
            for each in self._behind:
                each.put(piece)
        else:
            self._digest.update(piece)
            write_all(self.descriptor, piece)

    def md5(self) -> str:
        """Of all that was written; nothing comes after it."""
        for each in self._behind[:1]:
            each.finish()
        return self._digest.hexdigest()

    def seal(self, metadata: Metadata) -> None:
        """Add the metadata, and make all of it durable."""
        for each in self._behind:
            each.finish()
        self.has_side = attributes.write(self.descriptor, self.path, metadata)
        os.fsync(self.descriptor)

    def link(self, folder: str, timestamp: Timestamp, *, is_there: bool = False) -> None:
        """Give it its name in the object's folder (which `is_there`, as far as is known), durably.
        Raises FileExistsError."""
        target = f"{folder}/{timestamp}{self.extension}"
        made = 0 if is_there else _make_folder(folder)
        while True:
            try:
                if self.has_side:
                    with suppress(FileExistsError):
                        os.link(self.path + attributes.SIDE, target + attributes.SIDE)
                os.link(self.path, target)
                self.linked = target
                break
            except FileNotFoundError:  # an emptied folder was removed meanwhile
                made = max(made, _make_folder(folder))
        sync_folders(folder, made + 1)

    def done(self) -> None:
        """The listing knows (or the write is given up): nothing is left to do."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        if self.has_side:
            attributes.remove_side(self.path)

    def close(self) -> None:
        """Let go of the lock."""
        for each in self._behind:
            each.stop()
        os.close(self.descriptor)


class ObjectFiles:
    """The objects of one device."""

    def __init__(self, folder: str, locks: str = "") -> None:
        self.folder = folder
        self._locks = locks  # a folder; without it, no write can expect anything
        if locks:
            os.makedirs(locks, 0o700, exist_ok=True)
        self.temporary = os.path.join(folder, "tmp")
        os.makedirs(self.temporary, 0o700, exist_ok=True)

    def folder_of(self, policy: int, place: str) -> str:
        """The folder of an object; place: `<partition>/<suffix>/<hash>`."""
        return f"{self.folder}/{data_folder(policy)}/{place}"

    def state(self, policy: int, place: str) -> State:
        """What is there of an object."""
        return state(_names(self.folder_of(policy, place)))

    def open(self, policy: int, place: str) -> Opened:
        """Open an object with its metadata; raises Missing."""
        folder = self.folder_of(policy, place)
        for _ in range(20):
            found = state(_names(folder))
            if not found.is_there:
                raise Missing("object", "", found.timestamp)
            try:
                return self._open(folder, found)
            except FileNotFoundError:  # replaced since its folder was read
                continue
        raise Missing("object", "")

    def _open(self, folder: str, found: State) -> Opened:
        path = f"{folder}/{found.newest}"
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            metadata = attributes.read(descriptor, path)
            metadata["x-backend-data-timestamp"] = metadata["x-timestamp"]
            if found.meta is not None:
                metadata = after_post(metadata, _attributes_of(f"{folder}/{found.meta}"))
            return Opened(descriptor, path, metadata)
        except BaseException:
            os.close(descriptor)
            raise

    @contextmanager
    def write(
        self,
        policy: int,
        place: str,
        timestamp: Timestamp,
        metadata: Mapping[str, str],
        body: Iterable[bytes],
        finish: Finish | None = None,
        *,
        expected: Timestamp | None = None,
        turn: AbstractContextManager[None] | None = None,
    ) -> Iterator[tuple[Stored, Metadata]]:
        """Write an object; inside the `with` it is there, and its listing is to be told. After a
        failure inside it stays in the queue (`unfinished`). Raises Outdated; PreconditionFailed
        where the data that it replaces is not of the timestamp `expected` (empty: none); what
        entering `turn` raises: inside of it it was decided that this write comes next, also
        where something newer has come already."""
        if WITHIN_RESERVE not in metadata:
            self._check_room(metadata.get("content-length"))
        with self._begin(".data") as file:
            for piece in body:
                file.write(piece)
            etag, size = file.md5(), file.size
            final = {
                **metadata,
                "etag": etag,
                "content-length": str(size),
                **(finish(etag, size) if finish else {}),
                "x-timestamp": timestamp,
            }
            file.seal(final)
            if turn is None:
                self._commit(file, policy, place, timestamp, expected)
            else:
                with self._locked(place, alone=True), turn, suppress(Outdated):
                    self._name(file, policy, place, timestamp)
            yield Stored(final["etag"], size, timestamp), final

    @contextmanager
    def mark(
        self,
        policy: int,
        place: str,
        timestamp: Timestamp,
        metadata: Mapping[str, str],
        extension: str,
    ) -> Iterator[None]:
        """Write a tombstone (`.ts`) or the metadata of a POST (`.meta`), as `write` does."""
        with self._begin(extension) as file:
            file.seal({**metadata, "x-timestamp": timestamp})
            self._commit(file, policy, place, timestamp)
            yield

    @contextmanager
    def _begin(self, extension: str) -> Iterator[Writing]:
        with _translated():
            file = Writing(self.temporary, extension)
            try:
                yield file
            except BaseException:
                if not file.linked:
                    file.done()
                raise
            else:
                file.done()
            finally:
                file.close()

    def check_expected(self, policy: int, place: str, expected: Timestamp) -> None:
        """Raise PreconditionFailed where the data that is there is of another timestamp."""
        found = self.state(policy, place)
        if (found.data_timestamp if found.is_there else "") != expected:
            raise PreconditionFailed(
                "The object has changed meanwhile." if expected else "The object exists."
            )

    def _commit(
        self,
        file: Writing,
        policy: int,
        place: str,
        timestamp: Timestamp,
        expected: Timestamp | None = None,
    ) -> None:
        with self._locked(place, alone=expected is not None):
            if expected is not None:
                self.check_expected(policy, place, expected)
            self._name(file, policy, place, timestamp)

    @contextmanager
    def _locked(self, place: str, *, alone: bool) -> Iterator[None]:
        """Whoever names what it replaces does so alone; all others together, as they always can."""
        if not self._locks:
            yield
            return
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
        descriptor = os.open(f"{self._locks}/{place[-2:]}", flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    def _name(self, file: Writing, policy: int, place: str, timestamp: Timestamp) -> None:
        folder = self.folder_of(policy, place)
        before = self.state(policy, place)
        # Data and tombstones compete with one another only: a POST is about what it came after.
        newest = before.timestamp if file.extension == ".meta" else before.data_timestamp
        if newest >= timestamp:
            raise Outdated(newest)
        file.link(folder, timestamp, is_there=before.newest is not None)
        self.tidy(folder)

    def tidy(self, folder: str) -> None:
        """Remove what a newer write made obsolete."""
        for name in state(_names(folder)).obsolete:
            path = f"{folder}/{name}"
            with suppress(FileNotFoundError):
                os.unlink(path)
            attributes.remove_side(path)

    def _check_room(self, length: str | None) -> None:
        """New objects leave some room: to empty a full disk, tombstones and listings need it."""
        wanted = int(length) if length is not None and length.isdigit() else 0
        room = os.statvfs(self.folder)
        reserve = max(
            room.f_blocks // 100, min(RESERVE_BYTES // room.f_frsize, room.f_blocks // 16)
        )
        if (room.f_bavail - reserve) * room.f_frsize < wanted:
            raise InsufficientStorage(f"There is no room for {wanted} bytes.")

    # --- What was left behind --------------------------------------------------------------

    def unfinished(self) -> Iterator[tuple[str, Metadata]]:
        """Files of `tmp` whose writer is gone after it had stored the object: the extension and
        the metadata. Each is forgotten once the loop comes back for the next. Those whose writer
        went before are removed."""
        for name in _names(self.temporary):
            path = f"{self.temporary}/{name}"
            if name.endswith(attributes.SIDE):
                if not os.path.exists(path.removesuffix(attributes.SIDE)):
                    attributes.remove_side(path.removesuffix(attributes.SIDE))
                continue
            with suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.fstat(descriptor).st_nlink > 1 or _is_sealed(descriptor, path):
                        yield os.path.splitext(name)[1], attributes.read(descriptor, path)
                    os.unlink(path)
                    attributes.remove_side(path)
                except BlockingIOError:
                    pass  # being written
                finally:
                    os.close(descriptor)


def _is_sealed(descriptor: int, path: str) -> bool:
    """A file that was stored and has lost its name to a newer write is queued all the same: its
    listing may know neither. One that was never stored is no harm: its write is not newer than
    what the folder says, which is what the listing is told."""
    try:
        attributes.read(descriptor, path)
    except (OSError, ValueError):
        return False
    return True


def _attributes_of(path: str) -> Metadata:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return attributes.read(descriptor, path)
    finally:
        os.close(descriptor)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _make_folder(folder: str) -> int:
    """Make a folder and those above it; how many of those above have to be made durable too."""
    try:
        os.mkdir(folder, 0o700)
        return 1
    except FileExistsError:
        return 0
    except FileNotFoundError:
        made = _make_folder(os.path.dirname(folder))
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        return made + 1


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise InsufficientStorage from error
        raise
