"""Updater: tells listings what they have not learned yet.

Containers learn of writes of objects whose node could not tell them at once; accounts learn what
their containers hold. What is told goes to every replica of the listing; until all have it, it
stays queued. Each node is told in a lane of its own, so that one that is down or slow delays only
what it must learn itself. In OpenStack: swift/obj/updater.py, swift/container/updater.py.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import msgspec

from nubelet.kernel.errors import ApiError
from nubelet.object_store.cluster.devices import Device, Update
from nubelet.object_store.cluster.lanes import Lanes
from nubelet.object_store.cluster.listing_calls import open_listing, tell_account
from nubelet.object_store.cluster.messages import MergeObjects, MergeShard, Nothing, Peer
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.shards import HIDDEN, PARENT, ROOT
from nubelet.object_store.cluster.wire import Moved, NodeFailed
from nubelet.object_store.storage import Missing
from nubelet.object_store.storage.containers import ObjectRow, Totals, row_of

log = logging.getLogger(__name__)
# A listing says which shard is to be told, that may say the same.
_MAX_MOVES = 8


def run(node: Node) -> dict[str, float]:
    """Tell containers of objects: one pass over all devices of a node."""
    done = _Pass(node)
    for device in node.devices.all():
        _collect_unfinished(node, device)
        for path, update in device.queued():
            done.tell(device, path, update)
    done.lanes.finish()
    return done.figures()


class _Pass:
    def __init__(self, node: Node) -> None:
        self.node = node
        self.lanes = Lanes(node.cluster.timing.update_pass_seconds)
        self._lock = threading.Lock()
        self._seen = self._told = 0

    def tell(self, device: Device, path: str, update: Update, moves: int = 0) -> None:
        """Tell every replica of a container of a write; not those that know already."""
        ring = self.node.cluster.container_ring
        peers = [Peer.of(each) for each in ring.nodes(ring.part(update.account, update.container))]
        marks = path.split(".")[1:]
        left = [peer for peer in peers if _mark(peer) not in marks]
        with self._lock:
            self._seen += 1
        queued = _Queued(self, device, path, update, moves, {_mark(peer) for peer in left})
        for peer in left:
            self.lanes.add(peer.address, partial(queued.tell, peer))

    def told(self) -> None:
        """All replicas of a container know of a write."""
        with self._lock:
            self._told += 1

    def figures(self) -> dict[str, float]:
        """Of the pass."""
        with self._lock:
            return {"told": self._told, "waiting": self._seen - self._told}


class _Queued:
    """A write that replicas of a container must learn of. Those that know are marked in the name of
    its file, so that no later pass tells them again."""

    def __init__(
        self, done: _Pass, device: Device, path: str, update: Update, moves: int, left: set[str]
    ) -> None:
        self._pass, self._device, self._path, self._update = done, device, path, update
        self._moves, self._left = moves, left
        self._moved: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def tell(self, peer: Peer) -> None:
        """Tell a replica."""
        merge = MergeObjects(
            device=peer.device,
            account=self._update.account,
            container=self._update.container,
            rows=[self._update.row],
        )
        try:
            self._pass.node.client.call(peer.address, "container_merge", merge, Nothing)
        except Moved as error:
            self._follow(error.account, error.container)
        except (NodeFailed, ApiError) as error:
            log.debug("%s is told later: %s", peer, error)
            if not self._is_too_old():
                return
        self._knows(_mark(peer))

    def _follow(self, account: str, container: str) -> None:
        """Tell the shard that keeps the entry: that is queued before this is done."""
        with self._lock:
            if (account, container) in self._moved:
                return
            further = Update(account=account, container=container, row=self._update.row)
            path = self._device.queue(further)
            self._moved.add((account, container))
        if self._moves < _MAX_MOVES:
            self._pass.tell(self._device, path, further, self._moves + 1)

    def _knows(self, mark: str) -> None:
        with self._lock, suppress(FileNotFoundError):  # another pass was quicker
            self._left.discard(mark)
            if self._left:
                os.rename(self._path, f"{self._path}.{mark}")
                self._path += f".{mark}"
            else:
                os.unlink(self._path)
                self._pass.told()

    def _is_too_old(self) -> bool:
        """Nobody waits for it any more: the container is gone for good."""
        before = time.time() - self._pass.node.cluster.timing.reclaim_seconds
        with self._lock, suppress(FileNotFoundError):
            return os.stat(self._path).st_mtime < before
        return False


def _mark(peer: Peer) -> str:
    return hashlib.md5(str(peer).encode(), usedforsecurity=False).hexdigest()[:8]


def report(node: Node) -> dict[str, float]:
    """Tell accounts of containers: one pass over all devices of a node."""
    lanes = Lanes(node.cluster.timing.update_pass_seconds)
    reports = []
    for device in node.devices.all():
        for digest, note in device.take_changed():
            calls = _report(node, device, digest)
            answers: list[bool] = []
            for peer, call in calls:
                lanes.add(peer.address, partial(_answer, call, answers))
            reports.append((device, digest, note, len(calls), answers))
    lanes.finish()
    figures = {"told": 0.0, "waiting": 0.0}
    for device, digest, note, count, answers in reports:
        if answers.count(True) == count:
            figures["told"] += 1
        else:
            device.changed(digest)
            figures["waiting"] += 1
        with suppress(FileNotFoundError):
            os.unlink(note)
    return figures


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


def _answer(call: Callable[[], bool], answers: list[bool]) -> None:
    answers.append(call())


def _report(node: Node, device: Device, digest: str) -> list[tuple[Peer, Callable[[], bool]]]:
    """The calls that tell an account what one of its containers holds, and say whether they did."""
    try:
        with open_listing(node, device, "containers", digest) as file:
            head = file.head()
            totals = file.totals()  # type: ignore[union-attr] # a container
    except Missing:
        return []
    if totals is None:
        return []
    account, container = head.names
    ring = node.cluster.account_ring
    peers = [Peer.of(each) for each in ring.nodes(ring.part(account))]
    calls: list[tuple[Peer, Callable[[], bool]]] = [
        (peer, partial(tell_account, node, peer, account, container, totals)) for peer in peers
    ]
    if account.startswith(HIDDEN):
        for whole in {head.metadata[name][0] for name in (ROOT, PARENT) if name in head.metadata}:
            if whole:
                calls += _root_calls(node, whole, container, totals)
    return calls


def _root_calls(
    node: Node, whole: str, shard: str, totals: Totals
) -> list[tuple[Peer, Callable[[], bool]]]:
    """Those that tell a container what a shard of it holds."""
    account, container = whole.split("/", 1)
    ring = node.cluster.container_ring
    peers = [Peer.of(each) for each in ring.nodes(ring.part(account, container))]
    merge = MergeShard(
        device="",
        account=account,
        container=container,
        shard=shard,
        object_count=totals.object_count,
        bytes_used=totals.bytes_used,
    )
    return [(peer, partial(_tell_root, node, peer, merge)) for peer in peers]


def _tell_root(node: Node, peer: Peer, merge: MergeShard) -> bool:
    own = msgspec.structs.replace(merge, device=peer.device)
    try:
        node.client.call(peer.address, "shard_merge", own, Nothing)
    except (NodeFailed, ApiError):
        return False
    return True
