"""Updater: tells listings what they have not learned yet.

Containers learn of writes of objects whose node could not tell them at once; accounts learn what
their containers hold. What is told goes to every replica of the listing; until all have it, it
stays queued. Each device is told in a lane of its own, so that one that is down or slow delays only
what it must learn itself. A pass does not wait longer than `update_pass_seconds` for it; what is
left then, or more than a lane takes, comes in a later pass, in another order.
In OpenStack: swift/obj/updater.py, swift/container/updater.py.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import NamedTuple

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
    done = _Pass(node, node.update_lanes)
    with done.lanes.one_pass(node.cluster.timing.update_pass_seconds):
        for device in node.devices.all():
            with done.apart(f"what was left unfinished on {device.folder}"):
                _collect_unfinished(node, device)
            with done.apart(f"what is queued on {device.folder}"):
                for path, update in device.queued():
                    _Write(done, device, path, update).tell()
    return done.figures()


def report(node: Node) -> dict[str, float]:
    """Tell accounts of containers: one pass over all devices of a node."""
    done = _Pass(node, node.report_lanes)
    with done.lanes.one_pass(node.cluster.timing.update_pass_seconds):
        for device in node.devices.all():
            with done.apart(f"what has changed on {device.folder}"):
                for digest, note in device.take_changed():
                    with done.apart(f"the listing {digest} on {device.folder}"):
                        done.tell(note, _report(node, device, digest))
    return done.figures()


class _Telling(NamedTuple):
    """Whom a call tells; which listing, where one device may be told for several; the call, that
    says whether it did."""

    peer: Peer
    listing: str
    call: Callable[[], bool]

    @property
    def mark(self) -> str:
        """In the name of what is told, once it knows."""
        told = f"{self.peer}{self.listing}".encode()
        return hashlib.md5(told, usedforsecurity=False).hexdigest()[:8]


class _Pass:
    def __init__(self, node: Node, lanes: Lanes) -> None:
        self.node, self.lanes = node, lanes
        self._lock = threading.Lock()
        self._seen = self._told = self._damaged = 0

    @contextmanager
    def apart(self, what: str) -> Iterator[None]:
        """What fails inside concerns only itself, and is tried again in the next pass."""
        try:
            yield
        except Exception:
            log.exception("%s could not be told of", what)
            with self._lock:
                self._damaged += 1

    def tell(self, path: str, tellings: list[_Telling]) -> None:
        """Tell all of what a file stands for, but those that know already; remove it when all
        do."""
        marks = path.split(".")[1:]
        left = [each for each in tellings if each.mark not in marks]
        with self._lock:
            self._seen += 1
        news = _News(self, path, {each.mark for each in left})
        if not left:
            news.remove()
        for each in left:
            self.lanes.add(each.peer, partial(news.tell, each))

    def told(self) -> None:
        """All know of something."""
        with self._lock:
            self._told += 1

    def figures(self) -> dict[str, float]:
        """Of the pass."""
        with self._lock:
            return {
                "told": self._told,
                "waiting": self._seen - self._told,
                "damaged": self._damaged,
            }


class _News:
    """A file that stands for what some must learn. Those that know are marked in its name, so that
    no later pass tells them again."""

    def __init__(self, done: _Pass, path: str, left: set[str]) -> None:
        self._pass, self._path, self._left = done, path, left
        self._lock = threading.Lock()

    def tell(self, telling: _Telling) -> None:
        """Tell one of them."""
        if not telling.call():
            return
        with self._lock:
            self._left.discard(telling.mark)
            if not self._left:
                self.remove()
                return
            # Another pass was quicker, or there are newer totals: it is told once more.
            with suppress(FileNotFoundError):
                os.rename(self._path, f"{self._path}.{telling.mark}")
                self._path += f".{telling.mark}"

    def remove(self) -> None:
        """All know."""
        with suppress(FileNotFoundError):
            os.unlink(self._path)
            self._pass.told()


class _Write:
    """A write of an object, that replicas of a container must learn of."""

    def __init__(
        self, done: _Pass, device: Device, path: str, update: Update, moves: int = 0
    ) -> None:
        self._pass, self._device, self._path, self._update = done, device, path, update
        self._moves = moves
        self._moved: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._is_old = _is_too_old(done.node, path)

    def tell(self) -> None:
        """Tell every replica."""
        ring = self._pass.node.cluster.container_ring
        part = ring.part(self._update.account, self._update.container)
        peers = [Peer.of(each) for each in ring.nodes(part)]
        self._pass.tell(
            self._path, [_Telling(peer, "", partial(self._tell_one, peer)) for peer in peers]
        )

    def _tell_one(self, peer: Peer) -> bool:
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
            return self._is_old
        return True

    def _follow(self, account: str, container: str) -> None:
        """Tell the shard that keeps the entry: that is queued before this is done."""
        with self._lock:
            if (account, container) in self._moved:
                return
            further = Update(account=account, container=container, row=self._update.row)
            path = self._device.queue(further)
            self._moved.add((account, container))
        if self._moves < _MAX_MOVES:
            _Write(self._pass, self._device, path, further, self._moves + 1).tell()


def _is_too_old(node: Node, path: str) -> bool:
    """Nobody waits for it any more: the container is gone for good."""
    with suppress(FileNotFoundError):
        return os.stat(path).st_mtime < time.time() - node.cluster.timing.reclaim_seconds
    return False


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


def _report(node: Node, device: Device, digest: str) -> list[_Telling]:
    """How an account is told what one of its containers holds."""
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
    tellings = [
        _Telling(peer, account, partial(tell_account, node, peer, account, container, totals))
        for peer in peers
    ]
    if account.startswith(HIDDEN):
        for whole in {head.metadata[name][0] for name in (ROOT, PARENT) if name in head.metadata}:
            if whole:
                tellings += _tellings_of_root(node, whole, container, totals)
    return tellings


def _tellings_of_root(node: Node, whole: str, shard: str, totals: Totals) -> list[_Telling]:
    """How a container is told what a shard of it holds."""
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
    return [_Telling(peer, whole, partial(_tell_root, node, peer, merge)) for peer in peers]


def _tell_root(node: Node, peer: Peer, merge: MergeShard) -> bool:
    own = msgspec.structs.replace(merge, device=peer.device)
    try:
        node.client.call(peer.address, "shard_merge", own, Nothing)
    except (NodeFailed, ApiError):
        return False
    return True
