"""The worker's side of the journal: claim an operation, save where it is, let it go.

Every statement that changes an operation names the attempt it believes in; when another worker
has claimed the operation meanwhile, nothing is changed and `LeaseLost` is raised.

Read next: `engine.py`, which decides; this module only writes down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock, owners
from nubelet.kernel.database import Database, Tx
from nubelet.kernel.operations import journal
from nubelet.kernel.operations.journal import operation, operation_step
from nubelet.kernel.operations.run import MAX_NOTES
from nubelet.kernel.operations.steps import LeaseLost

_c = operation.c
_earlier = operation.alias("earlier")
_open_states: list[Any] = [sa.literal_column(f"'{state}'") for state in journal.OPEN]


@dataclass(slots=True, eq=False)
class Job:
    """A claimed operation: the row, as this worker believes it to be."""

    seq: int
    id: str
    kind: str
    project_id: str
    subject_type: str
    subject_id: str
    parent_id: str | None
    user_id: str
    request_id: str
    global_request_id: str | None
    credentials: dict[str, Any] | None
    inputs: dict[str, Any]
    state: str
    step: str | None
    outputs: dict[str, dict[str, Any]]
    error: str | None
    undo_error: str | None
    rounds: list[dict[str, Any]]
    resume_at: str | None
    told: bool
    stop_reason: str | None
    superseded_by: str | None
    attempt: int
    tries: int
    runs: int
    waits: bool
    owner: str
    run_at: int
    deadline: int
    created_at: int
    started_at: int
    step_started_at: int | None
    # Not columns:
    held: bool = True  # False once this worker let it go
    limit_at: int = 0  # the lease is not renewed beyond this
    lost: bool = False  # another worker has it


_columns = [_c[name] for name in Job.__slots__ if name not in ("held", "limit_at", "lost")]

# A scalar subquery, not an EXISTS: PostgreSQL would make an anti join of that, and before it has
# statistics of a fresh table it chooses one that looks at every pair of open operations.
_first_of_subject = (
    sa.select(sa.func.min(_earlier.c.seq))
    .where(_earlier.c.subject_id == _c.subject_id, _earlier.c.state.in_(_open_states))
    .correlate(operation)
    .scalar_subquery()
)
_candidate = (
    sa.select(_c.seq)
    .where(
        _c.state.in_(_open_states),
        _c.run_at <= sa.bindparam("now"),
        _c.lease_until < sa.bindparam("now"),
        _c.kind.in_(sa.bindparam("kinds", expanding=True)),
        sa.or_(
            _c.kind.not_in(sa.bindparam("long_kinds", expanding=True)),
            sa.and_(
                sa.bindparam("room", type_=sa.Integer) > 0,
                _c.project_id.not_in(sa.bindparam("crowded", expanding=True)),
            ),
            # What has begun goes on, and what shall end does.
            _c.state != sa.literal_column(f"'{journal.PENDING}'"),
            _c.stop_reason.is_not(None),
        ),
        _c.seq == _first_of_subject,
    )
    .order_by(_c.turn, _c.seq)
    .limit(1)
)


def _claim_statement(candidate: sa.Select[Any]) -> sa.Executable:
    return (
        sa.update(operation)
        .where(_c.seq == candidate.scalar_subquery())
        .values(
            owner=sa.bindparam("me"),
            lease_until=sa.bindparam("lease"),
            attempt=_c.attempt + 1,
            woken=False,
            updated_at=sa.bindparam("now"),
            started_at=sa.func.coalesce(_c.started_at, sa.bindparam("now")),
        )
        .returning(*_columns)
    )


# FOR UPDATE also waits for (here: skips) a transaction of the present owner's step, which holds
# the row FOR KEY SHARE: an operation is never taken over while its owner is about to commit.
_CLAIM = {
    True: _claim_statement(_candidate),
    False: _claim_statement(_candidate.with_for_update(skip_locked=True)),
}

_ALWAYS = (
    "state",
    "step",
    "outputs",
    "error",
    "undo_error",
    "rounds",
    "resume_at",
    "told",
    "attempt",
    "tries",
    "runs",
    "waits",
    "owner",
    "lease_until",
    "deadline",
    "step_started_at",
    "updated_at",
)


def _save_statement(*names: str, **values: Any) -> sa.Executable:
    return (
        sa.update(operation)
        .where(
            _c.seq == sa.bindparam("b_seq"),
            _c.attempt == sa.bindparam("b_attempt"),
            _c.owner == sa.bindparam("b_owner"),
        )
        .values({name: sa.bindparam(name) for name in (*_ALWAYS, *names)} | values)
        .returning(_c.stop_reason, _c.superseded_by, _c.run_at)
    )


_KEEP = _save_statement()
# Whoever was woken while it worked looks again at once: what woke it may be newer than its look.
_due = sa.case((_c.woken, sa.bindparam("updated_at")), else_=sa.bindparam("run_at"))
_LET_GO = _save_statement("finished_at", run_at=_due, turn=_due)

_fence = sa.select(_c.attempt).where(_c.seq == sa.bindparam("seq"))
_FENCE = {True: _fence, False: _fence.with_for_update(read=True, key_share=True)}

_EARLIEST = sa.select(sa.func.min(_c.run_at)).where(
    _c.state.in_(_open_states), _c.lease_until < sa.bindparam("now")
)


class Ledger:
    """One worker process at the journal."""

    def __init__(
        self,
        database: Database,
        owner: str,
        kinds: Collection[str],
        lease_seconds: float,
        *,
        long_kinds: Collection[str] = (),
        most_long: int = 1,
    ) -> None:
        """`most_long`: so many operations of `long_kinds` are claimed at once, half of them for one
        project (and at least one)."""
        self.database = database
        self.owner = owner
        self._kinds = list(kinds)
        self._long_kinds = [kind for kind in kinds if kind in long_kinds]
        self._most_long, self._most_of_one = most_long, max(1, most_long // 2)
        self._lease = round(lease_seconds * 1e6)

    def claim(self, held: Collection[Job] = ()) -> Job | None:
        """Take the next operation whose turn it is; None when there is none. `held`: what this
        process has claimed already, which says whether another long one may be taken."""
        long = Counter(job.project_id for job in held if job.kind in self._long_kinds)
        values = {
            "kinds": self._kinds,
            "long_kinds": self._long_kinds,
            "room": self._most_long - long.total(),
            "crowded": [project for project, n in long.items() if n >= self._most_of_one],
            "me": self.owner,
        }

        def work(tx: Tx) -> Job | None:
            now = clock.now()
            times = {"now": now, "lease": now + self._lease}
            row = tx.execute(_CLAIM[tx.is_sqlite], values | times).first()
            return None if row is None else Job(*tuple(row))

        job: Job | None = self.database.transact(work)
        return job

    def save(
        self,
        job: Job,
        *,
        step_row: dict[str, Any] | None = None,
        old_attempt: int,
        keep: bool,
        run_at: int | None = None,
        finished: bool = False,
    ) -> None:
        """Write down where `job` is, with the run of a step. `keep`: go on with it now; else
        let it go until `run_at`. Raises LeaseLost."""

        def work(tx: Tx) -> None:
            now = clock.now()
            values = {name: getattr(job, name) for name in _OWN} | {
                "b_seq": job.seq,
                "b_attempt": old_attempt,
                "b_owner": self.owner,
                "waits": waits,
                "owner": self.owner if keep else "",
                "updated_at": now,
                "lease_until": now + self._lease if keep else 0,
            }
            if not keep:
                values |= {"run_at": run_at or now, "finished_at": now if finished else None}
            row = tx.execute(_KEEP if keep else _LET_GO, values).first()
            if row is None:
                raise LeaseLost(f"operation {job.id} was taken over after attempt {old_attempt}")
            job.stop_reason, job.superseded_by, job.run_at = tuple(row)
            if step_row is not None:
                _write_step(tx, job, step_row)
            if finished and job.parent_id:
                journal.wake(tx, operation_id=job.parent_id)

        waits = job.waits if step_row is None else step_row["state"] == "waiting"
        self.database.transact(work)
        job.held, job.waits = keep, waits

    def check(self, tx: Tx, job: Job, attempt: int) -> None:
        """Raise LeaseLost inside a transaction unless the operation is still ours. On PostgreSQL
        nobody can claim it before that transaction ends."""
        if tx.execute(_FENCE[tx.is_sqlite], {"seq": job.seq}).scalar() != attempt:
            raise LeaseLost(f"operation {job.id} was taken over after attempt {attempt}")

    def renew(self, jobs: Collection[Job]) -> None:
        """Extend the leases of running jobs; marks those that were lost or asked to stop."""

        def work(tx: Tx) -> dict[int, str | None]:
            statement = (
                sa.update(operation)
                .where(_c.seq.in_([job.seq for job in jobs]), _c.owner == self.owner)
                .values(lease_until=clock.now() + self._lease)
                .returning(_c.seq, _c.stop_reason)
            )
            return {row.seq: row.stop_reason for row in tx.execute(statement)}

        if not jobs:
            return
        found = self.database.transact(work)
        for job in jobs:
            if job.seq not in found:
                job.lost = True
            elif found[job.seq]:
                job.stop_reason = found[job.seq]

    def earliest(self) -> int | None:
        """When the next operation that nobody holds is due; None when there is none."""
        with self.database.read() as tx:
            due: int | None = tx.execute(_EARLIEST, {"now": clock.now()}).scalar()
        return due

    def release_dead(self) -> int:
        """Let go what dead processes of this machine held. Returns how many operations."""

        def work(tx: Tx) -> int:
            names = [
                row.owner
                for row in tx.all(
                    sa.select(_c.owner).distinct().where(_c.state.in_(_open_states), _c.owner != "")
                )
            ]
            dead = [name for name in names if owners.is_dead(name)]
            if not dead:
                return 0
            return tx.update(
                operation, _c.owner.in_(dead), _c.state.in_(_open_states), lease_until=0
            )

        released: int = self.database.transact(work)
        return released


_OWN = tuple(
    name for name in _ALWAYS if name not in ("waits", "owner", "lease_until", "updated_at")
)
_INSERT_STEP = sa.insert(operation_step)


def _write_step(tx: Tx, job: Job, row: dict[str, Any]) -> None:
    if not job.waits:
        tx.execute(
            _INSERT_STEP,
            {
                "operation_id": job.id,
                "number": job.runs,
                "outputs": None,
                "error": None,
                "finished_at": None,
                **row,
            },
        )
        return
    which = (operation_step.c.operation_id == job.id, operation_step.c.number == job.runs)
    row = {name: value for name, value in row.items() if name != "started_at"}
    earlier = tx.scalar(sa.select(operation_step.c.trail).where(*which)) or []
    row["trail"] = [*earlier, *row.get("trail", ())][-MAX_NOTES:]
    tx.update(operation_step, *which, **row)
