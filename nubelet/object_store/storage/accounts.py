"""An account's file: its metadata, its totals per policy, and an entry per container.

The totals are sums over the entries, kept up by each change. Containers report theirs; the
newest report of a container wins.

In OpenStack: swift/account/backend.py AccountBroker.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

from nubelet.object_store.storage import (
    AccountInfo,
    ContainerEntry,
    Listing,
    Missing,
    Subdirectory,
    Usage,
)
from nubelet.object_store.storage import sqlite as files
from nubelet.object_store.storage.containers import Totals
from nubelet.object_store.storage.listings import conditions, walk
from nubelet.object_store.storage.timestamps import ZERO, Timestamp

_INFO = "SELECT account, created_at, put_timestamp, delete_timestamp, metadata FROM info"


class AccountFile(files.ListingFile):
    """One account."""

    SCHEMA = """
CREATE TABLE IF NOT EXISTS info (
    account TEXT NOT NULL, id TEXT NOT NULL, created_at TEXT NOT NULL,
    put_timestamp TEXT NOT NULL, delete_timestamp TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE IF NOT EXISTS container (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,
    put_timestamp TEXT NOT NULL, delete_timestamp TEXT NOT NULL,
    object_count INTEGER NOT NULL, bytes_used INTEGER NOT NULL,
    deleted INTEGER NOT NULL, policy INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS container_by_name ON container (deleted, name);
CREATE TABLE IF NOT EXISTS usage (
    policy INTEGER PRIMARY KEY, container_count INTEGER NOT NULL,
    object_count INTEGER NOT NULL, bytes_used INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS incoming_sync (remote_id TEXT PRIMARY KEY, sync_point INTEGER NOT NULL)
"""

    def info(self, *, totals: bool = True) -> AccountInfo:
        """Raises Missing. Without `totals` all numbers are 0."""
        row = self._info()
        if row is None or _is_deleted(row):
            # A file whose making was broken off was never written, which is not deleted.
            gone = row[3] if row and row[3] != ZERO else ""
            raise Missing("account", row[0] if row else "", gone)
        usages = self._usages() if totals else {}
        return AccountInfo(
            account=row[0],
            created_at=row[1],
            put_timestamp=row[2],
            metadata=files.values(row[4]),
            container_count=sum(each.container_count for each in usages.values()),
            object_count=sum(each.object_count for each in usages.values()),
            bytes_used=sum(each.bytes_used for each in usages.values()),
            policies=usages,
        )

    def _usages(self) -> dict[int, Usage]:
        with self.read() as db:
            return {
                each[0]: Usage(container_count=each[1], object_count=each[2], bytes_used=each[3])
                for each in db.execute(
                    "SELECT policy, container_count, object_count, bytes_used FROM usage"
                )
            }

    def put(self, account: str, timestamp: Timestamp, metadata: Mapping[str, str]) -> bool:
        """Make it, or change its metadata; True if it was not there."""
        if self._info() is None:
            self.create(
                {
                    "account": account,
                    "id": uuid4().hex,
                    "created_at": timestamp,
                    "put_timestamp": ZERO,
                    "delete_timestamp": ZERO,
                }
            )
        with self.write() as db:
            row = db.execute(_INFO).fetchone()
            is_new = _is_deleted(row)
            db.execute(
                "UPDATE info SET put_timestamp = max(put_timestamp, ?), created_at = ?, "
                "metadata = ?",
                (
                    timestamp,
                    timestamp if is_new else row[1],
                    files.changed(row[4], metadata, timestamp),
                ),
            )
        return is_new

    def post(self, timestamp: Timestamp, metadata: Mapping[str, str]) -> None:
        """Change its metadata; raises Missing."""
        self.info()
        with self.write() as db:
            row = db.execute(_INFO).fetchone()
            db.execute(
                "UPDATE info SET metadata = ?", (files.changed(row[4], metadata, timestamp),)
            )

    def delete(self, timestamp: Timestamp) -> None:
        """Mark it deleted; raises Missing."""
        self.info()
        with self.write() as db:
            row = db.execute(_INFO).fetchone()
            cleared = files.changed(row[4], dict.fromkeys(files.values(row[4]), ""), timestamp)
            db.execute("UPDATE info SET delete_timestamp = ?, metadata = ?", (timestamp, cleared))

    def merge(self, name: str, totals: Totals) -> None:
        """Take up what a container reports."""
        with self.write() as db:
            known = db.execute(
                "SELECT put_timestamp, delete_timestamp, object_count, bytes_used, deleted, policy "
                "FROM container WHERE name = ? AND deleted IN (0, 1)",
                (name,),
            ).fetchone()
            put = max(totals.put_timestamp, known[0] if known else ZERO)
            gone = max(totals.delete_timestamp, known[1] if known else ZERO)
            deleted = int(totals.object_count == 0 and gone >= put)
            row = (put, gone, totals.object_count, totals.bytes_used, deleted, totals.policy)
            if known == row:
                return
            if known and not known[4]:
                _count(db, known[5], -1, -known[2], -known[3])
            if not deleted:
                _count(db, totals.policy, 1, totals.object_count, totals.bytes_used)
            db.execute("DELETE FROM container WHERE name = ? AND deleted IN (0, 1)", (name,))
            db.execute(
                "INSERT INTO container (name, put_timestamp, delete_timestamp, object_count, "
                "bytes_used, deleted, policy) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (name, *row),
            )

    def entries(self, listing: Listing) -> list[ContainerEntry | Subdirectory]:
        """A page of its listing; raises Missing."""
        self.info()
        with self.read() as db:

            def fetch(
                low: str | None,
                or_low: bool,
                high: str | None,
                or_high: bool,
                limit: int,
                down: bool,
            ) -> Iterable[Any]:
                sql, bound = conditions(low, or_low, high, or_high)
                return db.execute(
                    "SELECT name, object_count, bytes_used, put_timestamp, policy "  # noqa: S608
                    f"FROM container WHERE deleted = 0{sql} "
                    f"ORDER BY name {'DESC' if down else ''} LIMIT ?",
                    (*bound, limit),
                )

            return walk(listing, fetch, ContainerEntry._make)

    def reclaim(self, before: Timestamp) -> int:
        """Forget tombstones of containers from before that time; how many."""
        if self._info() is None:
            return 0
        with self.write() as db:
            return db.execute(
                "DELETE FROM container WHERE deleted = 1 AND delete_timestamp < ?", (before,)
            ).rowcount

    def left(self, before: Timestamp, limit: int = 1000) -> list[tuple[str, str]]:
        """(account, container) of what is left, where it was deleted before that time."""
        row = self._info()
        if row is None or not row[2] <= row[3] < before:
            return []
        with self.read() as db:
            rows = db.execute("SELECT name FROM container WHERE deleted = 0 LIMIT ?", (limit,))
            return [(row[0], each[0]) for each in rows]

    def is_forgotten(self, before: Timestamp) -> bool:
        """Was it deleted before that time, and is nothing left of it?"""
        row = self._info()
        if row is None or not row[2] <= row[3] < before:
            return False
        with self.read() as db:
            return db.execute("SELECT 1 FROM container LIMIT 1").fetchone() is None

    def _info(self) -> Any:
        try:
            with self.read() as db:
                return db.execute(_INFO).fetchone()
        except files.NotMade:
            return None


def _is_deleted(row: Any) -> bool:
    return bool(row[3] >= row[2])


def _count(db: sqlite3.Connection, policy: int, containers: int, objects: int, size: int) -> None:
    db.execute(
        "INSERT INTO usage VALUES (?, ?, ?, ?) ON CONFLICT (policy) DO UPDATE SET "
        "container_count = container_count + excluded.container_count, "
        "object_count = object_count + excluded.object_count, "
        "bytes_used = bytes_used + excluded.bytes_used",
        (policy, containers, objects, size),
    )
