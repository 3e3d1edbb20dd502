"""Write an object to its replicas at once: as many as answer, a majority at least."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from nubelet.kernel.errors import ApiError, Conflict, InsufficientStorage, PreconditionFailed
from nubelet.object_store.cluster import wire
from nubelet.object_store.cluster.client import Client, Exchange, StaleConnection, understood
from nubelet.object_store.cluster.deciding import decide
from nubelet.object_store.cluster.messages import Peer, PutObject, Tell, Written
from nubelet.object_store.cluster.quorum import (
    Outcome,
    Replicas,
    majority,
    settle,
    unavailable,
    with_brought,
)
from nubelet.object_store.cluster.wire import NodeFailed
from nubelet.object_store.ring import Ring
from nubelet.object_store.storage import Finish, ObjectPath, Stored
from nubelet.object_store.storage.timestamps import Timestamp

_PIECE_BYTES = 1 << 20
# What a device says of a write that it did not link.
_REFUSED = (Conflict, PreconditionFailed)
_Answer = TypeVar("_Answer")


class Writer(Generic[_Answer]):
    """The stream to one device. `number`: of the replica; `error`: why it takes no more."""

    def __init__(self, number: int, peer: Peer, exchange: Exchange, type: type[_Answer]) -> None:
        self.number, self.peer, self._exchange, self._type = number, peer, exchange, type
        self.error: Exception | None = None
        self._may_have_ended = False

    def send(self, piece: bytes) -> None:
        """Send a piece, unless the stream has failed."""
        if self.error is None:
            try:
                self._exchange.send_piece(piece)
            except (NodeFailed, StaleConnection) as error:
                self.error = error

    def end(self, tail: wire.Tail) -> None:
        """End the body."""
        if self.error is None:
            self._may_have_ended = True
            try:
                self._exchange.send_end(tail)
            except (NodeFailed, StaleConnection) as error:
                self.error = error

    def outcome(self) -> Outcome[_Answer]:
        """What the device says, once it has the object on disk."""
        if self.error is None:
            try:
                answer = understood(self._exchange.finish(), self._type)
                return Outcome(self.peer, answer, None)
            except StaleConnection as error:
                self.error = NodeFailed(str(error))
            except (NodeFailed, ApiError) as error:
                self.error = error
        return Outcome(self.peer, None, self.error)

    def may_be_there(self, outcome: Outcome[_Answer]) -> bool:
        """Unless the body did not come to its end, or was refused before it was linked. A disk may
        be full right behind that."""
        return self._may_have_ended and not isinstance(outcome.error, _REFUSED)

    def close(self) -> None:
        """Keep the connection, or cut a body that did not come to its end."""
        self._exchange.close()


def write_object(
    replicas: Replicas,
    ring: Ring,
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
    """Store an object. Raises Outdated, PreconditionFailed, Conflict, InsufficientStorage and
    ServiceUnavailable; and what `body` or `finish` raise, with nothing left behind."""
    part = ring.part(*path)
    count = len(ring.nodes(part))
    needed = majority(count)
    name = secrets.token_hex(8) if expected is not None else ""

    def asked(number: int, peer: Peer) -> PutObject:
        return PutObject(
            device=peer.device,
            policy=policy,
            path=path,
            timestamp=timestamp,
            metadata=metadata,
            if_absent=expected == "",
            promise=name,
            tell=tell(number, count),
        )

    writers, refused = open_writers(replicas, ring, part, "object_put", asked, Written)
    try:
        if len(writers) < needed:
            settle(refused, needed)
            raise unavailable(refused, needed)
        md5, size = hashlib.md5(usedforsecurity=False), 0
        for piece in _pieces(body):
            md5.update(piece)
            size += len(piece)
            for writer in writers:
                writer.send(piece)
            if sum(writer.error is None for writer in writers) < needed:
                raise unavailable([writer.outcome() for writer in writers], needed)
        etag = md5.hexdigest()
        added = dict(finish(etag, size)) if finish else {}
        let_go: Callable[[], object] | None = None
        if expected is not None:
            let_go = decide(replicas, ring, path, policy, timestamp, expected, name)
        for writer in writers:
            writer.end(wire.Tail(etag=etag, metadata=added))
        outcomes = [writer.outcome() for writer in writers]
        if let_go is not None:
            if any(map(Writer.may_be_there, writers, outcomes)):
                _require_majority(outcomes, needed)
            let_go()
        outcomes = with_brought([*outcomes, *refused], timestamp, Written(timestamp=timestamp))
        settle(outcomes, needed)
        return Stored(added.get("etag", etag), size, timestamp)
    finally:
        for writer in writers:
            writer.close()


def _require_majority(outcomes: Sequence[Outcome[Written]], needed: int) -> None:
    """Where a write may have come to some devices nobody is told that it did not happen."""
    if sum(each.error is None for each in outcomes) < needed:
        raise unavailable(outcomes, needed)


def _pieces(body: Iterable[bytes]) -> Iterator[bytes]:
    for piece in body:
        for start in range(0, len(piece), _PIECE_BYTES):
            yield piece[start : start + _PIECE_BYTES]


def open_writers(
    replicas: Replicas,
    ring: Ring,
    part: int,
    call: str,
    asked: Callable[[int, Peer], Any],
    type: type[_Answer],
) -> tuple[list[Writer[_Answer]], list[Outcome[_Answer]]]:
    """Streams to the primary devices, or those that stand in for them; and who refused for a
    reason that no other device could mend."""
    spare = replicas.handoffs(ring, part)
    writers: list[Writer[_Answer]] = []
    refused: list[Outcome[_Answer]] = []
    for number, primary in enumerate(replicas.peers(ring, part)):
        peer: Peer | None = primary
        if replicas.client.is_shunned(primary.address):
            peer = next(spare, primary)
        failed: Outcome[_Answer] | None = None
        while peer is not None:
            try:
                exchange = _open_one(replicas.client, peer, call, asked(number, peer))
                writers.append(Writer(number, peer, exchange, type))
                break
            except (NodeFailed, InsufficientStorage) as error:
                failed = Outcome(peer, None, error)
                peer = next(spare, None)
            except ApiError as error:
                refused.append(Outcome(peer, None, error))
                break
        else:
            assert failed is not None
            refused.append(failed)
    return writers, refused


def _open_one(client: Client, peer: Peer, call: str, asked: Any) -> Exchange:
    for fresh in (False, True):
        exchange = Exchange(client, peer.address, call, asked, fresh=fresh)
        try:
            exchange.send_head(None, expects=True)
            exchange.may_send()
            return exchange
        except StaleConnection:
            exchange.close()
        except BaseException:
            exchange.close()
            raise
    raise NodeFailed("unreachable")
