"""Containers that grow too large are split, and shards that become small are merged: no entry is
lost or shown twice, whoever writes, lists or is killed meanwhile."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nubelet.cli import main
from nubelet.object_store.cluster.configuration import Cluster
from nubelet.object_store.cluster.daemons import listing_replicator, sharder
from nubelet.object_store.cluster.devices import Device
from nubelet.object_store.cluster.listing_files import NodeContainerFile
from nubelet.object_store.cluster.messages import FindListing, Peer
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.shards import ACTIVE, WANTED, Sharding
from nubelet.object_store.storage import (
    Listing,
    Missing,
    NotEmpty,
    ObjectPath,
    Policies,
    Policy,
    timestamps,
)
from nubelet.object_store.storage.containers import ObjectRow
from nubelet.object_store.storage.local import LocalStorage
from tests.object_cluster import ACCOUNT, NodeProcess, ObjectCluster, eventually, running_cluster
from tests.object_load import names, put

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]
OBJECTS = 20
WHOLE_SECONDS = 180.0
OPTIONS: Any = {"pass_seconds": 1.0, "more": f"[sharding]\nobjects = {OBJECTS}\n"}
WITHOUT_SHARDER = ("server", "updater", "account-updater", "listing-replicator")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectCluster]:
    with running_cluster(tmp_path_factory.mktemp("objects"), **OPTIONS) as made:
        yield made


@pytest.fixture
def container(cluster: ObjectCluster, request: pytest.FixtureRequest) -> str:
    name = str(request.node.name)
    cluster.storage.put_container(ACCOUNT, name, timestamps.now(), {})
    return name


def sharding(cluster: ObjectCluster, container: str) -> list[Sharding | None]:
    """What each replica of the root says."""
    ring = cluster.storage._cluster.container_ring
    part, digest = ring.part(ACCOUNT, container), ring.hash(ACCOUNT, container)
    found = []
    for device in ring.nodes(part):
        peer = Peer.of(device)
        asked = FindListing(device=peer.device, kind="containers", digest=digest)
        found.append(
            cluster.storage._replicas.client.call(
                peer.address,
                "sharding_show",
                asked,
                Sharding | None,  # type: ignore[arg-type]
            )
        )
    return found


def _assert_sharded(cluster: ObjectCluster, container: str, least: int = 2) -> None:
    for state in sharding(cluster, container):
        assert state is not None
        assert state.state == ACTIVE
        assert len(state.live) >= least
        assert state.live[0].lower == state.live[-1].upper == ""
        for one, other in itertools.pairwise(state.live):
            assert one.upper == other.lower


def _assert_counted(cluster: ObjectCluster, container: str, count: int) -> None:
    for _ in range(4):
        info = cluster.storage.container(ACCOUNT, container)
        assert (info.object_count, info.bytes_used) == (count, count)
    entries = cluster.storage.list_containers(ACCOUNT, Listing(prefix=container))
    assert [each[:3] for each in entries] == [(container, count, count)]


# --- Clusters of their own, first: the one that the other tests share is never idle -------------


def test_what_still_comes_to_a_root_does_not_wander_among_its_replicas(tmp_path: Path) -> None:
    """Each replica moves its own rows to the shards. One that told the others of them would be
    told of them again after it had dropped them, perhaps for ever."""
    with _sharded_by_hand(tmp_path) as cluster:
        late, *others = _roots(cluster, "c")
        late.merge([_late("late")])
        _pass(cluster, listing_replicator.run)
        assert "late" in _rows(late)
        assert [name for each in others for name in _rows(each) if name == "late"] == []
        _pass(cluster, sharder.run)
        assert [_rows(each) for each in (late, *others)] == [[]] * 3
        assert "late" in names(cluster, "c")


def test_rows_that_the_shards_have_already_do_not_keep_a_container(tmp_path: Path) -> None:
    with _sharded_by_hand(tmp_path) as cluster:
        roots = _roots(cluster, "c")
        for root in roots:
            root.merge([_late("o0")])
        for name in names(cluster, "c"):
            cluster.storage.delete_object(ObjectPath(ACCOUNT, "c", name), 0, timestamps.now())
        assert names(cluster, "c") == []
        with pytest.raises(NotEmpty):  # the shards may not know of it
            cluster.storage.delete_container(ACCOUNT, "c", timestamps.now())
        for root in roots:
            root.note_copied(root.rows_after(0, 100)[0])
        cluster.storage.delete_container(ACCOUNT, "c", timestamps.now())
        with pytest.raises(Missing):
            cluster.storage.container(ACCOUNT, "c")


@contextmanager
def _sharded_by_hand(folder: Path) -> Iterator[ObjectCluster]:
    """A cluster whose daemons run when a test says so, with the container `c` in shards."""
    cluster = ObjectCluster(folder, **OPTIONS)
    try:
        for node in cluster.nodes:
            node.start("server")
        cluster.wait_until_up()
        cluster.storage.put_account(ACCOUNT, timestamps.now(), {})
        cluster.storage.put_container(ACCOUNT, "c", timestamps.now(), {WANTED: "2"})
        for number in range(5):
            put(cluster, "c", f"o{number}", b"x")
        while any(_rows(root) for root in _roots(cluster, "c")):
            _pass(cluster, sharder.run)
        _assert_sharded(cluster, "c")
        yield cluster
    finally:
        cluster.stop()


def _pass(cluster: ObjectCluster, daemon: Callable[[Node], dict[str, float]]) -> None:
    """One pass of a daemon of each node."""
    for each in cluster.nodes:
        node = Node(Cluster(cluster.folder), each.folder, each.ip, each.port)
        with closing(node):
            assert daemon(node)["failures"] == 0


def _roots(cluster: ObjectCluster, container: str) -> list[NodeContainerFile]:
    """The replicas' own files."""
    own = cluster.storage._cluster
    ring, digest = own.container_ring, own.container_ring.hash(ACCOUNT, container)
    found = []
    for place in ring.nodes(ring.part(ACCOUNT, container)):
        (node,) = [each for each in cluster.nodes if each.port == place.port]
        device = Device(node.folder / place.device, own.hash_words)
        found.append(NodeContainerFile(device.listing_path("containers", ring, digest)))
    return found


def _rows(root: NodeContainerFile) -> list[str]:
    return [row.name for row in root.rows_after(0, 100)[1]]


def _late(name: str) -> ObjectRow:
    now = timestamps.now()
    return ObjectRow(name, now, now, 1, "text/plain", "e", 0, 0)


# Passes of a node's sharder, each in a process of its own that is killed before its n-th call to
# another node or change of its own file.
_KILLED = """
import os, signal, sys
from pathlib import Path
from nubelet.object_store.cluster.client import Client
from nubelet.object_store.cluster.configuration import Cluster
from nubelet.object_store.cluster.daemons import sharder
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.shards import ShardedFile

left = 0
def step(inner):
    def counted(*words, **options):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*words, **options)
    return counted
Client.call = step(Client.call)
for name in ("take_sharding", "note_copied", "note_all_copied", "drop_copied"):
    setattr(ShardedFile, name, step(getattr(ShardedFile, name)))
for line in sys.stdin:
    child = os.fork()
    if not child:
        left = int(line)
        node = Node(Cluster(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
        figures = sharder.run(node)
        os._exit(bool(figures["failures"]))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class _Sharder:
    """The sharder of a node, a pass at a time."""

    def __init__(self, cluster: ObjectCluster, node: NodeProcess) -> None:
        words = [str(cluster.folder), str(node.folder), node.ip, str(node.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _KILLED, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def go(self, kill_at: int = 1_000_000) -> int:
        """A pass, killed at that step if it comes so far; the exit code."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{kill_at}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self) -> None:
        self.process.communicate()


def test_a_sharder_may_be_killed_at_every_step(tmp_path: Path) -> None:
    cluster = ObjectCluster(tmp_path, **OPTIONS)
    sharders = [_Sharder(cluster, node) for node in cluster.nodes]
    try:
        for node in cluster.nodes:
            node.start(*WITHOUT_SHARDER)
        cluster.wait_until_up()
        cluster.storage.put_account(ACCOUNT, timestamps.now(), {})
        cluster.storage.put_container(ACCOUNT, "c", timestamps.now(), {})
        there = [f"o{number:02d}" for number in range(OBJECTS + 5)]
        for name in there:
            put(cluster, "c", name, b"x")
        killed, kill_at, before = 0, 1, ""
        for _ in range(100):
            codes = [each.go(kill_at) for each in sharders]
            killed += codes.count(-9)
            assert names(cluster, "c") == there
            now = str([state and state.state for state in sharding(cluster, "c")])
            if now == str([ACTIVE] * 3) and not any(codes):
                break
            # Each state from its first step on.
            kill_at = kill_at + 1 if now == before else 1
            if now != before:
                there.append(f"o{len(there):02d}")
                put(cluster, "c", there[-1], b"x")
            before = now
        assert killed > 10
        assert [each.go() for each in sharders * 2] == [0] * 10
        _assert_sharded(cluster, "c")
        assert names(cluster, "c") == there
        eventually(lambda: _assert_counted(cluster, "c", len(there)), WHOLE_SECONDS)
    finally:
        for each in sharders:
            each.end()
        cluster.stop()


# --- The cluster that is shared -----------------------------------------------------------------


def test_a_container_is_split_and_merged_under_load(cluster: ObjectCluster, container: str) -> None:
    chosen = random.Random(5)
    there: set[str] = set()
    lock, ended = threading.Lock(), threading.Event()
    wrong: list[str] = []

    def write_one(number: int) -> None:
        if chosen.random() < 0.2 and there:
            name = chosen.choice(sorted(there))
            path = ObjectPath(ACCOUNT, container, name)
            cluster.storage.delete_object(path, 0, timestamps.now())
            there.discard(name)
        else:
            name = f"{chosen.randrange(10)}/{number:03d}"
            put(cluster, container, name, b"x")
            there.add(name)

    def write() -> None:
        try:
            for number in range(150):
                with lock:
                    write_one(number)
        except Exception as error:
            wrong.append(repr(error))
            raise
        finally:
            ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not ended.is_set():
        with lock:
            listed = names(cluster, container)
            if listed != sorted(there):
                lost, more = sorted(there - set(listed)), sorted(set(listed) - there)
                wrong.append(f"lost {lost}, more {more}, {len(listed)} listed")
        ended.wait(0.2)
    writer.join()
    assert wrong == []
    eventually(lambda: _assert_sharded(cluster, container, 3), WHOLE_SECONDS)
    assert names(cluster, container) == sorted(there)
    eventually(lambda: _assert_counted(cluster, container, len(there)), WHOLE_SECONDS)
    with pytest.raises(NotEmpty, match=r"The container has objects\."):
        cluster.storage.delete_container(ACCOUNT, container, timestamps.now())
    for name in sorted(there)[3:]:
        cluster.storage.delete_object(ObjectPath(ACCOUNT, container, name), 0, timestamps.now())
        there.discard(name)

    def merged() -> None:
        for state in sharding(cluster, container):
            assert state is not None
            assert len(state.live) == 1

    eventually(merged, WHOLE_SECONDS)
    assert names(cluster, container) == sorted(there)
    eventually(lambda: _assert_counted(cluster, container, 3), WHOLE_SECONDS)
    for name in there:
        cluster.storage.delete_object(ObjectPath(ACCOUNT, container, name), 0, timestamps.now())
    cluster.storage.delete_container(ACCOUNT, container, timestamps.now())
    with pytest.raises(Missing):
        cluster.storage.container(ACCOUNT, container)


def test_a_page_of_a_sharded_container_is_that_of_any_other(
    cluster: ObjectCluster, container: str, tmp_path: Path
) -> None:
    words = ["a", "a/", "a/1", "a/2", "a/b/", "a/b/1", "a/b/2", "a!", "b", "b/1", "b/2/3", "c//d"]
    words += [f"d/{number:02d}" for number in range(5)] + ["\u00e9", "\u00e9/1", "\U0001f600"]
    assert len(words) <= OBJECTS  # only whom it is asked for splits it
    plain = LocalStorage(tmp_path, Policies([Policy(0, "one", True)]))
    plain.put_account(ACCOUNT, timestamps.now(), {})
    plain.put_container(ACCOUNT, container, timestamps.now(), {})
    for name in words:
        put(cluster, container, name, b"x")
        now = timestamps.now()
        row = ObjectRow(name, now, now, 1, "text/plain", "e", 0, 0)
        plain._merge(ACCOUNT, container, row)
    cluster.storage.post_container(ACCOUNT, container, timestamps.now(), {WANTED: "4"})
    eventually(lambda: _assert_sharded(cluster, container, 4), WHOLE_SECONDS)
    for prefix, delimiter, reverse, limit, marker, end in itertools.product(
        ("", "a", "a/", "d/"), ("", "/"), (False, True), (1, 3, 100), ("", "a/", "a/b/1", "d/02"),
        ("", "b/2"),
    ):  # fmt: skip
        asked = Listing(
            prefix=prefix,
            delimiter=delimiter,
            reverse=reverse,
            limit=limit,
            marker=marker,
            end_marker=end,
        )
        wanted = [each.name for each in plain.list_objects(ACCOUNT, container, asked)]
        found = [each.name for each in cluster.storage.list_objects(ACCOUNT, container, asked)]
        assert found == wanted, asked
    plain.close()


def test_an_operator_has_a_container_split(cluster: ObjectCluster, container: str) -> None:
    for number in range(6):
        put(cluster, container, f"o{number}", b"x")
    assert _run(cluster, "shards", ACCOUNT, container).count("not sharded") == 3
    _run(cluster, "shard", "--objects", "2", ACCOUNT, container)
    eventually(lambda: _assert_sharded(cluster, container, 3), WHOLE_SECONDS)
    shown = _run(cluster, "shards", ACCOUNT, container)
    assert shown.count("active, 3 shards") == 3
    assert "after 'o1' to 'o3'" in shown


def _run(cluster: ObjectCluster, command: str, *words: str) -> str:
    result = CliRunner().invoke(main, ["object", command, "--cluster", str(cluster.folder), *words])
    assert result.exit_code == 0, result.output
    return result.output
