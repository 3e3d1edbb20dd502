"""169.254.169.254: an HTTP server inside the namespaces of DHCP services and routers.

The listening socket is made by a thread inside the namespace; requests are answered here, in the
node's process, by a few threads for all namespaces together. Which namespace a request came
through says which network or router the guest stands behind, so guests of two projects with the
same address are told apart. Nothing a guest says about itself (forwarding headers, instance
ids) is passed on.

In OpenStack: neutron/agent/metadata (haproxy in the namespace and a proxy to Nova).
"""

from __future__ import annotations

import contextlib
import http.server
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from nubelet.node.switching.linux import namespaces
from nubelet.node.switching.linux.names import METADATA_ADDRESS, METADATA_PORT
from nubelet.node.switching.linux.netlink import Netlink
from nubelet.node.wire import MetadataRequest, MetadataResponse

log = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0  # how long a guest may take to say its request
MAX_BODY_BYTES = 64 * 1024
# Requests of one namespace that are served at a time: one project cannot take all threads. Those
# beyond wait in the kernel's queue of the listening socket.
SHARE_OF_THREADS = 0.5
# What proxies and the metadata agent of OpenStack say on a guest's behalf: never a guest's to say.
_STRIPPED = (
    "x-forwarded-",
    "x-instance-id",
    "x-tenant-id",
    "x-project-id",
    "x-metadata-",
    "forwarded",
)

_IP_FREEBIND = 15

Answer = Callable[[MetadataRequest], MetadataResponse]
_Respond = Callable[[socket.socket, MetadataRequest], MetadataResponse]


@dataclass(frozen=True)
class Asker:
    """Behind what the guest stands: a network (its DHCP service) or a router."""

    network_id: str | None = None
    router_id: str | None = None


@dataclass
class _Listener:
    socket: socket.socket
    asker: Asker
    inode: int | None
    serving: int = 0
    paused: bool = False


class MetadataServer:
    """Metadata listeners of a cloud on this host."""

    def __init__(self, netlink: Netlink, threads: int) -> None:
        self._netlink = netlink
        self._threads = threads
        self._answer: Answer | None = None
        self._listeners: dict[str, _Listener] = {}
        self._lock = threading.Lock()
        self._selector: selectors.BaseSelector | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._acceptor: threading.Thread | None = None
        self._waker: tuple[socket.socket, socket.socket] | None = None
        self._share = max(1, int(threads * SHARE_OF_THREADS))
        self._reading: dict[socket.socket, float] = {}  # connection -> when it is given up

    def start(self, answer: Answer) -> None:
        """Begin to answer, with `answer`."""
        self._answer = answer
        self._selector = selectors.DefaultSelector()
        self._waker = socket.socketpair()
        self._selector.register(self._waker[0], selectors.EVENT_READ, None)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="metadata")
        self._acceptor = threading.Thread(target=self._accept, name="metadata", daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """Close every listener and end the threads."""
        for namespace in list(self._listeners):
            self.withdraw(namespace)
        if self._selector is None or self._waker is None or self._pool is None:
            return
        self._answer = None
        self._waker[1].send(b"x")
        if self._acceptor is not None:
            self._acceptor.join(timeout=5)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._selector.close()
        for end in self._waker:
            end.close()
        self._selector = None

    def serve(self, namespace: str, asker: Asker) -> None:
        """Listen in a namespace that has the metadata address; nothing before `start`."""
        if self._selector is None:
            return
        known = self._listeners.get(namespace)
        if known is not None and known.inode == namespaces.identity(namespace):
            return
        self.withdraw(namespace)
        listener = _Listener(
            self._netlink.run(namespace, lambda _: _listen()),
            asker,
            namespaces.identity(namespace),
        )
        with self._lock:
            self._listeners[namespace] = listener
            self._selector.register(listener.socket, selectors.EVENT_READ, listener)

    def withdraw(self, namespace: str) -> None:
        """Stop listening in a namespace: an open socket would keep it alive."""
        with self._lock:
            listener = self._listeners.pop(namespace, None)
            if listener is not None:
                self._pause(listener)
                listener.socket.close()

    def _pause(self, listener: _Listener) -> None:
        if self._selector is not None and not listener.paused:
            listener.paused = True
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(listener.socket)

    def _resume(self, listener: _Listener) -> None:
        if self._selector is not None and listener.paused and listener.socket.fileno() >= 0:
            listener.paused = False
            self._selector.register(listener.socket, selectors.EVENT_READ, listener)

    def _accept(self) -> None:
        while self._answer is not None and self._selector is not None:
            ready = self._selector.select(1.0 if self._reading else None)
            for key, _ in ready:
                if isinstance(key.data, _Listener):
                    self._admit(key.data)
            self._give_up_slow()

    def _admit(self, listener: _Listener) -> None:
        try:
            connection, address = listener.socket.accept()
        except OSError:  # withdrawn, or the guest went away
            return
        with self._lock:
            listener.serving += 1
            if listener.serving >= self._share:
                self._pause(listener)
            self._reading[connection] = time.monotonic() + REQUEST_SECONDS
        assert self._pool is not None
        try:
            self._pool.submit(self._serve, listener, connection, address)
        except RuntimeError:  # the pool is shutting down
            self._release(listener, connection)

    def _give_up_slow(self) -> None:
        """A guest that says its request byte by byte shall not hold a thread for ever."""
        now = time.monotonic()
        with self._lock:
            late = [c for c, deadline in self._reading.items() if deadline < now]
        for connection in late:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, listener: _Listener, connection: socket.socket, address: Any) -> None:
        try:
            connection.settimeout(REQUEST_SECONDS)
            _Handler(connection, address, listener.asker, self._respond_to)
        except OSError as error:
            log.debug("metadata request from %s: %s", address, error)
        except Exception:
            log.exception("metadata request from %s failed", address)
        finally:
            self._release(listener, connection)

    def _respond_to(self, connection: socket.socket, request: MetadataRequest) -> MetadataResponse:
        with self._lock:
            self._reading.pop(connection, None)
        answer = self._answer
        if answer is None:
            return MetadataResponse(status=503, body=b"the metadata service is stopping\n")
        try:
            return answer(request)
        except Exception:
            log.exception("metadata for %s failed", request.source_ip)
            return MetadataResponse(status=500, body=b"the metadata service failed\n")

    def _release(self, listener: _Listener, connection: socket.socket) -> None:
        with self._lock:
            self._reading.pop(connection, None)
            listener.serving -= 1
            self._resume(listener)
        connection.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    """One request on one connection (HTTP/1.0: closed after the answer)."""

    server_version = "nubelet"
    sys_version = ""

    def __init__(
        self, connection: socket.socket, address: Any, asker: Asker, answer: _Respond
    ) -> None:
        self._asker = asker
        self._answer = answer
        # The server argument is only kept by the base class, never used.
        super().__init__(connection, address, None)  # type: ignore[arg-type]

    def _respond(self) -> None:
        body = self._read_body()
        if body is None:
            return
        request = MetadataRequest(
            path=self.path,
            source_ip=self.client_address[0],
            network_id=self._asker.network_id,
            router_id=self._asker.router_id,
            method=self.command,
            headers=tuple(passed_on(self.headers.items())),
            body=body,
        )
        self._write(self._answer(self.connection, request))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _respond  # noqa: N815

    def _read_body(self) -> bytes | None:
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if length < 0 or length > MAX_BODY_BYTES:
            too_large = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            self.send_error(too_large if length > 0 else HTTPStatus.BAD_REQUEST)
            return None
        return self.rfile.read(length) if length else b""

    def _write(self, response: MetadataResponse) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Guests' requests are the control plane's to log."""
        log.debug(format, *args)


def passed_on(headers: Any) -> list[tuple[str, str]]:
    """A guest's headers without those it may not say."""
    return [(name, value) for name, value in headers if not name.lower().startswith(_STRIPPED)]


def _listen() -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # An earlier process may have died before it gave the namespace the address: it comes later.
    listening.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
    listening.bind((METADATA_ADDRESS, METADATA_PORT))
    listening.listen(128)
    listening.setblocking(False)
    return listening
