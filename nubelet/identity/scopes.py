"""What a new token is for: a project, a domain, the system, or nothing yet.

Without a wish it is the user's default project, if they can use it. That a place does not exist is
not told: asking for it is refused as asking for one where the user has no role.

In OpenStack: keystone/auth/core.py AuthInfo.get_scope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import assignments
from nubelet.identity.model import project, user
from nubelet.identity.tokens import SYSTEM, UNSCOPED, Scope
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Unauthorized

_home = project.alias("home")
TRUST = "OS-TRUST:trust"
DOMAIN_SCHEMA = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "name": {"type": "string"}},
}
SCOPE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"enum": ["unscoped", None]},
        {
            "type": "object",
            "properties": {
                "project": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string"},
                        "name": {"type": "string"},
                        "domain": DOMAIN_SCHEMA,
                    },
                },
                "domain": DOMAIN_SCHEMA,
                "system": {
                    "type": "object",
                    "required": ["all"],
                    "properties": {"all": {"const": True}},
                },
                "unscoped": {"type": "object"},
                TRUST: {
                    "type": "object",
                    "required": ["id"],
                    "properties": {"id": {"type": "string"}},
                },
            },
        },
    ]
}


def choose(tx: Tx, user_id: str, asked: Any) -> Scope:
    """The scope that a request asks for; raises BadRequest, or Unauthorized for no such place.
    Says nothing of whether the user has a role there."""
    if asked is None:
        return _default(tx, user_id)
    if asked == "unscoped":
        return UNSCOPED
    kinds = [kind for kind in ("project", "domain", "system", "unscoped", TRUST) if kind in asked]
    if len(kinds) != 1:
        raise BadRequest(
            "Invalid input for field/attribute scope: it must name exactly one of "
            f"project, domain, system, unscoped and {TRUST}."
        )
    if kinds[0] == "unscoped":
        return UNSCOPED
    if kinds[0] == "system":
        return SYSTEM
    return _find_place(tx, kinds[0], asked[kinds[0]])


def domain_is(table: Any, given: Mapping[str, Any] | None, of: str) -> sa.ColumnElement[bool]:
    """The condition that a row of projects is the domain that was named by id or name."""
    if given and "id" in given:
        return sa.and_(table.c.id == given["id"], table.c.is_domain)
    if given and "name" in given:
        return sa.and_(table.c.name == given["name"], table.c.is_domain)
    raise BadRequest(f"Expecting to find domain in {of}.")


def user_is(given: Mapping[str, Any]) -> sa.Select[tuple[str]]:
    """A subquery of the id of the user that was named by id, or by name and domain."""
    if "id" in given:
        return sa.select(user.c.id).where(user.c.id == given["id"])
    if "name" not in given:
        raise BadRequest("Expecting to find id or name in user.")
    return (
        sa.select(user.c.id)
        .join(_home, _home.c.id == user.c.domain_id)
        .where(user.c.name == given["name"], domain_is(_home, given.get("domain"), "user"))
    )


def _default(tx: Tx, user_id: str) -> Scope:
    project_id = tx.scalar(
        sa.select(project.c.id)
        .join(user, user.c.default_project_id == project.c.id)
        .outerjoin(_home, _home.c.id == project.c.domain_id)
        .where(user.c.id == user_id, project.c.enabled, sa.func.coalesce(_home.c.enabled, True))
    )
    if project_id is None:
        return UNSCOPED
    scope = Scope("project", project_id)
    return scope if assignments.roles_in(tx, user_id, scope) else UNSCOPED


def _find_place(tx: Tx, kind: str, given: Mapping[str, Any]) -> Scope:
    if "id" in given:
        return Scope("project" if kind == "project" else "domain", given["id"])
    if "name" not in given:
        raise BadRequest(f"Expecting to find id or name in {kind}.")
    if kind == "domain":
        found = tx.scalar(
            sa.select(project.c.id).where(project.c.is_domain, project.c.name == given["name"])
        )
        scope = Scope("domain", found or "")
    else:
        found = tx.scalar(
            sa.select(project.c.id)
            .join(_home, _home.c.id == project.c.domain_id)
            .where(
                project.c.name == given["name"], domain_is(_home, given.get("domain"), "project")
            )
        )
        scope = Scope("project", found or "")
    if not scope.id:
        raise Unauthorized
    return scope
