"""Doorbells: "something changed, look now". They carry no facts and may be lost.

A transaction rings a bell by `tx.ring(topic)`; the bell sounds after the commit. Who listens
(the runner of operations, reconcilers, event readers) looks into the database, which is the
truth, and also looks every now and then by itself.

Read next: `database.py`, `operations/runner.py`, `bus.py`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nubelet.kernel.bus import Bus

log = logging.getLogger(__name__)

_BUS_TOPIC = "bells"


class Bells:
    """The doorbells of one database in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, tuple[Callable[[], None], ...]] = {}
        self._carry: Callable[[str], None] | None = None

    def listen(self, topic: str, action: Callable[[], None]) -> Callable[[], None]:
        """Call `action` (quick, never blocking) at each ring; returns what ends it."""
        with self._lock:
            self._listeners[topic] = (*self._listeners.get(topic, ()), action)

        def stop() -> None:
            with self._lock:
                left = tuple(
                    other for other in self._listeners.get(topic, ()) if other is not action
                )
                self._listeners[topic] = left

        return stop

    def ring(self, topic: str) -> None:
        """Ring here and, where a bus joins several processes, in all of them."""
        self.ring_here(topic)
        if self._carry is not None:
            self._carry(topic)

    def ring_here(self, topic: str) -> None:
        """Ring in this process only."""
        for action in self._listeners.get(topic, ()):
            try:
                action()
            except Exception:
                log.exception("a listener of bell %s failed", topic)

    def carry_over(self, bus: Bus) -> Callable[[], None]:
        """Join the bells of all processes on this bus; returns what ends it.

        A bus that is down makes wake-ups slower (by polling), never lost.
        """
        from nubelet.kernel.bus import Threads

        # In a thread of its own: who rings has just committed and must not wait for a broker.
        thread, waiting = Threads("bells", 1), set[str]()

        def carry(topic: str) -> None:
            with self._lock:
                if topic in waiting:
                    return  # one ring that is still to be sent says it for both
                waiting.add(topic)
            thread.submit(lambda: send(topic))

        def send(topic: str) -> None:
            with self._lock:
                waiting.discard(topic)
            try:
                bus.fanout(_BUS_TOPIC, topic.encode())
            except OSError as error:
                log.debug("bell %s was not carried: %s", topic, error)

        stop = bus.subscribe(_BUS_TOPIC, lambda body: self.ring_here(body.decode()))
        self._carry = carry

        def end() -> None:
            self._carry = None
            stop()

        return end
