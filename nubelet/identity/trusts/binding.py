"""What a token of a trust is worth.

As much as the trust, its trustor, its trustee and the first trustor's roles are now: any of them
may end it.
"""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.identity.assignments import RoleName
from nubelet.identity.binding import Binding, delegated_roles
from nubelet.identity.model import project, user
from nubelet.identity.tokens import Token
from nubelet.identity.trusts.model import trust
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Unauthorized

_home = project.alias("home")


def bind(tx: Tx, token: Token) -> Binding:
    """Raises Unauthorized when the trust ended or one of its people is gone or disabled."""
    row = tx.first(sa.select(trust).where(trust.c.id == token.origin.trust_id))
    if row is None:  # the token itself ends with the trust
        raise Unauthorized
    bearer = row.trustor_user_id if row.impersonation else row.trustee_user_id
    if token.user_id != bearer or token.scope.id != (row.project_id or ""):
        raise Unauthorized
    people = {row.trustor_user_id, row.trustee_user_id, row.first_trustor_id}
    _require_all(tx, people, token.issued_at)
    roles: tuple[RoleName, ...] = ()
    if row.project_id:
        roles = delegated_roles(tx, row.first_trustor_id, token, row.role_ids)
    shown = {
        "id": row.id,
        "impersonation": row.impersonation,
        "trustee_user": {"id": row.trustee_user_id},
        "trustor_user": {"id": row.trustor_user_id},
    }
    if row.redelegated_trust_id:
        shown["redelegated_trust_id"] = row.redelegated_trust_id
        shown["redelegation_count"] = row.redelegation_count
    return Binding(roles=roles, shown={"OS-TRUST:trust": shown}, ends_at=row.expires_at)


def _require_all(tx: Tx, people: set[str], issued_at: int) -> None:
    """Raise Unauthorized unless all are enabled, and had not all their tokens revoked since."""
    good = tx.all(
        sa.select(user.c.id)
        .join(_home, _home.c.id == user.c.domain_id)
        .where(
            user.c.id.in_(people),
            user.c.enabled,
            _home.c.enabled,
            user.c.valid_from <= issued_at,
            _home.c.valid_from <= issued_at,
        )
    )
    if len(good) != len(people):
        raise Unauthorized
