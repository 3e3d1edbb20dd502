"""`/os-hosts` (until 2.42): hosts by their zones, and what they have and give out.

Switching a host on or off, and maintenance mode, are things that its hypervisor would have to
do; none here can, which is answered as upstream does, with 501.

API reference: https://docs.openstack.org/api-ref/compute/#hosts-os-hosts-deprecated
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.compute import aggregates, hosts, hypervisors
from nubelet.compute.api import schemas as s
from nubelet.compute.model import server
from nubelet.kernel.context import Context
from nubelet.kernel.errors import NotImplementedByDriver
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Handler, Route

_RULE, _ONE, _UNTIL = "os_compute_api:os-hosts:", "/os-hosts/{host_name}", (2, 42)
_SERVICE = "compute"
_SWITCH: s.Schema = {
    "type": "string",
    "enum": ["enable", "Enable", "ENABLE", "disable", "Disable", "DISABLE"],
}
_UPDATE: s.Schema = {**s.obj({"status": _SWITCH, "maintenance_mode": _SWITCH}), "minProperties": 1}
_QUERY = s.query({"zone": s.ANY_VALUES, "service": s.ANY_VALUES})


def list(ctx: Context, request: Request) -> object:
    """List hosts, of all zones or of one."""
    zone = request.first("zone")
    with ctx.cloud.database.read() as tx:
        rows, zones = hosts.all_hosts(tx), aggregates.zones(tx)
    if request.first("service") not in (None, "", _SERVICE):
        rows = []
    return {
        "hosts": [
            {"host_name": row.name, "service": _SERVICE, "zone": zones[row.name]}
            for row in rows
            if zone in (None, "", zones[row.name])
        ]
    }


def _resource(host: str, project: str, cpu: int, memory_mb: int, disk_gb: int) -> dict[str, Any]:
    return {
        "resource": {
            "host": host,
            "project": project,
            "cpu": cpu,
            "memory_mb": memory_mb,
            "disk_gb": disk_gb,
        }
    }


def show(ctx: Context, request: Request) -> object:
    """Show what a host has, what is in use, and by which projects."""
    name = request.params["host_name"]
    with ctx.cloud.database.read() as tx:
        each = hypervisors.read(ctx.cloud, tx, [hosts.find(tx, name)])[0]
        rows = tx.all(
            sa.select(server.c.project_id, server.c.vcpus, server.c.memory_mb, server.c.flavor)
            .where(server.c.host == name, server.c.deleted_at.is_(None))
            .order_by(server.c.project_id)
        )
    sums: dict[str, tuple[int, int, int]] = {"(used_max)": (0, 0, 0)}
    for row in rows:
        disk_gb = row.flavor["root_gb"] + row.flavor["ephemeral_gb"]
        for project in ("(used_max)", row.project_id):
            cpu, memory, disk = sums.get(project, (0, 0, 0))
            sums[project] = (cpu + row.vcpus, memory + row.memory_mb, disk + disk_gb)
    return {
        "host": [
            _resource(name, "(total)", each.state.vcpus, each.state.memory_mb, each.state.disk_gb),
            _resource(name, "(used_now)", each.vcpus_used, each.memory_mb_used, each.disk_gb_used),
            *(_resource(name, project, *amounts) for project, amounts in sums.items()),
        ]
    }


def update(ctx: Context, request: Request) -> object:
    """Let a host take servers or no new ones."""
    name, given = request.params["host_name"], request.body
    with ctx.cloud.database.write() as tx:
        row = hosts.find(tx, name)
        if "maintenance_mode" in given:
            raise NotImplementedByDriver(
                "The hypervisors of this cloud have no maintenance mode "
                "of their own; disable the compute service instead."
            )
        enabled = given["status"].lower() == "enable"
        hosts.set_disabled(tx, row, not enabled)
    return {"host": name, "status": "enabled" if enabled else "disabled"}


def _power(action: str) -> Handler:
    def handler(ctx: Context, request: Request) -> object:
        with ctx.cloud.database.read() as tx:
            hosts.find(tx, request.params["host_name"])
        raise NotImplementedByDriver(
            f"The hypervisors of this cloud cannot do a {action} of their host."
        )

    handler.__doc__ = f"Ask for a {action} of a host."
    return handler


_SHOWN: s.Schema = {"type": "object", "properties": {"host": {}}}

ROUTES = (
    Route(
        method="GET",
        path="/os-hosts",
        handler=list,
        rule=_RULE + "list",
        until=_UNTIL,
        query=_QUERY,
        response={"type": "object", "properties": {"hosts": s.array(s.obj({}, extra=True))}},
    ),
    Route(
        method="GET", path=_ONE, handler=show, rule=_RULE + "show", until=_UNTIL, response=_SHOWN
    ),
    Route(
        method="PUT",
        path=_ONE,
        handler=update,
        rule=_RULE + "update",
        until=_UNTIL,
        body=_UPDATE,
        response=_SHOWN,
    ),
    Route(
        method="GET",
        path=f"{_ONE}/startup",
        handler=_power("startup"),
        rule=_RULE + "start",
        until=_UNTIL,
        response=_SHOWN,
    ),
    Route(
        method="GET",
        path=f"{_ONE}/shutdown",
        handler=_power("shutdown"),
        rule=_RULE + "shutdown",
        until=_UNTIL,
        response=_SHOWN,
    ),
    Route(
        method="GET",
        path=f"{_ONE}/reboot",
        handler=_power("reboot"),
        rule=_RULE + "reboot",
        until=_UNTIL,
        response=_SHOWN,
    ),
)
