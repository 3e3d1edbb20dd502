"""The lock on a cloud's pid file: who looks for its process is not taken for it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from nubelet.cli.instance import Instance, PidLock


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    """A cloud whose process was killed; its number may be somebody else's by now."""
    made = Instance(tmp_path)
    made.pid_file.write_text(f"{os.getpid()}\n")
    return made


@contextmanager
def slow_look(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Somebody looks for the process, and his own is not given the processor right then; the event
    lets him go on."""
    begun, go_on = threading.Event(), threading.Event()
    found: list[int | None] = []
    flock = fcntl.flock

    def slowly(file: object, how: int) -> None:
        flock(file, how)  # type: ignore[arg-type]
        if threading.current_thread() is looker:
            begun.set()
            go_on.wait(60)

    looker = threading.Thread(target=lambda: found.append(instance.pid()))
    monkeypatch.setattr(fcntl, "flock", slowly)
    looker.start()
    try:
        assert begun.wait(60)
        yield go_on
    finally:
        go_on.set()
        looker.join(60)
    assert found == [None]


def test_two_who_look_at_once_do_not_take_each_other_for_it(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slow_look(instance, monkeypatch):
        assert instance.pid() is None


def test_a_process_that_starts_waits_for_who_looks(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with slow_look(instance, monkeypatch) as go_on:
        threading.Timer(1.0, go_on.set).start()
        lock = PidLock(instance.pid_file)
    assert instance.pid() == os.getpid()
    lock._file.close()
    assert instance.pid() is None


def test_a_second_process_is_refused_at_once(instance: Instance) -> None:
    hold = "import sys; from pathlib import Path; from nubelet.cli.instance import PidLock; "
    hold += "lock = PidLock(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(instance.pid_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        first.stdout.readline()
        assert instance.pid() == first.pid
        with pytest.raises(click.ClickException, match="another process already runs this"):
            PidLock(instance.pid_file)
        assert instance.pid() == first.pid  # whoever was refused has changed nothing
        first.stdin.close()
    assert instance.pid() is None
