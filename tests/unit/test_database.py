"""Transactions, on each kind of database: what was committed is there, nothing else is."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import sqlalchemy as sa

from nubelet.kernel import guards
from nubelet.kernel.database import Database, Json, Serial, TransactionRetry, Tx, in_transaction

tables = sa.MetaData()
counter = sa.Table(
    "counter",
    tables,
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("value", sa.BigInteger),
)
note = sa.Table(
    "note",
    tables,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("body", Json),
    sa.Column("counter", sa.ForeignKey("counter.name")),
)


@pytest.fixture
def db(database: Database) -> Database:
    tables.create_all(database.engine)
    with database.write() as tx:
        tx.insert(counter, name="a", value=0)
        tx.insert(counter, name="b", value=0)
    return database


def value(database: Database, name: str = "a") -> int:
    with database.read() as tx:
        found: int = tx.scalar(sa.select(counter.c.value).where(counter.c.name == name))
        return found


def add(tx: Tx, name: str = "a") -> None:
    """Read, then write: the pattern that loses updates where a BEGIN does not happen."""
    now = tx.scalar(sa.select(counter.c.value).where(counter.c.name == name))
    tx.update(counter, counter.c.name == name, value=now + 1)


def test_what_a_block_wrote_is_there_for_others_after_it(db: Database) -> None:
    with db.write() as tx:
        add(tx)
        assert seen_elsewhere(db) == 0
    assert seen_elsewhere(db) == 1


def seen_elsewhere(database: Database) -> int:
    """The value as a connection of its own sees it."""
    if database.is_sqlite:
        path = sa.engine.make_url(database.url).database
        assert path
        with sqlite3.connect(path) as connection:
            return int(connection.execute("select value from counter where name='a'").fetchone()[0])
    import psycopg

    url = sa.engine.make_url(database.url)
    with psycopg.connect(
        host=str(url.query["host"]), user="postgres", dbname=url.database
    ) as connection:
        row = connection.execute("select value from counter where name='a'").fetchone()
        assert row
        return int(row[0])


def test_a_block_that_raises_leaves_nothing(db: Database) -> None:
    with pytest.raises(ValueError, match="no"), db.write() as tx:  # noqa: PT012
        add(tx)
        raise ValueError("no")
    assert value(db) == 0
    assert not in_transaction()


def test_a_reader_sees_one_snapshot_however_long_it_takes(db: Database) -> None:
    with db.read() as tx:
        before = tx.scalar(sa.select(counter.c.value).where(counter.c.name == "a"))
        writer = threading.Thread(target=lambda: db.transact(add))
        writer.start()
        writer.join(60)
        assert not writer.is_alive(), "a reader holds a writer up"
        assert tx.scalar(sa.select(counter.c.value).where(counter.c.name == "a")) == before
    assert value(db) == before + 1


def test_a_reader_cannot_write(db: Database) -> None:
    with db.read() as tx, pytest.raises(RuntimeError, match="reads only"):
        tx.update(counter, value=5)
    with db.read() as tx, pytest.raises(RuntimeError, match="reads only"):
        tx.insert(counter, name="c", value=5)
    with db.read() as tx, pytest.raises(RuntimeError, match="reads only"):
        tx.delete(counter, counter.c.name == "a")


def test_a_delete_needs_a_condition(db: Database) -> None:
    with pytest.raises(AssertionError), db.write() as tx:
        tx.delete(counter)


def test_one_thread_holds_one_transaction(db: Database) -> None:
    with db.write(), pytest.raises(RuntimeError, match="already holds"), db.read():
        pass
    with db.read(), pytest.raises(RuntimeError, match="already holds"), db.write():
        pass
    with db.write() as tx:  # and nothing is stuck afterwards
        add(tx)


def test_the_mark_of_a_transaction_is_the_threads_own(db: Database) -> None:
    seen: list[bool] = []
    with db.write():
        assert in_transaction()
        assert guards.in_transaction()
        thread = threading.Thread(target=lambda: seen.append(in_transaction()))
        thread.start()
        thread.join(60)
    assert seen == [False]
    assert not in_transaction()


def test_threads_that_read_then_write_lose_no_update(db: Database) -> None:
    def work() -> None:
        for _ in range(25):

            def locked(tx: Tx) -> None:
                tx.lock("counter", "a")
                add(tx)

            db.transact(locked)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert value(db) == 200


def _work_in_process(url: str, times: int) -> None:
    database = Database(url)
    for _ in range(times):

        def locked(tx: Tx) -> None:
            tx.lock("counter", "a")
            add(tx)

        database.transact(locked)
    database.close()


def test_processes_that_read_then_write_lose_no_update(db: Database) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_work_in_process, args=(db.url, 50)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(200)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert value(db) == 150


def _open_new_files(folder: str, begin: Barrier) -> None:
    for number in range(20):
        begin.wait(200)
        database = Database(f"sqlite:///{folder}/{number}.sqlite")
        with database.engine.connect() as connection:
            connection.exec_driver_sql("SELECT * FROM sqlite_master").all()
        database.close()


def test_processes_open_a_new_sqlite_file_together(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    begin = spawn.Barrier(4)
    processes = [
        spawn.Process(target=_open_new_files, args=(str(tmp_path), begin)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    with sqlite3.connect(tmp_path / "0.sqlite") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_writer_waits_for_the_lock_of_another_process_and_then_goes_on(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a.db")
    tables.create_all(database.engine)
    other = Database(f"sqlite:///{tmp_path}/a.db")  # its own lock file handle: like a process
    done: list[float] = []

    def late() -> None:
        with other.write() as tx:
            tx.insert(counter, name="late", value=1)
        done.append(time.monotonic())

    with database.write() as tx:
        thread = threading.Thread(target=late)
        thread.start()
        time.sleep(0.2)
        assert not done
        tx.insert(counter, name="early", value=1)
    thread.join(60)
    assert done
    with other.read() as tx:
        assert [row.name for row in tx.all(sa.select(counter.c.name))] == ["early", "late"]


def test_sqlite_syncs_its_log_before_a_change_counts_as_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(f"sqlite:///{tmp_path}/a.db")
    tables.create_all(database.engine)
    with database.engine.connect() as connection:
        pragma = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragma == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1}
    sync, synced, told = os.fdatasync, list[str](), list[int]()

    def fdatasync(file: int) -> None:
        name = os.readlink(f"/proc/self/fd/{file}")
        if name.startswith(str(tmp_path)):  # and no thread's that another test left
            assert not told
            synced.append(name)
        sync(file)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    with database.write() as tx:
        tx.insert(counter, name="a", value=1)
        tx.after_commit(lambda: told.append(len(synced)))
        assert not synced
    assert synced == [f"{tmp_path}/a.db-wal"]
    assert told == [1]
    with database.write() as tx:
        tx.update(counter, counter.c.name == "nobody", value=1)
    assert len(synced) == 1, "what changes nothing costs nothing"


def test_transactions_that_commit_during_a_sync_share_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(f"sqlite:///{tmp_path}/a.db")
    tables.create_all(database.engine)
    sync, first, go_on = os.fdatasync, threading.Event(), threading.Event()
    syncs: list[int] = []

    def fdatasync(file: int) -> None:
        syncs.append(file)
        first.set()
        assert go_on.wait(60)
        sync(file)

    def write(name: str) -> None:
        with database.write() as tx:
            tx.insert(counter, name=name, value=1)
        assert len(syncs) > 1 or name == "0"

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(8)]
    threads[0].start()
    assert first.wait(60)
    for thread in threads[1:]:
        thread.start()
    assert database._sync is not None
    until = time.monotonic() + 60
    while database._sync._committed < 8:
        assert time.monotonic() < until
        time.sleep(0.005)
    with database.read() as tx:
        assert len(tx.all(sa.select(counter))) == 8
    assert all(thread.is_alive() for thread in threads)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert len(syncs) == 2


def test_foreign_keys_hold(db: Database) -> None:
    with pytest.raises(sa.exc.IntegrityError), db.write() as tx:
        tx.insert(note, body={}, counter="nowhere")


def test_json_comes_back_as_it_went(db: Database) -> None:
    body = {"text": "ü \u0000 '\"", "list": [1, 2.5, None, True], "nested": {"a": []}}
    with db.write() as tx:
        tx.insert(note, body=body, counter="a")
        tx.insert(note, body=None, counter="a")
    with db.read() as tx:
        assert [row.body for row in tx.all(sa.select(note.c.body).order_by(note.c.id))] == [
            body,
            None,
        ]


def test_actions_after_a_commit_run_after_it_and_only_then(db: Database) -> None:
    seen: list[int] = []
    rung: list[str] = []
    db.bells.listen("topic", lambda: rung.append("topic"))
    with db.write() as tx:
        add(tx)
        tx.after_commit(lambda: seen.append(value(db)))
        tx.ring("topic")
        tx.ring("topic")
        assert (seen, rung) == ([], [])
    assert (seen, rung) == ([1], ["topic"])
    with pytest.raises(ValueError, match="no"), db.write() as tx:  # noqa: PT012
        tx.after_commit(lambda: seen.append(0))
        tx.ring("topic")
        raise ValueError("no")
    assert (seen, rung) == ([1], ["topic"])


def test_an_action_that_raises_does_not_make_a_commit_look_failed(db: Database) -> None:
    seen: list[int] = []
    with db.write() as tx:
        add(tx)
        tx.after_commit(lambda: seen[0])  # type: ignore[arg-type, return-value]
        tx.after_commit(lambda: seen.append(1))
    assert seen == [1]
    assert value(db) == 1


def test_a_deadlock_victim_is_run_again(db: Database) -> None:
    """Two transactions take two rows crosswise. On SQLite one simply comes after the other."""
    both = threading.Barrier(2)
    runs: list[str] = []

    def crosswise(first: str, second: str) -> None:
        def grow(tx: Tx, name: str) -> None:
            # In one statement: the second run may begin while the other transaction still works.
            tx.update(counter, counter.c.name == name, value=counter.c.value + 1)

        def work(tx: Tx) -> None:
            runs.append(first)
            grow(tx, first)
            if not db.is_sqlite and len(runs) <= 2:
                both.wait(60)
            grow(tx, second)

        db.transact(work)

    threads = [threading.Thread(target=crosswise, args=pair) for pair in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (value(db, "a"), value(db, "b")) == (2, 2)
    assert len(runs) == (2 if db.is_sqlite else 3)


def test_a_conflict_that_does_not_end_is_raised(db: Database) -> None:
    runs: list[int] = []

    def work(tx: Tx) -> None:
        runs.append(1)
        raise TransactionRetry("again")

    with pytest.raises(TransactionRetry):
        db.transact(work, attempts=3)
    assert len(runs) == 3
    with db.write() as tx:
        add(tx)


def test_a_named_lock_holds_until_the_end_of_the_transaction(db: Database) -> None:
    order: list[str] = []
    locked = threading.Event()

    def second() -> None:
        locked.wait(60)
        with db.write() as tx:
            tx.lock("quota", "p1")
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with db.write() as tx:
        tx.lock("quota", "p1")
        locked.set()
        time.sleep(0.2)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


def test_the_fence_of_a_thread_is_asked_before_each_write_and_can_refuse_it(db: Database) -> None:
    asked: list[Tx] = []

    def refuse(tx: Tx) -> None:
        asked.append(tx)
        raise PermissionError("the lease is lost")

    with guards.write_fence(refuse):
        with pytest.raises(PermissionError), db.write() as tx:
            add(tx)
        assert value(db) == 0  # reading is free
    assert len(asked) == 1
    with db.write() as tx:
        add(tx)
    assert value(db) == 1


def test_many_writers_on_sqlite_none_starves(tmp_path: Path) -> None:
    """SQLite's own busy handler tries again and again and lets a writer wait for seconds. Ours
    queue for a lock instead: they come through also where SQLite has no patience at all."""
    databases = [Database(f"sqlite:///{tmp_path}/a.db") for _ in range(2)]  # like two processes
    tables.create_all(databases[0].engine)
    databases[0].transact(lambda tx: tx.insert(counter, name="a", value=0))
    for database in databases:
        with database._exclusive(), database._writing() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout=0")
            connection.rollback()
    met: list[Exception] = []

    def work(database: Database) -> None:
        try:
            for _ in range(25):
                with database.write() as tx:
                    add(tx)
        except Exception as error:
            met.append(error)

    threads = [threading.Thread(target=work, args=(databases[n % 2],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert met == []
    assert value(databases[0]) == 200
    for database in databases:
        database.close()
