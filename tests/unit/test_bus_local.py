"""The bus between processes of one machine: what a caller beside the hub is promised."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nubelet.kernel.bells import Bells
from nubelet.kernel.bus import HandlerFailed, NodeUnreachable
from nubelet.kernel.guards import LawBroken, node_calls_allowed
from nubelet.kernel.local_bus import LocalBus, LocalHub, _Connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Longer than the address of a socket may be."""
    return tmp_path / ("d" * 100) / "bus.sock"


@pytest.fixture
def hub(path: Path) -> Iterator[LocalHub]:
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    made = LocalHub(path)
    yield made
    made.close()


@pytest.fixture
def beside(hub: LocalHub, path: Path) -> Iterator[LocalBus]:
    made = LocalBus(path)
    yield made
    made.close()


def test_calls_reach_whoever_serves_at_the_hub(hub: LocalHub, beside: LocalBus) -> None:
    hub.serve("control", lambda body: body[::-1])
    assert beside.call("control", b"abc", timeout_seconds=60) == b"cba"
    large = bytes(5_000_000)
    assert beside.call("control", large, timeout_seconds=60) == large


def test_many_calls_at_once_get_their_own_answers(hub: LocalHub, beside: LocalBus) -> None:
    hub.serve("control", lambda body: (time.sleep(0.02), body)[1], workers=16)
    wrong: list[bytes] = []

    def ask(number: int) -> None:
        body = str(number).encode()
        answers = [beside.call("control", body, timeout_seconds=60) for _ in range(5)]
        wrong.extend(answer for answer in answers if answer != body)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_a_handler_raises_comes_back(hub: LocalHub, beside: LocalBus) -> None:
    def fail(body: bytes) -> bytes:
        raise ValueError("no good")

    hub.serve("control", fail)
    with pytest.raises(HandlerFailed) as met:
        beside.call("control", b"", timeout_seconds=60)
    assert (met.value.kind, met.value.message) == ("ValueError", "no good")


def test_nobody_who_serves_is_told_at_once(hub: LocalHub, beside: LocalBus) -> None:
    # "At once": it says so, instead of "no answer within".
    with pytest.raises(NodeUnreachable, match="nobody serves it"), node_calls_allowed():
        beside.call("node.gone", b"", timeout_seconds=60)


def test_a_slow_answer_is_not_awaited_for_ever(hub: LocalHub, beside: LocalBus) -> None:
    ended = threading.Event()
    hub.serve("control", lambda body: bytes(ended.wait(60)))
    with pytest.raises(NodeUnreachable, match="no answer within"):
        beside.call("control", b"", timeout_seconds=0.2)
    ended.set()


def test_the_law_holds_beside_the_hub(beside: LocalBus) -> None:
    with pytest.raises(LawBroken):
        beside.call("node.one", b"", timeout_seconds=1)


def test_doorbells_ring_in_all_processes(hub: LocalHub, beside: LocalBus, path: Path) -> None:
    other = LocalBus(path)
    heard: list[str] = []
    rung = [Bells(), Bells(), Bells()]
    for bells, bus, name in zip(
        rung, (hub, beside, other), ("hub", "beside", "other"), strict=True
    ):
        bells.carry_over(bus)
        bells.listen("work", lambda name=name: heard.append(name))  # type: ignore[misc]
    _wait(lambda: len(hub._connections) == 2)
    for bells in rung:
        heard.clear()
        bells.ring("work")
        _wait(lambda: set(heard) == {"hub", "beside", "other"})
    other.close()


def test_a_hub_that_comes_back_is_found_again(hub: LocalHub, beside: LocalBus, path: Path) -> None:
    hub.serve("control", lambda body: b"first")
    assert beside.call("control", b"", timeout_seconds=60) == b"first"
    hub.close()
    with pytest.raises(NodeUnreachable):
        beside.call("control", b"", timeout_seconds=60)
    again = LocalHub(path)
    again.serve("control", lambda body: b"second")
    assert beside.call("control", b"", timeout_seconds=60) == b"second"
    again.close()


def test_a_lost_hub_ends_the_wait_of_callers(hub: LocalHub, beside: LocalBus) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def handler(body: bytes) -> bytes:
        begun.set()
        go_on.wait(60)
        return b""

    def lose() -> None:
        begun.wait(60)
        hub.close()

    hub.serve("control", handler)
    threading.Thread(target=lose, daemon=True).start()
    with pytest.raises(NodeUnreachable, match="the main process is gone"):
        beside.call("control", b"", timeout_seconds=60)
    go_on.set()


def test_what_is_asked_of_a_new_hub_outlives_the_loss_of_the_old_one(
    hub: LocalHub, beside: LocalBus, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that reads from the old connection may come to see its end very late."""
    noticed, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    receive, read = _Connection.receive, LocalBus._read
    hub.serve("control", lambda body: b"first")
    old: list[_Connection] = []

    def late(connection: _Connection) -> Iterator[Any]:
        yield from receive(connection)
        if old == [connection]:
            noticed.set()
            go_on.wait(60)

    def read_to_its_end(bus: LocalBus, connection: _Connection) -> None:
        read(bus, connection)
        if old == [connection]:
            ended.set()

    monkeypatch.setattr(_Connection, "receive", late)
    monkeypatch.setattr(LocalBus, "_read", read_to_its_end)
    assert beside.call("control", b"", timeout_seconds=60) == b"first"
    assert beside._connection is not None
    old.append(beside._connection)
    hub.close()
    assert noticed.wait(60)
    with pytest.raises(NodeUnreachable):
        beside.call("control", b"", timeout_seconds=60)

    def handler(body: bytes) -> bytes:
        go_on.set()  # now the old reader sees that its hub is gone
        return b"second" if ended.wait(60) else b"the old reader never ended"

    again = LocalHub(path)
    again.serve("control", handler)
    assert beside.call("control", b"", timeout_seconds=90) == b"second"
    again.close()


def test_the_socket_is_its_owners_alone(hub: LocalHub, path: Path) -> None:
    assert path.parent.stat().st_mode & 0o077 == 0


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
