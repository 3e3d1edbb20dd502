"""`/os-hypervisors`: list, details, show, uptime, search, servers, statistics.

What is shown:  2.1    numbers of use, cpu_info as text
                2.28   cpu_info as an object
                2.33   pages
                2.53   ids are UUIDs; with_servers and hypervisor_hostname_pattern
                2.88   uptime; what placement knows is no longer told here

API reference: https://docs.openstack.org/api-ref/compute/#hypervisors-os-hypervisors
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from nubelet.compute import hypervisors
from nubelet.compute.api import schemas as s
from nubelet.compute.hypervisors import Hypervisor, Row
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.collections import read_limit
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route, by_version
from nubelet.node.wire import HostState

_RULE = "os_compute_api:os-hypervisors:"
_PATH = "/os-hypervisors"
_FLAG: s.Schema = {
    "type": "array",
    "maxItems": 1,
    "items": {
        "type": "string",
        "enum": [text for text in s.BOOLEAN["enum"] if isinstance(text, str)],
    },
}
_ONE_HOSTNAME: s.Schema = {"type": "array", "maxItems": 1, "items": s.HOSTNAME}
_LIST_QUERY = by_version(
    ((2, 33), s.query(s.PAGING)),
    (
        (2, 53),
        s.query(
            {
                "limit": {**s.NUMBERS, "maxItems": 1},
                "marker": s.ONE_VALUE,
                "with_servers": _FLAG,
                "hypervisor_hostname_pattern": _ONE_HOSTNAME,
            },
            extra=False,
        ),
    ),
)
_SHOW_QUERY = by_version(((2, 53), s.query({"with_servers": _FLAG}, extra=False)))


# --- Shapes --------------------------------------------------------------------------------------


def _brief(ctx: Context, each: Hypervisor) -> dict[str, Any]:
    row = each.row
    return {
        "id": row.hypervisor_id if ctx.at_least(2, 53) else row.auto_id,
        "hypervisor_hostname": row.name,
        "state": "up" if each.up else "down",
        "status": "disabled" if row.disabled else "enabled",
    }


def _with_servers(ctx: Context, shown: dict[str, Any], each: Hypervisor) -> dict[str, Any]:
    """Servers are left out where there are none, until 2.75."""
    if each.servers or ctx.at_least(2, 75):
        shown["servers"] = [{"uuid": row.id, "name": row.name} for row in each.servers]
    return shown


def _detailed(ctx: Context, each: Hypervisor) -> dict[str, Any]:
    row, state = each.row, each.state
    shown = _brief(ctx, each) | {
        "host_ip": state.ip,
        "hypervisor_type": state.hypervisor_type,
        "hypervisor_version": state.hypervisor_version,
        "service": {
            "host": row.name,
            "disabled_reason": row.disabled_reason,
            "id": row.service_id if ctx.at_least(2, 53) else row.auto_id,
        },
    }
    if ctx.at_least(2, 88):
        return shown | {"uptime": state.uptime if each.up and state.uptime else None}
    cpu = _cpu_info(state)
    return shown | {
        "cpu_info": cpu if ctx.at_least(2, 28) else msgspec.json.encode(cpu).decode(),
        **_numbers(each),
    }


def _cpu_info(state: HostState) -> dict[str, Any]:
    return {
        "arch": state.cpu_arch,
        "model": state.cpu_model,
        "vendor": state.cpu_vendor,
        "features": [*state.cpu_features],
        "topology": {
            "sockets": state.cpu_sockets,
            "cores": state.cpu_cores,
            "threads": state.cpu_threads,
        },
    }


def _numbers(each: Hypervisor) -> dict[str, int]:
    """What placement keeps; here until 2.87."""
    return {
        "vcpus": each.state.vcpus,
        "vcpus_used": each.vcpus_used,
        "memory_mb": each.state.memory_mb,
        "memory_mb_used": each.memory_mb_used,
        "free_ram_mb": each.state.memory_mb - each.memory_mb_used,
        "local_gb": each.state.disk_gb,
        "local_gb_used": each.disk_gb_used,
        "free_disk_gb": each.state.disk_gb - each.disk_gb_used,
        "disk_available_least": each.state.free_disk_gb,
        "running_vms": each.running_servers,
        "current_workload": each.tasks,
    }


# --- Lists ---------------------------------------------------------------------------------------


def list(ctx: Context, request: Request) -> object:
    """List hypervisors."""
    return _list(ctx, request, _brief)


def list_details(ctx: Context, request: Request) -> object:
    """List hypervisors with details."""
    return _list(ctx, request, _detailed)


def _list(
    ctx: Context,
    request: Request,
    view: Callable[[Context, Hypervisor], dict[str, Any]],
) -> object:
    with_servers = _asks_for_servers(ctx, request)
    with ctx.cloud.database.read() as tx:
        rows, link = _rows(ctx, tx, request)
        found = hypervisors.read(ctx.cloud, tx, rows, with_servers=with_servers)
    items = [view(ctx, each) for each in found]
    if with_servers:
        items = [_with_servers(ctx, *pair) for pair in zip(items, found, strict=True)]
    answer: dict[str, Any] = {"hypervisors": items}
    return answer | ({"hypervisors_links": link} if link else {})


def _asks_for_servers(ctx: Context, request: Request) -> bool:
    return ctx.at_least(2, 53) and s.as_bool(request.first("with_servers", "false"))


def _rows(ctx: Context, tx: Tx, request: Request) -> tuple[Sequence[Row], object]:
    pattern = request.first("hypervisor_hostname_pattern") if ctx.at_least(2, 53) else None
    if pattern is not None:
        if "limit" in request.query or "marker" in request.query:
            raise BadRequest(
                "Paging over hypervisors with the hypervisor_hostname_pattern query "
                "parameter is not supported."
            )
        return hypervisors.search(tx, pattern), None
    if not ctx.at_least(2, 33):
        return hypervisors.page(tx, marker=None, limit=None, by_uuid=False), None
    limit = read_limit(request, ctx.cloud.settings.limits.page_size)
    assert limit is not None
    by_uuid = ctx.at_least(2, 53)
    rows = hypervisors.page(tx, marker=request.first("marker"), limit=limit + 1, by_uuid=by_uuid)
    if len(rows) <= limit or not limit:
        return rows[:limit], None
    last = rows[limit - 1]
    query = {name: values for name, values in request.query.items() if name != "marker"}
    query["marker"] = [last.hypervisor_id if by_uuid else str(last.auto_id)]
    return rows[:limit], [{"rel": "next", "href": f"{request.url}?{urlencode(query, doseq=True)}"}]


# --- Single ones ---------------------------------------------------------------------------------


def _one(ctx: Context, request: Request, *, with_servers: bool = False) -> Hypervisor:
    with ctx.cloud.database.read() as tx:
        row = hypervisors.find(tx, request.params["hypervisor_id"], by_uuid=ctx.at_least(2, 53))
        return hypervisors.read(ctx.cloud, tx, [row], with_servers=with_servers)[0]


def show(ctx: Context, request: Request) -> object:
    """Show a hypervisor."""
    with_servers = _asks_for_servers(ctx, request)
    each = _one(ctx, request, with_servers=with_servers)
    shown = _detailed(ctx, each)
    return {"hypervisor": _with_servers(ctx, shown, each) if with_servers else shown}


def uptime(ctx: Context, request: Request) -> object:
    """Show how long a hypervisor has been running."""
    each = _one(ctx, request)
    if not each.up or not each.state.uptime:
        raise BadRequest(f"The uptime of {each.row.name} is not known: the host is down.")
    return {"hypervisor": _brief(ctx, each) | {"uptime": each.state.uptime}}


def search(ctx: Context, request: Request) -> object:
    """List the hypervisors whose name contains a text."""
    return {"hypervisors": [_brief(ctx, each) for each in _matching(ctx, request, False)]}


def servers(ctx: Context, request: Request) -> object:
    """List the servers of the hypervisors whose name contains a text."""
    return {
        "hypervisors": [
            _with_servers(ctx, _brief(ctx, each), each) for each in _matching(ctx, request, True)
        ]
    }


def _matching(ctx: Context, request: Request, with_servers: bool) -> Sequence[Hypervisor]:
    with ctx.cloud.database.read() as tx:
        rows = hypervisors.search(tx, request.params["hypervisor_hostname_pattern"])
        return hypervisors.read(ctx.cloud, tx, rows, with_servers=with_servers)


def statistics(ctx: Context, request: Request) -> object:
    """Sum up all hypervisors that take servers."""
    with ctx.cloud.database.read() as tx:
        rows = hypervisors.page(tx, marker=None, limit=None, by_uuid=False)
        found = hypervisors.read(ctx.cloud, tx, [row for row in rows if not row.disabled])
    sums = dict.fromkeys(
        (
            "vcpus",
            "vcpus_used",
            "memory_mb",
            "memory_mb_used",
            "free_ram_mb",
            "local_gb",
            "local_gb_used",
            "free_disk_gb",
            "disk_available_least",
            "running_vms",
            "current_workload",
        ),
        0,
    )
    for each in found:
        for name, number in _numbers(each).items():
            sums[name] += number
    return {"hypervisor_statistics": {"count": len(found), **sums}}


_LISTED: s.Schema = {
    "type": "object",
    "properties": {"hypervisors": s.array(s.obj({}, extra=True))},
}
_SHOWN = s.answer("hypervisor", {})
_UNTIL_PATTERNS, _UNTIL_USE = (2, 52), (2, 87)

ROUTES = (
    Route(
        method="GET",
        path=_PATH,
        handler=list,
        rule=_RULE + "list",
        query=_LIST_QUERY,
        response=_LISTED,
    ),
    Route(
        method="GET",
        path=f"{_PATH}/detail",
        handler=list_details,
        rule=_RULE + "list-detail",
        query=_LIST_QUERY,
        response=_LISTED,
    ),
    Route(
        method="GET",
        path=f"{_PATH}/statistics",
        handler=statistics,
        rule=_RULE + "statistics",
        until=_UNTIL_USE,
        response=s.answer("hypervisor_statistics", {}),
    ),
    Route(
        method="GET",
        path=f"{_PATH}/{{hypervisor_id}}",
        handler=show,
        rule=_RULE + "show",
        query=_SHOW_QUERY,
        response=_SHOWN,
    ),
    Route(
        method="GET",
        path=f"{_PATH}/{{hypervisor_id}}/uptime",
        handler=uptime,
        rule=_RULE + "uptime",
        until=_UNTIL_USE,
        response=_SHOWN,
    ),
    Route(
        method="GET",
        path=f"{_PATH}/{{hypervisor_hostname_pattern}}/search",
        handler=search,
        rule=_RULE + "search",
        until=_UNTIL_PATTERNS,
        response=_LISTED,
    ),
    Route(
        method="GET",
        path=f"{_PATH}/{{hypervisor_hostname_pattern}}/servers",
        handler=servers,
        rule=_RULE + "servers",
        until=_UNTIL_PATTERNS,
        response=_LISTED,
    ),
)
