"""Servers: finding them, and the changes that take no time (see operations/ for the others).

Every change of a server's states goes through `change`, which also says so in the outbox.

Read next: `server_creation.py`, `server_actions.py`, `states.py`.

In OpenStack: nova/compute/api.py.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.compute import states
from nubelet.compute.model import server, server_tag
from nubelet.kernel import clock, events
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, NotFound
from nubelet.kernel.operations.run import Run

Row = sa.Row[Any]

_BY_ID = sa.select(server).where(server.c.id == sa.bindparam("id"))
_PRESENT_BY_ID = _BY_ID.where(server.c.deleted_at.is_(None))
MAX_TAGS = 50
MAX_FAULT = 2000  # characters of a fault's message: room for the reasons of many hosts


def find(ctx: Context, tx: Tx, server_id: str, *, deleted: bool = False) -> Row:
    """A server of the caller's project, for administrators of any; raises NotFound.

    `deleted`: also one that was deleted.
    """
    row = get(tx, server_id, deleted=deleted)
    if row is None or (row.project_id != ctx.project_id and not ctx.is_admin):
        raise NotFound(message=f"Instance {server_id} could not be found.")
    return row


def get(tx: Tx, server_id: str, *, deleted: bool = False) -> Row | None:
    """The row of a server, or None."""
    statement = _BY_ID if deleted else _PRESENT_BY_ID
    return tx.execute(statement, {"id": server_id}).first()


def find_to_change(
    ctx: Context, tx: Tx, server_id: str, rule: str = "", *, locked: bool = False
) -> Row:
    """A server that the caller may change: the route's rule (or `rule`) holds for it and it is
    not locked (unless `locked` is no matter). Its row is locked until the transaction ends."""
    tx.lock("server", server_id)
    row = find(ctx, tx, server_id)
    ctx.authorize(rule, target=target_of(row))
    if not locked:
        require_unlocked(ctx, row)
    return row


def target_of(row: Row) -> dict[str, Any]:
    """The target of a policy rule about a server."""
    return {"project_id": row.project_id, "user_id": row.user_id}


def require_unlocked(ctx: Context, row: Row) -> None:
    """Raise Conflict for a locked server, unless the caller is above locks."""
    if row.locked_by is not None and not ctx.is_admin:
        raise Conflict(f"Instance {row.id} is locked")


def change(tx: Tx, server_id: str, ctx: Context | Run | None = None, **values: Any) -> bool:
    """Change a server that is not deleted; False when it is. A change of state is an event."""
    values["updated_at"] = clock.now()
    row = tx.execute(_change_of(tuple(values)), {**values, "b_id": server_id}).first()
    if row is not None and _STATES & values.keys():
        events.emit(
            tx,
            "server.changed",
            project_id=row.project_id,
            subject_type="server",
            subject_id=server_id,
            ctx=ctx,
            payload={
                "vm_state": row.vm_state,
                "task_state": row.task_state,
                "power_state": row.power_state,
                "host": row.host,
            },
        )
    return row is not None


@functools.cache
def _change_of(names: tuple[str, ...]) -> sa.Update:
    return _CHANGE.values({name: sa.bindparam(name) for name in names})


_STATES = {"vm_state", "task_state", "power_state", "host"}
_CHANGE = (
    sa.update(server)
    .where(server.c.id == sa.bindparam("b_id"), server.c.deleted_at.is_(None))
    .returning(
        server.c.project_id,
        server.c.vm_state,
        server.c.task_state,
        server.c.power_state,
        server.c.host,
    )
)


def fault(message: str, *, code: int = 500, details: str = "") -> dict[str, Any]:
    """What a server in ERROR shows: why."""
    return {
        "code": code,
        "message": message[:MAX_FAULT],
        "details": details or message,
        "created": clock.now(),
    }


# --- Names -----------------------------------------------------------------------------------


def hostname_of(name: str, server_id: str) -> str:
    """A host name made from a display name, as nova makes it: only letters, digits and
    hyphens, at most 63; `Server-<id>` when nothing is left."""
    text = re.sub(r"[ _.]", "-", name)
    text = re.sub(r"[^a-zA-Z0-9-]+", "", text).lower().strip("-.")[:63].strip("-")
    return text or f"Server-{server_id}"


def canonical_address(text: str | None) -> str:
    """An access address as it is kept: IPv6 compressed, "" for none."""
    return str(ipaddress.ip_address(text)) if text else ""


def instance_name(row: Row) -> str:
    """What the hypervisor calls the server."""
    return f"instance-{row.auto_id:08x}"


_COLUMNS = {
    "name": "name",
    "OS-DCF:diskConfig": "disk_config",
    "accessIPv4": "access_ipv4",
    "accessIPv6": "access_ipv6",
    "description": "description",
    "hostname": "hostname",
    "pinned_availability_zone": "pinned_availability_zone",
}


def plain_changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that an update or rebuild changes, of those that are taken as they are given."""
    found = {column: given[name] for name, column in _COLUMNS.items() if name in given}
    for column in ("access_ipv4", "access_ipv6"):
        if column in found:
            found[column] = canonical_address(found[column])
    return found


# --- Metadata and tags -----------------------------------------------------------------------


def set_metadata(ctx: Context, tx: Tx, row: Row, items: Mapping[str, str]) -> None:
    """Give a server exactly this metadata; the quota is the project's."""
    from nubelet.compute.quotas import limit

    require_metadata_quota(limit(ctx.cloud, tx, row.project_id, "metadata_items"), items)
    change(tx, row.id, ctx, metadata=dict(items))


def require_metadata_quota(allowed: int, items: Mapping[str, str]) -> None:
    """Raise QuotaExceeded for too many items."""
    from nubelet.kernel.errors import QuotaExceeded

    if 0 <= allowed < len(items):
        raise QuotaExceeded(
            "metadata_items",
            limit=allowed,
            used=0,
            requested=len(items),
            message=f"Maximum number of metadata items exceeds {allowed}",
        )


def tags_of(tx: Tx, server_ids: Iterable[str]) -> dict[str, list[str]]:
    """Server id -> its tags in order; servers without are left out."""
    found: dict[str, list[str]] = {}
    for row in tx.execute(_TAGS_OF, {"ids": list(server_ids)}).fetchall():
        found.setdefault(row.server_id, []).append(row.tag)
    return found


_TAGS_OF = (
    sa.select(server_tag.c.server_id, server_tag.c.tag)
    .where(server_tag.c.server_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(server_tag.c.tag)
)


def set_tags(tx: Tx, server_id: str, tags: Iterable[str]) -> list[str]:
    """Give a server exactly these tags; returns them in order. Raises BadRequest for more
    than 50."""
    wanted = sorted(set(tags))
    if len(wanted) > MAX_TAGS:
        raise BadRequest(f"The number of tags exceeded the per-server limit {MAX_TAGS}")
    tx.delete(server_tag, server_tag.c.server_id == server_id)
    if wanted:
        tx.insert(server_tag, *({"server_id": server_id, "tag": tag} for tag in wanted))
    return wanted


# --- Locks -----------------------------------------------------------------------------------


def lock(ctx: Context, tx: Tx, row: Row, reason: str | None) -> None:
    """Refuse changes by anyone but administrators and, to unlock it, the one who locked it."""
    by_owner = row.project_id == ctx.project_id and not ctx.is_admin
    if row.locked_by == "admin" and by_owner:
        by_owner = False  # an owner's lock does not replace an administrator's
    change(tx, row.id, ctx, locked_by="owner" if by_owner else "admin", locked_reason=reason)


def unlock(ctx: Context, tx: Tx, row: Row) -> None:
    """Allow changes again. What an administrator locked takes the override rule."""
    if row.locked_by == "admin":
        ctx.authorize("os_compute_api:os-lock-server:unlock:unlock_override", target=target_of(row))
    change(tx, row.id, ctx, locked_by=None, locked_reason=None)


def reset_state(ctx: Context, tx: Tx, row: Row, vm_state: str) -> None:
    """Set vm_state by hand, and end the task that was under way."""
    from nubelet.kernel.operations import journal

    for record in journal.find(tx, subject_id=row.id, states=journal.OPEN):
        if record.kind != "delete_server":
            journal.cancel(tx, record.id, "os-resetState")
    change(
        tx,
        row.id,
        ctx,
        vm_state=vm_state,
        task_state=None,
        **({"fault": None} if vm_state == states.ACTIVE else {}),
    )
