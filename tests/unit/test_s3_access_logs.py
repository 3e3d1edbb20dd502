"""Lines of access logs on their way out of a process."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from nubelet.object_store.s3 import access_logs


def test_the_end_waits_for_lines_that_are_being_written(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end, written = threading.Event(), threading.Event(), list[str]()

    def write(cloud: Any, source: Any, lines: list[str]) -> None:
        begun.set()
        may_end.wait(10)
        written.extend(lines)

    monkeypatch.setattr(access_logs, "_write", write)
    settings = SimpleNamespace(object_store=SimpleNamespace(s3_log_seconds=0.0))
    cloud: Any = SimpleNamespace(settings=settings)
    source = access_logs._Source("a", "b", access_logs.Target(bucket="t"), "")
    collected = access_logs._Collected()
    monkeypatch.setattr(collected, "_work", lambda: None)
    collected.add(cloud, source, "line")
    early = threading.Thread(target=collected.deliver)
    early.start()
    assert begun.wait(10)
    threading.Timer(0.2, may_end.set).start()
    collected.deliver(at_once=True)
    assert written == ["line"]
    early.join()
