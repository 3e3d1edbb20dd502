"""Ask several replicas, and what their answers mean together.

A write is done when a majority of the replicas has it: then any later majority contains one that
knows. Where a replica's device does not answer, another device stands in (a *handoff*) and hands it
over later. A read takes the first good answer.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from nubelet.kernel.errors import ApiError, InsufficientStorage, ServiceUnavailable
from nubelet.kernel.log import bound, request_id
from nubelet.object_store.cluster.client import Client
from nubelet.object_store.cluster.messages import Peer
from nubelet.object_store.cluster.wire import NodeFailed
from nubelet.object_store.ring import Ring
from nubelet.object_store.storage import Missing, Outdated
from nubelet.object_store.storage.timestamps import Timestamp

log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
# What a replica cannot take another device may.
_REPLACED = (NodeFailed, InsufficientStorage)
# A reader asks the next replica: this one does not have it, or cannot say so now.
_NEXT = (Missing, NodeFailed, InsufficientStorage, ServiceUnavailable)


def majority(count: int) -> int:
    """More than half."""
    return count // 2 + 1


class Outcome(NamedTuple, Generic[_Answer]):
    """What one replica answered: an answer or an error."""

    peer: Peer
    answer: _Answer | None
    error: Exception | None


def settle(outcomes: Sequence[Outcome[_Answer]], needed: int) -> list[_Answer]:
    """The good answers, when they are enough; else raises what most of the replicas said."""
    good = [each.answer for each in outcomes if each.error is None]
    if len(good) >= needed:
        log.debug("%d of %d replicas answered, %d are needed", len(good), len(outcomes), needed)
        return good  # type: ignore[return-value] # no error: an answer
    errors = [each.error for each in outcomes if each.error is not None]
    outdated = [error for error in errors if isinstance(error, Outdated)]
    if len(outdated) >= needed:
        raise max(outdated, key=lambda error: error.newest)
    for kind in {type(error) for error in errors if isinstance(error, ApiError)}:
        same = [error for error in errors if type(error) is kind]
        if len(same) >= needed:
            raise same[0]
    if sum(isinstance(error, InsufficientStorage) for error in errors) >= needed:
        raise InsufficientStorage("The devices are full.")
    raise unavailable(outcomes, needed)


def with_brought(
    outcomes: Sequence[Outcome[_Answer]], timestamp: Timestamp, answer: _Answer
) -> list[Outcome[_Answer]]:
    """A replicator may bring a write from the first device that has it to another one before the
    call comes there, which then refuses it as outdated. It has it all the same."""
    if all(each.error is not None for each in outcomes):
        return list(outcomes)
    return [
        Outcome(each.peer, answer, None)
        if isinstance(each.error, Outdated) and each.error.newest == timestamp
        else each
        for each in outcomes
    ]


def unavailable(outcomes: Sequence[Outcome[Any]], needed: int) -> ServiceUnavailable:
    """Too few replicas answered."""
    good = sum(each.error is None for each in outcomes)
    causes = [f"{each.peer}: {each.error}" for each in outcomes if each.error is not None]
    told = "%d of %d replicas answered, %d are needed: %s"
    log.warning(told, good, len(outcomes), needed, "; ".join(causes))
    return ServiceUnavailable(
        f"{good} of {len(outcomes)} replicas answered; {needed} are needed. Please try again."
    )


class Replicas:
    """Asks the replicas of a partition."""

    def __init__(self, client: Client, pool: ThreadPoolExecutor) -> None:
        self.client, self._pool = client, pool

    def peers(self, ring: Ring, part: int) -> list[Peer]:
        """The primary devices, by number of the replica."""
        return [Peer.of(device) for device in ring.nodes(part)]

    def handoffs(self, ring: Ring, part: int) -> Iterator[Peer]:
        """Devices that stand in, those of shunned nodes last."""
        late = []
        for device in ring.handoffs(part):
            peer = Peer.of(device)
            if self.client.is_shunned(peer.address):
                late.append(peer)
            else:
                yield peer
        yield from late

    def for_reading(self, ring: Ring, part: int) -> tuple[list[Peer], Iterator[Peer]]:
        """The primary devices in the order to ask, and some that may stand in for them."""
        peers = self.peers(ring, part)
        random.shuffle(peers)
        peers.sort(key=lambda peer: self.client.is_shunned(peer.address))
        return peers, islice(self.handoffs(ring, part), 2 * len(peers))

    def write(
        self,
        ring: Ring,
        part: int,
        ask: Callable[[int, Peer], _Answer],
        *,
        stand_in: bool = True,
    ) -> list[Outcome[_Answer]]:
        """Ask all primary devices at once, and handoffs for those that fail. `ask`: with the
        number of the replica."""
        peers = self.peers(ring, part)
        request = request_id()

        def ask_in_pool(at: tuple[int, Peer]) -> Outcome[_Answer]:
            with bound(request_id=request):
                return attempt(ask, *at)

        outcomes = list(self._pool.map(ask_in_pool, enumerate(peers)))
        if not stand_in:
            return outcomes
        spare = self.handoffs(ring, part)
        for place in range(len(outcomes)):
            while isinstance(outcomes[place].error, _REPLACED):
                peer = next(spare, None)
                if peer is None:
                    break
                outcomes[place] = attempt(ask, place, peer)
        return outcomes

    def newest(
        self,
        ring: Ring,
        part: int,
        ask: Callable[[Peer], _Answer],
        as_of: Callable[[_Answer], Timestamp],
    ) -> _Answer | None:
        """The newest answer of all primary devices; None where none has one. Raises Missing where
        the newest that is known is a deletion."""
        outcomes = self.write(ring, part, lambda _, peer: ask(peer), stand_in=False)
        found = [each.answer for each in outcomes if each.answer is not None]
        best = max(found, key=as_of, default=None)
        gone = [each.error for each in outcomes if isinstance(each.error, Missing)]
        last = max(gone, key=lambda error: error.timestamp, default=None)
        # Nodes of an earlier release do not say when they learned something last.
        if best is not None and last is not None and "" < as_of(best) < last.timestamp:
            raise last
        return best

    def read(
        self,
        ring: Ring,
        part: int,
        ask: Callable[[Peer], _Answer],
        made: Callable[[Peer], Timestamp],
    ) -> _Answer:
        """The first good answer. Raises Missing when a majority of the primary devices says so.
        `made`: when, as a device knows, that was made which is asked for."""
        peers, spare = self.for_reading(ring, part)
        outcomes: list[Outcome[_Answer]] = []
        for peer in peers:
            outcome = attempt(lambda _, peer: ask(peer), 0, peer)
            if outcome.error is None:
                return outcome.answer  # type: ignore[return-value]
            if not isinstance(outcome.error, _NEXT):
                raise outcome.error
            outcomes.append(outcome)
        missing = [each.error for each in outcomes if isinstance(each.error, Missing)]
        gone = max((error.timestamp for error in missing), default="")

        def ask_spare(_: int, peer: Peer) -> _Answer:
            # What stood in when it was made need not have heard of its deletion.
            if gone and made(peer) <= gone:
                raise Missing("", "", gone)
            return ask(peer)

        for peer in islice(spare, len(peers)):  # it may be on a device that stands in
            outcome = attempt(ask_spare, 0, peer)
            if outcome.error is None:
                return outcome.answer  # type: ignore[return-value]
        if len(missing) >= majority(len(peers)):
            raise max(missing, key=lambda error: error.timestamp)
        raise unavailable(outcomes, majority(len(peers)))


def attempt(ask: Callable[[int, Peer], _Answer], number: int, peer: Peer) -> Outcome[_Answer]:
    """Ask one device."""
    try:
        return Outcome(peer, ask(number, peer), None)
    except (NodeFailed, ApiError) as error:
        return Outcome(peer, None, error)


def shared(number: int, peers: Sequence[Peer], count: int) -> list[Peer]:
    """Which of `peers` replica `number` of `count` tells: together all, each by one."""
    return [peer for place, peer in enumerate(peers) if place % count == number]
