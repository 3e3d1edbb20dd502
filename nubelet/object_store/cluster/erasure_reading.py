"""Read an erasure-coded object: any enough of its fragments, segment by segment.

The fragments with the object's own bytes are asked for first: nothing has to be computed then.
Where a device does not answer, or a fragment is damaged, another one takes its place from that
segment on.
"""

from __future__ import annotations

from collections.abc import Iterator

from nubelet.kernel.errors import ApiError, ServiceUnavailable
from nubelet.object_store.cluster.client import Client, Exchange
from nubelet.object_store.cluster.erasure import MARK, Coding, CodingError
from nubelet.object_store.cluster.messages import ObjectFolder, Peer, ReadFragment
from nubelet.object_store.cluster.quorum import Replicas
from nubelet.object_store.cluster.wire import NodeFailed
from nubelet.object_store.ring import Ring
from nubelet.object_store.storage import Metadata


class _Fragment:
    """A stream of one fragment, from some segment on."""

    def __init__(self, client: Client, peer: Peer, asked: ReadFragment) -> None:
        """Raises NodeFailed, Missing."""
        self.index = asked.index
        self._exchange = Exchange(client, peer.address, "fragment_read", asked)
        self._buffer = bytearray()
        try:
            self._exchange.send_head(0)
            self._exchange.open()
            self._pieces = self._exchange.pieces()
        except BaseException:
            self._exchange.close()
            raise

    def take(self, size: int) -> bytes:
        """The next bytes; raises NodeFailed."""
        while len(self._buffer) < size:
            piece = next(self._pieces, None)
            if piece is None:
                raise NodeFailed("the fragment is too short")
            self._buffer += piece
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def close(self) -> None:
        """Keep or close the connection."""
        self._exchange.close()


class CodedObject:
    """`OpenObject` of an erasure-coded policy."""

    def __init__(
        self,
        replicas: Replicas,
        ring: Ring,
        policy: int,
        digest: str,
        metadata: Metadata,
    ) -> None:
        self._replicas, self._ring, self._policy, self._digest = replicas, ring, policy, digest
        self.coding = Coding.marked(metadata[MARK])
        self._timestamp = metadata["x-backend-data-timestamp"]
        self.metadata = metadata
        self.size = int(metadata["content-length"])

    def read(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See OpenObject. Raises ServiceUnavailable when too few fragments are to be had."""
        end = self.size if end is None else min(end, self.size)
        if start >= end:
            return
        size = self.coding.segment_bytes
        first, last = start // size, (end - 1) // size
        for number, segment in enumerate(self.segments(first, last), first):
            begin = max(start - number * size, 0)
            yield segment[begin : end - number * size]

    def close(self) -> None:
        """Nothing is held."""

    def segments(self, first: int, last: int) -> Iterator[bytes]:
        """Whole segments, both ends included."""
        candidates = self._candidates()
        open_now: dict[int, _Fragment] = {}
        try:
            for number in range(first, last + 1):
                yield self._segment(number, last, open_now, candidates)
        finally:
            for fragment in open_now.values():
                fragment.close()

    def _segment(
        self,
        number: int,
        last: int,
        open_now: dict[int, _Fragment],
        candidates: Iterator[tuple[Peer, int]],
    ) -> bytes:
        size = self.coding.segment_size(number, self.size)
        length = self.coding.fragment_size(size)
        good: dict[int, bytes] = {}
        while len(good) < self.coding.data:
            for index in [index for index in open_now if index not in good]:
                try:
                    data = open_now[index].take(length)
                    if not self.coding.is_good(data, index):
                        raise CodingError("a damaged fragment")
                    good[index] = data
                except (NodeFailed, ApiError, CodingError):
                    open_now.pop(index).close()
            if len(good) < self.coding.data:
                fragment = self._next(number, last, set(open_now) | set(good), candidates)
                open_now[fragment.index] = fragment
        try:
            return self.coding.decode(list(good.values()))
        except CodingError as error:
            raise ServiceUnavailable("The object cannot be read at the moment.") from error

    def _next(
        self, number: int, last: int, used: set[int], candidates: Iterator[tuple[Peer, int]]
    ) -> _Fragment:
        full = self.coding.fragment_size(self.coding.segment_bytes)
        for peer, index in candidates:
            if index in used:
                continue
            asked = ReadFragment(
                device=peer.device,
                policy=self._policy,
                digest=self._digest,
                timestamp=self._timestamp,
                index=index,
                start=number * full,
                end=(last + 1) * full,
            )
            try:
                return _Fragment(self._replicas.client, peer, asked)
            except (NodeFailed, ApiError):
                continue
        raise ServiceUnavailable("Too few fragments of the object are to be had at the moment.")

    def _candidates(self) -> Iterator[tuple[Peer, int]]:
        """Where fragments should be, then wherever one is."""
        part = int(self._digest[:8], 16) >> (32 - self._ring.part_power)
        primary = self._replicas.peers(self._ring, part)
        client = self._replicas.client
        late = []
        for index, peer in enumerate(primary):
            if client.is_shunned(peer.address):
                late.append((peer, index))
            else:
                yield peer, index
        for peer in [*primary, *self._replicas.handoffs(self._ring, part)]:
            asked = ObjectFolder(device=peer.device, policy=self._policy, digest=self._digest)
            try:
                names = client.call(
                    peer.address, "fragment_names", asked, list[tuple[str, int]], seconds=2.0
                )
            except (NodeFailed, ApiError):
                continue
            yield from ((peer, index) for time, index in names if time == self._timestamp)
        yield from late
