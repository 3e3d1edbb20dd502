"""Two proxies that remember together in memcached, and what is left when it is not there."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nubelet.object_store.remembering import Limits, Memory, RememberingStorage, _name
from nubelet.object_store.storage import Missing, Policies, Policy, timestamps
from nubelet.object_store.storage.local import LocalStorage
from tests.object_cluster import eventually
from tests.serving import free_port

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(shutil.which("memcached") is None, reason="needs memcached"),
]


# Of a machine that has too much to do.
_PATIENT = Limits(connect_seconds=60, answer_seconds=60)


class _Counted(LocalStorage):
    """Says how often it was asked for a container."""

    asked = 0

    def container(self, *words: Any, **options: Any) -> Any:
        self.asked += 1
        return super().container(*words, **options)


class _Server:
    def __init__(self) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        words = ["memcached", "-l", "127.0.0.1", "-p", str(self.port), "-m", "8", "-u", "nobody"]
        self.process = subprocess.Popen(words)
        eventually(self._answers, 60)

    def _answers(self) -> None:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError as error:
            raise AssertionError from error

    def send(self, number: signal.Signals) -> None:
        """Returns when it has had its effect."""
        self.process.send_signal(number)
        if number == signal.SIGSTOP:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
        if number == signal.SIGKILL:
            self.process.wait()

    def end(self) -> None:
        self.send(signal.SIGKILL)


@pytest.fixture
def server() -> Iterator[_Server]:
    made = _Server()
    yield made
    made.end()


@pytest.fixture
def proxies(server: _Server, tmp_path: Path) -> Iterator[list[tuple[_Counted, RememberingStorage]]]:
    made = []
    for _ in range(2):
        inner = _Counted(tmp_path, Policies([Policy(0, "one", True)]))
        made.append((inner, RememberingStorage(inner, Memory([server.address], _PATIENT))))
    made[0][1].put_account("a", timestamps.now(), {})
    LocalStorage.put_container(made[0][0], "a", "c", timestamps.now(), {"x-meta": "one"})
    yield made
    for _, proxy in made:
        proxy.close()


def _seen(proxy: RememberingStorage) -> str:
    return proxy.container("a", "c", totals=False).metadata["x-meta"]


def test_what_one_proxy_asked_the_other_one_knows(
    proxies: list[tuple[_Counted, RememberingStorage]],
) -> None:
    (_, one), (inner, other) = proxies
    assert _seen(one) == "one"
    # It does not wait until that has arrived.
    eventually(lambda: _assert_remembers(one._memory, _name("a", "c")), 60)
    assert _seen(other) == "one"
    assert inner.asked == 0
    assert other.container("a", "c").object_count == 0
    assert inner.asked == 1  # totals are asked for


def test_a_change_is_known_to_all_at_once(
    proxies: list[tuple[_Counted, RememberingStorage]],
) -> None:
    (_, one), (_, other) = proxies
    assert _seen(other) == "one"
    one.post_container("a", "c", timestamps.now(), {"x-meta": "two"})
    assert _seen(other) == "two"
    one.delete_container("a", "c", timestamps.now())
    with pytest.raises(Missing):
        _seen(other)
    other.put_container("a", "c", timestamps.now(), {"x-meta": "three"})
    assert _seen(one) == "three"


def test_what_was_read_before_a_change_is_not_remembered_after_it(
    proxies: list[tuple[_Counted, RememberingStorage]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (inner, one), (_, other) = proxies
    ask = inner.container

    def slow(*words: Any, **options: Any) -> Any:
        found = ask(*words, **options)
        other.post_container("a", "c", timestamps.now(), {"x-meta": "two"})
        return found

    monkeypatch.setattr(inner, "container", slow)
    assert _seen(one) == "one"  # read before the change
    assert _seen(other) == "two"
    assert _seen(other) == "two"


def test_a_quota_is_never_decided_by_what_is_remembered(
    proxies: list[tuple[_Counted, RememberingStorage]],
) -> None:
    (_, one), (inner, other) = proxies
    LocalStorage.post_container(inner, "a", "c", timestamps.now(), {
        "x-container-meta-quota-count": "1"
    })  # fmt: skip
    assert _seen(one) == "one"
    assert _seen(other) == "one"
    assert inner.asked == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "silent"])
def test_without_memcached_all_goes_on(
    server: _Server, tmp_path: Path, number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    inner = _Counted(tmp_path, Policies([Policy(0, "one", True)]))
    limits = Limits(answer_seconds=2, failures=3, rest_seconds=3600)
    proxy = RememberingStorage(inner, Memory([server.address], limits))
    try:
        proxy.put_account("a", timestamps.now(), {})
        proxy.put_container("a", "c", timestamps.now(), {"x-meta": "one"})
        # It answers now: what it was late with before the signal does not count any more.
        eventually(lambda: _assert_answers(proxy._memory), 60)
        server.send(number)
        caplog.clear()
        proxy.post_container("a", "c", timestamps.now(), {"x-meta": "two"})
        for _ in range(50):
            assert _seen(proxy) == "two"
        # It is not asked any more, else each of them would wait.
        assert len(_complaints(caplog)) == 3
    finally:
        proxy.close()


def test_a_server_that_is_late_once_is_asked_again(
    server: _Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # As many as it is late in all rounds together, so that in each a busy machine has a few more.
    limits = Limits(connect_seconds=60, answer_seconds=1, failures=12, rest_seconds=3600)
    memory, name = Memory([server.address], limits), "nubelet1-" + "0" * 64
    try:
        for _ in range(6):
            server.send(signal.SIGSTOP)
            assert memory.get(name) is None
            memory.add(name, b"late", 3600)  # to which nobody answers: that says nothing
            assert memory.get(name) is None
            server.send(signal.SIGCONT)
            eventually(lambda: _assert_remembers(memory, name), 60)
    finally:
        memory.close()
    assert len(_complaints(caplog)) >= 12


def _assert_answers(memory: Memory) -> None:
    memory.set(_name("asked"), b"x", 60)
    assert memory.get(_name("asked")) == b"x"


def _assert_remembers(memory: Memory, name: str) -> None:
    assert memory.get(name) not in (None, b"changed")


def _complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.message for each in caplog.records if "memcached" in each.message]
