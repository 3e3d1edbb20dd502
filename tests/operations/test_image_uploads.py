"""Uploads that are killed: whatever the moment, nothing is left in between and nothing is lost.

The killed upload is a process of its own on the same database and folder, ended without any
chance to clean up; the reconciler of this process then puts things right.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from nubelet.image import loose_data, reconcilers, snapshots, staging, uploads
from nubelet.image.model import image
from nubelet.image.operations import staged
from nubelet.image.stores import STAGING, Stores, StoreUnreachable
from nubelet.image.stores.file import FileStore, FileUpload
from nubelet.kernel import clock, guards
from nubelet.kernel.operations.steps import LeaseLost
from nubelet.kernel.reconcile import Reconcilers, bell_of
from tests.cloud import TestedCloud, make_cloud
from tests.image_files import owners

URL = "/image/v2/images"
DATA = os.urandom(3 << 20)
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def tested(tmp_path: Path) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path, services=("image",))
    yield made
    made.close()
    clock.use_source(None)


def create(tested: TestedCloud) -> str:
    made = tested.client().post(URL, json={"disk_format": "raw", "container_format": "bare"})
    identifier: str = made.json()["id"]
    return identifier


def show(tested: TestedCloud, one: str) -> Any:
    return tested.client().get(f"{URL}/{one}").json()


def files(tested: TestedCloud) -> list[str]:
    folder = tested.cloud.settings.image.directory
    return sorted(owners(path.name for path in folder.rglob("*") if path.is_file()))


def clean_up(tested: TestedCloud) -> None:
    """One round of all loops."""
    for loop in reconcilers.RECONCILERS:
        loop.run(tested.cloud)


def killed_at(tested: TestedCloud, one: str, moment: str) -> None:
    """Upload in another process, which ends without warning at a moment."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            SCRIPT,
            tested.cloud.database.url,
            str(tested.cloud.settings.state_dir),
            one,
            moment,
        ],
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 9, done.stderr


SCRIPT = """
import sys
from tests.operations.test_image_uploads import upload_until
upload_until(*sys.argv[1:])
"""


def upload_until(url: str, state_dir: str, one: str, moment: str) -> None:
    """What the other process does."""
    from nubelet.image import Stores, find, make_stores
    from nubelet.kernel.cloud import Cloud
    from nubelet.kernel.database import Database
    from nubelet.settings import load

    write = FileUpload.write

    def write_and_die(self: FileUpload, data: bytes) -> None:
        write(self, data)
        _die()

    if moment == "while writing":
        FileUpload.write = write_and_die  # type: ignore[method-assign]
    elif moment == "before the rename":
        FileUpload.commit = _die  # type: ignore[method-assign,assignment]
    else:
        uploads._finish = _die  # type: ignore[assignment]
    settings = load(environ={}, overrides={"state_dir": Path(state_dir)})
    cloud = Cloud(settings, Database(url), None, ())  # type: ignore[arg-type]
    cloud.provide(Stores, make_stores(settings))
    ctx = Caller(cloud)
    with cloud.database.read() as tx:
        found = find(ctx, tx, one)  # type: ignore[arg-type]
    uploads.receive(ctx, found, iter([DATA[: 1 << 20], DATA[1 << 20 :]]))  # type: ignore[arg-type]


class Caller:
    """An administrator, without a token."""

    is_admin, project_id = True, None

    def __init__(self, cloud: Any) -> None:
        self.cloud = cloud

    def allows(self, rule: str, target: Any) -> bool:
        """Everything."""
        return True


def _die(*_: object) -> None:
    os._exit(9)


MOMENTS = ["while writing", "before the rename", "after the rename"]


def test_a_machine_that_dies_leaves_no_upload_for_half_a_minute(tested: TestedCloud) -> None:
    """It had the loop, too, and no other machine can tell that it is dead: both leases run out,
    and a period passes until the loop of another one looks again."""
    loops, one = reconcilers.RECONCILERS[:2], create(tested)
    killed_at(tested, one, "while writing")
    now = [clock.now()]
    clock.use_source(lambda: now[0])
    Reconcilers(tested.cloud, loops).run_once()  # in its last moment
    assert show(tested, one)["status"] == "saving"
    now[0] += round((30 - loops[0].period_seconds) * 1e6)
    Reconcilers(tested.cloud, loops).run_once()
    assert show(tested, one)["status"] == "queued"
    assert files(tested) == []


def test_a_part_that_no_row_leads_to_goes_after_a_day(tested: TestedCloud) -> None:
    folder = tested.cloud.settings.image.directory
    old, young = folder / f"{create(tested)}.1f.part", folder / f"{create(tested)}.2f.part"
    for path, hours in ((old, 25), (young, 23)):
        path.write_bytes(b"data")
        seconds = time.time() - hours * 3600
        os.utime(path, (seconds, seconds))
    assert [each for each in reconcilers.check(tested.cloud) if str(old) in each]
    clean_up(tested)
    assert files(tested) == [young.name]
    assert reconcilers.check(tested.cloud) == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_upload_can_be_repeated(tested: TestedCloud, moment: str) -> None:
    one = create(tested)
    killed_at(tested, one, moment)
    assert show(tested, one)["status"] == "saving"
    assert files(tested)
    clean_up(tested)
    assert show(tested, one)["status"] == "saving"  # it might still be alive
    begun = clock.now()
    clock.use_source(lambda: begun + (uploads.LEASE_SECONDS + 1) * 1_000_000)
    clean_up(tested)
    clock.use_source(None)
    shown = show(tested, one)
    assert (shown["status"], shown["size"], shown["checksum"]) == ("queued", None, None)
    assert files(tested) == []
    answer = tested.client().put(f"{URL}/{one}/file", content=DATA, headers=OCTETS)
    assert answer.status_code == 204
    assert tested.client().get(f"{URL}/{one}/file").content == DATA
    assert reconcilers.check(tested.cloud) == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_image_deleted_after_its_upload_was_killed_leaves_nothing(
    tested: TestedCloud, moment: str
) -> None:
    one = create(tested)
    killed_at(tested, one, moment)
    assert tested.client().delete(f"{URL}/{one}").status_code == 204
    tested.settle()  # the data belongs to the deletion's operation until that has ended
    clean_up(tested)
    assert files(tested) == []


class SlowData:
    """Data that stops in the middle until it is let go."""

    def __init__(self) -> None:
        self.go_on, self.waits = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield DATA[: 1 << 20]
        self.waits.set()
        self.go_on.wait(100)
        yield DATA[1 << 20 :]


def start_slow(tested: TestedCloud, one: str) -> tuple[SlowData, threading.Thread, list[Any]]:
    data, raised = SlowData(), []
    ctx = Caller(tested.cloud)

    def work() -> None:
        from nubelet.image import find

        try:
            with tested.cloud.database.read() as tx:
                found = find(ctx, tx, one)  # type: ignore[arg-type]
            uploads.receive(ctx, found, iter(data))  # type: ignore[arg-type]
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert data.waits.wait(60)
    return data, thread, raised


def test_a_slow_upload_is_not_taken_for_dead(
    tested: TestedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock goes on only when the lease was renewed, and stays before its end: what is to be
    seen does not depend on how quick this machine is."""
    monkeypatch.setattr(uploads, "RENEW_SECONDS", 0.05)
    one, now = create(tested), [clock.now()]
    monkeypatch.setattr(clock, "_source", lambda: now[0])
    data, thread, raised = start_slow(tested, one)
    for _ in range(5):  # in all three times as long as a lease
        now[0] += 12_000_000
        _until(lambda: _lease_of(tested, one) == now[0] + uploads.LEASE_SECONDS * 1_000_000)
        clean_up(tested)
    assert show(tested, one)["status"] == "saving"
    data.go_on.set()
    thread.join()
    assert raised == []
    assert tested.client().get(f"{URL}/{one}/file").content == DATA


def _lease_of(tested: TestedCloud, one: str) -> int:
    with tested.cloud.database.read() as tx:
        return int(tx.scalar(sa.select(image.c.lease_until).where(image.c.id == one)))


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def test_a_client_that_sends_nothing_any_more_loses_the_image(
    tested: TestedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "RENEW_SECONDS", 0.05)
    one = create(tested)
    data, thread, raised = start_slow(tested, one)

    def is_free() -> bool:
        clean_up(tested)
        return bool(show(tested, one)["status"] == "queued")

    with monkeypatch.context() as hasty:  # for this upload: the next one is not that slow
        hasty.setattr(uploads, "IDLE_SECONDS", 0.1)
        hasty.setattr(uploads, "_lease", lambda: clock.now() + 300_000)
        _until(is_free)
    answer = tested.client().put(f"{URL}/{one}/file", content=b"other", headers=OCTETS)
    assert answer.status_code == 204
    data.go_on.set()
    thread.join()
    assert "taken for dead" in raised[0].message
    assert tested.client().get(f"{URL}/{one}/file").content == b"other"
    assert files(tested) == [one]


def test_an_image_can_be_deleted_while_its_data_comes(tested: TestedCloud) -> None:
    one = create(tested)
    data, thread, raised = start_slow(tested, one)
    assert tested.client().delete(f"{URL}/{one}").status_code == 204
    data.go_on.set()
    thread.join()
    assert "deleted" in raised[0].message
    clean_up(tested)
    assert files(tested) == []


def test_only_one_upload_at_a_time(tested: TestedCloud) -> None:
    one = create(tested)
    data, thread, _ = start_slow(tested, one)
    answer = tested.client().put(f"{URL}/{one}/file", content=b"other", headers=OCTETS)
    assert answer.status_code == 409
    data.go_on.set()
    thread.join()
    assert tested.client().get(f"{URL}/{one}/file").content == DATA


@pytest.mark.parametrize("status", ["queued", "uploading"])
def test_staged_data_that_somebody_else_removes_meanwhile_troubles_no_cleaner(
    tested: TestedCloud, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """It goes between the cleaner's list and its look at the row."""
    one = create(tested)
    answer = tested.client().put(f"{URL}/{one}/stage", content=DATA, headers=OCTETS)
    assert answer.status_code == 204, answer.text
    with tested.cloud.database.write() as tx:
        tx.update(image, image.c.id == one, status=status)
    listed = loose_data.find

    def find(*words: Any, **more: Any) -> list[Any]:
        monkeypatch.setattr(loose_data, "find", listed)
        rows = listed(*words, **more)
        assert [row.image_id for row in rows] == [one]

        def remove() -> None:
            with tested.cloud.database.write() as tx:
                loose_data.forget(tx, rows[0].store, rows[0].key)

        other = threading.Thread(target=remove)
        other.start()
        other.join(60)
        return rows

    monkeypatch.setattr(loose_data, "find", find)
    staging.clean_up(tested.cloud)
    assert show(tested, one)["status"] == status


def test_an_operation_fills_an_image_while_a_cleaner_is_about_to_remove(
    tested: TestedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cleaner has taken an earlier try for dead, and removes what that wrote while another
    process goes on with the operation."""
    one, begun = create(tested), clock.now()
    killed_at(tested, one, "while writing")
    clock.use_source(lambda: begun + (uploads.LEASE_SECONDS + 60) * 1_000_000)
    is_about_to, may_go_on = threading.Event(), threading.Event()
    delete = FileStore.delete

    def delete_late(self: FileStore, key: str) -> None:
        if threading.current_thread() is cleaner:
            is_about_to.set()
            assert may_go_on.wait(60)
        delete(self, key)

    monkeypatch.setattr(FileStore, "delete", delete_late)
    cleaner = threading.Thread(target=clean_up, args=(tested,))
    cleaner.start()
    assert is_about_to.wait(60)

    def sent() -> Iterator[bytes]:
        yield DATA[: 1 << 20]
        may_go_on.set()
        cleaner.join()
        yield DATA[1 << 20 :]

    run: Any = types.SimpleNamespace(cloud=tested.cloud)
    snapshots.fill(run, one, sent())
    assert tested.client().get(f"{URL}/{one}/file").content == DATA
    assert files(tested) == [one]


def test_a_store_that_stands_still_holds_up_nobody(
    tested: TestedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion that hangs (NFS) has no transaction open, and hides no image: what it would
    remove can be sent anew meanwhile, and is not touched when it goes on after all."""
    one, begun = create(tested), clock.now()
    killed_at(tested, one, "after the rename")
    clock.use_source(lambda: begun + (uploads.LEASE_SECONDS + 60) * 1_000_000)
    hangs, may_go_on = threading.Event(), threading.Event()
    delete = FileStore.delete

    def delete_late(self: FileStore, key: str) -> None:
        if threading.current_thread() is cleaner:
            hangs.set()
            assert may_go_on.wait(100)
        delete(self, key)

    monkeypatch.setattr(FileStore, "delete", delete_late)
    cleaner = threading.Thread(target=clean_up, args=(tested,))
    cleaner.start()
    assert hangs.wait(60)
    assert show(tested, one)["status"] == "queued"
    answer = tested.client().put(f"{URL}/{one}/file", content=DATA, headers=OCTETS)
    assert answer.status_code == 204
    may_go_on.set()
    cleaner.join(60)
    assert tested.client().get(f"{URL}/{one}/file").content == DATA
    clean_up(tested)
    assert files(tested) == [one]
    assert reconcilers.check(tested.cloud) == []


@pytest.mark.parametrize("loop", [reconcilers.clean_up_uploads, staging.clean_up])
def test_who_cleans_a_staging_area_has_no_transaction_open(
    tested: TestedCloud, monkeypatch: pytest.MonkeyPatch, loop: Callable[[Any], None]
) -> None:
    one = create(tested)
    answer = tested.client().put(f"{URL}/{one}/stage", content=DATA, headers=OCTETS)
    assert answer.status_code == 204, answer.text
    with tested.cloud.database.write() as tx:
        tx.update(image, image.c.id == one, status="queued")
    deleted, written = FileStore.delete, threading.Event()

    def write() -> None:
        with tested.cloud.database.write():
            written.set()

    def delete(self: FileStore, key: str) -> None:
        other = threading.Thread(target=write)
        other.start()
        assert written.wait(60), "nobody could write meanwhile"
        other.join()
        deleted(self, key)

    monkeypatch.setattr(FileStore, "delete", delete)
    loop(tested.cloud)
    assert written.is_set()
    assert files(tested) == []


@pytest.mark.parametrize("taken", ["deleted", "dead"])
def test_what_a_store_completes_after_its_cleaning_up_goes(
    tested: TestedCloud, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    """The request that completes an object (S3, Swift) is under way while the image is deleted, or
    its upload is taken for dead: there is nothing yet that could be removed."""
    one, commit, begun = create(tested), FileUpload.commit, clock.now()

    def late(self: FileUpload) -> None:
        if taken == "deleted":
            assert tested.client().delete(f"{URL}/{one}").status_code == 204
            tested.settle()
        else:
            clock.use_source(lambda: begun + (uploads.LEASE_SECONDS + 60) * 1_000_000)
        clean_up(tested)
        self._part.write_bytes(DATA)
        commit(self)

    monkeypatch.setattr(FileUpload, "commit", late)
    monkeypatch.setattr(uploads, "RENEW_SECONDS", 3600)
    answer = tested.client().put(f"{URL}/{one}/file", content=DATA, headers=OCTETS)
    assert answer.status_code == 410, answer.text
    assert files(tested) == []
    with tested.cloud.database.read() as tx:
        assert loose_data.find(tx) == []


def test_data_of_an_earlier_release_goes_by_itself(tested: TestedCloud) -> None:
    """It lies under the id alone, which the keys of all uploads begin with."""
    store, one = tested.cloud.get(Stores).default, create(tested)
    upload = store.begin(store.new_key(one, "0" * 32))
    upload.write(b"new")
    (tested.cloud.settings.image.directory / one).write_bytes(b"old")
    store.delete(one)
    upload.commit()
    assert files(tested) == [one]
    assert store.size(store.new_key(one, "0" * 32)) == 3


def test_whoever_lost_an_operation_removes_no_staged_data(tested: TestedCloud) -> None:
    """It slept before it cleaned up; meanwhile the import failed, and the image was staged anew."""
    one = create(tested)
    answer = tested.client().put(f"{URL}/{one}/stage", content=DATA, headers=OCTETS)
    assert answer.status_code == 204
    run: Any = types.SimpleNamespace(
        cloud=tested.cloud, subject_id=one, operation_id="op", attempt=1
    )

    def fence(tx: Any) -> None:
        raise LeaseLost("taken over")

    with guards.write_fence(fence), pytest.raises(LeaseLost):
        staged.remove(run)
    assert files(tested) == [one]


def test_staged_data_is_fetched_from_any_machine_that_has_it(
    tested: TestedCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second machine noted it when it began to fetch it, and died; a third goes on."""
    one = create(tested)
    key = f"{one}.{'0' * 32}"
    with tested.cloud.database.write() as tx:
        for machine in ("a", "b"):
            loose_data.note(tx, one, f"{STAGING}@http://{machine}/image", key)
    asked = []

    def fetch(cloud: Any, machine: str, key: str) -> Iterator[bytes]:
        asked.append(machine)
        if machine == "http://b/image":
            raise StoreUnreachable("it is down")
        yield b"data"

    monkeypatch.setattr(staging, "fetch", fetch)
    run: Any = types.SimpleNamespace(
        cloud=tested.cloud,
        subject_id=one,
        operation_id="op",
        attempt=3,
        outputs={},
        inputs={"staged": key},
        note=lambda *words, **more: None,
        stopping=False,
    )
    assert staged.path_of(run).read_bytes() == b"data"
    with tested.cloud.database.write() as tx:  # the other way round
        loose_data.forget(tx, tested.cloud.get(Stores).staging.name, key)
        loose_data.forget(tx, f"{STAGING}@http://a/image", key)
        loose_data.note(tx, one, f"{STAGING}@http://a/image", key)
    tested.cloud.get(Stores).staging.delete(key)
    asked.clear()
    assert staged.path_of(run).read_bytes() == b"data"
    assert asked == ["http://b/image", "http://a/image"]


def test_half_a_minute_after_a_kill_no_image_is_saving_and_no_data_left(
    tested: TestedCloud,
) -> None:
    loops = reconcilers.RECONCILERS[:2]
    assert uploads.LEASE_SECONDS + loops[0].period_seconds <= 25, "the rest is for the work itself"
    one = create(tested)
    killed_at(tested, one, "after the rename")
    lease_ends = _lease_of(tested, one)
    clock.use_source(lambda: lease_ends + 1)
    rung = threading.Event()
    tested.cloud.database.bells.listen(bell_of(loops[1].name), rung.set)
    loops[0].run(tested.cloud)
    assert show(tested, one)["status"] == "queued"
    assert rung.wait(60), "the loop that removes the data would come later"
    loops[1].run(tested.cloud)
    clock.use_source(None)
    assert files(tested) == []


def test_the_doctor_sees_what_is_wrong(tested: TestedCloud) -> None:
    one, two = create(tested), create(tested)
    folder = tested.cloud.settings.image.directory
    for each in (one, two):
        tested.client().put(f"{URL}/{each}/file", content=DATA, headers=OCTETS)
    assert reconcilers.check(tested.cloud) == []
    [path], [other] = folder.glob(f"{one}.*"), folder.glob(f"{two}.*")
    path.unlink()
    other.write_bytes(b"short")
    (folder / "stray").write_bytes(b"x")
    told = "\n".join(reconcilers.check(tested.cloud))
    assert f"{one}" in told
    assert "missing" in told
    assert "should have" in told
    assert "stray" in told
