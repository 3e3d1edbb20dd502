"""Projects and domains: one tree per domain.

A domain is the root of its tree and the namespace of its users, groups and projects. A project
can be used only while it and everything above it are enabled; it can be deleted only when nothing
is below it. A domain must be disabled first and then takes everything in it along. An immutable
one refuses both until the option is taken off.

In OpenStack: keystone/resource/core.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.identity import (
    administrators,
    assignments,
    belongings,
    changes,
    lockout,
    password_rules,
    roles,
)
from nubelet.identity.changes import merge_options
from nubelet.identity.directories import mirror
from nubelet.identity.domain_config import options as domain_options
from nubelet.identity.endpoint_filter import associations as endpoint_filter
from nubelet.identity.federation import departures
from nubelet.identity.limits import rules as limits
from nubelet.identity.model import group, membership, project, project_tag, role, user
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, Forbidden, NotFound
from nubelet.kernel.ids import new_hex

DEFAULT_DOMAIN = "default"
MAX_DEPTH = 5  # projects one below the other, the domain not counted


def find(tx: Tx, identifier: str) -> Any:
    """The row of a project or domain; None where there is none."""
    return tx.first(sa.select(project).where(project.c.id == identifier))


def find_domain(tx: Tx, identifier: str) -> Any:
    """The row of a domain; None where there is none."""
    return tx.first(sa.select(project).where(project.c.id == identifier, project.c.is_domain))


def require_domain(tx: Tx, identifier: str) -> Any:
    """The row of a domain that a new thing is to be in; raises NotFound."""
    row = find_domain(tx, identifier)
    if row is None:
        raise NotFound("domain", identifier)
    return row


def domain_of_caller(ctx: Context) -> str:
    """Where things go whose creator did not say: the domain of the token's scope."""
    who = ctx.credentials
    if who.system_scope:
        return DEFAULT_DOMAIN  # as upstream: the system is in no domain
    domain_id = who.domain_id or (
        who.project_domain_id or who.project_id if who.project_id else None
    )
    if not domain_id:
        raise BadRequest(
            "Invalid input for field/attribute domain_id: it is required, because "
            "the token is scoped neither to a domain nor to a project."
        )
    return domain_id


def create(ctx: Context, tx: Tx, values: Mapping[str, Any], extra: Mapping[str, Any]) -> Any:
    """Insert a project (or a domain: `is_domain`); answers its row.

    `values`: name, domain_id, parent_id, is_domain, enabled, description, options, tags, id.
    """
    is_domain = bool(values.get("is_domain"))
    domain_id, parent_id = (None, None) if is_domain else _place(ctx, tx, values)
    _refuse_duplicate(tx, values["name"], domain_id)
    identifier = values.get("id") or new_hex()
    if find(tx, identifier) is not None:
        raise Conflict(f"There is a project or domain with the id {identifier} already.")
    tx.insert(
        project,
        id=identifier,
        name=values["name"],
        domain_id=domain_id,
        parent_id=parent_id,
        is_domain=is_domain,
        description=values.get("description") or "",
        enabled=values.get("enabled", True),
        options=merge_options({}, values.get("options")),
        extra=dict(extra),
        valid_from=0,
        created_at=clock.now(),
    )
    set_tags(tx, identifier, values.get("tags") or [])
    changes.record(ctx, tx, "domain.created" if is_domain else "project.created", identifier)
    return find(tx, identifier)


def update(
    ctx: Context, tx: Tx, row: Any, values: Mapping[str, Any], extra: Mapping[str, Any]
) -> Any:
    """Change a project or domain; answers its row. Raises Forbidden for an immutable one, for a
    parent that is to move, and for disabling above something enabled."""
    kind = "domain" if row.is_domain else "project"
    options = merge_options(row.options, values.get("options"))
    if row.options.get("immutable") and options.get("immutable"):
        raise Forbidden(f"The {kind} {row.id} is immutable: take off its option immutable first.")
    _refuse_moves(row, values)
    changed: dict[str, Any] = {"options": options, "extra": {**row.extra, **extra}}
    if "name" in values and values["name"] != row.name:
        _refuse_duplicate(tx, values["name"], row.domain_id)
        changed["name"] = values["name"]
    if "description" in values:
        changed["description"] = values["description"] or ""
    if "enabled" in values and values["enabled"] != row.enabled:
        changed |= _switch(tx, row, values["enabled"])
    tx.update(project, project.c.id == row.id, **changed)
    if changed.get("enabled") is False:
        administrators.require_one(tx, f"disabling the {kind} {row.id}")
    if "tags" in values:
        set_tags(tx, row.id, values["tags"])
    changes.record(ctx, tx, f"{kind}.updated", row.id)
    return find(tx, row.id)


def delete(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete a project without children, or a disabled domain with all that is in it."""
    _refuse_immutable(row)
    if row.is_domain:
        delete_domain(ctx, tx, row)
        return
    below = tx.first(sa.select(project.c.id).where(project.c.parent_id == row.id))
    if below is not None:
        raise Forbidden(
            f"The project {row.id} has projects below it, such as {below.id}: delete them first."
        )
    _remove_projects(ctx, tx, [row.id])
    administrators.require_one(tx, f"deleting the project {row.id}")


def delete_domain(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete a disabled domain with its users, groups, roles and projects."""
    _refuse_immutable(row)
    if row.enabled:
        raise Forbidden(f"The domain {row.id} is enabled: disable it before deleting it.")
    inside = [
        each.id for each in tx.all(sa.select(project.c.id).where(project.c.domain_id == row.id))
    ]
    for table, kind in ((user, "user"), (group, "group")):
        for each in tx.all(sa.select(table.c.id).where(table.c.domain_id == row.id)):
            assignments.forget_actor(tx, kind, each.id)
            changes.record(ctx, tx, f"{kind}.deleted", each.id)
    belongings.forget_users(
        tx, [each.id for each in tx.all(sa.select(user.c.id).where(user.c.domain_id == row.id))]
    )
    users = sa.select(user.c.id).where(user.c.domain_id == row.id)
    groups = sa.select(group.c.id).where(group.c.domain_id == row.id)
    tx.delete(
        membership, sa.or_(membership.c.user_id.in_(users), membership.c.group_id.in_(groups))
    )
    password_rules.forget(tx, users)
    lockout.forget(tx, users)
    mirror.forget(tx, users)
    mirror.forget(tx, groups)
    departures.forget_users(tx, users)
    departures.forget_groups(tx, groups)
    departures.forget_domain(tx, row.id)
    tx.delete(user, user.c.domain_id == row.id)
    tx.delete(group, group.c.domain_id == row.id)
    for each in tx.all(sa.select(role.c.id).where(role.c.domain_id == row.id)):
        roles.remove(ctx, tx, each.id)
    _remove_projects(ctx, tx, inside)
    assignments.forget_targets(tx, [row.id])
    limits.forget_projects(tx, [row.id])
    domain_options.forget(tx, row.id)
    endpoint_filter.forget_projects(tx, [row.id])
    tx.delete(project_tag, project_tag.c.project_id == row.id)
    tx.delete(project, project.c.id == row.id)
    administrators.require_one(tx, f"deleting the domain {row.id}")
    changes.record(ctx, tx, "domain.deleted", row.id)


# --- Tags ---------------------------------------------------------------------------------------


def tags_of(tx: Tx, identifiers: Sequence[str]) -> dict[str, list[str]]:
    """The tags of projects, in one query."""
    found: dict[str, list[str]] = {identifier: [] for identifier in identifiers}
    if identifiers:
        for row in tx.all(
            sa.select(project_tag)
            .where(project_tag.c.project_id.in_(identifiers))
            .order_by(project_tag.c.position, project_tag.c.name)
        ):
            found[row.project_id].append(row.name)
    return found


def set_tags(tx: Tx, identifier: str, names: Sequence[str]) -> None:
    """Replace the tags of a project."""
    tx.delete(project_tag, project_tag.c.project_id == identifier)
    if names:
        tx.insert(
            project_tag,
            *(
                {"project_id": identifier, "name": name, "position": position}
                for position, name in enumerate(dict.fromkeys(names))
            ),
        )


# --- Rules ----------------------------------------------------------------------------------------


def _place(ctx: Context, tx: Tx, values: Mapping[str, Any]) -> tuple[str, str]:
    """Domain and parent of a new project, checked."""
    domain_id = values["domain_id"]
    parent_id = values.get("parent_id") or domain_id
    parent = find(tx, parent_id)
    if parent is None:
        raise NotFound("domain" if parent_id == domain_id else "project", parent_id)
    if not domain_id:
        domain_id = parent.id if parent.is_domain else parent.domain_id
    domain = find_domain(tx, domain_id)
    if domain is None:
        raise NotFound("domain", domain_id)
    if domain_id not in (parent.id, parent.domain_id):
        if not ctx.allows("identity:list_projects", {"target.domain_id": parent.domain_id}):
            raise NotFound("project", parent_id)  # as one that does not exist
        raise BadRequest(
            f"Invalid input for field/attribute domain_id: the parent {parent_id} is "
            f"in the domain {parent.domain_id}, not in {domain_id}."
        )
    strict = ctx.cloud.settings.identity.limit_model == "strict_two_level"
    depth = limits.STRICT_DEPTH if strict else MAX_DEPTH
    if len(assignments.ancestors(tx, parent.id)) >= depth:
        raise Forbidden(f"Projects may be nested {depth} deep: nothing can be below {parent_id}.")
    if not parent.enabled or not domain.enabled:
        raise BadRequest(f"Invalid input for field/attribute parent_id: {parent_id} is disabled.")
    return domain_id, parent_id


def _refuse_duplicate(tx: Tx, name: str, domain_id: str | None) -> None:
    tx.lock("identity", "project", domain_id or "", name)
    same = project.c.domain_id.is_(None) if domain_id is None else project.c.domain_id == domain_id
    found = tx.scalar(sa.select(project.c.id).where(project.c.name == name, same))
    if found is not None:
        kind = "domain" if domain_id is None else f"project in the domain {domain_id}"
        raise Conflict(f"There is a {kind} named {name} already: {found}.")


def _refuse_immutable(row: Any) -> None:
    if row.options.get("immutable"):
        kind = "domain" if row.is_domain else "project"
        raise Forbidden(f"The {kind} {row.id} is immutable: take off its option immutable first.")


def _refuse_moves(row: Any, values: Mapping[str, Any]) -> None:
    if "parent_id" in values and values["parent_id"] != row.parent_id:
        raise Forbidden("Invalid input for field/attribute parent_id: a project cannot move.")
    for name in ("domain_id", "is_domain"):
        if name in values and values[name] != getattr(row, name):
            raise BadRequest(f"Invalid input for field/attribute {name}: it cannot be changed.")


def _switch(tx: Tx, row: Any, enabled: bool) -> dict[str, Any]:
    """What enabling or disabling changes; tokens of before are revoked for good."""
    if enabled:
        if (
            row.parent_id
            and tx.scalar(sa.select(project.c.enabled).where(project.c.id == row.parent_id))
            is False
        ):
            raise Forbidden(
                f"The project {row.id} cannot be enabled: {row.parent_id} above it is disabled."
            )
        return {"enabled": True}
    if (
        not row.is_domain
        and tx.first(
            sa.select(project.c.id).where(
                project.c.id.in_(assignments.descendants([row.id])), project.c.enabled
            )
        )
        is not None
    ):
        raise Forbidden(
            f"The project {row.id} cannot be disabled: there are enabled projects below it."
        )
    return {"enabled": False, "valid_from": clock.now()}


def _remove_projects(ctx: Context, tx: Tx, identifiers: list[str]) -> None:
    if not identifiers:
        return
    assignments.forget_targets(tx, identifiers)
    limits.forget_projects(tx, identifiers)
    endpoint_filter.forget_projects(tx, identifiers)
    belongings.forget_projects(tx, identifiers)
    tx.delete(project_tag, project_tag.c.project_id.in_(identifiers))
    tx.update(user, user.c.default_project_id.in_(identifiers), default_project_id=None)
    # Rows refer to their parents: all are let go first, so that the order does not matter.
    tx.update(project, project.c.id.in_(identifiers), parent_id=None)
    tx.delete(project, project.c.id.in_(identifiers))
    for identifier in identifiers:
        changes.record(ctx, tx, "project.deleted", identifier)
