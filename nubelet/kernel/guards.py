"""What the calling thread may do now: two laws of the house, asserted at run time.

No node call inside a database transaction, and none from an API handler: only threads that run
an operation or a reconciler (or say why by `node_calls_allowed`) may call a node. A worker that
lost its lease may not write: `write_fence` makes every transaction of a step check that first.

This module imports nothing of the house, so that the bus and the node can use it without the
database. Read next: `database.py` (sets the mark), `bus.py` (asks), `operations/runner.py`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any


class _Thread(threading.local):
    transaction: Any = None
    may_call_nodes: bool = False
    write_fence: Callable[[Any], None] | None = None


thread = _Thread()


class LawBroken(RuntimeError):  # noqa: N818 - says what happened
    """A call was made where the design forbids it: a defect of the caller, never of the user."""


def in_transaction() -> bool:
    """True while the calling thread holds a database transaction."""
    return thread.transaction is not None


@contextlib.contextmanager
def node_calls_allowed() -> Iterator[None]:
    """The calling thread may call nodes inside this block.

    Runner and reconcilers do this themselves. Elsewhere it is right only around `observe_*` and
    `read_*` calls, which change nothing (a console log, for example).
    """
    before = thread.may_call_nodes
    thread.may_call_nodes = True
    try:
        yield
    finally:
        thread.may_call_nodes = before


@contextlib.contextmanager
def write_fence(check: Callable[[Any], None]) -> Iterator[None]:
    """Every write transaction that this thread begins inside the block first calls `check(tx)`,
    which raises when the thread has no right to write any more."""
    before = thread.write_fence
    thread.write_fence = check
    try:
        yield
    finally:
        thread.write_fence = before


def check_call(target: str) -> None:
    """Raise `LawBroken` unless the calling thread may send a call to `target` now."""
    if thread.transaction is not None:
        raise LawBroken(f"a call to {target} inside a database transaction: end it first")
    if target.startswith("node.") and not thread.may_call_nodes:
        raise LawBroken(
            f"a call to {target} from a thread that runs neither an operation nor a reconciler; "
            "for observe_* and read_* calls use nubelet.kernel.guards.node_calls_allowed()"
        )
