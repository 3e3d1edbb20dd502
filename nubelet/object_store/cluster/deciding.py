"""Of several writers who expect the same of an object, one may write: a majority decides.

Asked are the devices that the object belongs to and no others: two majorities of them share one
(`promises.py`). So with a majority of them away writes with conditions are refused, where others
find devices that stand in.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from nubelet.kernel.errors import Conflict, PreconditionFailed
from nubelet.object_store.cluster.messages import Nothing, Peer, PromiseObject
from nubelet.object_store.cluster.quorum import Outcome, Replicas, majority, settle
from nubelet.object_store.ring import Ring
from nubelet.object_store.storage import ObjectPath, Outdated
from nubelet.object_store.storage.timestamps import Timestamp

# How long to wait for others who are about to write.
_PATIENCE_SECONDS = 15.0


def decide(
    replicas: Replicas,
    ring: Ring,
    path: ObjectPath,
    policy: int,
    timestamp: Timestamp,
    expected: Timestamp,
    writer: str,
) -> Callable[[], object]:
    """From now on a majority of the devices waits for this write and takes no other that expects
    the same. Raises PreconditionFailed, Conflict and ServiceUnavailable.

    What is returned takes back the promises that were not used. It is for who knows what became of
    the write: that it came to no device, or to a majority. One that may have come to a few replaces
    what is older as soon as it is replicated, so nothing older may be decided; then promises are
    left, and end by themselves (`promises.py`)."""
    part = ring.part(*path)
    needed = majority(len(ring.nodes(part)))

    def ask(call: str, peer: Peer) -> Nothing:
        asked = PromiseObject(
            device=peer.device,
            policy=policy,
            path=path,
            timestamp=timestamp,
            expected=expected,
            writer=writer,
        )
        return replicas.client.call(peer.address, call, asked, Nothing)

    def ask_all(call: str) -> list[Outcome[Nothing]]:
        return replicas.write(ring, part, lambda _, peer: ask(call, peer), stand_in=False)

    until = time.monotonic() + _PATIENCE_SECONDS
    try:
        while not _is_decided(ask_all("object_promise"), needed, time.monotonic() > until):
            # Writers who each have some of the promises let go of them, for different times.
            ask_all("object_unpromise")
            time.sleep(random.uniform(0.01, 0.2))  # noqa: S311 - no secret
    except BaseException:  # nothing was written
        ask_all("object_unpromise")
        raise
    return lambda: ask_all("object_unpromise")


def _is_decided(outcomes: list[Outcome[Nothing]], needed: int, is_late: bool) -> bool:
    """May the writer write? False: not yet; raises why he may not."""
    errors = [each.error for each in outcomes]
    if errors.count(None) >= needed:
        return True
    changed = [error for error in errors if isinstance(error, PreconditionFailed)]
    if len(changed) >= needed:
        raise changed[0]
    busy = [error for error in errors if type(error) is Conflict]
    if busy and is_late:
        raise busy[0]
    if busy:
        return False
    try:
        settle(outcomes, needed)
    except Outdated as outdated:
        raise Conflict(f"What is stored is newer: of {outdated.newest}.") from None
    return False
