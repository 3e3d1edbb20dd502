"""Security groups of servers: those of all their ports, for clients that know only servers.

In OpenStack: nova/network/security_group_api.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nubelet import network
from nubelet.compute import guests
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound


def _group_id(ctx: Context, tx: Tx, name: str) -> str:
    try:
        return network.security_group_ids(ctx.within("network"), tx, [name])[0]
    except NotFound:
        raise NotFound(
            message=f"Security group {name} not found for project {ctx.project_id}"
        ) from None


def add(ctx: Context, tx: Tx, row: Any, name: str) -> None:
    """Put all filtered ports of the server into a group; a second time changes nothing."""
    group_id = _group_id(ctx, tx, name)
    _change(ctx, tx, row, lambda present: [*present, group_id] if group_id not in present else None)


def remove(ctx: Context, tx: Tx, row: Any, name: str) -> None:
    """Take all ports of the server out of a group; raises NotFound when none is in it."""
    group_id = _group_id(ctx, tx, name)
    changed = _change(
        ctx,
        tx,
        row,
        lambda present: (
            [each for each in present if each != group_id] if group_id in present else None
        ),
    )
    if not changed:
        raise NotFound(message=f"Security group {name} not associated with the instance {row.id}")


def _change(ctx: Context, tx: Tx, row: Any, change: Callable[[list[str]], list[str] | None]) -> int:
    """Change the groups of each port; returns how many ports were changed."""
    port_ids = guests.port_ids_of(tx, row.id)
    if not port_ids:
        raise BadRequest(f"Instance {row.id} has no ports, so it can be in no security group.")
    within, changed = ctx.within("network"), 0
    for port in network.ports_by_id(tx, port_ids).values():
        if not port.port_security_enabled:
            continue
        wanted = change(list(port.security_group_ids))
        if wanted is not None:
            network.update_port(within, tx, port.id, security_groups=wanted)
            changed += 1
    return changed
