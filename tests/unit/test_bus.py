"""Both buses keep the same promises."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from nubelet.kernel import guards
from nubelet.kernel.bus import Bus, HandlerFailed, NodeUnreachable


@pytest.fixture(autouse=True)
def as_runner() -> Iterator[None]:
    """The test's thread may call nodes."""
    with guards.node_calls_allowed():
        yield


def test_a_call_is_answered(bus: Bus) -> None:
    bus.serve("node.a", lambda body: b"heard " + body)
    assert bus.call("node.a", b"\x00\xff", timeout_seconds=60) == b"heard \x00\xff"


def test_each_target_has_its_own_server(bus: Bus) -> None:
    bus.serve("node.a", lambda body: b"a")
    bus.serve("node.b", lambda body: b"b")
    assert [bus.call(f"node.{name}", b"", timeout_seconds=60) for name in "abab"] == [
        b"a",
        b"b",
        b"a",
        b"b",
    ]


def test_a_target_that_nobody_serves_is_unreachable_at_once(bus: Bus) -> None:
    bus.serve("node.other", lambda body: b"")  # so that the bus is connected
    # "At once": it says so, instead of "no answer within".
    with pytest.raises(NodeUnreachable, match=r"node\.gone is unreachable: nobody serves it"):
        bus.call("node.gone", b"", timeout_seconds=60)
    with pytest.raises(NodeUnreachable, match="nobody serves it"):
        bus.cast("node.gone", b"")


def test_a_target_that_stopped_serving_is_unreachable(bus: Bus) -> None:
    stop = bus.serve("node.a", lambda body: b"")
    bus.call("node.a", b"", timeout_seconds=60)
    stop()
    with pytest.raises(NodeUnreachable, match="nobody serves it"):
        bus.call("node.a", b"", timeout_seconds=60)
    bus.serve("node.a", lambda body: b"back")
    assert bus.call("node.a", b"", timeout_seconds=60) == b"back"


def test_a_slow_server_is_given_up_after_the_timeout(bus: Bus) -> None:
    release = threading.Event()
    bus.serve("node.a", lambda body: b"late" if release.wait(60) else b"")
    started = time.monotonic()
    with pytest.raises(NodeUnreachable, match=r"no answer within 0\.3 s"):
        bus.call("node.a", b"", timeout_seconds=0.3)
    assert time.monotonic() - started > 0.25
    release.set()


def test_a_call_that_was_given_up_before_it_began_is_not_done(bus: Bus) -> None:
    release, done = threading.Event(), []

    def handler(body: bytes) -> bytes:
        done.append(body)
        release.wait(60)
        return b""

    bus.serve("node.a", handler, workers=1)
    first = threading.Thread(target=lambda: _allowed_call(bus, b"first"))
    first.start()
    while not done:
        time.sleep(0.01)
    with pytest.raises(NodeUnreachable):
        bus.call("node.a", b"second", timeout_seconds=0.2)
    # It came to the server up to 0.2 s after it was sent (a broker drops it then), and keeps 0.2 s
    # from there; a busy machine takes its time to say so.
    time.sleep(3.0)
    release.set()
    first.join(60)
    assert bus.call("node.a", b"third", timeout_seconds=60) == b""
    assert done == [b"first", b"third"]


def _allowed_call(bus: Bus, body: bytes) -> None:
    with guards.node_calls_allowed():
        bus.call("node.a", body, timeout_seconds=60)


def test_what_a_handler_raises_arrives_as_a_structured_error(bus: Bus) -> None:
    class DiskFull(Exception):
        code = "disk_full"

    def handler(body: bytes) -> bytes:
        raise DiskFull("3 GB are missing")

    bus.serve("node.a", handler)
    with pytest.raises(HandlerFailed) as caught:
        bus.call("node.a", b"", timeout_seconds=60)
    error = caught.value
    assert (error.target, error.kind, error.code, error.message) == (
        "node.a",
        "DiskFull",
        "disk_full",
        "3 GB are missing",
    )


def test_calls_run_beside_each_other_and_answers_find_their_callers(bus: Bus) -> None:
    all_busy = threading.Barrier(8, timeout=60)

    def handler(body: bytes) -> bytes:
        all_busy.wait()  # passes only while eight calls are inside at once
        return body

    bus.serve("node.a", handler, workers=8)
    answers: dict[int, bytes] = {}

    def call(number: int) -> None:
        with guards.node_calls_allowed():
            answers[number] = bus.call("node.a", b"%d" % number, timeout_seconds=90)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert answers == {number: b"%d" % number for number in range(16)}


def test_a_handler_may_call_another_target(bus: Bus) -> None:
    bus.serve("control", lambda body: b"metadata", workers=1)
    bus.serve("node.a", lambda body: bus.call("control", body, timeout_seconds=60), workers=1)
    assert bus.call("node.a", b"", timeout_seconds=60) == b"metadata"


def test_a_cast_arrives_without_an_answer(bus: Bus) -> None:
    arrived: list[bytes] = []
    got = threading.Event()

    def handler(body: bytes) -> bytes:
        arrived.append(body)
        got.set()
        return b""

    bus.serve("control", handler)
    bus.cast("control", b"hello")
    assert got.wait(60)
    assert arrived == [b"hello"]


def test_a_fanout_reaches_every_subscriber_in_order_and_none_is_fine(bus: Bus) -> None:
    heard: dict[str, list[bytes]] = {"one": [], "two": []}
    bus.fanout("bells", b"nobody hears")
    stop = bus.subscribe("bells", heard["one"].append)
    bus.subscribe("bells", heard["two"].append)
    bus.subscribe("others", lambda body: pytest.fail("not subscribed to that"))
    sent = [b"%d" % number for number in range(50)]
    for body in sent:
        bus.fanout("bells", body)
    _until(lambda: heard == {"one": sent, "two": sent})
    stop()
    bus.fanout("bells", b"later")
    _until(lambda: heard["two"][-1] == b"later")
    assert heard["one"] == sent


def test_a_subscriber_that_raises_hears_the_next_one(bus: Bus) -> None:
    heard: list[bytes] = []

    def handler(body: bytes) -> None:
        heard.append(body)
        if body == b"1":
            raise ValueError("cannot stand this")

    bus.subscribe("bells", handler)
    bus.fanout("bells", b"1")
    bus.fanout("bells", b"2")
    _until(lambda: heard == [b"1", b"2"])


def test_large_bodies_travel(bus: Bus) -> None:
    bus.serve("node.a", lambda body: body)
    body = bytes(range(256)) * 16_000  # 4 MB
    assert bus.call("node.a", body, timeout_seconds=60) == body


def _until(condition: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.005)
