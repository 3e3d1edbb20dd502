"""`choose`: placement's candidates, filters, weights, and a claim on the best host that has room.

All of it in one transaction: two servers never take the same last room, and whoever is refused
learns why for each host.

In OpenStack: nova/scheduler/manager.py SchedulerManager.select_destinations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nubelet import placement
from nubelet.compute.scheduling import filters, weights
from nubelet.compute.scheduling.hosts import Host, all_hosts
from nubelet.compute.scheduling.request import HostRequest
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Conflict
from nubelet.settings import Settings

_SHORT = 200  # characters; what is longer tells each reason once


def _told(reasons: Mapping[str, str]) -> str:
    """Why not, for each host; of many hosts each reason once, so that none is cut off."""
    told = "; ".join(f"{host}: {reason}" for host, reason in sorted(reasons.items()))
    if len(told) <= _SHORT:
        return told
    hosts: dict[str, list[str]] = {}
    for host, reason in sorted(reasons.items()):
        hosts.setdefault(reason, []).append(host)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in hosts.items())


class NoValidHost(Exception):  # noqa: N818 - the name that users know
    """No host will do. `reasons`: host -> why not."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        told = _told(self.reasons)
        self.message = f"No valid host was found. {told or 'There are no hosts.'}"
        super().__init__(self.message)


@dataclass(frozen=True)
class Choice:
    """The chosen host, what was claimed of it, and why not the others."""

    host: str
    zone: str
    weight: float
    reasons: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        others = _told(self.reasons)
        return f"chose {self.host} (weight {self.weight:.2f})" + (f"; {others}" if others else "")


def choose(settings: Settings, tx: Tx, request: HostRequest) -> Choice:
    """Choose a host and claim its resources for the server; raises NoValidHost."""
    reasons: dict[str, str] = {}
    fitting: list[Host] = []
    for host in all_hosts(settings, tx):
        reason = filters.reason_against(host, request)
        if reason:
            reasons[host.name] = reason
        else:
            fitting.append(host)
    if not fitting:
        raise NoValidHost(reasons)
    amounts, short = _candidates(tx, fitting, request)
    reasons |= short
    competing = [host for host in fitting if host.name not in short]
    if not competing:
        raise NoValidHost(reasons)
    for host, weight in weights.rank(competing, request, settings.compute.weights):
        try:
            placement.claim(
                tx,
                request.server_id,
                amounts[host.provider_id],
                project_id=request.project_id,
                user_id=request.user_id,
            )
        except Conflict as conflict:  # on PostgreSQL somebody may have been faster
            reasons[host.name] = conflict.message
            continue
        return Choice(host.name, host.zone, weight, reasons)
    raise NoValidHost(reasons)


def _candidates(
    tx: Tx,
    hosts: list[Host],
    request: HostRequest,
) -> tuple[dict[str, dict[str, dict[str, int]]], dict[str, str]]:
    """Provider id -> the claim on it (per provider of its tree); host -> why it has no room."""
    asked = placement.CandidateRequest(
        resources=dict(request.resources), required=request.required, forbidden=request.forbidden
    )
    found = placement.candidates(tx, asked)
    amounts = _by_root(found, {host.provider_id for host in hosts})
    short = {
        host.name: _in_words(found.reasons.get(host.provider_id))
        for host in hosts
        if host.provider_id not in amounts
    }
    return amounts, short


def _by_root(found: Any, wanted: set[str]) -> dict[str, dict[str, dict[str, int]]]:
    amounts: dict[str, dict[str, dict[str, int]]] = {}
    for candidate in found.requests:
        roots = wanted & candidate.keys()
        for root in roots:
            amounts.setdefault(
                root, {provider_id: dict(resources) for provider_id, resources in candidate.items()}
            )
    return amounts


def _in_words(reason: Any) -> str:
    if not reason:
        return "has nothing of what is asked for"
    return reason if isinstance(reason, str) else "; ".join(reason)
