"""Reaper: removes what a deleted account left: its objects, then its containers.

The node that holds the first replica of the account does it, through the cluster's storage as a
proxy would. In OpenStack: swift/account/reaper.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from nubelet.object_store.cluster.devices import Device
from nubelet.object_store.cluster.listing_calls import open_listing
from nubelet.object_store.cluster.listing_files import NodeAccountFile
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.storage import ClusterStorage
from nubelet.object_store.reaping import Reaped, empty
from nubelet.object_store.ring import partition_of
from nubelet.object_store.storage import Missing
from nubelet.object_store.storage.timestamps import normal

_PAGE = 1000


def run(node: Node) -> dict[str, float]:
    """One pass over the accounts of which this node has the first replica."""
    reaped = Reaped()
    storage: ClusterStorage | None = None
    try:
        for device in node.devices.all():
            for account, container in _left(node, device):
                storage = storage or ClusterStorage(node.cluster.folder)
                empty(storage, account, container, reaped)
    finally:
        if storage is not None:
            storage.close()
    return {"objects": float(reaped.objects), "containers": float(reaped.containers)}


def _left(node: Node, device: Device) -> Iterator[tuple[str, str]]:
    """(account, container) of what is left of deleted accounts."""
    ring = node.cluster.account_ring
    before = normal(time.time() - node.cluster.timing.reap_delay_seconds)
    for digest, _ in device.listings("accounts"):
        first = ring.nodes(partition_of(digest, ring.part_power))[0]
        if not node.is_own(first) or first.device != device.name:
            continue
        with open_listing(node, device, "accounts", digest) as file:
            assert isinstance(file, NodeAccountFile)
            try:
                head = file.head()
            except Missing:
                continue
            if not head.put_timestamp <= head.delete_timestamp <= before:
                continue
            _, rows = file.rows_after(0, _PAGE)
            for row in rows:
                if row.totals.delete_timestamp < row.totals.put_timestamp:
                    yield head.names[0], row.name
