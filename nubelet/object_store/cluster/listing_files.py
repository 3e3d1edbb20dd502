"""Listing files as replicas of others: what changed since, and taking up what others know.

Each file has an id of its own and numbers its changes. A file remembers for each of its replicas
up to which number it has taken up (`incoming_sync`), so that a replicator sends only what is new.
In OpenStack: swift/common/db.py get_items_since, merge_syncs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from nubelet.decoding import prepared
from nubelet.object_store.cluster.shards import HIDDEN, PLANNED, ShardedFile, Sharding
from nubelet.object_store.storage import Missing
from nubelet.object_store.storage.accounts import AccountFile
from nubelet.object_store.storage.containers import ObjectRow, Totals
from nubelet.object_store.storage.sqlite import ListingFile, NotMade
from nubelet.object_store.storage.timestamps import ZERO, Timestamp

_Metadata = dict[str, tuple[str, str]]
# Of so many changes the newest is what a file learned last: they come in any order.
_LAST = 1000


class Head(msgspec.Struct, kw_only=True):
    """The row `info` of a listing file, as replicas exchange it."""

    id: str
    names: list[str]
    created_at: Timestamp
    put_timestamp: Timestamp
    delete_timestamp: Timestamp
    metadata: _Metadata
    policy: int = 0
    last: int = 0  # number of the last change
    sharding: Sharding | None = None

    @property
    def is_sharded(self) -> bool:
        """Are its rows its shards' now?"""
        return self.sharding is not None and self.sharding.is_active

    def is_forgotten(self, before: Timestamp) -> bool:
        """Deleted so long ago that every replica knows, and nothing is left in it?"""
        if self.sharding and self.sharding.live and not self.names[0].startswith(HIDDEN):
            return False  # the sharder deletes its shards first
        return self.put_timestamp <= self.delete_timestamp < before and not self.last


class ContainerRow(NamedTuple):
    """A container in an account, as replicas exchange it."""

    name: str
    totals: Totals


class _Replicated(ListingFile):
    """What both kinds share."""

    NAMES = ""
    TABLE = ""
    MOMENTS = ("put_timestamp", "delete_timestamp")  # of an entry

    def head(self) -> Head:
        """Raises Missing where it was never made."""
        try:
            with self.read() as db:
                return self._head(db)
        except NotMade as error:
            raise Missing("listing", "") from error

    def _head(self, db: sqlite3.Connection) -> Head:
        policy = "policy" if self.TABLE == "object" else "0"
        row = db.execute(
            f"SELECT id, created_at, put_timestamp, delete_timestamp, metadata, {policy}, "  # noqa: S608
            f"(SELECT coalesce(max(id), 0) FROM {self.TABLE}), {self.NAMES} FROM info"
        ).fetchone()
        if row is None:
            raise Missing("listing", "")
        return Head(
            id=row[0],
            created_at=row[1],
            put_timestamp=row[2],
            delete_timestamp=row[3],
            metadata=msgspec.json.decode(row[4], type=prepared(_Metadata)),
            policy=row[5],
            last=row[6],
            names=list(row[7:]),
        )

    def as_of(self) -> Timestamp:
        """When what it learned last was done; empty where it was never made."""
        first, second = self.MOMENTS
        try:
            with self.read() as db:
                row = db.execute(
                    "SELECT max(put_timestamp, delete_timestamp), (SELECT "  # noqa: S608
                    f"max(max({first}, {second})) FROM (SELECT {first}, {second} FROM "
                    f"{self.TABLE} ORDER BY id DESC LIMIT {_LAST})) FROM info"
                ).fetchone()
        except NotMade:
            return ""
        return max(row[0], row[1] or "") if row else ""

    def taken(self, remote: str) -> int:
        """Up to which change of the file `remote` this one knows."""
        with self.read() as db:
            row = db.execute(
                "SELECT sync_point FROM incoming_sync WHERE remote_id = ?", (remote,)
            ).fetchone()
        return int(row[0]) if row else 0

    def took(self, remote: str, point: int) -> None:
        """Remember up to where."""
        with self.write() as db:
            db.execute(
                "INSERT INTO incoming_sync VALUES (?, ?) ON CONFLICT (remote_id) DO UPDATE SET "
                "sync_point = max(sync_point, excluded.sync_point)",
                (remote, point),
            )

    def take_head(self, other: Head) -> None:
        """Take up what a replica says of the listing itself; it is made if it is not there."""
        try:
            if _same(self.head(), other):
                return
        except Missing:
            self.create(self._first(other))
        with self.write() as db:
            mine = self._head(db)
            metadata = dict(mine.metadata)
            for name, (value, since) in other.metadata.items():
                if name not in metadata or (since, value) > tuple(reversed(metadata[name])):
                    metadata[name] = (value, since)
            gone = max(mine.delete_timestamp, other.delete_timestamp)
            # The first that was made since the last deletion: a replica that was lost and made
            # anew must not decide on the policy.
            made = [each for each in (mine, other) if each.created_at > gone] or [mine]
            first = min(made, key=lambda each: each.created_at)
            values: dict[str, Any] = {
                "created_at": first.created_at,
                "put_timestamp": max(mine.put_timestamp, other.put_timestamp),
                "delete_timestamp": gone,
                "metadata": msgspec.json.encode(metadata).decode(),
            }
            if self.TABLE == "object":
                values["policy"] = first.policy
            names = ", ".join(f"{name} = ?" for name in values)
            db.execute(f"UPDATE info SET {names}", tuple(values.values()))  # noqa: S608

    def _first(self, other: Head) -> dict[str, Any]:
        values: dict[str, Any] = dict(zip(self.NAMES.split(", "), other.names, strict=True))
        values.update(
            id=uuid4().hex,
            created_at=other.created_at,
            put_timestamp=ZERO,
            delete_timestamp=ZERO,
        )
        if self.TABLE == "object":
            values.update(status_changed_at=other.created_at, policy=other.policy)
        return values

    def check(self) -> bool:
        """Is the file sound? One that is not there is."""
        try:
            with self.read() as db:
                return bool(db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        except NotMade:
            return True
        except sqlite3.DatabaseError:
            return False


def _same(one: Head, other: Head) -> bool:
    return (
        one.created_at,
        one.put_timestamp,
        one.delete_timestamp,
        one.metadata,
        one.policy,
    ) == (
        other.created_at,
        other.put_timestamp,
        other.delete_timestamp,
        other.metadata,
        other.policy,
    )


class NodeContainerFile(ShardedFile, _Replicated):
    """A container on a device of a cluster."""

    NAMES = "account, container"
    TABLE = "object"
    MOMENTS = ("timestamp", "meta_timestamp")

    def head(self) -> Head:
        """Raises Missing."""
        found, sharding = super().head(), self.sharding()
        if sharding is not None and sharding.state > PLANNED:
            found.sharding = sharding
        return found

    def take_head(self, other: Head) -> None:
        """Take up what a replica says of the listing itself, and of its shards."""
        super().take_head(other)
        if other.sharding is not None:
            self.take_sharding(other.sharding)

    def rows_after(self, point: int, limit: int) -> tuple[int, list[ObjectRow]]:
        """Up to `limit` changes after that one, and the number of the last of them."""
        with self.read() as db:
            rows = db.execute(
                "SELECT id, name, timestamp, meta_timestamp, size, content_type, etag, deleted, "
                "policy FROM object WHERE id > ? ORDER BY id LIMIT ?",
                (point, limit),
            ).fetchall()
        return (rows[-1][0] if rows else point), [ObjectRow._make(row[1:]) for row in rows]

    def take_rows(self, rows: Iterable[ObjectRow]) -> None:
        """Take up changes of a replica."""
        self.merge(rows)


class NodeAccountFile(AccountFile, _Replicated):
    """An account on a device of a cluster."""

    NAMES = "account"
    TABLE = "container"

    def rows_after(self, point: int, limit: int) -> tuple[int, list[ContainerRow]]:
        """Up to `limit` changes after that one, and the number of the last of them."""
        with self.read() as db:
            rows = db.execute(
                "SELECT id, name, put_timestamp, delete_timestamp, object_count, bytes_used, "
                "policy FROM container WHERE id > ? ORDER BY id LIMIT ?",
                (point, limit),
            ).fetchall()
        last = rows[-1][0] if rows else point
        return last, [ContainerRow(row[1], Totals._make(row[2:])) for row in rows]

    def take_rows(self, rows: Iterable[ContainerRow]) -> None:
        """Take up changes of a replica: only news, whatever the order."""
        for row in rows:
            if self._knows_newer(row):
                continue
            self.merge(row.name, row.totals)

    def _knows_newer(self, row: ContainerRow) -> bool:
        with self.read() as db:
            known = db.execute(
                "SELECT put_timestamp, delete_timestamp FROM container "
                "WHERE name = ? AND deleted IN (0, 1)",
                (row.name,),
            ).fetchone()
        if known is None:
            return False
        # Totals carry no time of their own: the containers' own reports, which reach every
        # replica of the account, decide them. Here only coming and going is news.
        put, gone = row.totals.put_timestamp, row.totals.delete_timestamp
        return bool(put <= known[0] and gone <= known[1])
