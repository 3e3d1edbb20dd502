"""`X-Newest` where a replica of a listing is behind: nothing brings it up to date here."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.object_cluster import NodeProcess, ObjectCluster, eventually
from tests.object_store_calls import Account, Store, make_store

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]
TRIES = 20  # a reader without X-Newest asks any of the replicas
NEWEST = {"X-Newest": "true"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectCluster]:
    made = ObjectCluster(tmp_path_factory.mktemp("objects"), answer_seconds=5.0)
    for node in made.nodes:
        node.start("server")
    made.wait_until_up()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def store(cluster: ObjectCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    yield from make_store(tmp_path_factory.mktemp("proxy"), cluster=str(cluster.folder))


@pytest.fixture
def account(store: Store) -> Account:
    return store.account()


def node_of(cluster: ObjectCluster, account: str, container: str = "") -> NodeProcess:
    """A node that has a replica of an account or container."""
    place = urlsplit(cluster.storage.places(account, container, "", 0)[0])
    return next(node for node in cluster.nodes if node.port == place.port)


def test_objects_that_a_replica_did_not_learn_of(cluster: ObjectCluster, account: Account) -> None:
    container = account.container()
    account.put(f"{container}/first", b"1")
    node = node_of(cluster, account.name, container.strip("/"))
    node.kill()
    account.put(f"{container}/second", b"22")
    account.delete(f"{container}/first")
    node.start("server")
    cluster.wait_until_up([node])

    def plain() -> None:
        assert account.get(container).text != "second\n"

    eventually(plain, 60)  # the replica is behind
    for _ in range(TRIES):
        answer = account.get(container, **NEWEST)
        assert answer.text == "second\n"
        assert answer.headers["x-container-object-count"] == "1"
        assert account.head(container, **NEWEST).headers["x-container-bytes-used"] == "2"


def test_a_container_that_is_deleted(cluster: ObjectCluster, account: Account) -> None:
    container = account.container()
    node = node_of(cluster, account.name, container.strip("/"))
    node.kill()
    assert account.delete(container).status_code == 204
    node.start("server")
    cluster.wait_until_up([node])
    for _ in range(TRIES):
        assert account.get(container, **NEWEST).status_code == 404


def test_containers_that_a_replica_did_not_learn_of(cluster: ObjectCluster, store: Store) -> None:
    account = store.account("admin")
    first = account.container().strip("/")
    node = node_of(cluster, account.name)
    node.kill()
    second = account.container().strip("/")
    node.start("server")
    cluster.wait_until_up([node])
    for _ in range(TRIES):
        answer = account.get(**NEWEST)
        assert answer.text.split() == sorted([first, second])
        assert answer.headers["x-account-container-count"] == "2"
        assert account.head(**NEWEST).headers["x-account-container-count"] == "2"
