"""A worker process for the tests, to be watched and killed.

`python -m tests.operations.worker URL LEASE_SECONDS WORKERS POLL_SECONDS` says when it is ready.

Its operation leaves one mark per step and takes it away in the undo; every tenth subject fails
for good in its last step.
"""

from __future__ import annotations

import random
import sys
import time

import sqlalchemy as sa

from nubelet.kernel.bus import InProcessBus
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Database, Id
from nubelet.kernel.errors import Conflict
from nubelet.kernel.operations import Operation, Run, Step, Wait
from nubelet.kernel.operations.runner import Runner

tables = sa.MetaData()
mark = sa.Table(
    "worker_mark",
    tables,
    sa.Column("subject_id", Id, primary_key=True),
    sa.Column("step", Id, primary_key=True),
)
thing = sa.Table(
    "worker_thing",
    tables,
    sa.Column("id", Id, primary_key=True),
    sa.Column("state", Id, nullable=False),
)


def _do(run: Run) -> None:
    time.sleep(random.uniform(0.0, 0.01))
    if run.step == "five" and run.subject_id.endswith("0"):
        raise Conflict("this one fails")
    with run.cloud.database.write() as tx:
        key = (mark.c.subject_id == run.subject_id, mark.c.step == run.step)
        if not tx.first(sa.select(mark).where(*key)):
            tx.insert(mark, subject_id=run.subject_id, step=run.step)
        if run.step == "five":
            tx.update(thing, thing.c.id == run.subject_id, state="ACTIVE")


def _undo(run: Run) -> None:
    with run.cloud.database.write() as tx:
        tx.delete(mark, mark.c.subject_id == run.subject_id, mark.c.step == run.step)


def _failed(run: Run, reason: str) -> None:
    with run.cloud.database.write() as tx:
        tx.update(thing, thing.c.id == run.subject_id, state="ERROR")


def _poll(run: Run) -> Wait | None:
    return None if run.outputs.get("polled") else Wait(0.02, {"polled": True})


MARKS = ("one", "two", "three", "five")
MAKE = Operation(
    "worker_make",
    (
        Step("one", _do, _undo),
        Step("two", _do, _undo),
        Step("three", _do, _undo),
        Step("four", _poll, why_no_undo="it only looks"),
        Step("five", _do, _undo),
    ),
    deadline_seconds=300,
    on_failed=_failed,
)


def _sleep(run: Run) -> None:
    time.sleep(3600)


SLEEP = Operation(
    "worker_sleep",
    (
        Step(
            "sleep",
            lambda run: _sleep(run) if run.attempt == 1 else None,
            why_no_undo="it only sleeps",
        ),
    ),
    7200,
)


def cloud_of(url: str) -> Cloud:
    """A cloud that is nothing but its database."""
    return Cloud(None, Database(url), InProcessBus(), ())  # type: ignore[arg-type]


if __name__ == "__main__":
    runner = Runner(
        cloud_of(sys.argv[1]),
        [MAKE, SLEEP],
        workers=int(sys.argv[3]),
        lease_seconds=float(sys.argv[2]),
        poll_seconds=float(sys.argv[4]),
    )
    runner.start()
    print("ready", flush=True)
    sys.stdin.read()  # until the test is gone
