"""The journal of operations: two tables, and what anybody may ask of them.

`operation` holds where each one is; `operation_step` one row per run of a step or its undo, with
times, outputs, error and trail. An operation is started in the caller's transaction, so that the
row in state BUILD and the operation that will finish it exist together or not at all.

Read next: `steps.py`, `ledger.py` (how a worker claims and advances), `runner.py`.

In OpenStack: instance_actions, Cinder's user messages, Heat's events: views of this.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from nubelet.kernel import clock, ids
from nubelet.kernel.context import Context
from nubelet.kernel.database import Id, Json, Micros, Name, Serial, Tx, metadata
from nubelet.kernel.operations.run import Run
from nubelet.kernel.operations.steps import Operation

PENDING = "pending"  # not begun
RUNNING = "running"  # forward, or waiting to go on
UNWINDING = "unwinding"  # taking back, to the begin or to where RetryFrom said
DONE = "done"
FAILED = "failed"  # all taken back
CANCELLED = "cancelled"  # asked to stop, all taken back
OPEN = (PENDING, RUNNING, UNWINDING)

BELL = "operations"  # rings when there is work
# An operation of a project that has many waiting gets its turn this much after the one before
# it, so that a newcomer's first operation does not queue behind somebody's five hundred.
_TURN_MICROS = 20_000

operation = sa.Table(
    "operation",
    metadata,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("id", Id, nullable=False),
    sa.Column("kind", Name, nullable=False),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("subject_type", Name, nullable=False),
    sa.Column("subject_id", Id, nullable=False),
    sa.Column("parent_id", Id),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("request_id", Id, nullable=False),
    sa.Column("global_request_id", Id),
    sa.Column("credentials", Json),
    sa.Column("inputs", Json, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("step", Name),  # the step to do or undo next; None before the first
    sa.Column("outputs", Json, nullable=False),  # step -> its outputs
    sa.Column("error", sa.Text),  # why it failed or unwinds; stays
    sa.Column("undo_error", sa.Text),  # why an undo does not succeed, now
    sa.Column("rounds", Json, nullable=False),  # RetryFrom: [{step, reason, outputs}]
    sa.Column("resume_at", Name),  # unwinding ends at this step and goes forward again
    sa.Column("told", sa.Boolean, nullable=False),  # on_failed was called early
    sa.Column("preempts", sa.Boolean, nullable=False),  # and so cannot be preempted itself
    sa.Column("stop_reason", sa.Text),  # somebody asked it to stop
    sa.Column("superseded_by", Id),  # ... namely this operation
    sa.Column("woken", sa.Boolean, nullable=False),  # journal.wake since the last claim
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("runs", sa.Integer, nullable=False),  # rows in operation_step so far
    sa.Column("waits", sa.Boolean, nullable=False),  # the newest of them is a waiting one
    sa.Column("owner", Name, nullable=False),
    sa.Column("lease_until", Micros, nullable=False),
    sa.Column("run_at", Micros, nullable=False),
    sa.Column("turn", Micros, nullable=False),  # of those that are due, the least goes first
    sa.Column("deadline", Micros, nullable=False),
    sa.Column("created_at", Micros, nullable=False),
    sa.Column("started_at", Micros),
    sa.Column("step_started_at", Micros),
    sa.Column("updated_at", Micros, nullable=False),
    sa.Column("finished_at", Micros),
    sqlite_autoincrement=True,
)
_c = operation.c
_is_open = _c.state.in_([sa.literal_column(f"'{state}'") for state in OPEN])
_is_pending = _c.state == sa.literal_column(f"'{PENDING}'")


def _partial(name: str, where: sa.ColumnElement[bool], *columns: sa.Column[Any]) -> None:
    """An index of few rows beside a long history."""
    sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)


sa.Index("ux_operation_id", _c.id, unique=True)
_partial("ix_operation_turn_open", _is_open, _c.turn, _c.seq)
_partial("ix_operation_subject_open", _is_open, _c.subject_id, _c.seq)
_partial("ix_operation_project_pending", _is_pending, _c.project_id, _c.turn)
sa.Index("ix_operation_subject", _c.subject_id, _c.seq)
sa.Index("ix_operation_request", _c.request_id)
sa.Index("ix_operation_parent", _c.parent_id)
sa.Index("ix_operation_finished", _c.finished_at)

operation_step = sa.Table(
    "operation_step",
    metadata,
    sa.Column("operation_id", Id, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("direction", sa.String(8), nullable=False),  # do, undo
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # done, waiting, failed
    sa.Column("started_at", Micros, nullable=False),
    sa.Column("finished_at", Micros),
    sa.Column("outputs", Json),
    sa.Column("error", sa.Text),
    sa.Column("trail", Json),
)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """An operation as the journal has it. Times are microseconds; outputs are merged."""

    id: str
    seq: int
    kind: str
    project_id: str
    subject_type: str
    subject_id: str
    parent_id: str | None
    user_id: str
    request_id: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    state: str
    step: str | None
    error: str | None
    undo_error: str | None
    rounds: list[dict[str, Any]]
    resume_at: str | None
    stop_reason: str | None
    superseded_by: str | None
    attempt: int
    tries: int
    owner: str
    lease_until: int
    run_at: int
    deadline: int
    created_at: int
    started_at: int | None
    updated_at: int
    finished_at: int | None

    @property
    def is_open(self) -> bool:
        """Is there still something to do?"""
        return self.finished_at is None


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one step or of its undo."""

    operation_id: str
    number: int
    name: str
    direction: str
    attempt: int
    state: str
    started_at: int
    finished_at: int | None
    outputs: dict[str, Any] | None
    error: str | None
    trail: list[dict[str, Any]]


def start(
    tx: Tx,
    operation_: Operation,
    *,
    project_id: str,
    subject_type: str,
    subject_id: str,
    inputs: Mapping[str, Any],
    ctx: Context | None = None,
    parent: Run | str | None = None,
    key: str = "",
    run_after: int | None = None,
) -> str:
    """Write an operation into the journal; it runs after the commit. Returns its id.

    `inputs`: JSON-able and small. `ctx`: who asks; None for the cloud itself, or, with `parent`
    (a run, or an operation's id), whoever asked for the parent. A finished child wakes its
    waiting parent. `key`: names the child within its parent, so that a step that is repeated
    finds the operation it started already instead of starting another. `run_after`: not before
    this time (microseconds since the epoch).
    """
    parent_id = parent.operation_id if isinstance(parent, Run) else parent
    operation_id = str(uuid.uuid5(_CHILDREN, f"{parent_id}/{key}")) if key else ids.new_uuid()
    tx.lock("operation", subject_id)  # one subject's operations get their order by commit
    if key and tx.scalar(sa.select(_c.seq).where(_c.id == operation_id)) is not None:
        return operation_id
    operation_.steps_for(inputs)  # wrong inputs are refused here, not in the worker
    now = clock.now()
    row = {
        "id": operation_id,
        "kind": operation_.kind,
        "project_id": project_id,
        "subject_type": subject_type,
        "subject_id": subject_id,
        "inputs": dict(inputs),
        "preempts": operation_.preempts,
        "state": PENDING,
        "outputs": {},
        "rounds": [],
        "told": False,
        "woken": False,
        "attempt": 0,
        "tries": 0,
        "runs": 0,
        "waits": False,
        "owner": "",
        "lease_until": 0,
        "run_at": run_after or now,
        "turn": _next_turn(tx, project_id, now),
        "deadline": (run_after or now) + round(operation_.deadline_seconds * 1e6),
        "created_at": now,
        "updated_at": now,
        "parent_id": parent_id,
        **_asker(tx, ctx, parent),
    }
    if operation_.preempts:
        _preempt(tx, operation_, subject_id, operation_id, now)
    tx.insert(operation, **row)
    tx.ring(BELL)
    return operation_id


_CHILDREN = uuid.UUID("6f2c2d3a-0c5e-4f6e-9a53-6c1f0d9d8a11")


def _next_turn(tx: Tx, project_id: str, now: int) -> int:
    last = tx.scalar(_LAST_TURN, project_id=project_id)
    return now if last is None else max(now, last + _TURN_MICROS)


_LAST_TURN = sa.select(sa.func.max(_c.turn)).where(
    _c.project_id == sa.bindparam("project_id"), _is_pending
)


def _asker(tx: Tx, ctx: Context | None, parent: Run | str | None) -> dict[str, Any]:
    if ctx is not None:
        return {
            "user_id": ctx.user_id,
            "request_id": ctx.request_id,
            "global_request_id": ctx.global_request_id,
            "credentials": ctx.credentials,
        }
    if isinstance(parent, Run):
        return {
            "user_id": parent.user_id,
            "request_id": parent.request_id,
            "global_request_id": parent.global_request_id,
            "credentials": parent.credentials,
        }
    row = parent and tx.first(
        sa.select(_c.user_id, _c.request_id, _c.global_request_id, _c.credentials).where(
            _c.id == parent
        )
    )
    if row:
        return dict(row._mapping)
    return {
        "user_id": "",
        "request_id": ids.new_request_id(),
        "global_request_id": None,
        "credentials": None,
    }


def _preempt(tx: Tx, by: Operation, subject_id: str, by_id: str, now: int) -> None:
    tx.update(
        operation,
        _c.subject_id == subject_id,
        _is_open,
        _c.state != UNWINDING,
        _c.preempts.is_(False),
        _c.stop_reason.is_(None),
        stop_reason=f"superseded by {by.kind}",
        superseded_by=by_id,
        run_at=now,
        turn=now,
        woken=True,
    )


def cancel(tx: Tx, operation_id: str, reason: str) -> bool:
    """Ask one operation to stop at its next step and unwind. False when it is not going forward
    any more."""
    now = clock.now()
    found = tx.update(
        operation,
        _c.id == operation_id,
        _c.state.in_((PENDING, RUNNING)),
        stop_reason=reason,
        run_at=now,
        turn=now,
        woken=True,
    )
    tx.ring(BELL)
    return bool(found)


def wake(tx: Tx, *, operation_id: str | None = None, subject_id: str | None = None) -> int:
    """Something happened that a waiting step may look at now. Returns how many were waiting."""
    which = _c.id == operation_id if operation_id else _c.subject_id == subject_id
    now = clock.now()
    found = tx.update(operation, which, _is_open, run_at=now, turn=now, woken=True)
    if found:
        tx.ring(BELL)
    return found


def find(
    tx: Tx,
    *,
    operation_id: str | None = None,
    subject_id: str | None = None,
    subject_ids: Collection[str] | None = None,
    request_id: str | None = None,
    kind: str | None = None,
    parent_ids: Collection[str] | None = None,
    states: Collection[str] | None = None,
    project_id: str | None = None,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[Record]:
    """Operations that match all that is given, in the order they were started."""
    statement = sa.select(operation)
    equal = {
        _c.id: operation_id,
        _c.subject_id: subject_id,
        _c.request_id: request_id,
        _c.kind: kind,
        _c.project_id: project_id,
    }
    within = {_c.subject_id: subject_ids, _c.parent_id: parent_ids, _c.state: states}
    for column, value in equal.items():
        if value is not None:
            statement = statement.where(column == value)
    for column, values in within.items():
        if values is not None:
            statement = statement.where(column.in_(values))
    statement = statement.order_by(_c.seq.desc() if newest_first else _c.seq).limit(limit)
    return [_record(row._mapping) for row in tx.all(statement)]


def open_subjects(tx: Tx, subject_type: str | None = None) -> set[str]:
    """The subjects that an unfinished operation owns (for invariants: a resource in a
    transitional state must be among them)."""
    statement = sa.select(_c.subject_id).where(_is_open)
    if subject_type is not None:
        statement = statement.where(_c.subject_type == subject_type)
    return {row.subject_id for row in tx.all(statement)}


def steps_of(tx: Tx, operation_ids: Sequence[str]) -> list[StepRecord]:
    """All runs of steps of these operations, in order."""
    statement = (
        sa.select(operation_step)
        .where(operation_step.c.operation_id.in_(operation_ids))
        .order_by(operation_step.c.operation_id, operation_step.c.number)
    )
    return [StepRecord(**{**row._mapping, "trail": row.trail or []}) for row in tx.all(statement)]


def problems(tx: Tx, kinds: Collection[str]) -> list[str]:
    """What is wrong with unfinished operations, in words, for `nubelet doctor`. `kinds`: those
    that the workers of this cloud know."""
    found = []
    for one in find(tx, states=OPEN):
        what = f"operation {one.id} ({one.kind} of {one.subject_type} {one.subject_id})"
        if one.kind not in kinds:
            found.append(f"{what} is of a kind that no worker here knows")
        elif one.undo_error:
            found.append(
                f"{what} cannot be taken back yet, tried {one.tries} times: {one.undo_error}"
            )
        elif one.state == RUNNING and clock.now() > one.deadline + _LATE_MICROS:
            found.append(f"{what} is past its deadline at step {one.step}: are workers running?")
        elif (
            one.state == PENDING
            and clock.now() > one.created_at + 10 * _LATE_MICROS
            and one.run_at < clock.now()
        ):
            found.append(f"{what} has not begun since {clock.iso_seconds(one.created_at)}")
    return found


_LATE_MICROS = 60_000_000


def prune(tx: Tx, finished_before: int, limit: int = 1000) -> int:
    """Forget operations that finished before a time, oldest first. Returns how many."""
    old = [
        row.id
        for row in tx.all(
            sa.select(_c.id)
            .where(_c.finished_at < finished_before)
            .order_by(_c.finished_at)
            .limit(limit)
        )
    ]
    if old:
        tx.delete(operation_step, operation_step.c.operation_id.in_(old))
        tx.delete(operation, _c.id.in_(old))
    return len(old)


def merged(outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The outputs of all steps as one dict."""
    return {name: value for step in outputs.values() for name, value in step.items()}


def _record(row: Mapping[Any, Any]) -> Record:
    fields = {name: row[name] for name in Record.__struct_fields__}
    return Record(**{**fields, "outputs": merged(row["outputs"])})
