"""`/limits`: what the caller's project may have, and has.

What is told:  2.36   nothing of networks
               2.39   no maxImageMeta
               2.57   nothing of injected files

API reference: https://docs.openstack.org/api-ref/compute/#limits-limits
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nubelet.compute import quotas
from nubelet.compute.api import schemas as s
from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route, by_version

_OTHER_PROJECT = "os_compute_api:limits:other_project"
# `reserved` asks to count what is reserved, which nothing is here; clients still send it.
_FILTERS: s.Schema = {"tenant_id": s.ANY_VALUES, "reserved": s.ANY_VALUES}
_QUERY = by_version(((2, 1), s.query(_FILTERS)), ((2, 75), s.query(_FILTERS, extra=False)))
_LIMITS = {
    "maxServerMeta": "metadata_items",
    "maxTotalCores": "cores",
    "maxTotalInstances": "instances",
    "maxTotalKeypairs": "key_pairs",
    "maxTotalRAMSize": "ram",
    "maxServerGroups": "server_groups",
    "maxServerGroupMembers": "server_group_members",
}
_INJECTION = {
    "maxPersonality": "injected_files",
    "maxPersonalitySize": "injected_file_content_bytes",
}
_NETWORK = {
    "maxTotalFloatingIps": "floating_ips",
    "maxSecurityGroups": "security_groups",
    "maxSecurityGroupRules": "security_group_rules",
}
_USED = {
    "totalCoresUsed": "cores",
    "totalInstancesUsed": "instances",
    "totalRAMUsed": "ram",
    "totalServerGroupsUsed": "server_groups",
}
_NETWORK_USED = {
    "totalFloatingIpsUsed": "floating_ips",
    "totalSecurityGroupsUsed": "security_groups",
}


def show(ctx: Context, request: Request) -> object:
    """Show the limits of a project and what it uses."""
    project_id = request.first("tenant_id")
    if project_id is None:
        project_id = ctx.project_id or ""
    else:
        ctx.authorize(_OTHER_PROJECT, {"project_id": project_id})
    of = quotas.of(ctx.cloud)
    with ctx.cloud.database.read() as tx:
        limits, used = of.limits(tx, project_id), of.usage(tx, project_id)
    return {"limits": {"rate": [], "absolute": _absolute(ctx, limits, used)}}


def _absolute(ctx: Context, limits: Mapping[str, int], used: Mapping[str, int]) -> dict[str, Any]:
    maxima, sums = dict(_LIMITS), dict(_USED)
    if not ctx.at_least(2, 57):
        maxima |= _INJECTION
    if not ctx.at_least(2, 39):
        maxima["maxImageMeta"] = "metadata_items"
    if not ctx.at_least(2, 36):
        maxima |= _NETWORK
        sums |= _NETWORK_USED
    return {shown: limits[name] for shown, name in maxima.items()} | {
        shown: used[name] for shown, name in sums.items()
    }


ROUTES = (
    Route(
        method="GET",
        path="/limits",
        handler=show,
        rule="os_compute_api:limits",
        query=_QUERY,
        response=s.answer("limits", {}),
    ),
)
