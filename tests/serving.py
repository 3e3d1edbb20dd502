"""An application of a test on a real socket, for clients that speak real HTTP."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

_given = set[int]()  # by this process: who was given one may not listen yet
# Processes that run tests beside each other (pytest-xdist) choose from different ports, for the
# same reason: a server that a test killed leaves its port free until it starts again.
_PROCESSES = 8
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES


def free_port() -> int:
    """A port that nobody listens on now. Where there is room it is not of those that the kernel
    gives to clients: any connection could take such a one before a server does."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ours = range(lowest // 2 + _process, lowest, _PROCESSES)
    for _ in range(100):
        port = random.SystemRandom().choice(ours) if lowest > 16_000 else 0
        if port and port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return int(probe.getsockname()[1])
    raise AssertionError("no port is free")


@contextmanager
def listening(app: Any, port: int = 0) -> Iterator[str]:
    """The URL of a server on loopback that serves an ASGI application, on a free port or this."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        port = listener.getsockname()[1]
        listener.listen(64)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        until = time.monotonic() + 60
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(60)
