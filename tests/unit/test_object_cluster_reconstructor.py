"""A device whose fragments a newer write, or a deletion, has made superfluous."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nubelet.object_store.cluster.configuration import Cluster
from nubelet.object_store.cluster.daemons import reconstructor
from nubelet.object_store.cluster.devices import Device
from nubelet.object_store.cluster.fragment_files import FragmentName
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.ring import RingBuilder
from nubelet.object_store.storage.timestamps import Timestamp, normal

_SETTINGS = f"""
hash_words = "words"
key = "{"k" * 32}"
[[policies]]
index = 0
name = "coded"
data = 1
parity = 1
[timing]
pass_seconds = 600
"""
_MD5_OF_NOTHING = "d41d8cd98f00b204e9800998ecf8427e"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node with one device, beside another node that is away."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    (folder / "cluster.toml").write_text(_SETTINGS)
    builder = RingBuilder(2, 2, 0)
    for port in (1, 2):
        builder.add(region=1, zone=port, ip="127.0.0.1", port=port, device="d0", weight=1)
    builder.rebalance(seed=1)
    for name in ("account", "container", "object"):
        builder.ring().save(folder / f"{name}.ring")
    (tmp_path / "devices" / "d0").mkdir(parents=True)
    made = Node(Cluster(folder), tmp_path / "devices", "127.0.0.1", 1)
    yield made
    made.close()


@pytest.mark.parametrize("file", ["data", "ts"])
def test_a_decision_that_comes_late_leaves_readers_the_same_time(node: Node, file: str) -> None:
    """Written an hour ago, brought by a replicator now."""
    device = node.devices.get("d0")
    place, fragment = _fragment(node, device)
    decided = normal(time.time() - 3600)
    device.objects.take(0, place, f"{decided}.{file}", _metadata(decided), ())
    assert reconstructor.run(node)["removed"] == 0
    assert device.fragments.names(0, place) == [fragment]

    came = time.time() - 2 * node.cluster.timing.pass_seconds - 1
    os.utime(f"{device.objects.folder_of(0, place)}/{decided}.{file}", (came, came))
    assert reconstructor.run(node)["removed"] == 1
    assert device.fragments.names(0, place) == []


@pytest.mark.parametrize("file", ["data", "ts"])
def test_who_wrote_by_a_clock_that_is_ahead_holds_nothing_up(node: Node, file: str) -> None:
    device = node.devices.get("d0")
    place, _ = _fragment(node, device)
    decided = normal(time.time() + 3600)
    device.objects.take(0, place, f"{decided}.{file}", _metadata(decided), ())
    came = time.time() - 2 * node.cluster.timing.pass_seconds - 1
    os.utime(f"{device.objects.folder_of(0, place)}/{decided}.{file}", (came, came))
    assert reconstructor.run(node)["removed"] == 1
    assert device.fragments.names(0, place) == []


def _fragment(node: Node, device: Device) -> tuple[str, FragmentName]:
    """One of a write of two hours ago, where it belongs: the place of its object, and itself."""
    ring = node.cluster.object_ring(0)
    place = device.place(ring.part_power, device.hash("a", "c", "o"))
    own = next(
        number
        for number, each in enumerate(ring.nodes(ring.part("a", "c", "o")))
        if node.is_own(each)
    )
    name = FragmentName(normal(time.time() - 7200), own)
    device.fragments.write(0, place, name, (b"bytes",))
    return place, name


def _metadata(timestamp: Timestamp) -> dict[str, str]:
    return {
        "name": "/a/c/o",
        "x-timestamp": timestamp,
        "x-backend-data-timestamp": timestamp,
        "etag": _MD5_OF_NOTHING,
        "content-length": "0",
    }
