"""What happens to a claimed operation: the rules of DESIGN section 4, one method each.

    pending --> running --(all steps done)----------------> done
                  |  ^
     step failed, |  | RetryFrom: back at the named step
  deadline, stop  v  |
               unwinding --(first step undone)--> failed | cancelled

Unwinding begins with the failed step itself, because it may have half happened. Each step and
each undo is followed by one commit, after which it is never run again.

Read next: `ledger.py` (the writing down), `runner.py` (the threads around this).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from nubelet.decoding import prepared
from nubelet.kernel import clock, guards
from nubelet.kernel.context import ANONYMOUS, Credentials
from nubelet.kernel.log import bound
from nubelet.kernel.operations.journal import (
    CANCELLED,
    DONE,
    FAILED,
    PENDING,
    RUNNING,
    UNWINDING,
    merged,
)
from nubelet.kernel.operations.ledger import Job, Ledger
from nubelet.kernel.operations.run import Round, Run, storable
from nubelet.kernel.operations.steps import (
    UNDO_RETRY,
    LeaseLost,
    Operation,
    RetryFrom,
    Step,
    StepResult,
    Steps,
    Wait,
)

if TYPE_CHECKING:
    from nubelet.kernel.cloud import Cloud

log = logging.getLogger(__name__)

UNDO_LIMIT_SECONDS = 600.0
_BROKEN_DELAY_SECONDS = 30.0


class Engine:
    """Drives claimed operations. Holds nothing between two of them: all state is the job's."""

    def __init__(self, cloud: Cloud, operations: Iterable[Operation], ledger: Ledger) -> None:
        self.cloud = cloud
        self.operations = {operation.kind: operation for operation in operations}
        self.ledger = ledger

    def drive(self, job: Job, stop: Callable[[], bool] = lambda: False) -> None:
        """Run steps (or undos) until the operation ends, waits, is lost, or `stop()` holds."""
        with bound(operation_id=job.id, request_id=job.request_id), guards.node_calls_allowed():
            try:
                while job.held:
                    if stop():
                        self._let_go(job, 0.0)
                        break
                    self._advance(job)
            except LeaseLost as lost:
                job.lost = True
                log.info("%s", lost)

    # --- One turn ---------------------------------------------------------------------------

    def _advance(self, job: Job) -> None:
        operation = self.operations[job.kind]
        try:
            steps = operation.steps_for(job.inputs)
        except Exception as error:
            log.exception("operation %s (%s) has no steps for its inputs", job.id, job.kind)
            job.undo_error = f"its steps cannot be told from its inputs: {error}"
            self._let_go(job, _BROKEN_DELAY_SECONDS)
            return
        job.deadline = job.started_at + round(operation.deadline_seconds * 1e6)
        if job.state == PENDING:
            self._begin(job, operation, steps)
        if not job.held:
            return
        index = next((at for at, step in enumerate(steps) if step.name == job.step), None)
        if index is None:
            self._lost_its_place(job, steps)
        elif job.state == RUNNING:
            self._forward(job, operation, steps, index)
        else:
            self._backward(job, operation, steps, index)

    def _begin(self, job: Job, operation: Operation, steps: Steps) -> None:
        if job.stop_reason:
            job.error = job.stop_reason
            self._end_unwound(job, operation, None, None)
            return
        job.state, job.step, job.step_started_at = RUNNING, steps[0].name, job.started_at

    def _lost_its_place(self, job: Job, steps: Steps) -> None:
        """The present step is unknown to this release (the code changed): unwind from the last
        step. Undoing what never was does nothing."""
        reason = f"step {job.step} is not there any more"
        log.warning("operation %s (%s): %s", job.id, job.kind, reason)
        job.step = steps[-1].name
        if job.state == RUNNING:
            self._turn_round(job, reason, None)

    def _forward(self, job: Job, operation: Operation, steps: Steps, index: int) -> None:
        step, now = steps[index], clock.now()
        reason = job.stop_reason or _overdue(job, operation, step, now)
        if reason is not None:
            self._turn_round(job, reason, None)
            return
        run = self._run(job, step)
        run.deadline = job.limit_at = _step_deadline(job, step)
        row = {
            "name": step.name,
            "direction": "do",
            "attempt": job.attempt,
            "started_at": now,
            "trail": run.trail,
        }
        try:
            result = self._call(job, lambda: step.do(run))
            outputs = _outputs(step, result)
        except LeaseLost:
            raise
        except RetryFrom as order:
            self._retry_from(job, operation, steps, index, order, row)
        except Exception as error:
            self._step_failed(job, step, error, row, step.retry.is_transient(error))
        else:
            self._step_done(job, steps, index, result, outputs, row)

    def _step_done(
        self,
        job: Job,
        steps: Steps,
        index: int,
        result: StepResult,
        outputs: dict[str, Any],
        row: dict[str, Any],
    ) -> None:
        step, now = steps[index], clock.now()
        kept = job.outputs.get(step.name)
        if outputs:
            job.outputs = {**job.outputs, step.name: {**(kept or {}), **outputs}}
        if isinstance(result, Wait):
            run_at = min(now + round(result.seconds * 1e6), _step_deadline(job, step))
            self._save(job, row | {"state": "waiting"}, keep=False, run_at=run_at)
            return
        row = row | {"state": "done", "finished_at": now, "outputs": job.outputs.get(step.name)}
        job.tries, job.step_started_at, job.error = 0, now, None
        if index + 1 < len(steps):
            job.step = steps[index + 1].name
            self._save(job, row, keep=True)
        else:
            job.state, job.step = DONE, None
            self._save(job, row, keep=False, finished=True)

    def _step_failed(
        self, job: Job, step: Step, error: Exception, row: dict[str, Any], transient: bool = False
    ) -> None:
        reason, now = reason_of(error), clock.now()
        row = row | {"state": "failed", "finished_at": now, "error": reason}
        job.tries += 1
        limit = _step_deadline(job, step)
        if transient and job.tries < step.retry.attempts and now < limit:
            log.info("step %s will be tried again: %s", step.name, reason)
            job.error = reason
            delay = round(step.retry.delay_seconds(job.tries) * 1e6)
            self._save(job, row, keep=False, run_at=min(now + delay, limit))
            return
        _log_failure(job, step, error, reason)
        self._turn_round(job, reason, row)

    def _retry_from(
        self,
        job: Job,
        operation: Operation,
        steps: Steps,
        index: int,
        order: RetryFrom,
        row: dict[str, Any],
    ) -> None:
        earlier = [step.name for step in steps[: index + 1]]
        if order.step_name not in earlier:
            self._step_failed(
                job,
                steps[index],
                ValueError(f"RetryFrom names {order.step_name}, which is not an earlier step"),
                row,
            )
            return
        reason = storable(order.reason)
        row = row | {"state": "failed", "finished_at": clock.now(), "error": reason}
        if len(job.rounds) >= operation.max_rounds:
            before = "; ".join(entry["reason"] for entry in job.rounds)
            self._turn_round(job, f"{reason} (earlier: {before})" if before else reason, row)
            return
        job.rounds = [
            *job.rounds,
            {"step": order.step_name, "reason": reason, "outputs": merged(job.outputs)},
        ]
        job.resume_at = order.step_name
        self._turn_round(job, reason, row)

    def _turn_round(self, job: Job, reason: str, row: dict[str, Any] | None) -> None:
        """Begin to unwind at the present step. The attempt grows, so that a call that is still
        under way on a node cannot be done after its undo."""
        if row is None and job.waits:
            row = {
                "name": job.step,
                "direction": "do",
                "attempt": job.attempt,
                "trail": [],
                "state": "failed",
                "finished_at": clock.now(),
                "error": reason,
            }
        job.state, job.error, job.tries = UNWINDING, reason, 0
        self._save(job, row, keep=True, next_attempt=True)

    # --- Backward ---------------------------------------------------------------------------

    def _backward(self, job: Job, operation: Operation, steps: Steps, index: int) -> None:
        if job.resume_at and (job.stop_reason or clock.now() >= job.deadline):
            job.resume_at = None  # no further round: back to the begin
            job.error = job.stop_reason or job.error
        step, row = steps[index], None
        if step.undo is not None:
            run = self._run(job, step)
            now = clock.now()
            limit = step.timeout_seconds or UNDO_LIMIT_SECONDS
            run.deadline = job.limit_at = now + round(limit * 1e6)
            row = {
                "name": step.name,
                "direction": "undo",
                "attempt": job.attempt,
                "started_at": now,
                "trail": run.trail,
            }
            undo = step.undo
            try:
                self._call(job, lambda: undo(run))
            except LeaseLost:
                raise
            except Exception as error:
                self._undo_failed(job, operation, run, step, error, row)
                return
            row |= {"state": "done", "finished_at": clock.now()}
        self._undone(job, operation, steps, index, row)

    def _undone(
        self, job: Job, operation: Operation, steps: Steps, index: int, row: dict[str, Any] | None
    ) -> None:
        step = steps[index]
        job.outputs = {name: value for name, value in job.outputs.items() if name != step.name}
        job.tries, job.undo_error = 0, None
        if job.resume_at == step.name:
            job.state, job.resume_at, job.step_started_at = RUNNING, None, clock.now()
            self._save(job, row, keep=True, next_attempt=True)
        elif index > 0:
            job.step = steps[index - 1].name
            if row is None:
                return  # nothing was done: the next undo's commit says it too
            self._save(job, row, keep=True)
        else:
            self._end_unwound(job, operation, step, row)

    def _undo_failed(
        self,
        job: Job,
        operation: Operation,
        run: Run,
        step: Step,
        error: Exception,
        row: dict[str, Any],
    ) -> None:
        """An undo is never given up: it is repeated, ever more slowly, and says why. Whoever
        waits for the subject learns of the failure now instead of after the unwinding."""
        job.tries += 1
        job.undo_error = f"undo of {step.name}: {reason_of(error)}"
        _log_failure(job, step, error, job.undo_error)
        if job.resume_at is None and not job.told:
            job.told = self._tell(job, operation, run) is None
        self._let_go(
            job,
            UNDO_RETRY.delay_seconds(job.tries),
            row | {"state": "failed", "finished_at": clock.now(), "error": reason_of(error)},
        )

    def _end_unwound(
        self, job: Job, operation: Operation, step: Step | None, row: dict[str, Any] | None
    ) -> None:
        # Also when it was told before: the undos since then may have written over it.
        failure = self._tell(job, operation, self._run(job, step))
        if failure is not None:
            job.tries += 1
            job.undo_error = failure
            self._let_go(job, UNDO_RETRY.delay_seconds(job.tries), row)
            return
        stopped = job.stop_reason is not None and job.error == job.stop_reason
        job.state, job.step = CANCELLED if stopped else FAILED, None
        self._save(job, row, keep=False, finished=True)

    def _tell(self, job: Job, operation: Operation, run: Run) -> str | None:
        """Call on_failed, unless a preempting operation owns the subject now. Returns why it
        did not succeed, or None."""
        tell = operation.on_failed
        if tell is None or job.superseded_by:
            return None
        try:
            self._call(job, lambda: tell(run, job.error or "unknown"))
        except LeaseLost:
            raise
        except Exception as error:
            log.exception("on_failed of operation %s (%s) failed", job.id, job.kind)
            return f"on_failed: {reason_of(error)}"
        return None

    # --- Tools ------------------------------------------------------------------------------

    def _call(self, job: Job, action: Any) -> Any:
        """Call a step; none of its transactions commits after the lease was lost."""
        attempt = job.attempt
        with guards.write_fence(lambda tx: self.ledger.check(tx, job, attempt)):
            return action()

    def _run(self, job: Job, step: Step | None) -> Run:
        return Run(
            cloud=self.cloud,
            operation_id=job.id,
            kind=job.kind,
            project_id=job.project_id,
            subject_type=job.subject_type,
            subject_id=job.subject_id,
            inputs=job.inputs,
            outputs=merged(job.outputs),
            attempt=job.attempt,
            tries=job.tries,
            step=step.name if step else "",
            unwinding=job.state == UNWINDING,
            request_id=job.request_id,
            global_request_id=job.global_request_id,
            user_id=job.user_id,
            parent_id=job.parent_id,
            error=job.error or "",
            credentials=(
                msgspec.convert(job.credentials, prepared(Credentials))
                if job.credentials
                else ANONYMOUS
            ),
            retried=tuple(Round(**entry) for entry in job.rounds),
            job=job,
        )

    def _let_go(self, job: Job, delay_seconds: float, row: dict[str, Any] | None = None) -> None:
        self._save(job, row, keep=False, run_at=clock.now() + round(delay_seconds * 1e6))

    def _save(
        self,
        job: Job,
        row: dict[str, Any] | None,
        *,
        keep: bool,
        run_at: int | None = None,
        finished: bool = False,
        next_attempt: bool = False,
    ) -> None:
        old_attempt = job.attempt
        if next_attempt:
            job.attempt += 1
        if row is not None and not job.waits:
            job.runs += 1
        self.ledger.save(
            job, step_row=row, old_attempt=old_attempt, keep=keep, run_at=run_at, finished=finished
        )


def reason_of(error: BaseException) -> str:
    """An error in words for a user."""
    message, text = getattr(error, "message", None), str(error)
    if isinstance(message, str) and message:
        text = message
    elif not isinstance(error, OSError) or not text:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return storable(text)


def _title(operation: Operation) -> str:
    return operation.title or operation.kind


def _overdue(job: Job, operation: Operation, step: Step, now: int) -> str | None:
    """Why there is no time left to do (or repeat) this step; None while there is."""
    if now >= job.deadline:
        reason = f"{_title(operation)} was not done within {operation.deadline_seconds:g} s"
    elif now >= _step_deadline(job, step):
        reason = f"{step.name} did not finish within {step.timeout_seconds:g} s"
    else:
        return None
    return f"{reason}; last error: {job.error}" if job.error else reason


def _step_deadline(job: Job, step: Step) -> int:
    if step.timeout_seconds is None:
        return job.deadline
    begun = job.step_started_at or clock.now()
    return min(job.deadline, begun + round(step.timeout_seconds * 1e6))


def _outputs(step: Step, result: StepResult) -> dict[str, Any]:
    """The outputs as they will come back from the journal."""
    given = result.outputs if isinstance(result, Wait) else result
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(
            f"step {step.name} returned {type(given).__name__}, not a dict, Wait or None"
        )
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(given))
    return plain


def _log_failure(job: Job, step: Step, error: Exception, reason: str) -> None:
    expected = isinstance(getattr(error, "message", None), str) or isinstance(error, OSError)
    log.warning(
        "operation %s (%s), step %s: %s",
        job.id,
        job.kind,
        step.name,
        reason,
        exc_info=None if expected else error,
    )
