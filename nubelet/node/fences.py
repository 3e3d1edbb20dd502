"""Fencing: an older attempt of an operation is refused.

A worker that slept through its lease may wake up after its successor undid the work. Its node
calls carry the older attempt number, and the node says no. The highest attempt seen of each
operation is kept in bounded memory and appended to a file, so that it survives a kill of the
node process (not a loss of power: after that no call of the old worker is under way here).

Read next: `agent.py`; DESIGN section 4 is why operations have attempts.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO

from nubelet.node.errors import FENCED, HostError
from nubelet.node.files import write_whole
from nubelet.node.wire import Fence


class Fences:
    """The highest attempt seen per operation; the oldest operations are forgotten first."""

    def __init__(self, path: Path, keep: int = 20_000) -> None:
        self._path = path
        self._keep = keep
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._lines = 0
        self._file: BinaryIO | None = None
        self._load()

    def check(self, fence: Fence) -> None:
        """Remember this attempt, or refuse it as older than one seen (`fenced`)."""
        with self._lock:
            seen = self._seen.get(fence.operation_id)
            if seen is not None and fence.attempt < seen:
                raise HostError(
                    FENCED,
                    f"Attempt {fence.attempt} of operation {fence.operation_id} is out of date: "
                    f"attempt {seen} has begun",
                )
            if seen != fence.attempt:
                self._remember(fence.operation_id, fence.attempt)

    def close(self) -> None:
        """Close the file."""
        with self._lock, contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
                self._file = None

    def _remember(self, operation_id: str, attempt: int) -> None:
        self._seen[operation_id] = attempt
        self._seen.move_to_end(operation_id)
        if len(self._seen) > self._keep:
            self._seen.popitem(last=False)
        if self._lines > 2 * self._keep:
            self._rewrite()
            return
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        self._file.write(f"{operation_id} {attempt}\n".encode())
        self._lines += 1

    def _rewrite(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        lines = [f"{operation} {attempt}\n" for operation, attempt in self._seen.items()]
        write_whole(self._path, "".join(lines).encode())
        self._lines = len(lines)

    def _load(self) -> None:
        try:
            text = self._path.read_text(errors="replace")
        except FileNotFoundError:
            return
        for line in text.splitlines():
            operation, _, attempt = line.rpartition(" ")
            if operation and attempt.isdigit():  # the last line may be torn
                self._seen[operation] = max(int(attempt), self._seen.get(operation, 0))
                self._seen.move_to_end(operation)
        while len(self._seen) > self._keep:
            self._seen.popitem(last=False)
        self._rewrite()
