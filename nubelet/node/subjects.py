"""One lock per subject: calls for one guest wait for each other, calls for two run side by side."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from nubelet.node.errors import BUSY, HostError


class SubjectLocks:
    """Locks by key, made when first wanted and dropped with their last user."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    @contextlib.contextmanager
    def hold(self, subject: str, timeout_seconds: float) -> Iterator[None]:
        """Hold the subject's lock; `busy` when it does not come free in time."""
        lock = self._enter(subject)
        try:
            if not lock.acquire(timeout=timeout_seconds):
                raise HostError(
                    BUSY, f"Another call for {subject} still runs after {timeout_seconds:g} seconds"
                )
            try:
                yield
            finally:
                lock.release()
        finally:
            self._leave(subject)

    def _enter(self, subject: str) -> threading.Lock:
        with self._guard:
            lock, users = self._locks.get(subject, (None, 0))
            lock = lock or threading.Lock()
            self._locks[subject] = (lock, users + 1)
            return lock

    def _leave(self, subject: str) -> None:
        with self._guard:
            lock, users = self._locks[subject]
            if users == 1:
                del self._locks[subject]
            else:
                self._locks[subject] = (lock, users - 1)
