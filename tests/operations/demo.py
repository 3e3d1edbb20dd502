"""A small but complete operation, to prove the harness: a machine on a fenced node.

A row in the database, a disk and a guest on a node that refuses older attempts, and a row again.
`DEMO` is right; the others are wrong in one way each, and the harness must say so.
"""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.bus import InProcessBus
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Database, Id
from nubelet.kernel.operations import Operation, Retry, Run, Step, Wait, start
from nubelet.node.wire import Fence, decode, encode
from tests import databases

machine = sa.Table(
    "demo_machine",
    sa.MetaData(),
    sa.Column("id", Id, primary_key=True),
    sa.Column("state", Id),
    sa.Column("host", Id),
    sa.Column("fault", sa.Text),
)
claim = sa.Table("demo_claim", machine.metadata, sa.Column("machine_id", Id, primary_key=True))

HOST = "node.demo"


class FencedNode:
    """A node that keeps disks and guests, and the newest attempt it has seen of each operation."""

    def __init__(self, bus: InProcessBus, fenced: bool = True) -> None:
        self.things: set[str] = set()
        self._attempts: dict[str, int] = {}
        self._fenced = fenced
        self._lock = threading.Lock()
        self._polls = 0
        bus.serve(HOST, self._serve)

    def _serve(self, body: bytes) -> bytes:
        request = decode(body, dict)
        fence = Fence(**request["fence"])
        with self._lock:
            seen = self._attempts.get(fence.operation_id, 0)
            if self._fenced and fence.attempt < seen:
                raise RuntimeError("fenced")
            self._attempts[fence.operation_id] = max(seen, fence.attempt)
            if request["verb"] == "ensure":
                self.things.add(request["what"])
            elif request["verb"] == "remove":
                self.things.discard(request["what"])
            elif request["verb"] == "observe":
                self._polls += 1
                return b"running" if self._polls % 3 == 0 else b"booting"
        return b""


def node(run: Run, verb: str, what: str) -> bytes:
    fence = {"operation_id": run.operation_id, "attempt": run.attempt}
    return run.cloud.bus.call(
        HOST, encode({"verb": verb, "what": what, "fence": fence}), timeout_seconds=5
    )


def choose_host(run: Run) -> dict[str, Any]:
    with run.cloud.database.write() as tx:
        if not tx.first(sa.select(claim).where(claim.c.machine_id == run.subject_id)):
            tx.insert(claim, machine_id=run.subject_id)
    run.note("scheduling", "demo fits", host="demo")
    return {"host": "demo"}


def undo_choose_host(run: Run) -> None:
    with run.cloud.database.write() as tx:
        tx.delete(claim, claim.c.machine_id == run.subject_id)


def make_disk(run: Run) -> None:
    node(run, "ensure", f"disk {run.subject_id}")


def undo_make_disk(run: Run) -> None:
    node(run, "remove", f"disk {run.subject_id}")


def start_guest(run: Run) -> dict[str, Any]:
    node(run, "ensure", f"guest {run.subject_id} on {run.outputs['host']}")
    return {"guest": run.subject_id}


def undo_start_guest(run: Run) -> None:
    node(run, "remove", f"guest {run.subject_id} on demo")


def wait_until_running(run: Run) -> Wait | None:
    return None if node(run, "observe", "") == b"running" else Wait(0.5)


def mark_active(run: Run) -> None:
    with run.cloud.database.write() as tx:
        tx.update(machine, machine.c.id == run.subject_id, state="ACTIVE", host=run.outputs["host"])


def undo_mark_active(run: Run) -> None:
    with run.cloud.database.write() as tx:
        tx.update(machine, machine.c.id == run.subject_id, state="BUILD", host=None)


def on_failed(run: Run, reason: str) -> None:
    with run.cloud.database.write() as tx:
        tx.update(machine, machine.c.id == run.subject_id, state="ERROR", host=None, fault=reason)


QUICK = Retry(first_delay_seconds=0.01)
DEMO = Operation(
    "demo_create",
    (
        Step("choose_host", choose_host, undo_choose_host, retry=QUICK),
        Step("make_disk", make_disk, undo_make_disk, retry=QUICK),
        Step("start_guest", start_guest, undo_start_guest, retry=QUICK),
        Step("wait_until_running", wait_until_running, why_no_undo="it only looks", retry=QUICK),
        Step("mark_active", mark_active, undo_mark_active, retry=QUICK),
    ),
    deadline_seconds=60,
    on_failed=on_failed,
    title="Create a demo machine",
)


def spoiled(step_name: str, **changes: Any) -> Operation:
    """DEMO with one step changed."""
    assert isinstance(DEMO.steps, tuple)
    return dataclasses.replace(
        DEMO,
        steps=tuple(
            dataclasses.replace(step, **changes) if step.name == step_name else step
            for step in DEMO.steps
        ),
    )


class DemoWorld:
    """A database, a bus and one node."""

    def __init__(
        self, folder: Path, operation: Operation = DEMO, *, url: str = "", fenced: bool = True
    ) -> None:
        database = Database(url or databases.sqlite_url(folder / "demo.db"))
        machine.metadata.create_all(database.engine)
        self.operation = operation
        self.cloud = Cloud(None, database, InProcessBus(), ())  # type: ignore[arg-type]
        self.node = FencedNode(self.cloud.bus, fenced)  # type: ignore[arg-type]

    def begin(self, machine_id: str = "m1") -> str:
        with self.cloud.database.write() as tx:
            tx.insert(machine, id=machine_id, state="BUILD")
            return start(
                tx,
                self.operation,
                project_id="p1",
                subject_type="machine",
                subject_id=machine_id,
                inputs={},
            )

    def _rows(self) -> tuple[list[str], int]:
        with self.cloud.database.read() as tx:
            states = [row.state for row in tx.all(sa.select(machine.c.state))]
            return states, tx.scalar(sa.select(sa.func.count()).select_from(claim))

    def nothing_left(self) -> list[str]:
        states, claims = self._rows()
        problems = [f"{thing} on the node" for thing in sorted(self.node.things)]
        if states not in (["ERROR"], []):
            problems.append(f"the machine is {states}")
        if claims:
            problems.append("a claim")
        return problems

    def all_there(self) -> list[str]:
        states, claims = self._rows()
        problems = [] if states == ["ACTIVE"] else [f"the machine is {states}"]
        if claims != 1:
            problems.append(f"{claims} claims")
        missing = {"disk m1", "guest m1 on demo"} - self.node.things
        return problems + [f"no {thing}" for thing in sorted(missing)]

    def close(self) -> None:
        self.cloud.bus.close()
        self.cloud.database.close()
