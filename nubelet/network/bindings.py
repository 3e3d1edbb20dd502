"""Ports on hosts: a guest's port is bound to the host where the guest runs.

Binding says which network, security groups and port shall be on that host; making it so is the
business of `realization.py`.

In OpenStack: the port binding code of neutron/plugins/ml2.
"""

from __future__ import annotations

from typing import Any

from nubelet.kernel.database import Tx
from nubelet.network import presence, security_groups
from nubelet.network.model import port


def place(tx: Tx, row: Any, host: str) -> None:
    """A port shall be on a host, with its network and its security groups."""
    presence.want(tx, host, presence.NETWORK, [row.network_id])
    security_groups.want_on(tx, host, security_groups.of_port(tx, row.id))
    presence.want(tx, host, presence.PORT, [row.id])


def move(tx: Tx, row: Any, host: str) -> None:
    """A port shall be on another host, or ("") on none."""
    if row.host != host:
        if row.host:
            presence.release(tx, presence.PORT, [row.id], row.host)
        tx.update(port, port.c.id == row.id, host=host, status="DOWN")
    if host and not row.device_owner.startswith("network:"):
        place(tx, row, host)
