"""Promises of a device to writers with conditions."""

from __future__ import annotations

import fcntl
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from nubelet.kernel.errors import Conflict, PreconditionFailed
from nubelet.object_store.cluster import promises
from nubelet.object_store.cluster.devices import Device
from nubelet.object_store.cluster.promises import LIVE_SECONDS, Promises
from nubelet.object_store.storage import Outdated
from nubelet.object_store.storage.objects import State, state

DIGEST = "0" * 30 + "ab"
T = [f"170000000{number}.00000" for number in range(10)]
NOTHING = state([])


class Clock:
    now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(promises, "time", SimpleNamespace(time=made.time))
    return made


@pytest.fixture
def device(tmp_path: Path, clock: Clock) -> Promises:
    return Promises(str(tmp_path / "promises"))


def give(
    device: Promises, writer: str, at: int, expected: str = "", there: State = NOTHING
) -> None:
    device.give(DIGEST, writer, T[at], expected, lambda: there)


def use(device: Promises, writer: str, there: State = NOTHING) -> None:
    with device.used(DIGEST, writer, lambda: there):
        pass


def test_one_writer_at_a_time(device: Promises, tmp_path: Path) -> None:
    give(device, "a", 1)
    give(Promises(str(tmp_path / "promises")), "a", 1)  # of another process; asked again
    with pytest.raises(Conflict):
        give(device, "b", 2)
    with pytest.raises(Conflict):
        use(device, "b")
    use(device, "a")
    with pytest.raises(Conflict):
        use(device, "a")
    with pytest.raises(PreconditionFailed):
        give(device, "b", 2, there=state([f"{T[1]}.data"]))
    give(device, "b", 2, expected=T[1], there=state([f"{T[1]}.data"]))


def test_other_objects_are_not_concerned(device: Promises) -> None:
    give(device, "a", 1)
    other = "1" + DIGEST[1:]  # in the same file
    device.give(other, "b", T[0], "", lambda: NOTHING)
    with device.used(other, "b", lambda: NOTHING):
        pass
    use(device, "a")


def test_a_promise_that_is_taken_back(device: Promises) -> None:
    give(device, "a", 5)
    device.take_back(DIGEST, "other")
    with pytest.raises(Conflict):
        give(device, "b", 2)
    device.take_back(DIGEST, "a")
    give(device, "b", 2)
    with pytest.raises(Conflict):
        use(device, "a")


def test_a_promise_that_was_not_used_goes_to_a_newer_write(device: Promises, clock: Clock) -> None:
    """Its write may have come to another device: an older one would be lost to it there."""
    give(device, "dead", 5)
    clock.now += LIVE_SECONDS + 1
    with pytest.raises(Conflict):
        give(device, "older", 4)
    with pytest.raises(Conflict):
        give(device, "as old", 5)
    give(device, "newer", 6)
    with pytest.raises(Conflict):
        use(device, "dead")
    use(device, "newer")


def test_a_write_that_died_behind_its_link_is_no_promise(device: Promises) -> None:
    give(device, "dead", 1)
    give(device, "b", 2, expected=T[1], there=state([f"{T[1]}.data"]))


@pytest.mark.parametrize(
    ("names", "expected", "refused"),
    [
        ([], "", None),
        ([f"{T[1]}.ts"], "", None),
        ([f"{T[1]}.data"], "", PreconditionFailed),
        ([f"{T[1]}.data"], T[1], None),
        ([f"{T[2]}.data"], T[1], PreconditionFailed),
        ([f"{T[2]}.ts"], T[1], PreconditionFailed),
        ([f"{T[1]}.data", f"{T[2]}.meta"], T[1], None),
        # What the device missed counts elsewhere.
        ([], T[1], None),
        ([f"{T[0]}.data"], T[1], None),
        ([f"{T[0]}.ts"], T[1], None),
        ([f"{T[9]}.data"], T[9], Outdated),
    ],
)
def test_what_is_there_is_what_the_writer_expects(
    device: Promises, names: list[str], expected: str, refused: type[Exception] | None
) -> None:
    if refused is None:
        give(device, "a", 8, expected, state(names))
        return
    with pytest.raises(refused):
        give(device, "a", 8, expected, state(names))


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        ([f"{T[1]}.data"], False),
        ([f"{T[1]}.data", f"{T[2]}.meta"], False),
        ([f"{T[0]}.data"], False),  # what the device missed counts elsewhere
        ([], False),
        ([f"{T[2]}.data"], True),
        ([f"{T[2]}.ts"], True),
        ([f"{T[5]}.data"], False),  # that very write, once more
        # What is newer than the write itself comes behind it.
        ([f"{T[6]}.data"], False),
        ([f"{T[6]}.ts"], False),
    ],
)
def test_what_came_after_the_promise_is_not_replaced(
    device: Promises, names: list[str], refused: bool
) -> None:
    """A write or a deletion that asks for no promise."""
    give(device, "a", 5, expected=T[1], there=state([f"{T[1]}.data"]))
    if not refused:
        use(device, "a", state(names))
        return
    with pytest.raises(PreconditionFailed):
        use(device, "a", state(names))
    with pytest.raises(Conflict):  # it may still come to be used elsewhere
        give(device, "b", 6, expected=T[2], there=state(names))
    device.take_back(DIGEST, "a")
    give(device, "b", 6, expected=T[2], there=state(names))


def test_what_power_took_is_no_promise(device: Promises, tmp_path: Path) -> None:
    give(device, "a", 1)
    (tmp_path / "promises" / "ab").write_bytes(b'{"torn')
    with pytest.raises(Conflict):
        use(device, "a")
    give(device, "b", 2)
    use(device, "b")


def test_old_promises_are_forgotten(device: Promises, clock: Clock, tmp_path: Path) -> None:
    give(device, "dead", 5)
    clock.now += 100_000
    device.give("1" + DIGEST[1:], "b", T[0], "", lambda: NOTHING)
    assert b"dead" not in (tmp_path / "promises" / "ab").read_bytes().split(b"\n")[0]


def test_who_asks_for_no_promise_waits_while_one_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it comes between the look at what is there and the write."""
    (tmp_path / "d").mkdir()
    made = Device(tmp_path / "d", "words")
    place, asked, outcome = made.place(2, DIGEST), threading.Event(), []
    flock = fcntl.flock

    def telling(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_SH:
            asked.set()
        flock(descriptor, operation)

    def delete() -> None:
        try:
            with made.objects.mark(0, place, T[2], {}, ".ts"):
                outcome.append("deleted")
        except Outdated:
            outcome.append("outdated")

    deletes = threading.Thread(target=delete)

    def look() -> State:
        found = made.objects.state(0, place)
        monkeypatch.setattr(fcntl, "flock", telling)
        deletes.start()
        while deletes.is_alive() and not asked.is_set():
            time.sleep(0.001)
        return found

    try:
        with made.objects.write(0, place, T[1], {}, [b"seen"]):
            pass
        made.promises.give(DIGEST, "a", T[5], T[1], lambda: made.objects.state(0, place))
        turn = made.promises.used(DIGEST, "a", look)
        with made.objects.write(0, place, T[5], {}, [b"mine"], turn=turn):
            pass
        deletes.join()
        assert outcome == ["outdated"]
    finally:
        made.close()
