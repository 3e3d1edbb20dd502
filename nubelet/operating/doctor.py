"""Is the cloud whole? Every service's invariants over database, hosts, networks and disks.

Each finding is a sentence that names what is wrong with which thing. A check that itself fails
is a finding too.
"""

from __future__ import annotations

import logging

from nubelet.kernel import clock, guards, reconcile
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.operations import journal

log = logging.getLogger(__name__)


def examine(cloud: Cloud) -> dict[str, list[str]]:
    """Service -> findings; nothing found is an empty list."""
    findings = {"operations": _operations(cloud), "reconcilers": _reconcilers(cloud)}
    with guards.node_calls_allowed():  # checks only observe
        for service in cloud.services.values():
            if service.check is None:
                continue
            try:
                findings[service.name] = service.check(cloud)
            except Exception as error:
                log.exception("the check of %s failed", service.name)
                findings[service.name] = [f"the check itself failed: {error}"]
    return findings


def _operations(cloud: Cloud) -> list[str]:
    """Operations that do not go on, and undos that keep failing."""
    kinds = {kind.kind for service in cloud.services.values() for kind in service.operations}
    with cloud.database.read() as tx:
        return journal.problems(tx, kinds)


def _reconcilers(cloud: Cloud) -> list[str]:
    """Loops that fail, that hang, and that nobody runs any more."""
    periods = {
        loop.name: loop.period_seconds
        for service in cloud.services.values()
        for loop in service.reconcilers
    }
    with cloud.database.read() as tx:
        statuses = reconcile.statuses(tx)
    found = (_reconciler(status, periods.get(status.name)) for status in statuses)
    return [sentence for sentence in found if sentence]


def _reconciler(status: reconcile.Status, period: float | None) -> str:
    """What is wrong with a loop, or empty. `period`: None for those of single machines, which may
    be gone for good."""
    loop = f"reconciler {status.name}"
    now, started, finished = clock.now(), status.started_at or 0, status.finished_at or 0
    patience = (3 * (period or 0) + _LATE_SECONDS) * 1e6
    if started > finished and status.lease_until > now:
        since = clock.iso_seconds(started)
        if now - started > patience:
            return f"{loop} runs since {since} and does not end: {status.error}"
        if status.failures:
            times = f"{status.failures} times in a row"
            return f"{loop} failed {times} and runs again since {since}: {status.error}"
        return ""
    last = max(started, finished)
    is_late = period is not None and last and now - last > patience
    if status.failures:
        is_left = is_late and now - last > patience + reconcile.MAX_BACKOFF_SECONDS * 1e6
        stopped = f"; it was last tried at {clock.iso_seconds(last)}" if is_left else ""
        return (
            f"{loop} failed {status.failures} times in a row since {clock.iso_seconds(started)}: "
            f"{status.error}{stopped}"
        )
    if is_late:
        since = clock.iso_seconds(last)
        return f"{loop} has not run since {since}; it should every {period:g} s"
    return ""


_LATE_SECONDS = 90.0  # good results are written down half a minute apart
