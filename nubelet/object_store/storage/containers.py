"""A container's file: its metadata, its totals, and an entry per object.

An entry that was removed stays as a tombstone until an older write cannot arrive any more.
Each change of an entry gives it a new `id`, so that replicators can ask for what changed since.

Read next: listings.py. In OpenStack: swift/container/backend.py ContainerBroker.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

from nubelet.kernel.errors import Conflict
from nubelet.object_store.storage import (
    OVERRIDE_ETAG,
    OVERRIDE_SHOWN_SIZE,
    OVERRIDE_SIZE,
    ContainerInfo,
    Listing,
    Metadata,
    Missing,
    NotEmpty,
    ObjectEntry,
    Subdirectory,
)
from nubelet.object_store.storage import sqlite as files
from nubelet.object_store.storage.listings import conditions, walk
from nubelet.object_store.storage.timestamps import ZERO, Timestamp


class ObjectRow(NamedTuple):
    """What a write of an object means for the listing.

    timestamp: of the data, or of the DELETE; meta_timestamp: of the last POST, else the same.
    """

    name: str
    timestamp: Timestamp
    meta_timestamp: Timestamp
    size: int
    content_type: str
    etag: str
    deleted: int
    policy: int


class Change(NamedTuple):
    """An entry as it changed last, under the number of that change."""

    id: int
    name: str
    timestamp: Timestamp
    deleted: bool


class Totals(NamedTuple):
    """What a container tells its account."""

    put_timestamp: Timestamp
    delete_timestamp: Timestamp
    object_count: int
    bytes_used: int
    policy: int


def row_of(name: str, policy: int, metadata: Metadata) -> ObjectRow:
    """What the listing shall say of an object with this metadata."""
    timestamp = metadata["x-timestamp"]
    kind = metadata.get("content-type", "")
    if OVERRIDE_SHOWN_SIZE in metadata:
        kind += f";swift_bytes={metadata[OVERRIDE_SHOWN_SIZE]}"
    return ObjectRow(
        name,
        metadata.get("x-backend-data-timestamp", timestamp),
        timestamp,
        int(metadata.get(OVERRIDE_SIZE, metadata["content-length"])),
        kind,
        metadata.get(OVERRIDE_ETAG, metadata["etag"]),
        0,
        policy,
    )


class _Waiting:
    """Rows of one caller of `merge`."""

    __slots__ = ("is_merged", "rows")

    def __init__(self, rows: tuple[ObjectRow, ...]) -> None:
        self.rows, self.is_merged = rows, False


_INFO = (
    "SELECT account, container, created_at, put_timestamp, delete_timestamp, object_count, "
    "bytes_used, policy, metadata FROM info"
)
_ROW = "name, timestamp, meta_timestamp, size, content_type, etag, deleted, policy"


# ObjectEntry._make without a frame of its own, which a listing of ten thousand notices.
_entry = partial(tuple.__new__, ObjectEntry)


class ContainerFile(files.ListingFile):
    """One container."""

    SCHEMA = """
CREATE TABLE IF NOT EXISTS info (
    account TEXT NOT NULL, container TEXT NOT NULL, id TEXT NOT NULL,
    created_at TEXT NOT NULL, put_timestamp TEXT NOT NULL, delete_timestamp TEXT NOT NULL,
    status_changed_at TEXT NOT NULL,
    object_count INTEGER NOT NULL DEFAULT 0, bytes_used INTEGER NOT NULL DEFAULT 0,
    policy INTEGER NOT NULL, metadata TEXT NOT NULL DEFAULT '{}',
    reported_put_timestamp TEXT NOT NULL DEFAULT '0000000000.00000',
    reported_delete_timestamp TEXT NOT NULL DEFAULT '0000000000.00000',
    reported_object_count INTEGER NOT NULL DEFAULT 0,
    reported_bytes_used INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS object (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,
    timestamp TEXT NOT NULL, meta_timestamp TEXT NOT NULL,
    size INTEGER NOT NULL, content_type TEXT NOT NULL, etag TEXT NOT NULL,
    deleted INTEGER NOT NULL, policy INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS object_by_name ON object (deleted, name);
CREATE TABLE IF NOT EXISTS incoming_sync (remote_id TEXT PRIMARY KEY, sync_point INTEGER NOT NULL)
"""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._waiting: deque[_Waiting] = deque()

    def info(self) -> ContainerInfo:
        """Raises Missing."""
        row = self._info()
        if row is None or _is_deleted(row):
            raise Missing("container", row[1] if row else "", row[4] if row else "")
        return ContainerInfo(
            account=row[0],
            container=row[1],
            created_at=row[2],
            put_timestamp=row[3],
            metadata=files.values(row[8]),
            object_count=row[5],
            bytes_used=row[6],
            policy=row[7],
        )

    def totals(self) -> Totals | None:
        """What its account shall know; None where it was never made."""
        row = self._info()
        return Totals(row[3], row[4], row[5], row[6], row[7]) if row else None

    def put(
        self,
        account: str,
        container: str,
        timestamp: Timestamp,
        metadata: Mapping[str, str],
        policy: int | None,
        default_policy: int,
    ) -> bool:
        """Make it, or change its metadata; True if it was not there. Raises Conflict."""
        if self._info() is None:
            self.create(
                {
                    "account": account,
                    "container": container,
                    "id": uuid4().hex,
                    "created_at": timestamp,
                    "put_timestamp": ZERO,
                    "delete_timestamp": ZERO,
                    "status_changed_at": timestamp,
                    "policy": default_policy if policy is None else policy,
                }
            )
        with self.write() as db:
            row = db.execute(_INFO).fetchone()
            is_new = _is_deleted(row) or row[3] == ZERO
            chosen = row[7]
            if is_new and (policy is not None or row[3] != ZERO):
                chosen = default_policy if policy is None else policy
            elif policy is not None and policy != chosen:
                raise Conflict(f"The container has storage policy {chosen}.")
            db.execute(
                "UPDATE info SET put_timestamp = max(put_timestamp, ?), policy = ?, metadata = ?, "
                "created_at = ?, status_changed_at = ?",
                (
                    timestamp,
                    chosen,
                    files.changed(row[8], metadata, timestamp),
                    timestamp if is_new else row[2],
                    timestamp,
                ),
            )
        return is_new

    def post(self, timestamp: Timestamp, metadata: Mapping[str, str]) -> None:
        """Change its metadata; raises Missing."""
        if self._info() is None:
            raise Missing("container", "")
        with self.write() as db:
            row = db.execute(_INFO).fetchone()
            if _is_deleted(row):
                raise Missing("container", row[1], row[4])
            db.execute(
                "UPDATE info SET metadata = ?, put_timestamp = max(put_timestamp, ?)",
                (files.changed(row[8], metadata, timestamp), timestamp),
            )

    def delete(self, timestamp: Timestamp) -> None:
        """Mark it deleted; its metadata is forgotten. Raises Missing, NotEmpty."""
        if self._info() is None:
            raise Missing("container", "")
        with self.write() as db:
            row = db.execute(_INFO).fetchone()
            if _is_deleted(row):
                raise Missing("container", row[1], row[4])
            if row[5]:
                raise NotEmpty(f"The container has {row[5]} objects.")
            cleared = files.changed(row[8], dict.fromkeys(files.values(row[8]), ""), timestamp)
            db.execute(
                "UPDATE info SET delete_timestamp = ?, metadata = ?, status_changed_at = ?",
                (timestamp, cleared, timestamp),
            )

    def merge(self, rows: Iterable[ObjectRow]) -> None:
        """Take up writes of objects, in any order, each as often as may be.

        Who comes while another commits waits, and is taken along by the first of those who wait:
        a commit costs more than a row. If that fails, each of them tries for itself."""
        own = _Waiting(tuple(rows))
        self._waiting.append(own)
        with self.lock:
            if own.is_merged:
                return
            together = []
            while self._waiting:
                together.append(self._waiting.popleft())
            try:
                self._merge(row for each in together for row in each.rows)
            except BaseException as error:
                others = [each for each in together if each is not own]
                self._waiting.extend(others)
                if not others or not isinstance(error, Exception):
                    raise
                self._merge(own.rows)
            else:
                for each in together:
                    each.is_merged = True

    def _merge(self, rows: Iterable[ObjectRow]) -> None:
        with self.write() as db:
            count = size = 0
            for row in rows:
                more, bytes_more = _merge_one(db, row)
                count += more
                size += bytes_more
            if count or size:
                db.execute(
                    "UPDATE info SET object_count = object_count + ?, bytes_used = bytes_used + ?",
                    (count, size),
                )

    def entries(self, listing: Listing) -> list[ObjectEntry | Subdirectory]:
        """A page of its listing; raises Missing."""
        self.info()
        moment = "timestamp" if listing.written else "meta_timestamp"
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
                    f"SELECT name, {moment}, size, content_type, etag "  # noqa: S608
                    f"FROM object WHERE deleted = 0{sql} "
                    f"ORDER BY name {'DESC' if down else ''} LIMIT ?",
                    (*bound, limit),
                )

            return walk(listing, fetch, _entry)

    def changes(self, after: int, limit: int) -> list[Change]:
        """What changed after a change, in order."""
        self.info()
        with self.read() as db:
            rows = db.execute(
                "SELECT id, name, max(timestamp, meta_timestamp), deleted FROM object "
                "WHERE id > ? ORDER BY id LIMIT ?",
                (after, limit),
            )
            return [Change(row[0], row[1], row[2], bool(row[3])) for row in rows]

    def reclaim(self, before: Timestamp) -> int:
        """Forget tombstones of entries from before that time; how many."""
        if self._info() is None:
            return 0
        with self.write() as db:
            return db.execute(
                "DELETE FROM object WHERE deleted = 1 AND timestamp < ?", (before,)
            ).rowcount

    def is_forgotten(self, before: Timestamp) -> bool:
        """Was it deleted before that time, is it empty, and does its account know?"""
        totals = self.totals()
        return (
            totals is not None
            and not totals.object_count
            and totals.put_timestamp <= totals.delete_timestamp < before
            and self.unreported() is None
            and not _has_rows(self)
        )

    def unreported(self) -> Totals | None:
        """The totals, where they differ from what the account was told."""
        totals = self.totals()
        if totals is None:
            return None
        with self.read() as db:
            told = db.execute(
                "SELECT reported_put_timestamp, reported_delete_timestamp, reported_object_count, "
                "reported_bytes_used FROM info"
            ).fetchone()
        return None if tuple(totals[:4]) == tuple(told) else totals

    def reported(self, totals: Totals) -> None:
        """Remember what the account was told."""
        with self.write() as db:
            db.execute(
                "UPDATE info SET reported_put_timestamp = ?, reported_delete_timestamp = ?, "
                "reported_object_count = ?, reported_bytes_used = ?",
                tuple(totals[:4]),
            )

    def _info(self) -> Any:
        try:
            with self.read() as db:
                return db.execute(_INFO).fetchone()
        except files.NotMade:
            return None


def _has_rows(file: ContainerFile) -> bool:
    with file.read() as db:
        return db.execute("SELECT 1 FROM object LIMIT 1").fetchone() is not None


def _is_deleted(row: Any) -> bool:
    return bool(row[5] == 0 and row[4] >= row[3] and row[4] != ZERO) or row[3] == ZERO


def _merge_one(db: sqlite3.Connection, row: ObjectRow) -> tuple[int, int]:
    """Merge a row; by how much the number of objects and bytes changed."""
    known = [
        ObjectRow._make(each)
        for each in db.execute(
            f"SELECT {_ROW} FROM object WHERE name = ? AND deleted IN (0, 1)",  # noqa: S608
            (row.name,),
        )
    ]
    merged = row
    for each in known:
        if (each.timestamp, each.deleted) > (merged.timestamp, merged.deleted):
            merged = each
    if not merged.deleted:
        # A POST counts for the data it came after, whichever of the two arrives first.
        last = max((row, *known), key=lambda each: each.meta_timestamp)
        if not last.deleted and last.meta_timestamp > merged.meta_timestamp:
            merged = merged._replace(
                meta_timestamp=last.meta_timestamp, content_type=last.content_type
            )
    if merged in known:
        return 0, 0
    live = [each for each in known if not each.deleted]
    if known:
        db.execute("DELETE FROM object WHERE name = ? AND deleted IN (0, 1)", (row.name,))
    db.execute(f"INSERT INTO object ({_ROW}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", merged)  # noqa: S608
    count = (0 if merged.deleted else 1) - len(live)
    size = (0 if merged.deleted else merged.size) - sum(each.size for each in live)
    return count, size
