"""Call a storage node: one connection per call, kept for the next.

`http.client` spends more time on a small call than the node does, so the few lines of HTTP that the
wire needs are here. A node that failed is *shunned* for a while: asked last, not never.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from nubelet.decoding import prepared
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.log import request_id
from nubelet.object_store.cluster import wire
from nubelet.object_store.cluster.configuration import Timing
from nubelet.object_store.cluster.wire import NodeFailed

log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
_IDLE_SECONDS = 20.0
_READ_BYTES = 1 << 18
_MAX_HEAD = 1 << 18
Address = tuple[str, int]


class Client:
    """Calls nodes; for all threads of a process."""

    def __init__(self, key: bytes, timing: Timing) -> None:
        self.key, self.timing = key, timing
        self._idle: dict[Address, list[tuple[float, socket.socket]]] = defaultdict(list)
        self._shunned: dict[Address, float] = {}
        self._lock = threading.Lock()

    def call(
        self,
        address: Address,
        name: str,
        arguments: Any,
        type: type[_Answer],
        *,
        body: bytes = b"",
        seconds: float | None = None,
    ) -> _Answer:
        """The answer; raises NodeFailed, or what the node refused with."""
        for fresh in (False, True):
            exchange = Exchange(self, address, name, arguments, fresh=fresh, seconds=seconds)
            try:
                exchange.send_head(len(body))
                exchange.send(body)
                return understood(exchange.finish(), type)
            except StaleConnection:
                continue
            finally:
                exchange.close()
        raise NodeFailed("unreachable")

    def shun(self, address: Address, cause: Exception) -> None:
        """Ask this node last for a while, and by a new connection: on those that are kept one would
        wait for nothing once more."""
        if not self.is_shunned(address):
            log.warning("the node %s:%d is asked last for a while: %s", *address, cause)
        self._shunned[address] = time.monotonic() + self.timing.shun_seconds
        with self._lock:
            kept = self._idle.pop(address, [])
        for _, connection in kept:
            connection.close()

    def is_shunned(self, address: Address) -> bool:
        """Did it fail a short while ago?"""
        return self._shunned.get(address, 0.0) > time.monotonic()

    def connection(self, address: Address, fresh: bool) -> tuple[socket.socket, bool]:
        """A connection, and whether it was used before; raises NodeFailed."""
        if not fresh:
            with self._lock:
                idle = self._idle[address]
                while idle:
                    since, kept = idle.pop()
                    if time.monotonic() - since < _IDLE_SECONDS:
                        return kept, True
                    kept.close()
        try:
            made = socket.create_connection(address, self.timing.connect_seconds)
        except OSError as error:
            self.shun(address, error)
            raise NodeFailed(f"{address[0]}:{address[1]}: {error}") from error
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made, False

    def keep(self, address: Address, connection: socket.socket) -> None:
        """Keep a connection for the next call."""
        self._shunned.pop(address, None)
        with self._lock:
            self._idle[address].append((time.monotonic(), connection))

    def close(self) -> None:
        """Close what is kept."""
        with self._lock:
            for connections in self._idle.values():
                for _, connection in connections:
                    connection.close()
            self._idle.clear()


def understood(data: bytes, type: type[_Answer]) -> _Answer:
    """An answer; raises NodeFailed where it is none."""
    try:
        return wire.decode(data, type)
    except BadRequest as error:
        raise NodeFailed(error.message) from error


class StaleConnection(Exception):  # noqa: N818 - a state
    """The other side had closed the connection that was kept."""


class Exchange:
    """One call under way. `close` it in any case: it is kept or closed as its state demands."""

    def __init__(
        self,
        client: Client,
        address: Address,
        name: str,
        arguments: Any,
        *,
        fresh: bool = True,
        seconds: float | None = None,
    ) -> None:
        """Raises NodeFailed."""
        self.address = address
        self._client = client
        self._name = name
        self._arguments = arguments
        self._socket, self._reused = client.connection(address, fresh)
        self._socket.settimeout(seconds or client.timing.answer_seconds)
        self._buffer = b""
        self._whole = False  # the answer was read to its end
        self._left = 0
        self._keeps = True
        self.answer = b""
        self._began = time.perf_counter()
        self._outcome = "was cut off"  # for the log

    def send_head(self, length: int | None, *, expects: bool = False) -> None:
        """Begin: `length` of the body, None for one that is streamed; `expects`: the node shall
        say first whether it wants the body (`may_send`)."""
        headers = wire.signed(self._client.key, self._name, self._arguments)
        headers[wire.REQUEST] = request_id()
        lines = [
            f"POST {wire.PATH}{self._name} HTTP/1.1",
            f"host: {self.address[0]}:{self.address[1]}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        lines.append(
            "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        )
        if expects:
            lines.append("expect: 100-continue")
        self._write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def may_send(self) -> None:
        """Wait until the node wants the body; raises what it refuses with."""
        status, headers = self._read_head()
        if status != 100:
            self._begin_answer(status, headers)
            self._refuse_unless_ok(status)

    def send(self, data: bytes) -> None:
        """Send bytes of a body whose length was told."""
        if data:
            self._write(data)

    def send_piece(self, piece: bytes) -> None:
        """Send a piece of a streamed body."""
        head = wire.frame(piece)
        self._write(b"%x\r\n" % (len(head) + len(piece)) + head)
        self._write(piece)
        self._write(b"\r\n")

    def send_end(self, tail: wire.Tail) -> None:
        """End a streamed body."""
        data = wire.end(self._client.key, tail)
        self._write(b"%x\r\n" % len(data) + data + b"\r\n0\r\n\r\n")

    def finish(self) -> bytes:
        """The JSON of the answer; raises NodeFailed, or what the node refused with."""
        self._start()
        return b"".join(self.pieces())

    def open(self) -> bytes:
        """The answer beside a stream, whose bytes `pieces` gives."""
        self._start()
        return self.answer

    def pieces(self) -> Iterator[bytes]:
        """The body of the answer; raises NodeFailed when it breaks off."""
        while self._left:
            piece = self._buffer[: self._left] or self._read(min(self._left, _READ_BYTES))
            self._buffer = self._buffer[len(piece) :]
            self._left -= len(piece)
            self._whole = not self._left
            yield piece
        self._whole = True

    def close(self) -> None:
        """Keep the connection for another call, or close it."""
        if self._outcome and log.isEnabledFor(logging.DEBUG):
            self._tell()
        if self._whole and not self._buffer:
            self._client.keep(self.address, self._socket)
        else:
            self._socket.close()
        self._whole = False

    # --- Inside -----------------------------------------------------------------------------

    def _tell(self) -> None:
        log.debug(
            "%s %s:%d/%s %s, %.1f ms",
            self._name,
            *self.address,
            getattr(self._arguments, "device", ""),
            self._outcome,
            (time.perf_counter() - self._began) * 1000,
        )
        self._outcome = ""

    def _start(self) -> None:
        status, headers = self._read_head()
        while status == 100:
            status, headers = self._read_head()
        self._begin_answer(status, headers)
        self._refuse_unless_ok(status)

    def _begin_answer(self, status: int, headers: dict[str, str]) -> None:
        self._left = int(headers.get("content-length", "0"))
        self.answer = base64.b64decode(headers.get("x-nubelet-answer", ""))
        self._keeps = headers.get("connection", "").lower() != "close"

    def _refuse_unless_ok(self, status: int) -> None:
        if status == 200:
            self._outcome = "is done"
            return
        data = b"".join(self.pieces())
        try:
            refusal = msgspec.json.decode(data, type=prepared(wire.Refusal))
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._whole = False
            raise NodeFailed(f"{self.address[0]}:{self.address[1]} answers {status}") from None
        if not self._keeps:
            self._whole = False
        error = wire.raised(refusal)
        self._outcome = f"is refused ({type(error).__name__})"
        if isinstance(error, NodeFailed):
            self._client.shun(self.address, error)
        raise error

    def _read_head(self) -> tuple[int, dict[str, str]]:
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _MAX_HEAD:
                raise NodeFailed("the head of the answer is too long")
            self._buffer += self._read(65536)
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self._reused = False  # an answer came: the connection was good
        try:
            status = int(lines[0].split(" ", 2)[1])
        except (IndexError, ValueError):
            raise NodeFailed("the answer is not HTTP") from None
        pairs = (line.partition(":") for line in lines[1:])
        return status, {name.lower(): value.strip() for name, _, value in pairs}

    def _read(self, size: int) -> bytes:
        with self._failing():
            data = self._socket.recv(size)
        if not data:
            self._fail(ConnectionResetError("the connection was closed"))
        return data

    def _write(self, data: bytes) -> None:
        with self._failing():
            self._socket.sendall(data)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._whole = False
        self._outcome = f"failed ({error})"
        if self._reused and not isinstance(error, TimeoutError):
            raise StaleConnection from error
        self._client.shun(self.address, error)
        raise NodeFailed(f"{self.address[0]}:{self.address[1]}: {error}") from error
