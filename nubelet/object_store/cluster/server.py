"""A storage node's port: calls of the wire, each in a thread.

The loop reads and writes sockets; a call runs in a bounded pool, since it waits for disks. A
streamed body is pulled by the call, piece by piece, so memory does not grow with objects.
Nothing here is for tenants: what is not signed with the cluster's key learns nothing.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nubelet.kernel.errors import ApiError, BadRequest
from nubelet.kernel.log import bound
from nubelet.object_store.cluster import wire

log = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_MAX_BODY = 64 << 20
_STALL_SECONDS = 60.0
_REQUEST = wire.REQUEST.encode()
_ID = re.compile(rb"[A-Za-z0-9._~%/-]{1,160}")
_LEAVES = ("_merge", "promise")  # ends of the names of calls


class Call:
    """A call that a node has to answer."""

    def __init__(
        self, key: bytes, arguments: bytes, receive: Receive, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.arguments = arguments
        self._key, self._receive, self._loop = key, receive, loop

    def frames(self) -> wire.Frames:
        """The pieces of a streamed body. The first is asked for when the loop over them begins."""
        return wire.Frames(self._key, self._chunks())

    def body(self) -> bytes:
        """A whole body; raises BadRequest when it is too long."""
        parts, size = [], 0
        for chunk in self._chunks():
            size += len(chunk)
            if size > _MAX_BODY:
                raise BadRequest("the body of the call is too long")
            parts.append(chunk)
        return b"".join(parts)

    def _chunks(self) -> Iterator[bytes]:
        while True:
            future = asyncio.run_coroutine_threadsafe(_next(self._receive), self._loop)
            message = future.result(_STALL_SECONDS)
            if message["type"] == "http.disconnect":
                raise BadRequest("the caller went away")
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return


async def _next(receive: Receive) -> MutableMapping[str, Any]:
    return await receive()


class Stream:
    """An answer of bytes, with something to say beside them."""

    def __init__(self, answer: Any, size: int, pieces: Iterator[bytes]) -> None:
        self.answer, self.size, self.pieces = answer, size, pieces


Handler = Callable[[Call], Any]


class Server:
    """The ASGI application of a node."""

    def __init__(self, key: bytes, handlers: dict[str, Handler], *, threads: int = 24) -> None:
        self._key, self._handlers = key, handlers
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="storage")
        # Calls that wait for nobody else have threads of their own: nodes whose threads all wait
        # for one another, or for writers who wait for promises, would wait until somebody gives up.
        self._leaf_pool = ThreadPoolExecutor(8, thread_name_prefix="leaf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        try:
            name, call = self._understand(scope, receive)
            loop = asyncio.get_running_loop()
            pool = self._leaf_pool if name.endswith(_LEAVES) else self._pool
            answer = await loop.run_in_executor(pool, self._answer, name, call, _request(scope))
        except ApiError as error:
            await _refuse(scope, send, error)
            return
        except Exception as error:
            log.exception("a call failed: %s", scope["path"])
            await _refuse(scope, send, error)
            return
        if isinstance(answer, Stream):
            await self._send_stream(answer, send)
        else:
            await _send(send, 200, wire.encode(answer))

    def _answer(self, name: str, call: Call, request: str) -> Any:
        began = time.perf_counter()
        with bound(request_id=request):
            answer = self._handlers[name](call)
            log.debug("%s took %.1f ms", name, (time.perf_counter() - began) * 1000)
        return answer

    def _understand(self, scope: Scope, receive: Receive) -> tuple[str, Call]:
        path = scope["path"]
        if not path.startswith(wire.PATH):
            raise BadRequest(f"this node speaks version {wire.VERSION} of the wire")
        name = path[len(wire.PATH) :]
        arguments = wire.verified(self._key, name, dict(scope["headers"]))
        if name not in self._handlers:
            raise BadRequest(f"this node knows no call {name}")
        return name, Call(self._key, arguments, receive, asyncio.get_running_loop())

    async def _send_stream(self, stream: Stream, send: Send) -> None:
        headers = [
            (b"content-length", str(stream.size).encode()),
            (b"x-nubelet-answer", base64.b64encode(wire.encode(stream.answer))),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        loop = asyncio.get_running_loop()
        done = object()
        while True:
            piece = await loop.run_in_executor(self._pool, next, stream.pieces, done)
            if piece is done:
                break
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _request(scope: Scope) -> str:
    """Whose request a call is for, as the caller says: a text for the log."""
    said = next((value for name, value in scope["headers"] if name == _REQUEST), b"")
    return said.decode() if _ID.fullmatch(said) else ""


async def _refuse(scope: Scope, send: Send, error: Exception) -> None:
    refusal = wire.refusal(error)
    # What is left of a streamed body is not read: the connection cannot be used again.
    streamed = any(name == b"transfer-encoding" for name, _ in scope["headers"])
    await _send(send, refusal.status, wire.encode(refusal), closes=streamed)


async def _send(send: Send, status: int, body: bytes, *, closes: bool = False) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    if closes:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
