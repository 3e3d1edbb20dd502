"""`/servers/{id}/os-instance-actions`: what was done to a server, by whom, and how it went.

What is told:  2.21   actions of deleted servers
               2.51   events to everybody (tracebacks to administrators)
               2.58   updated_at; pages, changes-since
               2.62   hostId of events, host to administrators
               2.66   changes-before
               2.84   details of events

API reference: https://docs.openstack.org/api-ref/compute/
#servers-actions-servers-os-instance-actions
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from nubelet.compute import instance_actions, servers
from nubelet.compute.api import schemas as s
from nubelet.compute.api.server_views import host_id
from nubelet.compute.instance_actions import NAMES, Event
from nubelet.kernel.clock import iso_micros, parse_iso
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.collections import read_limit
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route, by_version

_RULE = "os_compute_api:os-instance-actions:"
_EVENTS_RULE, _DETAILS_RULE = _RULE + "events", _RULE + "events:details"
_PAGING: s.Schema = {
    "limit": {**s.NUMBERS, "maxItems": 1},
    "marker": s.ONE_VALUE,
    "changes-since": s.ONE_VALUE,
}
_QUERY = by_version(
    ((2, 58), s.query(_PAGING, extra=False)),
    ((2, 66), s.query(_PAGING | {"changes-before": s.ONE_VALUE}, extra=False)),
)


def _server(ctx: Context, tx: Tx, request: Request) -> Any:
    row = servers.find(ctx, tx, request.params["server_id"], deleted=ctx.at_least(2, 21))
    ctx.authorize(target=servers.target_of(row))
    return row


def _view(ctx: Context, row: Any) -> dict[str, Any]:
    shown = {
        "action": NAMES[row.kind],
        "instance_uuid": row.subject_id,
        "request_id": row.request_id,
        "user_id": row.user_id or None,
        "project_id": row.project_id,
        "message": row.error,
        "start_time": iso_micros(row.created_at),
    }
    return shown | ({"updated_at": iso_micros(row.updated_at)} if ctx.at_least(2, 58) else {})


def list(ctx: Context, request: Request) -> object:
    """List the actions on a server, newest first."""
    limit, filters = None, {}
    if ctx.at_least(2, 58):
        limit = read_limit(request, ctx.cloud.settings.limits.page_size)
        filters = _filters(request)
    with ctx.cloud.database.read() as tx:
        server = _server(ctx, tx, request)
        rows = instance_actions.page(
            tx,
            server.id,
            marker=request.first("marker") if limit is not None else None,
            limit=None if limit is None else limit + 1,
            **filters,
        )
    answer: dict[str, Any] = {"instanceActions": [_view(ctx, row) for row in rows[:limit]]}
    if limit and len(rows) > limit:
        query = {name: values for name, values in request.query.items() if name != "marker"}
        text = urlencode(query | {"marker": [rows[limit - 1].request_id]}, doseq=True)
        answer["links"] = [{"rel": "next", "href": f"{request.url}?{text}"}]
    return answer


def _filters(request: Request) -> dict[str, int]:
    since = _moment(request, "changes-since")
    before = _moment(request, "changes-before")
    if since is not None and before is not None and since > before:
        raise BadRequest("The value of changes-since must be less than or equal to changes-before.")
    found = {"since": since, "before": before}
    return {name: value for name, value in found.items() if value is not None}


def _moment(request: Request, name: str) -> int | None:
    text = request.first(name)
    if text is None:
        return None
    try:
        return parse_iso(text)
    except ValueError:
        raise BadRequest(
            f"Invalid input for query parameters {name}. Value: {text[:60]}. "
            f"'{text[:60]}' is not a 'date-time'"
        ) from None


def show(ctx: Context, request: Request) -> object:
    """Show an action on a server with its events."""
    with ctx.cloud.database.read() as tx:
        server = _server(ctx, tx, request)
        row = instance_actions.find(tx, server.id, request.params["request_id"])
        events = instance_actions.events_of(tx, row, server.host)
    shown = _view(ctx, row)
    target = servers.target_of(server)
    sees_all = ctx.allows(_EVENTS_RULE, target)
    if sees_all or ctx.at_least(2, 51):
        sees_details = ctx.at_least(2, 84) and ctx.allows(_DETAILS_RULE, target)
        shown["events"] = [
            _event(ctx, each, row.project_id, sees_all, sees_details) for each in events
        ]
    return {"instanceAction": shown}


def _event(
    ctx: Context,
    each: Event,
    project_id: str,
    sees_all: bool,
    sees_details: bool,
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "event": each.name,
        "start_time": iso_micros(each.start),
        "finish_time": iso_micros(each.finish),
        "result": each.result,
    }
    if sees_all:
        shown["traceback"] = each.error
    if ctx.at_least(2, 62):
        shown["hostId"] = host_id(project_id, each.host) if each.host else ""
        if sees_all and each.host:
            shown["host"] = each.host
    if sees_details:
        shown["details"] = each.error
    return shown


_PATH = "/servers/{server_id}/os-instance-actions"

ROUTES = (
    Route(
        method="GET",
        path=_PATH,
        handler=list,
        rule=_RULE + "list",
        rule_needs_target=True,
        query=_QUERY,
        response={
            "type": "object",
            "properties": {"instanceActions": s.array(s.obj({}, extra=True))},
        },
    ),
    Route(
        method="GET",
        path=f"{_PATH}/{{request_id}}",
        handler=show,
        rule=_RULE + "show",
        rule_needs_target=True,
        response=s.answer("instanceAction", {}),
    ),
)
