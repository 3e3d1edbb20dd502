"""What the answers of several replicas mean together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nubelet.kernel.errors import ServiceUnavailable
from nubelet.object_store.cluster.client import Client
from nubelet.object_store.cluster.configuration import Cluster
from nubelet.object_store.cluster.messages import (
    AccountAnswer,
    ContainerAnswer,
    Page,
    Peer,
    Written,
)
from nubelet.object_store.cluster.quorum import Outcome, Replicas, settle, with_brought
from nubelet.object_store.cluster.wire import NodeFailed
from nubelet.object_store.storage import (
    AccountInfo,
    ContainerInfo,
    Listing,
    Missing,
    ObjectPath,
    Outdated,
)
from tests.object_cluster import ACCOUNT, ObjectCluster

OLD, NOW, NEW = (f"170000000{number}.00000" for number in range(3))
PEERS = [Peer(ip="127.0.0.1", port=1, device=f"d{number}") for number in range(3)]


def answered(*errors: Exception | None) -> list[Outcome[Written]]:
    return [
        Outcome(peer, None if error else Written(timestamp=NOW), error)
        for peer, error in zip(PEERS, errors, strict=True)
    ]


def test_a_write_that_a_replicator_brought_is_there() -> None:
    outcomes = answered(None, Outdated(NOW), Outdated(NOW))
    with pytest.raises(Outdated):
        settle(outcomes, 2)
    assert len(settle(with_brought(outcomes, NOW, Written(timestamp=NOW)), 2)) == 3


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (("NEW", "OLD", "NOW"), "NEW"),
        (("", "OLD", None), "OLD"),  # a node of an earlier release does not say it
        ((Missing("c", "c", NOW), "NEW", "OLD"), "NEW"),
        ((Missing("c", "c", NEW), "NOW", "OLD"), Missing),
        ((Missing("c", "c", NEW), "", ""), ""),
        ((Missing("c", "c"), Missing("c", "c"), NodeFailed("away")), None),
    ],
)
def test_the_newest_of_listings(
    monkeypatch: pytest.MonkeyPatch, said: tuple[Any, ...], found: str | type[Missing] | None
) -> None:
    moments = {"OLD": OLD, "NOW": NOW, "NEW": NEW, "": ""}
    outcomes = [
        Outcome(peer, None, each) if isinstance(each, Exception) else Outcome(peer, each, None)
        for peer, each in zip(PEERS, said, strict=True)
    ]
    replicas = Replicas(None, None)  # type: ignore[arg-type]
    monkeypatch.setattr(replicas, "write", lambda *_asked, **_how: outcomes)
    ask: Any = None
    if found is Missing:
        with pytest.raises(Missing):
            replicas.newest(ask, 0, ask, moments.__getitem__)
    else:
        assert replicas.newest(ask, 0, ask, moments.__getitem__) == found


@pytest.mark.parametrize(
    "errors",
    [
        (None, Outdated(NEW), Outdated(NEW)),  # somebody else wrote
        (Outdated(NOW), Outdated(NOW), Outdated(NOW)),  # so did who wrote at the same time
    ],
)
def test_what_others_wrote_is_no_success(errors: tuple[Exception | None, ...]) -> None:
    with pytest.raises(Outdated):
        settle(with_brought(answered(*errors), NOW, Written(timestamp=NOW)), 2)


@pytest.mark.parametrize(("newest", "is_done"), [(NOW, True), (NEW, False)])
@pytest.mark.parametrize("change", ["delete", "post"])
def test_a_change_that_a_replicator_brought_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, newest: str, is_done: bool
) -> None:
    cluster = ObjectCluster(tmp_path)
    asked: list[str] = []
    first: dict[str, Any] = {}

    def call(self: Client, address: Any, name: str, arguments: Any, type: Any) -> Written:
        asked.append(name)
        if first.setdefault("address", address) != address:
            raise Outdated(newest)
        return Written(timestamp=arguments.timestamp)

    monkeypatch.setattr(Client, "call", call)
    path = ObjectPath(ACCOUNT, "c", "o")

    def ask() -> None:
        if change == "delete":
            cluster.storage.delete_object(path, 0, NOW)
        else:
            cluster.storage.post_object(path, 0, NOW, {})

    try:
        if is_done:
            ask()
        else:
            with pytest.raises((Outdated, ServiceUnavailable)):
                ask()
        assert asked == [f"object_{change}"] * 3
    finally:
        cluster.stop()


@pytest.mark.parametrize(("put", "is_there"), [(OLD, False), (NEW, True)])
@pytest.mark.parametrize("container", ["", "c"])
def test_a_device_that_stood_in_for_a_write_only_knows_less_than_a_deletion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: str, is_there: bool, container: str
) -> None:
    """One of the primaries is away since before the write; the others know of the deletion NOW."""
    cluster = ObjectCluster(tmp_path)
    settings = Cluster(cluster.folder)
    ring = settings.container_ring if container else settings.account_ring
    away, *primaries = (Peer.of(each).address for each in ring.nodes(ring.part(ACCOUNT, container)))

    def call(self: Client, address: Any, name: str, arguments: Any, type: Any) -> Any:
        if address == away:
            raise NodeFailed("unreachable")
        if address in primaries:
            raise Missing("container" if container else "account", "", NOW)
        return {
            "account_info": AccountAnswer(info=_account(put)),
            "container_info": ContainerAnswer(info=_container(put)),
            "account_list": Page(),
            "container_list": Page(),
        }[name]

    monkeypatch.setattr(Client, "call", call)
    storage: Any = cluster.storage
    info = storage.container if container else storage.account
    entries = storage.list_objects if container else storage.list_containers
    names = (ACCOUNT, container) if container else (ACCOUNT,)
    try:
        if is_there:
            assert info(*names).put_timestamp == NEW
            assert entries(*names, Listing()) == []
        else:
            for ask in (lambda: info(*names), lambda: entries(*names, Listing())):
                with pytest.raises(Missing) as caught:
                    ask()
                assert caught.value.timestamp == NOW
    finally:
        cluster.stop()


def _account(put: str) -> AccountInfo:
    return AccountInfo(
        account=ACCOUNT,
        created_at=put,
        put_timestamp=put,
        metadata={},
        container_count=0,
        object_count=0,
        bytes_used=0,
    )


def _container(put: str) -> ContainerInfo:
    return ContainerInfo(
        account=ACCOUNT,
        container="c",
        created_at=put,
        put_timestamp=put,
        metadata={},
        object_count=0,
        bytes_used=0,
        policy=0,
    )
