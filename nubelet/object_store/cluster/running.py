"""A storage node as a process: its port, its daemons, and its end."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from pathlib import Path
from queue import SimpleQueue

from nubelet.object_store.cluster.configuration import Cluster
from nubelet.object_store.cluster.daemons.supervisor import Supervisor
from nubelet.object_store.cluster.node import Node

log = logging.getLogger(__name__)
SERVER = "server"


def run(
    cluster: Path,
    devices: Path,
    ip: str,
    port: int,
    *,
    only: frozenset[str] = frozenset(),
    once: bool = False,
) -> None:
    """Run until SIGTERM or SIGINT. Raises ConfigurationError, RingFileError, OSError, and
    ValueError for an unknown part."""
    node = Node(Cluster(cluster), devices, ip, port)
    supervisor = Supervisor(node, only - {SERVER}) if only != {SERVER} else None
    try:
        if once:
            if supervisor is not None and not supervisor.once():
                raise SystemExit(1)
            return
        listener = _listen(ip, port) if not only or SERVER in only else None
        if supervisor is not None:
            supervisor.start()
        sys.setswitchinterval(0.001)
        log.info("storage node %s:%d with devices in %s", ip, port, devices)
        if listener is not None:
            _serve(node, listener)
        else:
            _wait()
    finally:
        if supervisor is not None:
            supervisor.stop()
        node.close()


def _listen(ip: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind((ip, port))
    listener.listen(1024)
    return listener


def _serve(node: Node, listener: socket.socket) -> None:
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            node.server(),
            http="httptools",
            loop="uvloop",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
        )
    )
    server.run(sockets=[listener])


def _wait() -> None:
    ended: SimpleQueue[None] = SimpleQueue()  # safe to put into wherever a signal interrupts
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.put(None))
    ended.get()
