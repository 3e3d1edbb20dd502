"""Roles, and which roles they imply.

A role belongs to the whole cloud or to one domain. A domain's role never shows in a token: it is
a name under which the domain bundles the global roles that it implies.

In OpenStack: keystone/assignment/core.py RoleManager.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import administrators, changes
from nubelet.identity.changes import merge_options
from nubelet.identity.model import assignment, implied_role, role
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, Forbidden
from nubelet.kernel.ids import new_hex

# Whoever could let another role imply this one could make anybody an administrator.
NEVER_IMPLIED = ("admin",)


def find(tx: Tx, identifier: str) -> Any:
    """The row of a role; None where there is none."""
    return tx.first(sa.select(role).where(role.c.id == identifier))


def create(ctx: Context, tx: Tx, values: Mapping[str, Any], extra: Mapping[str, Any]) -> Any:
    """Insert a role; answers its row."""
    _refuse_duplicate(tx, values["name"], values.get("domain_id"))
    identifier = new_hex()
    tx.insert(
        role,
        id=identifier,
        name=values["name"],
        domain_id=values.get("domain_id"),
        description=values.get("description"),
        options=merge_options({}, values.get("options")),
        extra=dict(extra),
        created_at=clock.now(),
    )
    changes.record(ctx, tx, "role.created", identifier)
    return find(tx, identifier)


def update(
    ctx: Context, tx: Tx, row: Any, values: Mapping[str, Any], extra: Mapping[str, Any]
) -> Any:
    """Change a role; answers its row. Raises Forbidden for an immutable one."""
    options = merge_options(row.options, values.get("options"))
    if row.options.get("immutable") and options.get("immutable"):
        raise Forbidden(f"The role {row.id} is immutable: take off its option immutable first.")
    if "domain_id" in values and values["domain_id"] != row.domain_id:
        raise BadRequest("Invalid input for field/attribute domain_id: it cannot be changed.")
    changed: dict[str, Any] = {"options": options, "extra": {**row.extra, **extra}}
    if "name" in values and values["name"] != row.name:
        _refuse_duplicate(tx, values["name"], row.domain_id)
        changed["name"] = values["name"]
    if "description" in values:
        changed["description"] = values["description"]
    tx.update(role, role.c.id == row.id, **changed)
    if "name" in changed:
        administrators.require_one(tx, f"renaming the role {row.id}")
    changes.record(ctx, tx, "role.updated", row.id)
    return find(tx, row.id)


def delete(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete a role and everything that names it. Raises Forbidden for an immutable one."""
    if row.options.get("immutable"):
        raise Forbidden(f"The role {row.id} is immutable: take off its option immutable first.")
    remove(ctx, tx, row.id)


def remove(ctx: Context, tx: Tx, role_id: str) -> None:
    """Delete a role without asking."""
    tx.delete(assignment, assignment.c.role_id == role_id)
    tx.delete(
        implied_role,
        sa.or_(implied_role.c.prior_role_id == role_id, implied_role.c.implied_role_id == role_id),
    )
    tx.delete(role, role.c.id == role_id)
    administrators.require_one(tx, f"deleting the role {role_id}")
    changes.record(ctx, tx, "role.deleted", role_id)


def imply(ctx: Context, tx: Tx, prior: Any, implied: Any) -> None:
    """Let one role imply another."""
    if implied.name in NEVER_IMPLIED and implied.domain_id is None:
        raise Forbidden(f"The role {implied.name} cannot be implied by another role.")
    if implied.domain_id is not None and prior.domain_id is None:
        raise Forbidden(
            f"The role {implied.id} belongs to the domain {implied.domain_id} and "
            "cannot be implied by a role of the whole cloud."
        )
    if not is_implied(tx, prior.id, implied.id):
        tx.insert(implied_role, prior_role_id=prior.id, implied_role_id=implied.id)
        changes.record(ctx, tx, "role.updated", prior.id)


def is_implied(tx: Tx, prior_id: str, implied_id: str) -> bool:
    """Does the one role imply the other directly?"""
    return (
        tx.first(sa.select(implied_role.c.prior_role_id).where(*_pair(prior_id, implied_id)))
        is not None
    )


def stop_implying(ctx: Context, tx: Tx, prior_id: str, implied_id: str) -> bool:
    """Let one role no longer imply another; False when it did not."""
    gone = tx.delete(implied_role, *_pair(prior_id, implied_id)) > 0
    if gone:
        changes.record(ctx, tx, "role.updated", prior_id)
    return gone


def _pair(prior_id: str, implied_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (implied_role.c.prior_role_id == prior_id, implied_role.c.implied_role_id == implied_id)


def _refuse_duplicate(tx: Tx, name: str, domain_id: str | None) -> None:
    tx.lock("identity", "role", domain_id or "", name)
    same = role.c.domain_id.is_(None) if domain_id is None else role.c.domain_id == domain_id
    found = tx.scalar(sa.select(role.c.id).where(role.c.name == name, same))
    if found is not None:
        where = "" if domain_id is None else f" in the domain {domain_id}"
        raise Conflict(f"There is a role named {name}{where} already: {found}.")
