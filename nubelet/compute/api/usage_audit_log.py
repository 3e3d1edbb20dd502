"""`/os-instance_usage_audit_log`: which hosts have reported the use of a month.

Where usage is audited by tasks on the hosts, this tells which of them ran. Here usage is computed
from rows whenever somebody asks (`/os-simple-tenant-usage`), so no host ever has to run one.

API reference: https://docs.openstack.org/api-ref/compute/
#server-usage-audit-log-os-instance-usage-audit-log
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from nubelet.compute import hosts
from nubelet.compute.api import schemas as s
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route

_RULE, _PATH = "os_compute_api:os-instance-usage-audit-log:", "/os-instance_usage_audit_log"
_FORMATS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S.%f")


def _log(ctx: Context, before: datetime) -> dict[str, Any]:
    """The audits of the last whole month before a time."""
    end = before.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    year, month = divmod(end.year * 12 + end.month - 2, 12)
    begin = end.replace(year=year, month=month + 1)
    with ctx.cloud.database.read() as tx:
        names = [row.name for row in hosts.all_hosts(tx)]
    return {
        "period_beginning": str(begin.replace(tzinfo=None)),
        "period_ending": str(end.replace(tzinfo=None)),
        "num_hosts": len(names),
        "num_hosts_done": 0,
        "num_hosts_running": 0,
        "num_hosts_not_run": len(names),
        "hosts_not_run": names,
        "log": {},
        "total_instances": 0,
        "total_errors": 0,
        "overall_status": f"0 of {len(names)} hosts done. 0 errors.",
    }


def list(ctx: Context, request: Request) -> object:
    """Show the audits of the last whole month."""
    return {"instance_usage_audit_logs": _log(ctx, clock.to_datetime(clock.now()))}


def show(ctx: Context, request: Request) -> object:
    """Show the audits of the last whole month before a time."""
    text = request.params["before_timestamp"]
    for form in _FORMATS:
        try:
            before = datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        if before.year > 1:
            return {"instance_usage_audit_log": _log(ctx, before)}
    raise BadRequest(f"Invalid timestamp for date {text[:60]}")


ROUTES = (
    Route(
        method="GET",
        path=_PATH,
        handler=list,
        rule=_RULE + "list",
        response=s.answer("instance_usage_audit_logs", {}),
    ),
    Route(
        method="GET",
        path=f"{_PATH}/{{before_timestamp}}",
        handler=show,
        rule=_RULE + "show",
        response=s.answer("instance_usage_audit_log", {}),
    ),
)
