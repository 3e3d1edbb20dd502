"""A container that grew too large is a list of shards: containers that hold a range of its names.

The file of a sharded container (its *root*) keeps a row per shard; the shards are containers of the
hidden account `.shards_<account>`. All replicas of the root go through the same states:

planned   only the file of the leader knows the ranges; the shards are being made
filling   each replica copies its rows to the shards, and whoever tells it of a write is told to
          tell the shard too; listings still come from the root
active    each replica has copied what it had: listings, totals and writes are the shards' now;
          rows that still come to the root (from a node that was away) are moved to the shards,
          and told to no other replica of the root

A state never goes back, and every step may be repeated, so a process may be killed anywhere.
A shard that grows too large is sharded in the same way, and the root adopts its shards; one that
became small is "sharded" into its neighbour alone, whose range the root then extends.

Read next: daemons/sharder.py. In OpenStack: swift/common/utils ShardRange, container/backend.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from nubelet.object_store.storage import ContainerInfo, NotEmpty
from nubelet.object_store.storage.containers import ContainerFile, Totals
from nubelet.object_store.storage.sqlite import NotMade
from nubelet.object_store.storage.timestamps import Timestamp

PLANNED, FILLING, ACTIVE = 0, 1, 2
HIDDEN = ".shards_"
# Metadata of a shard: `account/container` of the container that it is a part of, and of the one it
# was split from; of a container: into shards of how many objects it shall be split now.
ROOT, PARENT = "x-container-sysmeta-shard-root", "x-container-sysmeta-shard-parent"
WANTED = "x-container-sysmeta-shard-objects"

_TABLES = (
    "CREATE TABLE IF NOT EXISTS sharding (epoch TEXT NOT NULL, state INTEGER NOT NULL, "
    "filled_to INTEGER NOT NULL, copied INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS shard (name TEXT PRIMARY KEY, lower TEXT NOT NULL, "
    "upper TEXT NOT NULL, timestamp TEXT NOT NULL, deleted INTEGER NOT NULL, "
    "object_count INTEGER NOT NULL, bytes_used INTEGER NOT NULL)",
)
_SHARD = "name, lower, upper, timestamp, deleted, object_count, bytes_used"


class Shard(msgspec.Struct, kw_only=True, frozen=True):
    """A shard: names after `lower`, up to `upper` and with it (empty: to the end)."""

    name: str
    lower: str
    upper: str
    timestamp: Timestamp
    deleted: bool = False
    object_count: int = 0
    bytes_used: int = 0


class Sharding(msgspec.Struct, kw_only=True):
    """How a container is sharded. `epoch` tells one attempt from another; `behind`: this replica
    has not copied yet what it had when it began to fill."""

    epoch: Timestamp
    state: int
    shards: list[Shard]
    behind: bool = False

    @property
    def is_active(self) -> bool:
        """Do its shards count, and not its own rows?"""
        return self.state == ACTIVE and bool(self.live)

    @property
    def live(self) -> list[Shard]:
        """The shards that count, in the order of their names."""
        return sorted((each for each in self.shards if not each.deleted), key=lambda s: s.lower)


def hidden(account: str) -> str:
    """The account of the shards of its containers."""
    return account if account.startswith(HIDDEN) else HIDDEN + account


def place(shards: Sequence[Shard], name: str) -> Shard | None:
    """The shard of a name; `shards` as `live` has them."""
    found = None
    for shard in shards:
        if shard.lower < name:
            found = shard
        else:
            break
    return found if found and (not found.upper or name <= found.upper) else None


def lower_end(one: str, other: str) -> str:
    """The smaller of two upper bounds."""
    return min(one, other) if one and other else one or other


def adopted(
    shards: Sequence[Shard], parent: Shard, children: Iterable[Shard], now: Timestamp
) -> list[Shard]:
    """The rows that change when a root takes over the shards of one of its shards."""
    known = {each.name: each for each in shards}
    rows = {parent.name: msgspec.structs.replace(parent, deleted=True, timestamp=now)}
    for child in children:
        lower = max(child.lower, parent.lower)
        upper = lower_end(child.upper, parent.upper)
        if upper and lower >= upper:
            continue
        row = msgspec.structs.replace(child, lower=lower, upper=upper, timestamp=now)
        before = known.get(child.name)
        if before and before.upper == lower:
            row = msgspec.structs.replace(before, upper=upper, timestamp=now)
        elif before and before.lower == upper:
            row = msgspec.structs.replace(before, lower=lower, timestamp=now)
        rows[row.name] = known[row.name] = row
    return list(rows.values())


class ShardedFile(ContainerFile):
    """A container's file that may be a root."""

    # --- What it is to others -------------------------------------------------------------------

    def info(self) -> ContainerInfo:
        """Raises Missing."""
        found = super().info()
        sums = self._sums()
        if sums is not None:
            found.object_count, found.bytes_used = sums
        return found

    def totals(self) -> Totals | None:
        """What its account shall know; None where it was never made."""
        found, sums = super().totals(), self._sums()
        if found is None or sums is None:
            return found
        return found._replace(object_count=sums[0], bytes_used=sums[1])

    def delete(self, timestamp: Timestamp, *, emptied: bool = False) -> None:
        """Mark it deleted. What its shards hold only who asks them can say: `emptied`. Raises
        Missing, NotEmpty."""
        if self._sums() is not None:
            if not emptied:
                raise NotEmpty("The container has objects.")
            self.drop_copied()
        super().delete(timestamp)

    def shard_of(self, name: str) -> tuple[int, str] | None:
        """The state and the shard of a name, once there are shards."""
        try:
            with self.read() as db:
                row = db.execute(
                    "SELECT state, (SELECT name FROM shard WHERE deleted = 0 AND lower < :name "
                    "AND (upper = '' OR upper >= :name) ORDER BY lower DESC LIMIT 1) "
                    "FROM sharding WHERE state > 0",
                    {"name": name},
                ).fetchone()
        except NotMade:
            return None
        return (row[0], row[1]) if row and row[1] else None

    def sharding(self) -> Sharding | None:
        """How it is sharded, if it is."""
        try:
            with self.read() as db:
                return _read(db)
        except NotMade:
            return None

    def _sums(self) -> tuple[int, int] | None:
        """Objects and bytes of its active shards; None without any."""
        try:
            with self.read() as db:
                row = db.execute(
                    "SELECT count(*), coalesce(sum(object_count), 0), coalesce(sum(bytes_used), 0) "
                    "FROM shard, sharding WHERE state = ? AND deleted = 0",
                    (ACTIVE,),
                ).fetchone()
        except NotMade:
            return None
        return (row[1], row[2]) if row[0] else None

    # --- What the sharder does ------------------------------------------------------------------

    def plan(self, size: int) -> list[tuple[str, str]]:
        """Ranges of so many objects each, the last of up to half as many more."""
        bounds, low = [""], ""
        with self.read() as db:
            left = db.execute("SELECT count(*) FROM object WHERE deleted = 0").fetchone()[0]
            while left > size + size // 2:
                row = db.execute(
                    "SELECT name FROM object WHERE deleted = 0 AND name > ? "
                    "ORDER BY name LIMIT 1 OFFSET ?",
                    (low, size - 1),
                ).fetchone()
                if row is None:
                    break
                low, left = row[0], left - size
                bounds.append(low)
        return list(zip(bounds, [*bounds[1:], ""], strict=True))

    def take_sharding(self, other: Sharding) -> None:
        """Take up what another replica, or the leader, says. Of two attempts the one that is
        active counts, else the one that began first."""
        with self.write() as db:
            for statement in _TABLES:
                db.execute(statement)
            mine = _read(db)
            if mine is None or (mine.epoch != other.epoch and _is_better(other, mine)):
                last = db.execute("SELECT coalesce(max(id), 0) FROM object").fetchone()[0]
                db.execute("DELETE FROM sharding")
                db.execute("DELETE FROM shard")
                db.execute(
                    "INSERT INTO sharding VALUES (?, ?, ?, 0)", (other.epoch, other.state, last)
                )
                mine = Sharding(epoch=other.epoch, state=other.state, shards=[])
            if mine.epoch != other.epoch:
                return
            if mine.state == PLANNED < other.state:
                # From here on whoever tells of a write tells the shard too.
                db.execute("UPDATE sharding SET filled_to = (SELECT coalesce(max(id), 0) "
                           "FROM object)")  # fmt: skip
            db.execute("UPDATE sharding SET state = max(state, ?)", (other.state,))
            known = {each.name: each for each in mine.shards}
            for row in other.shards:
                own = known.get(row.name)
                if own is not None and own.timestamp >= row.timestamp:
                    continue
                counts = own or row
                db.execute(
                    f"INSERT OR REPLACE INTO shard ({_SHARD}) "  # noqa: S608
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        row.name,
                        row.lower,
                        row.upper,
                        row.timestamp,
                        int(row.deleted),
                        counts.object_count,
                        counts.bytes_used,
                    ),
                )

    def shard_told(self, name: str, object_count: int, bytes_used: int) -> bool:
        """Take up the totals of a shard; whether they are news."""
        if self.sharding() is None:
            return False
        with self.write() as db:
            changed = db.execute(
                "UPDATE shard SET object_count = ?, bytes_used = ? WHERE name = ? "
                "AND (object_count, bytes_used) <> (?, ?)",
                (object_count, bytes_used, name, object_count, bytes_used),
            )
            return changed.rowcount > 0

    def copied(self) -> int:
        """Up to which change its rows are in the shards."""
        with self.read() as db:
            return int(db.execute("SELECT copied FROM sharding").fetchone()[0])

    def note_copied(self, change: int) -> None:
        """They are up to this one."""
        with self.write() as db:
            db.execute("UPDATE sharding SET copied = max(copied, ?)", (change,))

    def drop_copied(self) -> None:
        """What is in the shards need not be here any more."""
        with self.write() as db:
            db.execute("DELETE FROM object WHERE id <= (SELECT copied FROM sharding)")
            db.execute(
                "UPDATE info SET (object_count, bytes_used) = "
                "(SELECT count(*), coalesce(sum(size), 0) FROM object WHERE deleted = 0)"
            )

    def note_all_copied(self) -> None:
        """There is nothing left to copy of what was here when it began to fill."""
        with self.write() as db:
            db.execute("UPDATE sharding SET copied = filled_to WHERE copied < filled_to")

    def forget_shards(self, before: Timestamp) -> None:
        """Forget shards that were given up before that time."""
        with self.write() as db:
            db.execute("DELETE FROM shard WHERE deleted = 1 AND timestamp < ?", (before,))


def _is_better(one: Sharding, other: Sharding) -> bool:
    if not one.live or not other.live:
        return bool(one.live)
    ranks = [(each.state == ACTIVE, each.state > PLANNED) for each in (one, other)]
    return ranks[0] > ranks[1] or (ranks[0] == ranks[1] and one.epoch < other.epoch)


def _read(db: sqlite3.Connection) -> Sharding | None:
    row = db.execute("SELECT epoch, state, copied < filled_to FROM sharding").fetchone()
    if row is None:
        return None
    shards = [
        Shard(
            name=each[0],
            lower=each[1],
            upper=each[2],
            timestamp=each[3],
            deleted=bool(each[4]),
            object_count=each[5],
            bytes_used=each[6],
        )
        for each in db.execute(f"SELECT {_SHARD} FROM shard")  # noqa: S608
    ]
    return Sharding(epoch=row[0], state=row[1], shards=shards, behind=bool(row[2]))
