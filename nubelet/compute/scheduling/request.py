"""What a server asks of its host: made from its row, understood by filters and placement.

In OpenStack: nova/objects/request_spec.py, nova/scheduler/utils.py ResourceRequest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from nubelet.compute import server_disks
from nubelet.compute.model import server, server_group, server_group_member
from nubelet.kernel.database import Tx

_RESOURCE = re.compile(r"resources:([A-Z0-9_]+)")
MOST_UNITS = 10**15  # of a resource; more than any host has, less than any integer overflows
_TRAIT = re.compile(r"trait:([A-Z0-9_]+)")


@dataclass(frozen=True)
class Group:
    """A server's group: its policy, and how many other members each host has."""

    id: str
    policy: str
    max_server_per_host: int | None
    hosts: Mapping[str, int]


@dataclass(frozen=True)
class HostRequest:
    """What a server asks of its host.

    resources/required/forbidden: in placement's words. host: the only one that will do;
    forced: whatever the filters say. refused: hosts that said no already, and why.
    near: host -> the servers of `same_host`/`different_host` hints that are there.
    """

    server_id: str
    project_id: str
    user_id: str
    resources: Mapping[str, int]
    required: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    extra_specs: Mapping[str, str] = field(default_factory=dict)
    image_properties: Mapping[str, str] = field(default_factory=dict)
    zone: str | None = None
    host: str | None = None
    forced: bool = False
    hints: Mapping[str, Any] = field(default_factory=dict)
    group: Group | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    same_host: Mapping[str, str | None] = field(default_factory=dict)  # server id -> its host
    different_host: Mapping[str, str | None] = field(default_factory=dict)


def request_for(tx: Tx, row: Any, refused: Mapping[str, str]) -> HostRequest:
    """The request of a server (a row). `refused`: host -> why it will not do any more."""
    flavor, image = row.flavor, row.image_properties
    required, forbidden = traits_of(flavor["extra_specs"], image)
    hints = row.scheduler_hints
    return HostRequest(
        server_id=row.id,
        project_id=row.project_id,
        user_id=row.user_id,
        resources=resources_of(flavor, row.disks),
        required=required,
        forbidden=forbidden,
        extra_specs=flavor["extra_specs"],
        image_properties=image,
        zone=row.pinned_availability_zone,
        host=row.requested_host,
        forced=row.is_forced,
        hints=hints,
        group=_group(tx, row.id),
        refused=refused,
        same_host=_hosts_of(tx, hints.get("same_host")),
        different_host=_hosts_of(tx, hints.get("different_host")),
    )


def resources_of(flavor: Mapping[str, Any], disks: Any) -> dict[str, int]:
    """Resource class -> amount; `resources:` extra specs add to and override the flavor's."""
    found = {
        "VCPU": flavor["vcpus"],
        "MEMORY_MB": flavor["memory_mb"],
        "DISK_GB": server_disks.space_gb(disks, flavor),
    }
    for key, value in flavor["extra_specs"].items():
        match = _RESOURCE.fullmatch(key)
        if match and re.fullmatch(r"[0-9]+", value):
            found[match[1]] = min(int(value), MOST_UNITS)
    return {name: amount for name, amount in found.items() if amount}


def traits_of(
    extra_specs: Mapping[str, str],
    image_properties: Mapping[str, str],
) -> tuple[frozenset[str], frozenset[str]]:
    """The traits that the host must and must not have."""
    required, forbidden = set(), set()
    for source in (extra_specs, image_properties):
        for key, value in source.items():
            match = _TRAIT.fullmatch(key)
            if match and value == "required":
                required.add(match[1])
            elif match and value == "forbidden":
                forbidden.add(match[1])
    return frozenset(required), frozenset(forbidden)


_GROUP_OF = (
    sa.select(server_group)
    .join(server_group_member, server_group_member.c.group_id == server_group.c.id)
    .where(server_group_member.c.server_id == sa.bindparam("server_id"))
)


def _group(tx: Tx, server_id: str) -> Group | None:
    row = tx.first(_GROUP_OF, server_id=server_id)
    if row is None:
        return None
    # Two members must not choose at the same time: each would not see the other.
    tx.lock("server_group", row.id)
    statement = (
        sa.select(server.c.host, sa.func.count().label("members"))
        .join(server_group_member, server_group_member.c.server_id == server.c.id)
        .where(
            server_group_member.c.group_id == row.id,
            server.c.id != server_id,
            server.c.deleted_at.is_(None),
            server.c.host.is_not(None),
        )
        .group_by(server.c.host)
    )
    return Group(
        row.id,
        row.policy,
        row.rules.get("max_server_per_host"),
        {found.host: found.members for found in tx.all(statement)},
    )


def _hosts_of(tx: Tx, hint: Any) -> dict[str, str | None]:
    """The servers that a hint names, and where they are."""
    if not hint:
        return {}
    ids = [hint] if isinstance(hint, str) else [str(item) for item in hint]
    statement = sa.select(server.c.id, server.c.host).where(
        server.c.id.in_(ids), server.c.deleted_at.is_(None)
    )
    present = {row.id: row.host for row in tx.all(statement)}
    return {server_id: present.get(server_id) for server_id in ids}
