"""The port of a storage node: who waits for whom."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from nubelet.object_store.cluster import wire
from nubelet.object_store.cluster.configuration import Cluster
from nubelet.object_store.cluster.messages import Nothing, PromiseObject, PutObject, Written
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.server import Server
from nubelet.object_store.ring import RingBuilder
from nubelet.object_store.storage import ObjectPath, timestamps

KEY = b"k" * 32
PATIENCE_SECONDS = 60.0


def make_node(folder: Path) -> Node:
    cluster = folder / "cluster"
    cluster.mkdir()
    (cluster / "cluster.toml").write_text(f'hash_words = "words"\nkey = "{KEY.decode()}"\n')
    builder = RingBuilder(2, 1, 0)
    builder.add(region=1, zone=0, ip="127.0.0.1", port=1, device="d", weight=1)
    builder.rebalance(seed=1)
    for name in ("account", "container", "object"):
        builder.ring().save(cluster / f"{name}.ring")
    os.makedirs(folder / "node" / "d")
    return Node(Cluster(cluster), folder / "node", "127.0.0.1", 1)


class Request:
    """A call whose body comes piece by piece; `asked` is set once more of it is asked for."""

    def __init__(self, server: Server, name: str, arguments: Any) -> None:
        signed = wire.signed(KEY, name, arguments)
        headers = [(key.encode(), value.encode()) for key, value in signed.items()]
        self.asked = asyncio.Event()
        self._pieces: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sent: list[dict[str, Any]] = []
        scope = {"type": "http", "path": wire.PATH + name, "headers": headers}
        self._task = asyncio.ensure_future(server(scope, self._receive, self._send))

    def body(self, data: bytes, *, more: bool) -> None:
        self._pieces.put_nowait({"type": "http.request", "body": data, "more_body": more})

    async def answer(self) -> tuple[int, bytes]:
        await asyncio.wait_for(self._task, PATIENCE_SECONDS)
        return self._sent[0]["status"], b"".join(each.get("body", b"") for each in self._sent)

    async def _receive(self) -> dict[str, Any]:
        self.asked.set()
        return await self._pieces.get()

    async def _send(self, message: Any) -> None:
        self._sent.append(message)


def test_promises_are_given_while_writers_take_all_threads(tmp_path: Path) -> None:
    """They end the body only when they have their promises."""
    node = make_node(tmp_path)
    server = Server(KEY, node.server()._handlers, threads=2)
    now = timestamps.now()

    def of(number: int, type: Any, **more: Any) -> Any:
        path = ObjectPath("a", "c", f"o{number}")
        return type(device="d", policy=0, path=path, timestamp=now, **more)

    async def run() -> None:
        puts = []
        for number in range(2):
            asked = of(number, PutObject, metadata={}, if_absent=True, promise="me")
            puts.append(Request(server, "object_put", asked))
            await asyncio.wait_for(puts[-1].asked.wait(), PATIENCE_SECONDS)
        for number, put in enumerate(puts):
            asked = of(number, PromiseObject, expected="", writer="me")
            status, _ = await Request(server, "object_promise", asked).answer()
            assert status == 200
            put.body(wire.end(KEY, wire.Tail(etag="d41d8cd98f00b204e9800998ecf8427e")), more=False)
            status, data = await put.answer()
            assert (status, wire.decode(data, Written).timestamp) == (200, now)
            status, data = await Request(server, "object_unpromise", asked).answer()
            assert (status, wire.decode(data, Nothing)) == (200, Nothing())

    try:
        asyncio.run(run())
    finally:
        node.close()
