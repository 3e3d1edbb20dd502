"""A cluster whose nodes are machines of their own: network namespaces on one bridge. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.object_cluster import HASTY, ZONES, ObjectCluster

PORT = 6200


class ObjectNetwork:
    """Namespaces `<name>n0`... joined by a bridge to this one, where the proxies are."""

    def __init__(self) -> None:
        self.name = f"nbo{os.getpid() % 10000}"
        self._subnet = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
        self.namespaces = [f"{self.name}n{number}" for number in range(len(ZONES))]

    @property
    def addresses(self) -> list[tuple[str, int, str]]:
        return [
            (f"{self._subnet}.{10 + number}", PORT, namespace)
            for number, namespace in enumerate(self.namespaces)
        ]

    def make(self) -> None:
        _ip("link", "add", self.name, "type", "bridge")
        _ip("addr", "add", f"{self._subnet}.1/24", "dev", self.name)
        _ip("link", "set", self.name, "up")
        for number, namespace in enumerate(self.namespaces):
            inner, outer = f"{self.name}i{number}", f"{self.name}o{number}"
            _ip("netns", "add", namespace)
            _ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", namespace)
            _ip("link", "set", outer, "master", self.name, "up")
            _ip("-n", namespace, "addr", "add", f"{self._subnet}.{10 + number}/24", "dev", inner)
            _ip("-n", namespace, "link", "set", inner, "up")
            _ip("-n", namespace, "link", "set", "lo", "up")

    def remove(self) -> None:
        for namespace in self.namespaces:
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)
        subprocess.run(["ip", "link", "del", self.name], capture_output=True)

    def cut(self, zone: int, *, off: bool = True) -> None:
        """Cut the cables of a zone, or mend them."""
        for number, own in enumerate(ZONES):
            if own == zone:
                _ip("link", "set", f"{self.name}o{number}", "down" if off else "up")


@contextmanager
def running(folder: Path) -> Iterator[tuple[ObjectCluster, ObjectNetwork]]:
    """Five nodes in five namespaces."""
    network = ObjectNetwork()
    try:
        network.make()
        cluster = ObjectCluster(folder, addresses=network.addresses, **HASTY)
        try:
            cluster.start()
            yield cluster, network
        finally:
            cluster.stop()
    finally:
        network.remove()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of its own, of so much, at a folder."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
