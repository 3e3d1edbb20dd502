"""What tests do to a cluster: writes, reads, and a load that remembers what was acknowledged."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from nubelet.kernel.errors import ServiceUnavailable
from nubelet.object_store.storage import Listing, Missing, ObjectPath, timestamps
from tests.object_cluster import ACCOUNT, ObjectCluster, eventually


def put(cluster: ObjectCluster, container: str, name: str, data: bytes) -> ObjectPath:
    path = ObjectPath(ACCOUNT, container, name)
    metadata = {"content-type": "text/plain", "content-length": str(len(data))}
    cluster.storage.put_object(path, 0, timestamps.now(), metadata, [data])
    return path


def get(cluster: ObjectCluster, path: ObjectPath, *, newest: bool = False) -> bytes:
    return b"".join(cluster.storage.open_object(path, 0, newest=newest).read())


def names(cluster: ObjectCluster, container: str) -> list[str]:
    return [e.name for e in cluster.storage.list_objects(ACCOUNT, container, Listing())]


def assert_whole(cluster: ObjectCluster, path: ObjectPath, data: bytes) -> None:
    """Each primary device has the object as it was written, and no other device has it."""
    holders = set(cluster.holders(*path))
    assert holders == set(cluster.primaries(*path))
    for folder in holders:
        files = list(folder.glob("*.data"))
        assert len(files) == 1
        assert files[0].read_bytes() == data


def assert_missing(ask: Callable[[], object]) -> None:
    try:
        ask()
    except Missing:
        return
    raise AssertionError("it is there")


class Load:
    """Writes, overwrites, reads and deletes objects until stopped; remembers what was acknowledged.

    `refused`: what was answered with an error; such a write may have happened or not.
    """

    def __init__(self, cluster: ObjectCluster, container: str, seed: int = 1) -> None:
        self._cluster, self._container = cluster, container
        self._random = random.Random(seed)
        self._ended = threading.Event()
        self._lock = threading.Lock()  # nothing is written while it is checked
        self.known: dict[str, bytes | None] = {}
        self.unsure: set[str] = set()
        self.refused = self.done = 0
        self.wrong: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def go_on(self, count: int) -> None:
        """Returns when so many more writes were acknowledged."""
        goal = self.done + count

        def check() -> None:
            assert self.done >= goal, self.wrong

        eventually(check, 120)

    def _run(self) -> None:
        while not self._ended.is_set():
            with self._lock:
                try:
                    self._one()
                except Exception as error:
                    self.wrong.append(repr(error))
                    raise
            time.sleep(0.001)  # let a check have its turn

    def _one(self) -> None:
        name = f"o{self._random.randrange(30)}"
        path = ObjectPath(ACCOUNT, self._container, name)
        self.unsure.add(name)
        try:
            if self._random.random() < 0.2 and self.known.get(name) is not None:
                self._cluster.storage.delete_object(path, 0, timestamps.now())
                self.known[name] = None
            else:
                data = self._random.randbytes(self._random.choice([0, 10, 5000, 200_000]))
                put(self._cluster, self._container, name, data)
                self.known[name] = data
            self.unsure.discard(name)
            self.done += 1
        except ServiceUnavailable:
            self.refused += 1
        except Missing:
            self.wrong.append(f"{name} was lost")

    def check(self) -> None:
        """What was acknowledged is there."""
        with self._lock:
            self._check()

    def _check(self) -> None:
        assert not self.wrong
        for name, data in self.known.items():
            if name in self.unsure:
                continue
            path = ObjectPath(ACCOUNT, self._container, name)
            if data is None:
                assert_missing(lambda: self._cluster.storage.open_object(path, 0, newest=True))  # noqa: B023
            else:
                assert get(self._cluster, path, newest=True) == data, name

    def check_whole(self) -> None:
        """Replicas and listings too."""
        self.check()
        sure = {name: data for name, data in self.known.items() if name not in self.unsure}
        for name, data in sure.items():
            if data is not None:
                assert_whole(self._cluster, ObjectPath(ACCOUNT, self._container, name), data)
        there = {name for name, data in sure.items() if data is not None}
        for _ in range(6):  # whichever replica answers
            listed = set(names(self._cluster, self._container))
            assert listed - self.unsure == there
