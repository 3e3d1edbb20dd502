"""Bodies of requests, whole or in pieces, given up when they stall; of answers, in pieces.

A request's arrives in the event loop; handlers ask for it from their threads (`chunks`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import Executor, Future
from typing import Any, Protocol

from nubelet.kernel.errors import RequestTimeout, TooLarge
from nubelet.kernel.http.messages import FileBody

CHUNK_BYTES = 1 << 20
# Of a file: each piece costs two changes of the thread. Who reads on gets larger ones; who does not
# read at all is not held ready many MiB.
FIRST_BYTES, SEND_BYTES = 256 << 10, 4 << 20
PREFETCH_BYTES = 1 << 17
STALL_SECONDS = 60.0
# A body that brings less holds a thread only to hold it.
LEAST_BYTES_PER_SECOND = 256
# The name of the extension of an ASGI scope by which a server lets a thread read a large body from
# the socket: {"take": a function for the event loop that gives a DirectBody, or None}.
DIRECT_BODY = "nubelet.direct_body"


class ClientGone(Exception):  # noqa: N818 - a state, not a fault of ours
    """The client closed the connection in the middle of its body."""


class DirectBody(Protocol):
    """A body that a thread reads without the event loop (kernel/http/server.py)."""

    @property
    def is_more(self) -> bool:
        """Is anything left to be read?"""
        ...

    def read(self, size: int, seconds: float, least: int) -> bytes:
        """About `size` bytes, or fewer that are there. Raises TimeoutError when less than `least`
        come in so long, and that is not the end; ClientGone."""
        ...


class Body:
    """The body of one request."""

    def __init__(
        self,
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        headers: Mapping[str, str],
        loop: asyncio.AbstractEventLoop,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        """extensions: of the ASGI scope."""
        self._receive_message, self._headers, self._loop = receive, headers, loop
        self._take = (extensions or {}).get(DIRECT_BODY, {}).get("take")
        self._direct: DirectBody | None = None
        self._is_more = True
        self._prefetched = b""
        self._received_bytes = 0

    async def read(self, limit: int) -> bytes:
        """All of it; raises TooLarge."""
        declared = self._headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise TooLarge(f"The request body is larger than {limit} bytes.")
        parts, size = [], 0
        while self._is_more:
            part = await self._receive()
            size += len(part)
            if size > limit:
                raise TooLarge(f"The request body is larger than {limit} bytes.")
            parts.append(part)
        return b"".join(parts)

    async def prefetch(self) -> None:
        """Have a small body of a stream at hand, unless the client waits to be told to send it:
        a thread that asks the loop for bytes costs more than the bytes. Raises RequestTimeout."""
        declared = self._headers.get("content-length", "")
        if declared in ("", "0"):
            if "transfer-encoding" not in self._headers:
                self._is_more = False
        elif (
            declared.isdigit() and int(declared) <= PREFETCH_BYTES and "expect" not in self._headers
        ):
            parts = []
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    while self._is_more:
                        parts.append(await self._receive())
            except TimeoutError:
                raise _stalled() from None
            self._prefetched = b"".join(parts)
        elif self._take is not None:
            self._direct = self._take()

    def chunks(self, size: int = CHUNK_BYTES) -> Iterator[bytes]:
        """The body in pieces of about `size` bytes, for threads.

        Raises RequestTimeout when the client sends nothing, or next to nothing, for STALL_SECONDS;
        ClientGone.
        """
        if self._prefetched:
            piece, self._prefetched = self._prefetched, b""
            yield piece
        if self._direct is not None:
            yield from self._direct_chunks(self._direct, size)
        elif self._is_more:
            yield from self._received_chunks(size)

    def _received_chunks(self, size: int) -> Iterator[bytes]:
        coming = self._ask(size)
        try:
            while True:
                piece = self._wait_for(coming)
                if not self._is_more:
                    break
                coming = self._ask(size)  # it arrives while this one is worked on
                yield piece
        finally:
            coming.cancel()
        if piece:
            yield piece

    def _direct_chunks(self, body: DirectBody, size: int) -> Iterator[bytes]:
        while body.is_more:
            try:
                piece = body.read(size, STALL_SECONDS, _least())
            except TimeoutError:
                raise _stalled() from None
            self._received_bytes += len(piece)
            self._is_more = body.is_more
            yield piece

    def _ask(self, size: int) -> Future[bytes]:
        return asyncio.run_coroutine_threadsafe(self._gather(size), self._loop)

    def may_stay_away(self) -> bool:
        """Does the client wait to be told to send the body, and was it not told? Then nobody knows
        whether what it sends next is this body or another request."""
        return self._is_more and not self._received_bytes and "expect" in self._headers

    async def _receive(self) -> bytes:
        message = await self._receive_message()
        if message["type"] == "http.disconnect":
            raise ClientGone
        self._is_more = message.get("more_body", False)
        body: bytes = message.get("body", b"")
        self._received_bytes += len(body)
        return body

    async def _gather(self, size: int) -> bytes:
        parts, have = [], 0
        while self._is_more and have < size:
            part = await self._receive()
            parts.append(part)
            have += len(part)
        return b"".join(parts)

    def _wait_for(self, future: Future[bytes]) -> bytes:
        while True:
            before = self._received_bytes
            try:
                return future.result(STALL_SECONDS)
            except TimeoutError:
                if self._received_bytes - before < _least():
                    future.cancel()
                    raise _stalled() from None


def _least() -> int:
    """What comes in STALL_SECONDS of a body that does not stand still."""
    return max(1, int(LEAST_BYTES_PER_SECOND * STALL_SECONDS))


def _stalled() -> RequestTimeout:
    return RequestTimeout(f"The request's body stood still for {STALL_SECONDS:.0f} s.")


def read_file(body: FileBody) -> Iterator[bytes]:
    """A part of a file, in pieces."""
    with open(body.path, "rb") as file:
        file.seek(body.offset)
        left, size = body.length, FIRST_BYTES
        while left is None or left > 0:
            piece = file.read(size if left is None else min(size, left))
            if not piece:
                return
            size = min(2 * size, SEND_BYTES)
            left = None if left is None else left - len(piece)
            yield piece


async def send_pieces(
    loop: asyncio.AbstractEventLoop,
    pool: Executor,
    pieces: Iterator[bytes],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Send a body that threads make: the next piece is made while this one is sent."""
    coming = loop.run_in_executor(pool, next, pieces, None)
    try:
        while (piece := await coming) is not None:
            coming = loop.run_in_executor(pool, next, pieces, None)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    finally:
        if not coming.done():  # nobody may end the iterator while a thread is in it
            await asyncio.wait([coming])
