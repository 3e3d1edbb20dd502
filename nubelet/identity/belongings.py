"""What goes with a user or a project that is deleted: the credentials and delegations they made."""

from __future__ import annotations

from collections.abc import Collection

from nubelet.identity.application_credentials import issuing as application_credentials
from nubelet.identity.credentials.model import credential
from nubelet.identity.oauth1.model import access_token, request_token
from nubelet.identity.trusts import trusts
from nubelet.kernel.database import Tx


def forget_users(tx: Tx, identifiers: Collection[str]) -> None:
    """Delete what belongs to users who are being deleted."""
    application_credentials.forget_users(tx, identifiers)
    trusts.forget_users(tx, identifiers)
    for table in (credential, access_token, request_token):
        tx.delete(table, table.c.user_id.in_(identifiers))


def forget_projects(tx: Tx, identifiers: Collection[str]) -> None:
    """Delete what is good for projects only that are being deleted."""
    application_credentials.forget_projects(tx, identifiers)
    trusts.forget_projects(tx, identifiers)
    for table in (credential, access_token, request_token):
        tx.delete(table, table.c.project_id.in_(identifiers))
