"""Host commands: the one place in the house that starts a program and waits for it.

A command is a list of arguments, never a shell line. It has a timeout, its output is captured,
it may be limited in memory, CPU time and file size, and it is written into the trail of the
call that needed it.

Read next: `trail.py` (where it shows), `switching/linux` and `disks/file` (who uses it).

In OpenStack: oslo.concurrency processutils, with rootwrap/privsep left out: a node runs as root.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from nubelet.node import trail
from nubelet.node.errors import COMMAND_FAILED, COMMAND_TIMEOUT, HostError

log = logging.getLogger(__name__)

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Limits:
    """What a command may use (prlimit). Untrusted files make tools use far more than is right."""

    cpu_seconds: int | None = None
    address_space_bytes: int | None = None
    file_size_bytes: int | None = None

    def prefix(self) -> list[str]:
        """The `prlimit` words that go before the command."""
        words = ["prlimit"]
        if self.cpu_seconds is not None:
            words.append(f"--cpu={self.cpu_seconds}")
        if self.address_space_bytes is not None:
            words.append(f"--as={self.address_space_bytes}")
        if self.file_size_bytes is not None:
            words.append(f"--fsize={self.file_size_bytes}")
        return [*words, "--"] if len(words) > 1 else []


@dataclass(frozen=True)
class Completed:
    """A finished command: exit status and what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode(errors="replace")

    @property
    def complaint(self) -> str:
        """What the command said about its failure, else its exit status."""
        said = self.stderr.decode(errors="replace").strip() or self.text.strip()
        return said or f"exit status {self.status}"


def run(
    arguments: Sequence[str | os.PathLike[str]],
    *,
    timeout_seconds: float = 30,
    stdin: bytes | None = None,
    namespace: str | None = None,
    environment: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    check: bool = True,
    code: str = COMMAND_FAILED,
    output: Path | None = None,
) -> Completed:
    """Run a command to its end and return what it wrote, or let it write into the file `output`.

    `namespace` names a network namespace (under /run/netns) to run it in. With `check` a non-zero
    exit raises `HostError(code)`, whose message is the command's own complaint. A command that
    outlives its timeout is killed: `HostError(command_timeout)`.
    """
    words = [os.fspath(word) for word in arguments]
    argv = (limits.prefix() if limits else []) + words
    if namespace is not None:
        # nsenter, not `ip netns exec`: the latter remounts /sys and so hides the cgroups.
        argv = ["nsenter", f"--net=/run/netns/{namespace}", "--", *argv]
    started_at, started = time.time(), time.perf_counter()
    try:
        done = _execute(argv, timeout_seconds, stdin, environment, output)
    except HostError as fault:
        _note(argv, fault.message, False, started_at, started)
        raise
    ok = done.status == 0
    _note(argv, "ok" if ok else done.complaint, ok, started_at, started)
    if check and not ok:
        raise HostError(code, f"{words[0]} failed: {_last_line(done.complaint)}", done.complaint)
    return done


class Started:
    """A command that goes on by itself; `poll` looks at it, `kill` ends it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def poll(self) -> Completed | None:
        """What it wrote, once it has ended."""
        if self._process.poll() is None:
            return None
        stdout, stderr = self._process.communicate()
        return Completed(self._process.returncode, stdout or b"", stderr or b"")

    def kill(self) -> None:
        """End it, if it has not."""
        self._process.kill()
        self._process.communicate()


def start(arguments: Sequence[str | os.PathLike[str]], *, limits: Limits | None = None) -> Started:
    """Start a command that says little and may take long, without waiting for it."""
    argv = (limits.prefix() if limits else []) + [os.fspath(word) for word in arguments]
    with trail.step("command", shlex.join(argv)) as step:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={"PATH": _PATH, "LC_ALL": "C.UTF-8"},
            )
        except OSError as error:
            message = f"{argv[0]} could not be started: {error.strerror or error}"
            raise HostError(COMMAND_FAILED, message, shlex.join(argv)) from None
        step.result = f"started as process {process.pid}"
    return Started(process)


def end_left(programs: Iterable[str], folder: Path, *, timeout_seconds: float = 10) -> None:
    """End the programs that a killed process of this node left at work on files below a folder.

    They are found by looking, as the process that would know of them is gone. (The kernel could
    end them with the thread that started them, but threads end before programs do.)
    """
    names, deadline = {"prlimit", *programs}, time.monotonic() + timeout_seconds
    ended: set[int] = set()
    while left := _at_work(names, folder):
        for process_id in left - ended:
            log.info("ending process %d, which a former process left", process_id)
            with contextlib.suppress(OSError):  # it has ended, or is not ours to end
                os.kill(process_id, signal.SIGKILL)
        ended |= left
        if time.monotonic() > deadline:
            log.warning("processes %s below %s do not end", sorted(left), folder)
            return
        time.sleep(0.02)


def _at_work(names: set[str], folder: Path) -> set[int]:
    found, below = set(), f"{folder}/"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if os.path.basename(words[0]) in names and any(w.startswith(below) for w in words):
                found.add(int(entry.name))
    return found


def _execute(
    argv: list[str],
    timeout_seconds: float,
    stdin: bytes | None,
    environment: Mapping[str, str] | None,
    output: Path | None,
) -> Completed:
    # A fixed environment: the caller's may hold secrets or a locale that changes messages.
    env = {"PATH": _PATH, "LC_ALL": "C.UTF-8", **(environment or {})}
    try:
        # With no input the command reads end of file at once, never our terminal.
        with output.open("wb") if output else nullcontext(subprocess.PIPE) as stdout:
            done = subprocess.run(
                argv,
                input=stdin or b"",
                stdout=stdout,
                stderr=subprocess.PIPE,
                timeout=timeout_seconds,
                env=env,
                check=False,
            )
    except subprocess.TimeoutExpired:
        message = f"{argv[0]} did not finish within {timeout_seconds:g} seconds"
        raise HostError(COMMAND_TIMEOUT, message, shlex.join(argv)) from None
    except OSError as error:
        message = f"{argv[0]} could not be started: {error.strerror or error}"
        raise HostError(COMMAND_FAILED, message, shlex.join(argv)) from None
    return Completed(done.returncode, done.stdout or b"", done.stderr)


def _note(argv: list[str], result: str, ok: bool, started_at: float, started: float) -> None:
    trail.record(
        "command",
        shlex.join(argv),
        result,
        ok=ok,
        started_at=started_at,
        duration_seconds=time.perf_counter() - started,
    )


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else ""
