"""What is built on objects (large ones, versions), on a cluster of storage nodes: the same tests as
on one folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.test_object_store_large import *  # noqa: F403
from tests.contract.test_object_store_versions import *  # noqa: F403
from tests.object_cluster import ObjectCluster
from tests.object_store_calls import Store, make_store

pytestmark = pytest.mark.functional


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("objects")
    cluster = ObjectCluster(folder / "nodes", policies=("Policy-0",))
    try:
        cluster.start()
        yield from make_store(folder, cluster=str(cluster.folder))
    finally:
        cluster.stop()
