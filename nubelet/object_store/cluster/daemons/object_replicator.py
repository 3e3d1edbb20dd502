"""Object replicator: makes the replicas of each partition alike.

For each partition on a device: a primary device compares the hashes of its suffixes with those of
the other primaries and sends what they lack. A device that is not primary (a handoff, or one that a
rebalance took the partition from) sends everything to all primaries, and removes it once
all have it. Files travel as they are; of two versions the newer stays.

In OpenStack: swift/obj/replicator.py.
"""

from __future__ import annotations

import logging
import os
import time

from nubelet.kernel.errors import ApiError
from nubelet.object_store.cluster.devices import Device
from nubelet.object_store.cluster.messages import Partition, Peer
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.object_files import DamagedObject, Files, verify
from nubelet.object_store.cluster.pushing import push_files
from nubelet.object_store.cluster.wire import NodeFailed
from nubelet.object_store.storage.timestamps import normal

log = logging.getLogger(__name__)


def run(node: Node) -> dict[str, float]:
    """One pass over all devices of a node."""
    done = _Pass(node)
    for device in node.devices.all():
        for policy in device.objects.policies():
            # While the partition power is raised, folders of both powers lie side by side.
            if node.cluster.has_policy(policy) and not node.cluster.is_growing(policy):
                for part in device.objects.partitions(policy):
                    done.partition(device, policy, part)
    return {
        "partitions": done.partitions,
        "files_sent": done.sent,
        "handed_over": done.handed_over,
        "failures": done.failures,
    }


class _Pass:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._before = normal(time.time() - node.cluster.timing.reclaim_seconds)
        self.partitions = self.sent = self.handed_over = self.failures = 0

    def partition(self, device: Device, policy: int, part: int) -> None:
        """Bring the other replicas of a partition up to what this one has."""
        self.partitions += 1
        self._reclaim(device, policy, part)
        ring = self._node.cluster.object_ring(policy)
        others, is_primary = self._node.others(ring, part, device)
        hashes = device.objects.suffixes(policy, part)
        if not hashes:
            device.objects.prune_partition(policy, part)
            return
        whole = [self._compare(device, policy, part, hashes, peer) for peer in others]
        if not is_primary and all(held is not None for held in whole):
            self._hand_over(device, policy, part, [held for held in whole if held is not None])

    def _compare(
        self, device: Device, policy: int, part: int, hashes: dict[str, str], peer: Peer
    ) -> Files | None:
        """Send to one device what it lacks; the files that it holds now, None if it failed."""
        asked = Partition(device=peer.device, policy=policy, part=part)
        held: Files = {}
        try:
            client = self._node.client
            theirs = client.call(peer.address, "object_suffixes", asked, dict[str, str])
            differ = [suffix for suffix, value in hashes.items() if theirs.get(suffix) != value]
            same = [suffix for suffix in hashes if suffix not in differ]
            for suffix in same:
                held.update(device.objects.files(policy, part, suffix))
            if differ:
                asked.suffixes = differ
                their_files = client.call(peer.address, "object_files", asked, Files)
                for suffix in differ:
                    held.update(self._send(device, policy, part, suffix, their_files, peer))
            return held
        except (NodeFailed, ApiError, OSError) as error:
            log.info("partition %d of policy %d to %s: %s", part, policy, peer, error)
            self.failures += 1
            return None

    def _send(
        self, device: Device, policy: int, part: int, suffix: str, theirs: Files, peer: Peer
    ) -> Files:
        held: Files = {}
        for digest, names in device.objects.files(policy, part, suffix).items():
            there = theirs.get(digest, [])
            newest = max((n for n in there if not n.endswith(".meta")), default="")
            lacking = [
                name
                for name in names
                if name not in there and (name.endswith(".meta") or _time(name) > _time(newest))
            ]
            if lacking:
                if self._push(device, policy, part, digest, lacking, peer):
                    self.sent += len(lacking)
                    held[digest] = names
            else:
                held[digest] = names
        return held

    def _push(
        self, device: Device, policy: int, part: int, digest: str, names: list[str], peer: Peer
    ) -> bool:
        """Send files; a damaged one is put aside, and must not keep the others here."""
        folder = device.objects.path(policy, part, digest)
        try:
            push_files(self._node, device, policy, folder, names, peer)
            return True
        except FileNotFoundError:
            return False  # replaced or deleted by a user meanwhile: the next pass sees it
        except NodeFailed:
            for name in names:
                try:
                    if name.endswith(".data"):
                        verify(f"{folder}/{name}")
                except DamagedObject as error:
                    log.error("quarantined: %s", error)
                    device.quarantine(folder)
                    return False
                except FileNotFoundError:
                    return False
            raise

    def _hand_over(self, device: Device, policy: int, part: int, held: list[Files]) -> None:
        """Remove what all primary devices have."""
        for suffix in device.objects.suffixes(policy, part):
            for digest, names in device.objects.files(policy, part, suffix).items():
                if held and all(each.get(digest) == names for each in held):
                    device.objects.remove(policy, part, digest, names)
                    self.handed_over += 1
        device.objects.prune_partition(policy, part)

    def _reclaim(self, device: Device, policy: int, part: int) -> None:
        """Forget deletions that every replica has known for long."""
        for suffix in list(device.objects.suffix_names(policy, part)):
            for digest, names in device.objects.files(policy, part, suffix).items():
                if names[0].endswith(".ts") and names[0] < self._before:
                    device.objects.remove(policy, part, digest, names)


def _time(name: str) -> str:
    return os.path.splitext(name)[0]
