"""Writers with conditions at two proxies of a cluster: of those who expect the same one wins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nubelet.kernel.errors import (
    Conflict,
    InsufficientStorage,
    PreconditionFailed,
    ServiceUnavailable,
)
from nubelet.object_store.cluster import deciding, writing
from nubelet.object_store.cluster.quorum import Outcome
from nubelet.object_store.cluster.storage import ClusterStorage
from nubelet.object_store.cluster.wire import NodeFailed, Tail
from nubelet.object_store.storage import Missing, ObjectPath, timestamps
from tests.object_cluster import ACCOUNT, NodeProcess, ObjectCluster, eventually, running_cluster
from tests.object_load import assert_whole

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]
CONTAINER, ROUNDS, WRITERS = "c", 12, 4
TYPE = {"content-type": "a/b"}
WHOLE_SECONDS = 120.0
# As long as a loaded machine may take to come to a decision.
PATIENCE_SECONDS = 90.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectCluster]:
    folder = tmp_path_factory.mktemp("writers")
    with running_cluster(folder, coded=(3, 2)) as made:
        for policy in (0, 1):
            name = f"{CONTAINER}{policy}"
            now = timestamps.now()
            made.storage.put_container(ACCOUNT, name, now, {}, policy=policy)
        yield made


@pytest.fixture(scope="module")
def proxies(cluster: ObjectCluster) -> Iterator[list[ClusterStorage]]:
    other = ClusterStorage(cluster.folder)
    yield [cluster.storage, other]
    other.close()


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "_PATIENCE_SECONDS", PATIENCE_SECONDS)


def race(
    proxies: list[ClusterStorage], path: ObjectPath, policy: int, expected: str
) -> tuple[list[bytes], list[Exception]]:
    """What the winners wrote, and why the others did not."""
    start = threading.Barrier(WRITERS)

    def write(number: int) -> bytes | Exception:
        data = b"%d" % number * 1000
        start.wait(60)
        try:
            proxies[number % len(proxies)].put_object(
                path, policy, timestamps.now(), TYPE, [data], expected=expected
            )
        except (PreconditionFailed, Conflict, ServiceUnavailable) as error:
            return error
        return data

    with ThreadPoolExecutor(WRITERS) as pool:
        outcomes = list(pool.map(write, range(WRITERS)))
    return (
        [each for each in outcomes if isinstance(each, bytes)],
        [each for each in outcomes if isinstance(each, Exception)],
    )


def content(storage: ClusterStorage, path: ObjectPath, policy: int) -> tuple[bytes, str]:
    opened = storage.open_object(path, policy, newest=True)
    try:
        return b"".join(opened.read()), opened.metadata["x-backend-data-timestamp"]
    finally:
        opened.close()


@pytest.mark.parametrize("policy", [0, 1])
def test_one_of_the_writers_at_two_proxies_wins(
    cluster: ObjectCluster, proxies: list[ClusterStorage], policy: int
) -> None:
    path, expected = ObjectPath(ACCOUNT, f"{CONTAINER}{policy}", "o"), ""
    for _ in range(ROUNDS):
        won, lost = race(proxies, path, policy, expected)
        assert len(won) == 1, lost
        assert {type(each) for each in lost} == {PreconditionFailed}
        data, expected = content(proxies[0], path, policy)
        assert data == won[0]


def test_what_was_won_is_on_all_devices(
    cluster: ObjectCluster, proxies: list[ClusterStorage]
) -> None:
    path = ObjectPath(ACCOUNT, f"{CONTAINER}0", "whole")
    won, _ = race(proxies, path, 0, "")
    eventually(lambda: assert_whole(cluster, path, won[0]), WHOLE_SECONDS)


def test_a_majority_of_the_devices_decides_and_less_does_not(
    cluster: ObjectCluster, proxies: list[ClusterStorage]
) -> None:
    path, down = ObjectPath(ACCOUNT, f"{CONTAINER}0", "down"), list[NodeProcess]()
    _, devices = cluster.builder.ring(suffix=b"words").lookup(*path)
    nodes = [cluster.node_of(device.port) for device in devices]
    try:
        nodes[0].kill()
        down.append(nodes[0])
        won, lost = race(proxies, path, 0, "")
        assert len(won) == 1, lost
        data, expected = content(proxies[1], path, 0)
        assert data == won[0]
        nodes[1].kill()
        down.append(nodes[1])
        won, lost = race(proxies, path, 0, expected)
        assert won == []
        assert {type(each) for each in lost} == {ServiceUnavailable}
        assert content(proxies[1], path, 0)[0] == data
    finally:
        for node in down:
            node.start()
        cluster.wait_until_up()
        wait_until_used(cluster, proxies)


def wait_until_used(cluster: ObjectCluster, proxies: list[ClusterStorage]) -> None:
    """Until writes go to the object's own devices: while a proxy shuns a node that was away,
    another one stands in for it."""

    def check() -> None:
        for proxy in proxies:
            for node in cluster.nodes:
                assert not proxy._replicas.client.is_shunned((node.ip, node.port))

    eventually(check, WHOLE_SECONDS)


def test_a_write_that_came_meanwhile_is_not_replaced(
    cluster: ObjectCluster, proxies: list[ClusterStorage]
) -> None:
    path = ObjectPath(ACCOUNT, f"{CONTAINER}0", "meanwhile")
    proxies[0].put_object(path, 0, timestamps.now(), TYPE, [b"seen"])
    expected = content(proxies[0], path, 0)[1]

    def body() -> Iterator[bytes]:
        yield b"mine"
        proxies[1].put_object(path, 0, timestamps.now(), TYPE, [b"theirs"])

    with pytest.raises(PreconditionFailed):
        proxies[0].put_object(path, 0, timestamps.now(), TYPE, body(), expected=expected)
    assert content(proxies[0], path, 0)[0] == b"theirs"


@pytest.mark.parametrize(
    ("first", "others"),
    [(None, NodeFailed("cut")), (InsufficientStorage("behind the link"), Conflict("too late"))],
    ids=["cut", "full"],
)
def test_a_write_that_came_to_one_device_is_not_lost_sight_of(
    cluster: ObjectCluster,
    proxies: list[ClusterStorage],
    monkeypatch: pytest.MonkeyPatch,
    first: Exception | None,
    others: Exception,
) -> None:
    """It replaces what is older wherever it comes to: nobody older may be told that he wrote."""
    path = ObjectPath(ACCOUNT, f"{CONTAINER}0", f"one-device-{others}")
    proxies[0].put_object(path, 0, timestamps.now(), TYPE, [b"seen"])
    expected = content(proxies[0], path, 0)[1]
    older, newer = timestamps.now(), timestamps.now()
    end, outcome = writing.Writer.end, writing.Writer.outcome

    def end_of_first(self: writing.Writer[object], tail: Tail) -> None:
        if self.number == 0:
            end(self, tail)

    def outcome_of_first(self: writing.Writer[object]) -> Outcome[object]:
        said = outcome(self) if self.number == 0 else Outcome(self.peer, None, others)
        return said if self.number or first is None else Outcome(self.peer, None, first)

    with monkeypatch.context() as patched:
        patched.setattr(writing.Writer, "end", end_of_first)
        patched.setattr(writing.Writer, "outcome", outcome_of_first)
        with pytest.raises(ServiceUnavailable):
            proxies[0].put_object(path, 0, newer, TYPE, [b"newer"], expected=expected)
    monkeypatch.setattr(deciding, "_PATIENCE_SECONDS", 0.0)
    with pytest.raises((Conflict, PreconditionFailed)):  # the latter once a replicator was there
        proxies[1].put_object(path, 0, older, TYPE, [b"older"], expected=expected)
    eventually(lambda: assert_whole(cluster, path, b"newer"), WHOLE_SECONDS)


@pytest.mark.parametrize("policy", [0, 1])
def test_a_write_that_surely_came_to_no_device_keeps_nobody_waiting(
    proxies: list[ClusterStorage], monkeypatch: pytest.MonkeyPatch, policy: int
) -> None:
    """The streams break off between the promises and the end of the body."""
    path = ObjectPath(ACCOUNT, f"{CONTAINER}{policy}", "no-device")
    proxies[0].put_object(path, policy, timestamps.now(), TYPE, [b"seen"])
    expected = content(proxies[0], path, policy)[1]
    older, newer = timestamps.now(), timestamps.now()
    end, decide = writing.Writer.end, deciding.decide

    def end_badly(self: writing.Writer[object], tail: Tail) -> None:
        self.error = NodeFailed("cut")
        end(self, tail)

    def decide_and_fail(*arguments: Any) -> Any:
        let_go = decide(*arguments)
        patched.setattr(writing.Writer, "end", end_badly)
        return let_go

    with monkeypatch.context() as patched:
        patched.setattr(writing, "decide", decide_and_fail)
        with pytest.raises(ServiceUnavailable):
            proxies[0].put_object(path, policy, newer, TYPE, [b"newer"], expected=expected)
    monkeypatch.setattr(deciding, "_PATIENCE_SECONDS", 0.0)
    proxies[1].put_object(path, policy, older, TYPE, [b"older"], expected=expected)
    assert content(proxies[1], path, policy)[0] == b"older"


@pytest.mark.parametrize("policy", [0, 1])
@pytest.mark.parametrize("other", ["delete", "put", "later"])
def test_what_comes_between_promise_and_write_is_not_replaced(
    proxies: list[ClusterStorage], monkeypatch: pytest.MonkeyPatch, other: str, policy: int
) -> None:
    """By a write or a deletion without a promise; a deletion with a condition is dated right
    behind what it is about."""
    path = ObjectPath(ACCOUNT, f"{CONTAINER}{policy}", f"between-{other}")
    proxies[0].put_object(path, policy, timestamps.now(), TYPE, [b"seen"])
    expected = content(proxies[0], path, policy)[1]
    older, mine, later = timestamps.now(), timestamps.now(), timestamps.now()
    decide = deciding.decide

    def decide_and_lose(*arguments: Any) -> Any:
        let_go = decide(*arguments)
        monkeypatch.setattr(writing, "decide", decide)
        if other == "delete":
            proxies[1].delete_object(path, policy, timestamps.after(expected))
        else:
            at = older if other == "put" else later
            proxies[1].put_object(path, policy, at, TYPE, [b"theirs"])
        return let_go

    monkeypatch.setattr(writing, "decide", decide_and_lose)
    if other == "later":  # it replaces mine
        proxies[0].put_object(path, policy, mine, TYPE, [b"mine"], expected=expected)
    else:
        with pytest.raises(PreconditionFailed):
            proxies[0].put_object(path, policy, mine, TYPE, [b"mine"], expected=expected)
    if other == "delete":
        with pytest.raises(Missing):
            proxies[0].open_object(path, policy, newest=True)
        expected = ""
    else:
        data, expected = content(proxies[0], path, policy)
        assert data == b"theirs"
    # Nobody has to wait for promises that were not used.
    proxies[1].put_object(path, policy, timestamps.now(), TYPE, [b"next"], expected=expected)
