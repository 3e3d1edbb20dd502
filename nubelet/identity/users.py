"""Users: who may log in, and as what.

A user belongs to one domain for good. Changing a password, disabling and deleting revoke all
tokens that the user had. The hash of a password is made by the caller beforehand, outside the
transaction (passwords.py).

In OpenStack: keystone/identity/core.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import (
    administrators,
    assignments,
    belongings,
    changes,
    lockout,
    password_rules,
    projects,
)
from nubelet.identity.changes import merge_options
from nubelet.identity.directories import mirror
from nubelet.identity.domain_config import options
from nubelet.identity.federation import departures, shadows
from nubelet.identity.model import membership, password, user
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, Forbidden
from nubelet.kernel.ids import new_hex

# A user with what is shown of the password, and whether they come from elsewhere.
SHOWN = sa.select(
    user,
    password.c.expires_at.label("password_expires_at"),
    shadows.HAS_LINKS.label("is_federated"),
).outerjoin(password, password.c.user_id == user.c.id)


def find(tx: Tx, identifier: str) -> Any:
    """The row of a user as `SHOWN` says; None where there is none."""
    return tx.first(SHOWN.where(user.c.id == identifier))


def create(
    ctx: Context, tx: Tx, values: Mapping[str, Any], extra: Mapping[str, Any], hashed: str | None
) -> Any:
    """Insert a user; answers the row. `values`: name, domain_id, enabled, default_project_id,
    options."""
    domain = projects.require_domain(tx, values["domain_id"])
    if not domain.enabled:
        raise BadRequest(f"Invalid input for field/attribute domain_id: {domain.id} is disabled.")
    _refuse_directory(tx, domain.id)
    _refuse_duplicate(tx, values["name"], domain.id)
    _check_default_project(tx, values)
    identifier = new_hex()
    tx.insert(
        user,
        id=identifier,
        name=values["name"],
        domain_id=domain.id,
        enabled=values.get("enabled", True),
        default_project_id=values.get("default_project_id"),
        options=merge_options({}, values.get("options")),
        extra=dict(extra),
        valid_from=0,
        created_at=clock.now(),
    )
    rules = ctx.cloud.settings.security_compliance
    if hashed:
        own = merge_options({}, values.get("options"))
        password_rules.store(rules, tx, identifier, hashed, own)
    lockout.reset(rules, tx, identifier)
    if values.get("federated"):
        shadows.set_links(tx, identifier, values["federated"], values["name"])
    changes.record(ctx, tx, "user.created", identifier)
    return find(tx, identifier)


def update(
    ctx: Context,
    tx: Tx,
    row: Any,
    values: Mapping[str, Any],
    extra: Mapping[str, Any],
    hashed: str | None,
) -> Any:
    """Change a user; answers the row. With `hashed`, also the password."""
    if "domain_id" in values and values["domain_id"] != row.domain_id:
        raise BadRequest("Invalid input for field/attribute domain_id: it cannot be changed.")
    mirror.require_own(tx, row.id)
    rules = ctx.cloud.settings.security_compliance
    changed: dict[str, Any] = {
        "options": merge_options(row.options, values.get("options")),
        "extra": {**row.extra, **extra},
    }
    if "name" in values and values["name"] != row.name:
        _refuse_duplicate(tx, values["name"], row.domain_id)
        changed["name"] = values["name"]
    if "default_project_id" in values:
        _check_default_project(tx, values)
        changed["default_project_id"] = values["default_project_id"]
    if "enabled" in values:
        changed["enabled"] = values["enabled"]
        if row.enabled and not values["enabled"]:
            changed["valid_from"] = clock.now()
        if values["enabled"]:
            lockout.reset(rules, tx, row.id)
    if hashed:
        password_rules.store(rules, tx, row.id, hashed, changed["options"])
        changed["valid_from"] = clock.now()
    else:
        password_rules.apply_options(rules, tx, row, changed["options"])
    tx.update(user, user.c.id == row.id, **changed)
    if "federated" in values:
        shadows.set_links(tx, row.id, values["federated"], values.get("name") or row.name)
    if row.enabled and changed.get("enabled") is False:
        administrators.require_one(tx, f"disabling the user {row.id}")
    changes.record(ctx, tx, "user.updated", row.id)
    return find(tx, row.id)


def change_password(ctx: Context, tx: Tx, user_id: str, old: str, new: str) -> bool:
    """Replace the hash `old` by `new`; False if somebody else replaced it meanwhile."""
    stored = tx.scalar(sa.select(password.c.hash).where(password.c.user_id == user_id))
    row = find(tx, user_id)
    if row is None or stored != old:
        return False
    rules = ctx.cloud.settings.security_compliance
    password_rules.store(rules, tx, user_id, new, row.options, self_service=True)
    tx.update(user, user.c.id == user_id, valid_from=clock.now())
    changes.record(ctx, tx, "user.updated", user_id)
    return True


def revoke_tokens(ctx: Context, tx: Tx, row: Any) -> None:
    """Refuse all tokens that the user has now."""
    tx.update(user, user.c.id == row.id, valid_from=clock.now())
    changes.record(ctx, tx, "user.updated", row.id)


def delete(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete a user with memberships and assignments."""
    mirror.require_own(tx, row.id)
    assignments.forget_actor(tx, "user", row.id)
    mirror.forget(tx, [row.id])
    belongings.forget_users(tx, [row.id])
    tx.delete(membership, membership.c.user_id == row.id)
    password_rules.forget(tx, [row.id])
    lockout.forget(tx, [row.id])
    departures.forget_users(tx, [row.id])
    tx.delete(user, user.c.id == row.id)
    administrators.require_one(tx, f"deleting the user {row.id}")
    changes.record(ctx, tx, "user.deleted", row.id)


def _refuse_directory(tx: Tx, domain_id: str) -> None:
    driver = options.drivers(tx).get(domain_id)
    if driver is not None:
        raise Forbidden(
            f"The users of the domain {domain_id} are read from its directory ({driver}), and can "
            "be made there only."
        )


def _check_default_project(tx: Tx, values: Mapping[str, Any]) -> None:
    """It need not exist yet (as upstream), but it may not be a domain."""
    identifier = values.get("default_project_id")
    if identifier and projects.find_domain(tx, identifier) is not None:
        raise BadRequest("Invalid input for field/attribute default_project_id: it is a domain.")


def _refuse_duplicate(tx: Tx, name: str, domain_id: str) -> None:
    tx.lock("identity", "user", domain_id, name)
    found = tx.scalar(
        sa.select(user.c.id).where(user.c.name == name, user.c.domain_id == domain_id)
    )
    if found is not None:
        raise Conflict(f"There is a user named {name} in the domain {domain_id} already: {found}.")
