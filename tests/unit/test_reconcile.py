"""Reconcilers: periodic, rung by a bell, in one process at a time, never dead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from nubelet.kernel import clock, reconcile
from nubelet.kernel.bus import InProcessBus
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Database
from nubelet.kernel.reconcile import Reconciler, Reconcilers, bell_of, ring, statuses


@pytest.fixture
def cloud(database: Database) -> Cloud:
    return Cloud(None, database, InProcessBus(), ())  # type: ignore[arg-type]


@pytest.fixture
def running() -> Iterator[list[Reconcilers]]:
    """Reconcilers to be stopped at the end."""
    made: list[Reconcilers] = []
    yield made
    for one in made:
        one.stop(5)


def begin(cloud: Cloud, running: list[Reconcilers], *loops: Reconciler) -> Reconcilers:
    made = Reconcilers(cloud, loops)
    running.append(made)
    made.start()
    return made


def until(condition: Callable[[], object], seconds: float = 60.0) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "did not come true"
        time.sleep(0.002)
    return time.monotonic() - started


def test_it_runs_at_once_and_then_periodically(cloud: Cloud, running: list[Reconcilers]) -> None:
    runs: list[float] = []
    begin(cloud, running, Reconciler("loop", 0.1, lambda cloud: runs.append(time.monotonic())))
    until(lambda: len(runs) >= 4)
    assert runs[3] - runs[0] > 0.28


def test_a_bell_runs_it_soon_also_from_a_transaction(
    cloud: Cloud, running: list[Reconcilers]
) -> None:
    runs: list[int] = []
    begin(cloud, running, Reconciler("loop", 3600, lambda cloud: runs.append(1), ("events",)))
    until(lambda: len(runs) == 1)
    ring(cloud, "loop")
    until(lambda: len(runs) == 2)
    with cloud.database.write() as tx:
        ring(tx, "loop")
        time.sleep(0.05)
        assert len(runs) == 2
    until(lambda: len(runs) == 3)
    cloud.database.bells.ring("events")
    until(lambda: len(runs) == 4)
    cloud.database.bells.ring(bell_of("another"))
    time.sleep(0.05)
    assert len(runs) == 4


def test_a_bell_during_a_run_means_another_run(cloud: Cloud, running: list[Reconcilers]) -> None:
    runs: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def run(cloud: Cloud) -> None:
        runs.append(1)
        begun.set()
        go_on.wait(60)

    begin(cloud, running, Reconciler("loop", 3600, run))
    assert begun.wait(60)
    ring(cloud, "loop")
    go_on.set()
    until(lambda: len(runs) == 2)


def test_only_one_process_runs_it_and_another_takes_over_when_it_stops(
    cloud: Cloud, running: list[Reconcilers]
) -> None:
    runs: list[str] = []
    here = begin(cloud, running, Reconciler("loop", 0.02, lambda cloud: runs.append("here")))
    until(lambda: runs.count("here") > 3)
    begin(cloud, running, Reconciler("loop", 0.02, lambda cloud: runs.append("there")))
    time.sleep(0.3)
    assert "there" not in runs
    here.stop()
    until(lambda: runs.count("there") > 3)
    assert runs[-1] == "there"


def test_a_dead_process_of_this_machine_is_succeeded_at_once(
    cloud: Cloud, running: list[Reconcilers], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Reconcilers(cloud, [Reconciler("loop", 0.02, lambda cloud: None)])
    gone.run_once("loop")  # has the lease now, and never gives it back
    runs: list[int] = []
    begin(cloud, running, Reconciler("loop", 0.02, lambda cloud: runs.append(1)))
    time.sleep(0.2)
    assert not runs
    monkeypatch.setattr(reconcile, "is_dead", lambda owner: owner == gone.owner)
    until(lambda: runs)


def test_a_loop_may_ask_for_a_shorter_lease(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine cannot tell that the first one is dead: it waits for so long."""
    now = [clock.now()]
    monkeypatch.setattr(clock, "_source", lambda: now[0])
    for lease_seconds, waits in ((None, 30), (12, 12), (1, 9)):
        loop = Reconciler(f"loop-{waits}", 3, lambda cloud: None, lease_seconds=lease_seconds)
        Reconcilers(cloud, [loop]).run_once()  # has the lease now, and never gives it back
        another = Reconcilers(cloud, [loop])
        now[0] += waits * 1_000_000 - 1
        with pytest.raises(RuntimeError, match="runs in another process"):
            another.run_once()
        now[0] += 1
        another.run_once()


def test_a_short_lease_is_renewed_as_often_as_it_needs(
    cloud: Cloud, running: list[Reconcilers], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when those of other loops are long; the clock goes on once it was renewed."""
    monkeypatch.setattr(reconcile, "_MIN_LEASE_SECONDS", 3600)
    now, begun, ended = [clock.now()], threading.Event(), threading.Event()
    monkeypatch.setattr(clock, "_source", lambda: now[0])

    def run(cloud: Cloud) -> None:
        begun.set()
        ended.wait(100)

    def lease_until() -> int:
        with cloud.database.read() as tx:
            state = reconcile.reconciler_state.c
            return int(tx.scalar(sa.select(state.lease_until).where(state.name == "short")))

    short = Reconciler("short", 0.02, run, lease_seconds=0.4)
    begin(cloud, running, short, Reconciler("long", 0.02, lambda cloud: None))
    assert begun.wait(60)
    for _ in range(3):
        now[0] += 250_000
        until(lambda: lease_until() >= now[0] + 390_000)
    ended.set()


def test_a_failure_is_kept_to_be_read_and_the_loop_goes_on(
    cloud: Cloud, running: list[Reconcilers]
) -> None:
    runs: list[int] = []
    was_read = threading.Event()

    def run(cloud: Cloud) -> None:
        runs.append(1)
        if len(runs) == 2:
            was_read.wait(60)
        if len(runs) < 3:
            raise RuntimeError("the switch burns")

    begin(cloud, running, Reconciler("loop", 0.01, run))
    until(lambda: failures(cloud) == (1, "RuntimeError: the switch burns"))
    was_read.set()
    until(lambda: failures(cloud) == (0, None))
    assert len(runs) >= 3


def failures(cloud: Cloud) -> tuple[int, str | None] | None:
    with cloud.database.read() as tx:
        found = statuses(tx)
    return (found[0].failures, found[0].error) if found else None


def test_what_fails_is_tried_less_and_less_also_when_rung(
    cloud: Cloud, running: list[Reconcilers]
) -> None:
    runs: list[float] = []

    def run(cloud: Cloud) -> None:
        runs.append(time.monotonic())
        raise RuntimeError("no")

    begin(cloud, running, Reconciler("loop", 0.01, run))
    end = time.monotonic() + 60
    while len(runs) < 3 and time.monotonic() < end:
        ring(cloud, "loop")
        time.sleep(0.05)
    # At 0, 1 and 3 seconds; a busy machine makes it later, never earlier.
    assert runs[1] - runs[0] > 0.95
    assert runs[2] - runs[1] > 1.9


def test_the_last_result_can_be_read(cloud: Cloud, running: list[Reconcilers]) -> None:
    begun = time.monotonic()
    begin(
        cloud,
        running,
        Reconciler("b", 3600, lambda cloud: time.sleep(0.05)),
        Reconciler("a", 3600, lambda cloud: None),
    )

    def results() -> list[str]:
        with cloud.database.read() as tx:
            return [one.name for one in statuses(tx) if one.finished_at]

    until(lambda: results() == ["a", "b"])
    took = time.monotonic() - begun
    with cloud.database.read() as tx:
        _, status = statuses(tx)
    assert status.duration_seconds is not None
    assert 0.05 <= status.duration_seconds < took + 0.05
    assert status.started_at is not None
    assert status.finished_at is not None
    assert status.started_at < status.finished_at
    assert (status.failures, status.error) == (0, None)


def test_good_results_of_a_busy_loop_are_not_written_each_time(
    cloud: Cloud, running: list[Reconcilers]
) -> None:
    runs: list[int] = []
    writes: list[int] = []
    write = cloud.database.write

    def counted() -> object:
        if threading.current_thread().name == "reconcile-loop":
            writes.append(1)
        return write()

    cloud.database.write = counted  # type: ignore[method-assign, assignment]
    begin(cloud, running, Reconciler("loop", 0.002, lambda cloud: runs.append(1)))
    took = until(lambda: len(runs) > 100)
    assert len(writes) < 5 + took / 10  # the lease, the first result; each again now and then


def test_it_may_call_nodes(cloud: Cloud) -> None:
    cloud.bus.serve("node.a", lambda body: b"here")
    answers: list[bytes] = []
    one = Reconciler(
        "loop", 1, lambda cloud: answers.append(cloud.bus.call("node.a", b"", timeout_seconds=60))
    )
    Reconcilers(cloud, [one]).run_once("loop")
    assert answers == [b"here"]


def test_run_once_raises_what_it_met(cloud: Cloud) -> None:
    def run(cloud: Cloud) -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        Reconcilers(cloud, [Reconciler("loop", 1, run)]).run_once()
    assert failures(cloud) == (1, "ValueError: wrong")


def test_a_long_run_keeps_its_lease(
    cloud: Cloud, running: list[Reconcilers], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock goes on only when the lease was renewed, and stays before its end: what is to be
    seen does not depend on how quick this machine is."""
    monkeypatch.setattr(reconcile, "_MIN_LEASE_SECONDS", 0.4)
    now, looks, runs, ended = [clock.now()], list[str](), list[str](), threading.Event()
    monkeypatch.setattr(clock, "_source", lambda: now[0])
    is_dead = reconcile.is_dead
    monkeypatch.setattr(
        reconcile, "is_dead", lambda owner: (looks.append(owner), is_dead(owner))[1]
    )

    def long(name: str) -> Callable[[Cloud], None]:
        def run(cloud: Cloud) -> None:
            runs.append(name)
            ended.wait(100)

        return run

    def lease_until() -> int:
        with cloud.database.read() as tx:
            return int(tx.scalar(sa.select(reconcile.reconciler_state.c.lease_until)))

    begin(cloud, running, Reconciler("loop", 0.02, long("first")))
    until(lambda: runs)
    begin(cloud, running, Reconciler("loop", 0.02, long("second")))
    for _ in range(5):  # in all three times as long as a lease
        now[0] += 250_000
        until(lambda: lease_until() >= now[0] + 390_000)
        count = len(looks)
        until(lambda count=count: len(looks) > count + 1)  # the second one asked in vain
    assert runs == ["first"]
    ended.set()
