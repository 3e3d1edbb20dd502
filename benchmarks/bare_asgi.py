"""The least that a server of files must do, to measure ours against: a bare ASGI application.

PUT writes the body to a file and makes md5 and sha512 of it, GET sends it: no routes, no database,
no policy. The hashes run in threads beside the writing, as ours do.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20
_pool = ThreadPoolExecutor(4)


class Files:
    """One folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        path = self._folder / scope["path"].strip("/")
        if scope["method"] == "PUT":
            await self._take(path, receive)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        length = str(path.stat().st_size).encode()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", length)],
            }
        )
        with path.open("rb") as file:
            loop = asyncio.get_running_loop()
            while piece := await loop.run_in_executor(_pool, file.read, CHUNK_BYTES):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _take(self, path: Path, receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        loop = asyncio.get_running_loop()
        md5, sha = hashlib.md5(usedforsecurity=False), hashlib.sha512()
        pending: list[asyncio.Future[Any]] = []
        with path.open("wb", buffering=0) as file:
            more = True
            while more:
                parts, have = [], 0
                while more and have < CHUNK_BYTES:
                    message = await receive()
                    more = message.get("more_body", False)
                    parts.append(message["body"])
                    have += len(message["body"])
                chunk = b"".join(parts)
                await asyncio.gather(*pending)
                pending = [
                    loop.run_in_executor(_pool, action, chunk)
                    for action in (md5.update, sha.update, file.write)
                ]
            await asyncio.gather(*pending)
            await loop.run_in_executor(_pool, os.fsync, file.fileno())


def main() -> None:
    """`python -m benchmarks.bare_asgi PORT FOLDER`."""
    import uvicorn

    uvicorn.run(Files(Path(sys.argv[2])), port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
