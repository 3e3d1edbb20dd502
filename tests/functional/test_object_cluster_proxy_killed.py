"""A proxy that is killed in the middle of a write: the old object or the new one, never a mix."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nubelet.object_store.storage import Listing, ObjectPath, timestamps
from tests.object_cluster import ACCOUNT, ObjectCluster, eventually, running_cluster

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]
BEFORE, PIECE, PIECES = b"before" * 20_000, b"after!" * 10_000, 5

# A proxy that writes a new version and says before each step where it is.
_PROXY = """
import sys
from pathlib import Path
from nubelet.object_store.cluster import erasure_writing, writing
from nubelet.object_store.cluster.storage import ClusterStorage
from nubelet.object_store.storage import ObjectPath, timestamps

def step(name):
    print(name, flush=True)
    sys.stdin.readline()

def body():
    for number in range(5):
        step(f"piece {number}")
        yield b"after!" * 10_000

def finish(etag, size):
    step("before the end")
    return {}

def told(writer, tail, end=writing.Writer.end):
    end(writer, tail)
    step(f"end {writer.number}")

writing.Writer.end = told
manifest = erasure_writing.write_object
def named(*words, **options):
    step("before the manifest")
    return manifest(*words, **options)
erasure_writing.write_object = named
folder, container, policy = sys.argv[1:]
storage = ClusterStorage(Path(folder))
storage.put_object(
    ObjectPath("AUTH_test", container, "o"), int(policy), timestamps.now(),
    {"content-type": "a/b"}, body(), finish=finish,
)
step("done")
"""
_REPLICATED = ["piece 0", "piece 4", "before the end", "end 0", "end 1", "end 2", "done"]
_CODED = ["piece 2", "before the end", "end 2", "end 4", "before the manifest", "done"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectCluster]:
    with running_cluster(tmp_path_factory.mktemp("objects"), coded=(3, 2)) as made:
        yield made


def _kill_at(cluster: ObjectCluster, container: str, policy: int, stage: str) -> None:
    proxy = subprocess.Popen(
        [sys.executable, "-c", _PROXY, str(cluster.folder), container, str(policy)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert proxy.stdin is not None
    assert proxy.stdout is not None
    try:
        for line in proxy.stdout:
            if line.strip() == stage:
                return
            proxy.stdin.write("\n")
            proxy.stdin.flush()
        raise AssertionError(f"it never came to {stage}")
    finally:
        proxy.send_signal(signal.SIGKILL)
        proxy.wait()
        proxy.stdin.close()
        proxy.stdout.close()


@pytest.mark.parametrize(
    ("policy", "stage"),
    [*((0, stage) for stage in _REPLICATED), *((1, stage) for stage in _CODED)],
)
def test_a_proxy_is_killed_at(
    cluster: ObjectCluster, request: pytest.FixtureRequest, policy: int, stage: str
) -> None:
    storage, container = cluster.storage, str(request.node.name)
    storage.put_container(ACCOUNT, container, timestamps.now(), {}, policy)
    path = ObjectPath(ACCOUNT, container, "o")
    storage.put_object(path, policy, timestamps.now(), {"content-type": "a/b"}, [BEFORE])
    _kill_at(cluster, container, policy, stage)

    def check() -> None:
        found = b"".join(storage.open_object(path, policy, newest=True).read())
        assert found in (BEFORE, PIECE * PIECES)
        if stage == "done":
            assert found == PIECE * PIECES
        if stage.startswith(("piece", "before")):
            assert found == BEFORE
        entries = storage.list_objects(ACCOUNT, container, Listing())
        assert [entry.size for entry in entries] == [len(found)]  # type: ignore[union-attr]

    eventually(check, 120)
    eventually(lambda: _assert_no_temporary_files(cluster), 120)
    # A server may have finished the dead proxy's write since, and tells the container by itself.
    eventually(check, 120)


def _assert_no_temporary_files(cluster: ObjectCluster) -> None:
    left: list[Path] = [path for node in cluster.nodes for path in node.folder.glob("*/tmp/*")]
    assert left == []
