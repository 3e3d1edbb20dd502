"""What other services tell about servers: their network cards are there, or gone, or changed.

The network service of this cloud is asked by the operations themselves, so that an event has one
effect: an operation that waits for something of the server looks again at once.

In OpenStack: nova/compute/api.py external_instance_event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from nubelet.compute.model import server
from nubelet.kernel import events
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.operations import journal

NETWORK_EVENTS: Final = (
    "network-changed",
    "network-vif-plugged",
    "network-vif-unplugged",
    "network-vif-deleted",
)
# Events about things that no server of this cloud has: volumes, accelerators, bare metal.
FOREIGN_EVENTS: Final = (
    "volume-extended",
    "power-update",
    "accelerator-request-bound",
    "volume-reimaged",
)
OK, UNSUPPORTED, NO_SERVER, NO_HOST = 200, 400, 404, 422


def receive(ctx: Context, tx: Tx, given: Sequence[Mapping[str, Any]]) -> list[int]:
    """Take note of each event; returns their codes (200, or why it was not taken)."""
    rows = {
        row.id: row
        for row in tx.all(
            sa.select(server.c.id, server.c.project_id, server.c.host).where(
                server.c.id.in_({each["server_uuid"] for each in given}),
                server.c.deleted_at.is_(None),
            )
        )
    }
    return [_receive(ctx, tx, each, rows.get(each["server_uuid"])) for each in given]


def _receive(ctx: Context, tx: Tx, event: Mapping[str, Any], row: Any) -> int:
    if row is None:
        return NO_SERVER
    if row.host is None:
        return NO_HOST
    if event["name"] not in NETWORK_EVENTS:
        return UNSUPPORTED
    journal.wake(tx, subject_id=row.id)
    events.emit(
        tx,
        "server.external_event",
        project_id=row.project_id,
        subject_type="server",
        subject_id=row.id,
        ctx=ctx,
        payload={
            "name": event["name"],
            "tag": event.get("tag"),
            "status": event.get("status", "completed"),
        },
    )
    return OK
