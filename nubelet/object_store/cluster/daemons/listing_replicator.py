"""Listing replicator: makes the replicas of account and container files alike.

Each file numbers its changes and each replica remembers up to which number it has taken them
up; what came after is sent in batches. Merging decides by timestamps, so order and repetition do
no harm. A device that is not primary hands its file over and removes it.

In OpenStack: swift/common/db_replicator.py.
"""

from __future__ import annotations

import logging
import os
import time

from nubelet.kernel.errors import ApiError
from nubelet.object_store.cluster import wire
from nubelet.object_store.cluster.devices import Device, remove_tree
from nubelet.object_store.cluster.listing_calls import KINDS, open_listing
from nubelet.object_store.cluster.listing_files import (
    Head,
    NodeAccountFile,
    NodeContainerFile,
)
from nubelet.object_store.cluster.messages import Nothing, Peer, SyncBegin, SyncPoint, SyncRows
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.wire import NodeFailed
from nubelet.object_store.ring import partition_of
from nubelet.object_store.storage import Missing
from nubelet.object_store.storage.sqlite import NotMade
from nubelet.object_store.storage.timestamps import normal

log = logging.getLogger(__name__)
_BATCH = 1000


def run(node: Node) -> dict[str, float]:
    """One pass over all devices of a node."""
    done = _Pass(node)
    for device in node.devices.all():
        for kind in KINDS:
            for digest, path in device.listings(kind):
                done.listing(device, kind, digest, path)
    return {
        "listings": done.listings,
        "rows_sent": done.sent,
        "handed_over": done.handed_over,
        "failures": done.failures,
    }


class _Pass:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._before = normal(time.time() - node.cluster.timing.reclaim_seconds)
        self.listings = self.sent = self.handed_over = self.failures = 0

    def listing(self, device: Device, kind: str, digest: str, path: str) -> None:
        """Bring the other replicas of a file up to what this one knows."""
        ring = self._node.cluster.listing_ring(kind)
        part = partition_of(digest, ring.part_power)
        others, is_primary = self._node.others(ring, part, device)
        self.listings += 1
        try:
            with open_listing(self._node, device, kind, digest) as file:
                file.reclaim(self._before)
                head = file.head()
                # Rows of a root are the sharder's: replicas that told one another of what each is
                # going to drop would do so for ever. One that stands in hands them over.
                last = 0 if is_primary and head.is_sharded else head.last
                whole = [self._bring(file, kind, digest, head, peer, last) for peer in others]
                over = all(whole) and (head.is_forgotten(self._before) or not is_primary)
                # What came meanwhile is handed over by the next pass.
                if over and file.remove(lambda _: file.head() == head):
                    remove_tree(os.path.dirname(path), f"{device.folder}/{kind}")
                    self.handed_over += not is_primary
        except (Missing, NotMade):
            return  # its removal was broken off, or it was taken away

    def _bring(
        self,
        file: NodeAccountFile | NodeContainerFile,
        kind: str,
        digest: str,
        head: Head,
        peer: Peer,
        last: int,
    ) -> bool:
        """Tell one replica what it does not know up to a change; whether it knows that now."""
        client = self._node.client
        try:
            begin = SyncBegin(device=peer.device, kind=kind, digest=digest, head=head)
            # In the body: the metadata of a container may be long.
            point = client.call(
                peer.address, "listing_begin", Nothing(), SyncPoint, body=wire.encode(begin)
            ).point
            while point < last:
                rows = SyncRows(device=peer.device, kind=kind, digest=digest, id=head.id, point=0)
                if isinstance(file, NodeContainerFile):
                    rows.point, rows.objects = file.rows_after(point, _BATCH)
                    count = len(rows.objects)
                else:
                    rows.point, rows.containers = file.rows_after(point, _BATCH)
                    count = len(rows.containers)
                if not count:
                    break
                client.call(
                    peer.address, "listing_rows", Nothing(), Nothing, body=wire.encode(rows)
                )
                point = rows.point
                self.sent += count
            return True
        except (NodeFailed, ApiError) as error:
            log.info("%s %s to %s: %s", kind, digest, peer, error)
            self.failures += 1
            return False
