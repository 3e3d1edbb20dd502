"""A listing file: one SQLite database per account and per container.

Each has one row `info` with a JSON of metadata (name -> [value, timestamp of the last change]),
and a table of entries. A process keeps the files it used last open, one connection each behind a
lock; other processes may have the same file open. Commits are durable (synchronous=FULL).

A file is made beside and renamed, so it is there whole or not at all. It may be taken away under
those who have it open (a disk is exchanged, an auditor puts it aside, a replicator hands it over):
each use looks whether the path is still the file that is open.

Read next: containers.py. In OpenStack: swift/common/db.py DatabaseBroker.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from nubelet.decoding import prepared
from nubelet.kernel.errors import InsufficientStorage, ServiceUnavailable
from nubelet.object_store.storage.timestamps import Timestamp

_BUSY_SECONDS = 20.0
_OPEN_FILES = 256
Versioned = dict[str, tuple[str, Timestamp]]
_decode = msgspec.json.Decoder(prepared(dict[str, tuple[str, str]])).decode


class NotMade(ServiceUnavailable):
    """There is no such file, or no such table in it; perhaps it was taken away this moment."""

    def __init__(self) -> None:
        super().__init__("The listing was removed; please try again.")


class ListingFile:
    """One file. Subclasses give the schema, and work inside `read()` and `write()`."""

    SCHEMA = ""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: _Identity | None = None
        self.users = 0

    def exists(self) -> bool:
        """Was it ever made?"""
        return os.path.exists(self.path)

    def create(self, first: Mapping[str, Any]) -> None:
        """Make the tables, and the row `info` with these values, unless they are there."""
        folder = os.path.dirname(self.path)
        with self.lock, only_one(folder), self._translated():
            if self.exists():
                self._fill(self._connect(), first)  # its removal was broken off, or it is there
            else:
                self._make(first)
                sync_folders(folder, 4)

    def _make(self, first: Mapping[str, Any]) -> None:
        beside = f"{self.path}.new"
        folder, name = os.path.split(self.path)
        for each in os.listdir(folder):
            # Of one that was killed here, or the log of a file that was taken away.
            if each.startswith(name):
                with suppress(FileNotFoundError):
                    os.unlink(f"{folder}/{each}")
        db = sqlite3.connect(beside, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous=OFF")
            db.execute("PRAGMA journal_mode=WAL")
            self._fill(db, first)
        finally:
            db.close()
        sync(beside)
        os.rename(beside, self.path)

    def _fill(self, db: sqlite3.Connection, first: Mapping[str, Any]) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            for statement in filter(str.strip, self.SCHEMA.split(";")):
                db.execute(statement)
            names = ", ".join(first)
            marks = ", ".join("?" * len(first))
            db.execute(
                f"INSERT INTO info ({names}) SELECT {marks} "  # noqa: S608 - our own names
                "WHERE NOT EXISTS (SELECT 1 FROM info)",
                tuple(first.values()),
            )
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one or several SELECTs. Raises NotMade."""
        with self.lock, self._translated():
            yield self._connect()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction; durable when this returns. Raises NotMade."""
        with self.lock, self._translated():
            db = self._connect()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:  # else the database has rolled back, or it is committed
                    db.execute("ROLLBACK")

    def remove(self, is_over: Callable[[sqlite3.Connection], bool]) -> bool:
        """Remove the file and its folder if `is_over`, asked while nobody writes; whether it is
        gone. Processes that have it open find no table in it, then no file."""
        folder = os.path.dirname(self.path)
        with self.lock, only_one(folder):
            with self.write() as db:
                if not is_over(db):
                    return False
                tables = db.execute(
                    "SELECT name FROM sqlite_master "
                    "WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
                ).fetchall()
                for (name,) in tables:
                    db.execute(f"DROP TABLE {name}")
            self.close()
            shutil.rmtree(folder, ignore_errors=True)
        return True

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self.lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _connect(self) -> sqlite3.Connection:
        if self._connection is not None and self._is_elsewhere():
            self.close()
        while self._connection is None:
            self._identity = _identity(self.path)
            if self._identity is None:
                raise NotMade
            db = sqlite3.connect(
                f"file:{quote(self.path)}?mode=rw",  # never makes a file
                _BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
                uri=True,
            )
            try:
                db.execute("PRAGMA synchronous=FULL")  # this opens the files of its log, too
            except BaseException:
                db.close()
                raise
            self._connection = db
            if self._is_elsewhere():
                self.close()
        return self._connection

    def _is_elsewhere(self) -> bool:
        """Is the path no longer the file that is open?"""
        return _identity(self.path) != self._identity

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if "no such table" in str(error) or self._is_elsewhere():
                raise NotMade from error
            name = getattr(error, "sqlite_errorname", "")
            if name == "SQLITE_FULL":
                raise InsufficientStorage from error
            if name.startswith(("SQLITE_BUSY", "SQLITE_CANTOPEN")):
                raise ServiceUnavailable("The listing is busy; please try again.") from error
            raise


_Identity = tuple[int, int]  # of a device and of a file on it


def _identity(path: str) -> _Identity | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def only_one(folder: str) -> Iterator[None]:
    """While nobody else makes or removes the file in a folder, which is made."""
    while True:
        os.makedirs(folder, 0o700, exist_ok=True)
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # removed in this moment
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # It may have been removed since it was opened.
            own = os.fstat(descriptor)
            if (own.st_dev, own.st_ino) != _identity(folder):
                continue
            yield
            return
        finally:
            os.close(descriptor)


def sync_folders(folder: str, levels: int) -> None:
    """Make the entries of a folder, and of so many above it, durable."""
    for _ in range(levels):
        sync(folder)
        folder = os.path.dirname(folder)


def sync(path: str) -> None:
    """Make the bytes of a file, or the entries of a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def changed(now: str, change: Mapping[str, str], timestamp: Timestamp) -> str:
    """The JSON of metadata after a change; newer values that are there win."""
    kept: Versioned = _decode(now)
    for name, value in change.items():
        if name not in kept or kept[name][1] < timestamp:
            kept[name] = (value, timestamp)
    return msgspec.json.encode(kept).decode()


def values(text: str) -> dict[str, str]:
    """The metadata that is there; an empty value is the tombstone of a name."""
    return {name: value for name, (value, _) in _decode(text).items() if value}


F = TypeVar("F", bound=ListingFile)


class OpenFiles(Generic[F]):
    """The listing files that are open, the least recently used closed first."""

    def __init__(self, kind: type[F]) -> None:
        self._kind = kind
        self._files: OrderedDict[str, F] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def use(self, path: str) -> Iterator[F]:
        """The file at a path, which stays open meanwhile."""
        with self._lock:
            file = self._files.get(path)
            if file is None:
                file = self._files[path] = self._kind(path)
                self._close_surplus()
            else:
                self._files.move_to_end(path)
            file.users += 1
        try:
            yield file
        finally:
            with self._lock:
                file.users -= 1

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def _close_surplus(self) -> None:
        for path in list(self._files)[: max(0, len(self._files) - _OPEN_FILES)]:
            if not self._files[path].users:
                self._files.pop(path).close()
