"""The daemons of a storage node: one pass after the other."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from nubelet.object_store.cluster.daemons import supervisor
from nubelet.object_store.cluster.daemons.supervisor import Daemon, Supervisor


def test_after_a_long_pass_comes_a_rest_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[tuple[float, float]] = []
    enough = threading.Event()

    def run(node: object) -> dict[str, float]:
        began = time.monotonic()
        time.sleep(0.3)
        passes.append((began, time.monotonic()))
        if len(passes) == 3:
            enough.set()
        return {}

    class Node:
        passes: dict[str, dict[str, float]] = {}

    daemon = Daemon("slow", 0.01, run, threading.Event())
    monkeypatch.setattr(supervisor, "daemons", lambda node: [daemon])
    made = Supervisor(Node())  # type: ignore[arg-type]
    made.start()
    try:
        assert enough.wait(60)
    finally:
        made.stop()
    for (_, ended), (began, _) in itertools.pairwise(passes):
        assert began - ended >= 0.29
