"""A bare ASGI server that keeps files: the limit of what the object store is measured beside.

PUT writes the body to a file, hashed and fsynced; GET sends a file in pieces. No names, no
tokens, no listings. Run as a process of its own: `python -m benchmarks.object_store_bare FD DIR`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

PIECE = 1 << 18


def make_app(folder: Path) -> Any:
    """The application."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = folder / scope["path"].strip("/").replace("/", "_")
        if scope["method"] == "PUT":
            await _put(path, receive)
            await _answer(send, 201, b"")
            return
        size = path.stat().st_size
        headers = [(b"content-length", str(size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with path.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, PIECE):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


async def _put(path: Path, receive: Any) -> None:
    digest = hashlib.md5()
    with path.open("wb", buffering=0) as file:
        more, parts, have = True, [], 0
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            have += len(parts[-1])
            more = message.get("more_body", False)
            if have >= 1 << 20 or not more:
                await asyncio.to_thread(_write, file, digest, b"".join(parts))
                parts, have = [], 0
        await asyncio.to_thread(os.fsync, file.fileno())


def _write(file: Any, digest: Any, piece: bytes) -> None:
    digest.update(piece)
    file.write(piece)


async def _answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve on an inherited socket."""
    import uvicorn

    config = uvicorn.Config(
        make_app(Path(sys.argv[2])),
        http="httptools",
        loop="uvloop",
        lifespan="off",
        access_log=False,
        log_level="error",
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()
