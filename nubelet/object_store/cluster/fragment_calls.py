"""What a storage node answers about fragments of erasure-coded objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nubelet.kernel.errors import BadRequest, InsufficientStorage
from nubelet.object_store.cluster import wire
from nubelet.object_store.cluster.devices import Device
from nubelet.object_store.cluster.fragment_files import FragmentName
from nubelet.object_store.cluster.linking import link_ahead
from nubelet.object_store.cluster.messages import (
    Nothing,
    ObjectFolder,
    Partition,
    PutFragment,
    ReadFragment,
)
from nubelet.object_store.cluster.server import Call, Handler, Stream

if TYPE_CHECKING:
    from nubelet.object_store.cluster.node import Node

Names = list[tuple[str, int]]


def handlers(node: Node) -> dict[str, Handler]:
    """The calls of this module."""
    calls = FragmentCalls(node)
    return {
        "fragment_put": calls.put,
        "fragment_read": calls.read,
        "fragment_names": calls.names,
        "fragment_partition": calls.partition,
    }


class FragmentCalls:
    """The handlers, for one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def put(self, call: Call) -> Nothing:
        """Store a fragment. Raises InsufficientStorage."""
        asked = wire.decode(call.arguments, PutFragment)
        device, place = self._find(asked.device, asked.policy, asked.digest)
        if not device.has_room(asked.size):
            raise InsufficientStorage(f"There is no room for {asked.size} bytes.")
        name = FragmentName(asked.timestamp, asked.index)
        frames = call.frames()
        md5 = device.fragments.write(asked.policy, place, name, frames)
        if frames.tail is None or frames.tail.etag != md5:
            device.fragments.remove(asked.policy, place, name)
            raise BadRequest("the fragment did not arrive as it was sent")
        link_ahead(self._node, device, asked.policy, asked.digest, device.fragments.folder_of)
        return Nothing()

    def read(self, call: Call) -> Stream:
        """Bytes of a fragment. Raises Missing."""
        asked = wire.decode(call.arguments, ReadFragment)
        device, place = self._find(asked.device, asked.policy, asked.digest)
        name = FragmentName(asked.timestamp, asked.index)
        size, pieces = device.fragments.open(asked.policy, place, name, asked.start, asked.end)
        return Stream(Nothing(), size, pieces)

    def names(self, call: Call) -> Names:
        """(timestamp, index) of the fragments of an object."""
        asked = wire.decode(call.arguments, ObjectFolder)
        device, place = self._find(asked.device, asked.policy, asked.digest)
        return [
            (name.timestamp, name.number) for name in device.fragments.names(asked.policy, place)
        ]

    def partition(self, call: Call) -> dict[str, Names]:
        """Hash -> fragments, of a partition."""
        asked = wire.decode(call.arguments, Partition)
        found = self._node.devices.get(asked.device).fragments.partition(asked.policy, asked.part)
        return {
            digest: [(name.timestamp, name.number) for name in names]
            for digest, names in found.items()
        }

    def _find(self, name: str, policy: int, digest: str) -> tuple[Device, str]:
        device = self._node.devices.get(name)
        if not self._node.cluster.has_policy(policy) or not digest.isalnum():
            raise BadRequest(f"this node knows no policy {policy}")
        power = self._node.cluster.object_ring(policy).part_power
        return device, device.place(power, digest)
