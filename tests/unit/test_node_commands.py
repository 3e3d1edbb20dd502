"""Host commands and their trail, fences, injected faults."""

from __future__ import annotations

import threading
import time

import pytest

from nubelet.node import commands, trail
from nubelet.node.errors import HostError
from nubelet.node.faults import Faults
from nubelet.node.fences import Fences
from nubelet.node.wire import Fence


def test_a_command_returns_what_it_wrote():
    done = commands.run(["sh", "-c", "cat; echo complaint >&2"], stdin=b"input\n")
    assert (done.text, done.stderr, done.status) == ("input\n", b"complaint\n", 0)


def test_a_command_that_fails_says_why_in_its_own_words():
    with pytest.raises(HostError) as refused:
        commands.run(["sh", "-c", "echo first >&2; echo the cause >&2; exit 3"], code="dhcp_failed")
    assert (refused.value.code, refused.value.message) == ("dhcp_failed", "sh failed: the cause")
    assert refused.value.detail == "first\nthe cause"
    assert commands.run(["false"], check=False).status == 1


def test_a_command_that_is_not_there():
    with pytest.raises(HostError, match="no-such-program could not be started"):
        commands.run(["no-such-program"])


def test_a_command_that_hangs_is_killed():
    started = time.monotonic()
    with pytest.raises(HostError) as refused:
        commands.run(["sleep", "3600"], timeout_seconds=0.2)
    assert refused.value.code == "command_timeout"
    assert time.monotonic() - started < 60  # the command itself would take an hour


def test_a_command_sees_no_environment_of_ours(monkeypatch):
    monkeypatch.setenv("NUBELET_ADMIN_PASSWORD", "s3cret")
    assert "s3cret" not in commands.run(["env"]).text


def test_a_command_is_limited():
    limits = commands.Limits(address_space_bytes=50 << 20)
    script = ["python3", "-c", "bytes(200 << 20)"]
    assert commands.run(script, check=False).status == 0
    assert commands.run(script, limits=limits, check=False).status != 0


def test_no_shell_sees_the_arguments(tmp_path):
    assert commands.run(["echo", "$(id); `id` > x"]).text == "$(id); `id` > x\n"


def test_the_trail_has_commands_with_result_and_time():
    commands.run(["true"])  # nobody records: nothing happens
    with trail.recording() as entries:
        commands.run(["echo", "a b"])
        commands.run(["sh", "-c", "echo no >&2; exit 1"], check=False)
        with pytest.raises(ValueError, match="broken"), trail.step("file", "write x"):
            raise ValueError("broken")
    assert [(e.kind, e.what, e.result, e.ok) for e in entries] == [
        ("command", "echo 'a b'", "ok", True),
        ("command", "sh -c 'echo no >&2; exit 1'", "no", False),
        ("file", "write x", "broken", False),
    ]


def test_trails_of_two_threads_do_not_mix():
    other = []

    def work():
        with trail.recording() as entries:
            commands.run(["true"])
            other.extend(entries)

    with trail.recording() as entries:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert entries == []
    assert len(other) == 1


def test_a_trail_has_an_end():
    with trail.recording() as entries:
        for number in range(trail.MAX_ENTRIES * 2):
            trail.note(str(number), "")
    assert len(entries) == trail.MAX_ENTRIES + 1
    assert "cut" in entries[-1].what


def fence(operation: object, attempt: int) -> Fence:
    return Fence(operation_id=str(operation), attempt=attempt)


def test_fences_are_remembered_on_disk_and_bounded(tmp_path):
    fences = Fences(tmp_path / "fences", keep=10)
    for operation in range(40):
        fences.check(fence(operation, 5))
        fences.check(fence(operation, 5))
    fences.close()
    assert len((tmp_path / "fences").read_text().splitlines()) <= 21
    again = Fences(tmp_path / "fences", keep=10)
    with pytest.raises(HostError, match="out of date"):
        again.check(fence(39, 4))
    again.check(fence(0, 1))  # long forgotten
    again.check(fence(39, 6))
    with pytest.raises(HostError):
        again.check(fence(39, 5))


def test_a_torn_line_of_the_fence_file_is_survived(tmp_path):
    (tmp_path / "fences").write_bytes(b"op-1 3\nop-2 4\nop-3")
    fences = Fences(tmp_path / "fences")
    with pytest.raises(HostError):
        fences.check(fence("op-1", 2))
    fences.check(fence("op-3", 1))
    fences.close()
    again = Fences(tmp_path / "fences")
    again.check(fence("op-3", 1))
    with pytest.raises(HostError):
        again.check(fence("op-2", 3))


def test_a_fault_is_met_by_one_thread_only(tmp_path):
    faults = Faults(tmp_path / "faults")
    faults.meet("ensure_disk")  # no folder yet
    faults.fail_next("ensure_disk", "disk_full", "no room", times=3)
    met = []

    def work():
        for _ in range(10):
            try:
                faults.meet("ensure_disk")
            except HostError as error:
                met.append(error.code)
            faults.meet("ensure_image")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == ["disk_full"] * 3


def test_a_fault_written_right_after_a_look_is_met(tmp_path):
    faults, writer = Faults(tmp_path / "faults"), Faults(tmp_path / "faults")
    for _ in range(30):
        faults.meet("observe_host")
        writer.fail_next("observe_host", "node_error", "now")
        with pytest.raises(HostError):
            faults.meet("observe_host")
