"""Names of lease holders: dead or alive, and when one cannot know."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nubelet.kernel import owners


def of(pid: int, birth: str | None) -> str:
    return f"{owners._here()}/{pid}/{birth}/abcd"


def test_this_process_lives() -> None:
    assert not owners.is_dead(owners.new_owner())
    assert owners.new_owner() != owners.new_owner()


def test_a_process_that_ended_is_dead() -> None:
    program = (
        "import sys; sys.path.insert(0, '.'); from nubelet.kernel import owners; "
        "print(owners.new_owner())"
    )
    name = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert owners.is_dead(name)


def test_a_zombie_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    birth = owners._birth(process.pid)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet collected
    try:
        assert owners.is_dead(of(process.pid, birth))
    finally:
        process.wait()


def test_another_process_with_the_same_number_is_not_taken_for_it() -> None:
    assert owners.is_dead(of(os.getpid(), "1"))


def test_before_a_restart_of_the_machine_everybody_is_dead() -> None:
    host, _boot, namespace = owners._here().split("/")
    assert owners.is_dead(f"{host}/another-boot/{namespace}/{os.getpid()}/5/abcd")


def test_of_other_machines_and_containers_nothing_is_known() -> None:
    host, boot, namespace = owners._here().split("/")
    assert not owners.is_dead(f"elsewhere/{boot}/{namespace}/999999/5/abcd")
    assert not owners.is_dead(f"{host}/{boot}/12345/999999/5/abcd")
    assert not owners.is_dead("")
    assert not owners.is_dead("somebody")


@pytest.mark.parametrize(
    ("number", "is_dead"),
    [(errno.ENOENT, True), (errno.ESRCH, True), (errno.EMFILE, False), (errno.EACCES, False)],
)
def test_only_who_is_surely_gone_is_dead(
    monkeypatch: pytest.MonkeyPatch, number: int, is_dead: bool
) -> None:
    """ESRCH: it ended while this looked at it. Where this has too many files open itself, it must
    not take away what others hold."""
    name = owners.new_owner()
    read = Path.read_text

    def fail(self: Path, *words: str, **options: str) -> str:
        if str(self) == f"/proc/{os.getpid()}/stat":
            raise OSError(number, os.strerror(number))
        return read(self, *words, **options)

    monkeypatch.setattr(Path, "read_text", fail)
    assert owners.is_dead(name) == is_dead
