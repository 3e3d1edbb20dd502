"""The contract of the object API, on a cluster of storage nodes: the same tests, the same answers.

One thing differs, as it does upstream: an account learns what its containers hold a moment later.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.test_object_store import *  # noqa: F403
from tests.object_cluster import ObjectCluster, eventually
from tests.object_store_calls import Store, make_store

pytestmark = pytest.mark.functional


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("objects")
    cluster = ObjectCluster(folder / "nodes", policies=("gold", "silver"))
    try:
        cluster.start()
        yield from make_store(folder, cluster=str(cluster.folder))
    finally:
        cluster.stop()


def test_an_account_counts_its_containers_and_objects(store: Store) -> None:
    account = store.account("admin")
    one = account.container()
    two = account.container(X_Storage_Policy="silver")
    account.put(f"{one}/a", b"12345")
    account.put(f"{two}/b", b"123")
    assert account.head().headers["x-account-container-count"] == "2"

    def check() -> None:
        headers = account.head().headers
        assert headers["x-account-object-count"] == "2"
        assert headers["x-account-bytes-used"] == "8"
        assert headers["x-account-storage-policy-silver-bytes-used"] == "3"

    eventually(check, 60)
