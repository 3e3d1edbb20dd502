"""What a token made with an application credential is worth."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity.application_credentials import access_rules
from nubelet.identity.application_credentials.model import application_credential
from nubelet.identity.binding import Binding, delegated_roles
from nubelet.identity.tokens import Token
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Unauthorized


def bind(tx: Tx, token: Token) -> Binding:
    """Raises Unauthorized when the credential is gone, or its user lost one of its roles."""
    row = tx.first(
        sa.select(application_credential).where(
            application_credential.c.id == token.origin.application_credential_id,
            application_credential.c.user_id == token.user_id,
            application_credential.c.project_id == token.scope.id,
        )
    )
    if row is None or token.scope.kind != "project":
        raise Unauthorized
    shown: dict[str, Any] = {"id": row.id, "name": row.name, "restricted": not row.unrestricted}
    rules = None
    if row.has_rules:
        rows = access_rules.of_credentials(tx, [row.id]).get(row.id, [])
        shown["access_rules"] = [view_rule(each) for each in rows]
        rules = tuple(access_rules.allowed(each.service, each.method, each.path) for each in rows)
    return Binding(
        roles=delegated_roles(tx, row.user_id, token, row.role_ids),
        shown={"application_credential": shown},
        access_rules=rules,
        unrestricted=row.unrestricted,
        ends_at=row.expires_at,
    )


def view_rule(row: Any) -> dict[str, str]:
    """An access rule as application credentials and tokens show it."""
    return {"id": row.id, "path": row.path, "method": row.method, "service": row.service}
