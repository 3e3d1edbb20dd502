"""Asking an ASGI application without a network, a thread or a client between: for tests that ask
tens of thousands of times."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec


class Answer(NamedTuple):
    """What came back; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Asker:
    """Asks one application, a question at a time, in a loop of its own."""

    def __init__(self, app: Any, timeout_seconds: float = 100.0) -> None:
        self._app, self._timeout = app, timeout_seconds
        self._loop = asyncio.new_event_loop()

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: bytes = b"",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """`path` as it stands in the request line. Raises TimeoutError for a request that hangs."""
        question = self._answer(method, path, query, headers or {}, body)
        return self._loop.run_until_complete(asyncio.wait_for(question, self._timeout))

    def close(self) -> None:
        self._loop.close()

    async def _answer(
        self, method: str, path: str, query: bytes, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        sent: list[Any] = []
        left = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return left.pop() if left else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        names = {"host": "cloud.test", "content-length": str(len(body))}
        names |= {name.lower(): value for name, value in headers.items()}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode("latin-1", "replace"),
            "query_string": query,
            "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in names.items()],
            "client": ("127.0.0.1", 1),
            "server": ("cloud.test", 80),
        }
        await self._app(scope, receive, send)
        return Answer(
            sent[0]["status"],
            {k.decode().lower(): v.decode() for k, v in sent[0]["headers"]},
            b"".join(message.get("body", b"") for message in sent[1:]),
        )
