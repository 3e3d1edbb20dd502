"""`/os-services`: list, enable, disable, force down, delete.

What is shown and asked:  2.11   forced_down
                          2.53   ids are UUIDs; one PUT of the service for all changes
                          2.75   unknown query parameters are refused

API reference: https://docs.openstack.org/api-ref/compute/#compute-services-os-services
"""

from __future__ import annotations

from typing import Any

from nubelet.compute import aggregates, compute_services, hosts
from nubelet.compute.api import schemas as s
from nubelet.kernel.clock import iso_micros
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route, by_version

_RULE = "os_compute_api:os-services:"
_REASON: s.Schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"\S"}
_NAMED: s.Schema = {
    "host": s.HOSTNAME,
    "binary": {"type": "string", "minLength": 1, "maxLength": 255},
}
_FILTERS: s.Schema = {"host": s.ANY_VALUES, "binary": s.ANY_VALUES}
_LIST_QUERY = by_version(((2, 1), s.query(_FILTERS)), ((2, 75), s.query(_FILTERS, extra=False)))


def _named(extra: s.Schema, required: tuple[str, ...] = ()) -> s.Schema:
    return s.obj(_NAMED | extra, ("host", "binary", *required))


_OLD_BODY = by_version(
    ((2, 1), _named({"disabled_reason": _REASON})),
    ((2, 11), _named({"disabled_reason": _REASON, "forced_down": s.BOOLEAN})),
)
_REASON_BODY = by_version(
    ((2, 1), _named({"disabled_reason": _REASON}, ("disabled_reason",))),
    ((2, 11), _named({"disabled_reason": _REASON, "forced_down": s.BOOLEAN}, ("disabled_reason",))),
)
_FORCE_BODY = _named({"disabled_reason": _REASON, "forced_down": s.BOOLEAN}, ("forced_down",))
_UPDATE_BODY = s.obj(
    {
        "status": {"type": "string", "enum": ["enabled", "disabled"]},
        "disabled_reason": _REASON,
        "forced_down": s.BOOLEAN,
    }
)


def _status(row: Any) -> str:
    return "disabled" if row.disabled else "enabled"


def _view(ctx: Context, row: Any, zone: str) -> dict[str, Any]:
    shown = {
        "id": row.service_id if ctx.at_least(2, 53) else row.auto_id,
        "binary": hosts.BINARY,
        "host": row.name,
        "zone": zone,
        "status": _status(row),
        "state": "up" if hosts.is_up(ctx.cloud.settings, row) else "down",
        "updated_at": iso_micros(row.seen_at),
        "disabled_reason": row.disabled_reason,
    }
    return shown | ({"forced_down": row.forced_down} if ctx.at_least(2, 11) else {})


def list(ctx: Context, request: Request) -> object:
    """List compute services."""
    with ctx.cloud.database.read() as tx:
        rows = compute_services.matching(tx, request.query.get("host"), request.query.get("binary"))
        zones = aggregates.zones(tx)
    return {"services": [_view(ctx, row, zones[row.name]) for row in rows]}


# --- Until 2.52: one URL per change --------------------------------------------------------------


def _changed(ctx: Context, request: Request, **shown: Any) -> dict[str, Any]:
    return {"service": {"host": request.body["host"], "binary": request.body["binary"], **shown}}


def _named_host(tx: Tx, request: Request) -> Any:
    return compute_services.find_named(tx, request.body["host"], request.body["binary"])


def enable(ctx: Context, request: Request) -> object:
    """Let a host take servers again."""
    with ctx.cloud.database.write() as tx:
        hosts.set_disabled(tx, _named_host(tx, request), False)
    return _changed(ctx, request, status="enabled")


def disable(ctx: Context, request: Request) -> object:
    """Let a host take no new servers."""
    with ctx.cloud.database.write() as tx:
        hosts.set_disabled(tx, _named_host(tx, request), True)
    return _changed(ctx, request, status="disabled")


def disable_log_reason(ctx: Context, request: Request) -> object:
    """Let a host take no new servers, and say why."""
    reason = request.body["disabled_reason"]
    with ctx.cloud.database.write() as tx:
        hosts.set_disabled(tx, _named_host(tx, request), True, reason)
    return _changed(ctx, request, status="disabled", disabled_reason=reason)


def force_down(ctx: Context, request: Request) -> object:
    """Say that a host is down, or believe its heartbeats again."""
    forced = s.as_bool(request.body["forced_down"])
    with ctx.cloud.database.write() as tx:
        hosts.set_forced_down(tx, _named_host(tx, request), forced)
    return _changed(ctx, request, forced_down=forced)


# --- Since 2.53 ----------------------------------------------------------------------------------


def update(ctx: Context, request: Request) -> object:
    """Enable, disable or force down a service."""
    given = request.body
    status, reason = given.get("status"), given.get("disabled_reason")
    if reason is not None and status != "disabled":
        raise BadRequest("Specifying disabled_reason requires that status is 'disabled'.")
    if status is None and "forced_down" not in given:
        raise BadRequest(
            "No updates were requested. Fields 'status' or 'forced_down' should be specified."
        )
    with ctx.cloud.database.write() as tx:
        row = compute_services.find(tx, request.params["service_id"], by_uuid=True)
        if status is not None:
            row = hosts.set_disabled(tx, row, status == "disabled", reason)
        if "forced_down" in given:
            row = hosts.set_forced_down(tx, row, s.as_bool(given["forced_down"]))
        zone = aggregates.zones(tx)[row.name]
    return {"service": _view(ctx, row, zone)}


def delete(ctx: Context, request: Request) -> object:
    """Forget a compute service whose host has no servers."""
    with ctx.cloud.database.write() as tx:
        row = compute_services.find(tx, request.params["service_id"], by_uuid=ctx.at_least(2, 53))
        hosts.remove(tx, row)
    return None


_UPDATE, _ONE = _RULE + "update", "/os-services/{service_id}"
_SHOWN = s.answer("service", {})
_UNTIL = (2, 52)

ROUTES = (
    Route(
        method="GET",
        path="/os-services",
        handler=list,
        rule=_RULE + "list",
        query=_LIST_QUERY,
        response={"type": "object", "properties": {"services": s.array(s.obj({}, extra=True))}},
    ),
    Route(
        method="PUT",
        path="/os-services/enable",
        handler=enable,
        rule=_UPDATE,
        until=_UNTIL,
        body=_OLD_BODY,
        response=_SHOWN,
    ),
    Route(
        method="PUT",
        path="/os-services/disable",
        handler=disable,
        rule=_UPDATE,
        until=_UNTIL,
        body=_OLD_BODY,
        response=_SHOWN,
    ),
    Route(
        method="PUT",
        path="/os-services/disable-log-reason",
        handler=disable_log_reason,
        rule=_UPDATE,
        until=_UNTIL,
        body=_REASON_BODY,
        response=_SHOWN,
    ),
    Route(
        method="PUT",
        path="/os-services/force-down",
        handler=force_down,
        rule=_UPDATE,
        since=(2, 11),
        until=_UNTIL,
        body=_FORCE_BODY,
        response=_SHOWN,
    ),
    Route(
        method="PUT",
        path=_ONE,
        handler=update,
        rule=_UPDATE,
        since=(2, 53),
        body=_UPDATE_BODY,
        response=_SHOWN,
    ),
    Route(method="DELETE", path=_ONE, handler=delete, rule=_RULE + "delete", status=204),
)
