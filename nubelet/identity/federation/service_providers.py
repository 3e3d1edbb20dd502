"""Service providers: other clouds that our users may enter with an assertion of ours (K2K).

Tokens list those that are enabled, so that clients know where they can go.

In OpenStack: keystone/federation/core.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import changes
from nubelet.identity.federation.model import service_provider
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Conflict, NotFound

RELAY_STATE_PREFIX = "ss:mem:"  # what Shibboleth understands as "kept in memory"


def find(tx: Tx, identifier: str) -> Any:
    """The row of a service provider; raises NotFound."""
    row = tx.first(sa.select(service_provider).where(service_provider.c.id == identifier))
    if row is None:
        raise NotFound("service provider", identifier)
    return row


def create(ctx: Context, tx: Tx, identifier: str, values: Mapping[str, Any]) -> Any:
    """Insert a service provider; answers its row. Raises Conflict."""
    tx.lock("identity", "service_provider", identifier)
    found = sa.select(service_provider.c.id).where(service_provider.c.id == identifier)
    if tx.first(found) is not None:
        raise Conflict(f"There is a service provider {identifier} already.")
    tx.insert(
        service_provider,
        id=identifier,
        auth_url=values["auth_url"],
        sp_url=values["sp_url"],
        description=values.get("description"),
        enabled=values.get("enabled", False),
        relay_state_prefix=values.get("relay_state_prefix") or RELAY_STATE_PREFIX,
        created_at=clock.now(),
    )
    changes.record(ctx, tx, "service_provider.created", identifier)
    return find(tx, identifier)


def update(ctx: Context, tx: Tx, identifier: str, values: Mapping[str, Any]) -> Any:
    """Change a service provider; answers its row."""
    find(tx, identifier)
    changed = dict(values)
    if "relay_state_prefix" in changed:
        changed["relay_state_prefix"] = changed["relay_state_prefix"] or RELAY_STATE_PREFIX
    tx.update(service_provider, service_provider.c.id == identifier, **changed)
    changes.record(ctx, tx, "service_provider.updated", identifier)
    return find(tx, identifier)


def delete(ctx: Context, tx: Tx, identifier: str) -> None:
    """Delete a service provider."""
    find(tx, identifier)
    tx.delete(service_provider, service_provider.c.id == identifier)
    changes.record(ctx, tx, "service_provider.deleted", identifier)


def for_tokens(tx: Tx) -> list[dict[str, str]]:
    """The enabled ones as tokens show them."""
    shown = (service_provider.c.id, service_provider.c.auth_url, service_provider.c.sp_url)
    return [
        {"id": row.id, "auth_url": row.auth_url, "sp_url": row.sp_url}
        for row in tx.all(
            sa.select(*shown).where(service_provider.c.enabled).order_by(service_provider.c.id)
        )
    ]
