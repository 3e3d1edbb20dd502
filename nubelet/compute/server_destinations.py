"""Where a new server may go: availability zone, named host, scheduler hints, server group.

In OpenStack: nova/compute/api.py parse_availability_zone, nova/api/.../servers.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.compute import aggregates, hosts, quotas, server_groups
from nubelet.compute.model import server, server_group_member
from nubelet.compute.scheduling import json_query
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound, QuotaExceeded
from nubelet.kernel.ids import is_uuid

FORCE_RULE = "os_compute_api:servers:create:forced_host"
DESTINATION_RULE = "compute:servers:create:requested_destination"
_ABOUT_HOSTS = ("query", "build_near_host_ip")
_GROUP_HINT = "group"
_NO_SERVER = "00000000-0000-0000-0000-000000000000"


class Destination(NamedTuple):
    """Where the servers of one request may go."""

    zone: str | None = None
    host: str | None = None
    forced: bool = False


def resolve(ctx: Context, tx: Tx, given: Mapping[str, Any]) -> Destination:
    """Read availability_zone (also `zone:host:node`), host and hypervisor_hostname."""
    zone, forced_host, forced_node = _parse_zone(given.get("availability_zone"))
    asked_host, asked_node = given.get("host"), given.get("hypervisor_hostname")
    if forced_host or forced_node:
        ctx.authorize(FORCE_RULE)
        if asked_host or asked_node:
            raise BadRequest(
                "Requesting a host via availability_zone and via host or "
                "hypervisor_hostname at the same time is not allowed."
            )
        name = _one_host(tx, forced_host, forced_node)
        _require_zone(tx, zone)
        return Destination(zone or None, name, forced=True)
    _require_zone(tx, zone)
    if asked_host or asked_node:
        ctx.authorize(DESTINATION_RULE)
        return Destination(zone or None, _one_host(tx, asked_host, asked_node))
    return Destination(zone or None)


def _parse_zone(text: str | None) -> tuple[str, str, str]:
    parts = (text or "").split(":")
    if len(parts) > 3:
        raise BadRequest(
            f"Unable to parse availability zone '{text}': it is zone, zone:host, "
            "zone:host:node or zone::node."
        )
    zone, host, node = [*parts, "", ""][:3]
    return zone, host, node


def _one_host(tx: Tx, host: str | None, node: str | None) -> str:
    """Host and node have the same name here: one hypervisor per host."""
    name = host or node or ""
    if host and node and host != node:
        raise BadRequest(f"No hypervisor {node} is on host {host}.")
    try:
        return str(hosts.find(tx, name).name)
    except NotFound:
        raise BadRequest(f"Compute host {name} could not be found.") from None


def _require_zone(tx: Tx, zone: str) -> None:
    """The zone exists: some host is in it."""
    if zone and zone not in aggregates.zones(tx).values():
        raise BadRequest(
            f"The requested availability zone is not available: there is no host in {zone}."
        )


def check_hints(ctx: Context, tx: Tx, hints: Mapping[str, Any]) -> dict[str, Any]:
    """The hints as they are kept; raises BadRequest for one that can never be met, Forbidden for
    those that ask about hosts, or choose one, unless the caller may name a host as well.

    A server that is gone counts as nowhere, and so does one of another project."""
    kept = dict(hints)
    for name in ("same_host", "different_host"):
        if name in hints:
            kept[name] = _own_servers(ctx, tx, name, _as_list(hints[name]))
    if hints.get("query"):
        json_query.read(hints["query"])
    if any(hints.get(name) for name in _ABOUT_HOSTS):
        ctx.authorize(DESTINATION_RULE)
    return kept


def _as_list(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(item) for item in value]


def _own_servers(ctx: Context, tx: Tx, hint: str, server_ids: list[str]) -> list[str]:
    """The servers of a hint, with the id of none for each that is not the caller's to know."""
    for server_id in server_ids:
        if not is_uuid(server_id):
            raise BadRequest(
                f"Invalid input for scheduler hint {hint}: '{server_id}' is not a UUID."
            )
    if ctx.is_admin:
        return server_ids
    owned = sa.select(server.c.id).where(
        server.c.id.in_(server_ids), server.c.project_id == ctx.project_id
    )
    own = {row.id for row in tx.all(owned)}
    return [each if each in own else _NO_SERVER for each in server_ids]


def group_of(ctx: Context, tx: Tx, hints: Mapping[str, Any], count: int) -> Any:
    """The server group that the hint `group` names, with room for `count` more; or None."""
    named = _as_list(hints.get(_GROUP_HINT))
    if not named:
        return None
    if not is_uuid(named[0]):
        raise BadRequest(f"Invalid input for scheduler hint group: '{named[0]}' is not a UUID.")
    try:
        group = server_groups.find(ctx, tx, named[0])
    except NotFound:
        raise BadRequest(f"Instance group {named[0]} could not be found.") from None
    tx.lock("server_group", group.id)
    limit = quotas.limit(ctx.cloud, tx, group.project_id, "server_group_members")
    used = len(server_groups.members_of(tx, [group.id]).get(group.id, ()))
    if 0 <= limit < used + count:
        raise QuotaExceeded(
            "server_group_members",
            limit=limit,
            used=used,
            requested=count,
            message=f"Quota exceeded, too many servers in group: {used} of "
            f"{limit}, {count} more asked.",
        )
    return group


def join_group(tx: Tx, group_id: str, server_id: str) -> None:
    """The server is a member from now on."""
    tx.insert(server_group_member, group_id=group_id, server_id=server_id)
