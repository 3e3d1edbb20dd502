"""One causal chain from a request to the host, root cause first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from nubelet.kernel import clock, events, housekeeping
from nubelet.kernel.bus import InProcessBus, NodeUnreachable
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import Context, Credentials
from nubelet.kernel.database import Database
from nubelet.kernel.errors import Conflict
from nubelet.kernel.explain import Explanation, explain
from nubelet.kernel.ids import new_request_id, new_uuid
from nubelet.kernel.operations import Operation, Run, Step, Wait, find, start
from nubelet.kernel.operations.runner import Runner
from nubelet.kernel.requests import RequestRecord, find_requests, log_of, record_request

SERVER = "5f0c9a52-51b2-4a43-8f0b-0d7a0d1c2b3e"
WHY = "why_no_undo"


@pytest.fixture
def cloud(database: Database) -> Iterator[Cloud]:
    made = Cloud(None, database, InProcessBus(), ())  # type: ignore[arg-type]
    yield made
    log_of(made).close()


def step(name: str, do: Callable[[Run], Any], undo: Callable[[Run], None] | None = None) -> Step:
    return Step(name, do, undo, why_no_undo="a test")


def request(
    cloud: Cloud,
    request_id: str,
    method: str = "POST",
    path: str = "/compute/v2.1/servers",
    status: int = 202,
    **more: Any,
) -> None:
    record_request(
        cloud,
        RequestRecord(
            **{
                "request_id": request_id,
                "at": clock.now(),
                "duration_micros": 12_345,
                "service": "compute",
                "method": method,
                "path": path,
                "user_id": "u1",
                "project_id": "p1",
                "rule": "os_compute_api:servers:create",
                "status": status,
            }
            | more
        ),
    )


def begin(cloud: Cloud, operation: Operation, request_id: str, subject: str = SERVER) -> str:
    ctx = Context(cloud, "compute", Credentials(user_id="u1"), request_id=request_id)
    with cloud.database.write() as tx:
        return start(
            tx,
            operation,
            project_id="p1",
            subject_type="server",
            subject_id=subject,
            inputs={},
            ctx=ctx,
        )


def choose_host(run: Run) -> dict[str, str]:
    run.note("scheduling", "node1: 512 MB are free, 2048 MB are needed", ok=False)
    run.note("scheduling", "node2: fits")
    return {"host": "node2"}


def start_guest(run: Run) -> None:
    run.note("command", "ensure_port: ip link add t1", host="node2", duration_seconds=0.0021)
    run.note(
        "libvirt", "ensure_guest: define", host="node2", ok=False, result="unsupported machine type"
    )
    raise Conflict("Host node2 refused the guest: unsupported machine type")


CREATE = Operation(
    "create_server",
    (step("choose_host", choose_host, lambda run: None), step("start_guest", start_guest)),
    60,
)


def failed(cloud: Cloud) -> str:
    request_id = new_request_id()
    begin(cloud, CREATE, request_id)
    request(cloud, request_id)
    Runner(cloud, [CREATE]).run_until_idle(60)
    return request_id


def test_the_first_line_names_the_root_cause(cloud: Cloud) -> None:
    failed(cloud)
    told = explain(cloud, SERVER)
    assert not told.ok
    assert told.headline == (
        f"create_server of server {SERVER} failed in step start_guest: "
        "Host node2 refused the guest: unsupported machine type"
    )
    assert str(told).splitlines()[0] == told.headline


def test_the_chain_goes_from_the_request_to_the_host(cloud: Cloud) -> None:
    request_id = failed(cloud)
    lines = list(explain(cloud, SERVER).lines())
    wanted = [
        f"{request_id} POST /compute/v2.1/servers of user u1 in project p1 by rule "
        "os_compute_api:servers:create: 202 in 12.3 ms",
        "  operation ",
        "    choose_host: done",
        "[host=node2]",
        "scheduling node1: 512 MB are free, 2048 MB are needed FAILED",
        "scheduling node2: fits",
        "    start_guest: failed",
        "command on node2 ensure_port: ip link add t1 (2.1 ms)",
        "libvirt on node2 ensure_guest: define -> unsupported machine type FAILED",
        "    undo choose_host: done",
    ]
    at = 0
    for words in wanted:
        found = [number for number in range(at, len(lines)) if words in lines[number]]
        assert found, f"{words!r} is not told (in this place):\n" + "\n".join(lines)
        at = found[0]


@pytest.mark.parametrize("which", ["subject", "operation", "request"])
def test_the_same_is_told_by_any_identifier(cloud: Cloud, which: str) -> None:
    request_id = failed(cloud)
    with cloud.database.read() as tx:
        operation_id = find(tx, subject_id=SERVER)[0].id
    told = explain(
        cloud, {"subject": SERVER, "operation": operation_id, "request": request_id}[which]
    )
    assert told.about == which
    assert [story.operation.id for story in told.stories] == [operation_id]
    assert [one.request_id for one in told.requests] == [request_id]
    assert "unsupported machine type" in told.headline


def test_the_cause_is_looked_for_in_the_deepest_child(cloud: Cloud) -> None:
    def run_child(run: Run) -> Any:
        if "child" not in run.outputs:
            with cloud.database.write() as tx:
                return Wait(
                    0,
                    {
                        "child": start(
                            tx,
                            CREATE,
                            project_id="p1",
                            subject_type="server",
                            subject_id=SERVER,
                            inputs={},
                            parent=run,
                        )
                    },
                )
        with cloud.database.read() as tx:
            (child,) = find(tx, operation_id=run.outputs["child"])
        if child.is_open:
            return Wait(0)
        raise Conflict("Resource web could not be made")

    stack = Operation("create_stack", (step("resources", run_child),), 60)
    begin(cloud, stack, "req-1", "stack1")
    Runner(cloud, [stack, CREATE]).run_until_idle(60)
    told = explain(cloud, "stack1")
    assert told.headline == (
        "create_stack of server stack1 failed in step resources: create_server of server "
        f"{SERVER} failed in step start_guest: Host node2 refused the guest: unsupported machine "
        "type"
    )
    assert [child.operation.kind for child in told.stories[0].children] == ["create_server"]
    assert any(line.startswith("  operation") for line in told.lines())


def test_a_refused_request_is_told(cloud: Cloud) -> None:
    request(
        cloud,
        "req-1",
        "DELETE",
        f"/compute/v2.1/servers/{SERVER}",
        409,
        error="Cannot 'delete' instance while it is in task_state migrating",
    )
    told = explain(cloud, SERVER)
    assert told.headline == (
        f"DELETE /compute/v2.1/servers/{SERVER} was refused with 409: Cannot 'delete' instance "
        "while it is in task_state migrating"
    )
    assert explain(cloud, "req-1").headline == told.headline


def test_a_later_success_wins_over_an_earlier_failure(cloud: Cloud) -> None:
    failed(cloud)
    delete = Operation("delete_server", (step("remove", lambda run: None),), 60)
    begin(cloud, delete, new_request_id())
    Runner(cloud, [CREATE, delete]).run_until_idle(60)
    told = explain(cloud, SERVER)
    assert told.ok
    assert told.headline.startswith(f"delete_server of server {SERVER} was done in ")
    assert len(told.stories) == 2


def test_what_is_under_way_is_told(cloud: Cloud) -> None:
    slow = Operation("create_server", (step("wait_until_running", lambda run: Wait(30)),), 60)
    begin(cloud, slow, new_request_id())
    assert "has not begun" in explain(cloud, SERVER).headline
    with pytest.raises(TimeoutError):
        Runner(cloud, [slow]).run_until_idle(0.0)
    told = explain(cloud, SERVER)
    assert f"create_server of server {SERVER} is at step wait_until_running" in told.headline
    assert told.ok


def test_a_repeated_step_tells_why(cloud: Cloud) -> None:
    def unreachable(run: Run) -> None:
        raise NodeUnreachable("node.a", "nobody serves it")

    flaky = Operation("create_server", (step("start_guest", unreachable),), 60)
    begin(cloud, flaky, new_request_id())
    with pytest.raises(TimeoutError):
        Runner(cloud, [flaky]).run_until_idle(0.0)
    told = explain(cloud, SERVER)
    assert "is tried again in step start_guest" in told.headline
    assert "node.a is unreachable: nobody serves it" in told.headline
    assert not told.ok


def test_an_unwinding_that_does_not_succeed_tells_both_reasons(cloud: Cloud) -> None:
    def burns(run: Run) -> None:
        raise NodeUnreachable("node.a", "it burns")

    stuck = Operation(
        "create_server",
        (step("choose_host", choose_host, burns), step("start_guest", start_guest)),
        60,
    )
    begin(cloud, stuck, new_request_id())
    with pytest.raises(TimeoutError):
        Runner(cloud, [stuck]).run_until_idle(0.0)
    headline = explain(cloud, SERVER).headline
    assert "failed in step start_guest: Host node2 refused" in headline
    assert (
        "taking it back does not succeed yet: undo of choose_host: node.a is unreachable: "
        "it burns" in headline
    )


def test_a_thing_without_operations_is_told_by_its_events(cloud: Cloud) -> None:
    port, request_id = new_uuid(), new_request_id()
    ctx = Context(cloud, "network", Credentials(user_id="u1"), request_id=request_id)
    with cloud.database.write() as tx:
        events.emit(
            tx, "port.created", project_id="p1", subject_type="port", subject_id=port, ctx=ctx
        )
    request(cloud, request_id, path="/network/v2.0/ports", status=201, service="network")
    told = explain(cloud, port)
    assert told.headline == "POST /network/v2.0/ports was answered 201"
    assert [event.kind for event in told.events] == ["port.created"]
    assert "port.created" in str(told)


def test_nothing_is_known_of_an_unknown_id(cloud: Cloud) -> None:
    for unknown in (new_uuid(), new_request_id(), "'; drop table operation --"):
        told = explain(cloud, unknown)
        assert (told.about, told.ok) == ("nothing", False)
        assert told.headline == f"Nothing is known of {unknown}."


# --- The request log ------------------------------------------------------------------------


def test_recording_costs_a_request_next_to_nothing(cloud: Cloud) -> None:
    """A request's own thread asks the database nothing, and many records are written at once."""
    asked: list[int] = []

    @sa.event.listens_for(cloud.database.engine, "before_cursor_execute")
    def count(*_: object) -> None:
        asked.append(threading.get_ident())

    with cloud.database.write() as tx:  # until it ends nothing can be written on SQLite
        tx.execute(sa.text("SELECT 1"))
        asked.clear()
        for number in range(1000):
            request(cloud, f"req-{number}")
        assert threading.get_ident() not in asked
    log_of(cloud).flush()
    assert len(asked) < 100
    with cloud.database.read() as tx:
        assert len(find_requests(tx, request_ids={"req-0", "req-999"})) == 2


def test_records_are_written_soon_without_asking(cloud: Cloud) -> None:
    request(cloud, "req-1")
    end = time.monotonic() + 60
    while True:
        with cloud.database.read() as tx:
            if find_requests(tx, request_ids={"req-1"}):
                break
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_stop_loses_no_record_and_leaves_the_database_alone(cloud: Cloud) -> None:
    request(cloud, "req-1")
    thread = log_of(cloud)._thread
    assert thread is not None
    log_of(cloud).close()
    assert not thread.is_alive()
    with cloud.database.read() as tx:
        assert find_requests(tx, request_ids={"req-1"})
    request(cloud, "req-2")  # too late: neither kept nor an error
    log_of(cloud).close()
    with cloud.database.read() as tx:
        assert not find_requests(tx, request_ids={"req-2"})


def test_requests_are_found_by_what_their_path_named_and_by_the_global_id(cloud: Cloud) -> None:
    hexed = new_uuid().replace("-", "")
    request(
        cloud,
        "req-1",
        path=f"/compute/v2.1/servers/{SERVER}/action",
        action="os-stop",
        global_request_id="req-global",
    )
    request(cloud, "req-2", path=f"/identity/v3/users/{hexed}")
    log_of(cloud).flush()
    with cloud.database.read() as tx:

        def ids(**by: Any) -> list[str]:
            return [one.request_id for one in find_requests(tx, **by)]

        assert ids(subject_id=SERVER) == ["req-1"]
        assert ids(subject_id=hexed) == ["req-2"]
        assert ids(request_ids={"req-global"}) == ["req-1"]
        assert ids() == []


def test_what_a_client_sends_cannot_break_the_log(cloud: Cloud) -> None:
    request(cloud, "req-1", path="/x\0y\ud800", action="a" * 1000, error="e\0")
    request(cloud, "req-2")
    log_of(cloud).flush()
    with cloud.database.read() as tx:
        first, second = find_requests(tx, request_ids={"req-1", "req-2"})
    assert first.path == "/xy?"
    assert len(first.action) == 255
    assert second.request_id == "req-2"


def test_many_threads_record_at_once(cloud: Cloud) -> None:
    threads = [
        threading.Thread(target=lambda n=n: [request(cloud, f"req-{n}-{i}") for i in range(50)])
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    log_of(cloud).flush()
    with cloud.database.read() as tx:
        wanted = {f"req-{n}-{i}" for n in range(8) for i in range(50)}
        assert len(find_requests(tx, request_ids=wanted, limit=1000)) == 400


def test_housekeeping_forgets_what_is_old(cloud: Cloud) -> None:
    failed(cloud)
    with cloud.database.write() as tx:
        events.emit(tx, "x.y", project_id=None, subject_type="x", subject_id="x")
    log_of(cloud).flush()
    keep, forget = housekeeping.Retention(), housekeeping.Retention(0, 0, 0)
    housekeeping.housekeeper(keep).run(cloud)
    assert known(cloud)
    time.sleep(0.002)
    housekeeping.housekeeper(forget).run(cloud)
    assert not known(cloud)


def known(cloud: Cloud) -> bool:
    told: Explanation = explain(cloud, SERVER)
    with cloud.database.read() as tx:
        return bool(told.stories or told.requests or events.read(tx))
