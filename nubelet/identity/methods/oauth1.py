"""The method `oauth1`: a request that is signed with an OAuth 1 access token.

In OpenStack: keystone/auth/plugins/oauth1.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import authenticator
from nubelet.identity.methods import Attempt, Method, Proven
from nubelet.identity.oauth1 import signed
from nubelet.identity.oauth1.model import access_token, consumer
from nubelet.identity.tokens import Origin, Scope
from nubelet.kernel import clock
from nubelet.kernel.errors import Unauthorized


def _prove(attempt: Attempt, part: Mapping[str, Any]) -> Proven:
    request = signed.read(attempt.method, attempt.url, attempt.headers, attempt.query)
    consumer_id = request.require("oauth_consumer_key")
    identifier = request.require("oauth_token")
    seal = authenticator.of(attempt.cloud).seal_of_secrets
    with attempt.cloud.database.read() as tx:
        row = tx.first(
            sa.select(access_token, consumer.c.secret.label("consumer_secret"))
            .join(consumer, consumer.c.id == access_token.c.consumer_id)
            .where(access_token.c.id == identifier, consumer.c.id == consumer_id)
        )
    if row is None or (row.expires_at is not None and row.expires_at <= clock.now()):
        raise Unauthorized
    signed.verify(request, seal.require(row.consumer_secret), seal.require(row.secret))
    attempt.cloud.database.transact(lambda tx: signed.spend(tx, consumer_id, request))
    return Proven(
        user_id=row.user_id,
        scope=Scope("project", row.project_id),
        origin=Origin(access_token_id=row.id),
        expires_at=row.expires_at,
    )


METHOD = Method("oauth1", {"type": "object"}, _prove)
