"""Runs the daemons of a node: each in a thread of its own, one pass after the other.

A pass that fails is logged and made again; the figures of the last one are told to whoever asks
(`nubelet object recon`).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from nubelet.object_store.cluster.daemons import (
    auditor,
    listing_replicator,
    object_replicator,
    reaper,
    reconstructor,
    sharder,
    updater,
)
from nubelet.object_store.cluster.node import Node

log = logging.getLogger(__name__)
# What wakes a daemon comes in crowds.
_GATHER_SECONDS = 0.1
Figures = dict[str, float]


class Daemon(NamedTuple):
    """A name, how often a pass begins (seconds), and a pass, which returns its figures. `wake`
    begins one at once."""

    name: str
    seconds: float
    run: Callable[[Node], Figures]
    wake: threading.Event


def daemons(node: Node) -> list[Daemon]:
    """All daemons of a node."""
    timing = node.cluster.timing
    return [
        Daemon("object-replicator", timing.pass_seconds, object_replicator.run, threading.Event()),
        Daemon(
            "listing-replicator", timing.pass_seconds, listing_replicator.run, threading.Event()
        ),
        Daemon("updater", timing.update_pass_seconds, updater.run, threading.Event()),
        Daemon("account-updater", timing.update_pass_seconds, updater.report, node.news),
        Daemon("auditor", timing.audit_pass_seconds, auditor.run, threading.Event()),
        Daemon("reconstructor", timing.pass_seconds, reconstructor.run, threading.Event()),
        Daemon("sharder", timing.pass_seconds, sharder.run, threading.Event()),
        Daemon("reaper", timing.pass_seconds, reaper.run, threading.Event()),
    ]


class Supervisor:
    """Runs daemons until it is stopped."""

    def __init__(self, node: Node, names: frozenset[str] = frozenset()) -> None:
        """`names`: of the daemons to run; all when empty. Raises ValueError."""
        self._node = node
        known = daemons(node)
        unknown = names - {daemon.name for daemon in known}
        if unknown:
            raise ValueError(f"there is no daemon {', '.join(sorted(unknown))}")
        self._daemons = [daemon for daemon in known if not names or daemon.name in names]
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin."""
        for daemon in self._daemons:
            thread = threading.Thread(
                target=self._repeat, args=(daemon,), name=daemon.name, daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def once(self) -> bool:
        """One pass of each, here and now; whether all went well and nothing was found damaged."""
        results = [self._pass(daemon) for daemon in self._daemons]
        return all(results)

    def stop(self) -> None:
        """End; a pass under way is left where it is."""
        self._ended.set()
        for daemon in self._daemons:
            daemon.wake.set()
        for thread in self._threads:
            thread.join(1.0)

    def _repeat(self, daemon: Daemon) -> None:
        # The nodes of a cluster that start together shall not all work at once.
        wait = random.uniform(0, daemon.seconds)  # noqa: S311
        while not self._ended.is_set():
            if daemon.wake.wait(wait):
                daemon.wake.clear()
                self._ended.wait(_GATHER_SECONDS)
            if self._ended.is_set():
                return
            began = time.monotonic()
            self._pass(daemon)
            took = time.monotonic() - began
            # Also where passes take longer than they should, half of the time is for the users.
            wait = max(0.1, daemon.seconds - took, took)

    def _pass(self, daemon: Daemon) -> bool:
        began = time.time()
        try:
            figures = daemon.run(self._node)
        except Exception:
            log.exception("%s failed", daemon.name)
            return False
        self._node.passes[daemon.name] = {
            "began": began,
            "seconds": time.time() - began,
            **figures,
        }
        return not figures.get("damaged")
