"""`nubelet object` as an operator uses it on a cluster that is, and is not, whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from nubelet.cli import main
from nubelet.object_store.storage import ObjectPath, timestamps
from tests.object_cluster import ObjectCluster, eventually

pytestmark = pytest.mark.functional
PATH = ObjectPath("AUTH_a", "c", "o")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectCluster]:
    # Nothing is mended while the tests look at it: a first pass comes at any time before this.
    never = {"pass_seconds": 1e8, "audit_seconds": 1e8}
    made = ObjectCluster(tmp_path_factory.mktemp("objects"), **never)
    try:
        made.start()
        made.storage.put_account("AUTH_a", timestamps.now(), {})
        made.storage.put_container("AUTH_a", "c", timestamps.now(), {"x-container-meta-a": "b"})
        yield made
    finally:
        made.stop()


@pytest.fixture(autouse=True)
def _object(cluster: ObjectCluster) -> None:
    metadata = {"content-type": "a/b"}
    cluster.storage.put_object(PATH, 0, timestamps.now(), metadata, [b"data"])
    # Replicas of the account learn of it a moment later, each when it is told.
    eventually(lambda: _assert_known(cluster), 60)


def _assert_known(cluster: ObjectCluster) -> None:
    assert _run(cluster, "account-info", "AUTH_a").count("1 containers, 1 objects, 4 bytes") == 3


def _run(cluster: ObjectCluster, *words: str, code: int = 0) -> str:
    command, *rest = words
    result = CliRunner().invoke(main, ["object", command, "--cluster", str(cluster.folder), *rest])
    assert result.exit_code == code, result.output
    return result.output


def test_where_an_object_is(cluster: ObjectCluster) -> None:
    output = _run(cluster, "info", *PATH)
    assert output.count("primary") == 3
    assert output.count("MD5 8d777f385d3dfec8815d20f7496026dc") == 3
    assert "wrong" not in output


def test_what_is_wrong_with_an_object(cluster: ObjectCluster) -> None:
    first, second, _ = cluster.holders(*PATH)
    shutil.rmtree(first)
    next(second.glob("*.data")).write_bytes(b"dada")
    output = _run(cluster, "info", *PATH, code=1)
    assert output.count("wrong:") == 2
    assert ": missing" in output
    assert "is damaged: its MD5 was 8d777f385d3dfec8815d20f7496026dc" in output
    output = _run(cluster, "audit", "AUTH_a", code=1)
    assert "/AUTH_a/c/o: " in output
    assert "3 looked at, 2 wrong" in output
    dispersion = _run(cluster, "dispersion", "--partitions", "16")
    assert "97.92 %" in dispersion  # one replica of sixteen times three


def test_where_listings_are(cluster: ObjectCluster) -> None:
    output = _run(cluster, "container-info", "AUTH_a", "c")
    assert output.count("1 objects, 4 bytes") == 3
    assert "x-container-meta-a: b" in output
    assert "wrong" not in output
    assert "wrong" not in _run(cluster, "account-info", "AUTH_a")


def test_nodes_tell_of_themselves(cluster: ObjectCluster) -> None:
    output = _run(cluster, "recon")
    assert output.count("updates wait") == 5
    assert "account-updater" in output
    assert output.count("versions of the rings: account ") == 5


def test_what_is_not_there_is_said(cluster: ObjectCluster) -> None:
    assert "could not be found" in _run(cluster, "info", "AUTH_a", "none", "o", code=1)
    result = CliRunner().invoke(main, ["object", "recon", "--cluster", "/nonexistent"])
    assert result.exit_code == 1
    assert "cluster.toml" in result.output
