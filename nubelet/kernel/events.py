"""Events: every change of state, written in the transaction that made it (an outbox).

Notifications, live pages, telemetry and whatever else wants to know read the table at their own
pace: `Reader` keeps a named cursor in the database, `Feed` calls listeners in this process soon
after each commit. What was rolled back was never an event, and what was committed is never lost.

Read next: `bells.py`, `reconcile.py` (a reader's loop is a reconciler rung by BELL).

In OpenStack: oslo.messaging notifications, sent after the fact and lost on a crash.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Database, Id, Json, Micros, Name, Serial, Tx, metadata
from nubelet.kernel.operations.run import Run

log = logging.getLogger(__name__)

BELL = "events"

event = sa.Table(
    "event",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    # PostgreSQL hands out ids before commits: a reader that follows ids alone would step over an
    # event whose transaction commits late. The order of reading is (xid, id), up to the oldest
    # transaction still under way. SQLite has one writer; there xid is 0.
    sa.Column("xid", sa.BigInteger, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sa.Column("kind", Name, nullable=False),  # server.created, port.deleted, ...
    sa.Column("project_id", Id),
    sa.Column("subject_type", Name, nullable=False),
    sa.Column("subject_id", Id, nullable=False),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("request_id", Id, nullable=False),
    sa.Column("payload", Json, nullable=False),
    sqlite_autoincrement=True,
)
sa.Index("ix_event_order", event.c.xid, event.c.id)
sa.Index("ix_event_subject", event.c.subject_id)
sa.Index("ix_event_at", event.c.at)

event_reader = sa.Table(
    "event_reader",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("xid", sa.BigInteger, nullable=False),
    sa.Column("id", sa.BigInteger, nullable=False),
    sa.Column("updated_at", Micros, nullable=False),
)

Cursor = tuple[int, int]
START: Cursor = (0, 0)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something changed. `at` is in microseconds."""

    id: int
    xid: int
    at: int
    kind: str
    project_id: str | None
    subject_type: str
    subject_id: str
    user_id: str
    request_id: str
    payload: dict[str, Any]

    @property
    def cursor(self) -> Cursor:
        """Where a reader stands that has read this event."""
        return self.xid, self.id


def emit(
    tx: Tx,
    kind: str,
    *,
    project_id: str | None,
    subject_type: str,
    subject_id: str,
    payload: Mapping[str, Any] | None = None,
    ctx: Context | Run | None = None,
) -> None:
    """Record an event in the caller's transaction.

    `kind`: `<noun>.<what happened>` (`server.created`); `payload`: JSON-able, no secrets; `ctx`:
    who made it happen (a request, or an operation's run).
    """
    tx.execute(
        _INSERT[tx.is_sqlite],
        {
            "at": clock.now(),
            "kind": kind,
            "project_id": project_id,
            "subject_type": subject_type,
            "subject_id": subject_id,
            "user_id": ctx.user_id if ctx else "",
            "request_id": ctx.request_id if ctx else "",
            "payload": dict(payload or {}),
        },
    )
    tx.ring(BELL)


_xid = sa.cast(sa.cast(sa.func.pg_current_xact_id(), sa.Text), sa.BigInteger)
_columns: dict[str, Any] = {
    column.name: sa.bindparam(column.name) for column in event.c if column.name not in ("id", "xid")
}
_INSERT: dict[bool, sa.Executable] = {
    True: sa.insert(event).values(**_columns, xid=0),
    False: sa.insert(event).values(**_columns, xid=_xid),
}
_xmin = sa.cast(
    sa.cast(sa.func.pg_snapshot_xmin(sa.func.pg_current_snapshot()), sa.Text), sa.BigInteger
)


def read(
    tx: Tx,
    after: Cursor = START,
    *,
    limit: int = 500,
    kinds: Collection[str] | None = None,
    project_id: str | None = None,
    subject_id: str | None = None,
) -> list[Event]:
    """Events after a cursor, in an order that never changes afterwards."""
    c = event.c
    statement = sa.select(event).where(
        sa.or_(c.xid > after[0], sa.and_(c.xid == after[0], c.id > after[1]))
    )
    if not tx.is_sqlite:
        statement = statement.where(c.xid < _xmin)
    if kinds is not None:
        statement = statement.where(c.kind.in_(kinds))
    if project_id is not None:
        statement = statement.where(c.project_id == project_id)
    if subject_id is not None:
        statement = statement.where(c.subject_id == subject_id)
    statement = statement.order_by(c.xid, c.id).limit(limit)
    return [Event(**row._mapping) for row in tx.all(statement)]


def latest(tx: Tx) -> Cursor:
    """The cursor of a reader that wants only what comes from now on."""
    statement = sa.select(event.c.xid, event.c.id)
    if not tx.is_sqlite:
        statement = statement.where(event.c.xid < _xmin)
    row = tx.first(statement.order_by(event.c.xid.desc(), event.c.id.desc()).limit(1))
    return (row.xid, row.id) if row else START


def prune(tx: Tx, before: int, limit: int = 1000) -> int:
    """Forget up to `limit` events older than a time (microseconds), read or not. Returns how
    many."""
    old = sa.select(event.c.id).where(event.c.at < before).order_by(event.c.at).limit(limit)
    return tx.delete(event, event.c.id.in_(old))


class Reader:
    """A named reader whose cursor survives restarts. One process at a time should use a name
    (a reconciler sees to that)."""

    def __init__(self, name: str) -> None:
        self.name = name

    def position(self, tx: Tx) -> Cursor:
        """Up to where it has read; the beginning of what is kept for a new name."""
        row = tx.first(
            sa.select(event_reader.c.xid, event_reader.c.id).where(event_reader.c.name == self.name)
        )
        return (row.xid, row.id) if row else START

    def move(self, tx: Tx, cursor: Cursor) -> None:
        """Remember having read up to here."""
        values = {"xid": cursor[0], "id": cursor[1], "updated_at": clock.now()}
        if not tx.update(event_reader, event_reader.c.name == self.name, **values):
            tx.insert(event_reader, name=self.name, **values)

    def drain(
        self,
        database: Database,
        handle: Callable[[Sequence[Event]], None],
        *,
        kinds: Collection[str] | None = None,
        limit: int = 500,
    ) -> int:
        """Hand all unread events to `handle` in batches; each batch again if it raises or the
        process dies (at least once). Returns how many there were."""
        count = 0
        while True:
            with database.read() as tx:
                batch = read(tx, self.position(tx), limit=limit, kinds=kinds)
            if not batch:
                return count
            handle(batch)
            with database.write() as tx:
                self.move(tx, batch[-1].cursor)
            count += len(batch)


class Feed:
    """Events as they come, for listeners in this process (live pages): none before it began,
    at most once each. A thread runs only while somebody listens."""

    def __init__(self, database: Database, poll_seconds: float = 2.0) -> None:
        self._database = database
        self._poll_seconds = poll_seconds
        self._lock = threading.Lock()
        self._listeners: tuple[Callable[[Event], None], ...] = ()
        self._rung = threading.Event()
        self._thread: threading.Thread | None = None

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` (quick) with each new event; returns what ends it."""
        with self._lock:
            first = not self._listeners
            self._listeners = (*self._listeners, listener)
            if first:
                with self._database.read() as tx:
                    begin = latest(tx)
                # A bell of its own: a predecessor that is about to end must not answer it.
                self._rung = threading.Event()
                self._thread = threading.Thread(
                    target=self._follow, args=(begin, self._rung), daemon=True, name="event-feed"
                )
                self._thread.start()

        def stop() -> None:
            with self._lock:
                self._listeners = tuple(other for other in self._listeners if other is not listener)
                self._rung.set()

        return stop

    def _follow(self, cursor: Cursor, rung: threading.Event) -> None:
        deafen = self._database.bells.listen(BELL, rung.set)
        try:
            while True:
                rung.clear()
                with self._lock:
                    if not self._listeners or self._thread is not threading.current_thread():
                        return
                cursor = self._deliver(cursor)
                rung.wait(self._poll_seconds)
        finally:
            deafen()

    def _deliver(self, cursor: Cursor) -> Cursor:
        try:
            with self._database.read() as tx:
                events = read(tx, cursor)
        except sa.exc.DBAPIError:
            log.exception("events cannot be read now")
            return cursor
        for found in events:
            cursor = found.cursor
            for listener in self._listeners:
                try:
                    listener(found)
                except Exception:
                    log.exception("a listener of events failed")
        return cursor
