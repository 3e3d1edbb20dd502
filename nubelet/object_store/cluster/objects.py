"""Objects of a cluster, as the API asks for them.

A PUT is streamed to all replicas at once and is done when a majority has it on disk. A GET takes
the first replica that answers; when that breaks off in the middle another one goes on. Where a
primary device lacks what another one has, it is sent there (read repair).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from nubelet.kernel.errors import ApiError, InsufficientStorage
from nubelet.object_store.cluster.configuration import Cluster
from nubelet.object_store.cluster.erasure import MARK
from nubelet.object_store.cluster.erasure_reading import CodedObject
from nubelet.object_store.cluster.erasure_writing import write_coded
from nubelet.object_store.cluster.messages import (
    DeleteObject,
    Nothing,
    Peer,
    PostObject,
    PushObject,
    Tell,
    Written,
)
from nubelet.object_store.cluster.quorum import (
    Outcome,
    Replicas,
    attempt,
    majority,
    settle,
    shared,
    unavailable,
    with_brought,
)
from nubelet.object_store.cluster.reading import ClusterObject, Found, open_at
from nubelet.object_store.cluster.wire import NodeFailed
from nubelet.object_store.cluster.writing import write_object
from nubelet.object_store.ring import Ring
from nubelet.object_store.storage import (
    EXPIRING_ACCOUNT,
    Finish,
    Missing,
    ObjectPath,
    Stored,
)
from nubelet.object_store.storage.timestamps import Timestamp

log = logging.getLogger(__name__)
_QUEUE_CONTAINER_SECONDS = 86_400


class ClusterObjects:
    """The part of `Storage` that is about objects."""

    def __init__(self, cluster: Cluster, replicas: Replicas, pool: ThreadPoolExecutor) -> None:
        self._cluster, self._replicas, self._background = cluster, replicas, pool

    def open_object(
        self, path: ObjectPath, policy: int, *, newest: bool = False
    ) -> ClusterObject | CodedObject:
        """See Storage."""
        ring = self._cluster.object_ring(policy)
        # What an older manifest names is being removed.
        newest = newest or self._cluster.coding(policy) is not None
        part = ring.part(*path)
        peers, spare = self._replicas.for_reading(ring, part)
        outcomes: list[Outcome[Found]] = []
        for peer in peers:
            outcomes.append(self._open_at(peer, path, policy))
            if outcomes[-1].error is None and not newest:
                break
        best = _best(outcomes)
        failed = any(isinstance(each.error, _FAILED) for each in outcomes)
        if best is None or (newest and failed):
            for peer in spare:
                outcomes.append(self._open_at(peer, path, policy))
                if outcomes[-1].error is None and not newest:
                    break
            best = _best(outcomes)
        if best is None:
            raise _absent(path, peers, outcomes)
        self._repair(ring, best, path, policy, peers, outcomes)
        assert best.answer is not None
        if MARK in best.answer.metadata:
            digest = ring.hash(*path)
            return CodedObject(self._replicas, ring, policy, digest, best.answer.metadata)
        return ClusterObject(self._replicas, ring, path, policy, best)

    def put_object(
        self,
        path: ObjectPath,
        policy: int,
        timestamp: Timestamp,
        metadata: Mapping[str, str],
        body: Iterable[bytes],
        *,
        finish: Finish | None = None,
        expected: Timestamp | None = None,
    ) -> Stored:
        """See Storage."""
        write: Callable[..., Stored] = write_object
        coding = self._cluster.coding(policy)
        if coding is not None:
            write = partial(write_coded, coding=coding)
        return write(
            replicas=self._replicas,
            ring=self._cluster.object_ring(policy),
            path=path,
            policy=policy,
            timestamp=timestamp,
            metadata=dict(metadata),
            body=body,
            finish=finish,
            expected=expected,
            tell=lambda number, count: self._tell(path, number, count, metadata, timestamp),
        )

    def post_object(
        self, path: ObjectPath, policy: int, timestamp: Timestamp, metadata: Mapping[str, str]
    ) -> None:
        """See Storage."""
        ring = self._cluster.object_ring(policy)
        part = ring.part(*path)
        count = len(ring.nodes(part))

        def ask(number: int, peer: Peer) -> Written:
            asked = PostObject(
                device=peer.device,
                policy=policy,
                path=path,
                timestamp=timestamp,
                metadata=dict(metadata),
                tell=self._tell(path, number, count, metadata, timestamp),
            )
            return self._replicas.client.call(peer.address, "object_post", asked, Written)

        outcomes = self._replicas.write(ring, part, ask)
        outcomes = with_brought(outcomes, timestamp, Written(timestamp=timestamp))
        done = sum(each.error is None for each in outcomes)
        missing = sum(isinstance(each.error, Missing) for each in outcomes)
        # A replica that lacks the object gets it, and this change, by replication.
        if done and done + missing >= majority(count) and done >= min(2, majority(count)):
            return
        if done:  # it is there: that devices which stand in lack it says nothing
            raise unavailable(outcomes, majority(count))
        self._settle(path, outcomes, majority(count))

    def delete_object(
        self,
        path: ObjectPath,
        policy: int,
        timestamp: Timestamp,
        *,
        if_delete_at: int | None = None,
    ) -> None:
        """See Storage."""
        ring = self._cluster.object_ring(policy)
        part = ring.part(*path)
        count = len(ring.nodes(part))

        def ask(number: int, peer: Peer) -> Written:
            asked = DeleteObject(
                device=peer.device,
                policy=policy,
                path=path,
                timestamp=timestamp,
                if_delete_at=if_delete_at,
                tell=self._tell(path, number, count, {}, timestamp),
            )
            return self._replicas.client.call(peer.address, "object_delete", asked, Written)

        outcomes = self._replicas.write(ring, part, ask)
        outcomes = with_brought(outcomes, timestamp, Written(timestamp=timestamp))
        done = sum(each.error is None for each in outcomes)
        # Where there was none, there is a tombstone now: as good as deleted.
        missing = sum(isinstance(each.error, Missing) for each in outcomes)
        if done and done + missing >= majority(count):
            return
        self._settle(path, outcomes, majority(count))

    # --- Inside -------------------------------------------------------------------------------

    def _open_at(self, peer: Peer, path: ObjectPath, policy: int) -> Outcome[Found]:
        return attempt(lambda _, at: open_at(self._replicas.client, at, path, policy), 0, peer)

    def _settle(self, path: ObjectPath, outcomes: list[Outcome[Written]], needed: int) -> None:
        try:
            settle(outcomes, needed)
        except Missing as missing:
            raise Missing("object", path.object, missing.timestamp) from None

    def _tell(
        self,
        path: ObjectPath,
        number: int,
        count: int,
        metadata: Mapping[str, str],
        timestamp: Timestamp,
    ) -> list[Tell]:
        """Which listings replica `number` of `count` tells of a write."""
        tells = [self._tell_one(path.account, path.container, number, count, "")]
        if "x-delete-at" in metadata:
            at = int(metadata["x-delete-at"])
            container = str(at - at % _QUEUE_CONTAINER_SECONDS)
            name = f"{at:010d}-{path}"
            tells.append(self._tell_one(EXPIRING_ACCOUNT, container, number, count, name))
        return [tell for tell in tells if tell.peers]

    def _tell_one(self, account: str, container: str, number: int, count: int, name: str) -> Tell:
        ring = self._cluster.container_ring
        peers = self._replicas.peers(ring, ring.part(account, container))
        own = shared(number, peers, count)
        return Tell(account=account, container=container, name=name, peers=own)

    def _repair(
        self,
        ring: Ring,
        best: Outcome[Found],
        path: ObjectPath,
        policy: int,
        peers: list[Peer],
        outcomes: list[Outcome[Found]],
    ) -> None:
        lacking = [
            each.peer
            for each in outcomes
            if each.peer in peers
            and (
                isinstance(each.error, Missing)
                or (each.answer is not None and each.answer.version < best.answer.version)  # type: ignore[union-attr]
            )
        ]
        if not lacking:
            return
        asked = PushObject(
            device=best.peer.device, policy=policy, digest=ring.hash(*path), to=lacking
        )

        def push() -> None:
            with suppress(NodeFailed, ApiError):
                self._replicas.client.call(best.peer.address, "object_push", asked, Nothing)

        with suppress(RuntimeError):  # closing
            self._background.submit(push)


_FAILED = (NodeFailed, InsufficientStorage)


def _best(outcomes: list[Outcome[Found]]) -> Outcome[Found] | None:
    """The newest that was found, unless a newer deletion was."""
    found = [each for each in outcomes if each.answer is not None]
    if not found:
        return None
    best = max(found, key=lambda each: each.answer.version)  # type: ignore[union-attr]
    assert best.answer is not None
    gone = max(
        (each.error.timestamp for each in outcomes if isinstance(each.error, Missing)), default=""
    )
    return None if gone >= best.answer.timestamp else best


def _absent(path: ObjectPath, peers: list[Peer], outcomes: list[Outcome[Found]]) -> Exception:
    missing = [
        each.error
        for each in outcomes
        if isinstance(each.error, Missing) and (each.peer in peers or each.error.timestamp)
    ]
    gone = max((error.timestamp for error in missing), default="")
    if len(missing) >= majority(len(peers)) or gone:
        return Missing("object", path.object, gone)
    primary = [each for each in outcomes if each.peer in peers]
    return unavailable(primary, majority(len(peers)))
