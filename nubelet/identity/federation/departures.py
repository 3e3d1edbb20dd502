"""What of federation goes when a user, a group or a domain is deleted.

Called by those who delete them, hence apart: this imports nothing but the tables.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity.federation.model import (
    expiring_membership,
    federated_user,
    identity_provider,
    protocol,
    remote_id,
)
from nubelet.kernel.database import Tx

Ids = Any  # a list of ids, or a statement that selects them


def forget_users(tx: Tx, users: Ids) -> None:
    """Forget how these users come in."""
    tx.delete(federated_user, federated_user.c.user_id.in_(users))
    tx.delete(expiring_membership, expiring_membership.c.user_id.in_(users))


def forget_groups(tx: Tx, groups: Ids) -> None:
    """Forget who was put in these groups for a while."""
    tx.delete(expiring_membership, expiring_membership.c.group_id.in_(groups))


def forget_domain(tx: Tx, domain_id: str) -> None:
    """Delete the identity providers whose users are in this domain."""
    gone = sa.select(identity_provider.c.id).where(identity_provider.c.domain_id == domain_id)
    for table in (expiring_membership, federated_user, protocol, remote_id):
        tx.delete(table, table.c.idp_id.in_(gone))
    tx.delete(identity_provider, identity_provider.c.domain_id == domain_id)
