"""Events: written with the change, read in an order that never changes, by each at its pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from nubelet.kernel import clock, events
from nubelet.kernel.bus import InProcessBus
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import Context, Credentials
from nubelet.kernel.database import Database, Tx
from nubelet.kernel.events import Event, Feed, Reader


def emit(tx: Tx, subject: str, kind: str = "server.created", project: str = "p1") -> None:
    events.emit(
        tx,
        kind,
        project_id=project,
        subject_type="server",
        subject_id=subject,
        payload={"n": subject},
    )


def emit_now(database: Database, *subjects: str) -> None:
    with database.write() as tx:
        for subject in subjects:
            emit(tx, subject)


def subjects(found: list[Event]) -> list[str]:
    return [event.subject_id for event in found]


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.002)


def test_an_event_says_what_happened_to_what_by_whom(database: Database) -> None:
    cloud = Cloud(None, database, InProcessBus(), ())  # type: ignore[arg-type]
    ctx = Context(cloud, "compute", Credentials(user_id="u1"), request_id="req-1")
    before = clock.now()
    with database.write() as tx:
        events.emit(
            tx,
            "server.created",
            project_id="p1",
            subject_type="server",
            subject_id="s1",
            payload={"name": "web"},
            ctx=ctx,
        )
    with database.read() as tx:
        (event,) = events.read(tx)
    assert (
        event.kind,
        event.project_id,
        event.subject_type,
        event.subject_id,
        event.user_id,
        event.request_id,
        event.payload,
    ) == ("server.created", "p1", "server", "s1", "u1", "req-1", {"name": "web"})
    assert before <= event.at <= clock.now()


def test_what_was_rolled_back_was_never_an_event(database: Database) -> None:
    with pytest.raises(ValueError, match="no"), database.write() as tx:  # noqa: PT012
        emit(tx, "s1")
        raise ValueError("no")
    with database.read() as tx:
        assert events.read(tx) == []


def test_reading_goes_on_from_a_cursor_and_filters(database: Database) -> None:
    emit_now(database, "a", "b", "c")
    with database.write() as tx:
        emit(tx, "d", "server.deleted", project="p2")
    with database.read() as tx:
        first = events.read(tx, limit=2)
        assert subjects(first) == ["a", "b"]
        assert subjects(events.read(tx, first[-1].cursor)) == ["c", "d"]
        assert subjects(events.read(tx, kinds=["server.deleted"])) == ["d"]
        assert subjects(events.read(tx, project_id="p1")) == ["a", "b", "c"]
        assert subjects(events.read(tx, subject_id="b")) == ["b"]
        assert events.read(tx, events.latest(tx)) == []


def test_an_event_that_commits_late_is_not_stepped_over(database: Database) -> None:
    """On PostgreSQL a transaction may take its ids first and commit last."""
    reader = Reader("telemetry")
    if database.is_sqlite:
        emit_now(database, "slow", "quick")
        seen: list[str] = []
    else:
        begun, finish = threading.Event(), threading.Event()

        def slow() -> None:
            with database.write() as tx:
                emit(tx, "slow")
                begun.set()
                finish.wait(60)

        thread = threading.Thread(target=slow)
        thread.start()
        assert begun.wait(60)
        emit_now(database, "quick")
        seen = drained(reader, database)
        finish.set()
        thread.join(60)
    seen += drained(reader, database)
    assert sorted(seen) == ["quick", "slow"]


def drained(reader: Reader, database: Database) -> list[str]:
    seen: list[str] = []
    reader.drain(database, lambda batch: seen.extend(event.subject_id for event in batch))
    return seen


def test_a_reader_goes_on_where_it_stopped(database: Database) -> None:
    emit_now(database, *(str(number) for number in range(25)))
    batches: list[int] = []
    assert Reader("a").drain(database, lambda batch: batches.append(len(batch)), limit=10) == 25
    assert batches == [10, 10, 5]
    assert Reader("a").drain(database, lambda batch: batches.append(len(batch))) == 0
    assert len(drained(Reader("b"), database)) == 25, "readers go each at its own pace"


def test_a_batch_that_was_not_handled_comes_again(database: Database) -> None:
    emit_now(database, "a", "b")

    def broken(batch: object) -> None:
        raise RuntimeError("not now")

    with pytest.raises(RuntimeError):
        Reader("a").drain(database, broken)
    assert drained(Reader("a"), database) == ["a", "b"]


def test_old_events_are_forgotten(database: Database) -> None:
    emit_now(database, "old")
    middle = clock.now() + 1
    until(lambda: clock.now() > middle)
    emit_now(database, "new")
    with database.write() as tx:
        assert events.prune(tx, middle) == 1
        assert [row.subject_id for row in tx.all(sa.select(events.event))] == ["new"]


def test_a_feed_hears_new_events_soon_and_only_while_it_listens(database: Database) -> None:
    emit_now(database, "before")
    feed = Feed(database, poll_seconds=3600.0)  # what is heard is heard by the bell
    heard: list[str] = []
    late: list[str] = []
    stop = feed.listen(lambda event: heard.append(event.subject_id))
    until(lambda: database.bells._listeners.get(events.BELL))
    emit_now(database, "a", "b")
    until(lambda: heard == ["a", "b"])
    stop_late = feed.listen(lambda event: late.append(event.subject_id))
    emit_now(database, "c")
    until(lambda: (heard, late) == (["a", "b", "c"], ["c"]))
    stop()
    stop_late()
    until(lambda: not any(thread.name == "event-feed" for thread in threading.enumerate()))
    emit_now(database, "d")
    assert (heard, late) == (["a", "b", "c"], ["c"])
    stop = feed.listen(lambda event: heard.append(event.subject_id))
    emit_now(database, "e")
    until(lambda: heard[-1] == "e")
    stop()


def test_who_stops_and_listens_again_at_once_hears_everything_once(database: Database) -> None:
    feed = Feed(database, poll_seconds=0.02)
    heard: list[str] = []
    for _ in range(5):
        feed.listen(lambda event: None)()
    stop = feed.listen(lambda event: heard.append(event.subject_id))
    emit_now(database, *"abc")
    until(lambda: len(heard) >= 3)
    time.sleep(0.1)
    assert heard == ["a", "b", "c"]
    stop()


def test_a_listener_that_raises_does_not_silence_the_others(database: Database) -> None:
    feed = Feed(database, poll_seconds=3600.0)
    heard: list[str] = []

    def broken(event: Event) -> None:
        raise RuntimeError("cannot")

    stops = [feed.listen(broken), feed.listen(lambda event: heard.append(event.subject_id))]
    emit_now(database, "a")
    emit_now(database, "b")
    until(lambda: heard == ["a", "b"])
    for stop in stops:
        stop()
