"""What a token made with an OAuth 1 access token is worth."""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.identity.binding import Binding, delegated_roles
from nubelet.identity.oauth1.model import access_token
from nubelet.identity.tokens import Token
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Unauthorized


def bind(tx: Tx, token: Token) -> Binding:
    """Raises Unauthorized when the access token is gone, or its user lost one of its roles."""
    row = tx.first(
        sa.select(access_token).where(
            access_token.c.id == token.origin.access_token_id,
            access_token.c.user_id == token.user_id,
            access_token.c.project_id == token.scope.id,
        )
    )
    if row is None or token.scope.kind != "project":
        raise Unauthorized
    shown = {"access_token_id": row.id, "consumer_id": row.consumer_id}
    return Binding(
        roles=delegated_roles(tx, row.user_id, token, row.role_ids),
        shown={"OS-OAUTH1": shown},
        ends_at=row.expires_at,
    )
