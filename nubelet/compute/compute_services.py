"""Compute services: the hosts as processes that are enabled or not, up or down.

There is one service per host, `nova-compute` by its name in the API; what other clouds need
schedulers and conductors for is done by workers that belong to no host.

In OpenStack: nova/objects/service.py, nova/compute/api.py HostAPI.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from nubelet.compute import hosts
from nubelet.compute.model import compute_host
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.ids import is_uuid

Row = sa.Row[Any]


def matching(
    tx: Tx,
    names: Collection[str] | None,
    binaries: Collection[str] | None,
) -> list[Row]:
    """The hosts of the services that the filters leave; None: all."""
    if binaries is not None and hosts.BINARY not in binaries:
        return []
    statement = sa.select(compute_host).order_by(compute_host.c.auto_id)
    if names is not None:
        statement = statement.where(compute_host.c.name.in_(names))
    return [*tx.all(statement)]


def find(tx: Tx, service_id: str, *, by_uuid: bool) -> Row:
    """The host of a service; raises NotFound, and BadRequest for what is no id."""
    if by_uuid:
        if not is_uuid(service_id):
            raise BadRequest(f"Invalid uuid {service_id}")
        condition = compute_host.c.service_id == service_id
    else:
        if not (service_id.isascii() and service_id.isdigit()) or len(service_id) > 18:
            raise BadRequest(
                f"Invalid input for field/attribute id. Value: {service_id[:40]}. "
                "It is not a number."
            )
        condition = compute_host.c.auto_id == int(service_id)
    row = tx.first(sa.select(compute_host).where(condition))
    if row is None:
        raise NotFound(message=f"Service {service_id} not found.")
    return row


def find_named(tx: Tx, host: str, binary: str) -> Row:
    """The host of the service of that name; raises NotFound."""
    rows = matching(tx, [host], [binary])
    if not rows:
        raise NotFound(message=f"Host '{host}' has no service {binary}.")
    return rows[0]
