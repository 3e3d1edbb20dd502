"""Forgetting what ended: trusts, tokens of OAuth 1, marks of revoked tokens, and keys made by them.

A trust that is used up ends with the last token that can have been made by it.

What ended is refused by its time, not by its absence; this only keeps the tables small. A row stays
two days longer than it is good for: as long as a service may still show an expired token.

Receipts, tokens and OAuth 2 need none of it: they have no rows. Federation forgets its own
(`federation/reconcilers.py`); what belongs to a user goes with the user.

In OpenStack: `keystone-manage trust_flush`, and nothing for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import sqlalchemy as sa

from nubelet.identity.application_credentials.model import application_credential
from nubelet.identity.authenticator import EXPIRED_GRACE_SECONDS
from nubelet.identity.credentials.model import credential
from nubelet.identity.model import revoked_token
from nubelet.identity.oauth1.model import access_token, nonce, request_token
from nubelet.identity.oauth1.signed import NONCE_SECONDS
from nubelet.identity.trusts import trusts
from nubelet.identity.trusts.model import trust
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx

BATCH = 500
_ENDED = (revoked_token.c.expires_at, request_token.c.expires_at, access_token.c.expires_at)
# A key that was made with a delegated token is worth nothing without the delegation.
_DELEGATIONS = (
    (credential.c.trust_id, trust),
    (credential.c.access_token_id, access_token),
    (credential.c.application_credential_id, application_credential),
)


def forget_ended(cloud: Cloud) -> None:
    """Delete what ended two days ago, a few hundred rows in a transaction."""
    now = clock.now()
    before = now - EXPIRED_GRACE_SECONDS * 1_000_000
    old = nonce.c.created_at < now - NONCE_SECONDS * 1_000_000
    last = now + cloud.settings.identity.token_lifetime_seconds * 1_000_000
    steps: list[Callable[[Tx], int]] = [
        partial(trusts.end_used_up, last, BATCH),
        partial(trusts.forget_ended, before, BATCH),
        *(partial(_delete, column.table, column < before) for column in _ENDED),
        partial(_delete, nonce, old),
        *(
            partial(
                _delete,
                credential,
                sa.and_(column.is_not(None), column.not_in(sa.select(table.c.id))),
            )
            for column, table in _DELEGATIONS
        ),
    ]
    for step in steps:
        while cloud.database.transact(step) == BATCH:
            pass


def _delete(table: sa.Table, which: sa.ColumnElement[bool], tx: Tx) -> int:
    """Delete at most BATCH rows; returns how many."""
    key = list(table.primary_key.columns)
    some = sa.select(*key).where(which).limit(BATCH)
    return tx.delete(table, sa.tuple_(*key).in_(some))
