"""`/os-availability-zone`: the zones, and for administrators the hosts in them.

API reference: https://docs.openstack.org/api-ref/compute/#availability-zones-os-availability-zone
"""

from __future__ import annotations

from typing import Any

from nubelet.compute import aggregates, hosts
from nubelet.compute.api import schemas as s
from nubelet.kernel.clock import iso_micros
from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route

_RULE = "os_compute_api:os-availability-zone:"
Hosts = list[hosts.Row]


def _zones(ctx: Context) -> dict[str, Hosts]:
    """Zone -> its hosts (rows), zones in the order of their names."""
    with ctx.cloud.database.read() as tx:
        rows, zones = hosts.all_hosts(tx), aggregates.zones(tx)
    found: dict[str, Hosts] = {}
    for row in rows:
        found.setdefault(zones[row.name], []).append(row)
    return dict(sorted(found.items()))


def _zone(name: str, rows: Hosts, shown: Any = None) -> dict[str, Any]:
    """A zone is available while one of its hosts takes servers."""
    return {
        "zoneName": name,
        "hosts": shown,
        "zoneState": {"available": any(not row.disabled for row in rows)},
    }


def list(ctx: Context, request: Request) -> object:
    """List availability zones."""
    return {"availabilityZoneInfo": [_zone(*item) for item in _zones(ctx).items()]}


def list_details(ctx: Context, request: Request) -> object:
    """List availability zones with their hosts."""
    settings = ctx.cloud.settings
    return {
        "availabilityZoneInfo": [
            _zone(
                name,
                rows,
                {
                    row.name: {
                        hosts.BINARY: {
                            "active": not row.disabled,
                            "available": hosts.is_up(settings, row),
                            "updated_at": iso_micros(row.seen_at),
                        }
                    }
                    for row in rows
                },
            )
            for name, rows in _zones(ctx).items()
        ]
    }


_LISTED: s.Schema = {
    "type": "object",
    "properties": {
        "availabilityZoneInfo": s.array(s.obj({"zoneName": {"type": "string"}}, extra=True))
    },
}

ROUTES = (
    Route(
        method="GET",
        path="/os-availability-zone",
        handler=list,
        rule=_RULE + "list",
        response=_LISTED,
    ),
    Route(
        method="GET",
        path="/os-availability-zone/detail",
        handler=list_details,
        rule=_RULE + "detail",
        response=_LISTED,
    ),
)
