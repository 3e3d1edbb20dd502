"""Large bodies that threads read from the socket: whole, left half read, stalled, broken off."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from nubelet.kernel.errors import RequestTimeout
from nubelet.kernel.http import bodies, server
from nubelet.kernel.http.bodies import Body, ClientGone

LARGE = 5 << 20


class World:
    """A server whose handler reads a body in a thread; `read` says how, and gives the answer."""

    def __init__(self) -> None:
        self.read: Callable[[Body], str] = lambda body: md5(b"".join(body.chunks()))
        self.failures: list[BaseException] = []
        self.ways: list[bool] = []
        self.paths: list[str] = []
        self.headers: dict[str, str] = {}
        self.port = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        loop = asyncio.get_running_loop()
        self.paths.append(scope["path"])
        self.headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = Body(receive, self.headers, loop, scope.get("extensions"))
        try:
            await body.prefetch()
            self.ways.append(body._direct is not None)
            text = await loop.run_in_executor(None, self.read, body)
        except (ClientGone, RequestTimeout) as error:
            self.failures.append(error)
            if isinstance(error, ClientGone):
                return
            text = "stalled"
        data = text.encode()
        length = [(b"content-length", str(len(data)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": data})

    def connect(self) -> http.client.HTTPConnection:
        """A connection to it."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def failed_with(self, kind: type[BaseException]) -> bool:
        """Does the handler come to see this?"""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if any(isinstance(each, kind) for each in self.failures):
                return True
            time.sleep(0.02)
        return False


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def head(length: int, more: str = "") -> bytes:
    return f"PUT / HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {length}\r\n\r\n".encode()


def wait_for(client: socket.socket, text: bytes, times: int = 1) -> bool:
    """Read until the text has come so often; False: the connection ended before."""
    received = b""
    while received.count(text) < times:
        piece = client.recv(10_000)
        if not piece:
            return False
        received += piece
    return True


@pytest.fixture(params=["uvloop", "asyncio"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = World()
    listener = socket.create_server(("127.0.0.1", 0))
    made.port = listener.getsockname()[1]
    config: Any = {"http": server.Protocol, "loop": request.param, "lifespan": "off"}
    running = uvicorn.Server(uvicorn.Config(made, log_level="warning", **config))
    thread = threading.Thread(target=running.run, args=([listener],), daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield made
    running.should_exit = True
    thread.join(60)
    listener.close()


def ask(connection: http.client.HTTPConnection, data: bytes, **headers: str) -> str:
    connection.request("PUT", "/", data, headers)
    return connection.getresponse().read().decode()


def test_bodies_of_every_size_arrive_whole_on_one_connection(world: World) -> None:
    connection = world.connect()
    for size in (0, 1, 1000, 200_000, server.DIRECT_BYTES, LARGE, 3, LARGE + 1, 1 << 20):
        data = secrets.token_bytes(size)
        assert ask(connection, data) == md5(data), size
    assert world.ways.count(True) >= 3  # else nothing here is about sockets


def test_blanks_around_a_header_are_not_of_its_value(world: World) -> None:
    data = b"data"
    more = {"X-Note": "  a b \t ", "Content-Length": "4 ", "Expect": "100-continue "}
    assert ask(world.connect(), data, **more) == md5(data)
    assert (world.headers["x-note"], world.headers["content-length"]) == ("a b", "4")


def test_chunked_bodies_go_the_usual_way(world: World) -> None:
    connection, data = world.connect(), secrets.token_bytes(LARGE)
    pieces = (data[start : start + 70_000] for start in range(0, LARGE, 70_000))
    connection.request("PUT", "/", pieces, encode_chunked=True)
    assert connection.getresponse().read().decode() == md5(data)
    assert world.ways == [False]


@pytest.mark.parametrize("taken", [0, 1])
def test_what_the_handler_leaves_is_skipped(world: World, taken: int) -> None:
    connection, data = world.connect(), secrets.token_bytes(LARGE)
    world.read = lambda body: str(len([next(body.chunks()) for _ in range(taken)]))
    assert ask(connection, data) == str(taken)
    world.read = lambda body: md5(b"".join(body.chunks()))
    assert ask(connection, data) == md5(data)
    assert ask(connection, b"small") == md5(b"small")


def test_a_client_is_told_to_go_on_when_its_body_is_wanted(world: World) -> None:
    data = secrets.token_bytes(LARGE)
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        client.sendall(head(LARGE, "Expect: 100-continue\r\n"))
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")
        client.sendall(data)
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert world.ways == [True]


def test_two_requests_at_once_are_answered_in_turn(world: World) -> None:
    data = secrets.token_bytes(LARGE)
    one = head(LARGE) + data
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        threading.Thread(target=client.sendall, args=(one * 3,), daemon=True).start()
        assert wait_for(client, md5(data).encode(), times=3)


def test_a_client_that_falls_silent_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "STALL_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        client.sendall(head(LARGE) + b"some")
        assert wait_for(client, b"stalled")
    assert world.failed_with(RequestTimeout)


def test_a_client_that_sends_next_to_nothing_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "STALL_SECONDS", 1.0)
    ended = threading.Event()
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        client.sendall(head(LARGE) + b"some")

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not ended.wait(0.1):
                    client.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        assert wait_for(client, b"stalled")
        ended.set()
        thread.join()
    assert world.failed_with(RequestTimeout)


def test_a_slow_client_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STALL_SECONDS", 4.0)
    size, piece = server.DIRECT_BYTES * 2, server.DIRECT_BYTES // 4
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        client.sendall(head(size))
        for _ in range(size // piece):
            time.sleep(0.55)  # in all longer than a silence may be
            client.sendall(bytes(piece))
        assert wait_for(client, md5(bytes(size)).encode())


def test_a_client_that_goes_away_in_the_middle(world: World) -> None:
    client = socket.create_connection(("127.0.0.1", world.port), timeout=60)
    client.sendall(head(LARGE) + bytes(server.DIRECT_BYTES * 3))
    client.close()
    assert world.failed_with(ClientGone)
    assert ask(world.connect(), b"next") == md5(b"next")


def test_a_path_of_raw_utf_8_is_understood_as_if_it_was_quoted(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        for path, length in (
            ("/ö/日本", 0),
            ("/%C3%B6", 5),
            ("/ü", LARGE),
            ("/é?x=à", 3),
            ("/a", 0),
        ):
            line = f"PUT {path} HTTP/1.1\r\n".encode()
            client.sendall(line[:6])  # a network may cut it anywhere, also in a letter
            time.sleep(0.05)
            client.sendall(line[6:] + f"Host: x\r\nContent-Length: {length}\r\n\r\n".encode())
            client.sendall("ö".encode()[:1] * length)
            assert wait_for(client, b"\r\n\r\n" + md5("ö".encode()[:1] * length).encode())
    assert world.paths == ["/ö/日本", "/ö", "/ü", "/é", "/a"]


def test_the_body_of_a_request_that_was_sent_ahead_stays_as_it_is(world: World) -> None:
    body = b"\xff\xfe\x00\x01"
    with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
        client.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" + head(len(body)))
        time.sleep(0.2)
        client.sendall(body)
        assert wait_for(client, md5(body).encode())
    assert world.paths == ["/a", "/"]


@pytest.mark.parametrize("follows", [b"no request\r\n\r\n", b"{\x00", b"GET\r\n"])
def test_a_request_is_answered_though_none_follows_it(world: World, follows: bytes) -> None:
    """So is the one before it; then the connection ends, whatever is still to come of it."""

    def read(body: Body) -> str:
        time.sleep(0.3)
        return "answered"

    world.read = read
    for whole in (b"PUT / HTTP/1.1\r\nHost: x\r\n\r\n", head(0) + head(3) + b"abc"):
        with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
            client.sendall(whole + follows)
            received = b""
            while piece := client.recv(10_000):
                received += piece
        assert received.count(b"answered") == whole.count(b"PUT"), received
        assert received.count(b"HTTP/1.1 200") == whole.count(b"PUT")


def test_what_is_no_request_is_refused(world: World) -> None:
    for sent in (
        b"no request\r\n\r\n",
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    ):
        with socket.create_connection(("127.0.0.1", world.port), timeout=60) as client:
            client.sendall(sent)
            assert wait_for(client, b"HTTP/1.1 400")
