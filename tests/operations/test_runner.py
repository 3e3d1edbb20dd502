"""Workers in threads and processes: quick, fair to the machine, and killed at random."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.bus import InProcessBus
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Database
from nubelet.kernel.operations import Operation, Run, Step, Wait, find, journal, start, steps_of
from nubelet.kernel.operations.journal import OPEN
from nubelet.kernel.operations.runner import Runner
from tests.operations import worker


def step(name: str, do: Callable[[Run], object] = lambda run: None, **more: object) -> Step:
    return Step(name, do, why_no_undo="a test", **more)  # type: ignore[arg-type]


def begin(
    database: Database, operation: Operation, subject: str = "s1", project: str = "p1"
) -> str:
    with database.write() as tx:
        return start(
            tx, operation, project_id=project, subject_type="thing", subject_id=subject, inputs={}
        )


def state(database: Database, operation_id: str) -> str:
    with database.read() as tx:
        return find(tx, operation_id=operation_id)[0].state


def until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    """Wait for something."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "did not come true"
        time.sleep(0.001)


@pytest.fixture
def made(database: Database) -> Iterator[list[Runner]]:
    """Runners to be stopped at the end."""
    runners: list[Runner] = []
    yield runners
    for runner in runners:
        runner.stop(5)


def runner_of(
    database: Database, made: list[Runner], *operations: Operation, workers: int = 4, **more: float
) -> Runner:
    cloud = Cloud(None, database, InProcessBus(), ())  # type: ignore[arg-type]
    runner = Runner(cloud, operations, workers, **more)  # type: ignore[arg-type]
    made.append(runner)
    runner.start()
    return runner


def test_an_operation_begins_at_once(database: Database, made: list[Runner]) -> None:
    """Each is begun for its own commit's bell: nobody looks into the journal by the way."""
    begun: list[str] = []
    operation = Operation("quick", (step("one", lambda run: begun.append(run.subject_id)),), 60)
    runner_of(database, made, operation, poll_seconds=3600.0)
    time.sleep(0.2)  # all workers sleep
    for number in range(20):
        begin(database, operation, f"s{number}")
        until(lambda number=number: len(begun) > number)
    assert begun == [f"s{number}" for number in range(20)]


def test_a_wait_ends_when_it_shall(database: Database, made: list[Runner]) -> None:
    begun: list[float] = []

    def poll(run: Run) -> Wait | None:
        begun.append(time.monotonic())
        return Wait(0.3) if len(begun) < 2 else None

    operation = Operation("poll", (step("poll", poll),), 60)
    runner_of(database, made, operation, poll_seconds=3600.0)  # so that only its time wakes it
    begin(database, operation)
    until(lambda: len(begun) == 2)
    assert begun[1] - begun[0] > 0.29


def test_many_run_beside_each_other_on_few_threads(database: Database, made: list[Runner]) -> None:
    """Two hundred wait for one another: eight would wait for ever if waiting held a thread."""
    waiting: set[str] = set()

    def meet(run: Run) -> Wait | None:
        waiting.add(run.subject_id)
        return None if len(waiting) == 200 else Wait(0.5)

    operation = Operation("many", (step("one"), step("meet", meet), step("two")), 600)
    runner_of(database, made, operation, workers=8)
    for number in range(200):
        begin(database, operation, f"s{number}")
    until(lambda: all(runner.idle() for runner in made) and not left(database))


def left(database: Database) -> list[str]:
    with database.read() as tx:
        return [record.id for record in find(tx, states=OPEN)]


def test_a_long_step_keeps_its_lease(
    database: Database, made: list[Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock goes on only when the lease was renewed, and stays before its end: what is to be
    seen does not depend on how quick this machine is."""
    now, runs, ended = [clock.now()], list[int](), threading.Event()
    monkeypatch.setattr(clock, "_source", lambda: now[0])

    def long(run: Run) -> None:
        runs.append(run.attempt)
        ended.wait(100)

    def lease_until() -> int:
        with database.read() as tx:
            return int(tx.scalar(sa.select(journal.operation.c.lease_until)))

    operation = Operation("long", (step("long", long),), 60)
    for _ in range(2):
        runner_of(database, made, operation, lease_seconds=0.5, poll_seconds=0.05)
    made_id = begin(database, operation)
    until(lambda: runs)
    for _ in range(5):  # in all three times as long as a lease
        now[0] += 300_000
        until(lambda: lease_until() == now[0] + 500_000)
        database.bells.ring(journal.BELL)  # the other runner looks, too
    ended.set()
    until(lambda: state(database, made_id) == "done")
    assert runs == [1]


def test_a_step_that_hangs_is_given_up_and_another_worker_unwinds(
    database: Database, made: list[Runner]
) -> None:
    release = threading.Event()
    heard: list[str] = []

    def hang(run: Run) -> None:
        heard.append("hang")
        release.wait(100)
        with run.cloud.database.write():
            heard.append("the stale worker wrote")

    operation = Operation(
        "hang",
        (Step("hang", hang, lambda run: heard.append("undo"), timeout_seconds=0.3),),
        60,
        on_failed=lambda run, reason: heard.append(reason),
    )
    again = Operation("again", (step("one"),), 60)
    runner_of(database, made, operation, again, workers=1, lease_seconds=0.5, poll_seconds=0.05)
    made_id = begin(database, operation)
    until(lambda: state(database, made_id) == "failed")
    assert heard[:2] == ["hang", "undo"]
    # The hanging thread was replaced: the runner of one worker works on.
    second = begin(database, again, "s2")
    until(lambda: state(database, second) == "done")
    release.set()
    time.sleep(0.2)
    assert "the stale worker wrote" not in heard


def test_a_stopped_runner_leaves_its_operations_to_the_next_at_once(
    database: Database, made: list[Runner]
) -> None:
    begun, release = threading.Event(), threading.Event()
    steps: list[str] = []

    def first(run: Run) -> None:
        steps.append("first")
        begun.set()
        release.wait(100)

    operation = Operation(
        "two", (step("first", first), step("second", lambda run: steps.append("second"))), 60
    )
    runner = runner_of(database, made, operation, lease_seconds=3600.0)
    made_id = begin(database, operation)
    assert begun.wait(60)

    def go_on() -> None:
        until(lambda: runner._stopping)
        release.set()

    threading.Thread(target=go_on, daemon=True).start()
    runner.stop()
    assert steps == ["first"]
    runner_of(database, made, operation)
    until(lambda: state(database, made_id) == "done")  # long before the lease would end
    assert steps == ["first", "second"]


def test_bells_of_another_process_are_heard(database: Database, made: list[Runner]) -> None:
    """Two processes with one database and one bus; the one that asks has no workers."""
    bus = InProcessBus()
    asking = Database(database.url)
    operation = Operation("far", (step("one"),), 60)
    runner_of(database, made, operation, poll_seconds=3600.0)
    database.bells.carry_over(bus)
    asking.bells.carry_over(bus)
    time.sleep(0.2)
    made_id = begin(asking, operation)
    until(lambda: state(database, made_id) == "done")
    asking.close()


def test_errors_of_the_database_do_not_kill_the_workers(
    database: Database, made: list[Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = Operation("quick", (step("one"),), 60)
    runner = runner_of(database, made, operation, workers=2)
    claim, failures = runner._ledger.claim, [3]

    def broken(held: object) -> object:
        if failures[0] > 0:
            failures[0] -= 1
            raise sa.exc.OperationalError("select", {}, Exception("the server is gone"))
        return claim()

    monkeypatch.setattr(runner._ledger, "claim", broken)
    made_id = begin(database, operation)
    until(lambda: state(database, made_id) == "done")


def test_long_operations_leave_workers_for_others(database: Database, made: list[Runner]) -> None:
    """One project begins many that do not end: neither its own short ones nor the long ones of
    another wait for them."""
    may_end, running = threading.Event(), set()

    def wait(run: Run) -> None:
        running.add(run.subject_id)
        assert may_end.wait(90)
        running.discard(run.subject_id)

    slow = Operation("slow", (step("one", wait),), 600, long=True)
    quick = Operation("quick", (step("one"),), 600)
    for number in range(12):
        begin(database, slow, f"mine{number}")
    runner_of(database, made, slow, quick, workers=8, poll_seconds=0.1)
    until(lambda: len(running) == 2)
    short = begin(database, quick, "q")
    until(lambda: state(database, short) == "done")
    begin(database, slow, "others", project="p2")
    until(lambda: "others" in running)
    for project in ("p3", "p4", "p5"):
        begin(database, slow, project, project)
    last = begin(database, quick, "q2", project="p3")
    until(lambda: state(database, last) == "done")
    until(lambda: len(running) == 4)
    assert len([one for one in running if one.startswith("mine")]) == 2
    may_end.set()
    with database.read() as tx:
        ids = [record.id for record in find(tx)]
    until(lambda: all(state(database, one) == "done" for one in ids))


def test_a_long_operation_that_shall_end_waits_for_no_other(
    database: Database, made: list[Runner]
) -> None:
    """Its subject is deleted, or it has to be taken back: neither may take as long as somebody
    else's server likes."""
    may_end, undone = threading.Event(), []

    def undo(run: Run) -> None:
        undone.append(run.subject_id)
        if len(undone) < 3:
            raise OSError("the store is away")

    def fail(run: Run) -> None:
        raise ValueError("no")

    def wait(run: Run) -> None:
        assert may_end.wait(90)

    slow = Operation("slow", (step("one", wait),), 600, long=True)
    taken_back = Step("one", lambda run: None, undo)
    broken = Operation("broken", (taken_back, step("two", fail)), 600, long=True)
    delete = Operation("delete", (step("one"),), 600, preempts=True)
    failing = begin(database, broken, "b")
    runner_of(database, made, slow, broken, delete, workers=4, poll_seconds=0.1)
    until(lambda: undone)
    for number in range(3):
        begin(database, slow, f"s{number}")
    deleted = begin(database, slow, "d")
    after = begin(database, delete, "d")
    until(lambda: state(database, failing) == "failed")
    until(lambda: state(database, after) == "done")
    assert state(database, deleted) in ("cancelled", "failed")
    may_end.set()
    until(lambda: all(state(database, one) not in OPEN for one in ids_of(database, "slow")))


def ids_of(database: Database, kind: str) -> list[str]:
    with database.read() as tx:
        return [record.id for record in find(tx, kind=kind)]


# --- Processes ------------------------------------------------------------------------------


class Workers:
    """Worker processes, to be watched and killed."""

    def __init__(
        self, url: str, lease_seconds: float, workers: int = 4, poll_seconds: float = 0.1
    ) -> None:
        numbers = [str(lease_seconds), str(workers), str(poll_seconds)]
        self._command = [sys.executable, "-m", "tests.operations.worker", url, *numbers]
        self.processes: list[subprocess.Popen[str]] = []

    def begin(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        self.processes.append(process)
        return process

    def kill(self, process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        self.processes.remove(process)

    def close(self) -> None:
        for process in list(self.processes):
            self.kill(process)


@pytest.fixture
def things(database: Database) -> Database:
    worker.tables.create_all(database.engine)
    return database


def test_idle_workers_cost_next_to_nothing(things: Database) -> None:
    """Measured in a process of their own, so that no other test's threads are counted."""
    workers = Workers(things.url, lease_seconds=60, workers=16, poll_seconds=1.0)
    try:
        process = workers.begin()
        time.sleep(1.0)  # what a start costs is over
        used = []
        for _ in range(5):  # the best of five: what a busy machine adds is not always there
            before = _cpu_seconds(process.pid)
            time.sleep(4.0)
            used.append(round(_cpu_seconds(process.pid) - before, 2))
            if used[-1] <= 0.08:  # 2 % of a core
                break
        assert min(used) <= 0.08, used
    finally:
        workers.close()


def _cpu_seconds(pid: int) -> float:
    """What a process used so far, in steps of 10 ms: fields 14 and 15 of proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.crash
def test_kill_dash_nine_anywhere_leaves_nothing_stuck_and_nothing_over(things: Database) -> None:
    chance = random.Random(8)
    subjects = [f"s{number}" for number in range(120)]
    for subject in subjects:
        with things.write() as tx:
            tx.insert(worker.thing, id=subject, state="BUILD")
            start(
                tx,
                worker.MAKE,
                project_id="p1",
                subject_type="thing",
                subject_id=subject,
                inputs={},
            )
    workers = Workers(things.url, lease_seconds=1.5)
    try:
        for _ in range(2):
            workers.begin()
        for _ in range(8):
            time.sleep(chance.uniform(0.05, 0.4))
            workers.kill(chance.choice(workers.processes))
            workers.begin()
        until(lambda: not left(things))
    finally:
        workers.close()
    with things.read() as tx:
        states = {row.id: row.state for row in tx.all(sa.select(worker.thing))}
        marks = {(row.subject_id, row.step) for row in tx.all(sa.select(worker.mark))}
        records = find(tx)
        done = [
            (run.operation_id, run.name)
            for run in steps_of(tx, [r.id for r in records])
            if run.direction == "do" and run.state == "done"
        ]
    good = [subject for subject in subjects if not subject.endswith("0")]
    assert states == {subject: "ACTIVE" if subject in good else "ERROR" for subject in subjects}
    assert marks == {(subject, name) for subject in good for name in worker.MARKS}
    assert len(done) == len(set(done)), "a step was written down as done twice"
    assert {record.state for record in records} == {"done", "failed"}


@pytest.mark.crash
def test_the_next_process_on_the_machine_takes_over_from_a_dead_one_at_once(
    things: Database,
) -> None:
    workers = Workers(things.url, lease_seconds=3600)
    made_id = begin(things, worker.SLEEP)
    try:
        first = workers.begin()
        until(lambda: _attempt(things, made_id) == 1)
        workers.kill(first)
        workers.begin()
        until(lambda: state(things, made_id) == "done")  # an hour before the lease would end
    finally:
        workers.close()


def _attempt(database: Database, operation_id: str) -> int:
    with database.read() as tx:
        return find(tx, operation_id=operation_id)[0].attempt
