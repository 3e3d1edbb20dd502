"""One dnsmasq process: start it, have it read its files again, stop it, know whether it lives.

It is a daemon that outlives this process. It is known by its pid file, and believed only when
the process's command line names its configuration and it sits in the right namespace: after a
reboot the number may be somebody else's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from nubelet.node import commands, trail
from nubelet.node.errors import DHCP_FAILED, HostError
from nubelet.node.switching.linux import namespaces

_STOP_SECONDS = 2.0
_PROC = Path("/proc")


def service_user(folder: Path) -> str:
    """`nobody` where that user can reach the folder (it reads the files again on SIGHUP), else
    root: an operator who lets others traverse the state folder has the better service.
    """
    reachable = all(parent.stat().st_mode & 0o001 for parent in [folder, *folder.parents])
    return "nobody" if reachable else "root"


class Dnsmasq:
    """The dnsmasq that runs on one configuration file, in one namespace."""

    def __init__(self, configuration: Path, pid_file: Path, namespace: str) -> None:
        self._configuration = configuration
        self._pid_file = pid_file
        self._namespace = namespace

    def ensure(self, configuration: str, *, reread: bool) -> None:
        """Run with this configuration; `reread`: have it read its other files again."""
        pid = self.pid()
        if pid is not None and _content(self._configuration) == configuration:
            if reread:
                self._signal(pid, signal.SIGHUP)
            return
        # In this order: what is written is what a living process was started with.
        self.stop()
        write(self._configuration, configuration)
        self.start()

    def start(self) -> None:
        """Start it; returns when it serves. `HostError(dhcp_failed)` with its own complaint."""
        commands.run(
            ["dnsmasq", f"--conf-file={self._configuration}"],
            namespace=self._namespace,
            code=DHCP_FAILED,
        )
        if self.pid() is None:
            raise HostError(DHCP_FAILED, f"dnsmasq in {self._namespace} ended at once")

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        for pid in processes(str(self._configuration)):
            self._signal(pid, signal.SIGTERM)
            deadline = time.monotonic() + _STOP_SECONDS
            while (_PROC / str(pid)).exists() and not _is_zombie(pid):
                if time.monotonic() > deadline:
                    self._signal(pid, signal.SIGKILL)
                    break
                time.sleep(0.002)
        self._pid_file.unlink(missing_ok=True)

    def pid(self) -> int | None:
        """The process id when it is alive and ours, else None."""
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return None
        if str(self._configuration) not in command_line(pid):
            return None
        with contextlib.suppress(OSError):
            inode = (_PROC / str(pid) / "ns" / "net").stat().st_ino
            return pid if inode == namespaces.identity(self._namespace) else None
        return None

    def _signal(self, pid: int, number: signal.Signals) -> None:
        step = trail.step("signal", f"{number.name} to dnsmasq {pid}")
        with step, contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def processes(text: str) -> list[int]:
    """Processes whose command line contains a text (a path below the state folder)."""
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and text in command_line(pid)]


def command_line(pid: int) -> str:
    """The command line of a process, words separated by blanks; empty when it is gone."""
    try:
        return (
            (_PROC / str(pid) / "cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode("utf-8", "replace")
        )
    except OSError:
        return ""


def write(path: Path, text: str) -> None:
    """Write a file readable by all: the service may run as nobody."""
    if _content(path) != text:
        path.write_text(text)
        path.chmod(0o644)


def _content(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def _is_zombie(pid: int) -> bool:
    # Where this process is the parent by adoption (pid 1 of a container), the dead stay listed.
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
