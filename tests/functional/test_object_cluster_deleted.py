"""What is left of deleted accounts and containers on storage nodes: nothing, in time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nubelet.object_store.storage import ObjectPath, timestamps
from tests.object_cluster import ACCOUNT, ObjectCluster, eventually, running_cluster
from tests.object_load import put

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectCluster]:
    # Longer than a busy machine may keep one of the nodes from what the others have done already.
    options: Any = {"pass_seconds": 1.0, "more": "reclaim_seconds = 10.0\n"}
    with running_cluster(tmp_path_factory.mktemp("objects"), **options) as made:
        yield made


def test_a_deleted_account_is_reaped_and_its_files_go(cluster: ObjectCluster) -> None:
    cluster.storage.put_account(ACCOUNT, timestamps.now(), {})
    paths: list[ObjectPath] = []
    for container in ("one", "two"):
        cluster.storage.put_container(ACCOUNT, container, timestamps.now(), {})
        paths += [put(cluster, container, f"o{number}", b"x") for number in range(3)]

    def all_there() -> None:  # writing waits for most of the replicas
        assert len(_listings(cluster)) == 3 * 3

    eventually(all_there, 120)
    cluster.storage.delete_account(ACCOUNT, timestamps.now())

    def gone() -> None:
        assert _listings(cluster) == []
        for path in paths:
            assert not any(list(each.glob("*.data")) for each in cluster.holders(*path))

    eventually(gone, 180)


def _listings(cluster: ObjectCluster) -> list[str]:
    found = [path for node in cluster.nodes for path in node.folder.glob("d0/*/*/*/*/*.db")]
    return [str(path) for path in found if path.parts[-5] in ("accounts", "containers")]
