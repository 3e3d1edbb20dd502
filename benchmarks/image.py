"""Images: 1 GiB up and down beside a bare ASGI server, memory meanwhile, lists of 1,000.

Both servers run one after the other on the same disk, with the same client, the same hashes and a
sync at the end; each round does both, and the best of the rounds counts. The peer's figures are
those of Glance 33 with its file store on two cores of the same kind of machine.
"""

from __future__ import annotations

import hashlib
import http.client
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measuring import BenchCloud, Client, cpu_ms_per_request, row

MIB = 1 << 20
SIZE_MIB = 1024
ROUNDS = 3
IMAGES = 1000
PEER_UPLOAD, PEER_DOWNLOAD, PEER_LIST = 254, 2264, 4.1
MOST_TIMES, WANTED_GROWTH_MIB, WANTED_LIST_MS = 1 / 0.8, 64, 20


def main() -> None:
    """Start both servers and measure."""
    cloud = BenchCloud("--fake")
    cloud.up()
    try:
        cloud.login()
        with bare() as port:
            data(cloud, Client(cloud), port)
        lists(cloud, Client(cloud))
    finally:
        cloud.down()


def data(cloud: BenchCloud, client: Client, port: int) -> None:
    """1 GiB to and from both."""
    ours, theirs = (Server(cloud.port, cloud.token), Server(port, ""))
    ups, downs = [], []
    with Memory(cloud) as memory:
        for _ in range(ROUNDS):
            image = client.ok(
                "POST", "/image/v2/images", {"disk_format": "raw", "container_format": "bare"}
            )
            path = f"/image/v2/images/{image['id']}/file"
            ups.append((ours.up(path, SIZE_MIB), theirs.up("/large", SIZE_MIB)))
            downs.append((ours.down(path, SIZE_MIB), theirs.down("/large", SIZE_MIB)))
            client.ok("DELETE", f"/image/v2/images/{image['id']}")
    for title, pairs, peer in (("upload", ups, PEER_UPLOAD), ("download", downs, PEER_DOWNLOAD)):
        best, bare_best = (max(each) for each in zip(*pairs, strict=True))
        row(f"{title} 1 GiB", best, "MB/s", None, peer)
        row(f"{title} 1 GiB, bare ASGI server", bare_best, "MB/s")
        row(f"{title}, time per time of the bare server", bare_best / best, "", MOST_TIMES)
    row("memory grown meanwhile", memory.grown_mib, "MiB", WANTED_GROWTH_MIB)


def lists(cloud: BenchCloud, client: Client) -> None:
    """A page of 1,000 images with properties and tags."""
    for number in range(IMAGES):
        client.ok(
            "POST",
            "/image/v2/images",
            {
                "name": f"bench-{number}",
                "disk_format": "raw",
                "container_format": "bare",
                "tags": ["bench"],
                "os_distro": "debian",
            },
        )
    path = f"/image/v2/images?limit={IMAGES}"
    token = {"X-Auth-Token": cloud.token}
    value = cpu_ms_per_request(cloud, lambda: client.raw(path, token), count=20)
    row(f"list {IMAGES} images", value, "ms", WANTED_LIST_MS)
    row("md5 of 1 MiB beside it, to tell a busy machine", md5_ms(), "ms")


def md5_ms() -> float:
    """CPU of a known piece of work, in ms: the least of many."""
    data, figures = bytes(MIB), []
    for _ in range(50):
        before = time.process_time()
        hashlib.md5(data).digest()
        figures.append((time.process_time() - before) * 1000)
    return min(figures)


class Server:
    """One of the two, as the client sees it."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token

    def up(self, path: str, size_mib: int) -> float:
        """MB/s of an upload."""
        headers = {"Content-Type": "application/octet-stream", "X-Auth-Token": self._token}
        return self._timed(
            size_mib,
            lambda connection: connection.request(
                "PUT", path, body=pieces(size_mib), headers=headers, encode_chunked=True
            ),
            204,
        )

    def down(self, path: str, size_mib: int) -> float:
        """MB/s of a download."""
        headers = {"X-Auth-Token": self._token}
        return self._timed(
            size_mib, lambda connection: connection.request("GET", path, headers=headers), 200
        )

    def _timed(
        self, size_mib: int, ask: Callable[[http.client.HTTPConnection], Any], status: int
    ) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        begun = time.perf_counter()
        ask(connection)
        answer = connection.getresponse()
        while answer.read(MIB):
            pass
        took = time.perf_counter() - begun
        assert answer.status == status, answer.status
        connection.close()
        return size_mib * MIB / took / 1e6


def pieces(size_mib: int) -> Iterator[bytes]:
    """Data that is no disk image."""
    piece = bytes(range(1, 256)) * (MIB // 255) + bytes(MIB % 255)
    for _ in range(size_mib):
        yield piece


class Memory:
    """How much the cloud's memory grows while this is open."""

    def __init__(self, cloud: BenchCloud) -> None:
        self._cloud = cloud
        self._ended = threading.Event()
        self._before = self._most = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._before = self._most = self._cloud.resident_mib()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def grown_mib(self) -> float:
        """At most."""
        return self._most - self._before

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self._most = max(self._most, self._cloud.resident_mib())


@contextmanager
def bare() -> Iterator[int]:
    """The port of a bare ASGI server with a folder of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="nubelet-bench-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bare_asgi", str(port), str(Path(folder))]
        )
        try:
            _wait(port, process)
            yield port
        finally:
            psutil.Process(process.pid).terminate()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None
        time.sleep(0.1)
    raise TimeoutError("the bare server does not listen")
