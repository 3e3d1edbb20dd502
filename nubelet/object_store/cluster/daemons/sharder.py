"""Sharder: splits containers that grew too large, and merges shards that became small.

Every replica of a root copies its own rows to the shards. The node of its first replica leads: it
plans the ranges, makes the shards, and says when the next state begins (shards.py).

In OpenStack: swift/container/sharder.py.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import time

import msgspec

from nubelet.kernel.errors import ApiError
from nubelet.object_store.cluster import wire
from nubelet.object_store.cluster.devices import Device
from nubelet.object_store.cluster.listing_calls import open_listing
from nubelet.object_store.cluster.listing_files import Head, NodeContainerFile
from nubelet.object_store.cluster.messages import (
    FindListing,
    MergeObjects,
    Nothing,
    Peer,
    PutSharding,
)
from nubelet.object_store.cluster.node import Node
from nubelet.object_store.cluster.quorum import majority
from nubelet.object_store.cluster.shards import (
    ACTIVE,
    FILLING,
    HIDDEN,
    PARENT,
    PLANNED,
    ROOT,
    WANTED,
    Shard,
    Sharding,
    adopted,
    hidden,
    place,
)
from nubelet.object_store.cluster.storage import ClusterStorage
from nubelet.object_store.cluster.wire import NodeFailed
from nubelet.object_store.ring import partition_of
from nubelet.object_store.storage import Missing, timestamps
from nubelet.object_store.storage.containers import ObjectRow
from nubelet.object_store.storage.timestamps import normal

log = logging.getLogger(__name__)
_BATCH = 1000
_SYNC = "x-container-sync-to"


def run(node: Node) -> dict[str, float]:
    """One pass over the containers of a node."""
    done = _Pass(node)
    try:
        for device in node.devices.all():
            ring = node.cluster.container_ring
            for digest, _ in device.listings("containers"):
                part = partition_of(digest, ring.part_power)
                try:
                    with open_listing(node, device, "containers", digest) as file:
                        assert isinstance(file, NodeContainerFile)
                        done.one(device, part, digest, file)
                except Missing:
                    continue  # being made
                except (ApiError, NodeFailed) as error:
                    log.info("sharding %s: %s", digest, error)
                    done.figures["failures"] += 1
    finally:
        done.close()
    return done.figures


class _Pass:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._made: ClusterStorage | None = None
        self._before = normal(time.time() - node.cluster.timing.reclaim_seconds)
        self.figures = {"sharded": 0.0, "rows_moved": 0.0, "adopted": 0.0, "failures": 0.0}

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    @property
    def _storage(self) -> ClusterStorage:
        self._made = self._made or ClusterStorage(self._node.cluster.folder)
        return self._made

    def one(self, device: Device, part: int, digest: str, file: NodeContainerFile) -> None:
        """What a container needs. Raises NodeFailed, ApiError: the next pass goes on."""
        head, sharding = file.head(), file.sharding()
        if sharding is not None and sharding.live and sharding.state > PLANNED:
            self._copy(file, head, sharding)
        first = self._node.cluster.container_ring.nodes(part)[0]
        if not self._node.is_own(first) or first.device != device.name:
            return
        peers = [Peer.of(each) for each in self._node.cluster.container_ring.nodes(part)]
        is_deleted = head.put_timestamp <= head.delete_timestamp
        if sharding is None or not sharding.live:
            sharding = None if is_deleted else self._plan(file, head, digest)
        if sharding is None:
            return
        if sharding.state == PLANNED:
            self._make(head, sharding)
            self._send(peers, digest, Sharding(
                epoch=sharding.epoch, state=FILLING, shards=sharding.shards
            ))  # fmt: skip
        elif sharding.state == FILLING:
            self._finish(peers, digest, sharding)
        elif is_deleted:
            self._give_up(peers, head, digest, sharding)
        else:
            self._adopt(peers, head, digest, sharding)
            self._forget(file, head, sharding)

    # --- Rows -----------------------------------------------------------------------------------

    def _copy(self, file: NodeContainerFile, head: Head, sharding: Sharding) -> None:
        live = sharding.live
        point = file.copied()
        while True:
            last, rows = file.rows_after(point, _BATCH)
            if not rows:
                file.note_all_copied()
                break
            groups: dict[str, list[ObjectRow]] = {}
            for row in rows:
                shard = place(live, row.name)
                if shard is None:
                    raise LookupError(f"no shard of /{'/'.join(head.names)} has {row.name!r}")
                groups.setdefault(shard.name, []).append(row)
            for name, some in groups.items():
                self._tell(hidden(head.names[0]), name, some)
            point = last
            file.note_copied(point)
            self.figures["rows_moved"] += len(rows)
        if sharding.is_active and head.last:
            file.drop_copied()

    def _tell(self, account: str, container: str, rows: list[ObjectRow]) -> None:
        """Every replica of a shard learns of these; raises NodeFailed, ApiError."""
        ring = self._node.cluster.container_ring
        for device in ring.nodes(ring.part(account, container)):
            peer = Peer.of(device)
            # A shard that is sharded itself keeps them too, and moves them on.
            merge = MergeObjects(
                device=peer.device, account=account, container=container, rows=[], keep=True
            )
            self._node.client.call(
                peer.address, "container_merge", merge, Nothing, body=wire.encode(rows)
            )

    # --- States ---------------------------------------------------------------------------------

    def _plan(self, file: NodeContainerFile, head: Head, digest: str) -> Sharding | None:
        values = {name: value for name, (value, _) in head.metadata.items() if value}
        limit = self._node.cluster.sharding.objects
        size = int(values.get(WANTED, "0"))
        if not size:
            totals = file.totals()
            if not limit or totals is None or totals.object_count <= limit or _SYNC in values:
                return None
            size = max(1, limit // 2)
        ranges = file.plan(size)
        if len(ranges) < 2:
            return None
        now = timestamps.now()
        shards = [
            Shard(name=_name(head, digest, now, number), lower=low, upper=high, timestamp=now)
            for number, (low, high) in enumerate(ranges)
        ]
        planned = Sharding(epoch=now, state=PLANNED, shards=shards)
        file.take_sharding(planned)
        log.info("/%s is split into %d shards", "/".join(head.names), len(shards))
        return planned

    def _make(self, head: Head, sharding: Sharding) -> None:
        own = "/".join(head.names)
        root = head.metadata.get(ROOT, ("", ""))[0] or own
        for shard in sharding.live:
            self._storage.put_container(
                hidden(head.names[0]),
                shard.name,
                timestamps.now(),
                {ROOT: root, PARENT: own},
                head.policy,
            )

    def _finish(self, peers: list[Peer], digest: str, sharding: Sharding) -> None:
        """Let the shards be active when each replica that answers has copied what it had."""
        ready = answered = 0
        for peer in peers:
            try:
                state = self._ask(peer, digest)
            except (NodeFailed, ApiError):
                continue
            answered += 1
            if state is None or state.epoch != sharding.epoch:
                self._send([peer], digest, sharding)
            elif not state.behind:
                ready += 1
        if ready == answered and ready >= majority(len(peers)):
            sharding = Sharding(epoch=sharding.epoch, state=ACTIVE, shards=sharding.shards)
            self._send(peers, digest, sharding)
            self.figures["sharded"] += 1

    def _adopt(self, peers: list[Peer], head: Head, digest: str, sharding: Sharding) -> None:
        """Take over the shards of shards; begin to merge small ones."""
        if head.names[0].startswith(HIDDEN):
            return  # its root does
        account, live = hidden(head.names[0]), sharding.live
        states: dict[str, Sharding | None] = {}
        for shard in live:
            states[shard.name] = self._state(account, shard.name)
        for shard in live:
            state = states[shard.name]
            if state is not None and state.is_active:
                rows = adopted(live, shard, state.live, timestamps.now())
                self._send(peers, digest, Sharding(
                    epoch=sharding.epoch, state=ACTIVE, shards=rows
                ))  # fmt: skip
                self.figures["adopted"] += 1
                return  # the next pass sees what became of it
        small = self._node.cluster.sharding.objects // 5
        for left, right in itertools.pairwise(live):
            if states[left.name] or states[right.name]:
                continue
            if left.object_count + right.object_count < small:
                self._merge(account, left, right)
                return

    def _merge(self, account: str, left: Shard, right: Shard) -> None:
        """The right one is sharded into the left one alone."""
        now = timestamps.now()
        only = Shard(name=left.name, lower="", upper="", timestamp=now)
        ring = self._node.cluster.container_ring
        part = ring.part(account, right.name)
        peers = [Peer.of(each) for each in ring.nodes(part)]
        self._send(
            peers,
            ring.hash(account, right.name),
            Sharding(epoch=now, state=FILLING, shards=[only]),
        )

    def _forget(self, file: NodeContainerFile, head: Head, sharding: Sharding) -> None:
        """Delete the containers of shards that were given up long ago."""
        old = [each for each in sharding.shards if each.deleted and each.timestamp < self._before]
        for shard in old:
            self._delete(hidden(head.names[0]), shard.name)
        if old:
            file.forget_shards(self._before)

    def _give_up(self, peers: list[Peer], head: Head, digest: str, sharding: Sharding) -> None:
        """Delete the shards of a container that was deleted long ago."""
        if head.delete_timestamp >= self._before or head.names[0].startswith(HIDDEN):
            return
        now = timestamps.now()
        rows = [msgspec.structs.replace(each, deleted=True, timestamp=now)
                for each in sharding.live]  # fmt: skip
        gone = Sharding(epoch=sharding.epoch, state=ACTIVE, shards=rows)
        self._send(peers, digest, gone, only_deleted=True)
        for shard in rows:
            self._delete(hidden(head.names[0]), shard.name)

    def _delete(self, account: str, container: str) -> None:
        try:
            self._storage.delete_container(account, container, timestamps.now(), emptied=True)
        except ApiError as error:
            log.info("/%s/%s: %s", account, container, error)

    # --- Replicas of the root -------------------------------------------------------------------

    def _send(
        self, peers: list[Peer], digest: str, sharding: Sharding, *, only_deleted: bool = False
    ) -> None:
        """Tell all replicas; raises NodeFailed, ApiError when most of them do not know now."""
        told, failure = 0, None
        for peer in peers:
            asked = PutSharding(
                device=peer.device, digest=digest, sharding=sharding, only_deleted=only_deleted
            )
            try:
                self._node.client.call(
                    peer.address, "sharding_put", Nothing(), Nothing, body=wire.encode(asked)
                )
                told += 1
            except (NodeFailed, ApiError) as error:
                failure = error
        if told < majority(len(peers)) and failure is not None:
            raise failure

    def _ask(self, peer: Peer, digest: str) -> Sharding | None:
        asked = FindListing(device=peer.device, kind="containers", digest=digest)
        return self._node.client.call(peer.address, "sharding_show", asked, Sharding | None)  # type: ignore[arg-type]

    def _state(self, account: str, container: str) -> Sharding | None:
        """How a shard is sharded, as the replica says that knows most; raises NodeFailed,
        ApiError."""
        ring = self._node.cluster.container_ring
        part, digest = ring.part(account, container), ring.hash(account, container)
        found = None
        for device in ring.nodes(part):
            try:
                state = self._ask(Peer.of(device), digest)
            except Missing:
                continue
            if state is not None and (found is None or state.state > found.state):
                found = state
        return found


def _name(head: Head, digest: str, epoch: str, number: int) -> str:
    """Of a shard: it tells the root by the beginning of its name, and is unlike all others."""
    root = head.metadata.get(ROOT, ("", ""))[0] or "/".join(head.names)
    short = root.partition("/")[2][:80]
    unique = hashlib.sha256(f"{digest}/{epoch}/{number}".encode()).hexdigest()[:20]
    return f"{short}-{epoch.partition('.')[0]}-{unique}"
