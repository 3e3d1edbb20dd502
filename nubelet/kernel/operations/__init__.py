"""Durable operations: intent is written in one transaction, then made real step by step.

Read `README.md` first, then `steps.py`, `journal.py`, `engine.py`, `runner.py`.
"""

from nubelet.kernel.operations.journal import (
    OPEN,
    Record,
    StepRecord,
    cancel,
    find,
    open_subjects,
    start,
    steps_of,
    wake,
)
from nubelet.kernel.operations.run import Round, Run
from nubelet.kernel.operations.steps import (
    NO_RETRY,
    LeaseLost,
    Operation,
    Retry,
    RetryFrom,
    Step,
    StepResult,
    Wait,
)

__all__ = [
    "NO_RETRY",
    "OPEN",
    "LeaseLost",
    "Operation",
    "Record",
    "Retry",
    "RetryFrom",
    "Round",
    "Run",
    "Step",
    "StepRecord",
    "StepResult",
    "Wait",
    "cancel",
    "find",
    "open_subjects",
    "start",
    "steps_of",
    "wake",
]
