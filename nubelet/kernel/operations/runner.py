"""The workers: threads that claim operations and drive them, in as many processes as one likes.

An idle worker sleeps until the doorbell rings. One further thread per runner, the keeper, renews
the leases of long steps, rings when a waiting operation is due, and looks into the journal every
now and then in case a bell was lost or another process died.

Read next: `engine.py` (what a worker does), `ledger.py`, `README.md`.

In OpenStack: nova-conductor, and every periodic task that repairs what a crash left.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from nubelet.kernel import clock
from nubelet.kernel.operations import journal
from nubelet.kernel.operations.engine import Engine
from nubelet.kernel.operations.ledger import Job, Ledger
from nubelet.kernel.operations.steps import Operation
from nubelet.kernel.owners import new_owner

if TYPE_CHECKING:
    from nubelet.kernel.cloud import Cloud

log = logging.getLogger(__name__)

LEASE_SECONDS = 15.0
POLL_SECONDS = 1.0


class Runner:
    """The workers of one process."""

    def __init__(
        self,
        cloud: Cloud,
        operations: Iterable[Operation],
        workers: int = 16,
        *,
        lease_seconds: float = LEASE_SECONDS,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Nothing runs before `start` (or `run_until_idle`, which works in the calling thread)."""
        self.cloud = cloud
        self.owner = new_owner()
        operations = tuple(operations)
        self._ledger = Ledger(
            cloud.database,
            self.owner,
            [operation.kind for operation in operations],
            lease_seconds,
            long_kinds={operation.kind for operation in operations if operation.long},
            most_long=max(1, workers // 2),
        )
        self._engine = Engine(cloud, operations, self._ledger)
        self._workers = workers
        self._lease_seconds = lease_seconds
        self._poll_seconds = poll_seconds
        self._bell = _Bell(workers)
        self._running: dict[int, tuple[Job, int]] = {}  # thread ident -> job, when it began
        self._given_up: set[int] = set()
        self._lock, self._claiming = threading.Lock(), threading.Lock()
        self._timer = _Timer()
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self._started = False
        self._deafen: Callable[[], None] | None = None

    # --- Life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the threads. What a dead process of this machine held is taken over at once."""
        released = self._ledger.release_dead()
        if released:
            log.info("%d operations of dead workers are taken over", released)
        self._started = True
        self._deafen = self.cloud.database.bells.listen(journal.BELL, self._bell.ring)
        for _ in range(self._workers):
            self._start_worker()
        keeper = threading.Thread(target=self._keep, name="operations-keeper", daemon=True)
        self._threads.append(keeper)
        keeper.start()
        self._bell.ring()

    def stop(self, timeout_seconds: float = 30.0) -> None:
        """End after the steps that are under way; their operations go on in another process, or
        in this one after the next start."""
        self._stopping = True
        if self._deafen:
            self._deafen()
        self._bell.end()
        self._timer.at(0)
        until = time.monotonic() + timeout_seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._threads.clear()
        self._started = False

    def run_until_idle(self, timeout_seconds: float = 30.0) -> None:
        """Return when no unfinished operation is left, for tests and scripts.

        Works in the calling thread unless the runner was started. Raises TimeoutError naming
        what is left.
        """
        until = time.monotonic() + timeout_seconds
        while True:
            job = None if self._started else self._claim()
            if job is not None:
                self._drive(job)
                continue
            with self.cloud.database.read() as tx:
                left = journal.find(tx, states=journal.OPEN)
            if not left:
                return
            if time.monotonic() >= until:
                raise TimeoutError(
                    "not idle: "
                    + "; ".join(
                        f"{record.kind} {record.id} {record.state} at {record.step}: "
                        f"{record.undo_error or record.error or 'no error'}"
                        for record in left[:5]
                    )
                )
            due = min(record.run_at for record in left) - clock.now()
            time.sleep(0.002 if self._started else min(max(due / 1e6, 0.002), 0.05))

    def idle(self) -> bool:
        """Is no operation running or due? (Those that wait for a later time do not count.)"""
        if self._running:
            return False
        with self.cloud.database.read() as tx:
            soon = clock.now()
            return all(record.run_at > soon for record in journal.find(tx, states=journal.OPEN))

    # --- Workers ----------------------------------------------------------------------------

    def _start_worker(self) -> None:
        thread = threading.Thread(
            target=self._work, daemon=True, name=f"operations-{len(self._threads)}"
        )
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        me = threading.get_ident()
        while not self._stopping and me not in self._given_up:
            try:
                job = self._claim()
                if job is not None:
                    self._drive(job)
                    continue
            except Exception:
                log.exception("a worker of operations met an error of its own")
                time.sleep(1.0)
                continue
            self._bell.wait()
        self._given_up.discard(me)  # the next thread may get the same number

    def _claim(self) -> Job | None:
        """The next operation, which this thread drives from here on. One at a time: each has to
        see what the others have."""
        with self._claiming:
            with self._lock:
                held = [
                    job
                    for thread, (job, _) in self._running.items()
                    if thread not in self._given_up  # it hangs, and was replaced
                ]
            job = self._ledger.claim(held)
            if job is not None:
                with self._lock:
                    self._running[threading.get_ident()] = (job, clock.now())
        return job

    def _drive(self, job: Job) -> None:
        me = threading.get_ident()
        try:
            self._engine.drive(job, stop=lambda: self._stopping)
        finally:
            with self._lock:
                self._running.pop(me, None)
        if not job.held and job.state in journal.OPEN:
            self._timer.at(job.run_at)

    # --- Keeper -----------------------------------------------------------------------------

    def _keep(self) -> None:
        renew_at = poll_at = 0.0
        while not self._stopping:
            now = time.monotonic()
            try:
                if now >= renew_at:
                    self._renew()
                    renew_at = now + self._lease_seconds / 3
                if now >= poll_at:
                    self._poll()
                    poll_at = now + self._poll_seconds
            except Exception:
                log.exception("the keeper of operations met an error")
                poll_at = now + self._poll_seconds
            if self._timer.wait(min(renew_at, poll_at) - time.monotonic()):
                self._bell.ring()

    def _renew(self) -> None:
        """Renew the leases of running jobs but those whose step hangs beyond its time: another
        worker shall unwind them; the thread that hangs is replaced."""
        now, grace = clock.now(), round(self._lease_seconds * 1e6)
        with self._lock:
            running = list(self._running.items())
        jobs = []
        for thread, (job, _) in running:
            if thread in self._given_up:
                continue
            if job.limit_at and now > job.limit_at + grace:
                log.warning(
                    "operation %s (%s) hangs in step %s: its lease is not renewed",
                    job.id,
                    job.kind,
                    job.step,
                )
                self._given_up.add(thread)
                if not self._stopping and self._started:
                    self._start_worker()
            else:
                jobs.append(job)
        self._ledger.renew(jobs)

    def _poll(self) -> None:
        due = self._ledger.earliest()
        if due is not None:
            self._timer.at(due)


class _Bell:
    """Wakes one sleeping worker per ring; rings are remembered, up to one for each worker."""

    def __init__(self, workers: int) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._rings = 0
        self._most = workers
        self._ended = False

    def ring(self) -> None:
        with self._condition:
            self._rings = min(self._rings + 1, self._most)
            self._condition.notify()

    def wait(self) -> None:
        with self._condition:
            while not self._rings and not self._ended:
                self._condition.wait()
            self._rings = max(0, self._rings - 1)

    def end(self) -> None:
        with self._condition:
            self._ended = True
            self._condition.notify_all()


class _Timer:
    """The earliest time (microseconds) at which something is due."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._due: int | None = None

    def at(self, due: int) -> None:
        with self._condition:
            if self._due is None or due < self._due:
                self._due = due
                self._condition.notify()

    def wait(self, at_most_seconds: float) -> bool:
        """Sleep until something is due (True) or the given time is over (False)."""
        until = time.monotonic() + at_most_seconds
        with self._condition:
            while True:
                if self._due is not None and self._due <= clock.now():
                    self._due = None
                    return True
                left = until - time.monotonic()
                if left <= 0:
                    return False
                if self._due is not None:
                    left = min(left, (self._due - clock.now()) / 1e6)
                self._condition.wait(max(left, 0.0005))
