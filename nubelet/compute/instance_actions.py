"""Actions on servers, as users know them: a view of the journal of operations.

An action is an operation that somebody asked for; its events are the runs of its steps. Only
operations that the Compute API has a name for are shown: what the cloud does by itself to bring a
server back is told by `nubelet explain`.

Read next: nubelet/kernel/operations/journal.py.

In OpenStack: nova/objects/instance_action.py, nova/compute/instance_actions.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from nubelet.compute.operations import (
    ATTACH_INTERFACE,
    CREATE_BACKUP,
    CREATE_IMAGE,
    CREATE_SERVER,
    DELETE_SERVER,
    DETACH_INTERFACE,
    POWER_OPERATIONS,
    REBUILD_SERVER,
)
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.operations.journal import operation, steps_of

Row = sa.Row[Any]

# Kind of operation -> name of the action.
NAMES: Final = {
    CREATE_SERVER.kind: "create",
    DELETE_SERVER.kind: "delete",
    REBUILD_SERVER.kind: "rebuild",
    CREATE_IMAGE.kind: "createImage",
    CREATE_BACKUP.kind: "createBackup",
    ATTACH_INTERFACE.kind: "attach_interface",
    DETACH_INTERFACE.kind: "detach_interface",
    **{each.kind: name for name, each in POWER_OPERATIONS.items()},
}
_c = operation.c
_COLUMNS = (
    _c.seq,
    _c.id,
    _c.kind,
    _c.project_id,
    _c.subject_id,
    _c.user_id,
    _c.request_id,
    _c.error,
    _c.created_at,
    _c.updated_at,
)


@dataclass(frozen=True)
class Event:
    """One run of a step. Times in microseconds; result is None while it runs."""

    name: str
    start: int
    finish: int | None
    result: str | None
    error: str | None
    host: str | None


def _of_server(server_id: str, *columns: Any) -> sa.Select[Any]:
    return sa.select(*(columns or _COLUMNS)).where(
        _c.subject_id == server_id, _c.subject_type == "server", _c.kind.in_(NAMES)
    )


def page(
    tx: Tx,
    server_id: str,
    *,
    since: int | None = None,
    before: int | None = None,
    marker: str | None = None,
    limit: int | None = None,
) -> list[Row]:
    """The actions on a server, newest first.

    since/before: last changed not earlier, not later (microseconds). marker: the request id of
    the action to begin behind; raises BadRequest when there is none.
    """
    statement = _of_server(server_id)
    if since is not None:
        statement = statement.where(_c.updated_at >= since)
    if before is not None:
        statement = statement.where(_c.updated_at <= before)
    if marker is not None:
        after = tx.scalar(_of_server(server_id, sa.func.min(_c.seq)).where(_c.request_id == marker))
        if after is None:
            raise BadRequest(f"marker [{marker}] not found")
        statement = statement.where(_c.seq < after)
    return [*tx.all(statement.order_by(_c.seq.desc()).limit(limit))]


def find(tx: Tx, server_id: str, request_id: str) -> Row:
    """The action that a request started; raises NotFound."""
    more = (_c.state, _c.step, _c.step_started_at, _c.waits, _c.finished_at, _c.inputs)
    row = tx.first(
        _of_server(server_id, *_COLUMNS, *more)
        .where(_c.request_id == request_id)
        .order_by(_c.seq)
        .limit(1)
    )
    if row is None:
        raise NotFound(
            message=f"Action for request_id {request_id} on instance {server_id} not found"
        )
    return row


def events_of(tx: Tx, action: Row, host: str | None) -> list[Event]:
    """What was done, in order. `host`: of the server, for steps before which none was chosen."""
    host = action.inputs.get("host") or host
    found = []
    for each in steps_of(tx, [action.id]):
        host = (each.outputs or {}).get("host") or host
        prefix = "compute_undo_" if each.direction == "undo" else "compute_"
        result = {"done": "Success", "failed": "Error"}.get(each.state)
        found.append(
            Event(prefix + each.name, each.started_at, each.finished_at, result, each.error, host)
        )
    if action.finished_at is None and action.step_started_at and not action.waits:
        prefix = "compute_undo_" if action.state == "unwinding" else "compute_"
        found.append(Event(prefix + action.step, action.step_started_at, None, None, None, host))
    return found
