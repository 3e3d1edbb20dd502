"""Forgetting: how long the journal, the events and the request log are kept.

Read next: `operations/journal.py`, `events.py`, `requests.py`, whose `prune` this calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nubelet.kernel import clock, events, requests
from nubelet.kernel.database import Tx
from nubelet.kernel.operations import journal
from nubelet.kernel.reconcile import Reconciler

if TYPE_CHECKING:
    from nubelet.kernel.cloud import Cloud

_DAY_MICROS = 86_400 * 1_000_000
_BATCH = 500


@dataclass(frozen=True)
class Retention:
    """How many days things are kept after they ended."""

    operations_days: float = 30
    events_days: float = 7
    requests_days: float = 30


def housekeeper(retention: Retention = Retention()) -> Reconciler:
    """The reconciler that forgets what is old, in small transactions."""
    prunes: tuple[tuple[Callable[[Tx, int, int], int], float], ...] = (
        (journal.prune, retention.operations_days),
        (events.prune, retention.events_days),
        (requests.prune, retention.requests_days),
    )

    def run(cloud: Cloud) -> None:
        for prune, days in prunes:
            before = clock.now() - round(days * _DAY_MICROS)
            gone = _BATCH
            while gone == _BATCH:
                with cloud.database.write() as tx:
                    gone = prune(tx, before, _BATCH)

    return Reconciler("housekeeping", 3600.0, run)
