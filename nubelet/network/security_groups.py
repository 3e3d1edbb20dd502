"""Security groups: named sets of allow rules, and the ports that are in them.

Every project has a group `default`, made when it is first needed. A rule may name another group
as its remote side; then the addresses of that group's ports are part of what a node must know,
hence `want_on` follows rules to remote groups.

Read next: `security_group_rules.py`.
In OpenStack: neutron/db/securitygroups_db.py.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.network import presence, records, refusals, security_group_rules, sharing
from nubelet.network.model import (
    default_security_group_rule,
    port_security_group,
    security_group,
    security_group_rule,
)
from nubelet.network.quotas import quotas
from nubelet.network.records import Who

DEFAULT = "default"
_c = security_group.c


def find(tx: Tx, group_id: str) -> Any:
    """The row of a group; raises SecurityGroupNotFound."""
    row = tx.first(sa.select(security_group).where(_c.id == group_id))
    if row is None:
        raise refusals.not_found("SecurityGroup", group_id)
    return row


def visible(ctx: Context) -> sa.ColumnElement[bool] | None:
    """Which groups the caller may know of: own and shared ones."""
    if ctx.is_admin:
        return None
    return sa.or_(
        _c.project_id == ctx.project_id, _c.id.in_(sharing.granted(ctx, "security_group"))
    )


_DEFAULT_OF = sa.select(_c.id).where(_c.default_of == sa.bindparam("project_id"))


def default_group(ctx: Who, tx: Tx, project_id: str) -> str:
    """The id of a project's default group; it is made when it is not there."""
    found = tx.scalar(_DEFAULT_OF, project_id=project_id)
    if found is None:
        tx.lock("network", "default-security-group", project_id)
        found = tx.scalar(_DEFAULT_OF, project_id=project_id)
    if found is None:
        found = _insert(
            ctx,
            tx,
            {
                "project_id": project_id,
                "name": DEFAULT,
                "stateful": True,
                "description": "Default security group",
                "default_of": project_id,
            },
        )
    return str(found)


def create(ctx: Context, tx: Tx, values: dict[str, Any]) -> str:
    """Insert a group with the rules that new groups begin with."""
    project_id = values["project_id"]
    default_group(ctx, tx, project_id)
    if values["name"].lower() == DEFAULT:
        raise refusals.conflict(
            "SecurityGroupDefaultAlreadyExists", "Default security group already exists."
        )
    quotas(ctx).require(tx, project_id, security_group=1)
    return _insert(ctx, tx, values)


def _insert(ctx: Who, tx: Tx, values: dict[str, Any]) -> str:
    group_id = records.insert(ctx, tx, security_group, **values)
    security_group_rules.insert_defaults(
        ctx, tx, group_id, values["project_id"], is_default="default_of" in values
    )
    return group_id


def update(ctx: Context, tx: Tx, row: Any, changes: dict[str, Any]) -> None:
    """Change attributes. The default group keeps its name, and no other gets it."""
    if "name" in changes and changes["name"] != row.name:
        if row.default_of:
            raise refusals.conflict(
                "SecurityGroupCannotUpdateDefault", "Updating default security group not allowed."
            )
        if changes["name"].lower() == DEFAULT:
            raise refusals.conflict(
                "SecurityGroupDefaultAlreadyExists", "Default security group already exists."
            )
    if changes.get("stateful", row.stateful) != row.stateful and ports_in(tx, [row.id]):
        raise refusals.conflict("SecurityGroupInUse", f"Security Group {row.id} in use.")
    records.change(ctx, tx, security_group, row, **changes)
    if "stateful" in changes:
        presence.touch(tx, presence.SECURITY_GROUP, [row.id])


def delete(ctx: Context | None, tx: Tx, row: Any) -> None:
    """Remove a group no port is in. Rules and templates of rules that name it as their remote
    side go too."""
    if ports_in(tx, [row.id]):
        raise refusals.conflict("SecurityGroupInUse", f"Security Group {row.id} in use.")
    if row.default_of and ctx is not None and not ctx.is_admin:
        raise refusals.conflict(
            "SecurityGroupCannotRemoveDefault",
            "Insufficient rights for removing default security group.",
        )
    pointing = (
        sa.select(security_group_rule.c.security_group_id)
        .where(security_group_rule.c.remote_group_id == row.id)
        .distinct()
    )
    touched = [each[0] for each in tx.all(pointing)]
    tx.delete(
        security_group_rule,
        sa.or_(
            security_group_rule.c.security_group_id == row.id,
            security_group_rule.c.remote_group_id == row.id,
        ),
    )
    tx.delete(default_security_group_rule, default_security_group_rule.c.remote_group_id == row.id)
    sharing.forget(tx, row.id)
    records.remove(ctx, tx, security_group, row)
    presence.release(tx, presence.SECURITY_GROUP, [row.id])
    presence.touch(tx, presence.SECURITY_GROUP, touched)


# --- Membership ------------------------------------------------------------------------------


_AMONG = sa.select(_c.id).where(_c.id.in_(sa.bindparam("ids", expanding=True)))


def usable(ctx: Context, tx: Tx, ids: Sequence[str], project_id: str) -> list[str]:
    """The groups that a port of a project may be in; SecurityGroupNotFound for others."""
    wanted = list(dict.fromkeys(ids))
    if not wanted:
        return []
    statement = _AMONG
    if not ctx.is_admin:
        statement = statement.where(
            sa.or_(
                _c.project_id.in_([project_id, ctx.project_id]),
                _c.id.in_(sharing.granted(ctx, "security_group")),
            )
        )
    found = {row.id for row in tx.all(statement, ids=wanted)}
    for identifier in wanted:
        if identifier not in found:
            raise refusals.not_found("SecurityGroup", identifier)
    return wanted


def join(tx: Tx, port_id: str, groups: Collection[str]) -> None:
    """Put a port into groups."""
    if groups:
        tx.insert(
            port_security_group,
            *({"port_id": port_id, "security_group_id": each} for each in groups),
        )
        presence.touch(tx, presence.SECURITY_GROUP, groups)


def of_port(tx: Tx, port_id: str) -> list[str]:
    """The groups a port is in."""
    return [row[0] for row in tx.all(_OF_PORT, port_id=port_id)]


_OF_PORT = sa.select(port_security_group.c.security_group_id).where(
    port_security_group.c.port_id == sa.bindparam("port_id")
)


def of_ports(tx: Tx, port_ids: Sequence[str]) -> dict[str, list[str]]:
    """The groups each port is in."""
    found: dict[str, list[str]] = {identifier: [] for identifier in port_ids}
    if port_ids:
        c = port_security_group.c
        rows: Sequence[Any] = tx.all(
            sa.select(c.port_id, c.security_group_id).where(records.among(tx, c.port_id, port_ids))
        )
        for port_id, group_id in rows:
            found[port_id].append(group_id)
    return found


def ports_in(tx: Tx, groups: Collection[str]) -> bool:
    """Is a port in one of these groups?"""
    return (
        tx.first(
            sa.select(port_security_group.c.port_id)
            .where(port_security_group.c.security_group_id.in_(groups))
            .limit(1)
        )
        is not None
    )


_REMOTES = (
    sa.select(security_group_rule.c.remote_group_id)
    .where(
        security_group_rule.c.security_group_id.in_(sa.bindparam("groups", expanding=True)),
        security_group_rule.c.remote_group_id.is_not(None),
    )
    .distinct()
)


def with_remotes(tx: Tx, groups: Collection[str]) -> list[str]:
    """These groups and the ones their rules name as remote side."""
    if not groups:
        return []
    remote = tx.all(_REMOTES, groups=list(groups))
    return list(dict.fromkeys([*groups, *(row.remote_group_id for row in remote)]))


def want_on(tx: Tx, host: str, groups: Collection[str]) -> None:
    """A host shall know these groups, and the ones their rules name."""
    presence.want(tx, host, presence.SECURITY_GROUP, with_remotes(tx, groups))
