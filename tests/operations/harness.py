"""The crash harness: what may go wrong in any operation goes wrong in it, step by step.

A service writes down how to make a small world in which its operation runs, and how to see that
nothing is left of it (or that all is there). The harness does the rest:

    # tests/operations/test_compute_create_server.py
    SCENARIOS = [Scenario("create_server", CREATE_SERVER, World)]

    @pytest.mark.parametrize("case", harness.cases(*SCENARIOS), ids=str)
    def test_crash(case, tmp_path):
        case.run(tmp_path)

For each step: fail before and after its effect, repeat it, lose the node once, kill the worker
before and after it, let the deadline pass, stop the operation, wake a stale worker after the
unwind. For each undo: fail once, repeat it, kill the worker before and after it. Afterwards the
operation must be finished, and the world must say that nothing is left or all is there.

A worker is killed by an exception that nothing catches: the runner forgets the operation without
writing anything, as a process would. `test_every_operation_has_a_scenario` watches over
completeness.
"""

from __future__ import annotations

import atexit
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from nubelet.kernel import clock
from nubelet.kernel.bus import NodeUnreachable
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.operations import Operation, Record, Run, Step, Wait, cancel, find
from nubelet.kernel.operations.journal import CANCELLED, DONE, FAILED, OPEN, operation
from nubelet.kernel.operations.runner import Runner

SECONDS_PER_CASE = 90.0


class World(Protocol):
    """A place for one operation. Its cloud must not run operations by itself."""

    cloud: Cloud

    def begin(self) -> str:
        """Start the operation as the API would, on a new subject; returns its id."""

    def nothing_left(self) -> list[str]:
        """After a failure: what was left behind or is in a wrong state, in words. For a delete,
        which cannot be taken back: what keeps the user from deleting again."""

    def all_there(self) -> list[str]:
        """After a success: what is missing or in a wrong state, in words."""

    def close(self) -> None:
        """Stop and remove everything."""


@dataclass(frozen=True)
class Scenario:
    """One way to run one operation.

    world(folder) makes a fresh world. shared: it is dear, so use one for case after case (each
    begins with a subject of its own); after a case that fails it is made anew.
    inputs: only where the steps depend on them.
    others: operations that this one starts (the services of the world's cloud are known).
    leave_out: faults that cannot be met here, with the reason: {"deadline": "..."}.
    """

    name: str
    operation: Operation
    world: Callable[[Path], World]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[Operation, ...] = ()
    shared: bool = False
    leave_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.operation.steps_for(self.inputs)


class Killed(BaseException):
    """The worker's process is gone."""


class Injected(Exception):
    """A failure made by the harness."""


@dataclass(frozen=True)
class Case:
    """One fault at one step of one scenario."""

    scenario: Scenario
    fault: str
    step: str

    def __str__(self) -> str:
        return f"{self.scenario.name}-{self.fault}-{self.step}"

    def run(self, folder: Path) -> None:
        """Make the world, let the fault happen, and look at what is left."""
        with _Rig(self.scenario, self.step, folder) as rig:
            FAULTS[self.fault](rig)


def cases(*scenarios: Scenario) -> list[Case]:
    """All cases of these scenarios."""
    found = []
    for scenario in scenarios:
        names = [step.name for step in scenario.steps]
        undone = [step.name for step in scenario.steps if step.undo]
        for fault in FAULTS:
            if fault in scenario.leave_out:
                continue
            if fault == "nothing":
                where = names[:1]
            elif fault.startswith("undo"):
                where = undone
            elif fault == "stop":
                where = names[:-1]  # what is asked to stop after its last step is done
            else:
                where = names
            found += [Case(scenario, fault, name) for name in where]
    return found


class _Rig:
    """A world, and an operation in it that behaves badly at one step."""

    def __init__(self, scenario: Scenario, step: str, folder: Path) -> None:
        self.scenario = scenario
        self.step = step
        self.world = _worlds.pop(scenario.name, None) or scenario.world(folder)
        self.cloud = self.world.cloud
        self.until = time.monotonic() + SECONDS_PER_CASE
        self.calls = 0  # of the step's do or undo that the fault watches
        self.operation_id = ""
        self._others = (
            *scenario.others,
            *(
                one
                for service in self.cloud.services.values()
                for one in service.operations
                if one.kind != scenario.operation.kind
            ),
        )
        self._shift = 0

    def __enter__(self) -> _Rig:
        clock.use_source(lambda: time.time_ns() // 1000 + self._shift)
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        clock.use_source(None)
        if self.scenario.shared and failure is None:
            _worlds[self.scenario.name] = self.world
        else:
            self.world.close()

    # --- What happens -----------------------------------------------------------------------

    def begin(self) -> str:
        self.operation_id = self.world.begin()
        return self.operation_id

    def work(self, changed: Operation | None = None) -> None:
        """Run all operations to their end in this thread. Raises Killed."""
        runner = self.runner(changed)
        while True:
            try:
                runner.run_until_idle(0.0)
                return
            except TimeoutError as left:
                if time.monotonic() > self.until:
                    raise AssertionError(f"does not come to an end: {left}") from None
            time.sleep(0.002)
            self._skip_waits()

    def runner(self, changed: Operation | None = None) -> Runner:
        return Runner(self.cloud, (changed or self.scenario.operation, *self._others), workers=1)

    def work_until_killed(self, changed: Operation) -> None:
        """Run until the worker is killed; then its lease runs out."""
        try:
            self.work(changed)
        except Killed:
            self.lose_lease()
        else:
            raise AssertionError(f"step {self.step} was never reached")

    def lose_lease(self) -> None:
        with self.cloud.database.write() as tx:
            tx.update(operation, operation.c.state.in_(OPEN), lease_until=0)

    def pass_deadline(self) -> None:
        self._shift += round((self.scenario.operation.deadline_seconds + 1) * 1e6)

    def _skip_waits(self) -> None:
        with self.cloud.database.write() as tx:
            tx.update(operation, operation.c.state.in_(OPEN), run_at=clock.now() - 1)

    # --- Changed steps ----------------------------------------------------------------------

    def change(
        self,
        *,
        do: Callable[[Step, Run], Any] | None = None,
        undo: Callable[[Step, Run], None] | None = None,
        step: str = "",
        within: Operation | None = None,
    ) -> Operation:
        """The operation with another do or undo at the case's step (or a named one)."""
        name, original = step or self.step, within or self.scenario.operation

        def changed(one: Step) -> Step:
            if one.name != name:
                return one
            what: dict[str, Any] = {}
            if do is not None:
                what["do"] = lambda run: do(one, run)
            if undo is not None:
                what["undo"] = lambda run: undo(one, run)
            return dataclasses.replace(one, **what)

        return dataclasses.replace(
            original, steps=lambda inputs: tuple(changed(one) for one in original.steps_for(inputs))
        )

    def fail_at_the_end(self) -> Operation:
        """The operation whose last step fails after its effect."""
        return self.change(do=_then_fail, step=self.scenario.steps[-1].name)

    # --- What must be true afterwards -------------------------------------------------------

    def record(self) -> Record:
        self._shift = 0  # the world's tokens are as old as they look
        with self.cloud.database.read() as tx:
            left = find(tx, states=OPEN)
            assert not left, f"not finished: {left}"
            return find(tx, operation_id=self.operation_id)[0]

    def expect_done(self) -> None:
        record = self.record()
        assert record.state == DONE, f"{record.state}: {record.error}"
        problems = self.world.all_there()
        assert not problems, f"not all there: {problems}"

    def expect_undone(self, state: str = FAILED) -> None:
        record = self.record()
        assert record.state == state, f"{record.state}: {record.error}"
        assert record.error, "no reason is kept"
        problems = self.world.nothing_left()
        assert not problems, f"left behind: {problems}"


_worlds: dict[str, World] = {}  # those that are shared by the cases of a scenario


@atexit.register
def close_worlds() -> None:
    """Close the shared worlds now, as when what they stand on goes away."""
    while _worlds:
        _worlds.popitem()[1].close()


# --- Faults ---------------------------------------------------------------------------------


def _then_fail(step: Step, run: Run) -> Any:
    """A do that fails once its effect is there (after all its waits)."""
    result = step.do(run)
    if isinstance(result, Wait):
        return result
    raise Injected("fails after its effect")


def nothing(rig: _Rig) -> None:
    rig.begin()
    rig.work()
    rig.expect_done()


def fail_before(rig: _Rig) -> None:
    def do(step: Step, run: Run) -> Any:
        raise Injected("fails before its effect")

    rig.begin()
    rig.work(rig.change(do=do))
    rig.expect_undone()


def fail_after(rig: _Rig) -> None:
    rig.begin()
    rig.work(rig.change(do=_then_fail))
    rig.expect_undone()


def repeat(rig: _Rig) -> None:
    def do(step: Step, run: Run) -> Any:
        step.do(run)
        return step.do(run)

    rig.begin()
    rig.work(rig.change(do=do))
    rig.expect_done()


def _flaky(after: bool) -> Callable[[_Rig], None]:
    def fault(rig: _Rig) -> None:
        def do(step: Step, run: Run) -> Any:
            rig.calls += 1
            if rig.calls > 1:
                return step.do(run)
            if after:
                step.do(run)
            raise NodeUnreachable("node.harness", "made so by the harness")

        rig.begin()
        rig.work(rig.change(do=do))
        tried_again = {step.name: step.retry.attempts > 1 for step in rig.scenario.steps}
        if tried_again[rig.step]:
            rig.expect_done()
        else:
            rig.expect_undone()

    return fault


def _kill(after: bool) -> Callable[[_Rig], None]:
    def fault(rig: _Rig) -> None:
        def do(step: Step, run: Run) -> Any:
            if after:
                step.do(run)
            raise Killed

        rig.begin()
        rig.work_until_killed(rig.change(do=do))
        rig.work()
        rig.expect_done()

    return fault


def kill_then_fail(rig: _Rig) -> None:
    """The worker dies after the effect; its successor does not get that far."""

    def kill(step: Step, run: Run) -> Any:
        step.do(run)
        raise Killed

    def fail(step: Step, run: Run) -> Any:
        raise Injected("fails before its effect")

    rig.begin()
    rig.work_until_killed(rig.change(do=kill))
    rig.work(rig.change(do=fail))
    rig.expect_undone()


def deadline(rig: _Rig) -> None:
    def do(step: Step, run: Run) -> Any:
        result = step.do(run)
        rig.pass_deadline()
        return result if isinstance(result, Wait) else Wait(1.0, result)

    rig.begin()
    rig.work(rig.change(do=do))
    rig.expect_undone()


def stop(rig: _Rig) -> None:
    def do(step: Step, run: Run) -> Any:
        result = step.do(run)
        with rig.cloud.database.write() as tx:
            cancel(tx, run.operation_id, "stopped by the harness")
        return result

    rig.begin()
    rig.work(rig.change(do=do))
    rig.expect_undone(CANCELLED)


def stale_worker(rig: _Rig) -> None:
    """A worker sleeps through its lease before the effect of a step; another one takes over,
    fails and unwinds; then the first one wakes up and goes on as if nothing had been."""
    asleep, wake = threading.Event(), threading.Event()

    def sleep(step: Step, run: Run) -> Any:
        asleep.set()
        assert wake.wait(SECONDS_PER_CASE)
        return step.do(run)

    met: list[BaseException] = []

    def stale() -> None:
        try:
            rig.runner(rig.change(do=sleep)).run_until_idle(0.0)
        except TimeoutError:
            pass
        except BaseException as error:
            met.append(error)

    def fail(step: Step, run: Run) -> Any:
        raise Injected("fails before its effect")

    rig.begin()
    with _thread_until_asleep(rig, stale, asleep) as sleeper:
        rig.lose_lease()
        rig.work(rig.change(do=fail))
        wake.set()
        sleeper.join(SECONDS_PER_CASE)
    assert not met, f"the stale worker fell over: {met}"
    rig.expect_undone()


@contextmanager
def _thread_until_asleep(
    rig: _Rig, target: Callable[[], None], asleep: threading.Event
) -> Iterator[threading.Thread]:
    """Run `target` (again, while it waits for a time to come) until it sleeps in the step."""
    until = time.monotonic() + SECONDS_PER_CASE
    while True:
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        while thread.is_alive() and not asleep.is_set():
            time.sleep(0.001)
        if asleep.is_set():
            break
        assert time.monotonic() < until, f"step {rig.step} was never reached"
        rig._skip_waits()
    yield thread


def undo_fails_once(rig: _Rig) -> None:
    def undo(step: Step, run: Run) -> None:
        rig.calls += 1
        if rig.calls == 1:
            raise Injected("an undo fails once")
        assert step.undo
        step.undo(run)

    rig.begin()
    rig.work(rig.change(undo=undo, within=rig.fail_at_the_end()))
    assert rig.calls > 1, "the undo was not repeated"
    rig.expect_undone()


def undo_repeat(rig: _Rig) -> None:
    def undo(step: Step, run: Run) -> None:
        assert step.undo
        step.undo(run)
        step.undo(run)

    rig.begin()
    rig.work(rig.change(undo=undo, within=rig.fail_at_the_end()))
    rig.expect_undone()


def _undo_kill(after: bool) -> Callable[[_Rig], None]:
    def fault(rig: _Rig) -> None:
        def undo(step: Step, run: Run) -> None:
            if after:
                assert step.undo
                step.undo(run)
            raise Killed

        rig.begin()
        rig.work_until_killed(rig.change(undo=undo, within=rig.fail_at_the_end()))
        rig.work(rig.fail_at_the_end())
        rig.expect_undone()

    return fault


FAULTS: dict[str, Callable[[_Rig], None]] = {
    "nothing": nothing,
    "fail_before": fail_before,
    "fail_after": fail_after,
    "repeat": repeat,
    "unreachable_before": _flaky(after=False),
    "unreachable_after": _flaky(after=True),
    "kill_before": _kill(after=False),
    "kill_after": _kill(after=True),
    "kill_then_fail": kill_then_fail,
    "deadline": deadline,
    "stop": stop,
    "stale_worker": stale_worker,
    "undo_fails_once": undo_fails_once,
    "undo_repeat": undo_repeat,
    "undo_kill_before": _undo_kill(after=False),
    "undo_kill_after": _undo_kill(after=True),
}
