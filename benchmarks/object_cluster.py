"""What a cluster of five storage nodes on this machine does: `python -m benchmarks object_cluster`.

Requests per second of CPU of all processes together (proxy and nodes), so that what else runs here
disturbs little. An object has three replicas, or five fragments of which three suffice.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from nubelet.object_store.storage import ObjectPath, timestamps
from tests.object_cluster import ObjectCluster

_SIZES = ((1024, 200), (1 << 20, 40), (64 << 20, 2))


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = ObjectCluster(Path(folder), coded=(3, 2), pass_seconds=600)
        try:
            cluster.start()
            cluster.storage.put_account("AUTH_bench", timestamps.now(), {})
            for policy, name in ((0, "replicas"), (1, "fragments")):
                cluster.storage.put_container("AUTH_bench", name, timestamps.now(), {}, policy)
                for size, count in _SIZES:
                    _measure(cluster, name, policy, size, count)
        finally:
            cluster.stop()


def _measure(cluster: ObjectCluster, container: str, policy: int, size: int, count: int) -> None:
    data = os.urandom(size)
    pieces = [data[start : start + (1 << 20)] for start in range(0, size, 1 << 20)]
    paths = [ObjectPath("AUTH_bench", container, f"{size}-{each}") for each in range(count)]
    storage = cluster.storage

    def put(path: ObjectPath) -> None:
        storage.put_object(path, policy, timestamps.now(), {"content-type": "a/b"}, pieces)

    def get(path: ObjectPath) -> None:
        assert sum(map(len, storage.open_object(path, policy).read())) == size

    for verb, do in (("PUT", put), ("GET", get)):
        used, passed = _cost(cluster, do, paths)
        print(
            f"{container:9} {verb} {size:>9} bytes: {count / used:8.1f} per CPU second "
            f"({count / passed:.1f} per second, {size * count / used / 1e6:.0f} MB per CPU second)",
            flush=True,
        )


def _cost(
    cluster: ObjectCluster, do: Callable[[ObjectPath], None], paths: list[ObjectPath]
) -> tuple[float, float]:
    began, cpu = time.monotonic(), _cpu(cluster)
    for path in paths:
        do(path)
    return _cpu(cluster) - cpu, time.monotonic() - began


def _cpu(cluster: ObjectCluster) -> float:
    processes = [psutil.Process(node.process.pid) for node in cluster.nodes if node.process]
    times = [psutil.Process().cpu_times(), *(process.cpu_times() for process in processes)]
    return sum(each.user + each.system for each in times)
