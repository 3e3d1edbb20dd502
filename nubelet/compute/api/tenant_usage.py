"""`/os-simple-tenant-usage`: what projects used within a period; since 2.40 in pages.

Pages are of servers, not of projects: a project may appear again on the next page.

API reference: https://docs.openstack.org/api-ref/compute/#usage-reports-os-simple-tenant-usage
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from nubelet.compute import usage
from nubelet.compute.api import schemas as s
from nubelet.compute.usage import Period, ProjectUsage
from nubelet.kernel import clock
from nubelet.kernel.clock import iso_micros
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.collections import read_limit
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route, by_version

_RULE = "os_compute_api:os-simple-tenant-usage:"
Links = list[dict[str, str]]
_FORMATS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f")
_PERIOD: s.Schema = {"start": s.ANY_VALUES, "end": s.ANY_VALUES}
_DETAILED: s.Schema = {"detailed": s.ANY_VALUES}
_LIST_QUERY = by_version(
    ((2, 1), s.query(_PERIOD | _DETAILED)),
    ((2, 40), s.query(_PERIOD | _DETAILED | s.PAGING)),
    ((2, 75), s.query(_PERIOD | _DETAILED | s.PAGING, extra=False)),
)
_SHOW_QUERY = by_version(
    ((2, 1), s.query(_PERIOD)),
    ((2, 40), s.query(_PERIOD | s.PAGING)),
    ((2, 75), s.query(_PERIOD | s.PAGING, extra=False)),
)


def _period(request: Request) -> Period:
    now = clock.now()
    start, stop = _moment(request.first("start")), _moment(request.first("end"))
    period = Period(now - 1 if start is None else start, now if stop is None else stop)
    if period.start >= period.stop:
        raise BadRequest("Invalid start time. The start time cannot occur after the end time.")
    return period


def _moment(text: str | None) -> int | None:
    if not text:
        return None
    for form in _FORMATS:
        try:
            return clock.from_datetime(datetime.strptime(text, form))
        except ValueError:
            continue
    raise BadRequest(f"Datetime is in invalid format: {text[:60]}")


def _view(project: ProjectUsage, period: Period, *, detailed: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "tenant_id": project.project_id,
        "start": iso_micros(period.start),
        "stop": iso_micros(period.stop),
        "total_hours": project.hours,
        "total_vcpus_usage": project.vcpu_hours,
        "total_memory_mb_usage": project.memory_mb_hours,
        "total_local_gb_usage": project.local_gb_hours,
    }
    if detailed:
        shown["server_usages"] = [_server_view(each) for each in project.servers]
    return shown


def _server_view(each: usage.ServerUsage) -> dict[str, Any]:
    row = each.row
    ended = row.terminated_at is not None
    return {
        "instance_id": row.id,
        "name": row.name,
        "tenant_id": row.project_id,
        "flavor": row.flavor["name"],
        "vcpus": row.vcpus,
        "memory_mb": row.memory_mb,
        "local_gb": each.local_gb,
        "hours": each.hours,
        "uptime": each.uptime_seconds,
        "started_at": iso_micros(row.launched_at),
        "ended_at": iso_micros(row.terminated_at),
        "state": "terminated" if ended else row.vm_state,
    }


def _read(
    ctx: Context,
    request: Request,
    period: Period,
    project_id: str | None,
) -> tuple[Sequence[Any], Links]:
    """The servers of the page, and the link to the next."""
    limit = marker = None
    if ctx.at_least(2, 40):
        limit, marker = (
            read_limit(request, ctx.cloud.settings.limits.page_size),
            request.first("marker"),
        )
    with ctx.cloud.database.read() as tx:
        rows = usage.servers_within(
            tx, period, project_id, marker=marker, limit=None if limit is None else limit + 1
        )
    if limit is None or len(rows) <= limit or not limit:
        return rows[:limit], []
    query = {name: values for name, values in request.query.items() if name != "marker"}
    text = urlencode(query | {"marker": [rows[limit - 1].id]}, doseq=True)
    return rows[:limit], [{"rel": "next", "href": f"{request.url}?{text}"}]


def list(ctx: Context, request: Request) -> object:
    """Show what each project used."""
    period, now = _period(request), clock.now()
    rows, links = _read(ctx, request, period, None)
    detailed = request.first("detailed") == "1"
    answer: dict[str, Any] = {
        "tenant_usages": [
            _view(project, period, detailed=detailed)
            for project in usage.by_project(rows, period, now)
        ]
    }
    return answer | ({"tenant_usages_links": links} if links else {})


def show(ctx: Context, request: Request) -> object:
    """Show what a project used; nothing when it had no servers."""
    project_id = request.params["tenant_id"]
    ctx.authorize(target={"project_id": project_id})
    period, now = _period(request), clock.now()
    rows, links = _read(ctx, request, period, project_id)
    found = usage.by_project(rows, period, now)
    answer: dict[str, Any] = {
        "tenant_usage": _view(found[0], period, detailed=True) if found else {}
    }
    return answer | ({"tenant_usage_links": links} if links else {})


ROUTES = (
    Route(
        method="GET",
        path="/os-simple-tenant-usage",
        handler=list,
        rule=_RULE + "list",
        query=_LIST_QUERY,
        response={
            "type": "object",
            "properties": {"tenant_usages": s.array(s.obj({}, extra=True))},
        },
    ),
    Route(
        method="GET",
        path="/os-simple-tenant-usage/{tenant_id}",
        handler=show,
        rule=_RULE + "show",
        rule_needs_target=True,
        query=_SHOW_QUERY,
        response=s.answer("tenant_usage", {}),
    ),
)
