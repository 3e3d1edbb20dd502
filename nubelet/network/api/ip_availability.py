"""/network-ip-availabilities: how many addresses networks have, and have given out.

API reference: https://docs.openstack.org/api-ref/network/v2/#network-ip-availability-and-usage-stats
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.network import allocation, refusals
from nubelet.network.api.noun import View, chosen
from nubelet.network.model import network, port_address, subnet

_FILTERS = {
    "network_id": network.c.id,
    "network_name": network.c.name,
    "project_id": network.c.project_id,
    "tenant_id": network.c.project_id,
}


def list_all(ctx: Context, request: Request) -> View:
    """All networks with subnets."""
    statement = sa.select(network)
    for name, values in request.query.items():
        if name in _FILTERS:
            statement = statement.where(_FILTERS[name].in_(values))
        elif name not in ("ip_version", "fields"):
            raise refusals.malformed(f"['{name}'] is invalid attribute for filtering")
    versions = [int(each) for each in request.query.get("ip_version", ()) if each in ("4", "6")]
    with ctx.cloud.database.read() as tx:
        rows = tx.all(statement.order_by(network.c.created_at, network.c.id))
        views = _views(tx, rows, versions)
    return {"network_ip_availabilities": chosen(views, request.query.get("fields", []))}


def show(ctx: Context, request: Request) -> View:
    """One network."""
    with ctx.cloud.database.read() as tx:
        row = tx.first(sa.select(network).where(network.c.id == request.params["network_id"]))
        if row is None:
            raise refusals.not_found("Network", request.params["network_id"])
        return {"network_ip_availability": _views(tx, [row], [])[0]}


def _views(tx: Tx, rows: Sequence[Any], versions: Sequence[int]) -> list[View]:
    ids = [row.id for row in rows]
    statement = sa.select(subnet).where(subnet.c.network_id.in_(ids))
    if versions:
        statement = statement.where(subnet.c.ip_version.in_(versions))
    subnets = tx.all(statement.order_by(subnet.c.created_at, subnet.c.id))
    ranges = allocation.ranges_of(tx, [each.id for each in subnets])
    used = {
        row.subnet_id: row.total
        for row in tx.all(
            sa.select(port_address.c.subnet_id, sa.func.count().label("total"))
            .where(port_address.c.subnet_id.in_([each.id for each in subnets]))
            .group_by(port_address.c.subnet_id)
        )
    }
    found: dict[str, list[View]] = {}
    for each in subnets:
        total = sum(
            int(ipaddress.ip_address(pool.last)) - int(ipaddress.ip_address(pool.first)) + 1
            for pool in ranges[each.id]
        )
        found.setdefault(each.network_id, []).append(
            {
                "subnet_id": each.id,
                "subnet_name": each.name,
                "cidr": each.cidr,
                "ip_version": each.ip_version,
                "total_ips": total,
                "used_ips": used.get(each.id, 0),
            }
        )
    totals = {row.id: sum(each["total_ips"] for each in found.get(row.id, [])) for row in rows}
    for views in found.values():
        for view in views:
            view["total_ips"] = _number(view["total_ips"])
    return [
        {
            "network_id": row.id,
            "network_name": row.name,
            "project_id": row.project_id,
            "tenant_id": row.project_id,
            "subnet_ip_availability": found.get(row.id, []),
            "total_ips": _number(totals[row.id]),
            "used_ips": sum(each["used_ips"] for each in found.get(row.id, [])),
        }
        for row in rows
    ]


def _number(value: int) -> Any:
    """JSON has no limit for integers; the encoder has, at 64 bits."""
    return value if value < 2**63 else msgspec.Raw(str(value).encode())


ROUTES = (
    Route(
        method="GET",
        path="/network-ip-availabilities",
        handler=list_all,
        rule="get_network_ip_availability",
        summary="List the addresses of networks",
    ),
    Route(
        method="GET",
        path="/network-ip-availabilities/{network_id}",
        handler=show,
        rule="get_network_ip_availability",
        summary="Show the addresses of a network",
    ),
)
