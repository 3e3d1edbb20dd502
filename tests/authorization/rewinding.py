"""A database that forgets what a request wrote: the next caller finds the same world.

Between `begin` and `rewind` everything of the one request under way sees what it wrote, in as many
transactions as it likes; then all of it is rolled back. Nothing that would follow a commit happens.
Other threads (heartbeats of the hosts) read and write as ever.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import sqlalchemy as sa

from nubelet.kernel import guards
from nubelet.kernel.database import Database, Tx


class Rewinding:
    """Takes the place of a database's `read` and `write`; one request at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read, self._write = database.read, database.write
        self._begin = "BEGIN IMMEDIATE" if database.is_sqlite else ""
        self._connection: sa.Connection | None = None
        database.read = self.read  # type: ignore[method-assign]
        database.write = self.write  # type: ignore[method-assign]

    @contextlib.contextmanager
    def read(self) -> Iterator[Tx]:
        """What the request wrote is there to be read."""
        if self._connection is None or not _serves_a_request():
            with self._read() as tx:
                yield tx
            return
        with self._marked(Tx(self._connection, writable=False)) as tx:
            yield tx

    @contextlib.contextmanager
    def write(self) -> Iterator[Tx]:
        """Changes that last until `rewind`."""
        if not _serves_a_request():
            with self._write() as tx:
                yield tx
            return
        if self._connection is None:
            self._connection = self._database.engine.connect()
            if self._begin:
                self._connection.exec_driver_sql(self._begin)
        with self._marked(Tx(self._connection, writable=True)) as tx:
            self._connection.exec_driver_sql("SAVEPOINT request")
            try:
                yield tx
            except BaseException:
                self._connection.exec_driver_sql("ROLLBACK TO SAVEPOINT request")
                raise
            finally:
                self._connection.exec_driver_sql("RELEASE SAVEPOINT request")

    def rewind(self) -> None:
        """Undo all that was written."""
        if self._connection is not None:
            self._connection.rollback()
            self._connection.close()
            self._connection = None

    def keep(self) -> None:
        """Let what was written stay."""
        if self._connection is not None:
            self._connection.commit()
            self.rewind()

    @contextlib.contextmanager
    def _marked(self, tx: Tx) -> Iterator[Tx]:
        if guards.in_transaction():
            raise RuntimeError("this thread already holds a transaction: pass its tx on")
        guards.thread.transaction = tx
        try:
            yield tx
        finally:
            guards.thread.transaction = None


def _serves_a_request() -> bool:
    return threading.current_thread().name.startswith(("api", "slow", "stream"))
