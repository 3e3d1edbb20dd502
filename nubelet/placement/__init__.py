"""Placement: what there is, who has it, where more would fit.

In OpenStack: the placement service. Read README.md, then `capacity.py` and `allocations.py`.
"""

from __future__ import annotations

from nubelet.kernel.http.dialects import PLACEMENT
from nubelet.kernel.service import Service
from nubelet.placement.allocations import allocations_of, claim, release, usages, usages_of
from nubelet.placement.api import ROUTES
from nubelet.placement.candidates import CandidateRequest, Candidates, candidates
from nubelet.placement.check import check
from nubelet.placement.inventories import set_inventory
from nubelet.placement.policy import RULES
from nubelet.placement.providers import (
    aggregates_of,
    ensure_provider,
    remove_provider,
    set_aggregates,
    set_traits,
    traits_of,
)
from nubelet.placement.versions import MICROVERSIONS

SERVICE = Service(
    name="placement",
    type="placement",
    title="Placement service",
    mount="/placement",
    endpoint="/placement",
    dialect=PLACEMENT.with_versions(MICROVERSIONS),
    routes=ROUTES,
    rules=RULES,
    check=check,
)

__all__ = [
    "SERVICE",
    "CandidateRequest",
    "Candidates",
    "aggregates_of",
    "allocations_of",
    "candidates",
    "claim",
    "ensure_provider",
    "release",
    "remove_provider",
    "set_aggregates",
    "set_inventory",
    "set_traits",
    "traits_of",
    "usages",
    "usages_of",
]
