"""Reconstructor: makes every fragment of erasure-coded objects be where it belongs.

Fragment `i` belongs on the device of replica `i`. Whoever holds another one sends it there and
removes its own. Each device looks after the two beside it: a fragment that is missing there is made
anew from the others. What no manifest names any more is removed: older than the manifest,
deleted, or never finished.

In OpenStack: swift/obj/reconstructor.py.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from nubelet.kernel.errors import ApiError
from nubelet.object_store.cluster import wire
from nubelet.object_store.cluster.client import Exchange, understood
from nubelet.object_store.cluster.devices import Device
from nubelet.object_store.cluster.erasure import MARK
from nubelet.object_store.cluster.erasure_reading import CodedObject
from nubelet.object_store.cluster.fragment_files import FragmentName
from nubelet.object_store.cluster.messages import Nothing, Partition, Peer, PutFragment
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.object_files import DamagedObject
from nubelet.object_store.cluster.quorum import Replicas
from nubelet.object_store.cluster.wire import NodeFailed
from nubelet.object_store.storage import Metadata, Missing

log = logging.getLogger(__name__)
Held = dict[str, list[FragmentName]]
_FAILURES = (NodeFailed, ApiError, OSError, DamagedObject)


def run(node: Node) -> dict[str, float]:
    """One pass over all devices of a node."""
    with ThreadPoolExecutor(1) as pool:
        done = _Pass(node, Replicas(node.client, pool))
        for device in node.devices.all():
            for policy in node.cluster.policies:
                if node.cluster.coding(policy.index) and not node.cluster.is_growing(policy.index):
                    for part in device.fragments.partitions(policy.index):
                        done.partition(device, policy.index, part)
    return {
        "fragments": done.fragments,
        "rebuilt": done.rebuilt,
        "handed_over": done.handed_over,
        "removed": done.removed,
        "failures": done.failures,
    }


class _Pass:
    def __init__(self, node: Node, replicas: Replicas) -> None:
        self._node, self._replicas = node, replicas
        self._timing = node.cluster.timing
        self._now = time.time()
        self.fragments = self.rebuilt = self.handed_over = self.removed = self.failures = 0

    def partition(self, device: Device, policy: int, part: int) -> None:
        """Bring the fragments of a partition to where they belong."""
        ring = self._node.cluster.object_ring(policy)
        peers = [Peer.of(each) for each in ring.nodes(part)]
        own = next(
            (
                number
                for number, each in enumerate(ring.nodes(part))
                if self._node.is_own(each) and each.device == device.name
            ),
            None,
        )
        beside = {} if own is None else self._beside(policy, part, peers, own)
        for digest, names in device.fragments.partition(policy, part).items():
            place = device.place(ring.part_power, digest)
            metadata = self._manifest(device, policy, place)
            for name in names:
                self.fragments += 1
                if self._is_over(device, policy, place, name, metadata):
                    device.fragments.remove(policy, place, name)
                    self.removed += 1
                elif name.number != own:
                    self._hand_over(device, policy, place, name, peers)
                elif metadata and metadata.get("x-backend-data-timestamp") == name.timestamp:
                    self._look_beside(policy, digest, name, metadata, peers, beside)

    # --- What is over -------------------------------------------------------------------------

    def _manifest(self, device: Device, policy: int, place: str) -> Metadata:
        """The manifest that this device has; its deletion as `deleted`; empty without any."""
        try:
            opened = device.objects.open(policy, place)
        except Missing as missing:
            return {"deleted": missing.timestamp} if missing.timestamp else {}
        opened.close()
        return opened.metadata

    def _is_over(
        self, device: Device, policy: int, place: str, name: FragmentName, metadata: Metadata
    ) -> bool:
        written, deleted = metadata.get("x-backend-data-timestamp", ""), metadata.get("deleted", "")
        if name.timestamp < written or name.timestamp <= deleted:
            # Who opened the object before shall be able to read it to its end, however late a
            # replicator brought the news of it here.
            return device.objects.age_of(policy, place, self._now) > 2 * self._timing.pass_seconds
        # A write that never came to its manifest.
        age = device.fragments.age_of(policy, place, name, self._now)
        return name.timestamp != written and age > self._timing.reclaim_seconds

    # --- What is elsewhere --------------------------------------------------------------------

    def _hand_over(
        self, device: Device, policy: int, place: str, name: FragmentName, peers: list[Peer]
    ) -> None:
        if name.number >= len(peers):
            return
        digest = place.rpartition("/")[2]
        try:
            pieces = device.fragments.pieces(policy, place, name)
            self._send(policy, digest, name, pieces, peers[name.number])
        except _FAILURES as error:
            log.info("fragment %s of %s to %s: %s", name, digest, peers[name.number], error)
            self.failures += 1
            if isinstance(error, DamagedObject):
                device.quarantine(f"{device.fragments.folder_of(policy, place)}/{name.file}")
            return
        device.fragments.remove(policy, place, name)
        self.handed_over += 1

    # --- What is missing ----------------------------------------------------------------------

    def _beside(
        self, policy: int, part: int, peers: list[Peer], own: int
    ) -> dict[int, dict[str, list[tuple[str, int]]]]:
        """What the devices beside this one hold: number of the replica -> hash -> fragments."""
        found = {}
        for number in {(own - 1) % len(peers), (own + 1) % len(peers)} - {own}:
            peer = peers[number]
            asked = Partition(device=peer.device, policy=policy, part=part)
            try:
                found[number] = self._node.client.call(
                    peer.address, "fragment_partition", asked, dict[str, list[tuple[str, int]]]
                )
            except (NodeFailed, ApiError):
                self.failures += 1
        return found

    def _look_beside(
        self,
        policy: int,
        digest: str,
        name: FragmentName,
        metadata: Metadata,
        peers: list[Peer],
        beside: dict[int, dict[str, list[tuple[str, int]]]],
    ) -> None:
        for number, held in beside.items():
            if (name.timestamp, number) in held.get(digest, []) or MARK not in metadata:
                continue
            lost = FragmentName(name.timestamp, number)
            try:
                self._send(policy, digest, lost, self._made(policy, digest, metadata, number),
                           peers[number])  # fmt: skip
                self.rebuilt += 1
            except _FAILURES as error:
                log.info("fragment %s of %s cannot be made anew: %s", lost, digest, error)
                self.failures += 1

    def _made(self, policy: int, digest: str, metadata: Metadata, number: int) -> Iterable[bytes]:
        """A fragment, from the others."""
        ring = self._node.cluster.object_ring(policy)
        coded = CodedObject(self._replicas, ring, policy, digest, metadata)
        for segment in coded.segments(0, coded.coding.segments(coded.size) - 1):
            yield coded.coding.encode(segment)[number]

    def _send(
        self, policy: int, digest: str, name: FragmentName, pieces: Iterable[bytes], to: Peer
    ) -> None:
        asked = PutFragment(
            device=to.device,
            policy=policy,
            digest=digest,
            timestamp=name.timestamp,
            index=name.number,
        )
        exchange = Exchange(self._node.client, to.address, "fragment_put", asked)
        try:
            exchange.send_head(None)
            md5 = hashlib.md5(usedforsecurity=False)
            for piece in pieces:
                md5.update(piece)
                exchange.send_piece(piece)
            exchange.send_end(wire.Tail(etag=md5.hexdigest()))
            understood(exchange.finish(), Nothing)
        finally:
            exchange.close()
