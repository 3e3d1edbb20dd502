"""A storage node whose disks are taken away, emptied or exchanged under it."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nubelet.kernel.errors import InsufficientStorage
from nubelet.object_store.cluster import wire
from nubelet.object_store.cluster.configuration import Cluster
from nubelet.object_store.cluster.listing_calls import handlers
from nubelet.object_store.cluster.messages import ListingCall, MergeContainer, MergeObjects
from nubelet.object_store.cluster.moving_listings import move
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.server import Call
from nubelet.object_store.ring import RingBuilder
from nubelet.object_store.storage import Missing, timestamps
from nubelet.object_store.storage.containers import ContainerFile, ObjectRow, Totals
from nubelet.object_store.storage.sqlite import NotMade
from nubelet.object_store.storage.timestamps import ZERO


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    (folder / "cluster.toml").write_text(f'hash_words = "words"\nkey = "{"k" * 32}"\n')
    builder = RingBuilder(2, 1, 0)
    builder.add(region=1, zone=1, ip="127.0.0.1", port=1, device="d0", weight=1)
    builder.rebalance(seed=1)
    for name in ("account", "container", "object"):
        builder.ring().save(folder / f"{name}.ring")
    (tmp_path / "devices" / "d0").mkdir(parents=True)
    made = Node(Cluster(folder), tmp_path / "devices", "127.0.0.1", 1)
    yield made
    made.close()


def _ask(node: Node, call: str, asked: Any) -> Any:
    async def never() -> dict[str, Any]:
        raise AssertionError("no body is sent")

    loop = asyncio.new_event_loop()
    try:
        return handlers(node)[call](Call(b"", wire.encode(asked), never, loop))
    finally:
        loop.close()


def _listing(container: str = "") -> ListingCall:
    return ListingCall(device="d0", account="a", container=container, timestamp=timestamps.now())


def _fill(node: Node, name: str) -> None:
    """An account with a container with an object, all of that name's making."""
    _ask(node, "account_put", _listing())
    _ask(node, "container_put", _listing("c"))
    now = timestamps.now()
    row = ObjectRow(name, now, now, 1, "a/b", "e", 0, 0)
    _ask(node, "container_merge",
         MergeObjects(device="d0", account="a", container="c", rows=[row]))  # fmt: skip
    _ask(node, "account_merge",
         MergeContainer(device="d0", account="a", container="c",
                        totals=Totals(now, ZERO, 1, 1, 0)))  # fmt: skip


def _names(node: Node) -> tuple[list[str], list[str]]:
    containers = _ask(node, "account_list", _listing()).containers
    objects = _ask(node, "container_list", _listing("c")).objects
    return [each.name for each in containers], [each.name for each in objects]


def _assert_nothing(node: Node) -> None:
    for call, asked in (
        ("account_info", _listing()),
        ("account_list", _listing()),
        ("account_post", _listing()),
        ("account_delete", _listing()),
        ("container_info", _listing("c")),
        ("container_list", _listing("c")),
        ("container_post", _listing("c")),
        ("container_delete", _listing("c")),
    ):
        with pytest.raises(Missing):
            _ask(node, call, asked)


def test_what_was_never_here_is_missing_not_busy(node: Node) -> None:
    _assert_nothing(node)
    assert not list(node.devices.root.rglob("*.db"))  # asking makes nothing


def _emptied(device: Path) -> None:
    for each in device.iterdir():
        shutil.rmtree(each)


def _made_anew(device: Path) -> None:
    shutil.rmtree(device)
    device.mkdir()


def _exchanged(device: Path) -> None:
    device.rename(device.parent.parent / "aside")
    device.mkdir()


@pytest.mark.parametrize("wipe", [_emptied, _made_anew, _exchanged])
def test_a_disk_that_is_wiped_under_open_listings_is_good_at_once(
    node: Node, wipe: Callable[[Path], None]
) -> None:
    device = node.devices.root / "d0"
    _fill(node, "one")
    assert _names(node) == (["c"], ["one"])
    wipe(device)
    _assert_nothing(node)
    _fill(node, "two")
    assert _names(node) == (["c"], ["two"])


def test_a_disk_that_comes_back_has_what_it_had(node: Node) -> None:
    device, aside = node.devices.root / "d0", node.devices.root.parent / "aside"
    _fill(node, "one")
    device.rename(aside)
    with pytest.raises(InsufficientStorage):
        _names(node)
    aside.rename(device)
    assert _names(node) == (["c"], ["one"])


def test_a_listing_in_the_place_of_an_open_one_is_the_one_that_counts(node: Node) -> None:
    device, aside = node.devices.root / "d0", node.devices.root.parent / "aside"
    _fill(node, "one")
    _exchanged(device)
    _fill(node, "two")
    other = device.parent.parent / "other"
    device.rename(other)
    aside.rename(device)
    assert _names(node) == (["c"], ["one"])
    _fill(node, "three")
    assert _names(node) == (["c"], ["one", "three"])


def test_a_listing_that_was_made_in_two_places_is_made_one(node: Node) -> None:
    """By processes of which one knew already that the partition power grows."""
    device = node.devices.root / "d0"
    _fill(node, "one")
    (partition,) = device.glob("containers/*")
    partition.rename(partition.with_name("9"))
    _fill(node, "two")
    assert _names(node)[1] == ["two"]
    report = move(node.cluster.container_ring, device / "containers")
    assert (report.done, report.errors) == (1, 0)
    assert _names(node)[1] == ["one", "two"]
    assert list(device.glob("containers/*")) == [partition]


def test_a_log_without_its_listing_is_not_taken_for_one_of_the_next(node: Node) -> None:
    """A process that opened a file while it was removed may leave its log alone."""
    _fill(node, "one")
    (path,) = node.devices.root.glob("d0/containers/*/*/*/*.db")
    assert path.with_name(path.name + "-wal").stat().st_size
    path.unlink()
    with pytest.raises(Missing):
        _ask(node, "container_list", _listing("c"))
    _fill(node, "two")
    assert _names(node)[1] == ["two"]


def test_who_reads_while_a_listing_comes_and_goes_finds_it_whole_or_not_at_all(
    tmp_path: Path,
) -> None:
    """As another process of the node does: with a connection of its own."""
    path = tmp_path / "folder" / "listing.db"
    writer, reader = ContainerFile(str(path)), ContainerFile(str(path))
    ended = threading.Event()
    wrong: list[BaseException] = []
    seen = 0

    def read() -> None:
        nonlocal seen
        while not ended.is_set():
            try:
                reader.info()
                seen += 1
            except (Missing, NotMade):
                pass
            except BaseException as error:
                wrong.append(error)
                return

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for number in range(30):
            assert writer.put("a", "c", timestamps.now(), {}, 0, 0)
            if number % 2:
                shutil.rmtree(path.parent, ignore_errors=True)
                path.unlink(missing_ok=True)
            else:
                assert writer.remove(lambda _: True)
        writer.put("a", "c", timestamps.now(), {}, 0, 0)
        while not seen and thread.is_alive():
            thread.join(0.01)
    finally:
        ended.set()
        thread.join()
        writer.close()
        reader.close()
    assert not wrong
    assert seen
