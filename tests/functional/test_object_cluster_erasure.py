"""An erasure-coded policy on five nodes: 3 + 2 fragments; any three give an object back."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from nubelet.cli import main
from nubelet.kernel.errors import ServiceUnavailable
from nubelet.object_store.storage import Listing, Missing, ObjectPath, timestamps
from tests.object_cluster import ACCOUNT, ObjectCluster, eventually, running_cluster
from tests.object_load import assert_missing

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]
POLICY = 1
WHOLE_SECONDS = 120.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectCluster]:
    with running_cluster(tmp_path_factory.mktemp("objects"), coded=(3, 2)) as made:
        yield made


@pytest.fixture
def container(cluster: ObjectCluster, request: pytest.FixtureRequest) -> str:
    name = str(request.node.name)
    cluster.storage.put_container(ACCOUNT, name, timestamps.now(), {}, POLICY)
    return name


def _put(cluster: ObjectCluster, container: str, name: str, data: bytes) -> ObjectPath:
    path = ObjectPath(ACCOUNT, container, name)
    metadata = {"content-type": "a/b", "content-length": str(len(data))}
    pieces = [data[start : start + 50_000] for start in range(0, len(data), 50_000)]
    cluster.storage.put_object(path, POLICY, timestamps.now(), metadata, pieces)
    return path


def _get(cluster: ObjectCluster, path: ObjectPath) -> bytes:
    return b"".join(cluster.storage.open_object(path, POLICY).read())


def _fragments(cluster: ObjectCluster, path: ObjectPath) -> list[Path]:
    digest = cluster.storage._cluster.object_ring(POLICY).hash(*path)
    found: list[Path] = []
    for node in cluster.nodes:
        found += node.folder.glob(f"*/fragments-1/*/{digest[-3:]}/{digest}/*.fragment")
    return sorted(found, key=lambda file: file.name)


def _assert_whole(cluster: ObjectCluster, path: ObjectPath, contents: list[bytes]) -> None:
    """Each fragment is once there, on the device where it belongs, as it was."""
    files = _fragments(cluster, path)
    assert [file.read_bytes() for file in files] == contents
    ring = cluster.storage._cluster.object_ring(POLICY)
    _, devices = ring.lookup(*path)
    ports = {node.folder: node.port for node in cluster.nodes}
    assert [ports[file.parents[5]] for file in files] == [device.port for device in devices]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1_000_000])
def test_what_is_written_is_read(cluster: ObjectCluster, container: str, size: int) -> None:
    data = os.urandom(size)
    path = _put(cluster, container, "o", data)
    opened = cluster.storage.open_object(path, POLICY)
    assert opened.size == size
    assert opened.metadata["etag"] == hashlib.md5(data).hexdigest()
    assert opened.metadata["content-length"] == str(size)
    assert b"".join(opened.read()) == data
    for _ in range(5):
        start, end = sorted(random.choices(range(size + 1), k=2))
        assert b"".join(opened.read(start, end)) == data[start:end]
    (entry,) = cluster.storage.list_objects(ACCOUNT, container, Listing())
    assert (entry.size, entry.etag) == (size, opened.metadata["etag"])  # type: ignore[union-attr]
    files = _fragments(cluster, path)
    assert len(files) == 5
    if size == 1_000_000:  # five thirds of the object, not three times
        assert sum(file.stat().st_size for file in files) < 1.7 * size


def test_metadata_changes_and_the_object_goes(cluster: ObjectCluster, container: str) -> None:
    path = _put(cluster, container, "o", b"x" * 100_000)
    metadata = {"x-object-meta-colour": "red"}
    cluster.storage.post_object(path, POLICY, timestamps.now(), metadata)
    opened = cluster.storage.open_object(path, POLICY)
    assert opened.metadata["x-object-meta-colour"] == "red"
    assert b"".join(opened.read()) == b"x" * 100_000
    cluster.storage.delete_object(path, POLICY, timestamps.now())
    with pytest.raises(Missing):
        cluster.storage.open_object(path, POLICY)
    eventually(lambda: _assert_count(cluster, path, 0), WHOLE_SECONDS)


def _assert_count(cluster: ObjectCluster, path: ObjectPath, count: int) -> None:
    assert len(_fragments(cluster, path)) == count


def test_an_overwrite_leaves_one_version(cluster: ObjectCluster, container: str) -> None:
    _put(cluster, container, "o", b"one" * 50_000)
    path = _put(cluster, container, "o", b"two" * 50_000)
    assert _get(cluster, path) == b"two" * 50_000
    eventually(lambda: _assert_count(cluster, path, 5), WHOLE_SECONDS)
    assert _get(cluster, path) == b"two" * 50_000


def test_a_body_that_breaks_off_changes_nothing(cluster: ObjectCluster, container: str) -> None:
    path = _put(cluster, container, "o", b"before" * 30_000)

    def body() -> Iterator[bytes]:
        yield b"x" * 200_000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        cluster.storage.put_object(path, POLICY, timestamps.now(), {"content-type": "a/b"}, body())
    assert _get(cluster, path) == b"before" * 30_000
    assert len(_fragments(cluster, path)) == 5


def test_two_nodes_may_be_away(cluster: ObjectCluster, container: str) -> None:
    data = os.urandom(300_000)
    path = _put(cluster, container, "before", data)
    away = cluster.nodes[1:3]
    for node in away:
        node.kill()
    try:
        assert _get(cluster, path) == data
        # Four fragments of five are needed: with two nodes away there is no place for them.
        with pytest.raises(ServiceUnavailable):
            _put(cluster, container, "before", b"other")
        assert _get(cluster, path) == data
    finally:
        for node in away:
            node.start()
        cluster.wait_until_up(away)
    assert _get(cluster, path) == data


def test_fragments_that_are_lost_or_damaged_are_made_anew(
    cluster: ObjectCluster, container: str
) -> None:
    data = os.urandom(300_000)
    path = _put(cluster, container, "o", data)
    files = _fragments(cluster, path)
    contents = [file.read_bytes() for file in files]
    files[1].unlink()
    with files[3].open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    assert _get(cluster, path) == data
    node = next(node for node in cluster.nodes if node.folder in files[3].parents)
    node.once("auditor")
    eventually(lambda: _assert_whole(cluster, path, contents), WHOLE_SECONDS)


def test_the_tool_tells_of_fragments(cluster: ObjectCluster, container: str) -> None:
    path = _put(cluster, container, "o", os.urandom(100_000))
    words = ["object", "info", "--cluster", str(cluster.folder), *path]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert [f"fragment {number} of" in result.output for number in range(5)] == [True] * 5


def test_a_new_disk_gets_its_fragments(cluster: ObjectCluster, container: str) -> None:
    paths = {}
    for number in range(6):
        path = _put(cluster, container, f"o{number}", os.urandom(100_000))
        paths[path] = [file.read_bytes() for file in _fragments(cluster, path)]
    node = cluster.nodes[0]
    node.kill()
    cluster.wipe(node)
    node.start()
    cluster.wait_until_up([node])
    for path, contents in paths.items():
        eventually(lambda: _assert_whole(cluster, path, contents), WHOLE_SECONDS)  # noqa: B023


def test_a_write_with_a_node_away_is_completed(cluster: ObjectCluster, container: str) -> None:
    node = cluster.nodes[4]
    node.kill()
    data = os.urandom(200_000)
    path = _put(cluster, container, "o", data)
    assert _get(cluster, path) == data
    node.start()
    cluster.wait_until_up([node])
    eventually(lambda: _assert_count(cluster, path, 5), WHOLE_SECONDS)
    assert _get(cluster, path) == data
    cluster.storage.delete_object(path, POLICY, timestamps.now())
    assert_missing(lambda: cluster.storage.open_object(path, POLICY))
