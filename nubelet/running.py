"""Run a process of a cloud in the foreground: the port, signals, API processes beside it.

With `http.workers` above one the process that was started opens the port, is worker and node
itself, and starts so many API processes, which inherit the open port and end with it, however it
ends. One that dies is started again.

Read next: process.py (the roles).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Any

from nubelet.process import ALL_ROLES, CannotStart, Process, base_url
from nubelet.settings import Settings

if TYPE_CHECKING:
    from nubelet.kernel.http.app import Application

log = logging.getLogger(__name__)

_STOP_SECONDS = 15  # after this the process ends whatever still runs
_CHILD_STOP_SECONDS = 8
_PR_SET_PDEATHSIG = 1
_STARTED = "api-{}"  # of an API process, by its number


def run(
    settings: Settings,
    *,
    admin_password: str = "",
    roles: frozenset[str] = ALL_ROLES,
    node_name: str = "",
) -> None:
    """Run until SIGTERM or SIGINT. Raises CannotStart."""
    several = "api" in roles and settings.http.workers > 1
    if not settings.bus.url and roles not in (ALL_ROLES, frozenset({"api"})):
        raise CannotStart(
            "a worker or node in a process of its own needs a message broker: set bus.url"
        )
    # Before anything else: a taken port must change nothing.
    listener = _listen(settings) if "api" in roles else None
    own_roles = roles - {"api"} if several else roles
    process = Process(settings, admin_password=admin_password, roles=own_roles, node_name=node_name)
    ending = _Ending()
    try:
        app = process.start()
        _tune_interpreter()
        if several and listener is not None:
            log.info("listening on %s with %d processes", base_url(settings), settings.http.workers)
            _ApiProcesses(settings, listener, process).run(ending)
        elif app is not None and listener is not None:
            log.info("listening on %s", base_url(settings))
            _serve(app, listener, ending)
        else:
            log.info("running as %s", " and ".join(sorted(roles)))
            ending.wait()
    finally:
        _stop(process, ending)


def run_api_beside(settings: Settings, *, admin_password: str, listen_fd: int, parent: int) -> None:
    """Be an API process that `run` has started; raises CannotStart."""
    _end_with(parent)
    process = Process(
        settings,
        admin_password=admin_password,
        roles=frozenset({"api"}),
        ready_file=_ready_file(settings),
    )
    ending = _Ending()
    try:
        app = process.start()
        assert app is not None
        _tune_interpreter()
        _started_file(settings, os.getpid()).touch()
        _serve(app, socket.socket(fileno=listen_fd), ending)
    finally:
        _stop(process, ending)


def _tune_interpreter() -> None:
    """What was made at the start stays: the garbage collector need not look at it again. An
    answer of a thousand servers is no garbage either, so it looks for cycles less often.

    A thread gives the interpreter away with each call of the database, often while it holds the
    writer's lock; it gets it back from a thread that computes after half a millisecond, not five.
    """
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


class _Ending:
    """SIGTERM and SIGINT: an orderly end. While starting, the start is broken off."""

    def __init__(self) -> None:
        self._asked = False
        # A handler of a signal may put into it wherever it interrupts the one who waits for it.
        self._woken: SimpleQueue[None] = SimpleQueue()
        self._on_signal: Callable[[], object] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end; True when it was asked for, now or before."""
        self.when_asked(lambda: None)
        if not self._asked:
            with contextlib.suppress(Empty):
                self._woken.get(timeout=seconds)
        return self._asked

    def when_asked(self, action: Callable[[], object]) -> None:
        """From now on call `action` (which must not raise); at once if the end was asked for."""
        self._on_signal = action
        if self._asked:
            action()

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        self._woken.put(None)
        if self._on_signal is None:
            # Python drops what is raised in a finalizer: then the start goes on to its end.
            raise SystemExit(0)
        self._on_signal()


def _serve(app: Application, listener: socket.socket, ending: _Ending) -> None:
    """Answer requests until asked to end; those under way are answered."""
    import uvicorn

    from nubelet.kernel.http.server import Protocol

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=Protocol,
            loop="uvloop",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            # Who may say of users who they are is told by the address they really come from.
            proxy_headers=not app.cloud.settings.federation.proxy_addresses,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
        )
    )

    def end() -> None:
        server.should_exit = True

    ending.when_asked(end)  # also when uvicorn, at its end, raises the signal once more
    server.run(sockets=[listener])  # on the configured loop


def _stop(process: Process, ending: _Ending) -> None:
    ending.when_asked(lambda: None)  # we are ending
    watchdog = threading.Timer(_STOP_SECONDS, os._exit, (1,))
    watchdog.daemon = True
    watchdog.start()
    process.stop()
    watchdog.cancel()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.http.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Each connection inherits it; without it the body of an answer waits up to 44 ms for the
    # client's acknowledgement of the headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((settings.http.host, settings.http.port))
    except OSError as error:
        listener.close()
        raise CannotStart(
            f"{settings.http.host} port {settings.http.port} cannot be used: {error.strerror}"
        ) from error
    listener.listen(2048)
    return listener


# --- API processes beside the main one --------------------------------------------------------


class _ApiProcesses:
    """So many processes that answer on one port."""

    def __init__(self, settings: Settings, listener: socket.socket, process: Process) -> None:
        self._settings = settings
        self._listener = listener
        self._process = process
        self._ready = _ready_file(settings)
        self._children: list[subprocess.Popen[bytes]] = []

    def run(self, ending: _Ending) -> None:
        """Keep them running until asked to end, then end them."""
        self._ready.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for left in self._ready.parent.glob(_STARTED.format("*")):
            left.unlink()
        self._ready.unlink(missing_ok=True)
        ready = False
        try:
            self._children = [self._spawn() for _ in range(self._settings.http.workers)]
            while not ending.wait(1.0 if ready else 0.05):
                if not ready and self._all_started() and not self._process.silent_nodes():
                    self._ready.touch()
                    ready = True
                self._replace_dead()
        finally:
            self._end()

    def _all_started(self) -> bool:
        return all(_started_file(self._settings, each.pid).exists() for each in self._children)

    def _spawn(self) -> subprocess.Popen[bytes]:
        number = self._listener.fileno()
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "nubelet",
                "serve",
                "--role",
                "api",
                "--state-dir",
                str(self._settings.state_dir),
                "--beside",
                f"{os.getpid()}:{number}",
            ],
            stdin=subprocess.DEVNULL,
            pass_fds=(number,),
            cwd="/",
        )

    def _replace_dead(self) -> None:
        for place, child in enumerate(self._children):
            code = child.poll()
            if code is not None:
                log.error("API process %d ended with %d: another one is started", child.pid, code)
                _started_file(self._settings, child.pid).unlink(missing_ok=True)
                self._children[place] = self._spawn()
                time.sleep(0.5)  # one that cannot start shall not take all the time there is

    def _end(self) -> None:
        self._ready.unlink(missing_ok=True)
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
        until = time.monotonic() + _CHILD_STOP_SECONDS
        for child in self._children:
            try:
                child.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _ready_file(settings: Settings) -> Path:
    """There while all API processes have started and the nodes of this machine were heard of."""
    return settings.state_dir / "run" / "ready"


def _started_file(settings: Settings, pid: int) -> Path:
    """There when this API process can answer."""
    return settings.state_dir / "run" / _STARTED.format(pid)


def _end_with(parent: int) -> None:
    """Let the kernel end this process when its parent ends, however that happens."""
    libc: Any = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it ended before we asked
        raise CannotStart("the process that started this one has ended")
