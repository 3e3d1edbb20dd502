"""kill -9 of storage nodes at every stage of a change: the old or the new, never a mix.

Three storage nodes, forked from this process, hold a replica each of everything. One of them, or
all, kill themselves at the n-th system call or statement that changes a file, for every n until
the change comes through. With one of them dead the change must be acknowledged all the same; what
was acknowledged must be there; and after one pass of the daemons all replicas must be alike, the
listings right, and nothing temporary left.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import mmap
import multiprocessing
import os
import signal
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn.lifespan.off
import uvicorn.loops.uvloop
import uvicorn.protocols.http.httptools_impl
import uvicorn.protocols.websockets.auto  # noqa: F401 - else each child imports them

from nubelet.kernel.errors import ServiceUnavailable
from nubelet.object_store.cluster import running
from nubelet.object_store.cluster.configuration import Cluster
from nubelet.object_store.cluster.daemons import listing_replicator, object_replicator, updater
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.storage import ClusterStorage
from nubelet.object_store.ring import RingBuilder
from nubelet.object_store.storage import Listing
from tests.operations import test_object_store_crash, test_s3_crash
from tests.operations.test_object_store_crash import _CHANGES, Api, Hasty
from tests.serving import free_port

pytestmark = pytest.mark.crash
_no_waiting_for_disks = test_object_store_crash._no_waiting_for_disks
_small_parts = test_s3_crash._small_parts
_IP = "127.0.0.1"
_WORD = struct.Struct("q")


class Server:
    """A storage node in a child process, which dies after so many further steps."""

    def __init__(self, cluster: Path, root: Path, port: int) -> None:
        self._cluster, self.root, self.port = cluster, root, port
        self._left = mmap.mmap(-1, _WORD.size)  # shared with the child, and so is the lock of it
        self._pid = 0

    def start(self) -> None:
        self.arm(0)
        self._counting = multiprocessing.get_context("fork").Lock()  # a dead one may hold the last
        told, telling = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            try:
                ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ends with the test run
                self._serve(telling)
            finally:
                os._exit(1)
        os.close(telling)
        assert os.read(told, 1)
        os.close(told)

    def _serve(self, telling: int) -> None:
        listener = running._listen(_IP, self.port)
        node = Node(Cluster(self._cluster), self.root, _IP, self.port)
        os.write(telling, b"1")
        self._count_steps()
        running._serve(node, listener)

    def arm(self, steps: int) -> None:
        """Die at the so manieth step from now; 0: never."""
        self._left[:] = _WORD.pack(steps)

    @property
    def left(self) -> int:
        """Steps to go."""
        return int(_WORD.unpack(self._left[:])[0])

    def _step(self) -> None:
        with self._counting:
            left = self.left
            if left:
                self.arm(left - 1)
        if left == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def _count_steps(self) -> None:
        step = self._step

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **more: Any) -> Any:
                step()
                return function(*arguments, **more)

            return call

        for name in _CHANGES:
            setattr(os, name, counted(getattr(os, name)))

        class Counted(Hasty):
            def execute(self, sql: str, *more: Any) -> Any:
                if not sql.startswith(("SELECT", "PRAGMA")):
                    step()
                return super().execute(sql, *more)

        connect = sqlite3.connect
        sqlite3.connect = lambda *args, **more: connect(*args, factory=Counted, **more)  # type: ignore[assignment]

    def is_dead(self) -> bool:
        """Did it come to that step? Waits while it goes on."""
        while True:
            left = self.left
            time.sleep(0.02)
            if not left or left == self.left:
                break
        return not self._disarmed() and os.waitpid(self._pid, 0)[0] != 0

    def _disarmed(self) -> bool:
        """It goes on, for good; False when it has come to its last step."""
        while self.left:
            if self._counting.acquire(timeout=0.05):  # else one of its threads died with it
                left = self.left
                self.arm(0)
                self._counting.release()
                return left > 0
        return False

    def end(self) -> None:
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


class World:
    """The nodes, their daemons, and the API before them."""

    def __init__(self, folder: Path) -> None:
        cluster = folder / "cluster"
        cluster.mkdir()
        (cluster / "cluster.toml").write_text(
            f'hash_words = "words"\nkey = "{"k" * 32}"\n'
            "[timing]\nshun_seconds = 0.0\nanswer_seconds = 60.0\nupdate_seconds = 60.0\n"
            "update_pass_seconds = 60.0\n"  # nobody is given up on because the machine is busy
        )
        builder = RingBuilder(2, 3, 0)
        self.servers: list[Server] = []
        for number in range(3):
            root, port = folder / f"node{number}", free_port()
            (root / "d").mkdir(parents=True)
            builder.add(region=1, zone=number, ip=_IP, port=port, device="d", weight=1)
            self.servers.append(Server(cluster, root, port))
        builder.rebalance(seed=1)
        for name in ("account", "container", "object"):
            builder.ring().save(cluster / f"{name}.ring")
        for server in self.servers:
            server.start()
        self.nodes = [Node(Cluster(cluster), each.root, _IP, each.port) for each in self.servers]
        self.api = Api(folder / "api", ClusterStorage(cluster))
        assert self.api("PUT", "/c").status == 201

    def close(self) -> None:
        for node in self.nodes:
            node.close()
        self.api.store.close()
        for server in self.servers:
            server.end()

    def catch_up(self) -> None:
        """Two passes of the daemons: what one node tells another goes on from there."""
        for _ in range(2):
            for run in (updater.run, listing_replicator.run, object_replicator.run, updater.report):
                for node in self.nodes:
                    run(node)

    def assert_whole(self) -> None:
        found = [_files(server.root / "d") for server in self.servers]
        assert found[0] == found[1] == found[2]
        left = [each for s in self.servers for kind in ("tmp/*", "updates/*", "**/*.new*")
                for each in (s.root / "d").glob(kind)]  # fmt: skip
        assert left == []
        listings = [_listings(node) for node in self.nodes]
        assert listings[0] == listings[1] == listings[2]


def _files(device: Path) -> dict[str, bytes]:
    """The files of objects."""
    return {
        str(path.relative_to(device)): path.read_bytes()
        for path in device.glob("objects/*/*/*/*")
        if path.is_file()
    }


def _listings(node: Node) -> dict[str, list[Any]]:
    """What each listing file of a node says."""
    (device,) = node.devices.all()
    found: dict[str, list[Any]] = {}
    for kind, files in (("accounts", device.accounts), ("containers", device.containers)):
        for _, path in device.listings(kind):
            with files.use(path) as file:  # type: ignore[attr-defined]
                head = file.head()
                if head.put_timestamp > head.delete_timestamp:
                    found["/".join(head.names)] = file.entries(Listing(limit=10_000, reserved=True))
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


Step = Callable[[str], Any]
_rounds = itertools.count()


def crash_everywhere(
    world: World,
    setup: Step,
    change: Step,
    state: Step,
    old: Any,
    new: Any,
    *,
    victims: int = 1,
    every: int = 1,
    at_once: bool = True,
) -> list[str]:
    """Run the whole series, each time with a name of its own; the names. `state` says how things
    are: `old` or `new`. `every`: so many steps are passed over. `at_once`: what was acknowledged
    is to be seen before the daemons have made a pass, too."""
    names, done = [], set[str]()
    for steps in range(1, 1000, every):
        name = f"o{next(_rounds):04d}"
        names.append(name)
        setup(name)
        at = steps % 3
        dying = [*world.servers[at:], *world.servers[:at]][:victims]
        for server in dying:
            server.arm(steps)
        try:
            change(name)
            done.add(name)
        except ServiceUnavailable:
            assert victims > 1, f"step {steps}: one of three stopped all"
        dead = [server for server in dying if server.is_dead()]
        allowed = [new] if at_once and name in done else [old, new]
        if victims == 1:
            assert state(name) in allowed, f"step {steps}"
        for server in dead:
            server.start()
        assert state(name) in allowed, f"step {steps}"
        if not dead:
            assert steps > 5
            break
    world.catch_up()
    world.assert_whole()
    for name in names:
        assert state(name) in ([new] if name in done else [old, new])
    return names


def _done(api: Api, *words: Any, **headers: Any) -> None:
    answer = api(*words, **headers)
    if answer.status == 503:
        raise ServiceUnavailable
    assert answer.status < 300, answer


def _body(api: Api, path: str) -> bytes | None:
    """The newest that there is; what any replica says is no mix either."""
    answer = api("GET", path, X_Newest="true")
    assert answer.status in (200, 404), answer
    if answer.status == 404:
        return None
    return answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)


def _assert_listed(api: Api, container: str, names: list[str]) -> None:
    """The listing says what there is."""
    listed = api.listed(container)
    for name in names:
        head = api("HEAD", f"{container}/{name}")
        assert (name in listed) == (head.status == 200)
        if name in listed:
            assert str(listed[name]) == head.headers["Content-Length"]


@pytest.mark.parametrize("victims", [1, 3])
def test_overwriting(world: World, victims: int) -> None:
    api = world.api
    names = crash_everywhere(
        world,
        lambda name: api("PUT", f"/c/{name}", b"old-one"),
        lambda name: _done(api, "PUT", f"/c/{name}", b"new"),
        lambda name: _body(api, f"/c/{name}"),
        b"old-one",
        b"new",
        victims=victims,
        every=2 if victims == 1 else 3,
    )
    _assert_listed(api, "/c", names)


@pytest.mark.parametrize("victims", [1, 3])
def test_deleting(world: World, victims: int) -> None:
    api = world.api
    names = crash_everywhere(
        world,
        lambda name: api("PUT", f"/c/{name}", b"old"),
        lambda name: _done(api, "DELETE", f"/c/{name}"),
        lambda name: _body(api, f"/c/{name}"),
        b"old",
        None,
        victims=victims,
        every=2 if victims == 1 else 3,
    )
    _assert_listed(api, "/c", names)


def test_a_manifest(world: World) -> None:
    api = world.api
    entries = json.dumps([{"path": "/c/1"}, {"path": "/c/2"}]).encode()
    api("PUT", "/c/1", b"hello ")
    api("PUT", "/c/2", b"you")
    names = crash_everywhere(
        world,
        lambda name: api("PUT", f"/c/{name}", b"old"),
        lambda name: _done(api, "PUT", f"/c/{name}", entries, query="multipart-manifest=put"),
        lambda name: _body(api, f"/c/{name}"),
        b"old",
        b"hello you",
        every=4,
    )
    _assert_listed(api, "/c", names)


def test_completing_an_upload_in_parts(world: World) -> None:
    api, bucket, uploads = world.api, test_s3_crash.BUCKET, dict[str, str]()
    api("PUT", f"/{bucket}")

    def setup(name: str) -> None:
        api("PUT", f"/{bucket}/{name}", b"before")
        uploads[name] = test_s3_crash.begin(api, name)

    names = crash_everywhere(
        world,
        setup,
        lambda name: test_s3_crash.complete(api, uploads[name], name),
        lambda name: _body(api, f"/{bucket}/{name}"),
        b"before",
        b"".join(test_s3_crash.PARTS.values()),
        every=8,
    )
    _assert_listed(api, f"/{bucket}", names)


def test_overwriting_with_versions(world: World) -> None:
    api = world.api
    api("PUT", "/v", X_Versions_Enabled="true")
    names = crash_everywhere(
        world,
        lambda name: api("PUT", f"/v/{name}", b"old"),
        lambda name: _done(api, "PUT", f"/v/{name}", b"new"),
        lambda name: _body(api, f"/v/{name}"),
        b"old",
        b"new",
        every=8,
    )
    answer = api("GET", "/v", query="versions&format=json")
    assert isinstance(answer.body, bytes)
    versions = json.loads(answer.body)
    for name in names:
        own = [each for each in versions if each["name"] == name]
        (latest,) = [each for each in own if each["is_latest"]]
        assert latest["version_id"] == api("HEAD", f"/v/{name}").headers["X-Object-Version-Id"]
        assert len(own) == 2


def test_containers_come_and_go(world: World) -> None:
    api = world.api
    for setup, change, old, new in (
        (lambda name: None, lambda name: _done(api, "PUT", f"/{name}"), 404, 204),
        (
            lambda name: _done(api, "PUT", f"/{name}"),
            lambda name: _done(api, "DELETE", f"/{name}"),
            204,
            404,
        ),
    ):
        names = crash_everywhere(
            world,
            setup,
            change,
            lambda name: api("HEAD", f"/{name}").status,
            old,
            new,
            every=6,
            at_once=False,
        )
        listed = [each["name"] for each in json.loads(api("GET", "", query="format=json").body)]  # type: ignore[arg-type]
        for name in names:
            assert (name in listed) == (new == 204)
