"""The web server: uvicorn's protocol, whose large bodies threads read straight from the socket.

A large body with a Content-Length does not pass the parser and the event loop: the thread that
wants it (`Body.chunks`) takes it from the kernel in large pieces, without copies. Meanwhile the
loop does not read from the connection; once the answer is sent, what the thread left of the body
is skipped, and the next request is parsed as ever. Chunked bodies and small ones go uvicorn's way.

Clients that send a path as raw UTF-8 (curl does, when it is typed so) are understood as if they had
quoted it, which the parser by itself would refuse. Where something that is no request follows one
(the body of a client that said no length), that one is answered before the connection is closed.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import time

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from nubelet.kernel.http.bodies import DIRECT_BODY, ClientGone

DIRECT_BYTES = 1 << 18  # smaller bodies have arrived by the time a thread could ask for them
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")


class Protocol(HttpToolsProtocol):
    """One connection. A request with a large body has `take_body` in its scope."""

    _direct: DirectBody | None = None
    _length = 0  # of the request's body, as far as it can be taken; 0: it cannot
    _parsed = 0  # bytes of it that the parser has handed out
    _skipped = 0  # bytes of a taken body that nobody wants and that are still to come
    _in_request_line = True
    _is_over = False  # what is still to come of the connection is not read any more

    def on_message_begin(self) -> None:
        """Parser: a request begins."""
        super().on_message_begin()
        self._length = self._parsed = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Parser: a header. Blanks behind its value are not of it (RFC 9110, 5.5)."""
        super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        """Parser: the request can be answered from now on."""
        self._in_request_line = False  # what comes next is a body, or another request's head
        waits = not getattr(self.cycle, "response_complete", True)  # for the answer before
        super().on_headers_complete()
        names = [name for name, _ in self.headers]
        if waits or b"transfer-encoding" in names or names.count(b"content-length") != 1:
            return
        length = dict(self.headers)[b"content-length"]
        if length.isdigit() and int(length) >= DIRECT_BYTES and self.scheme != "https":
            self._length = int(length)
            self.scope["extensions"] = {DIRECT_BODY: {"take": self.take_body}}
            self.flow.pause_reading()  # the rest stays in the kernel until somebody wants it

    def on_body(self, body: bytes) -> None:
        """Parser: a piece of the body."""
        self._parsed += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Parser: a request is there to its end."""
        self._in_request_line = True
        super().on_message_complete()

    def take_body(self) -> DirectBody | None:
        """The body, to be read by a thread; None if it has to be received. In the event loop."""
        left = self._length - self._parsed
        if left < DIRECT_BYTES or self.transport.is_closing() or self._direct is not None:
            return None
        if self.transport.get_write_buffer_size():
            return None  # of the last answer; a 100 Continue must come after it
        self.flow.pause_reading()
        first, self.cycle.body = bytes(self.cycle.body), bytearray()
        waits, self.cycle.waiting_for_100_continue = self.cycle.waiting_for_100_continue, False
        # The parser waits for bytes that it will not see; another one reads the next request.
        self.parser = httptools.HttpRequestParser(self)
        self._in_request_line = True
        self._direct = DirectBody(self, first, left, waits)
        return self._direct

    def on_response_complete(self) -> None:
        """The answer is sent: what comes next is the rest of the body, or another request."""
        if self._direct is not None:
            self._skipped = self._direct.end()
            self._direct = None
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        """Bytes of the connection."""
        if self._is_over:
            return
        if self._skipped:
            skipped = min(self._skipped, len(data))
            self._skipped -= skipped
            data = data[skipped:]
            if not data:
                self._unset_keepalive_if_required()
                return
        if self._in_request_line:
            line, end, rest = data.partition(b"\n")
            self._in_request_line = not end
            if not line.isascii():
                data = _BEYOND_ASCII.sub(lambda found: b"%%%02X" % found[0][0], line) + end + rest
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Parser: this is no request."""
        cycle = getattr(self, "cycle", None)
        if cycle is None or cycle.response_complete or cycle.more_body:
            super().send_400_response(msg)
            return
        # It follows a whole request, whose answer is still to come.
        self._is_over, cycle.keep_alive = True, False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; a thread that reads from it is woken."""
        if self._direct is not None:
            self._direct.shut()
            self._direct = None
        super().connection_lost(exc)

    def lose(self) -> None:
        """A thread found the client gone."""
        self.cycle.disconnected = True
        self.loop.call_soon_threadsafe(self.transport.abort)


class DirectBody:
    """What is left of a body, read by one thread at a time."""

    def __init__(self, protocol: Protocol, first: bytes, left: int, waits: bool) -> None:
        """first: what the parser had already; left: bytes that are still to come; waits: the
        client wants to be told to send them."""
        self._protocol, self._first, self.left, self._waits = protocol, first, left, waits
        # A descriptor of its own: the transport may close its while a thread reads.
        number = os.dup(protocol.transport.get_extra_info("socket").fileno())
        self._socket = socket.socket(fileno=number)
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._low = 1

    @property
    def is_more(self) -> bool:
        """Is anything left to be read?"""
        return bool(self._first) or self.left > 0

    def read(self, size: int, seconds: float, least: int) -> bytes:
        """About `size` bytes, or what the parser had already. Raises TimeoutError when less than
        `least` come in so long, ClientGone."""
        if self._waits:
            self._waits = False
            with contextlib.suppress(OSError):
                self._socket.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._first:  # by itself: to join it to what follows costs a copy of that
            first, self._first = self._first, b""
            return first
        parts: list[bytes] = []
        have, until = 0, time.monotonic() + seconds
        # From a slow client fewer: whoever reads here wants to know that something comes.
        while self.left and have < size // 2 and not (parts and time.monotonic() > until):
            part = self._receive(min(self.left, size), seconds, min(self.left, least))
            parts.append(part)
            have += len(part)
            self.left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _receive(self, size: int, seconds: float, least: int) -> bytes:
        self._wake_at(size // 2)
        is_over = False
        for is_last in (False, True):
            try:
                part = self._socket.recv(size)
            except BlockingIOError:
                if is_last:
                    raise TimeoutError from None
                # Also when this time is over there may be bytes, fewer than it wakes up at.
                is_over = not self._poll.poll(seconds * 1000)
                continue
            except OSError:
                break
            if not part:
                break
            if is_over and len(part) < least:
                raise TimeoutError
            return part
        self._protocol.lose()
        raise ClientGone

    def _wake_at(self, size: int) -> None:
        """The kernel wakes a waiting thread once so much is there: fewer changes of threads."""
        if size != self._low:
            self._low = max(1, size)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, self._low)

    def end(self) -> int:
        """Nobody reads any more; how many bytes are still to come."""
        self._wake_at(1)
        self._socket.close()
        return self.left

    def shut(self) -> None:
        """Wake the thread that reads: there is nothing to come."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
