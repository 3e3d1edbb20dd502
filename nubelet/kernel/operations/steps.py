"""What an operation is made of: steps, and how a step says what came of it.

A step is a plain function `do(run)`. It returns its outputs (a dict) or nothing: done; or
`Wait(seconds)`: call me again later; or raises: it failed, and everything is unwound, beginning
with this step itself. `do` and `undo` may be called again after a crash, hence both do nothing
the second time, and `undo` also copes with a `do` that never or only half happened.

Read next: `run.py` (what a step gets), `journal.py` (where it is kept), `runner.py`, `README.md`.

In OpenStack: TaskFlow tasks in Cinder and Octavia, and the long methods of nova/compute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nubelet.kernel.bus import NodeUnreachable
from nubelet.kernel.database import TransactionRetry

if TYPE_CHECKING:
    from nubelet.kernel.operations.run import Run


@dataclass(frozen=True)
class Wait:
    """Returned by a step: call the same step again after `seconds`, or sooner when `journal.wake`
    says that something happened. `outputs` are kept for that next call. A worker is free in the
    meantime."""

    seconds: float
    outputs: Mapping[str, Any] | None = None


StepResult = Mapping[str, Any] | Wait | None


class RetryFrom(Exception):  # noqa: N818 - an order, not an error
    """Raised by a step: unwind back to the named earlier step (or this one) and do it again.

    What was found wrong is kept: `run.retried` lists reason and outputs of each round, so that
    `choose_host` can leave out the hosts that refused. At most `Operation.max_rounds` rounds,
    then the operation fails with all reasons.
    """

    def __init__(self, step_name: str, reason: str) -> None:
        super().__init__(reason)
        self.step_name = step_name
        self.reason = reason


class LeaseLost(Exception):  # noqa: N818 - a state
    """Another worker has taken this operation over: whatever this one does counts no more."""


@dataclass(frozen=True)
class Retry:
    """When to try a step again by itself.

    Only transient errors are tried again: an unreachable node, a transaction that lost a
    conflict, the types in `transient`, and errors with an attribute `transient = True`. All
    others fail the step at once.
    """

    attempts: int = 5
    first_delay_seconds: float = 0.2
    factor: float = 2.0
    max_delay_seconds: float = 30.0
    transient: tuple[type[Exception], ...] = ()

    def delay_seconds(self, tried: int) -> float:
        """How long to wait after the `tried`-th failure (1, 2, ...)."""
        exponent = min(max(tried - 1, 0), 64)
        return min(self.first_delay_seconds * self.factor**exponent, self.max_delay_seconds)

    def is_transient(self, error: Exception) -> bool:
        """May trying again help?"""
        if isinstance(error, (NodeUnreachable, TransactionRetry, *self.transient)):
            return True
        return (
            bool(getattr(error, "transient", False))
            or getattr(error, "code", None) == "unreachable"
            or bool(getattr(error, "connection_invalidated", False))
        )


NO_RETRY = Retry(attempts=1)
# Undoing is never given up: this one's `attempts` is not looked at.
UNDO_RETRY = Retry(first_delay_seconds=0.2, max_delay_seconds=60.0)


@dataclass(frozen=True)
class Step:
    """One named step.

    do: see above. undo: takes back whatever `do` may have done; None needs `why_no_undo`.
    timeout_seconds: how long the step may take in all, its waits and retries included; None
    leaves only the deadline of the operation. A `do` that hangs longer loses its lease, and
    another worker unwinds; for an undo that hangs the limit is this too, or 600 s.
    """

    name: str
    do: Callable[[Run], StepResult]
    undo: Callable[[Run], None] | None = None
    why_no_undo: str = ""
    retry: Retry = Retry()
    timeout_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.undo is None and not self.why_no_undo:
            raise ValueError(f"step {self.name} has no undo and does not say why (why_no_undo)")


Steps = tuple[Step, ...]


@dataclass(frozen=True)
class Operation:
    """A kind of operation: its steps in order, and what its failure means.

    kind: unique and stable (`create_server`), it is stored. steps: or a function of the inputs
    that returns them (always the same for the same inputs). deadline_seconds: after that the
    operation is unwound. on_failed(run, reason): marks the subject ERROR with the fault, in one
    transaction; called when all is unwound, and also as soon as an undo must be repeated.
    preempts: asks running earlier operations of the same subject to stop at their next step and
    unwind, so that a delete need not wait for a create. Operations that preempt are not
    preempted themselves. max_rounds: how often `RetryFrom` is granted. long: its steps may hold a
    worker for minutes or hours, as long as a stranger's server likes; of the workers of a process
    at most half drive such operations, and a quarter those of one project; what has begun
    goes on, and what was stopped ends, whatever the others do.
    """

    kind: str
    steps: Steps | Callable[[Mapping[str, Any]], Steps]
    deadline_seconds: float
    on_failed: Callable[[Run, str], None] | None = None
    title: str = ""
    preempts: bool = False
    max_rounds: int = 3
    long: bool = False

    def __post_init__(self) -> None:
        if not callable(self.steps):
            _check_names(self.kind, self.steps)

    def steps_for(self, inputs: Mapping[str, Any]) -> Steps:
        """The steps that these inputs ask for."""
        if not callable(self.steps):
            return self.steps
        steps = self.steps(inputs)
        _check_names(self.kind, steps)
        return steps


def _check_names(kind: str, steps: Steps) -> None:
    names = [step.name for step in steps]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"operation {kind}: steps must have names of their own: {names}")
