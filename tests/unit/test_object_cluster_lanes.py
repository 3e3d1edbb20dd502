"""Lanes: calls to many devices, of which some do not answer."""

from __future__ import annotations

import threading
import time

import pytest

from nubelet.object_store.cluster.lanes import Lanes
from nubelet.object_store.cluster.messages import Peer
from tests.object_cluster import eventually

_ONE, _OTHER = (Peer(ip="127.0.0.1", port=1, device=name) for name in ("d0", "d1"))


class Calls:
    """That wait until they may go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.began: list[str] = []

    def slow(self, name: str) -> None:
        self.began.append(name)
        self.go_on.wait(600)

    def quick(self, name: str) -> None:
        self.began.append(name)

    def assert_no_thread_is_left(self) -> None:
        def check() -> None:
            names = [thread.name for thread in threading.enumerate()]
            assert not {f"lane {_ONE}", f"lane {_OTHER}"} & set(names)

        eventually(check, 60)


def test_a_disk_that_does_not_answer_delays_no_other_one_of_its_node() -> None:
    calls, lanes = Calls(), Lanes()

    def other_was_called() -> None:
        assert "other" in calls.began

    try:
        with lanes.one_pass(0.2):
            lanes.add(_ONE, lambda: calls.slow("one"))
            lanes.add(_OTHER, lambda: calls.quick("other"))
            eventually(other_was_called, 60)
    finally:
        calls.go_on.set()
    calls.assert_no_thread_is_left()


def test_a_device_has_one_call_at_a_time_also_across_passes() -> None:
    calls, lanes = Calls(), Lanes()

    def began() -> None:
        assert calls.began == ["first"]

    try:
        with lanes.one_pass(0.01):
            lanes.add(_ONE, lambda: calls.slow("first"))
            eventually(began, 60)
            lanes.add(_ONE, lambda: calls.quick("forgotten"))
        for _ in range(3):
            with lanes.one_pass(0.01):
                lanes.add(_ONE, lambda: calls.quick("forgotten"))
        began()
    finally:
        calls.go_on.set()
    calls.assert_no_thread_is_left()
    began()
    with lanes.one_pass(600):
        lanes.add(_ONE, lambda: calls.quick("second"))
    assert calls.began == ["first", "second"]
    calls.assert_no_thread_is_left()


def test_nothing_is_added_between_passes() -> None:
    calls, lanes = Calls(), Lanes()
    lanes.add(_ONE, lambda: calls.quick("early"))
    with lanes.one_pass(600):
        pass
    lanes.add(_ONE, lambda: calls.quick("late"))
    calls.assert_no_thread_is_left()
    assert calls.began == []


def test_a_call_may_add_others_and_the_pass_waits_for_them() -> None:
    calls, lanes = Calls(), Lanes()
    with lanes.one_pass(600):
        lanes.add(_ONE, lambda: lanes.add(_OTHER, lambda: calls.slow("further")))
        calls.go_on.set()
    assert calls.began == ["further"]


def test_a_pass_that_fails_leaves_no_thread() -> None:
    calls, lanes = Calls(), Lanes()

    def one_pass() -> None:
        with lanes.one_pass(600):
            lanes.add(_ONE, lambda: calls.slow("one"))
            lanes.add(_ONE, lambda: calls.quick("forgotten"))
            raise ValueError("it fails")

    try:
        with pytest.raises(ValueError, match="it fails"):
            one_pass()
    finally:
        calls.go_on.set()
    calls.assert_no_thread_is_left()
    assert "forgotten" not in calls.began


def test_a_call_that_fails_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    calls, lanes = Calls(), Lanes()

    def fail() -> None:
        raise ValueError("it fails")

    with lanes.one_pass(600):
        lanes.add(_ONE, fail)
        lanes.add(_ONE, lambda: calls.quick("next"))
    assert calls.began == ["next"]
    assert "it fails" in caplog.text


def test_when_they_are_closed_a_pass_ends_and_no_other_call_begins() -> None:
    calls, lanes = Calls(), Lanes()

    def began() -> None:
        assert calls.began == ["one"]

    def one_pass() -> None:
        with lanes.one_pass(600):
            lanes.add(_ONE, lambda: calls.slow("one"))
            lanes.add(_ONE, lambda: calls.quick("forgotten"))

    running = threading.Thread(target=one_pass)
    running.start()
    try:
        eventually(began, 60)
        time.sleep(0.1)
        lanes.close()
        running.join(60)
        assert not running.is_alive()
    finally:
        calls.go_on.set()
    one_pass()
    calls.assert_no_thread_is_left()
    began()
