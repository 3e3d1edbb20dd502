"""Application credentials: made by a user for a program, for one project, with some of their roles.

They die with their expiry, with the user, with the project, and are of no use as long as the user
does not hold all of their roles there. Only the hash of the secret is kept.

In OpenStack: keystone/application_credential/core.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.identity import changes
from nubelet.identity.application_credentials import access_rules
from nubelet.identity.application_credentials.model import (
    access_rule,
    application_credential,
    application_credential_rule,
)
from nubelet.identity.assignments import RoleName
from nubelet.identity.model import role
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, NotFound
from nubelet.kernel.ids import new_hex


def find(tx: Tx, user_id: str, identifier: str) -> Any:
    """The row of a user's application credential; raises NotFound."""
    row = tx.first(
        sa.select(application_credential).where(
            application_credential.c.id == identifier, application_credential.c.user_id == user_id
        )
    )
    if row is None:
        raise NotFound("application credential", identifier)
    return row


def owner(tx: Tx, identifier: str) -> str | None:
    """The id of the user of an application credential; None where there is none."""
    found = tx.scalar(
        sa.select(application_credential.c.user_id).where(application_credential.c.id == identifier)
    )
    return None if found is None else str(found)


def create(
    ctx: Context, tx: Tx, given: Mapping[str, Any], hashed: str, held: Sequence[RoleName]
) -> Any:
    """Insert one for the caller and the project of their token; answers its row. `held`: the roles
    of the token, none but which it can have; `hashed`: of the secret."""
    assert ctx.project_id
    tx.lock("identity", "application_credential", ctx.user_id)
    _refuse_duplicate(tx, ctx.user_id, given["name"])
    identifier, rules = new_hex(), given.get("access_rules")
    tx.insert(
        application_credential,
        id=identifier,
        name=given["name"],
        description=given.get("description"),
        user_id=ctx.user_id,
        project_id=ctx.project_id,
        role_ids=_chosen(tx, given.get("roles"), held),
        secret_hash=hashed,
        unrestricted=bool(given.get("unrestricted")),
        has_rules=rules is not None,
        expires_at=given.get("expires_at"),
        created_at=clock.now(),
    )
    for rule_id in dict.fromkeys(
        access_rules.ensure(tx, ctx.user_id, each) for each in rules or ()
    ):
        tx.insert(
            application_credential_rule,
            application_credential_id=identifier,
            access_rule_id=rule_id,
        )
    changes.record(ctx, tx, "application_credential.created", identifier)
    return find(tx, ctx.user_id, identifier)


def delete(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete one: it and its tokens are refused from the next request on."""
    _delete(tx, application_credential.c.id == row.id)
    changes.record(ctx, tx, "application_credential.deleted", row.id)


def forget_users(tx: Tx, identifiers: Collection[str]) -> None:
    """Delete all of users who are being deleted."""
    _delete(tx, application_credential.c.user_id.in_(identifiers))
    tx.delete(access_rule, access_rule.c.user_id.in_(identifiers))


def forget_projects(tx: Tx, identifiers: Collection[str]) -> None:
    """Delete all for projects that are being deleted."""
    _delete(tx, application_credential.c.project_id.in_(identifiers))


def forget_role(tx: Tx, user_id: str, project_id: str) -> None:
    """Delete those of a user for a project where they lose a role: giving it back later must not
    bring them back to life."""
    _delete(
        tx,
        application_credential.c.user_id == user_id,
        application_credential.c.project_id == project_id,
    )


def _delete(tx: Tx, *where: sa.ColumnElement[bool]) -> None:
    gone = sa.select(application_credential.c.id).where(*where)
    tx.delete(
        application_credential_rule,
        application_credential_rule.c.application_credential_id.in_(gone),
    )
    tx.delete(application_credential, *where)


def _refuse_duplicate(tx: Tx, user_id: str, name: str) -> None:
    found = tx.scalar(
        sa.select(application_credential.c.id).where(
            application_credential.c.user_id == user_id, application_credential.c.name == name
        )
    )
    if found is not None:
        raise Conflict(f"You have an application credential named {name} already: {found}.")


def _chosen(tx: Tx, asked: Any, held: Sequence[RoleName]) -> list[str]:
    """The ids of the asked roles, else of all that are held."""
    if not asked:
        return [each.id for each in held]
    by_name = {each.name: each.id for each in held}
    ids = {each.id for each in held}
    chosen = []
    for each in asked:
        identifier = each["id"] if "id" in each else by_name.get(each["name"])
        if identifier is None:
            found = tx.scalar(sa.select(role.c.id).where(role.c.name == each["name"]).limit(1))
            if found is None:
                raise NotFound("role", each["name"])
        if identifier not in ids:
            raise BadRequest(
                "Invalid application credential: it cannot have the role "
                f"{each.get('name', identifier)}, which your token does not have."
            )
        chosen.append(identifier)
    return list(dict.fromkeys(chosen))
