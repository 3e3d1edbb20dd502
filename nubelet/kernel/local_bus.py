"""The bus between the processes of one machine, without a broker.

With several API processes, the process that is worker and node serves on a Unix socket in the
state folder (`LocalHub`); the API processes connect to it (`LocalBus`). Calls go from them to it,
doorbells both ways. Nothing else is needed on one machine; for more machines there is RabbitMQ.

Read next: `bus.py` (the promises), `nubelet/wiring.py` (who gets which).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from nubelet.decoding import prepared
from nubelet.kernel import guards
from nubelet.kernel.bus import (
    Handler,
    HandlerFailed,
    InProcessBus,
    NodeUnreachable,
    Reply,
    Stop,
    Subscriber,
    Threads,
)

log = logging.getLogger(__name__)

_LENGTH = struct.Struct("!I")
_SEND_SECONDS = 5  # a process that takes nothing for so long is cut off
_CALLERS = 64


class _Frame(msgspec.Struct, omit_defaults=True):
    """One message on the socket."""

    kind: Literal["call", "cast", "fanout", "reply"]
    target: str = ""
    body: bytes = b""
    number: int = 0
    timeout_seconds: float = 0.0
    reply: Reply | None = None
    unreachable: str = ""  # of a reply: why nobody answered


_decoder = msgspec.msgpack.Decoder(prepared(_Frame))


class _Connection:
    """A socket that carries frames; any thread may send."""

    def __init__(self, stream: socket.socket) -> None:
        stream.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_SECONDS, 0)
        )
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, frame: _Frame) -> None:
        """Raises OSError when the other side is gone; the connection is of no use then."""
        data = msgspec.msgpack.encode(frame)
        try:
            with self._lock:
                self._stream.sendall(_LENGTH.pack(len(data)) + data)
        except OSError:
            self.close()
            raise

    def receive(self) -> Iterator[_Frame]:
        """Frames until the other side goes away."""
        with contextlib.suppress(OSError), self._stream.makefile("rb") as file:
            while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
                (length,) = _LENGTH.unpack(head)
                data = file.read(length)
                if len(data) < length:
                    return
                yield _decoder.decode(data)

    def close(self) -> None:
        """End it; a waiting `receive` ends too."""
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        self._stream.close()


class _Asked:
    """A call that waits for its reply, and the connection that is to bring it."""

    __slots__ = ("answered", "connection", "reply")

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.connection: _Connection | None = None
        self.reply = _Frame("reply")

    def answer(self, reply: _Frame) -> None:
        self.reply = reply
        self.answered.set()


class LocalHub(InProcessBus):
    """The bus of the process that serves; other processes of this machine join it."""

    def __init__(self, path: Path) -> None:
        """`path`: of the socket; its folder is made for the owner alone."""
        super().__init__()
        self._connections: set[_Connection] = set()
        self._callers = Threads("bus-local", _CALLERS)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _short(path) as address:
            self._listener.bind(address)
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True, name="bus-accept").start()

    def fanout(self, topic: str, body: bytes) -> None:
        """See `Bus`."""
        super().fanout(topic, body)
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.send(_Frame("fanout", topic, body))

    def close(self) -> None:
        """See `Bus`."""
        super().close()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            connection = _Connection(stream)
            self._connections.add(connection)
            threading.Thread(
                target=self._read, args=(connection,), daemon=True, name="bus-read"
            ).start()

    def _read(self, connection: _Connection) -> None:
        try:
            for frame in connection.receive():
                self._take(connection, frame)
        finally:
            self._connections.discard(connection)
            connection.close()

    def _take(self, connection: _Connection, frame: _Frame) -> None:
        if frame.kind == "fanout":
            self.fanout(frame.target, frame.body)
        else:
            self._callers.submit(lambda: self._serve(connection, frame))

    def _serve(self, connection: _Connection, frame: _Frame) -> None:
        answer = _Frame("reply", number=frame.number)
        try:
            with guards.node_calls_allowed():  # the caller's own process has checked its right
                if frame.kind == "cast":
                    self.cast(frame.target, frame.body)
                    answer.reply = Reply()
                else:
                    answer.reply = Reply(
                        self.call(frame.target, frame.body, timeout_seconds=frame.timeout_seconds)
                    )
        except NodeUnreachable as error:
            answer.unreachable = error.reason
        except HandlerFailed as error:
            answer.reply = Reply(
                failed=True, kind=error.kind, message=error.message, code=error.code
            )
        with contextlib.suppress(OSError):  # the caller is gone: nobody wants to know
            connection.send(answer)


class LocalBus:
    """The bus of a process beside the one that serves. It calls and listens; it serves nobody."""

    def __init__(self, path: Path) -> None:
        """`path`: of the hub's socket. Connects when needed, again when it was lost."""
        self._path = path
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self._waiting: dict[int, _Asked] = {}
        self._here = InProcessBus()  # subscribers
        self._closed = False

    def call(self, target: str, body: bytes, *, timeout_seconds: float) -> bytes:
        """See `Bus`."""
        return self._ask(_Frame("call", target, body, timeout_seconds=timeout_seconds))

    def cast(self, target: str, body: bytes) -> None:
        """See `Bus`."""
        self._ask(_Frame("cast", target, body, timeout_seconds=_SEND_SECONDS))

    def fanout(self, topic: str, body: bytes) -> None:
        """See `Bus`; raises NodeUnreachable while there is no hub."""
        self._send(_Frame("fanout", topic, body))

    def serve(self, target: str, handler: Handler, workers: int = 8) -> Stop:
        """Not here: whoever serves is the hub, or needs a broker."""
        raise RuntimeError(f"{target} cannot be served beside the hub: set bus.url")

    def subscribe(self, topic: str, handler: Subscriber) -> Stop:
        """See `Bus`."""
        with contextlib.suppress(NodeUnreachable):
            self._connect()  # what is fanned out is heard only by who is there
        return self._here.subscribe(topic, handler)

    def close(self) -> None:
        """See `Bus`."""
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._here.close()

    def _ask(self, frame: _Frame) -> bytes:
        guards.check_call(frame.target)
        frame.number = next(self._numbers)
        asked = self._waiting[frame.number] = _Asked()
        try:
            self._send(frame, asked)
            if not asked.answered.wait(frame.timeout_seconds):
                raise NodeUnreachable(frame.target, f"no answer within {frame.timeout_seconds:g} s")
        finally:
            self._waiting.pop(frame.number, None)
        answer = asked.reply
        if answer.reply is None:
            raise NodeUnreachable(frame.target, answer.unreachable)
        return answer.reply.open(frame.target)

    def _send(self, frame: _Frame, asked: _Asked | None = None) -> None:
        """Send, on a new connection if the old one turns out to be dead."""
        for is_last in (False, True):
            connection = self._connect()
            if asked is not None:
                asked.connection = connection
            try:
                connection.send(frame)
                return
            except OSError as error:
                with self._lock:
                    if self._connection is connection:
                        self._connection = None
                if is_last:
                    raise NodeUnreachable(
                        frame.target, f"the main process is gone: {error}"
                    ) from error

    def _connect(self) -> _Connection:
        with self._lock:
            if self._closed:
                raise NodeUnreachable("bus", "the bus is closed")
            if self._connection is None:
                stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    with _short(self._path) as address:
                        stream.connect(address)
                except OSError as error:
                    stream.close()
                    raise NodeUnreachable("bus", f"{self._path}: {error.strerror}") from error
                self._connection = _Connection(stream)
                threading.Thread(
                    target=self._read, args=(self._connection,), daemon=True, name="bus-read"
                ).start()
            return self._connection

    def _read(self, connection: _Connection) -> None:
        for frame in connection.receive():
            if frame.kind == "fanout":
                self._here.fanout(frame.target, frame.body)
            else:
                self._answer(frame.number, frame)
        with self._lock:
            if self._connection is connection:
                self._connection = None
        connection.close()
        for asked in list(self._waiting.values()):
            if asked.connection is connection:  # others may have a new main process by now
                asked.answer(_Frame("reply", unreachable="the main process is gone"))

    def _answer(self, number: int, frame: _Frame) -> None:
        asked = self._waiting.get(number)
        if asked is not None:
            asked.answer(frame)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path in few characters: the address of a socket has room for 107."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
