"""The ports that servers have: those of their network cards.

A port's `device_id` is what anybody may write on a port of their own; it says nothing of the server
that it names. What a server has is what compute gave it.

In OpenStack: nova/network/neutron.py, which asks for ports by project and device.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from nubelet import network
from nubelet.compute.model import server_nic
from nubelet.kernel.database import Tx


def ports_of(tx: Tx, server_ids: Collection[str]) -> dict[str, list[network.PortView]]:
    """The ports of servers, oldest first, in a fixed number of queries."""
    found: dict[str, list[network.PortView]] = {each: [] for each in server_ids}
    cards = (
        tx.all(
            sa.select(server_nic.c.port_id, server_nic.c.server_id).where(
                server_nic.c.server_id.in_(found), server_nic.c.port_id.is_not(None)
            )
        )
        if found
        else ()
    )
    owners = {row.port_id: row.server_id for row in cards}
    for port in network.ports_by_id(tx, list(owners)).values():
        found[owners[port.id]].append(port)
    return found
