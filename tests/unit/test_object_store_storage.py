"""The engine: order of writes, listings, full disks, what was left behind."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nubelet.object_store.reaping import Reaped, empty
from nubelet.object_store.reconcilers import expire_until
from nubelet.object_store.storage import (
    EXPIRING_ACCOUNT,
    InsufficientStorage,
    Listing,
    Missing,
    ObjectEntry,
    ObjectPath,
    Outdated,
    Policies,
    Policy,
    timestamps,
)
from nubelet.object_store.storage.containers import ContainerFile, ObjectRow
from nubelet.object_store.storage.local import LocalStorage
from nubelet.object_store.storage.sqlite import ListingFile

PATH = ObjectPath("a", "c", "o")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStorage]:
    made = LocalStorage(tmp_path / "store", Policies([Policy(0, "one", True)]))
    made.put_account("a", timestamps.now(), {})
    made.put_container("a", "c", timestamps.now(), {})
    yield made
    made.close()


def read(store: LocalStorage, path: ObjectPath = PATH) -> bytes:
    opened = store.open_object(path, 0)
    try:
        return b"".join(opened.read())
    finally:
        opened.close()


def listed(store: LocalStorage) -> list[str]:
    return [entry.name for entry in store.list_objects("a", "c", Listing())]


def test_the_newest_write_wins_in_any_order(store: LocalStorage) -> None:
    old, middle, new = (timestamps.now() for _ in range(3))
    store.put_object(PATH, 0, middle, {"content-type": "b"}, iter([b"middle"]))
    with pytest.raises(Outdated):
        store.put_object(PATH, 0, old, {}, iter([b"old"]))
    assert read(store) == b"middle"
    store.delete_object(PATH, 0, new)
    with pytest.raises(Outdated):
        store.put_object(PATH, 0, middle, {}, iter([b"middle"]))
    with pytest.raises(Missing):
        read(store)
    assert listed(store) == []


def test_a_listing_takes_up_writes_in_any_order(tmp_path: Path) -> None:
    stamps = [timestamps.now() for _ in range(6)]
    rows = [
        ObjectRow("o", stamps[0], stamps[0], 1, "a", "e0", 0, 0),
        ObjectRow("o", stamps[0], stamps[1], 1, "posted", "e0", 0, 0),
        ObjectRow("o", stamps[2], stamps[2], 0, "", "", 1, 0),
        ObjectRow("o", stamps[3], stamps[3], 7, "b", "e3", 0, 0),
        ObjectRow("p", stamps[4], stamps[4], 2, "c", "e4", 0, 0),
    ]
    chance = random.Random(3)
    for number in range(30):
        file = ContainerFile(str(tmp_path / str(number) / "c.db"))
        file.put("a", "c", stamps[0], {}, 0, 0)
        order = [*rows, *chance.choices(rows, k=4)]
        chance.shuffle(order)
        for row in order:
            file.merge([row])
        info = file.info()
        assert (info.object_count, info.bytes_used) == (2, 9)
        assert file.entries(Listing()) == [
            ObjectEntry("o", stamps[3], 7, "b", "e3"),
            ObjectEntry("p", stamps[4], 2, "c", "e4"),
        ]
        file.close()


def test_what_fails_fails_nobody_else_who_waits_for_a_listing(tmp_path: Path) -> None:
    file = _container_file(tmp_path)
    wrong = _row("wrong")._replace(etag=None)  # type: ignore[arg-type]
    with ThreadPoolExecutor(9) as pool:
        with file.lock:  # somebody commits
            told = [pool.submit(file.merge, [_row(f"o{number}")]) for number in range(4)]
            refused = pool.submit(file.merge, [wrong])
            told += [pool.submit(file.merge, [_row(f"o{number}")]) for number in range(4, 8)]
            _until_waiting(file, 9)
        for each in told:
            each.result(60)
        with pytest.raises(sqlite3.IntegrityError):
            refused.result(60)
    assert [each.name for each in file.entries(Listing())] == [f"o{number}" for number in range(8)]
    assert file.info().object_count == 8
    file.close()


def test_writers_who_wait_for_a_listing_share_a_commit(tmp_path: Path) -> None:
    file = _container_file(tmp_path)
    commits: list[str] = []
    with file.read() as db:
        db.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    with ThreadPoolExecutor(8) as pool:
        with file.lock:
            told = [pool.submit(file.merge, [_row(f"o{number}")]) for number in range(8)]
            _until_waiting(file, 8)
        for each in told:
            each.result(60)
    assert file.info().object_count == 8
    assert len(commits) == 1
    file.close()


class _Strict(ListingFile):
    SCHEMA = """
CREATE TABLE IF NOT EXISTS info (id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS child (of INTEGER REFERENCES info (id) DEFERRABLE INITIALLY DEFERRED)
"""


def test_a_listing_is_written_again_after_a_commit_that_failed(tmp_path: Path) -> None:
    file = _Strict(str(tmp_path / "listing" / "l.db"))
    file.create({"id": 1})
    with file.read() as db:
        db.execute("PRAGMA foreign_keys=ON")
    with pytest.raises(sqlite3.IntegrityError), file.write() as db:
        db.execute("INSERT INTO child VALUES (2)")  # which the commit finds
    with file.write() as db:
        db.execute("INSERT INTO child VALUES (1)")
    with file.read() as db:
        assert db.execute("SELECT of FROM child").fetchall() == [(1,)]
    file.close()


def _until_waiting(file: ContainerFile, count: int) -> None:
    until = time.monotonic() + 60
    while len(file._waiting) < count and time.monotonic() < until:
        time.sleep(0.01)


def _container_file(folder: Path) -> ContainerFile:
    file = ContainerFile(str(folder / "container" / "c.db"))
    file.put("AUTH_p", "c", "0000000001.00000", {}, None, 0)
    return file


def _row(name: str) -> ObjectRow:
    return ObjectRow(name, "0000000002.00000", "0000000002.00000", 1, "text/plain", "e", 0, 0)


def test_a_full_disk_is_507_and_leaves_nothing(
    store: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    store.put_object(PATH, 0, timestamps.now(), {}, iter([b"old"]))
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(InsufficientStorage) as caught:
        store.put_object(PATH, 0, timestamps.now(), {}, iter([b"x" * 2000]))
    assert caught.value.status == 507
    assert os.listdir(store.objects.temporary) == []
    assert read(store) == b"old"
    with pytest.raises(InsufficientStorage):
        store.put_object(PATH, 0, timestamps.now(), {"content-length": str(1 << 60)}, iter([]))


def test_a_body_that_breaks_off_leaves_nothing(store: LocalStorage) -> None:
    def body() -> Iterator[bytes]:
        yield b"some"
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError):
        store.put_object(PATH, 0, timestamps.now(), {}, body())
    assert os.listdir(store.objects.temporary) == []
    assert listed(store) == []


def test_what_is_being_written_is_left_alone(store: LocalStorage) -> None:
    def body() -> Iterator[bytes]:
        yield b"one "
        store.catch_up(thorough=True)
        yield b"two"

    store.put_object(PATH, 0, timestamps.now(), {}, body())
    assert read(store) == b"one two"


def test_an_open_object_outlives_its_replacement(store: LocalStorage) -> None:
    store.put_object(PATH, 0, timestamps.now(), {}, iter([b"old" * 100_000]))
    opened = store.open_object(PATH, 0)
    body = opened.read()
    first = next(body)
    store.put_object(PATH, 0, timestamps.now(), {}, iter([b"new"]))
    store.delete_object(PATH, 0, timestamps.now())
    assert first + b"".join(body) == b"old" * 100_000
    opened.close()


def test_objects_expire(store: LocalStorage) -> None:
    now = int(time.time())
    for name, at in (("soon", now + 10), ("later", now + 100_000), ("kept", now + 10)):
        path = PATH._replace(object=name)
        store.put_object(path, 0, timestamps.now(), {"x-delete-at": str(at)}, iter([b"x"]))
    store.post_object(PATH._replace(object="kept"), 0, timestamps.now(), {})
    assert expire_until(store, now) == 0
    assert expire_until(store, now + 11) == 1
    assert listed(store) == ["kept", "later"]
    assert expire_until(store, now + 200_000) == 1
    assert listed(store) == ["kept"]
    expire_until(store, now + 10 * 86_400)
    assert store.list_containers(EXPIRING_ACCOUNT, Listing()) == []


def test_who_writes_before_the_expirer_comes_is_not_undone_by_it(store: LocalStorage) -> None:
    """A proxy's write may reach the store after the deletion of what it replaces."""
    now = int(time.time())
    store.put_object(PATH, 0, timestamps.now(), {"x-delete-at": str(now + 1)}, [b"old"])
    written = timestamps.now()
    assert expire_until(store, now + 10) == 1
    with pytest.raises(Missing):
        read(store)
    store.put_object(PATH, 0, written, {}, [b"new"])
    assert read(store) == b"new"
    assert listed(store) == ["o"]
    assert expire_until(store, now + 10) == 0


def test_tombstones_are_forgotten_in_time(
    store: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_object(PATH, 0, timestamps.now(), {}, iter([b"x"]))
    store.delete_object(PATH, 0, timestamps.now())
    folder = Path(store.folder, "objects")
    store.catch_up(thorough=True)
    assert len(list(folder.rglob("*.ts"))) == 1
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 2 * 86_400)
    store.catch_up(thorough=True)
    assert list(folder.rglob("*.ts")) == []
    assert list(folder.glob("*/*/*")) == []


def test_timestamps_never_repeat() -> None:
    made = [timestamps.now() for _ in range(2000)]
    assert made == sorted(set(made))
    for wrong in ("nan", "-1", "1e300", "x"):
        with pytest.raises(ValueError):
            timestamps.normal(wrong)


def test_what_a_deleted_account_left_is_reaped(store: LocalStorage) -> None:
    for number in range(3):
        store.put_object(
            ObjectPath("a", "c", f"o{number}"), 0, timestamps.now(), {"content-type": "a/b"}, [b"x"]
        )
    store.delete_account("a", timestamps.now())
    assert list(store.left_of_accounts(3600.0)) == []  # not yet
    reaped = Reaped()
    for account, container in store.left_of_accounts(0.0):
        empty(store, account, container, reaped)
    assert reaped == Reaped(objects=3, containers=1)
    assert list(store.left_of_accounts(0.0)) == []
    with pytest.raises(Missing):
        store.open_object(ObjectPath("a", "c", "o1"), 0)


def test_files_of_deleted_listings_are_removed_in_time(
    store: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = LocalStorage(tmp_path / "store", store.policies)  # of another process
    store.put_object(PATH, 0, timestamps.now(), {"content-type": "a/b"}, [b"x"])
    store.delete_object(PATH, 0, timestamps.now())
    store.delete_container("a", "c", timestamps.now())
    store.delete_account("a", timestamps.now())
    with pytest.raises(Missing):
        other.container("a", "c")
    store.catch_up(thorough=True)
    assert len(list((tmp_path / "store").glob("*/*/*/*/*.db"))) == 2  # not yet
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * 86_400)
    store.catch_up(thorough=True)
    assert list((tmp_path / "store").glob("*/*/*/*/*.db")) == []
    # A process that has the file open finds that it is gone, and makes it anew.
    with pytest.raises(Missing):
        other.container("a", "c")
    other.put_account("a", timestamps.now(), {})
    other.put_container("a", "c", timestamps.now(), {})
    other.put_object(PATH, 0, timestamps.now(), {"content-type": "a/b"}, [b"x"])
    assert listed(store) == ["o"]
    other.close()


def test_a_large_body_is_written_behind_whole(store: LocalStorage) -> None:
    pieces = [os.urandom(3 << 20) for _ in range(8)]
    stored = store.put_object(PATH, 0, timestamps.now(), {}, iter(pieces))
    assert stored.etag == hashlib.md5(b"".join(pieces), usedforsecurity=False).hexdigest()
    assert stored.size == 24 << 20
    assert read(store) == b"".join(pieces)
    assert "write-behind" not in {thread.name for thread in threading.enumerate()}


def test_a_large_body_that_fails_leaves_nothing(
    store: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:

    def breaks_off() -> Iterator[bytes]:
        yield from [bytes(3 << 20)] * 8
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError):
        store.put_object(PATH, 0, timestamps.now(), {}, breaks_off())
    write, written = os.write, 0

    def full(descriptor: int, data: bytes) -> int:
        nonlocal written
        written += len(data)
        if written > 12 << 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(InsufficientStorage):
        store.put_object(PATH, 0, timestamps.now(), {}, iter([bytes(1 << 20)] * 40))
    written = 0
    with pytest.raises(InsufficientStorage):  # found by the last write, when no piece follows
        store.put_object(PATH, 0, timestamps.now(), {}, iter([bytes(1 << 20)] * 13))
    assert os.listdir(store.objects.temporary) == []
    assert "write-behind" not in {thread.name for thread in threading.enumerate()}
    assert listed(store) == []


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """In a small filesystem of its own: refused with 507, nothing left, and usable again."""
    done = subprocess.run(
        [
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            sys.executable,
            __file__,
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr and "failed" in done.stderr:
        pytest.skip("namespaces are not allowed here")
    assert done.returncode == 0, done.stderr


def _fill_a_disk(folder: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", folder], check=True)
    store = LocalStorage(Path(folder), Policies([Policy(0, "one", True)]))
    store.put_account("a", timestamps.now(), {})
    store.put_container("a", "c", timestamps.now(), {})
    for declared in ({}, {"content-length": str(120 << 20)}):
        try:
            store.put_object(PATH, 0, timestamps.now(), declared, iter([bytes(1 << 20)] * 120))
        except InsufficientStorage:
            pass
        else:
            raise AssertionError("120 MiB were stored in 100")
        assert os.listdir(store.objects.temporary) == []
    kept = 0
    try:
        while True:
            store.put_object(
                ObjectPath("a", "c", f"{kept}"), 0, timestamps.now(), {}, [b"x" * 30_000]
            )
            kept += 1
    except InsufficientStorage:
        pass
    assert kept > 500
    store.close()
    again = LocalStorage(Path(folder), Policies([Policy(0, "one", True)]))
    assert read(again, ObjectPath("a", "c", "0")) == b"x" * 30_000
    assert len(listed(again)) == kept
    for number in range(kept):  # a full disk can be emptied
        again.delete_object(ObjectPath("a", "c", f"{number}"), 0, timestamps.now())
    again.catch_up()
    assert listed(again) == []
    assert again.account("a").bytes_used == 0
    again.put_object(PATH, 0, timestamps.now(), {}, [b"x" * (8 << 20)])


if __name__ == "__main__":
    _fill_a_disk(sys.argv[1])
