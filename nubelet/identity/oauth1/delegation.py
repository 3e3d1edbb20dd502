"""OAuth 1.0a: how a consumer gets to act for a user who never gives it a password.

1. An administrator makes a consumer: an id and a secret for somebody's program.
2. The program asks for a *request token* for a project.
3. The user authorizes that with some of their roles, and hands the verifier to the program.
4. The program turns both into an *access token*, with which it logs in (method `oauth1`).

What it gets is worth the authorized roles as long as the user has all of them.

In OpenStack: keystone/oauth1/core.py, keystone/api/os_oauth1.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.identity import assignments, changes
from nubelet.identity.model import role
from nubelet.identity.oauth1.model import access_token, consumer, nonce, request_token
from nubelet.identity.sealing import Seal
from nubelet.identity.tokens import Scope
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound, Unauthorized
from nubelet.kernel.ids import new_hex, new_secret

REQUEST_TOKEN_SECONDS = 28_800
ACCESS_TOKEN_SECONDS = 86_400


def find_consumer(tx: Tx, identifier: str) -> Any:
    """The row of a consumer; raises NotFound."""
    row = tx.first(sa.select(consumer).where(consumer.c.id == identifier))
    if row is None:
        raise NotFound("consumer", identifier)
    return row


def create_consumer(
    ctx: Context, tx: Tx, seal: Seal, values: Mapping[str, Any], extra: Mapping[str, Any]
) -> tuple[Any, str]:
    """Insert a consumer; answers its row and its secret, which is shown this once."""
    identifier, secret = new_hex(), new_hex()
    tx.insert(
        consumer,
        id=identifier,
        description=values.get("description"),
        secret=seal.close(secret),
        extra=dict(extra),
        created_at=clock.now(),
    )
    changes.record(ctx, tx, "OS-OAUTH1:consumer.created", identifier)
    return find_consumer(tx, identifier), secret


def update_consumer(
    ctx: Context, tx: Tx, row: Any, values: Mapping[str, Any], extra: Mapping[str, Any]
) -> Any:
    """Change a consumer; answers its row."""
    tx.update(
        consumer,
        consumer.c.id == row.id,
        description=values.get("description", row.description),
        extra={**row.extra, **extra},
    )
    changes.record(ctx, tx, "OS-OAUTH1:consumer.updated", row.id)
    return find_consumer(tx, row.id)


def delete_consumer(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete a consumer with all its tokens: what was made with them is refused at once."""
    for table in (request_token, access_token, nonce):
        tx.delete(table, table.c.consumer_id == row.id)
    tx.delete(consumer, consumer.c.id == row.id)
    changes.record(ctx, tx, "OS-OAUTH1:consumer.deleted", row.id)


def create_request_token(tx: Tx, seal: Seal, consumer_id: str, project_id: str) -> dict[str, Any]:
    """A request token of a consumer for a project: id, secret, expires_at (microseconds)."""
    now = clock.now()
    made = {"id": new_hex(), "expires_at": now + REQUEST_TOKEN_SECONDS * 1_000_000}
    secret = new_hex()
    tx.insert(
        request_token,
        **made,
        consumer_id=consumer_id,
        secret=seal.close(secret),
        project_id=project_id,
        user_id=None,
        role_ids=None,
        verifier=None,
        created_at=now,
    )
    return {**made, "secret": secret}


def find_request_token(tx: Tx, identifier: str) -> Any:
    """The row of a request token; raises NotFound, or Unauthorized for one that expired."""
    row = tx.first(sa.select(request_token).where(request_token.c.id == identifier))
    if row is None:
        raise NotFound("request token", identifier)
    if row.expires_at is not None and row.expires_at <= clock.now():
        raise Unauthorized("The request token is expired.")
    return row


def authorize(ctx: Context, tx: Tx, row: Any, asked: Sequence[Mapping[str, str]]) -> str:
    """Let the consumer of a request token act for the caller with these roles; answers the
    verifier. Raises Unauthorized for a role that the caller does not hold there."""
    role_ids = list(dict.fromkeys(_find_role(tx, each) for each in asked))
    held = assignments.held_in(tx, ctx.user_id, Scope("project", row.project_id))
    if not role_ids or not set(role_ids) <= held:
        raise Unauthorized("The authorizing user does not have the required roles.")
    verifier = new_secret(24)
    tx.update(
        request_token,
        request_token.c.id == row.id,
        user_id=ctx.user_id,
        role_ids=role_ids,
        verifier=verifier,
    )
    return verifier


def create_access_token(tx: Tx, seal: Seal, row: Any) -> dict[str, Any]:
    """Turn an authorized request token into an access token: id, secret, expires_at."""
    now = clock.now()
    made = {"id": new_hex(), "expires_at": now + ACCESS_TOKEN_SECONDS * 1_000_000}
    secret = new_hex()
    tx.insert(
        access_token,
        **made,
        consumer_id=row.consumer_id,
        secret=seal.close(secret),
        project_id=row.project_id,
        user_id=row.user_id,
        role_ids=row.role_ids,
        created_at=now,
    )
    tx.delete(request_token, request_token.c.id == row.id)
    return {**made, "secret": secret}


def find_access_token(tx: Tx, user_id: str, identifier: str) -> Any:
    """The row of an access token of a user; raises NotFound."""
    row = tx.first(
        sa.select(access_token).where(
            access_token.c.id == identifier, access_token.c.user_id == user_id
        )
    )
    if row is None:
        raise NotFound("access token", identifier)
    return row


def delete_access_token(ctx: Context, tx: Tx, row: Any) -> None:
    """Revoke an access token: what was made with it is refused from the next request on."""
    tx.delete(access_token, access_token.c.id == row.id)
    changes.record(ctx, tx, "OS-OAUTH1:access_token.deleted", row.id)


def _find_role(tx: Tx, asked: Mapping[str, str]) -> str:
    name, value = next(iter(asked.items()))
    found = tx.all(sa.select(role.c.id, role.c.domain_id).where(role.c[name] == value))
    best = sorted(found, key=lambda row: row.domain_id or "")
    if not best:
        raise NotFound("role", value)
    return str(best[0].id)
