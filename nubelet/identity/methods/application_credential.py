"""The method `application_credential`: its id, or its name and user, and its secret.

In OpenStack: keystone/auth/plugins/application_credential.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import authenticator
from nubelet.identity.application_credentials.model import application_credential
from nubelet.identity.methods import Attempt, Method, Proven
from nubelet.identity.scopes import DOMAIN_SCHEMA, user_is
from nubelet.identity.tokens import Origin, Scope
from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Unauthorized

_SCHEMA = {
    "type": "object",
    "required": ["secret"],
    "properties": {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "secret": {"type": "string"},
        "user": {
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "name": {"type": "string"},
                "domain": DOMAIN_SCHEMA,
            },
        },
    },
}


def _prove(attempt: Attempt, part: Mapping[str, Any]) -> Proven:
    with attempt.cloud.database.read() as tx:
        row = _find(tx, part)
    passwords = authenticator.of(attempt.cloud).passwords
    fits = passwords.verify(part["secret"], row.secret_hash if row else None)
    if row is None or not fits or (row.expires_at is not None and row.expires_at <= clock.now()):
        raise Unauthorized
    return Proven(
        user_id=row.user_id,
        scope=Scope("project", row.project_id),
        origin=Origin(application_credential_id=row.id),
        expires_at=row.expires_at,
    )


def _find(tx: Tx, given: Mapping[str, Any]) -> Any:
    c = application_credential.c
    if "id" in given:
        return tx.first(sa.select(application_credential).where(c.id == given["id"]))
    if "name" not in given:
        raise BadRequest("Expecting to find id or name in application_credential.")
    if "user" not in given:
        raise BadRequest("Expecting to find user in application_credential.")
    return tx.first(
        sa.select(application_credential).where(
            c.name == given["name"], c.user_id.in_(user_is(given["user"]))
        )
    )


METHOD = Method("application_credential", _SCHEMA, _prove)
