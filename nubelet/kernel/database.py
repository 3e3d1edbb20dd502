"""The database: tables of all services in one engine, and transactions.

SQLite (WAL) on one machine, PostgreSQL on many; the same tables and statements on both.
`Database.read()` and `Database.write()` give a `Tx`; a thread holds at most one at a time, so
that nothing can deadlock on the writer lock, and `in_transaction()` lets the bus refuse node
calls made inside one.

SQLite's own busy handler starves writers for seconds, hence a fair lock of ours (between
threads, and by flock between processes) is taken before BEGIN IMMEDIATE. The write-ahead log
is synced after the lock is given back, once for all transactions that wait for it (`_GroupSync`).
Read next: `operations/journal.py`, the main user of fine locking.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import eq
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import CursorResult, Row

from nubelet.kernel import guards
from nubelet.kernel.bells import Bells
from nubelet.kernel.guards import in_transaction as in_transaction

log = logging.getLogger(__name__)

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Microseconds since the epoch (see clock.py).
Micros = sa.BigInteger
# A growing integer key.
Serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Id = sa.String(64)
Name = sa.String(255)


class Json(sa.types.TypeDecorator[Any]):
    """A JSON value in a text column."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value)


class Tx:
    """One transaction. Statements are SQLAlchemy Core; rows are tuples with names."""

    __slots__ = ("_after_commit", "_bells", "connection", "is_sqlite", "writable")

    def __init__(self, connection: sa.Connection, writable: bool) -> None:
        self.connection = connection
        self._bells: set[str] = set()
        self.writable = writable
        self.is_sqlite = connection.dialect.name == "sqlite"
        self._after_commit: list[Callable[[], None]] = []

    def execute(
        self,
        statement: sa.Executable,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> CursorResult[Any]:
        """Run any statement."""
        return self.connection.execute(statement, parameters)

    # Building a statement costs five times what running it costs. Where it matters, build it
    # once, at the module's top, with `sa.bindparam("name")`, and pass `name=...` here.

    def all(self, statement: sa.Executable, **parameters: Any) -> Sequence[Row[Any]]:
        """All rows."""
        return self.connection.execute(statement, parameters or None).fetchall()

    def first(self, statement: sa.Executable, **parameters: Any) -> Row[Any] | None:
        """The first row, or None."""
        return self.connection.execute(statement, parameters or None).first()

    def scalar(self, statement: sa.Executable, **parameters: Any) -> Any:
        """The first column of the first row, or None."""
        return self.connection.execute(statement, parameters or None).scalar()

    def insert(self, table: sa.Table, *rows: Mapping[str, Any], **values: Any) -> None:
        """Insert one row given by name, or several given as mappings with equal keys."""
        self._require_writable()
        if values:
            self.connection.execute(_insert_of(table), values)
        elif rows:
            self.connection.execute(_insert_of(table), list(rows))

    def update(self, table: sa.Table, *where: Any, **values: Any) -> int:
        """Update rows; returns how many."""
        self._require_writable()
        prepared = _prepared_update(table, where, values)
        if prepared is not None:
            return self.connection.execute(*prepared).rowcount
        return self.connection.execute(sa.update(table).where(*where).values(**values)).rowcount

    def delete(self, table: sa.Table, *where: Any) -> int:
        """Delete rows; returns how many. At least one condition is required."""
        assert where, "a delete without a condition is a mistake"
        self._require_writable()
        return self.connection.execute(sa.delete(table).where(*where)).rowcount

    def _require_writable(self) -> None:
        if not self.writable:
            raise RuntimeError("this transaction reads only: use Database.write()")

    def lock(self, *key: str) -> None:
        """Hold a named lock until the transaction ends (SQLite has one writer: nothing to do)."""
        if not self.is_sqlite:
            number = int.from_bytes(
                hashlib.sha256("\0".join(key).encode()).digest()[:8], "big", signed=True
            )
            self.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))

    def after_commit(self, action: Callable[[], None]) -> None:
        """Run `action` once the transaction is durable (doorbells; never changes of state)."""
        self._after_commit.append(action)

    def ring(self, topic: str) -> None:
        """Ring a doorbell once the transaction is durable (see bells.py)."""
        self._bells.add(topic)


def by_ids(
    column: sa.ColumnElement[Any], build: Callable[[sa.ColumnElement[bool]], sa.Select[Any]]
) -> Callable[[Tx, Sequence[str]], Sequence[Any]]:
    """A query built once: `build` gets the condition that the column is one of some ids, and
    what comes back runs it for those that it is given."""
    ids = sa.bindparam("ids", type_=Json)
    listed = sa.func.json_each(ids).table_valued("value")
    told = sa.func.json_array_elements_text(sa.cast(ids, postgresql.JSON)).table_valued("value")
    statements = {
        True: build(column.in_(sa.select(listed.c.value))),
        False: build(column.in_(sa.select(told.c.value))),
    }
    return lambda tx, given: tx.all(statements[tx.is_sqlite], ids=given)


_inserts: dict[sa.Table, sa.Insert] = {}
_updates: dict[tuple[Any, ...], sa.Update] = {}


def _insert_of(table: sa.Table) -> sa.Insert:
    found = _inserts.get(table)
    if found is None:
        found = _inserts[table] = sa.insert(table)
    return found


def _prepared_update(
    table: sa.Table,
    where: tuple[Any, ...],
    values: Mapping[str, Any],
) -> tuple[sa.Update, dict[str, Any]] | None:
    """The statement and parameters of an update of plain values where columns equal plain
    values, built once for each shape; None for any other."""
    parameters: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, sa.ClauseElement):
            return None
        parameters[f"v_{name}"] = value
    names = []
    for condition in where:
        if not (
            isinstance(condition, sa.BinaryExpression)
            and condition.operator is eq
            and isinstance(condition.left, sa.Column)
            and isinstance(condition.right, sa.BindParameter)
        ):
            return None
        names.append(condition.left.name)
        parameters[f"w_{condition.left.name}"] = condition.right.value
    if len(set(names)) != len(names):
        return None
    shape = (table, tuple(names), tuple(values))
    statement = _updates.get(shape)
    if statement is None:
        statement = _updates[shape] = (
            sa.update(table)
            .where(*(table.c[name] == sa.bindparam(f"w_{name}") for name in names))
            .values({name: sa.bindparam(f"v_{name}") for name in values})
        )
    return statement, parameters


class _GroupSync:
    """Makes committed transactions durable: while one sync of the log is under way, the
    transactions that commit meanwhile wait together for the next."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._committed = 0
        self._synced = 0

    def committed(self, changed: bool) -> int:
        """The number of the newest commit, which is the caller's if it changed anything. The
        caller still is the only writer."""
        if changed:
            self._committed += 1
        return self._committed

    def wait(self, number: int) -> None:
        """Return when commit `number`, and so all before it, would survive a loss of power."""
        with self._lock:
            if self._synced >= number:
                return
            reached = self._committed
            # Opened each time: SQLite may have made the file anew. It locks others, not this one,
            # so closing it gives up no lock.
            log_file = os.open(self._path, os.O_RDWR)
            try:
                os.fdatasync(log_file)
            finally:
                os.close(log_file)
            self._synced = reached


class TransactionRetry(Exception):  # noqa: N818 - an order to the caller
    """The database asked for the transaction to be run again (deadlock, serialisation)."""


class Database:
    """An engine and its transactions."""

    def __init__(self, url: str, *, pool_size: int = 24) -> None:
        """`url`: an SQLAlchemy URL, `sqlite:///path` or `postgresql+psycopg://...`."""
        self.url = url
        self.is_sqlite = url.startswith("sqlite")
        self.bells = Bells()
        self._writer = threading.Lock()
        self._lock_file: int | None = None
        self._sync: _GroupSync | None = None
        self._write_connection: sa.Connection | None = None
        if self.is_sqlite:
            path = sa.engine.make_url(url).database
            assert path, "an SQLite database needs a file"
            os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
            self._lock_file = os.open(path + ".lock", os.O_CREAT | os.O_RDWR, 0o600)
            self._sync = _GroupSync(path + "-wal")
            # It holds hashes of passwords; SQLite gives its WAL the mode of the database.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._keep_a_log(path)
            self.engine = sa.create_engine(
                url,
                poolclass=sa.QueuePool,
                pool_size=pool_size,
                max_overflow=pool_size,
                connect_args={"check_same_thread": False, "isolation_level": None, "timeout": 60},
                query_cache_size=4000,
            )
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            self._reader = self.engine
        else:
            self.engine = sa.create_engine(
                url,
                pool_size=pool_size,
                max_overflow=pool_size,
                pool_pre_ping=True,
                isolation_level="READ COMMITTED",
                query_cache_size=4000,
            )
            self._reader = self.engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    @contextlib.contextmanager
    def read(self) -> Iterator[Tx]:
        """A transaction that sees one snapshot and changes nothing."""
        if in_transaction():
            raise RuntimeError("this thread already holds a transaction: pass its tx on")
        with self._reader.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            tx = guards.thread.transaction = Tx(connection, writable=False)
            try:
                yield tx
            finally:
                guards.thread.transaction = None
                connection.rollback()

    @contextlib.contextmanager
    def write(self) -> Iterator[Tx]:
        """A transaction that commits when the block ends and rolls back when it raises.

        Raises `TransactionRetry` when the database chose this transaction as a deadlock victim.
        """
        if in_transaction():
            raise RuntimeError("this thread already holds a transaction: pass its tx on")
        with self._exclusive(), self._writing() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            before = _changes(connection) if self.is_sqlite else 0
            tx = guards.thread.transaction = Tx(connection, writable=True)
            try:
                if guards.thread.write_fence is not None:
                    guards.thread.write_fence(tx)
                yield tx
                changed = not self.is_sqlite or _changes(connection) != before
                connection.commit()
                number = self._sync.committed(changed) if self._sync else 0
            except BaseException as error:
                with contextlib.suppress(sa.exc.DBAPIError):  # the connection may be gone
                    connection.rollback()
                if isinstance(error, sa.exc.DBAPIError) and _is_transient(error):
                    raise TransactionRetry(str(error.orig)) from error
                raise
            finally:
                guards.thread.transaction = None
        if self._sync:
            self._sync.wait(number)
        self._committed(tx)

    def _committed(self, tx: Tx) -> None:
        for topic in tx._bells:
            self.bells.ring(topic)
        for action in tx._after_commit:
            try:
                action()
            except Exception:  # what was committed stays committed: nobody may think otherwise
                log.exception("an action after a commit failed")

    def transact(self, work: Callable[[Tx], Any], *, attempts: int = 5) -> Any:
        """Run `work` in a write transaction, again when the database asks for it."""
        for attempt in range(attempts):
            try:
                with self.write() as tx:
                    return work(tx)
            except TransactionRetry:
                if attempt == attempts - 1:
                    raise
                time.sleep(0.01 * 2**attempt)
        raise AssertionError("unreachable")

    def _keep_a_log(self, path: str) -> None:
        """Set the file to WAL, which it stays at. SQLite waits for nobody at this change: processes
        that open a new file together would refuse each other, so they take turns."""
        with self._exclusive(), contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        if self._lock_file is None:
            yield
            return
        with self._writer:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """The connection of the one writer. On SQLite it stays the same: whatever another one
        writes would cost it all the pages that it remembers."""
        if self._lock_file is None:
            with self.engine.connect() as connection:
                yield connection
            return
        if self._write_connection is None:
            self._write_connection = self.engine.connect()
        try:
            yield self._write_connection
        finally:
            if self._write_connection.in_transaction():  # it could not be rolled back
                self._write_connection.invalidate()
                self._write_connection.close()
                self._write_connection = None

    def close(self) -> None:
        """Close all connections."""
        with self._writer:
            if self._write_connection is not None:
                self._write_connection.close()
                self._write_connection = None
        self.engine.dispose()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # NORMAL: SQLite itself syncs what keeps the file whole; `_GroupSync` makes commits durable.
    for pragma in (
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "cache_size=-16000",
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _changes(connection: sa.Connection) -> int:
    """How many rows this SQLite connection has changed so far."""
    return connection.connection.dbapi_connection.total_changes  # type: ignore[union-attr,no-any-return]


def _is_transient(error: sa.exc.DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    return state in ("40001", "40P01") or "database is locked" in str(error.orig)
