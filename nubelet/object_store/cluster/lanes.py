"""Calls to many devices, each device's in a lane of its own: one that is down, or slow, keeps
nobody else waiting."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nubelet.object_store.cluster.messages import Peer

log = logging.getLogger(__name__)
# What waits in a lane is held in memory; what finds it full is left to a later pass.
_MOST = 2000
Call = Callable[[], object]


class Lanes:
    """Of a daemon, for all its passes, one after the other. A device has one call at a time: what
    is under way when a pass ends goes on, and the next pass comes after it."""

    def __init__(self) -> None:
        # Those that have a thread, which ends when nothing waits for it.
        self._lanes: dict[Peer, deque[Call]] = {}
        self._news = threading.Condition()
        self._is_open = self._is_closed = False

    def add(self, peer: Peer, call: Call) -> None:
        """Make a call in this pass, after those to the same device that were added before. It may
        add others. It is left to a later pass when too many wait, or no pass is under way."""
        with self._news:
            if not self._is_open or self._is_closed:
                return
            lane = self._lanes.get(peer)
            if lane is None:
                lane = deque[Call]()
                threading.Thread(
                    target=self._work, args=(peer, lane), name=f"lane {peer}", daemon=True
                ).start()
                self._lanes[peer] = lane
            if len(lane) < _MOST:
                lane.append(call)

    @contextmanager
    def one_pass(self, seconds: float) -> Iterator[None]:
        """Calls are added inside. It ends when all were made, or so many seconds after the last was
        added; those that have not begun by then are forgotten."""
        self._is_open = True
        try:
            yield
            with self._news:
                self._news.wait_for(lambda: not self._lanes or self._is_closed, seconds)
        finally:
            with self._news:
                self._is_open = False
                self._forget()

    def close(self) -> None:
        """End a pass that is under way; from now on no call begins."""
        with self._news:
            self._is_closed = True
            self._forget()
            self._news.notify_all()

    def _forget(self) -> None:
        for lane in self._lanes.values():
            lane.clear()

    def _work(self, peer: Peer, lane: deque[Call]) -> None:
        while True:
            with self._news:
                if not lane:
                    del self._lanes[peer]
                    self._news.notify_all()
                    return
                call = lane.popleft()
            try:
                call()
            except Exception:
                log.exception("a call to %s failed", peer)
