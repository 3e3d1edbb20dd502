"""What was really done on the host during one call: every command and hypervisor call.

The agent opens a trail for each call it serves; `commands.run` and the drivers add to it, and it
goes back to the control plane with the answer, so that `nubelet explain` can show one causal
chain from the request down to the host. Outside of a call nothing is recorded.

Read next: `commands.py`, `agent.py`.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator

from nubelet.node.wire import TrailEntry

MAX_ENTRIES = 500  # a call that does more says so in its last entry instead of filling the bus
MAX_RESULT_CHARS = 8000  # a guest's definition fits

_entries: contextvars.ContextVar[list[TrailEntry] | None] = contextvars.ContextVar(
    "node_trail", default=None
)


@contextlib.contextmanager
def recording() -> Iterator[list[TrailEntry]]:
    """Open a trail for the current thread (and for contexts copied from it)."""
    entries: list[TrailEntry] = []
    token = _entries.set(entries)
    try:
        yield entries
    finally:
        _entries.reset(token)


def record(
    kind: str, what: str, result: str, *, ok: bool, started_at: float, duration_seconds: float
) -> None:
    """Add one thing that was done. `started_at` is seconds since the epoch."""
    entries = _entries.get()
    if entries is None or len(entries) > MAX_ENTRIES:
        return
    if len(entries) == MAX_ENTRIES:
        kind, what, result = "note", "the trail was cut here", f"more than {MAX_ENTRIES} entries"
    entries.append(
        TrailEntry(
            kind=kind,
            what=what,
            result=result[:MAX_RESULT_CHARS],
            ok=ok,
            started_at=int(started_at * 1_000_000),
            duration_seconds=round(duration_seconds, 6),
        )
    )


class Step:
    """The entry that `step` is going to write; set `result` to say what came of it."""

    def __init__(self) -> None:
        self.result = "ok"


@contextlib.contextmanager
def step(kind: str, what: str) -> Iterator[Step]:
    """Record a piece of work with its duration; an exception becomes its result and goes on."""
    started_at, started = time.time(), time.perf_counter()
    entry = Step()
    ok = False
    try:
        yield entry
        ok = True
    except BaseException as error:
        entry.result = str(error) or type(error).__name__
        raise
    finally:
        duration = time.perf_counter() - started
        record(kind, what, entry.result, ok=ok, started_at=started_at, duration_seconds=duration)


def note(what: str, text: str) -> None:
    """Record a text that belongs to what was done, such as a guest's definition."""
    record("note", what, text, ok=True, started_at=time.time(), duration_seconds=0)
