"""What belongs on a host, computed from the rows alone.

`presence` is kept up to date by the transactions that change things; this is what it is checked
against: when a host comes back, every now and then, and after something was taken away.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.kernel.database import Tx
from nubelet.network import presence, security_groups
from nubelet.network.model import (
    dhcp_service,
    host,
    port,
    port_security_group,
    router,
    router_interface,
)
from nubelet.network.model import presence as presence_table

_p = presence_table.c


def on_host(tx: Tx, name: str) -> dict[str, set[str]]:
    """Ids of what shall be on a host, by kind."""
    guests = (port.c.host == name, port.c.device_owner.not_like("network:%"))
    rows = tx.all(sa.select(port.c.id, port.c.network_id).where(*guests))
    groups = {
        row[0]
        for row in tx.all(
            sa.select(port_security_group.c.security_group_id)
            .distinct()
            .join(port, port.c.id == port_security_group.c.port_id)
            .where(*guests)
        )
    }
    here = {row.id for row in tx.all(sa.select(router.c.id).where(router.c.host == name))}
    networks = {row.network_id for row in rows}
    networks |= {
        row[0]
        for row in tx.all(sa.select(dhcp_service.c.network_id).where(dhcp_service.c.host == name))
    }
    networks |= {
        row[0]
        for row in tx.all(
            sa.select(port.c.network_id)
            .join(router_interface, router_interface.c.port_id == port.c.id)
            .join(router, router.c.id == router_interface.c.router_id)
            .where(router.c.host == name)
        )
    }
    networks |= {
        row[0]
        for row in tx.all(
            sa.select(router.c.gateway_network_id).where(
                router.c.host == name, router.c.gateway_network_id.is_not(None)
            )
        )
    }
    return {
        presence.NETWORK: networks,
        presence.PORT: {row.id for row in rows},
        presence.ROUTER: here,
        presence.SECURITY_GROUP: set(security_groups.with_remotes(tx, groups)),
    }


def present(tx: Tx, name: str) -> dict[str, dict[str, Any]]:
    """The presence rows of a host, by kind and id."""
    found: dict[str, dict[str, Any]] = {
        kind: {}
        for kind in (presence.NETWORK, presence.PORT, presence.ROUTER, presence.SECURITY_GROUP)
    }
    for row in tx.all(sa.select(presence_table).where(_p.host == name)):
        found[row.kind][row.subject_id] = row
    return found


def settle(tx: Tx, name: str) -> None:
    """Make the presence rows of a host what they should be."""
    presence.lock(tx, name)
    wanted, have = on_host(tx, name), present(tx, name)
    for kind, ids in wanted.items():
        presence.want(
            tx,
            name,
            kind,
            sorted(each for each in ids if each not in have[kind] or have[kind][each].absent),
        )
        presence.release(
            tx,
            kind,
            sorted(each for each, row in have[kind].items() if each not in ids and not row.absent),
            name,
        )
    tx.update(host, host.c.name == name, collect=False)
