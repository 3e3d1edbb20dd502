"""The updaters of a node, beside nodes that do not answer."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest

from nubelet.object_store.cluster import lanes, wire
from nubelet.object_store.cluster.client import Address
from nubelet.object_store.cluster.configuration import Cluster
from nubelet.object_store.cluster.daemons import updater
from nubelet.object_store.cluster.daemons.supervisor import Supervisor
from nubelet.object_store.cluster.devices import Update
from nubelet.object_store.cluster.listing_calls import open_listing
from nubelet.object_store.cluster.messages import DeleteObject, Peer, Tell
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.object_calls import handlers
from nubelet.object_store.cluster.server import Call
from nubelet.object_store.ring import RingBuilder
from nubelet.object_store.storage import Missing, ObjectPath, timestamps
from nubelet.object_store.storage.containers import ObjectRow
from tests.object_cluster import eventually

# The device of the node itself is on another one: it holds no listing of those that it tells.
_SLOW, _OTHERS = ("127.0.0.1", 1), {("127.0.0.1", 2), ("127.0.0.1", 3)}
_LANES = {f"lane 127.0.0.1:{port}/d0" for port in (1, 2, 3)}
_COUNT = 20


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    # A pass waits for nobody but those that a test lets go on.
    (folder / "cluster.toml").write_text(
        f'hash_words = "words"\nkey = "{"k" * 32}"\n[timing]\nupdate_pass_seconds = 600\n'
    )
    builder = RingBuilder(2, 3, 0)
    for port in (1, 2, 3):
        builder.add(region=1, zone=port, ip="127.0.0.1", port=port, device="d0", weight=1)
    builder.rebalance(seed=1)
    for name in ("account", "container", "object"):
        builder.ring().save(folder / f"{name}.ring")
    (tmp_path / "devices" / "d9").mkdir(parents=True)
    made = Node(Cluster(folder), tmp_path / "devices", "127.0.0.1", 9)
    yield made
    made.close()


class Told:
    """What other nodes were told, instead of nodes; `slow` is what the slow one does with it."""

    def __init__(self, slow: Callable[[], object]) -> None:
        self.slow = slow
        self.calls: list[tuple[Address, str, str]] = []

    def call(self, address: Address, name: str, arguments: Any, *_: Any, **__: Any) -> None:
        if address == _SLOW:
            self.slow()
        what = arguments.rows[0].name if name == "container_merge" else arguments.container
        self.calls.append((address, name, what))

    def to(self, address: Address) -> list[str]:
        return sorted(what for to, _, what in self.calls if to == address)


def _fail() -> NoReturn:
    raise wire.NodeFailed("unreachable")


def _queue(node: Node, container: str = "c") -> list[str]:
    names = [f"o{number:02}" for number in range(_COUNT)]
    now = timestamps.now()
    for name in names:
        row = ObjectRow(name, now, now, 1, "a/b", "e", 0, 0)
        node.devices.get("d9").queue(Update(account="a", container=container, row=row))
    return names


def _make_containers(node: Node) -> list[str]:
    """Containers of the account "a", which does not know of them."""
    device = node.devices.get("d9")
    names = [f"c{number:02}" for number in range(_COUNT)]
    for name in names:
        digest = device.hash("a", name)
        with open_listing(node, device, "containers", digest) as file:
            file.put("a", name, timestamps.now(), {}, None, 0)  # type: ignore[call-arg, arg-type]
        device.changed(digest)
    return names


def _waiting(node: Node, folder: str = "updates") -> list[Path]:
    return list(Path(node.devices.get("d9").folder, folder).iterdir())


def _assert_no_lane_is_left() -> None:
    left = [thread.name for thread in threading.enumerate()]
    assert not [name for name in left if name in _LANES]


@pytest.mark.parametrize(
    ("run", "make"), [(updater.run, _queue), (updater.report, _make_containers)]
)
def test_a_slow_node_keeps_nobody_else_waiting(
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[Node], dict[str, float]],
    make: Callable[[Node], list[str]],
) -> None:
    go_on = threading.Event()
    told = Told(lambda: go_on.wait(600))
    monkeypatch.setattr(node.client, "call", told.call)
    names = make(node)
    figures: list[dict[str, float]] = []
    one_pass = threading.Thread(target=lambda: figures.append(run(node)))
    one_pass.start()
    try:

        def others_know() -> None:
            assert all(told.to(address) == names for address in _OTHERS)

        eventually(others_know, 60)
        assert told.to(_SLOW) == []
    finally:
        go_on.set()
        one_pass.join(60)
    assert told.to(_SLOW) == names
    assert figures == [{"told": _COUNT, "waiting": 0, "damaged": 0}]
    assert _waiting(node) == _waiting(node, "changed") == []


_BOTH = pytest.mark.parametrize(
    ("run", "make", "folder"),
    [(updater.run, _queue, "updates"), (updater.report, _make_containers, "changed")],
)


@_BOTH
def test_a_pass_ends_though_a_node_does_not_answer(
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[Node], dict[str, float]],
    make: Callable[[Node], list[str]],
    folder: str,
) -> None:
    go_on = threading.Event()
    told = Told(lambda: go_on.wait(600))
    monkeypatch.setattr(node.client, "call", told.call)
    node.cluster.timing = msgspec.structs.replace(node.cluster.timing, update_pass_seconds=0.2)
    names = make(node)
    try:
        began = time.monotonic()
        assert run(node) == {"told": 0, "waiting": _COUNT, "damaged": 0}
        assert time.monotonic() - began < 300
        assert len(_waiting(node, folder)) == _COUNT
    finally:
        go_on.set()

    def all_know() -> None:
        run(node)
        assert _waiting(node, folder) == []

    eventually(all_know, 60)
    assert set(told.to(_SLOW)) == set(names)


@_BOTH
def test_who_knows_is_not_told_again(
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[Node], dict[str, float]],
    make: Callable[[Node], list[str]],
    folder: str,
) -> None:
    told = Told(_fail)
    monkeypatch.setattr(node.client, "call", told.call)
    names = make(node)
    for _ in range(2):
        assert run(node) == {"told": 0, "waiting": _COUNT, "damaged": 0}
        assert len(_waiting(node, folder)) == _COUNT
        assert all(told.to(address) == names for address in _OTHERS)
    told.slow = lambda: None
    assert run(node) == {"told": _COUNT, "waiting": 0, "damaged": 0}
    assert all(told.to(address) == names for address in {_SLOW} | _OTHERS)
    assert _waiting(node, folder) == []


def test_who_knows_former_totals_is_told_of_new_ones(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(_fail)
    monkeypatch.setattr(node.client, "call", told.call)
    names = _make_containers(node)
    updater.report(node)
    device = node.devices.get("d9")
    device.changed(device.hash("a", names[0]))
    assert updater.report(node) == {"told": 0, "waiting": _COUNT, "damaged": 0}
    assert all(told.to(address) == sorted([*names, names[0]]) for address in _OTHERS)
    told.slow = lambda: None
    assert updater.report(node) == {"told": _COUNT, "waiting": 0, "damaged": 0}
    assert told.to(_SLOW) == names
    assert all(told.to(address) == sorted([*names, names[0]]) for address in _OTHERS)
    assert _waiting(node, "changed") == []


@pytest.mark.parametrize(
    ("run", "make"), [(updater.run, _queue), (updater.report, _make_containers)]
)
def test_what_a_lane_does_not_take_now_it_takes_later(
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[Node], dict[str, float]],
    make: Callable[[Node], list[str]],
) -> None:
    """Though more than a lane takes is left in each pass, because one node is away."""
    monkeypatch.setattr(lanes, "_MOST", 3)
    told = Told(_fail)

    def call(address: Address, *arguments: Any, **more: Any) -> None:
        time.sleep(0.02)
        told.call(address, *arguments, **more)

    monkeypatch.setattr(node.client, "call", call)
    names = make(node)

    def others_know() -> None:
        run(node)
        assert all(told.to(address) == names for address in _OTHERS)

    eventually(others_know, 60)


def test_totals_are_told_in_their_order(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that goes on after its pass is not overtaken by one of the next."""
    device = node.devices.get("d9")
    digest = device.hash("a", "c")
    with open_listing(node, device, "containers", digest) as file:
        file.put("a", "c", timestamps.now(), {}, None, 0)  # type: ignore[call-arg, arg-type]
    device.changed(digest)
    under_way, go_on = threading.Event(), threading.Event()
    known: list[int] = []  # by the slow one

    def call(address: Address, name: str, arguments: Any, *_: Any, **__: Any) -> None:
        if address == _SLOW:
            if not arguments.totals.object_count:
                under_way.set()
                go_on.wait(600)
            known.append(arguments.totals.object_count)

    monkeypatch.setattr(node.client, "call", call)
    node.cluster.timing = msgspec.structs.replace(node.cluster.timing, update_pass_seconds=0.2)
    try:
        for _ in range(300):  # until a pass has come to it
            updater.report(node)
            if under_way.is_set():
                break
        now = timestamps.now()
        with open_listing(node, device, "containers", digest) as file:
            file.merge([ObjectRow("o", now, now, 1, "a/b", "e", 0, 0)])  # type: ignore[call-arg, arg-type]
        device.changed(digest)
        updater.report(node)
        assert known == []
    finally:
        go_on.set()

    def knows() -> None:
        updater.report(node)
        assert _waiting(node, "changed") == []

    eventually(knows, 60)
    assert known[0] == 0
    assert known[-1] == 1
    assert known == sorted(known)


def test_a_damaged_listing_concerns_only_itself(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(lambda: None)
    monkeypatch.setattr(node.client, "call", told.call)
    names = _make_containers(node)
    device = node.devices.get("d9")
    device.containers.close()
    digest = device.hash("a", names[7])
    path = Path(device.listing_path("containers", node.cluster.container_ring, digest))
    for beside in path.parent.glob("*.db-*"):
        beside.unlink()
    path.write_bytes(b"x" * 8192)
    for _ in range(2):  # who runs one pass (`--once`) is told, too
        assert not Supervisor(node, frozenset({"account-updater"})).once()
    assert all(told.to(to) == [*names[:7], *names[8:]] for to in {_SLOW} | _OTHERS)
    (left,) = _waiting(node, "changed")  # until an auditor has put it aside
    assert left.name.startswith(digest)
    eventually(_assert_no_lane_is_left, 60)


def test_a_damaged_disk_concerns_only_itself(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    (node.devices.root / "d8").mkdir()
    damaged = node.devices.get("d8")

    def fail() -> NoReturn:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(damaged.objects, "unfinished", fail)
    told = Told(lambda: None)
    monkeypatch.setattr(node.client, "call", told.call)
    names = _queue(node)
    updater.run(node)
    assert all(told.to(address) == names for address in {_SLOW} | _OTHERS)
    eventually(_assert_no_lane_is_left, 60)


def test_an_update_that_cannot_be_read_concerns_only_itself(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(lambda: None)
    monkeypatch.setattr(node.client, "call", told.call)
    names = _queue(node)
    for number in range(3):  # a folder cannot be read
        Path(node.devices.get("d9").folder, "updates", f"{number:024}").mkdir()
    assert updater.run(node) == {"told": _COUNT, "waiting": 0, "damaged": 0}
    assert all(told.to(address) == names for address in {_SLOW} | _OTHERS)
    assert len(_waiting(node)) == 3


@_BOTH
def test_what_nobody_is_left_to_be_told_of_is_removed(
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[Node], dict[str, float]],
    make: Callable[[Node], list[str]],
    folder: str,
) -> None:
    """The ring has one replica less now: those that do not know are gone from it."""
    told = Told(_fail)
    monkeypatch.setattr(node.client, "call", told.call)
    make(node)
    run(node)
    assert len(_waiting(node, folder)) == _COUNT
    builder = RingBuilder(2, 2, 0)
    for _, port in _OTHERS:
        builder.add(region=1, zone=port, ip="127.0.0.1", port=port, device="d0", weight=1)
    builder.rebalance(seed=1)
    for name in ("account", "container", "object"):
        builder.ring().save(node.cluster.folder / f"{name}.ring")
    node.cluster = Cluster(node.cluster.folder)
    assert run(node) == {"told": _COUNT, "waiting": 0, "damaged": 0}
    assert _waiting(node, folder) == []


def test_who_answers_after_the_pass_leaves_no_thread(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says then that a shard keeps the entry, whose nodes a later pass tells: those have no
    lane, because they know what the container was told."""
    go_on = threading.Event()
    shards: list[tuple[Address, str]] = []

    def move() -> NoReturn:
        go_on.wait(600)
        raise wire.Moved(".shards_a", "s")

    slow = _fail

    def call(address: Address, name: str, arguments: Any, *_: Any, **__: Any) -> None:
        if arguments.account != "a":
            shards.append((address, arguments.rows[0].name))
        elif address == _SLOW:
            slow()

    monkeypatch.setattr(node.client, "call", call)
    names = _queue(node)
    updater.run(node)
    slow = move
    node.cluster.timing = msgspec.structs.replace(node.cluster.timing, update_pass_seconds=0.2)
    try:
        assert updater.run(node) == {"told": 0, "waiting": _COUNT, "damaged": 0}
    finally:
        go_on.set()
    eventually(_assert_no_lane_is_left, 60)

    def all_know() -> None:
        updater.run(node)
        assert _waiting(node) == []

    eventually(all_know, 60)
    assert set(shards) == {(to, name) for to in {_SLOW} | _OTHERS for name in names}


def test_what_a_container_that_is_gone_should_learn_is_forgotten(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(_fail)
    monkeypatch.setattr(node.client, "call", told.call)
    names = _queue(node)
    old = time.time() - node.cluster.timing.reclaim_seconds - 1
    for path in _waiting(node):
        os.utime(path, (old, old))
    updater.run(node)
    assert all(told.to(address) == names for address in _OTHERS)
    assert _waiting(node) == []


def test_who_writes_tells_the_others_at_once_though_one_is_away(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(_fail)
    monkeypatch.setattr(node.client, "call", told.call)
    peers = [Peer(ip=ip, port=port, device="d0") for ip, port in (_SLOW, *_OTHERS)]
    path = ObjectPath("a", "c", "o")
    asked = DeleteObject(
        device="d9",
        policy=0,
        path=path,
        timestamp=timestamps.now(),
        tell=[Tell(account="a", container="c", peers=peers)],
    )
    with pytest.raises(Missing):
        handlers(node)["object_delete"](Call(b"", wire.encode(asked), _never, _never))  # type: ignore[arg-type]
    assert all(told.to(address) == ["o"] for address in _OTHERS)
    assert len(_waiting(node)) == 1


async def _never() -> Any:
    raise AssertionError("no body is sent")


def test_what_a_shard_keeps_it_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    shards: list[tuple[Address, str, str]] = []

    def call(address: Address, name: str, arguments: Any, *_: Any, **__: Any) -> None:
        if arguments.account == "a":
            raise wire.Moved(".shards_a", f"s{arguments.container}")
        shards.append((address, arguments.container, arguments.rows[0].name))

    monkeypatch.setattr(node.client, "call", call)
    names = _queue(node)
    updater.run(node)
    assert _waiting(node) == []
    assert set(shards) == {(to, "sc", name) for to in {_SLOW} | _OTHERS for name in names}
