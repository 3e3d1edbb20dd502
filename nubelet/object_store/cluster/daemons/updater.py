"""Updater: tells listings what they have not learned yet.

Containers learn of writes of objects whose node could not tell them at once; accounts learn what
their containers hold. What is told goes to every replica of the listing; until all have it, it
stays queued. In OpenStack: swift/obj/updater.py, swift/container/updater.py.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress

from nubelet.kernel.errors import ApiError
from nubelet.object_store.cluster.devices import Device, Update
from nubelet.object_store.cluster.listing_calls import open_listing, tell_account
from nubelet.object_store.cluster.messages import MergeObjects, MergeShard, Nothing, Peer
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.shards import HIDDEN, PARENT, ROOT
from nubelet.object_store.cluster.wire import Moved, NodeFailed
from nubelet.object_store.storage import Missing
from nubelet.object_store.storage.containers import ObjectRow, Totals, row_of

log = logging.getLogger(__name__)


def run(node: Node) -> dict[str, float]:
    """Tell containers of objects: one pass over all devices of a node."""
    figures = {"told": 0.0, "waiting": 0.0}
    for device in node.devices.all():
        _collect_unfinished(node, device)
        for path, update in device.queued():
            if tell_container(node, update) or _is_too_old(node, path):
                with suppress(FileNotFoundError):
                    os.unlink(path)
                figures["told"] += 1
            else:
                figures["waiting"] += 1
    return figures


def report(node: Node) -> dict[str, float]:
    """Tell accounts of containers: one pass over all devices of a node."""
    figures = {"told": 0.0, "waiting": 0.0}
    for device in node.devices.all():
        for digest in device.take_changed():
            if _report(node, device, digest):
                figures["told"] += 1
            else:
                device.changed(digest)
                figures["waiting"] += 1
    return figures


def tell_container(node: Node, update: Update, depth: int = 8) -> bool:
    """Tell every replica of a container of a write, or of the shard of it; whether all know
    now."""
    ring = node.cluster.container_ring
    told, moved = True, set[tuple[str, str]]()
    for device in ring.nodes(ring.part(update.account, update.container)):
        peer = Peer.of(device)
        merge = MergeObjects(
            device=peer.device,
            account=update.account,
            container=update.container,
            rows=[update.row],
        )
        try:
            node.client.call(peer.address, "container_merge", merge, Nothing)
        except Moved as error:
            moved.add((error.account, error.container))
        except (NodeFailed, ApiError) as error:
            log.debug("%s is told later: %s", peer, error)
            told = False
    if depth:
        for account, container in moved:
            further = Update(account=account, container=container, row=update.row)
            told = tell_container(node, further, depth - 1) and told
        return told
    return told and not moved


def _collect_unfinished(node: Node, device: Device) -> None:
    """Queue what processes left that were killed between storing an object and telling of it."""
    for _, metadata in device.objects.unfinished():
        if "name" not in metadata or "x-timestamp" not in metadata:
            continue
        _, account, container, name = metadata["name"].split("/", 3)
        policy = int(metadata.get("x-backend-policy", "0"))
        power = node.cluster.object_ring(policy).part_power
        place = device.place(power, device.hash(account, container, name))
        device.objects.tidy(device.objects.folder_of(policy, place))
        row = _row(device, policy, place, name)
        if row is not None:
            device.queue(Update(account=account, container=container, row=row))


def _row(device: Device, policy: int, place: str, name: str) -> ObjectRow | None:
    """What the folder of an object says now: the killed process may not have come to its write, or
    another one wrote since. None when there never was anything."""
    try:
        opened = device.objects.open(policy, place)
    except Missing as missing:
        gone = missing.timestamp
        return ObjectRow(name, gone, gone, 0, "", "", 1, policy) if gone else None
    opened.close()
    return row_of(name, policy, opened.metadata)


def _report(node: Node, device: Device, digest: str) -> bool:
    """Tell an account what one of its containers holds; whether all its replicas know."""
    try:
        with open_listing(node, device, "containers", digest) as file:
            head = file.head()
            totals = file.totals()  # type: ignore[union-attr] # a container
    except Missing:
        return True
    if totals is None:
        return True
    account, container = head.names
    ring = node.cluster.account_ring
    peers = [Peer.of(each) for each in ring.nodes(ring.part(account))]
    told = [tell_account(node, peer, account, container, totals) for peer in peers]
    if account.startswith(HIDDEN):
        whole = {head.metadata[name][0] for name in (ROOT, PARENT) if name in head.metadata}
        told += [_tell_root(node, each, container, totals) for each in whole if each]
    return all(told)


def _tell_root(node: Node, whole: str, shard: str, totals: Totals) -> bool:
    """Tell a container what a shard of it holds; whether all its replicas know."""
    account, container = whole.split("/", 1)
    ring = node.cluster.container_ring
    told = True
    for device in ring.nodes(ring.part(account, container)):
        peer = Peer.of(device)
        merge = MergeShard(
            device=peer.device,
            account=account,
            container=container,
            shard=shard,
            object_count=totals.object_count,
            bytes_used=totals.bytes_used,
        )
        try:
            node.client.call(peer.address, "shard_merge", merge, Nothing)
        except (NodeFailed, ApiError):
            told = False
    return told


def _is_too_old(node: Node, path: str) -> bool:
    """Nobody waits for it any more: the container is gone for good."""
    with suppress(FileNotFoundError):
        return os.stat(path).st_mtime < time.time() - node.cluster.timing.reclaim_seconds
    return True
