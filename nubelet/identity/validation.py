"""What a token is worth now: its user, scope, roles; or that it is worth nothing.

A token is refused when it expired or was revoked, when its user, project or domain is gone,
disabled, or had all its tokens revoked, and when a scoped one has no role left there. All refusals
look alike from outside.

Read next: `authenticator.py`, which asks this once per token and change.
In OpenStack: keystone/models/token_model.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.identity import assignments
from nubelet.identity.application_credentials import binding as application_credentials
from nubelet.identity.assignments import RoleName
from nubelet.identity.binding import Binding
from nubelet.identity.federation import shadows
from nubelet.identity.model import password, project, revoked_token, user
from nubelet.identity.oauth1 import binding as oauth1
from nubelet.identity.tokens import Token
from nubelet.identity.trusts import binding as trusts
from nubelet.kernel.clock import iso_micros_z
from nubelet.kernel.context import Credentials
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Unauthorized


class Place(NamedTuple):
    """A project or a domain with what a token needs of it, and of its domain."""

    id: str
    name: str
    is_domain: bool
    domain_id: str | None
    domain_name: str | None


class Subject(NamedTuple):
    """The bearer of a valid token."""

    token: Token
    user_id: str
    user_name: str
    user_domain_id: str
    user_domain_name: str
    place: Place | None
    roles: tuple[RoleName, ...]
    password_expires_at: int | None = None
    binding: Binding | None = None


_home = project.alias("home")
_USER = (
    sa.select(
        user.c.id,
        user.c.name,
        user.c.enabled,
        user.c.valid_from,
        user.c.domain_id,
        password.c.expires_at.label("password_expires_at"),
        _home.c.name.label("domain_name"),
        _home.c.enabled.label("domain_enabled"),
        _home.c.valid_from.label("domain_valid_from"),
    )
    .join(_home, _home.c.id == user.c.domain_id)
    .outerjoin(password, password.c.user_id == user.c.id)
    .where(user.c.id == sa.bindparam("wanted"))
)
_PLACE = (
    sa.select(
        project.c.id,
        project.c.name,
        project.c.is_domain,
        project.c.enabled,
        project.c.valid_from,
        project.c.domain_id,
        _home.c.name.label("domain_name"),
        _home.c.enabled.label("domain_enabled"),
        _home.c.valid_from.label("domain_valid_from"),
    )
    .outerjoin(_home, _home.c.id == project.c.domain_id)
    .where(project.c.id == sa.bindparam("wanted"))
)


def examine(tx: Tx, token: Token) -> Subject:
    """The bearer of a token; raises Unauthorized. Does not look at the clock."""
    row = tx.execute(_USER, {"wanted": token.user_id}).first()
    if (
        row is None
        or not row.enabled
        or not row.domain_enabled
        or token.issued_at < max(row.valid_from, row.domain_valid_from)
    ):
        raise Unauthorized
    if (
        tx.first(
            sa.select(revoked_token.c.audit_id).where(
                revoked_token.c.audit_id == token.audit_ids[0]
            )
        )
        is not None
    ):
        raise Unauthorized
    provider = token.origin.identity_provider_id
    if provider and not shadows.is_enabled(tx, provider):
        raise Unauthorized
    place = _place(tx, token)
    binding = _bind(tx, token)
    roles: tuple[RoleName, ...] = ()
    if binding is not None:
        roles = binding.roles
    elif token.scope.kind != "unscoped":
        roles = tuple(assignments.roles_in(tx, row.id, token.scope, token.origin.group_ids))
        if not roles:
            raise Unauthorized
    return Subject(
        token,
        row.id,
        row.name,
        row.domain_id,
        row.domain_name,
        place,
        roles,
        row.password_expires_at,
        binding,
    )


def _bind(tx: Tx, token: Token) -> Binding | None:
    """What a token is bound to whose bearer acts with a part of the user's rights."""
    if token.origin.application_credential_id:
        return application_credentials.bind(tx, token)
    if token.origin.trust_id:
        return trusts.bind(tx, token)
    if token.origin.access_token_id:
        return oauth1.bind(tx, token)
    return None


def _place(tx: Tx, token: Token) -> Place | None:
    if token.scope.kind not in ("project", "domain"):
        return None
    row = tx.execute(_PLACE, {"wanted": token.scope.id}).first()
    if (
        row is None
        or not row.enabled
        or row.domain_enabled is False
        or token.issued_at < max(row.valid_from, row.domain_valid_from or 0)
        or (token.scope.kind == "domain" and not row.is_domain)
    ):
        raise Unauthorized
    return Place(row.id, row.name, row.is_domain, row.domain_id, row.domain_name)


def credentials(subject: Subject) -> Credentials:
    """What policy and services see of the bearer."""
    token, place, scope = subject.token, subject.place, subject.token.scope
    scoped: dict[str, Any] = {}
    if scope.kind == "project" and place:
        scoped = {
            "project_id": place.id,
            "project_name": place.name,
            "project_domain_id": place.domain_id,
            "project_domain_name": place.domain_name,
        }
    elif scope.kind == "domain" and place:
        scoped = {"domain_id": place.id, "domain_name": place.name}
    elif scope.kind == "system":
        scoped = {"system_scope": "all"}
    return Credentials(
        user_id=subject.user_id,
        user_name=subject.user_name,
        user_domain_id=subject.user_domain_id,
        user_domain_name=subject.user_domain_name,
        roles=tuple(role.name for role in subject.roles),
        role_ids=tuple(role.id for role in subject.roles),
        methods=token.methods,
        audit_ids=token.audit_ids,
        application_credential_id=token.origin.application_credential_id or None,
        trust_id=token.origin.trust_id or None,
        identity_provider_id=token.origin.identity_provider_id or None,
        protocol_id=token.origin.protocol_id or None,
        federated_group_ids=token.origin.group_ids,
        issued_at=token.issued_at,
        expires_at=token.expires_at,
        **scoped,
    )


def body(
    subject: Subject,
    catalog: list[dict[str, Any]] | None,
    service_providers: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    """A token as the API shows it. `catalog` None leaves it out."""
    token, place = subject.token, subject.place
    answer: dict[str, Any] = {
        "methods": list(token.methods),
        "user": {
            "domain": {"id": subject.user_domain_id, "name": subject.user_domain_name},
            "id": subject.user_id,
            "name": subject.user_name,
            "password_expires_at": iso_micros_z(subject.password_expires_at),
        },
        "audit_ids": list(token.audit_ids),
        "expires_at": iso_micros_z(token.expires_at),
        "issued_at": iso_micros_z(token.issued_at),
    }
    if token.scope.kind == "project" and place:
        answer["project"] = {
            "domain": {"id": place.domain_id, "name": place.domain_name},
            "id": place.id,
            "name": place.name,
        }
        answer["is_domain"] = place.is_domain
    elif token.scope.kind == "domain" and place:
        answer["domain"] = {"id": place.id, "name": place.name}
    elif token.scope.kind == "system":
        answer["system"] = {"all": True}
    if token.origin.identity_provider_id:
        answer["user"]["OS-FEDERATION"] = {
            "identity_provider": {"id": token.origin.identity_provider_id},
            "protocol": {"id": token.origin.protocol_id},
            "groups": [{"id": each} for each in token.origin.group_ids],
        }
    if subject.binding is not None:
        answer.update(subject.binding.shown)
    if token.origin.thumbprint:
        answer["oauth2_credential"] = {"x5t#S256": token.origin.thumbprint}
    if token.scope.kind != "unscoped":
        answer["roles"] = [{"id": role.id, "name": role.name} for role in subject.roles]
        if catalog is not None:
            answer["catalog"] = catalog
        if service_providers:
            answer["service_providers"] = service_providers
    return {"token": answer}
