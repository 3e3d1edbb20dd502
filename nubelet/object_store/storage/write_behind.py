"""Hash and write a large body while the next piece of it is received.

A thread hashes the pieces and another one writes them, and brings them to the disk as it goes, so
that the fsync at the end has little left to do. Without them a large PUT takes as long as
receiving, hashing, writing and syncing one after the other; with them, as long as the slowest of
them, which is MD5.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

AFTER_BYTES = 8 << 20  # what is smaller is sooner done than threads are started
_PIECES = 8  # that may wait to be worked on: memory is bounded
# A sync shall be over before so many pieces have come: else nothing is hashed meanwhile.
_SYNC_BYTES = 16 << 20


class Behind:
    """Gives pieces to a function, in the order in which they come, in a thread of its own."""

    def __init__(self, work: Callable[[bytes], None]) -> None:
        """`work` may raise OSError: it is not called again then."""
        self._work = work
        self._pieces: queue.Queue[bytes | None] = queue.Queue(_PIECES)
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="write-behind")
        self._thread.start()

    def put(self, piece: bytes) -> None:
        """Have a piece worked on, soon; raises the OSError of an earlier one."""
        if self._error is not None:
            raise self._error
        self._pieces.put(piece)

    def finish(self) -> None:
        """Wait until all pieces are worked on; raises the OSError of a piece."""
        self.stop()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the thread. May be called again."""
        if self._thread.is_alive():
            self._pieces.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            if self._error is not None:
                continue  # whoever gives pieces must not wait for a place in the queue
            try:
                self._work(piece)
            except OSError as error:
                self._error = error


def appending(descriptor: int) -> Callable[[bytes], None]:
    """Appends pieces to a file, most of which is durable before the last one comes."""
    unsynced = 0

    def append(piece: bytes) -> None:
        nonlocal unsynced
        write_all(descriptor, piece)
        unsynced += len(piece)
        if unsynced >= _SYNC_BYTES:
            os.fdatasync(descriptor)
            unsynced = 0

    return append


def write_all(descriptor: int, piece: bytes) -> None:
    """Append all of a piece."""
    written = os.write(descriptor, piece)
    while written < len(piece):
        written += os.write(descriptor, memoryview(piece)[written:])
