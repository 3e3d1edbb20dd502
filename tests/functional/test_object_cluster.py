"""A cluster of five storage nodes in three zones: what breaks, and what a user sees of it.

Each test leaves a cluster that is whole again.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from click.testing import CliRunner

from nubelet.cli import main
from nubelet.kernel.errors import ServiceUnavailable
from nubelet.object_store.cluster.object_files import verify
from nubelet.object_store.ring import partition_of
from nubelet.object_store.storage import (
    Listing,
    Missing,
    NotEmpty,
    ObjectPath,
    Outdated,
    timestamps,
)
from tests.object_cluster import (
    ACCOUNT,
    HASTY,
    NodeProcess,
    ObjectCluster,
    eventually,
    running_cluster,
)
from tests.object_load import Load, assert_missing, assert_whole, get, names, put

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]
WHOLE_SECONDS = 120.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectCluster]:
    with running_cluster(tmp_path_factory.mktemp("objects")) as made:
        yield made


@pytest.fixture
def container(cluster: ObjectCluster, request: pytest.FixtureRequest) -> str:
    name = request.node.name
    cluster.storage.put_container(ACCOUNT, name, timestamps.now(), {})
    return str(name)


# --- Clusters of their own, first: the one that the other tests share is never idle -------------


def test_a_node_that_stands_still_stops_nobody(tmp_path: Path) -> None:
    with running_cluster(tmp_path, **HASTY) as cluster:
        cluster.storage.put_container(ACCOUNT, "c", timestamps.now(), {})
        _stand_still(cluster, "c")


def _stand_still(cluster: ObjectCluster, container: str) -> None:
    node = cluster.nodes[2]
    node.pause()
    try:
        paths = [put(cluster, container, f"o{number}", b"data") for number in range(10)]
        for path in paths:
            assert get(cluster, path) == b"data"
    finally:
        node.resume()
    eventually(lambda: _assert_names(cluster, paths), WHOLE_SECONDS)
    for path in paths:
        eventually(lambda: assert_whole(cluster, path, b"data"), WHOLE_SECONDS)  # noqa: B023


def test_the_partition_power_may_grow_under_load(tmp_path: Path) -> None:
    """Of objects, of fragments, and of listings."""
    cluster = ObjectCluster(tmp_path, part_power=3, coded=(3, 2))
    builders = (cluster.builder, cluster.coded_builder)
    coded: dict[ObjectPath, bytes] = {}

    def write() -> None:
        cluster.write_rings()
        cluster.coded_builder.ring().save(cluster.folder / "object-1.ring")
        cluster.wait_for_rings()
        container = f"c{len(coded)}"  # one of each stage
        cluster.storage.put_container(ACCOUNT, container, timestamps.now(), {}, 1)
        path = ObjectPath(ACCOUNT, container, "o")
        coded[path] = os.urandom(100_000)
        cluster.storage.put_object(
            path, 1, timestamps.now(), {"content-type": "a/b"}, [coded[path]]
        )
        check()

    def check() -> None:
        load.check()
        for path, data in coded.items():
            assert b"".join(cluster.storage.open_object(path, 1).read()) == data
            assert names(cluster, path.container) == ["o"]
        containers = cluster.storage.list_containers(ACCOUNT, Listing())
        assert {path.container for path in coded} <= {each.name for each in containers}

    def relink(*options: str) -> None:
        kinds = ["objects", "objects-1", "fragments-1", "accounts", "containers"]
        folders = [str(path) for node in cluster.nodes for kind in kinds
                   for path in node.folder.glob(f"*/{kind}")]  # fmt: skip
        words = ["ring", "relink", str(cluster.folder / "object.ring"), *folders, *options]
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        check()

    try:
        cluster.start()
        cluster.storage.put_account(ACCOUNT, timestamps.now(), {})
        cluster.storage.put_container(ACCOUNT, "c", timestamps.now(), {})
        with Load(cluster, "c") as load:
            load.go_on(10)
            write()
            for builder in builders:
                builder.prepare_increase_partition_power()
            write()
            relink()
            for builder in builders:
                builder.increase_partition_power()
            write()
            relink("--cleanup")
            for builder in builders:
                builder.finish_increase_partition_power()
            write()
        check()
        eventually(load.check_whole, WHOLE_SECONDS)
        for path in coded:
            assert len(_fragments(cluster, path)) == 5
        for kind in ("objects", "objects-1", "fragments-1", "accounts", "containers"):
            for node in cluster.nodes:
                for folder in node.folder.glob(f"*/{kind}/*/*/*"):
                    assert partition_of(folder.name, 4) == int(folder.parts[-3]), folder
    finally:
        cluster.stop()


def _fragments(cluster: ObjectCluster, path: ObjectPath) -> list[Path]:
    digest = cluster.storage._cluster.object_ring(1).hash(*path)
    return [each for node in cluster.nodes
            for each in node.folder.glob(f"*/fragments-1/*/{digest[-3:]}/{digest}/*")]  # fmt: skip


# --- When all is well ---------------------------------------------------------------------------


def test_an_object_has_three_replicas_in_three_zones(
    cluster: ObjectCluster, container: str
) -> None:
    data = os.urandom(3_000_000)
    path = put(cluster, container, "ö/x", data)
    opened = cluster.storage.open_object(path, 0)
    assert opened.size == 3_000_000
    assert b"".join(opened.read()) == data
    assert b"".join(opened.read(10, 1000)) == data[10:1000]
    assert_whole(cluster, path, data)
    ring = cluster.builder.ring(suffix=b"words")
    assert {device.zone for device in ring.lookup(*path)[1]} == {1, 2, 3}
    (entry,) = cluster.storage.list_objects(ACCOUNT, container, Listing())
    assert (entry.name, entry.size, entry.etag) == (  # type: ignore[union-attr]
        "ö/x",
        3_000_000,
        hashlib.md5(data).hexdigest(),
    )


def test_totals_reach_the_account(cluster: ObjectCluster, container: str) -> None:
    put(cluster, container, "a", b"12345")
    put(cluster, container, "b", b"123")

    def check() -> None:
        entries = cluster.storage.list_containers(ACCOUNT, Listing())
        own = [entry for entry in entries if entry.name == container]
        assert [each[1:3] for each in own] == [(2, 8)]

    eventually(check, WHOLE_SECONDS)


def test_writes_decide_by_their_timestamps(cluster: ObjectCluster, container: str) -> None:
    path = ObjectPath(ACCOUNT, container, "o")
    old, middle, new = (timestamps.now() for _ in range(3))
    cluster.storage.put_object(path, 0, middle, {"content-type": "a/b"}, [b"middle"])
    with pytest.raises(Outdated) as refused:
        cluster.storage.put_object(path, 0, old, {"content-type": "a/b"}, [b"old"])
    assert refused.value.newest == middle
    cluster.storage.post_object(path, 0, new, {"x-object-meta-colour": "red"})
    opened = cluster.storage.open_object(path, 0)
    assert opened.metadata["x-object-meta-colour"] == "red"
    assert opened.metadata["etag"] == hashlib.md5(b"middle").hexdigest()
    with pytest.raises(NotEmpty):
        cluster.storage.delete_container(ACCOUNT, container, timestamps.now())
    cluster.storage.delete_object(path, 0, timestamps.now())
    with pytest.raises(Missing):
        cluster.storage.open_object(path, 0)
    with pytest.raises(Missing):
        cluster.storage.delete_object(path, 0, timestamps.now())
    cluster.storage.delete_container(ACCOUNT, container, timestamps.now())
    with pytest.raises(Missing):
        cluster.storage.container(ACCOUNT, container)


@pytest.mark.parametrize("how", ["replaced", "deleted"])
def test_who_has_opened_an_object_reads_it_to_its_end(
    cluster: ObjectCluster, container: str, how: str
) -> None:
    storage, path = cluster.storage, ObjectPath(ACCOUNT, container, "o")
    old = b"old" * 100_000
    storage.put_object(path, 0, timestamps.now(), {}, [old])
    opened = storage.open_object(path, 0)
    if how == "replaced":
        storage.put_object(path, 0, timestamps.now(), {}, [b"new" * 100_000])
    else:
        storage.delete_object(path, 0, timestamps.now())
    assert b"".join(opened.read(10)) == old[10:]
    opened.close()


def test_a_body_that_breaks_off_leaves_nothing(cluster: ObjectCluster, container: str) -> None:
    path = put(cluster, container, "o", b"before")

    def body() -> Iterator[bytes]:
        yield b"x" * 500_000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        cluster.storage.put_object(path, 0, timestamps.now(), {"content-type": "a/b"}, body())
    assert get(cluster, path) == b"before"
    eventually(lambda: _assert_no_temporary_files(cluster), WHOLE_SECONDS)


def _assert_no_temporary_files(cluster: ObjectCluster) -> None:
    assert [path for node in cluster.nodes for path in node.folder.glob("*/tmp/*")] == []


def test_nodes_answer_only_what_is_signed(cluster: ObjectCluster) -> None:
    node = cluster.nodes[0]
    connection = http.client.HTTPConnection(node.ip, node.port, timeout=60)
    for path, status in (
        ("/storage/1/figures", 401),
        ("/storage/2/figures", 400),
        ("/storage/1/object_open", 401),
        ("/", 400),
    ):
        connection.request("POST", path, headers={"x-nubelet-call": "e30=", "x-nubelet-mac": "0"})
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == status, path
        assert b"AUTH_" not in text


def test_changes_are_told_in_order_whoever_tells_them(
    cluster: ObjectCluster, container: str
) -> None:
    path = put(cluster, container, "a", b"1")
    put(cluster, container, "b", b"1")
    first = cluster.storage.changes(ACCOUNT, container, -1, 100)
    assert [change.name for change in first] == ["a", "b"]
    cluster.storage.delete_object(path, 0, timestamps.now())
    (last,) = cluster.storage.changes(ACCOUNT, container, first[-1].id, 100)
    assert (last.name, last.deleted) == ("a", True)
    assert cluster.storage.changes(ACCOUNT, container, last.id, 100) == []
    ring = cluster.storage._cluster.container_ring
    node = cluster.node_of(ring.lookup(ACCOUNT, container)[1][0].port)
    node.kill()
    try:  # another replica numbers them in its own way: all is told again
        again = cluster.storage.changes(ACCOUNT, container, last.id, 100)
        assert {change.name: change.deleted for change in again} == {"a": True, "b": False}
    finally:
        node.start()
        cluster.wait_until_up([node])


def test_places_name_the_devices_that_hold_it(cluster: ObjectCluster, container: str) -> None:
    path = put(cluster, container, "a/ü?", b"data")
    by_port = {node.port: node for node in cluster.nodes}
    for words, kind in (
        (path, "objects"),
        ((ACCOUNT, container, ""), "containers"),
        ((ACCOUNT, "", ""), "accounts"),
    ):
        urls = cluster.storage.places(*words, 0)
        assert len(urls) == 3
        for url in urls:
            parts = urlsplit(url)
            _, device, partition, rest = parts.path.split("/", 3)
            assert unquote(rest) == "/".join(each for each in words if each)
            folder = by_port[parts.port or 0].folder / device / kind / partition
            assert any(folder.glob("*/*")), url
    held = {str(each.parent.parent) for each in cluster.holders(*path)}
    urls = cluster.storage.places(*path, 0)
    assert held == {
        str(by_port[urlsplit(url).port or 0].folder.joinpath(
            urlsplit(url).path.split("/")[1], "objects", urlsplit(url).path.split("/")[2]))
        for url in urls
    }  # fmt: skip


# --- When something breaks ----------------------------------------------------------------------


def _kill_and_check(cluster: ObjectCluster, container: str, nodes: list[NodeProcess]) -> None:
    with Load(cluster, container) as load:
        load.go_on(10)
        try:
            for node in nodes:
                node.kill()
            load.go_on(30)
            load.check()
        finally:
            for node in nodes:
                node.start()
            cluster.wait_until_up(nodes)
        load.go_on(10)
    load.check()
    eventually(load.check_whole, WHOLE_SECONDS)


@pytest.mark.parametrize("number", [0, 4])
def test_any_node_may_be_killed_under_load(
    cluster: ObjectCluster, container: str, number: int
) -> None:
    _kill_and_check(cluster, container, [cluster.nodes[number]])


def test_a_zone_may_fall_out_under_load(cluster: ObjectCluster, container: str) -> None:
    _kill_and_check(cluster, container, cluster.nodes[:2])


def _assert_names(cluster: ObjectCluster, paths: list[ObjectPath]) -> None:
    """They are in the listing, whichever replica answers."""
    for _ in range(6):
        assert names(cluster, paths[0].container) == sorted(path.object for path in paths)


def test_a_replica_that_was_removed_comes_back(cluster: ObjectCluster, container: str) -> None:
    path = put(cluster, container, "o", b"data")
    cluster.lose(cluster.holders(*path)[1])
    assert get(cluster, path) == b"data"
    eventually(lambda: assert_whole(cluster, path, b"data"), WHOLE_SECONDS)


def _flip(file: Path) -> None:
    with file.open("r+b") as changed:
        first = changed.read(1)
        changed.seek(0)
        changed.write(bytes([first[0] ^ 1]))


@pytest.mark.parametrize("size", [4, 70_000, 1_000_000])
def test_a_flipped_byte_is_never_served_and_is_mended(
    cluster: ObjectCluster, container: str, size: int
) -> None:
    data = os.urandom(size)
    path = put(cluster, container, "o", data)
    for folder in cluster.holders(*path)[:2]:
        _flip(next(folder.glob("*.data")))

    def mended() -> None:  # who reads finds what is damaged, at the device that it happens to ask
        assert get(cluster, path) == data
        assert_whole(cluster, path, data)

    for _ in range(10):
        assert get(cluster, path) == data
    eventually(mended, WHOLE_SECONDS)


def test_a_long_object_that_is_damaged_is_not_read_to_its_end(
    cluster: ObjectCluster, container: str
) -> None:
    """A reader of more than a megabyte gets its bytes at once, so it sees the damage at the end."""
    data = os.urandom(3_000_000)
    path = put(cluster, container, "o", data)
    for folder in cluster.holders(*path):
        _flip(next(folder.glob("*.data")))
    opened = cluster.storage.open_object(path, 0)
    received = []
    with pytest.raises(ServiceUnavailable):
        received.extend(opened.read())
    assert 0 < sum(map(len, received)) < len(data)


def test_the_auditor_finds_what_nobody_reads(cluster: ObjectCluster, container: str) -> None:
    data = os.urandom(300_000)
    path = put(cluster, container, "o", data)
    folder = cluster.holders(*path)[0]
    _flip(next(folder.glob("*.data")))
    node = next(node for node in cluster.nodes if node.folder in folder.parents)
    node.once("auditor")
    quarantined = list(node.folder.glob(f"*/quarantined/{folder.name}-*"))
    assert len(quarantined) == 1
    shutil.rmtree(quarantined[0])
    eventually(lambda: assert_whole(cluster, path, data), WHOLE_SECONDS)
    for holder in cluster.holders(*path):
        verify(str(next(holder.glob("*.data"))))


def test_a_disk_that_was_replaced_is_filled_again(cluster: ObjectCluster, container: str) -> None:
    paths = [put(cluster, container, f"o{number}", b"data") for number in range(8)]
    node = cluster.nodes[4]
    node.kill()
    cluster.wipe(node)
    node.start()
    cluster.wait_until_up([node])
    for path in paths:
        assert get(cluster, path) == b"data"
        eventually(lambda: assert_whole(cluster, path, b"data"), WHOLE_SECONDS)  # noqa: B023
    eventually(lambda: _assert_names(cluster, paths), WHOLE_SECONDS)
    eventually(lambda: _assert_listed(cluster, container), WHOLE_SECONDS)


def _assert_listed(cluster: ObjectCluster, container: str) -> None:
    for _ in range(6):
        entries = cluster.storage.list_containers(ACCOUNT, Listing())
        assert container in [entry.name for entry in entries]


def test_without_a_majority_nothing_is_acknowledged(cluster: ObjectCluster, container: str) -> None:
    path = put(cluster, container, "o", b"before")
    dead = cluster.nodes[:4]
    for node in dead:
        node.kill()
    try:
        with pytest.raises(ServiceUnavailable):
            put(cluster, container, "o", b"after")
        with pytest.raises(ServiceUnavailable):
            cluster.storage.put_container(ACCOUNT, "other", timestamps.now(), {})
    finally:
        for node in dead:
            node.start()
        cluster.wait_until_up(dead)
    assert get(cluster, path, newest=True) in (b"before", b"after")


def test_the_ring_may_change_under_load(cluster: ObjectCluster, container: str) -> None:
    with Load(cluster, container) as load:
        load.go_on(10)
        for device in (0, 3):
            cluster.builder.set_weight(device, 10)
        moved = cluster.builder.rebalance(seed=2).moved
        assert moved > 3
        cluster.write_rings()
        cluster.wait_for_rings()
        load.go_on(10)
    load.check()
    eventually(load.check_whole, 2 * WHOLE_SECONDS)


def test_what_a_deleted_account_left_is_removed(cluster: ObjectCluster) -> None:
    account = "AUTH_gone"
    cluster.storage.put_account(account, timestamps.now(), {})
    cluster.storage.put_container(account, "c", timestamps.now(), {})
    path = ObjectPath(account, "c", "o")
    cluster.storage.put_object(path, 0, timestamps.now(), {"content-type": "a/b"}, [b"x"])
    cluster.storage.delete_account(account, timestamps.now())
    with pytest.raises(Missing):
        cluster.storage.account(account)

    def check() -> None:
        assert_missing(lambda: cluster.storage.open_object(path, 0, newest=True))
        assert_missing(lambda: cluster.storage.container(account, "c"))

    eventually(check, WHOLE_SECONDS)


def test_an_object_expires(cluster: ObjectCluster, container: str) -> None:
    from nubelet.object_store.reconcilers import expire_until

    path = ObjectPath(ACCOUNT, container, "o")
    at = int(time.time()) + 1
    metadata = {"content-type": "a/b", "x-delete-at": str(at)}
    cluster.storage.put_object(path, 0, timestamps.now(), metadata, [b"x"])
    eventually(lambda: _assert_expires(expire_until(cluster.storage, at + 1)), WHOLE_SECONDS)
    with pytest.raises(Missing):
        cluster.storage.open_object(path, 0)


def _assert_expires(count: int) -> None:
    assert count == 1


def test_a_node_ends_in_order(cluster: ObjectCluster) -> None:
    node = cluster.nodes[1]
    assert node.process is not None
    os.kill(node.process.pid, signal.SIGTERM)
    assert node.process.wait(60) in (0, -signal.SIGTERM)
    node.process = None
    node.start()
    cluster.wait_until_up([node])
