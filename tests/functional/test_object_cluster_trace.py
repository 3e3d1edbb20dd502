"""What the logs of a cluster tell of one request, by the id that its client was told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from nubelet.kernel import log
from tests.object_cluster import ObjectCluster, eventually
from tests.object_store_calls import Account, make_store

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectCluster]:
    made = ObjectCluster(tmp_path_factory.mktemp("objects"), answer_seconds=5.0)
    for node in made.nodes:
        node.log_level = "debug"
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def account(cluster: ObjectCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    for store in make_store(tmp_path_factory.mktemp("proxy"), cluster=str(cluster.folder)):
        yield store.account()


@pytest.fixture
def proxy_log(tmp_path: Path) -> Iterator[Path]:
    """The log of the proxy, which is in this process."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    log.setup(level="debug", path=str(tmp_path / "proxy.log"))
    yield tmp_path / "proxy.log"
    for handler in [each for each in root.handlers if each not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def lines(path: Path, request_id: str) -> list[str]:
    return [line for line in path.read_text().splitlines() if f"[{request_id}]" in line]


def test_a_write_is_seen_at_its_replicas_and_its_quorum(
    cluster: ObjectCluster, account: Account, proxy_log: Path
) -> None:
    container = account.container()
    answer = account.put(f"{container}/o", b"data", X_Trans_Id_Extra="my own_1/2.3")
    request_id = answer.headers["x-trans-id"]
    told = lines(proxy_log, request_id)
    puts = [line for line in told if " object_put " in line]
    assert len(puts) == 3
    assert all(" is done, " in line for line in puts)
    devices = {line.split(" object_put ")[1].split()[0] for line in puts}
    nodes = {f"{node.ip}:{node.port}/d0": node for node in cluster.nodes}
    assert len(devices) == 3
    assert devices <= set(nodes)
    assert sum("3 of 3 replicas answered, 2 are needed" in line for line in told) == 1

    def check() -> None:
        for device in devices:
            seen = lines(nodes[device].log, request_id)
            assert sum(" object_put took " in line for line in seen) == 1
        listings = [line for node in cluster.nodes for line in lines(node.log, request_id)]
        assert any(" container_merge " in line for line in listings), listings

    eventually(check, 60)


def test_too_few_replicas_are_told_with_their_causes(
    cluster: ObjectCluster, account: Account, proxy_log: Path
) -> None:
    container = account.container()
    for node in cluster.nodes[1:]:
        node.kill()
    answer = account("PUT", f"{container}/o", content=b"data")
    assert answer.status_code == 503
    told = lines(proxy_log, answer.headers["x-trans-id"])
    (refused,) = [line for line in told if "WARNING" in line and "are needed" in line]
    away = [node for node in cluster.nodes[1:] if f"{node.ip}:{node.port}/d0" in refused]
    assert away
    assert "Connection refused" in refused
    shunned = [line for line in told if "is asked last for a while" in line]
    assert len(shunned) <= 4
    assert "Connection refused" in shunned[0]
