"""Several `nubelet up` and `down` at once on one cloud: one after the other, whatever dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from nubelet.cli.instance import Instance
from tests.functional.command import CommandCloud

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[CommandCloud]:
    """A cloud of the test's own, not started."""
    made = CommandCloud(tmp_path, "--fake")
    yield made
    made.run("down", "--purge")


def _begin(cloud: CommandCloud, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "nubelet", *words, "--state-dir", str(cloud.state_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _up(cloud: CommandCloud) -> subprocess.Popen[str]:
    return _begin(cloud, "up", "--fake", "--port", str(cloud.port))


def _all_went_well(commands: list[subprocess.Popen[str]]) -> list[str]:
    said = []
    for command in commands:
        out, errors = command.communicate(timeout=250)
        assert command.returncode == 0, errors
        said.append(out)
    return said


def test_ups_at_once_start_one_cloud(fresh: CommandCloud) -> None:
    for _ in range(2):  # a new cloud, and one that was stopped
        said = _all_went_well([_up(fresh) for _ in range(4)])
        assert sum("is healthy after" in each for each in said) == 1, said
        assert sum("was running already" in each for each in said) == 3, said
        assert httpx.get(f"{fresh.url}/healthcheck", timeout=60).json()["pid"] == fresh.pid()
        fresh.password = (fresh.state_dir / "admin-password").read_text().strip()
        fresh.login()
        fresh.run("down")
    assert not list(fresh.state_dir.glob("*.new*"))


def test_an_up_that_is_killed_is_in_nobodys_way(fresh: CommandCloud) -> None:
    for delay in (0.2, 0.4, 0.6, 0.8):
        killed = _up(fresh)
        time.sleep(delay)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        _all_went_well([_up(fresh), _up(fresh)])
        assert httpx.get(f"{fresh.url}/healthcheck", timeout=60).json()["pid"] == fresh.pid()
        fresh.run("down")


def _up_that_stands_still(cloud: CommandCloud) -> tuple[subprocess.Popen[str], psutil.Process]:
    """A command, and the process that it started, suspended before it is to be seen."""
    while True:
        command = _up(cloud)
        starting = None
        while starting is None:
            assert command.poll() is None, command.communicate()
            starting = next(iter(psutil.Process(command.pid).children()), None)
        starting.suspend()  # as a busy machine does
        while starting.status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)
        if Instance(cloud.state_dir).pid() is None:
            return command, starting
        starting.resume()  # we were the slow ones
        _all_went_well([command])
        cloud.run("down")


def test_an_up_waits_for_what_a_killed_one_started(fresh: CommandCloud) -> None:
    """The process that it left is not to be seen yet, and soon has the port."""
    killed, starting = _up_that_stands_still(fresh)
    killed.kill()
    killed.wait()
    waiting = _up(fresh)
    assert waiting.stderr
    assert "waiting for it" in waiting.stderr.readline()
    starting.resume()
    [said] = _all_went_well([waiting])
    assert "was running already" in said
    assert fresh.pid() == starting.pid


def test_down_waits_for_an_up(fresh: CommandCloud) -> None:
    for delay in (0.3, 0.6, 0.9):
        starting = _up(fresh)
        time.sleep(delay)
        started, stopped = _all_went_well([starting, _begin(fresh, "down")])
        assert "is healthy after" in started
        runs = fresh.run("status", check=False).returncode == 0
        assert runs != ("The cloud was stopped." in stopped)
        fresh.run("down")


def test_ups_and_purges_at_once_leave_a_cloud_or_nothing(fresh: CommandCloud) -> None:
    for _ in range(3):
        commands = [_up(fresh), _begin(fresh, "down", "--purge"), _up(fresh)]
        _all_went_well(commands)
        fresh.run("down", "--purge")
        assert not fresh.state_dir.exists()
