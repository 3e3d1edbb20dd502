"""A cloud on this machine, as its state folder knows it.

Everything a cloud owns lies in its state folder or carries the folder's tag in its name, so
that several clouds live side by side and each can be removed without a trace.

    nubelet.toml     settings          admin-password   the first administrator's (0600)
    nubelet.pid      the process       nubelet.db       the database (unless elsewhere)
    log/             what it said      images/ node/    bits
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from nubelet.kernel.ids import new_secret
from nubelet.private_files import write_private

DEFAULT_PORT = 8774


def default_state_dir() -> Path:
    """`/var/lib/nubelet` for root, a folder in the home of anybody else."""
    configured = os.environ.get("NUBELET_STATE_DIR")
    if configured:
        return Path(configured)
    if os.geteuid() == 0:
        return Path("/var/lib/nubelet")
    return Path.home() / ".local" / "state" / "nubelet"


state_dir_option = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_state_dir,
    show_default="/var/lib/nubelet",
    help="The folder that holds everything of this cloud.",
)


class Instance:
    """One cloud on this machine."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = Path(os.path.abspath(state_dir))
        self.pid_file = self.state_dir / "nubelet.pid"
        self.log_file = self.state_dir / "log" / "nubelet.log"
        self.settings_file = self.state_dir / "nubelet.toml"
        self.password_file = self.state_dir / "admin-password"
        self._folder: int | None = None  # open and locked, while `alone`

    @property
    def exists(self) -> bool:
        """Was this cloud ever started?"""
        return self.settings_file.exists()

    def require_exists(self) -> None:
        """Refuse to go on without a cloud."""
        if not self.exists:
            raise click.ClickException(
                f"there is no cloud in {self.state_dir}: start one with `nubelet up`"
            )

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other `up` and `down` of this cloud waiting meanwhile.

        The lock is on the state folder itself and ends with the processes that hold it: this one
        and, until it has the lock of the pid file, the one that it spawns. A folder that had to
        be made for it goes again when nothing was put into it.
        """
        missing = [each for each in (self.state_dir, *self.state_dir.parents) if not each.exists()]
        try:
            folder = self._folder = self._lock_folder()
        except OSError:  # such a folder cannot be: whoever needs it says why
            yield
            return
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                for each in missing:
                    each.rmdir()
            self._folder = None
            os.close(folder)

    def _lock_folder(self) -> int:
        while True:
            self.state_dir.mkdir(parents=True, exist_ok=True)
            folder = os.open(self.state_dir, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                click.echo("Another command starts or stops this cloud: waiting for it.", err=True)
                fcntl.flock(folder, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(folder), self.state_dir.stat()):
                    return folder
            os.close(folder)  # it was removed meanwhile, and perhaps made anew

    def pid(self) -> int | None:
        """The process of this cloud; None when it does not run.

        The process holds a lock on the pid file as long as it lives, so a number that was left
        by a killed process, and perhaps given to another one since, is not believed. Those who look
        share it, lest two of them take each other for the process.
        """
        try:
            with self.pid_file.open("r+") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read().strip() or 0) or None
                return None
        except (FileNotFoundError, ValueError):
            return None

    def admin_password(self) -> str:
        """The first administrator's password."""
        return self.password_file.read_text().strip()

    def prepare(self, admin_password: str | None) -> None:
        """Make the folder and the administrator's password."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        self.state_dir.chmod(0o711)  # QEMU and dnsmasq may run as another user and pass through
        if admin_password:
            write_private(self.password_file, admin_password + "\n")
        elif not self.password_file.exists():
            made_up = new_secret(12)
            write_private(self.password_file, made_up + "\n", replace=False)

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the process in the background; its output goes to the log.

        It shares the lock of `alone` until it can be found by its pid file: when who started it
        is killed, the next one does not start a second process beside it.
        """
        words = [sys.executable, "-m", "nubelet", "serve", "--state-dir", str(self.state_dir)]
        shared = () if self._folder is None else (self._folder,)
        for descriptor in shared:
            words += ["--starting", str(descriptor)]
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                words,
                pass_fds=shared,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
            )

    def health(self, url: str, timeout_seconds: float = 2) -> dict[str, Any] | None:
        """What the cloud answers about itself; None when it does not answer or is not ready."""
        try:
            with urllib.request.urlopen(  # noqa: S310 - always http to our own address
                f"{url}/healthcheck", timeout=timeout_seconds
            ) as answer:
                return dict(json.load(answer))
        except (OSError, ValueError):
            return None

    def stop(self, timeout_seconds: float = 20) -> bool:
        """Stop the process; True if one ran."""
        pid = self.pid()
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout_seconds
        while self.pid() is not None or _runs(pid):
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        return True

    def log_tail(self, lines: int = 15) -> str:
        """The end of the log, for a user whose cloud did not start."""
        try:
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""


def _runs(pid: int) -> bool:
    """Is there such a process, and not only what its parent has yet to take notice of?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class PidLock:
    """Held by the process of a cloud for its whole life. Who only looks for it (Instance.pid)
    shares the lock for an instant, which is waited out however long a busy machine makes it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+")
        while not self._take(fcntl.LOCK_EX):
            if not self._take(fcntl.LOCK_SH):
                raise click.ClickException(f"another process already runs this cloud ({path})")
            fcntl.flock(self._file, fcntl.LOCK_UN)
            time.sleep(0.01)
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def _take(self, how: int) -> bool:
        try:
            fcntl.flock(self._file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
