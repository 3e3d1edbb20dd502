"""The rules of durable operations (DESIGN section 4), one test each, on each kind of database."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nubelet.kernel import clock, guards
from nubelet.kernel.bus import InProcessBus, NodeUnreachable
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import Context, Credentials
from nubelet.kernel.database import Database
from nubelet.kernel.errors import Conflict
from nubelet.kernel.operations import (
    Operation,
    Record,
    Retry,
    RetryFrom,
    Run,
    Step,
    StepRecord,
    Wait,
    cancel,
    find,
    journal,
    open_subjects,
    start,
    steps_of,
    wake,
)
from nubelet.kernel.operations.runner import Runner


class Story:
    """Writes down what happens, and can make it happen."""

    def __init__(self, database: Database) -> None:
        self.cloud = Cloud(None, database, InProcessBus(), ())  # type: ignore[arg-type]
        self.database = database
        self.heard: list[str] = []
        self.shift = 0

    def step(self, name: str, do: Callable[[Run], Any] | None = None, **more: Any) -> Step:
        """A step that says it was done and undone."""

        def act(run: Run) -> Any:
            self.heard.append(name)
            return do(run) if do else None

        return Step(name, act, lambda run: self.heard.append(f"-{name}"), **more)

    def operation(self, *steps: Step, kind: str = "make", **more: Any) -> Operation:
        return Operation(kind, steps, **{"deadline_seconds": 60, "on_failed": self.failed} | more)

    def failed(self, run: Run, reason: str) -> None:
        self.heard.append(f"failed: {reason}")

    def start(self, operation: Operation, subject: str = "s1", **more: Any) -> str:
        with self.database.write() as tx:
            return start(
                tx,
                operation,
                **{"project_id": "p1", "subject_type": "thing", "subject_id": subject, "inputs": {}}
                | more,
            )

    def run(self, *operations: Operation, seconds: float = 60.0) -> None:
        Runner(self.cloud, operations).run_until_idle(seconds)

    def turn(self, *operations: Operation) -> None:
        """Run what is due now, and no later."""
        runner = Runner(self.cloud, operations)
        while (job := runner._ledger.claim()) is not None:
            runner._engine.drive(job)

    def record(self, operation_id: str) -> Record:
        with self.database.read() as tx:
            return find(tx, operation_id=operation_id)[0]

    def steps(self, operation_id: str) -> list[StepRecord]:
        with self.database.read() as tx:
            return steps_of(tx, [operation_id])

    def pass_seconds(self, seconds: float) -> None:
        self.shift += round(seconds * 1e6)


@pytest.fixture
def story(database: Database) -> Iterator[Story]:
    made = Story(database)
    begin, base = clock.now(), clock.now
    clock.use_source(lambda: begin + made.shift)
    yield made
    clock.use_source(None)
    assert base


def fail(message: str) -> Callable[[Run], Any]:
    def do(run: Run) -> Any:
        raise Conflict(message)

    return do


# --- The straight way -----------------------------------------------------------------------


def test_steps_run_in_order_and_see_the_outputs_before_them(story: Story) -> None:
    seen: list[dict[str, Any]] = []

    def look(run: Run) -> dict[str, Any]:
        seen.append(dict(run.outputs))
        return {"b": [run.inputs["x"]]}

    operation = story.operation(
        story.step("one", lambda run: {"a": 1}), story.step("two", look), story.step("three", look)
    )
    made = story.start(operation, inputs={"x": "y"})
    story.run(operation)
    record = story.record(made)
    assert story.heard == ["one", "two", "three"]
    assert seen == [{"a": 1}, {"a": 1, "b": ["y"]}]
    assert (record.state, record.outputs, record.error) == ("done", {"a": 1, "b": ["y"]}, None)
    assert [(step.name, step.direction, step.state) for step in story.steps(made)] == [
        ("one", "do", "done"),
        ("two", "do", "done"),
        ("three", "do", "done"),
    ]


def test_what_is_rolled_back_was_never_started(story: Story) -> None:
    operation = story.operation(story.step("one"))
    with pytest.raises(ValueError, match="no"), story.database.write() as tx:  # noqa: PT012
        start(tx, operation, project_id="p1", subject_type="thing", subject_id="s1", inputs={})
        raise ValueError("no")
    story.run(operation)
    assert story.heard == []


def test_a_run_knows_who_asked(story: Story) -> None:
    seen: list[Run] = []
    operation = story.operation(story.step("one", lambda run: seen.append(run)))
    credentials = Credentials(user_id="u1", project_id="p1", roles=("member",))
    ctx = Context(
        story.cloud, "compute", credentials, request_id="req-1", global_request_id="req-0"
    )
    made = story.start(operation, ctx=ctx)
    story.run(operation)
    run = seen[0]
    assert (run.request_id, run.user_id, run.credentials) == ("req-1", "u1", credentials)
    later = run.ctx("network", (2, 0))
    assert (later.service, later.roles, later.request_id, later.global_request_id) == (
        "network",
        ("member",),
        "req-1",
        "req-0",
    )
    assert (run.fence.operation_id, run.fence.attempt, run.fence.request_id) == (made, 1, "req-1")
    with story.database.read() as tx:
        assert [record.id for record in find(tx, request_id="req-1")] == [made]


def test_steps_may_depend_on_the_inputs(story: Story) -> None:
    one, two = story.step("one"), story.step("two")
    operation = Operation("make", lambda inputs: (one, two) if inputs["both"] else (two,), 60)
    story.start(operation, inputs={"both": False})
    story.start(operation, inputs={"both": True})
    story.run(operation)
    assert story.heard == ["two", "one", "two"]


def test_a_step_without_undo_says_why() -> None:
    with pytest.raises(ValueError, match="why_no_undo"):
        Step("one", lambda run: None)


def test_two_steps_of_one_name_are_refused(story: Story) -> None:
    with pytest.raises(ValueError, match="names of their own"):
        story.operation(story.step("one"), story.step("one"))


def test_an_operation_may_begin_later(story: Story) -> None:
    operation = story.operation(story.step("one"))
    story.start(operation, run_after=clock.now() + 5_000_000)
    story.turn(operation)
    assert story.heard == []
    story.pass_seconds(5)
    story.turn(operation)
    assert story.heard == ["one"]


# --- Unwinding ------------------------------------------------------------------------------


def test_unwinding_begins_with_the_failed_step_and_tells_at_the_end(story: Story) -> None:
    operation = story.operation(
        story.step("one", lambda run: {"a": 1}),
        story.step("two", fail("no room")),
        story.step("three"),
    )
    made = story.start(operation)
    story.run(operation)
    record = story.record(made)
    assert story.heard == ["one", "two", "-two", "-one", "failed: no room"]
    assert (record.state, record.error, record.outputs) == ("failed", "no room", {})
    assert [(step.name, step.direction, step.state, step.error) for step in story.steps(made)] == [
        ("one", "do", "done", None),
        ("two", "do", "failed", "no room"),
        ("two", "undo", "done", None),
        ("one", "undo", "done", None),
    ]


def test_an_undo_sees_the_outputs_of_what_it_takes_back(story: Story) -> None:
    seen: list[dict[str, Any]] = []
    one = Step("one", lambda run: {"a": 1}, lambda run: seen.append(dict(run.outputs)))
    two = Step(
        "two",
        lambda run: Wait(0, {"half": True}) if not run.outputs.get("half") else fail("no")(run),
        lambda run: seen.append(dict(run.outputs)),
    )
    operation = story.operation(one, two)
    story.start(operation)
    story.run(operation)
    assert seen == [{"a": 1, "half": True}, {"a": 1}]


def test_a_step_without_undo_is_passed_by(story: Story) -> None:
    operation = story.operation(
        story.step("one"),
        dataclasses.replace(story.step("two"), undo=None, why_no_undo="looks"),
        story.step("three", fail("no")),
    )
    story.start(operation)
    story.run(operation)
    assert story.heard == ["one", "two", "three", "-three", "-one", "failed: no"]


def test_an_undo_that_fails_is_repeated_for_ever_visibly(story: Story) -> None:
    tries: list[int] = []

    def undo(run: Run) -> None:
        tries.append(run.attempt)
        if len(tries) <= 12:
            raise NodeUnreachable("node.a", "it burns")

    operation = story.operation(
        Step("one", lambda run: None, undo), story.step("two", fail("no room"))
    )
    made = story.start(operation)
    for round_number in range(1, 13):
        story.turn(operation)
        record = story.record(made)
        assert len(tries) == round_number
        assert (record.state, record.error) == ("unwinding", "no room")
        assert record.undo_error == "undo of one: node.a is unreachable: it burns"
        assert record.run_at > clock.now()
        story.pass_seconds(61)
    with story.database.read() as tx:
        (problem,) = journal.problems(tx, {"make"})
    assert "it burns" in problem
    assert made in problem
    story.turn(operation)
    assert story.record(made).state == "failed"
    assert tries == sorted(tries)
    # The user hears of it when the undo first fails, and again when all is taken back.
    assert story.heard.count("failed: no room") == 2


def test_the_attempt_grows_before_unwinding(story: Story) -> None:
    attempts: list[tuple[str, int]] = []

    def do(run: Run) -> None:
        attempts.append(("do", run.attempt))
        raise Conflict("no")

    operation = story.operation(Step("one", do, lambda run: attempts.append(("undo", run.attempt))))
    story.start(operation)
    story.run(operation)
    assert attempts == [("do", 1), ("undo", 2)]


def test_on_failed_that_fails_is_repeated(story: Story) -> None:
    tries: list[str] = []

    def failed(run: Run, reason: str) -> None:
        tries.append(reason)
        if len(tries) < 3:
            raise RuntimeError("not now")

    operation = story.operation(story.step("one", fail("no")), on_failed=failed)
    made = story.start(operation)
    story.turn(operation)
    assert story.record(made).state == "unwinding"
    story.pass_seconds(1)
    story.turn(operation)
    story.pass_seconds(1)
    story.turn(operation)
    assert story.record(made).state == "failed"
    assert tries == ["no"] * 3


# --- Wait, retry, rounds --------------------------------------------------------------------


def test_wait_calls_the_same_step_again_later_with_what_it_kept(story: Story) -> None:
    def poll(run: Run) -> Any:
        count = run.outputs.get("count", 0) + 1
        return Wait(2.0, {"count": count}) if count < 3 else {"count": count}

    operation = story.operation(story.step("one"), story.step("poll", poll))
    made = story.start(operation)
    story.turn(operation)
    assert story.record(made).run_at == clock.now() + 2_000_000
    story.turn(operation)
    assert story.heard == ["one", "poll"]
    for _ in range(2):
        story.pass_seconds(2)
        story.turn(operation)
    assert story.heard == ["one", "poll", "poll", "poll"]
    assert story.record(made).outputs == {"count": 3}
    assert [(step.name, step.state) for step in story.steps(made)] == [
        ("one", "done"),
        ("poll", "done"),
    ], "polling is one run of the step"


def test_notes_of_all_polls_are_kept(story: Story) -> None:
    def poll(run: Run) -> Any:
        count = run.outputs.get("count", 0) + 1
        run.note(f"look {count}")
        return Wait(0.0, {"count": count}) if count < 3 else None

    operation = story.operation(story.step("poll", poll))
    made = story.start(operation)
    story.run(operation)
    (step,) = story.steps(made)
    assert [entry["text"] for entry in step.trail] == ["look 1", "look 2", "look 3"]


def test_a_waiting_operation_can_be_woken(story: Story) -> None:
    operation = story.operation(
        story.step("poll", lambda run: None if run.attempt > 1 else Wait(3600)),
        deadline_seconds=7200,
    )
    made = story.start(operation)
    story.turn(operation)
    with story.database.write() as tx:
        assert wake(tx, subject_id="s1") == 1
    story.turn(operation)
    assert story.record(made).state == "done"


def test_what_wakes_a_step_while_it_looks_is_not_lost(story: Story) -> None:
    def poll(run: Run) -> Any:
        if run.attempt > 1:
            return None
        with story.database.write() as tx:
            wake(tx, operation_id=run.operation_id)  # comes after the look, before the Wait
        return Wait(3600)

    operation = story.operation(story.step("poll", poll), deadline_seconds=7200)
    made = story.start(operation)
    story.turn(operation)
    assert story.record(made).state == "done"


def test_transient_errors_are_tried_again_by_schedule_others_are_not(story: Story) -> None:
    def flaky(run: Run) -> None:
        if run.tries < 3:
            raise NodeUnreachable("node.a", "asleep")

    operation = story.operation(
        story.step(
            "one",
            flaky,
            retry=Retry(attempts=4, first_delay_seconds=1, factor=3, max_delay_seconds=5),
        )
    )
    made = story.start(operation)
    due: list[float] = []
    for _ in range(3):
        story.turn(operation)
        due.append((story.record(made).run_at - clock.now()) / 1e6)
        story.pass_seconds(due[-1])
    story.turn(operation)
    assert due == [1, 3, 5]
    assert story.record(made).state == "done"
    assert [step.state for step in story.steps(made)] == ["failed"] * 3 + ["done"]


def test_a_step_that_stays_unreachable_fails(story: Story) -> None:
    def unreachable(run: Run) -> None:
        raise NodeUnreachable("node.a", "asleep")

    operation = story.operation(
        story.step("one", unreachable, retry=Retry(attempts=3, first_delay_seconds=0))
    )
    made = story.start(operation)
    story.run(operation)
    assert story.heard == ["one", "one", "one", "-one", "failed: node.a is unreachable: asleep"]
    assert story.record(made).state == "failed"


def test_errors_may_say_themselves_that_they_are_transient() -> None:
    class Busy(Exception):
        transient = True

    class Other(Exception):
        pass

    assert Retry().is_transient(Busy())
    assert not Retry().is_transient(Other())
    assert Retry(transient=(Other,)).is_transient(Other())


def test_retry_from_goes_back_to_a_step_and_remembers_what_was_wrong(story: Story) -> None:
    def choose(run: Run) -> dict[str, Any]:
        refused = {one.outputs["host"] for one in run.retried}
        return {"host": next(host for host in ("a", "b", "c") if host not in refused)}

    def begin(run: Run) -> None:
        if run.outputs["host"] != "c":
            raise RetryFrom("choose", f"{run.outputs['host']} is full")

    operation = story.operation(
        story.step("first"),
        story.step("choose", choose),
        story.step("disk"),
        story.step("begin", begin),
    )
    made = story.start(operation)
    story.run(operation)
    record = story.record(made)
    again = ["choose", "disk", "begin", "-begin", "-disk", "-choose"]
    assert story.heard == ["first", *again, *again, "choose", "disk", "begin"]
    assert (record.state, record.outputs) == ("done", {"host": "c"})
    assert [entry["reason"] for entry in record.rounds] == ["a is full", "b is full"]


def test_retry_from_is_bounded_and_all_reasons_are_told(story: Story) -> None:
    def begin(run: Run) -> None:
        raise RetryFrom("choose", f"round {len(run.retried)}")

    operation = story.operation(story.step("choose"), story.step("begin", begin), max_rounds=2)
    made = story.start(operation)
    story.run(operation)
    assert story.heard.count("choose") == 3
    assert story.record(made).state == "failed"
    assert story.heard[-1] == "failed: round 2 (earlier: round 0; round 1)"


def test_retry_from_may_name_the_step_itself_but_no_later_one(story: Story) -> None:
    def once(run: Run) -> None:
        if not run.retried:
            raise RetryFrom("one", "again")

    operation = story.operation(story.step("one", once))
    story.start(operation)
    story.run(operation)
    assert story.heard == ["one", "-one", "one"]

    def forward(run: Run) -> None:
        raise RetryFrom("three", "no")

    wrong = story.operation(story.step("two", forward), story.step("three"), kind="wrong")
    made = story.start(wrong)
    story.run(wrong)
    assert "not an earlier step" in (story.record(made).error or "")


# --- Time -----------------------------------------------------------------------------------


def test_after_the_deadline_all_is_taken_back(story: Story) -> None:
    operation = story.operation(
        story.step("one"),
        story.step("poll", lambda run: Wait(25)),
        title="Make a thing",
        deadline_seconds=60,
    )
    made = story.start(operation)
    for _ in range(4):
        story.turn(operation)
        story.pass_seconds(25)
    story.turn(operation)
    assert story.record(made).state == "failed"
    assert story.heard[-3:] == ["-poll", "-one", "failed: Make a thing was not done within 60 s"]


def test_the_deadline_counts_from_the_begin_not_from_the_queue(story: Story) -> None:
    operation = story.operation(story.step("one"), deadline_seconds=10)
    made = story.start(operation)
    story.pass_seconds(3600)
    story.turn(operation)
    assert story.record(made).state == "done"


def test_a_wait_ends_at_the_deadline(story: Story) -> None:
    operation = story.operation(story.step("poll", lambda run: Wait(3600)), deadline_seconds=60)
    made = story.start(operation)
    story.turn(operation)
    assert story.record(made).run_at == clock.now() + 60_000_000


def test_a_step_has_a_time_limit_of_its_own_over_all_its_polls(story: Story) -> None:
    operation = story.operation(
        story.step("one"), story.step("poll", lambda run: Wait(4), timeout_seconds=10)
    )
    made = story.start(operation)
    for _ in range(4):
        story.turn(operation)
        story.pass_seconds(4)
    assert story.record(made).state == "failed"
    assert story.heard[-1] == "failed: poll did not finish within 10 s"


# --- Order and stopping ---------------------------------------------------------------------


def test_operations_of_one_subject_run_in_order(story: Story) -> None:
    slow = story.operation(
        story.step("slow", lambda run: None if run.attempt > 1 else Wait(5)), kind="slow"
    )
    quick = story.operation(story.step("quick"), kind="quick")
    other = story.operation(story.step("other"), kind="other")
    story.start(slow, "s1")
    story.start(quick, "s1")
    story.start(other, "s2")
    story.turn(slow, quick, other)
    assert story.heard == ["slow", "other"]
    story.pass_seconds(5)
    story.turn(slow, quick, other)
    assert story.heard == ["slow", "other", "slow", "quick"]


def test_a_delete_does_not_wait_for_a_create(story: Story) -> None:
    create = story.operation(
        story.step("one"),
        story.step("poll", lambda run: Wait(600)),
        kind="create",
        deadline_seconds=3600,
    )
    delete = story.operation(story.step("remove"), kind="delete", preempts=True)
    created = story.start(create)
    story.turn(create, delete)
    deleted = story.start(delete)
    story.turn(create, delete)
    assert story.heard == ["one", "poll", "-poll", "-one", "remove"]
    record = story.record(created)
    assert (record.state, record.superseded_by) == ("cancelled", deleted)
    assert record.error == "superseded by delete"
    assert story.record(deleted).state == "done"


def test_a_create_that_has_not_begun_is_dropped_by_a_delete(story: Story) -> None:
    create = story.operation(story.step("one"), kind="create")
    delete = story.operation(story.step("remove"), kind="delete", preempts=True)
    created = story.start(create)
    story.start(delete)
    story.turn(create, delete)
    assert story.heard == ["remove"]
    assert story.record(created).state == "cancelled"


def test_a_delete_is_not_preempted_by_another(story: Story) -> None:
    delete = story.operation(
        story.step("remove", lambda run: None if run.attempt > 1 else Wait(5)),
        kind="delete",
        preempts=True,
    )
    force = story.operation(story.step("force"), kind="force_delete", preempts=True)
    first = story.start(delete)
    story.turn(delete, force)
    story.start(force)
    story.turn(delete, force)
    assert story.heard == ["remove"]
    story.pass_seconds(5)
    story.turn(delete, force)
    assert story.record(first).state == "done"
    assert story.heard == ["remove", "remove", "force"]


def test_a_running_operation_can_be_cancelled_between_steps(story: Story) -> None:
    def meanwhile(run: Run) -> None:
        with story.database.write() as tx:
            assert cancel(tx, run.operation_id, "the user changed their mind")
        assert not run.stopping  # it is told with the next renewal of the lease

    operation = story.operation(story.step("one", meanwhile), story.step("two"))
    made = story.start(operation)
    story.run(operation)
    assert story.heard == ["one", "-two", "-one", "failed: the user changed their mind"]
    assert story.record(made).state == "cancelled"
    with story.database.write() as tx:
        assert not cancel(tx, made, "too late")


def test_a_project_with_a_long_queue_does_not_hold_up_another(story: Story) -> None:
    order: list[str] = []
    operation = story.operation(story.step("one", lambda run: order.append(run.project_id)))
    for number in range(50):
        story.start(operation, f"many{number}", project_id="many")
    story.start(operation, "few", project_id="few")
    story.run(operation)
    assert order.index("few") <= 1
    assert len(order) == 51


# --- Parents and children -------------------------------------------------------------------


def test_a_child_wakes_its_waiting_parent_and_has_its_asker(story: Story) -> None:
    child = story.operation(story.step("child", lambda run: {"user": run.user_id}), kind="child")

    def begin(run: Run) -> dict[str, Any]:
        with story.database.write() as tx:
            return {
                "child": start(
                    tx,
                    child,
                    project_id="p1",
                    subject_type="thing",
                    subject_id="c1",
                    inputs={},
                    parent=run,
                )
            }

    def join(run: Run) -> Any:
        with story.database.read() as tx:
            (record,) = find(tx, operation_id=run.outputs["child"])
        return Wait(3600) if record.is_open else None

    parent = story.operation(
        story.step("begin", begin), story.step("join", join), kind="parent", deadline_seconds=7200
    )
    ctx = Context(story.cloud, "x", Credentials(user_id="u1"), request_id="req-1")
    made = story.start(parent, ctx=ctx)
    story.turn(parent, child)
    assert story.record(made).state == "done"
    with story.database.read() as tx:
        (record,) = find(tx, parent_ids=[made])
    assert (record.user_id, record.request_id, record.outputs) == ("u1", "req-1", {"user": "u1"})


def test_a_repeated_step_starts_its_child_once(story: Story) -> None:
    child = story.operation(story.step("child"), kind="child")
    ids: list[str] = []

    def begin(run: Run) -> None:
        for _ in range(2):  # as after a crash between the start and the commit of the step
            with story.database.write() as tx:
                ids.append(
                    start(
                        tx,
                        child,
                        project_id="p1",
                        subject_type="thing",
                        subject_id="c1",
                        inputs={},
                        parent=run,
                        key="web",
                    )
                )
        with story.database.write() as tx:
            ids.append(
                start(
                    tx,
                    child,
                    project_id="p1",
                    subject_type="thing",
                    subject_id="c2",
                    inputs={},
                    parent=run,
                    key="database",
                )
            )

    parent = story.operation(story.step("begin", begin), kind="parent")
    story.start(parent)
    story.run(parent, child)
    assert ids[0] == ids[1] != ids[2]
    assert story.heard.count("child") == 2


# --- Leases and fences ----------------------------------------------------------------------


def test_a_worker_that_lost_its_lease_writes_nothing_and_its_steps_count_for_nothing(
    story: Story,
) -> None:
    def overtaken(run: Run) -> dict[str, Any]:
        if run.attempt == 1:
            _overtake(story, operation)
        return {"attempt": run.attempt}

    operation = story.operation(story.step("one", overtaken), story.step("two"))
    made = story.start(operation)
    story.turn(operation)
    record = story.record(made)
    assert (record.state, record.outputs) == ("done", {"attempt": 2})
    assert story.heard == ["one", "one", "two"]
    assert len(story.steps(made)) == 2


def test_a_transaction_of_a_stale_step_is_refused(story: Story) -> None:
    met: list[Exception] = []

    def overtaken(run: Run) -> None:
        if run.attempt == 1:
            _overtake(story, operation)
            try:
                with story.database.write():
                    pytest.fail("the fence let it through")
            except Exception as error:
                met.append(error)
                raise

    operation = story.operation(story.step("one", overtaken))
    story.start(operation)
    story.turn(operation)
    assert [type(error).__name__ for error in met] == ["LeaseLost"]


def _overtake(story: Story, operation: Operation) -> None:
    """The lease runs out, and another worker does it all."""
    story.pass_seconds(20)
    other = threading.Thread(target=story.turn, args=(operation,))
    other.start()
    other.join(60)
    assert not other.is_alive()


def test_an_operation_whose_lease_runs_is_not_taken(story: Story) -> None:
    def look(run: Run) -> None:
        assert Runner(story.cloud, [operation])._ledger.claim() is None

    operation = story.operation(story.step("one", look))
    made = story.start(operation)
    story.turn(operation)
    assert story.record(made).state == "done"


def test_a_step_that_the_new_release_does_not_know_is_unwound(story: Story) -> None:
    before = story.operation(story.step("one"), story.step("old", lambda run: Wait(5)))
    made = story.start(before)
    story.turn(before)
    after = story.operation(story.step("one"), story.step("new"))
    story.pass_seconds(5)
    story.turn(after)
    record = story.record(made)
    assert record.state == "failed"
    assert record.error == "step old is not there any more"
    assert story.heard[-3:-1] == ["-new", "-one"]


def test_kinds_that_a_worker_does_not_know_are_left_to_others_and_shown(story: Story) -> None:
    operation = story.operation(story.step("one"))
    made = story.start(operation)
    story.turn(story.operation(story.step("one"), kind="another"))
    assert story.record(made).state == "pending"
    with story.database.read() as tx:
        (problem,) = journal.problems(tx, {"another"})
    assert "make" in problem


# --- What a step may not do, and odd results ------------------------------------------------


def test_a_node_call_inside_a_transaction_is_refused(story: Story) -> None:
    story.cloud.bus.serve("node.a", lambda body: b"")

    def do(run: Run) -> None:
        run.cloud.bus.call("node.a", b"", timeout_seconds=60)
        with story.database.write():
            run.cloud.bus.call("node.a", b"", timeout_seconds=60)

    operation = story.operation(story.step("one", do))
    made = story.start(operation)
    story.run(operation)
    assert "inside a database transaction" in (story.record(made).error or "")


def test_a_node_call_from_any_other_thread_is_refused(story: Story) -> None:
    story.cloud.bus.serve("node.a", lambda body: b"")
    with pytest.raises(guards.LawBroken, match="neither an operation nor a reconciler"):
        story.cloud.bus.call("node.a", b"", timeout_seconds=60)
    with guards.node_calls_allowed():
        assert story.cloud.bus.call("node.a", b"", timeout_seconds=60) == b""


@pytest.mark.parametrize("result", ["text", 7, {"a": object()}, {"a": "\ud800"}])
def test_a_result_that_cannot_be_kept_fails_the_step(story: Story, result: Any) -> None:
    operation = story.operation(story.step("one", lambda run: result))
    made = story.start(operation)
    story.run(operation)
    assert story.record(made).state == "failed"


def test_words_that_no_database_takes_do_not_stop_an_operation(story: Story) -> None:
    def do(run: Run) -> None:
        run.note("command", "cat \ud800", result="a\0b")
        raise Conflict("nul \0 and half \ud800")

    operation = story.operation(story.step("one", do))
    made = story.start(operation)
    story.run(operation)
    assert story.record(made).error == "nul  and half ?"


def test_notes_are_kept_with_their_step(story: Story) -> None:
    def do(run: Run) -> None:
        run.note("plain words")
        run.note(
            "command", "ip link", host="a", ok=False, result="no such device", duration_seconds=0.5
        )

    operation = story.operation(story.step("one", do))
    made = story.start(operation)
    story.run(operation)
    first, second = story.steps(made)[0].trail
    assert (first["kind"], first["text"]) == ("note", "plain words")
    assert {name: second[name] for name in second if name != "at"} == {
        "kind": "command",
        "text": "ip link",
        "host": "a",
        "ok": False,
        "result": "no such device",
        "duration_seconds": 0.5,
    }


def test_finding_and_forgetting(story: Story) -> None:
    operation = story.operation(story.step("one"))
    first = story.start(operation, "s1")
    story.run(operation)
    second = story.start(operation, "s2")
    with story.database.read() as tx:
        assert open_subjects(tx) == {"s2"}
        assert open_subjects(tx, "other") == set()
        assert [one.id for one in find(tx, states=["done"])] == [first]
        assert [one.id for one in find(tx, kind="make", newest_first=True)] == [second, first]
        assert [one.id for one in find(tx, subject_ids=["s1", "s9"])] == [first]
        assert find(tx, project_id="p2") == []
    with story.database.write() as tx:
        assert journal.prune(tx, clock.now() + 1) == 1
        assert [one.id for one in find(tx)] == [second]
        assert steps_of(tx, [first]) == []
