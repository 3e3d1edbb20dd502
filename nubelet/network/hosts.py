"""The nodes that serve networks: their heartbeats, their agents, and choosing among them.

One node process does what upstream splits over four agents; the API shows those four, since
operators and clients ask for them, and their `admin_state_up` decides what is scheduled here.

Read next: `dhcp.py`, `routers.py` (what is scheduled), `presence.py`.
In OpenStack: neutron/db/agents_db.py and neutron/scheduler.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.network import presence, refusals
from nubelet.network.model import agent, dhcp_service, host, router
from nubelet.node.wire import Heartbeat

DEAD_AFTER_SECONDS = 30
DEFAULT_ZONE = "nova"


class AgentKind(NamedTuple):
    """One of the four faces of a node."""

    agent_type: str
    binary: str
    topic: str
    has_zone: bool


DHCP = "DHCP agent"
L3 = "L3 agent"
KINDS = (
    AgentKind(DHCP, "neutron-dhcp-agent", "dhcp_agent", True),
    AgentKind(L3, "neutron-l3-agent", "l3_agent", True),
    AgentKind("Linux bridge agent", "neutron-linuxbridge-agent", "N/A", False),
    AgentKind("Metadata agent", "neutron-metadata-agent", "N/A", False),
)


def heartbeat(cloud: Cloud, beat: Heartbeat) -> None:
    """A node is alive (in a transaction of its own)."""
    with cloud.database.write() as tx:
        seen(tx, beat)


def seen(tx: Tx, beat: Heartbeat) -> None:
    """Record a heartbeat. Wakes the reconciler when the node is new or has started again."""
    now, name = clock.now(), beat.host.name
    values = {
        "switching": beat.switching,
        "tunnel_ip": beat.host.tunnel_ip,
        "physical_networks": list(beat.host.physical_networks),
        "started_at": beat.started_at,
        "seen_at": now,
        "lost": False,
    }
    row = tx.first(sa.select(host).where(host.c.name == name))
    if row is None:
        tx.insert(host, name=name, **values)
    else:
        if row.lost:  # what it carries is said to be down: compare and send all of it again
            values["synced_start"] = 0
        tx.update(host, host.c.name == name, **values)
    if row is None or row.started_at != beat.started_at or row.lost:
        presence.ring(tx)
        _ensure_agents(tx, name, now)


def alive(now: int | None = None) -> sa.ColumnElement[bool]:
    """The condition that a host is alive."""
    return host.c.seen_at > (now or clock.now()) - DEAD_AFTER_SECONDS * 1_000_000


def is_alive(row: Any) -> bool:
    """Was a host seen lately?"""
    return not _is_dead(row.seen_at, clock.now())


def _is_dead(seen_at: int, now: int) -> bool:
    return seen_at <= now - DEAD_AFTER_SECONDS * 1_000_000


def _ensure_agents(tx: Tx, name: str, now: int) -> None:
    have = {
        row.agent_type for row in tx.all(sa.select(agent.c.agent_type).where(agent.c.host == name))
    }
    for kind in KINDS:
        if kind.agent_type not in have:
            tx.insert(
                agent,
                id=agent_id(name, kind.binary),
                host=name,
                agent_type=kind.agent_type,
                binary=kind.binary,
                topic=kind.topic,
                availability_zone=DEFAULT_ZONE if kind.has_zone else None,
                admin_state_up=True,
                description="",
                created_at=now,
            )


def agent_id(name: str, binary: str) -> str:
    """The id of an agent: the same whenever it comes back."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{binary}.{name}"))


def require_zones(tx: Tx, zones: Sequence[str]) -> None:
    """Refuse availability zones that no agent is in."""
    if not zones:
        return
    known = {DEFAULT_ZONE} | {
        row.availability_zone for row in tx.all(sa.select(agent.c.availability_zone).distinct())
    }
    for zone in zones:
        if zone not in known:
            raise refusals.not_found("AvailabilityZone", zone)


# --- Choosing --------------------------------------------------------------------------------


def candidates(
    tx: Tx, agent_type: str, *, physical_network: str | None = None, zones: Sequence[str] = ()
) -> list[str]:
    """Live hosts whose agent takes work, by name."""
    statement = (
        sa.select(host.c.name, host.c.physical_networks, agent.c.availability_zone)
        .join(agent, agent.c.host == host.c.name)
        .where(agent.c.agent_type == agent_type, agent.c.admin_state_up, alive())
        .order_by(host.c.name)
    )
    return [
        row.name
        for row in tx.all(statement)
        if (physical_network is None or physical_network in row.physical_networks)
        and (not zones or row.availability_zone in zones)
    ]


def choose(
    tx: Tx,
    agent_type: str,
    *,
    physical_network: str | None = None,
    zones: Sequence[str] = (),
    avoid: Sequence[str] = (),
) -> str | None:
    """The live host with the least work of this kind; None without one."""
    names = [
        name
        for name in candidates(tx, agent_type, physical_network=physical_network, zones=zones)
        if name not in avoid
    ]
    if len(names) <= 1:
        return names[0] if names else None
    table: sa.Table = dhcp_service if agent_type == DHCP else router
    load = {
        row.host: row.total
        for row in tx.all(
            sa.select(table.c.host, sa.func.count().label("total")).group_by(table.c.host)
        )
    }
    return min(names, key=lambda name: (load.get(name, 0), name))
