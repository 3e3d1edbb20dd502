"""Mappings as they are kept: rules that were checked when they came in.

Read next: `rules.py`, what they mean.
In OpenStack: keystone/federation/core.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import changes
from nubelet.identity.federation.model import mapping
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Conflict, NotFound


def find(tx: Tx, identifier: str) -> Any:
    """The row of a mapping; raises NotFound."""
    row = tx.first(sa.select(mapping).where(mapping.c.id == identifier))
    if row is None:
        raise NotFound("mapping", identifier)
    return row


def create(ctx: Context, tx: Tx, identifier: str, values: Mapping[str, Any]) -> Any:
    """Insert a mapping (`rules`, `schema_version`); answers its row. Raises Conflict."""
    tx.lock("identity", "mapping", identifier)
    if tx.first(sa.select(mapping.c.id).where(mapping.c.id == identifier)) is not None:
        raise Conflict(f"There is a mapping {identifier} already.")
    tx.insert(
        mapping,
        id=identifier,
        rules=values["rules"],
        schema_version=values["schema_version"],
        created_at=clock.now(),
    )
    changes.record(ctx, tx, "mapping.created", identifier)
    return find(tx, identifier)


def update(ctx: Context, tx: Tx, identifier: str, values: Mapping[str, Any]) -> Any:
    """Replace the rules of a mapping; answers its row."""
    find(tx, identifier)
    tx.update(
        mapping,
        mapping.c.id == identifier,
        rules=values["rules"],
        schema_version=values["schema_version"],
    )
    changes.record(ctx, tx, "mapping.updated", identifier)
    return find(tx, identifier)


def delete(ctx: Context, tx: Tx, identifier: str) -> None:
    """Delete a mapping, also one that protocols name: nobody logs in by those then."""
    find(tx, identifier)
    tx.delete(mapping, mapping.c.id == identifier)
    changes.record(ctx, tx, "mapping.deleted", identifier)
