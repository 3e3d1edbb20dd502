"""How servers and hosts are, for `nubelet explain`: their status, and what ails them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.compute import hosts, states
from nubelet.compute.model import compute_host, server
from nubelet.kernel.clock import iso_seconds
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.conditions import Condition
from nubelet.kernel.database import Tx


def describe(cloud: Cloud, tx: Tx, identifier: str) -> list[Condition]:
    """The servers with this id or name, and the host with this name or id."""
    rows = tx.all(
        sa.select(server)
        .where(
            sa.or_(
                server.c.id == identifier,
                sa.and_(server.c.name == identifier, server.c.deleted_at.is_(None)),
            )
        )
        .limit(100)
    )
    machines = tx.all(
        sa.select(compute_host).where(
            sa.or_(
                compute_host.c.name == identifier,
                compute_host.c.service_id == identifier,
                compute_host.c.hypervisor_id == identifier,
            )
        )
    )
    by_name = {row.name: row for row in hosts.all_hosts(tx)} if rows else {}
    return [
        *(_server(cloud, row, by_name) for row in rows),
        *(_host(cloud, row, identifier) for row in machines),
    ]


def _server(cloud: Cloud, row: Any, by_name: dict[str, Any]) -> Condition:
    trouble = ""
    if row.deleted_at is None:
        on = by_name.get(row.host)
        if row.vm_state == states.ERROR and row.fault:
            trouble = str(row.fault["message"])
        elif on is not None and not hosts.is_up(cloud.settings, on):
            trouble = f"its host {row.host} is down: {_down(on)}"
    status = (
        "DELETED" if row.deleted_at is not None else states.status_of(row.vm_state, row.task_state)
    )
    return Condition(
        noun="server",
        id=row.id,
        name=row.name,
        project_id=row.project_id,
        status=status,
        trouble=trouble,
    )


def _host(cloud: Cloud, row: Any, identifier: str) -> Condition:
    up = hosts.is_up(cloud.settings, row)
    return Condition(
        noun="host",
        id=identifier,
        project_id=None,
        name="" if identifier == row.name else row.name,
        status="up" if up else "down",
        trouble="" if up else _down(row),
    )


def _down(row: Any) -> str:
    if row.forced_down:
        return "an administrator said so"
    return f"not heard of since {iso_seconds(row.seen_at)}"
