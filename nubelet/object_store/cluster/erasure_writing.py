"""Write an erasure-coded object: the fragments, then the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from nubelet.object_store.cluster.erasure import MARK, Coding
from nubelet.object_store.cluster.messages import Nothing, Peer, PutFragment, Tell
from nubelet.object_store.cluster.quorum import Replicas, settle, unavailable
from nubelet.object_store.cluster.wire import Tail
from nubelet.object_store.cluster.writing import open_writers, write_object
from nubelet.object_store.ring import Ring
from nubelet.object_store.storage import Finish, ObjectPath, Stored
from nubelet.object_store.storage.timestamps import Timestamp


def write_coded(
    replicas: Replicas,
    ring: Ring,
    coding: Coding,
    path: ObjectPath,
    policy: int,
    timestamp: Timestamp,
    metadata: dict[str, str],
    body: Iterable[bytes],
    *,
    finish: Finish | None,
    expected: Timestamp | None,
    tell: Callable[[int, int], list[Tell]],
) -> Stored:
    """Store an object. Raises what `write_object` does."""
    length = metadata.pop("content-length", "")
    share = coding.fragment_size(coding.segment_bytes) / coding.segment_bytes
    room = int(int(length) * share) if length.isdigit() else 0
    digest = ring.hash(*path)

    def asked(index: int, peer: Peer) -> PutFragment:
        return PutFragment(
            device=peer.device,
            policy=policy,
            digest=digest,
            timestamp=timestamp,
            index=index,
            size=room,
        )

    writers, refused = open_writers(
        replicas, ring, ring.part(*path), "fragment_put", asked, Nothing
    )
    try:
        if len(writers) < coding.needed:
            settle(refused, coding.needed)
            raise unavailable(refused, coding.needed)
        md5, size = hashlib.md5(usedforsecurity=False), 0
        sums = [hashlib.md5(usedforsecurity=False) for _ in range(coding.count)]
        for segment in segments(body, coding.segment_bytes):
            md5.update(segment)
            size += len(segment)
            fragments = coding.encode(segment)
            for writer in writers:
                sums[writer.number].update(fragments[writer.number])
                writer.send(fragments[writer.number])
            if sum(writer.error is None for writer in writers) < coding.needed:
                raise unavailable([writer.outcome() for writer in writers], coding.needed)
        etag = md5.hexdigest()
        added = dict(finish(etag, size)) if finish else {}
        for writer in writers:
            writer.end(Tail(etag=sums[writer.number].hexdigest()))
        settle([*(writer.outcome() for writer in writers), *refused], coding.needed)
    finally:
        for writer in writers:
            writer.close()
    manifest = {"etag": etag, "content-length": str(size), **added, MARK: coding.mark}
    write_object(
        replicas,
        ring,
        path,
        policy,
        timestamp,
        metadata,
        (),
        finish=lambda _md5, _size: manifest,
        expected=expected,
        tell=tell,
    )
    return Stored(manifest["etag"], size, timestamp)


def segments(body: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The body in segments; the last one may be shorter."""
    held = bytearray()
    for piece in body:
        held += piece
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)
