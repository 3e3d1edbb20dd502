"""Reconcilers: loops without input that compare what is with what shall be, and mend it.

Each runs every so often and whenever its bell rings, in one process of the cloud at a time. A
failure is logged and kept to be read (`nubelet status`), the next try comes later and later, and
the loop never dies. A reconciler that is lost in mid-run simply runs again somewhere else; of one
that does not come to its end is written down since when, and where it is.

Read next: `bells.py`, `operations/runner.py` (for changes that somebody asked for).

In OpenStack: periodic tasks of nova-compute and friends, and heal_* commands run by hand.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from nubelet.kernel import clock, guards
from nubelet.kernel.database import Database, Micros, Name, Tx, metadata
from nubelet.kernel.owners import is_dead, new_owner

if TYPE_CHECKING:
    from nubelet.kernel.cloud import Cloud

log = logging.getLogger(__name__)

MAX_BACKOFF_SECONDS = 300.0
_KEEP_RESULT_SECONDS = 30.0  # an unchanged good result is written down this rarely
_MIN_LEASE_SECONDS = 30.0  # of loops that do not ask for less
_LONG_RUN_SECONDS = 30.0  # what takes longer is written down before it ends


@dataclass(frozen=True)
class Reconciler:
    """A loop.

    run: does what there is to do now and returns; it may call nodes. period_seconds: between the
    end of one run and the begin of the next. bells: further topics that ring it, such as
    `events.BELL`; its own is `bell_of(name)`. lease_seconds: for so long at most nobody runs it
    when the machine that did is gone; half a minute unless said, and three periods at least.
    """

    name: str
    period_seconds: float
    run: Callable[[Cloud], None]
    bells: tuple[str, ...] = ()
    lease_seconds: float | None = None


reconciler_state = sa.Table(
    "reconciler_state",
    metadata,
    sa.Column("name", Name, primary_key=True),
    sa.Column("owner", Name, nullable=False),
    sa.Column("lease_until", Micros, nullable=False),
    sa.Column("started_at", Micros),
    sa.Column("finished_at", Micros),
    sa.Column("duration_micros", sa.BigInteger),
    sa.Column("failures", sa.Integer, nullable=False),  # in a row
    sa.Column("error", sa.Text),
)
_c = reconciler_state.c


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How a reconciler fared. Times are microseconds; with `failures` 0 the last run was good.

    `started_at`: of the first of the runs that failed in a row, else of the last run. When it is
    behind `finished_at` (the end of the last run) the run goes on, and `error` says where it is.
    """

    name: str
    owner: str
    lease_until: int
    started_at: int | None
    finished_at: int | None
    duration_seconds: float | None
    failures: int
    error: str | None


def bell_of(name: str) -> str:
    """The topic that rings a reconciler: `tx.ring(bell_of("networks"))`."""
    return f"reconcile.{name}"


def ring(where: Tx | Cloud, name: str) -> None:
    """Let a reconciler run soon: after the commit when given a transaction, else now."""
    if isinstance(where, Tx):
        where.ring(bell_of(name))
    else:
        where.database.bells.ring(bell_of(name))


def statuses(tx: Tx) -> list[Status]:
    """How all reconcilers fared, by name."""
    return [
        Status(
            name=row.name,
            owner=row.owner,
            lease_until=row.lease_until,
            started_at=row.started_at,
            finished_at=row.finished_at,
            failures=row.failures,
            error=row.error,
            duration_seconds=None if row.duration_micros is None else row.duration_micros / 1e6,
        )
        for row in tx.all(sa.select(reconciler_state).order_by(_c.name))
    ]


class Reconcilers:
    """The loops of one process: a thread each, asleep between runs."""

    def __init__(self, cloud: Cloud, reconcilers: Iterable[Reconciler]) -> None:
        """Nothing runs before `start`."""
        self.owner = new_owner()
        self._loops = {one.name: _Loop(cloud, one, self.owner) for one in reconcilers}
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the loops; the first run of each comes at once."""
        work = {f"reconcile-{name}": loop.work for name, loop in self._loops.items()}
        for name, target in {**work, "reconcile-keeper": self._keep}.items():
            thread = threading.Thread(target=target, daemon=True, name=name)
            self._threads.append(thread)
            thread.start()

    def stop(self, timeout_seconds: float = 30.0) -> None:
        """End after the runs that are under way, and let others take over."""
        self._ended.set()
        for loop in self._loops.values():
            loop.end()
        until = time.monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._threads.clear()

    def run_once(self, name: str = "") -> None:
        """Run one reconciler (or all, in order) in the calling thread, for tests and doctor.
        What it raises is raised. Raises RuntimeError when another process runs it."""
        for loop in [self._loops[name]] if name else self._loops.values():
            if not loop.lease.take():
                raise RuntimeError(f"reconciler {loop.reconciler.name} runs in another process")
            error = loop.run()
            if error is not None:
                raise error

    def _keep(self) -> None:
        """Renew the leases of runs that take long.

        Four times in the shortest of them: `take` does nothing while more than half is left, and
        then there must be a next time before the end.
        """
        leases = [loop.lease_seconds for loop in self._loops.values()]
        shortest = min(leases, default=_MIN_LEASE_SECONDS)
        while not self._ended.wait(shortest / 4):
            for loop in self._loops.values():
                try:
                    if loop.is_running:
                        loop.lease.take()
                        loop.note_long_run()
                except Exception as error:
                    log.warning(
                        "the lease of reconciler %s was not renewed: %s",
                        loop.reconciler.name,
                        error,
                    )


class _Lease:
    """The right to run one reconciler, kept over many runs."""

    def __init__(self, database: Database, name: str, owner: str, seconds: float) -> None:
        self._database = database
        self._name = name
        self._owner = owner
        self._seconds = seconds
        self._until = 0
        self._select = sa.select(_c.owner, _c.lease_until).where(_c.name == name)

    def take(self) -> bool:
        """Have the lease for at least half its time; False while another process has it."""
        now = clock.now()
        if self._until - now > self._seconds * 5e5:
            return True
        with self._database.read() as tx:
            row = tx.first(self._select)
        if row and not self._free(row.owner, row.lease_until, now):
            self._until = 0
            return False
        until = now + round(self._seconds * 1e6)
        taken: bool = self._database.transact(lambda tx: self._take(tx, now, until))
        self._until = until if taken else 0
        return taken

    def _free(self, owner: str, lease_until: int, now: int) -> bool:
        return owner == self._owner or lease_until <= now or is_dead(owner)

    def _take(self, tx: Tx, now: int, until: int) -> bool:
        tx.lock("reconciler", self._name)
        row = tx.first(self._select)
        if row is None:
            tx.insert(
                reconciler_state, name=self._name, owner=self._owner, lease_until=until, failures=0
            )
            return True
        if not self._free(row.owner, row.lease_until, now):
            return False
        tx.update(reconciler_state, _c.name == self._name, owner=self._owner, lease_until=until)
        return True

    def give_back(self) -> None:
        """Let another process have it at once."""
        if self._until:
            self._until = 0
            self._database.transact(
                lambda tx: tx.update(
                    reconciler_state, _c.name == self._name, _c.owner == self._owner, lease_until=0
                )
            )

    def write(self, **values: Any) -> None:
        """Write down a result, if the lease is still ours."""
        self._database.transact(
            lambda tx: tx.update(
                reconciler_state, _c.name == self._name, _c.owner == self._owner, **values
            )
        )


class _Loop:
    def __init__(self, cloud: Cloud, reconciler: Reconciler, owner: str) -> None:
        self._cloud = cloud
        self.reconciler = reconciler
        least = reconciler.lease_seconds or _MIN_LEASE_SECONDS
        self.lease_seconds = max(least, 3 * reconciler.period_seconds)
        self.lease = _Lease(cloud.database, reconciler.name, owner, self.lease_seconds)
        self._run_lock = threading.Lock()  # around what is known and written of the present run
        self._began_at: int | None = None
        self._thread_id = 0
        self._failing_since = 0
        self._rung = threading.Event()
        self._ended = threading.Event()
        self._failures = 0
        self._error: str | None = None  # of the last of them
        self._written_at = 0

    def work(self) -> None:
        """The thread: until `end`."""
        bells = self._cloud.database.bells
        topics = (bell_of(self.reconciler.name), *self.reconciler.bells)
        deafen = [bells.listen(topic, self._rung.set) for topic in topics]
        while not self._ended.is_set():
            self._rung.clear()
            try:
                if self.lease.take():
                    self.run()
            except BaseException:  # the database does not answer: the loop goes on
                self._failures += 1
                log.exception("reconciler %s cannot work now", self.reconciler.name)
            self._sleep()
        for stop in deafen:
            stop()
        try:
            self.lease.give_back()
        except Exception as error:
            log.info(
                "the lease of reconciler %s is left to run out: %s", self.reconciler.name, error
            )

    def end(self) -> None:
        """Ask the thread to end."""
        self._ended.set()
        self._rung.set()

    @property
    def is_running(self) -> bool:
        """Is a run under way?"""
        return self._began_at is not None

    def run(self) -> BaseException | None:
        """One run, with its result written down. Returns what it raised."""
        started = time.perf_counter()
        error: BaseException | None = None
        with self._run_lock:
            self._thread_id, self._began_at = threading.get_ident(), clock.now()
        try:
            with guards.node_calls_allowed():
                self.reconciler.run(self._cloud)
        except BaseException as met:  # also SystemExit: the thread would be gone without a word
            error = met
            log.warning(
                "reconciler %s failed (%d in a row): %s",
                self.reconciler.name,
                self._failures + 1,
                met,
                exc_info=met,
            )
        with self._run_lock:
            began_at, self._began_at = self._began_at, None
            self._record(error, began_at, time.perf_counter() - started)
        return error

    def note_long_run(self) -> None:
        """Write down since when a run has been going on, and where it is; nothing of short ones."""
        with self._run_lock:
            began_at = self._began_at
            if began_at is None or clock.now() - began_at < _LONG_RUN_SECONDS * 1e6:
                return
            place = _place(self._thread_id)
            if self._error:  # what it failed by before is not to be forgotten over this
                place += f"; it failed before: {self._error}"
            self.lease.write(started_at=began_at, error=place)
            self._written_at = 0  # so its end is written down, too

    def _record(self, error: BaseException | None, began_at: int | None, duration: float) -> None:
        before, now = self._failures, clock.now()
        self._failures = before + 1 if error else 0
        self._error = f"{type(error).__name__}: {error}" if error else None
        self._failing_since = (self._failing_since or began_at or now) if error else 0
        if not error and not before and now - self._written_at < _KEEP_RESULT_SECONDS * 1e6:
            return  # as good as the last time: not worth a commit
        self._written_at = now
        self.lease.write(
            started_at=self._failing_since or began_at,
            finished_at=now,
            error=self._error,
            duration_micros=round(duration * 1e6),
            failures=self._failures,
        )

    def _sleep(self) -> None:
        if not self._failures:
            self._rung.wait(self.reconciler.period_seconds)
            return
        # A bell does not shorten this: what fails is not tried more often because it is asked
        # for more often.
        most = max(self.reconciler.period_seconds, MAX_BACKOFF_SECONDS)
        self._ended.wait(min(2.0 ** min(self._failures - 1, 20), most))


def _place(thread_id: int) -> str:
    """Where a thread is: the innermost calls."""
    frame = sys._current_frames().get(thread_id)
    calls = traceback.extract_stack(frame)[-3:] if frame is not None else []
    return "it is in " + ", called by ".join(
        f"{call.name} ({Path(call.filename).name}:{call.lineno})" for call in reversed(calls)
    )
