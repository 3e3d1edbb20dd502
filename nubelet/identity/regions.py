"""Regions are a forest: each may be in another.

In OpenStack: keystone/catalog/core.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from nubelet.identity.model import region
from nubelet.kernel.database import Tx


def parents(tx: Tx) -> dict[str, str | None]:
    """The region above each region."""
    return {
        row.id: row.parent_region_id
        for row in tx.all(sa.select(region.c.id, region.c.parent_region_id))
    }


def line(above: Mapping[str, str | None], identifier: str) -> list[str]:
    """A region and all above it, nearest first."""
    found: list[str] = []
    at: str | None = identifier
    while at is not None and at not in found:
        found.append(at)
        at = above.get(at)
    return found
