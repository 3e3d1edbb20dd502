"""How somebody comes in who is known elsewhere: from an assertion to a user of ours.

The assertion was found to be genuine before it comes here. What is left: is the identity provider
enabled, and one that may say this; what does the mapping make of it; and then the rows: a shadow
user, memberships, projects.

Read next: `rules.py`, `shadows.py`.
In OpenStack: keystone/auth/plugins/mapped.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.identity import assignments, changes
from nubelet.identity.federation import mappings, providers, rules, shadows
from nubelet.identity.federation.assertions import REMOTE_USER, Assertion
from nubelet.identity.federation.rules import Mapped, MappedProject, Place
from nubelet.identity.federation.shadows import Visitor
from nubelet.identity.methods import Proven
from nubelet.identity.model import group, project, role, user
from nubelet.identity.projects import create as create_project
from nubelet.identity.projects import find_domain
from nubelet.identity.tokens import Origin
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import ANONYMOUS, Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Forbidden, Unauthorized
from nubelet.kernel.ids import new_request_id


class _Admission(NamedTuple):
    """Everything about a login that was found out by reading."""

    provider: Any
    mapped: Mapped
    mapping_id: str
    visitor: Visitor
    groups: tuple[str, ...]
    ttl_minutes: int


def admit(cloud: Cloud, idp_id: str, protocol_id: str, assertion: Assertion) -> Proven:
    """Who the subject of an assertion is here. Raises NotFound for an unknown provider or
    protocol, Forbidden for a provider that may not say this, BadRequest where no rule fits."""
    with cloud.database.read() as tx:
        provider = providers.find(tx, idp_id)
        protocol = providers.find_protocol(tx, idp_id, protocol_id)
        if not provider.enabled:
            raise Forbidden(f"Identity Provider {idp_id} is disabled.")
        _check_issuer(tx, idp_id, protocol.remote_id_attribute, assertion)
        row = mappings.find(tx, protocol.mapping_id)
        mapped = rules.evaluate(row.id, row.rules, row.schema_version, assertion.attributes)
        if mapped.is_local:
            return Proven(user_id=_local_user(tx, mapped))
        admission = _prepare(cloud, tx, provider, protocol_id, row.id, mapped, assertion)
        known = shadows.find(tx, admission.visitor)
    user_id = known.id if known is not None else ""
    if (
        not shadows.is_known(known, admission.visitor)
        or mapped.projects
        or admission.ttl_minutes > 0
    ):
        ctx = Context(cloud, "identity", ANONYMOUS, request_id=new_request_id())
        user_id = cloud.database.transact(lambda tx: _write(ctx, tx, admission))
    return Proven(
        user_id=user_id,
        origin=Origin(
            identity_provider_id=idp_id, protocol_id=protocol_id, group_ids=admission.groups
        ),
    )


def _check_issuer(tx: Tx, idp_id: str, attribute: str | None, assertion: Assertion) -> None:
    """A provider with remote ids says only what is said under one of them."""
    accepted = providers.remote_ids(tx, [idp_id])[idp_id]
    if not accepted:
        return
    issuer = assertion.first(attribute) if attribute else assertion.issuer
    if not issuer:
        raise Forbidden("What was said of the user does not tell the identity provider.")
    if issuer not in accepted:
        raise Forbidden(f"{issuer} is not among the remote ids of the identity provider {idp_id}.")


def _prepare(
    cloud: Cloud,
    tx: Tx,
    provider: Any,
    protocol_id: str,
    mapping_id: str,
    mapped: Mapped,
    assertion: Assertion,
) -> _Admission:
    name = mapped.name or assertion.first(REMOTE_USER) or mapped.id
    if not name:
        raise Unauthorized(
            f"Could not map the user: neither the mapping {mapping_id} nor REMOTE_USER names one."
        )
    identifier = shadows.unique_id(mapped.id or name)
    default_ttl = cloud.settings.federation.default_authorization_ttl
    ttl = provider.authorization_ttl
    return _Admission(
        provider,
        mapped,
        mapping_id,
        Visitor(provider.id, protocol_id, identifier, name, mapped.email),
        _groups(tx, mapping_id, mapped),
        default_ttl if ttl is None else ttl,
    )


def _groups(tx: Tx, mapping_id: str, mapped: Mapped) -> tuple[str, ...]:
    """The ids of the groups. One that is named by id must be there; one that is named by name and
    domain counts when it is."""
    there = {
        row.id for row in tx.all(sa.select(group.c.id).where(group.c.id.in_(mapped.group_ids)))
    }
    for identifier in mapped.group_ids:
        if identifier not in there:
            raise Forbidden(
                f"The mapping {mapping_id} puts the user in the group {identifier}, which does "
                "not exist."
            )
    for place in {place for _, place in mapped.groups}:
        domain_id = _domain(tx, place)
        names = [name for name, where in mapped.groups if where == place]
        there |= {
            row.id
            for row in tx.all(
                sa.select(group.c.id).where(group.c.domain_id == domain_id, group.c.name.in_(names))
            )
        }
    return tuple(sorted(there))


def _local_user(tx: Tx, mapped: Mapped) -> str:
    """The id of the user that a mapping names; raises Unauthorized."""
    home = project.alias("home")
    statement = sa.select(user.c.id, user.c.enabled, home.c.enabled.label("domain_enabled")).join(
        home, home.c.id == user.c.domain_id
    )
    if mapped.id:
        row = tx.first(statement.where(user.c.id == mapped.id))
    elif mapped.name and mapped.domain:
        domain_id = _domain(tx, mapped.domain)
        row = tx.first(statement.where(user.c.name == mapped.name, user.c.domain_id == domain_id))
    else:
        row = None
    if row is None or not row.enabled or not row.domain_enabled:
        raise Unauthorized
    return str(row.id)


def _domain(tx: Tx, place: Place) -> str | None:
    """The id of a domain that is named by id or name; None where there is none."""
    if place.id:
        row = find_domain(tx, place.id)
        return str(row.id) if row is not None else None
    found = tx.scalar(
        sa.select(project.c.id).where(project.c.is_domain, project.c.name == place.name)
    )
    return str(found) if found is not None else None


# --- What is written --------------------------------------------------------------------------


def _write(ctx: Context, tx: Tx, admission: _Admission) -> str:
    provider, mapped = admission.provider, admission.mapped
    domain_id = _home(tx, admission, mapped.domain)
    user_id = shadows.admit(ctx, tx, admission.visitor, domain_id)
    shadows.put_in_groups(ctx, tx, user_id, provider.id, admission.groups, admission.ttl_minutes)
    for wanted in mapped.projects:
        _give_project(ctx, tx, admission, user_id, wanted)
    return user_id


def _home(tx: Tx, admission: _Admission, place: Place | None) -> str:
    """The domain that a mapping names for a user or a project; else the provider's."""
    if place is None:
        return str(admission.provider.domain_id)
    found = _domain(tx, place)
    if found is None:
        raise Forbidden(
            f"The mapping {admission.mapping_id} names the domain {place.id or place.name}, which "
            "does not exist."
        )
    return found


def _give_project(
    ctx: Context, tx: Tx, admission: _Admission, user_id: str, wanted: MappedProject
) -> None:
    """Make the project unless it is there, and give the user the roles in it."""
    domain_id = _home(tx, admission, wanted.domain)
    roles = {
        row.name: row.id
        for row in tx.all(
            sa.select(role.c.id, role.c.name).where(
                role.c.domain_id.is_(None), role.c.name.in_(wanted.roles)
            )
        )
    }
    for name in wanted.roles:
        if name not in roles:
            raise Forbidden(
                f"The mapping {admission.mapping_id} gives the role {name}, which does not exist."
            )
    project_id = tx.scalar(
        sa.select(project.c.id).where(
            project.c.domain_id == domain_id, project.c.name == wanted.name
        )
    )
    if project_id is None:
        values = {"name": wanted.name, "domain_id": domain_id}
        project_id = create_project(ctx, tx, values, {}).id
    before = assignments.direct_roles(tx, user_id, str(project_id))
    for role_id in roles.values():
        if role_id not in before:
            assignments.grant(tx, ("user", user_id), ("project", str(project_id)), role_id)
            changes.record(ctx, tx, "user.updated", user_id)
