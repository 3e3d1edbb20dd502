"""Calls to many nodes, each node's in a lane of its own: one that is down, or slow, keeps nobody
else waiting."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from nubelet.object_store.cluster.client import Address

log = logging.getLogger(__name__)
# What waits in a lane is held in memory; what finds it full is left for another time.
_MOST = 2000
Call = Callable[[], object]


class Lanes:
    """Of one pass of a daemon."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: how long `finish` waits."""
        self._seconds = seconds
        self._lanes: dict[Address, SimpleQueue[Call | None]] = {}
        self._left = 0
        self._news = threading.Condition()
        self._is_over = False

    def add(self, address: Address, call: Call) -> None:
        """Make a call soon, after those to the same node that were added before. It may add
        others. It is never made when too many wait for the node, or the pass ends before."""
        with self._news:
            lane = self._lanes.get(address)
            if lane is None:
                lane = self._lanes[address] = SimpleQueue()
                threading.Thread(target=self._work, args=(lane,), daemon=True).start()
            if lane.qsize() < _MOST and not self._is_over:
                self._left += 1
                lane.put(call)

    def finish(self) -> None:
        """Until all calls were made, or time is up: then no other one begins. Those that are under
        way by then go on."""
        with self._news:
            self._news.wait_for(lambda: not self._left, self._seconds)
            self._is_over = True
            for lane in self._lanes.values():
                lane.put(None)

    def _work(self, lane: SimpleQueue[Call | None]) -> None:
        while (call := lane.get()) is not None and not self._is_over:
            try:
                call()
            except Exception:
                log.exception("a call to another node failed")
            with self._news:
                self._left -= 1
                self._news.notify_all()
