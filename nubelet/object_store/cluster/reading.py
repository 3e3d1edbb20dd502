"""Read an object from a storage node, and go on at another one when that breaks off."""

from __future__ import annotations

from collections.abc import Iterator

from nubelet.kernel.errors import ApiError, ServiceUnavailable
from nubelet.object_store.cluster.client import Client, Exchange, StaleConnection, understood
from nubelet.object_store.cluster.messages import GOOD, Opened, OpenObject, Peer, ReadObject
from nubelet.object_store.cluster.quorum import Outcome, Replicas
from nubelet.object_store.cluster.wire import NodeFailed
from nubelet.object_store.ring import Ring
from nubelet.object_store.storage import Metadata, ObjectPath
from nubelet.object_store.storage.timestamps import Timestamp

# An object of no more bytes is looked at as a whole before any of it is given out.
_HELD_BYTES = 1 << 20


class Found:
    """An object on a node. `timestamp`: of its data; `version`: orders replicas, also by the
    last POST; `data`: its bytes, when they are few."""

    def __init__(self, metadata: Metadata, size: int, data: bytes | None) -> None:
        self.metadata, self.size, self.data = metadata, size, data
        self.timestamp: Timestamp = metadata["x-backend-data-timestamp"]
        self.version = (self.timestamp, metadata["x-timestamp"])


def open_at(client: Client, peer: Peer, path: ObjectPath, policy: int) -> Found:
    """What a node has of an object. Raises Missing, NodeFailed."""
    asked = OpenObject(device=peer.device, policy=policy, path=path)
    for fresh in (False, True):
        exchange = Exchange(client, peer.address, "object_open", asked, fresh=fresh)
        try:
            exchange.send_head(0)
            opened = understood(exchange.open(), Opened)
            data = b"".join(exchange.pieces())
            return Found(opened.metadata, opened.size, data if opened.inline else None)
        except StaleConnection:
            continue
        finally:
            exchange.close()
    raise NodeFailed("unreachable")


class ClusterObject:
    """`OpenObject` of a cluster. It holds no connection while nothing is read."""

    def __init__(
        self,
        replicas: Replicas,
        ring: Ring,
        path: ObjectPath,
        policy: int,
        found: Outcome[Found],
    ) -> None:
        assert found.answer is not None
        self._replicas, self._ring, self._path, self._policy = replicas, ring, path, policy
        self._peer, self._found = found.peer, found.answer
        self.metadata = found.answer.metadata
        self.size = found.answer.size

    def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See OpenObject. Raises ServiceUnavailable when no replica can go on, or when what was
        given out already turns out to be damaged: a reader gets all that was written, or sees
        that it did not."""
        end = self.size if end is None else min(end, self.size)
        if self._found.data is not None:
            if start < end:
                yield self._found.data[start:end]
            return
        first = start
        for peer in self._sources():
            try:
                for piece in self._pieces(peer, start, end):
                    start += len(piece)
                    yield piece
            except _Damaged:
                if start > first:
                    break
            except (NodeFailed, ApiError):
                continue
            if start >= end:
                return
        raise ServiceUnavailable("The object cannot be read at the moment. Please try again.")

    def close(self) -> None:
        """Nothing is held."""

    def _sources(self) -> Iterator[Peer]:
        yield self._peer
        peers, spare = self._replicas.for_reading(self._ring, self._ring.part(*self._path))
        yield from (peer for peer in peers if peer != self._peer)
        yield from spare

    def _pieces(self, peer: Peer, start: int, end: int) -> Iterator[bytes]:
        asked = ReadObject(
            device=peer.device,
            policy=self._policy,
            path=self._path,
            timestamp=self._found.timestamp,
            start=start,
            end=end,
        )
        exchange = Exchange(self._replicas.client, peer.address, "object_read", asked)
        try:
            exchange.send_head(0)
            exchange.open()
            yield from _held_back(exchange.pieces(), end - start)
        finally:
            exchange.close()


class _Damaged(Exception):  # noqa: N818 - a state of a replica
    """The bytes that a node sent are not what was written; it has put its replica aside."""


def _held_back(pieces: Iterator[bytes], left: int) -> Iterator[bytes]:
    """The bytes of an answer, of which the last are given out only when all are good."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        if left < len(piece):  # the last byte of the answer is here
            if piece[-1:] != GOOD:
                raise _Damaged
            piece = piece[:-1]  # noqa: PLW2901
        left -= len(piece)
        held.append(piece)
        size += len(piece)
        while size > _HELD_BYTES and left >= 0 and len(held) > 1:
            size -= len(held[0])
            yield held.pop(0)
    yield from (piece for piece in held if piece)
