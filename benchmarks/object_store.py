"""The object store beside a bare server of files in the same run, and beside Swift.

CPU per request of small objects against Swift's (its four daemons, one replica, same machine);
one large object against the bare server and against what MD5 and the disk alone allow; listings;
memory.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import psutil

from benchmarks.measuring import BenchCloud, Client, row

SMALL, MEDIUM = 1 << 10, 1 << 20
LARGE = 1 << 30
LISTED, MANY = 10_000, 1_000_000
CLIENTS = 8
# Swift's CPU ms per request with 16 clients (2.38.3, one replica, same kind of machine).
SWIFT = {"PUT 1 KiB": 7.4, "GET 1 KiB": 3.3, "PUT 1 MiB": 8.6, "GET 1 MiB": 7.3}
SWIFT_LISTING_MS = 183.0


def main() -> None:
    """Measure all of it."""
    bare = Bare()
    cloud = BenchCloud("--only", "object-store")
    cloud.up()
    try:
        cloud.login()
        client = Client(cloud)
        account = _account(client)
        client.request("PUT", f"{account}/c")
        _small(cloud, account, bare)
        _large(cloud, account, bare)
        _listings(cloud, Client(cloud), account)  # idle connections are closed
    finally:
        cloud.down()
        bare.stop()


def _account(client: Client) -> str:
    token = client.ok("GET", "/identity/v3/auth/tokens", **{"X-Subject-Token": client.cloud.token})
    return f"/object-store/v1/AUTH_{token['token']['project']['id']}"


class Bare:
    """The bare server, in a process of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nubelet-bench-bare-"))
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        self.port = int(listener.getsockname()[1])
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.object_store_bare",
                str(listener.fileno()),
                str(self.folder),
            ],
            pass_fds=(listener.fileno(),),
        )
        listener.close()

    def cpu_seconds(self) -> float:
        """CPU used so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        """End it and remove its files."""
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)


def _small(cloud: BenchCloud, account: str, bare: Bare) -> None:
    for size, title, count in ((SMALL, "1 KiB", 400), (MEDIUM, "1 MiB", 80)):
        data = secrets.token_bytes(size)
        headers = {"X-Auth-Token": cloud.token, "Content-Type": "application/octet-stream"}
        path = f"{account}/c/{size}-"
        for method in ("PUT", "GET"):
            name = f"{method} {title}"
            spent = _cpu_ms(cloud, cloud.port, method, path, data, headers, count)
            row(f"{name}: CPU per request", spent, "ms", SWIFT[name] / 5, SWIFT[name])
            least = _cpu_ms(bare, bare.port, method, "/o", data, {}, count)
            row(f"    bare server: {name}", least, "ms")


def _cpu_ms(
    server: BenchCloud | Bare,
    port: int,
    method: str,
    path: str,
    data: bytes,
    headers: dict[str, str],
    count: int,
) -> float:
    """CPU of the server per request with CLIENTS clients at once, each with objects of its own,
    which are new: the least of three runs, as others share the machine."""

    def work(number: int, turn: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        for each in range(count // CLIENTS):
            one = f"{path}{number}-{f'{turn}-{each}' if method == 'PUT' else '0-0'}"
            _send(connection, method, one, data, headers)
        connection.close()

    best = 1e9
    with ThreadPoolExecutor(CLIENTS) as pool:
        for turn in range(3):
            before = server.cpu_seconds()
            list(pool.map(work, range(CLIENTS), repeat(turn)))
            best = min(best, (server.cpu_seconds() - before) / count * 1000)
    return best


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    data: bytes,
    headers: dict[str, str],
) -> None:
    connection.request(method, path, body=data if method == "PUT" else None, headers=headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status < 300, (method, path, answer.status)


# --- One large object -------------------------------------------------------------------------


def _large(cloud: BenchCloud, account: str, bare: Bare) -> None:
    piece = secrets.token_bytes(1 << 20)
    started = time.perf_counter()
    digest = hashlib.md5()
    for _ in range(512):
        digest.update(piece)
    md5 = 512 / (time.perf_counter() - started)
    headers = {"X-Auth-Token": cloud.token, "Content-Type": "application/octet-stream"}
    path = f"{account}/c/large"
    memory = cloud.resident_mib()
    ours = min(_upload(cloud.port, path, piece, headers) for _ in range(2))
    grown = cloud.resident_mib() - memory
    theirs = min(_upload(bare.port, "/large", piece, {}) for _ in range(2))
    mib = LARGE / 2**20
    disk = max(_disk_mib_per_second(bare.folder, piece) for _ in range(2))
    print(
        f"MD5 alone {md5:.0f} MiB/s; a file made durable {disk:.0f} MiB/s; "
        f"bare server PUT {mib / theirs:.0f} MiB/s"
    )
    row("PUT 1 GiB: seconds", ours, "s", theirs / 0.8)
    row("    share of MD5's speed", mib / ours / md5 * 100, "%")
    row("    share of the slower of MD5 and disk", mib / ours / min(md5, disk) * 100, "%")
    row("    memory grown", grown, "MiB", 64)
    ours = min(_download(cloud.port, path, headers) for _ in range(2))
    theirs = min(_download(bare.port, "/large", {}) for _ in range(2))
    print(f"bare server GET {mib / theirs:.0f} MiB/s")
    row("GET 1 GiB: seconds", ours, "s", theirs / 0.8)


def _disk_mib_per_second(folder: Path, piece: bytes) -> float:
    """What the disk allows: a file written and synced, as an acknowledged object is."""
    started = time.perf_counter()
    with (folder / "disk").open("wb", buffering=0) as file:
        for _ in range(LARGE // len(piece)):
            file.write(piece)
        os.fsync(file)
    seconds = time.perf_counter() - started
    (folder / "disk").unlink()
    return LARGE / 2**20 / seconds


def _upload(port: int, path: str, piece: bytes, headers: dict[str, str]) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    started = time.perf_counter()
    body = (piece for _ in range(LARGE // len(piece)))
    connection.request("PUT", path, body, {**headers, "Content-Length": str(LARGE)})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 201, answer.status
    return time.perf_counter() - started


def _download(port: int, path: str, headers: dict[str, str]) -> float:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        started = time.perf_counter()
        lines = [f"GET {path} HTTP/1.1", "Host: x", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        buffer, received = bytearray(1 << 20), 0
        while size := connection.recv_into(buffer):
            received += size
        assert received > LARGE, received
        return time.perf_counter() - started


# --- Listings ---------------------------------------------------------------------------------


def _listings(cloud: BenchCloud, client: Client, account: str) -> None:
    name = account.rsplit("/", 1)[1]
    for container, count in (("l", LISTED), ("many", MANY)):
        client.request("PUT", f"{account}/{container}")
        _fill(cloud, name, container, count)
    headers = {"X-Auth-Token": cloud.token}

    def page(path: str) -> Callable[[], float]:
        def measure() -> float:
            started = time.perf_counter()
            client.raw(f"{account}/{path}", headers)
            return (time.perf_counter() - started) * 1000

        return measure

    first = page("l?format=json")
    row(
        f"list {LISTED:,} objects",
        min(first() for _ in range(10)),
        "ms",
        25,
        SWIFT_LISTING_MS,
    )
    times = []
    for start in range(0, MANY, MANY // 10):
        one = page(f"many?format=json&limit=1000&marker=object-{start:012d}")
        times.append(min(one() for _ in range(3)))
    row(f"page of 1,000 at the start of {MANY:,}", times[0], "ms")
    row(f"page of 1,000 near the end of {MANY:,}", times[-1], "ms", times[0] * 1.5)


def _fill(cloud: BenchCloud, account: str, container: str, count: int) -> None:
    """Put entries into a listing, as so many PUTs would have."""
    from nubelet.object_store.storage import timestamps
    from nubelet.object_store.storage.containers import ContainerFile, ObjectRow
    from nubelet.object_store.storage.hashing import Hashing, own_words
    from nubelet.object_store.storage.local import PART_POWER

    folder = cloud.state_dir / "object-store"
    hashing = Hashing(own_words(folder), PART_POWER)
    digest = hashing.hash(account, container)
    file = ContainerFile(f"{folder}/containers/{hashing.folder(digest)}/{digest}.db")
    etag = "d41d8cd98f00b204e9800998ecf8427e"
    for start in range(0, count, 50_000):
        rows = []
        for number in range(start, min(start + 50_000, count)):
            now = timestamps.now()
            name = f"object-{number:012d}"
            rows.append(ObjectRow(name, now, now, 1024, "application/octet-stream", etag, 0, 0))
        file.merge(rows)
    file.close()


if __name__ == "__main__":
    main()
