"""What only a bus between processes meets: servers and brokers that die and come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("kombu")

from nubelet.kernel import guards
from nubelet.kernel.bells import Bells
from nubelet.kernel.bus import NodeUnreachable
from nubelet.kernel.rabbitmq import RabbitMQBus
from tests import rabbitmq

Pair = tuple[RabbitMQBus, RabbitMQBus]


@pytest.fixture(scope="module")
def broker() -> Iterator[rabbitmq.Broker]:
    """A broker of its own: it will be killed."""
    rabbitmq.server()  # skips where there is none
    made = rabbitmq.Broker()
    made.start()
    yield made
    made.close()


@pytest.fixture
def pair(broker: rabbitmq.Broker) -> Iterator[Pair]:
    """Two processes of one cloud."""
    name = f"pair-{time.time_ns()}"
    buses = (RabbitMQBus(broker.url, name=name), RabbitMQBus(broker.url, name=name))
    with guards.node_calls_allowed():
        yield buses
    for bus in buses:
        bus.close()


def test_two_processes_call_each_other(pair: Pair) -> None:
    control, node = pair
    node.serve("node.a", lambda body: b"node")
    control.serve("control", lambda body: b"control")
    assert control.call("node.a", b"", timeout_seconds=60) == b"node"
    assert node.call("control", b"", timeout_seconds=60) == b"control"


def test_two_servers_of_one_target_share_its_calls(pair: Pair) -> None:
    for number, bus in enumerate(pair):
        bus.serve("control", lambda body, number=number: b"%d" % number)
    answers = {pair[0].call("control", b"", timeout_seconds=60) for _ in range(20)}
    assert answers == {b"0", b"1"}


def test_a_server_that_dies_amid_a_call_is_noticed_long_before_the_timeout(pair: Pair) -> None:
    control, node = pair
    begun, go_on = threading.Event(), threading.Event()

    def handler(body: bytes) -> bytes:
        begun.set()
        go_on.wait(100)
        return b""

    node.serve("node.a", handler)
    threading.Thread(target=lambda: (begun.wait(60), node.close()), daemon=True).start()
    with pytest.raises(NodeUnreachable, match="nobody serves it"):  # not "no answer within"
        control.call("node.a", b"", timeout_seconds=600)
    go_on.set()


def test_bells_ring_in_all_processes(pair: Pair) -> None:
    bells = [Bells(), Bells()]
    rung = [threading.Event(), threading.Event()]
    for one, bus, event in zip(bells, pair, rung, strict=True):
        one.listen("operations", event.set)
        one.carry_over(bus)
    bells[0].ring("operations")
    assert all(event.wait(60) for event in rung)


def test_a_broker_that_dies_makes_calls_fail_and_when_back_all_goes_on(
    broker: rabbitmq.Broker, pair: Pair
) -> None:
    control, node = pair
    heard: list[bytes] = []
    bells = Bells()
    bells.carry_over(control)
    begun, go_on = threading.Event(), threading.Event()

    def handler(body: bytes) -> bytes:
        if body == b"slow":
            begun.set()
            go_on.wait(100)
        return body

    node.serve("node.a", handler)
    node.subscribe("news", heard.append)
    assert control.call("node.a", b"1", timeout_seconds=60) == b"1"
    under_way = _in_thread(lambda: control.call("node.a", b"slow", timeout_seconds=600))
    assert begun.wait(60)
    broker.stop()
    with pytest.raises(NodeUnreachable, match="message broker"):
        control.call("node.a", b"2", timeout_seconds=600)
    bells.ring("operations")  # the bell is lost, nothing is raised
    lost = under_way(60)  # long before its own ten minutes
    assert isinstance(lost, NodeUnreachable), lost
    assert "message broker" in lost.reason
    go_on.set()
    broker.start()
    _until(lambda: _answers(control))
    control.fanout("news", b"back")
    _until(lambda: heard == [b"back"])


def test_a_bus_may_begin_before_its_broker(broker: rabbitmq.Broker) -> None:
    broker.stop()
    bus = RabbitMQBus(broker.url, name="early")
    serving = _in_thread(lambda: bus.serve("node.a", lambda body: body))
    broker.start()
    serving(60)
    with guards.node_calls_allowed():
        _until(lambda: _answers(bus))
    bus.close()


def test_a_closed_bus_sends_nothing(pair: Pair) -> None:
    control, node = pair
    node.serve("node.a", lambda body: body)
    control.close()
    with pytest.raises(NodeUnreachable):
        control.call("node.a", b"", timeout_seconds=1)


def _answers(bus: RabbitMQBus) -> bool:
    try:
        return bus.call("node.a", b"3", timeout_seconds=2) == b"3"
    except NodeUnreachable:
        return False


def _in_thread(work: Callable[[], object]) -> Callable[[float], object]:
    """Run something beside the test; the result (or what it raised) comes from the answer."""
    results: list[object] = []

    def run() -> None:
        with guards.node_calls_allowed():
            try:
                results.append(work())
            except Exception as error:
                results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result(seconds: float) -> object:
        thread.join(seconds)
        assert results, "it did not end"
        return results[0]

    return result


def _until(condition: Callable[[], bool], seconds: float = 100.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.02)
