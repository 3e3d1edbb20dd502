"""Versions of objects that proxies have opened and not begun to read.

A proxy opens an object (what is it, how large) and reads it by a second call, or a third where
another replica breaks off. Who replaces the object between the two must not take it from the
reader, who was told a length and an ETag already: the file stays open for a moment, and so stays
readable after it has lost its name.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from nubelet.object_store.storage.objects import Opened
from nubelet.object_store.storage.timestamps import Timestamp

SECONDS = 5.0
MOST = 128  # open files of a node


class Version(NamedTuple):
    """One version of an object on one device."""

    device: str
    policy: int
    place: str
    timestamp: Timestamp


class HeldObjects:
    """Opened objects, each for `seconds`, the last `most` of them."""

    def __init__(
        self,
        seconds: float = SECONDS,
        most: int = MOST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._most, self._clock = seconds, most, clock
        self._lock = threading.Lock()
        self._held: OrderedDict[Version, tuple[float, Opened]] = OrderedDict()
        self._timer: threading.Timer | None = None

    def hold(self, version: Version, opened: Opened) -> None:
        """Keep it open. It is closed when nobody has it any more: here, or as a reader."""
        with self._lock:
            self._held.pop(version, None)
            self._held[version] = self._clock() + self._seconds, opened
            if len(self._held) > self._most:
                self._held.popitem(last=False)
            self._wait()

    def find(self, version: Version) -> Opened | None:
        """The opened object, when it is held."""
        with self._lock:
            _, opened = self._held.get(version, (0.0, None))
            return opened

    def let_go(self) -> None:
        """Give up those whose time is over: a deleted object takes up its room until then."""
        with self._lock:
            self._timer = None
            now = self._clock()
            while self._held and next(iter(self._held.values()))[0] <= now:
                self._held.popitem(last=False)
            self._wait()

    def _wait(self) -> None:
        if self._timer is None and self._held:
            self._timer = threading.Timer(self._seconds, self.let_go)
            self._timer.daemon = True
            self._timer.start()
