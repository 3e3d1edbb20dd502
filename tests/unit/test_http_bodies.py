"""Bodies that stall, end early, or are as they should be."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nubelet.kernel.errors import RequestTimeout, TooLarge
from nubelet.kernel.http import bodies
from nubelet.kernel.http.bodies import Body, ClientGone
from nubelet.kernel.http.messages import FileBody


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever, daemon=True)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


def body_of(loop: asyncio.AbstractEventLoop, *pieces: Any, **headers: str) -> Body:
    """A body of these pieces: bytes, or the seconds of a pause; it goes on after the last."""
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        while left:
            piece = left.pop(0)
            if isinstance(piece, bytes):
                return {"type": "http.request", "body": piece, "more_body": bool(left)}
            if piece is None:
                return {"type": "http.disconnect"}
            await asyncio.sleep(piece)
        await asyncio.sleep(60)
        return {}

    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Body(receive, sent, loop)


def test_pieces_are_gathered(loop: asyncio.AbstractEventLoop) -> None:
    body = body_of(loop, *[b"x" * 100] * 50, transfer_encoding="chunked")
    assert [len(piece) for piece in body.chunks(1000)] == [1000] * 5


def test_a_client_that_falls_silent_is_given_up(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "STALL_SECONDS", 0.2)
    body = body_of(loop, b"some", 30, b"more", transfer_encoding="chunked")
    with pytest.raises(RequestTimeout) as caught:
        list(body.chunks(1000))
    assert caught.value.status == 408
    small = body_of(loop, b"some", 30, b"more", content_length="8")
    with pytest.raises(RequestTimeout):
        asyncio.run_coroutine_threadsafe(small.prefetch(), loop).result()


def test_a_slow_client_is_waited_for(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "STALL_SECONDS", 2.0)
    piece = b"x" * bodies.LEAST_BYTES_PER_SECOND
    slow = [each for _ in range(9) for each in (piece, 0.25)] + [b"end"]  # longer in all
    body = body_of(loop, *slow, transfer_encoding="chunked")
    assert b"".join(body.chunks(100_000)) == piece * 9 + b"end"


def test_a_client_that_sends_next_to_nothing_is_given_up(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "STALL_SECONDS", 1.0)
    drops = [each for _ in range(200) for each in (b"x", 0.1)]
    body = body_of(loop, *drops, transfer_encoding="chunked")
    with pytest.raises(RequestTimeout):
        list(body.chunks(1000))


def test_a_client_that_goes_away(loop: asyncio.AbstractEventLoop) -> None:
    body = body_of(loop, b"some", None, content_length="100000000")
    with pytest.raises(ClientGone):
        list(body.chunks(1000))


def test_small_bodies_are_at_hand(loop: asyncio.AbstractEventLoop) -> None:
    body = body_of(loop, b"so", b"me", content_length="4")
    asyncio.run_coroutine_threadsafe(body.prefetch(), loop).result()
    assert list(body.chunks()) == [b"some"]
    nothing = body_of(loop)
    asyncio.run_coroutine_threadsafe(nothing.prefetch(), loop).result()
    assert list(nothing.chunks()) == []


def test_a_body_has_a_limit(loop: asyncio.AbstractEventLoop) -> None:
    for body in (
        body_of(loop, b"12345678", content_length="8"),
        body_of(loop, b"1234", b"5678", transfer_encoding="chunked"),
    ):
        with pytest.raises(TooLarge):
            asyncio.run_coroutine_threadsafe(body.read(7), loop).result()


def test_who_does_not_read_is_not_held_ready_much_of_a_file(tmp_path: Path) -> None:
    path, data = tmp_path / "large", os.urandom(20 << 20)
    path.write_bytes(data)
    pieces = list(bodies.read_file(FileBody(str(path), 5, len(data) - 5)))
    assert b"".join(pieces) == data[5:]
    assert len(pieces[0]) == 256 << 10
    assert max(map(len, pieces)) == 4 << 20
    assert list(bodies.read_file(FileBody(str(path), 1, 10))) == [data[1:11]]
