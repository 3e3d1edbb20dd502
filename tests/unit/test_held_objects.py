"""What storage nodes hold open for readers."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from nubelet.object_store.cluster.held_objects import HeldObjects, Version
from nubelet.object_store.storage.objects import Opened


def _opened(folder: Path, number: int) -> tuple[Version, Opened]:
    path = folder / str(number)
    path.write_bytes(b"data")
    opened = Opened(os.open(path, os.O_RDONLY), str(path), {})
    path.unlink()
    return Version("sda", 0, "1/abc/0abc", f"{number:010}.00000"), opened


def _open_files(folder: Path) -> int:
    count = 0
    for each in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # it has just been closed
            count += os.readlink(f"/proc/self/fd/{each}").startswith(str(folder))
    return count


def test_it_is_held_for_a_while(tmp_path: Path) -> None:
    now = 0.0
    held = HeldObjects(seconds=5, clock=lambda: now)
    version, opened = _opened(tmp_path, 1)
    held.hold(version, opened)
    now = 4.0
    held.let_go()
    assert held.find(version) is opened
    assert held.find(version._replace(device="sdb")) is None
    del opened
    now = 5.0
    held.let_go()
    assert held.find(version) is None
    assert _open_files(tmp_path) == 0


def test_a_reader_goes_on_when_it_is_not_held_any_more(tmp_path: Path) -> None:
    now = 0.0
    held = HeldObjects(seconds=5, clock=lambda: now)
    version, opened = _opened(tmp_path, 1)
    held.hold(version, opened)
    del opened
    reading = held.find(version)
    now = 5.0
    held.let_go()
    assert reading is not None
    assert held.find(version) is None
    assert b"".join(reading.read()) == b"data"


def test_only_so_many_files_are_held(tmp_path: Path) -> None:
    held = HeldObjects(most=3)
    for number in range(10):
        held.hold(*_opened(tmp_path, number))
    assert _open_files(tmp_path) == 3


def test_they_are_closed_without_being_asked(tmp_path: Path) -> None:
    held = HeldObjects(seconds=0.05)
    held.hold(*_opened(tmp_path, 1))
    for _ in range(100):
        if _open_files(tmp_path) == 0:
            return
        time.sleep(0.1)
    raise AssertionError("it stays open")
