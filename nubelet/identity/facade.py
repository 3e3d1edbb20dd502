"""What other services ask identity: who is that, and does it exist?

All take the caller's transaction, except those that issue tokens, which use their own.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from nubelet.identity import authentication, catalog
from nubelet.identity.authentication import Proof
from nubelet.identity.model import project, user
from nubelet.identity.tokens import SYSTEM, UNSCOPED, Origin, Scope
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import Credentials
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound, Unauthorized


def find_project(tx: Tx, identifier: str) -> Any:
    """The row (id, name, domain_id, enabled) of a project; raises NotFound."""
    row = tx.first(
        sa.select(project.c.id, project.c.name, project.c.domain_id, project.c.enabled).where(
            project.c.id == identifier
        )
    )
    if row is None:
        raise NotFound("project", identifier)
    return row


def find_user(tx: Tx, identifier: str) -> Any:
    """The row (id, name, domain_id, enabled) of a user; raises NotFound."""
    row = tx.first(
        sa.select(user.c.id, user.c.name, user.c.domain_id, user.c.enabled).where(
            user.c.id == identifier
        )
    )
    if row is None:
        raise NotFound("user", identifier)
    return row


def project_name(tx: Tx, identifier: str) -> str:
    """The name of a project; its id where it is gone."""
    return project_names(tx, [identifier]).get(identifier, identifier)


def project_names(tx: Tx, identifiers: Collection[str]) -> dict[str, str]:
    """The names of projects that exist, in one query."""
    return {
        row.id: row.name
        for row in tx.all(
            sa.select(project.c.id, project.c.name).where(project.c.id.in_(set(identifiers)))
        )
    }


def user_name(tx: Tx, identifier: str) -> str:
    """The name of a user; the id where it is gone."""
    found = tx.scalar(sa.select(user.c.name).where(user.c.id == identifier))
    return identifier if found is None else str(found)


def issue_token(
    cloud: Cloud,
    user_id: str,
    *,
    project_id: str | None = None,
    domain_id: str | None = None,
    system: bool = False,
) -> str:
    """A token for a user, for code that acts as one (tests, demonstrations). Raises
    Unauthorized where the user could not get it by logging in. Not inside a transaction."""
    scope = _scope(project_id, domain_id, system=system)
    return authentication.issue(cloud, Proof(user_id, ("password",)), scope)


def issue_token_as(cloud: Cloud, credentials: Credentials) -> str:
    """A token with the rights that somebody had who asked for something, for what goes on after
    the answer: bound to the same trust or application credential. Groups that a federated login
    put them in hold as long as their own token would have. Raises Unauthorized where they have
    them no more, and for delegations that cannot be continued (OAuth 1). Not inside a
    transaction."""
    if "oauth1" in credentials.methods:
        raise Unauthorized("What was delegated by OAuth 1 ends with the request.")
    scope = _scope(
        credentials.project_id, credentials.domain_id, system=bool(credentials.system_scope)
    )
    groups = credentials.federated_group_ids if credentials.expires_at > clock.now() else ()
    origin = Origin(
        trust_id=credentials.trust_id or "",
        application_credential_id=credentials.application_credential_id or "",
        identity_provider_id=credentials.identity_provider_id or "",
        protocol_id=credentials.protocol_id or "",
        group_ids=groups,
    )
    methods = credentials.methods or ("password",)
    ends = credentials.expires_at if groups else None
    proof = Proof(credentials.user_id, methods, origin=origin, expires_at=ends)
    return authentication.issue(cloud, proof, scope)


def _scope(project_id: str | None, domain_id: str | None, *, system: bool) -> Scope:
    if project_id:
        return Scope("project", project_id)
    if domain_id:
        return Scope("domain", domain_id)
    return SYSTEM if system else UNSCOPED


def find_endpoint(
    tx: Tx, service_type: str, interface: str, region: str, *, project_id: str | None = None
) -> str | None:
    """The URL of a service's endpoint for callers of a project; None where there is none."""
    values = {"project_id": project_id, "tenant_id": project_id} if project_id else {}
    for service_ in catalog.load(tx):
        for entry in service_["endpoints"]:
            if (service_["type"], entry["interface"], entry["region"]) == (
                service_type,
                interface,
                region,
            ):
                return catalog.fill_url(entry["url"], values)
    return None
