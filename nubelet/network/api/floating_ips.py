"""/floatingips.

API reference: https://docs.openstack.org/api-ref/network/v2/#floating-ips-floatingips
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.fields import Field, Resource
from nubelet.network import floating_ips
from nubelet.network.api.attributes import (
    STANDARD_FILTERS,
    TEXT,
    UUID,
    UUID_OR_NONE,
    identity,
    shown,
    standard,
    standard_conditions,
    standard_view,
    text,
)
from nubelet.network.api.noun import Noun, Values, View
from nubelet.network.model import floating_ip, port

_ADDRESS = {"type": ["string", "null"], "maxLength": 45}

FLOATING_IPS = Resource(
    "floatingip",
    "floatingips",
    floating_ip,
    (
        *identity(),
        Field(
            name="floating_network_id", schema=UUID, create="required", filter="exact", sort=True
        ),
        Field(
            name="floating_ip_address",
            schema=_ADDRESS,
            create="optional",
            default=None,
            filter="exact",
            sort=True,
            rule="{verb}_floatingip:floating_ip_address",
        ),
        Field(name="subnet_id", schema=UUID_OR_NONE, create="optional", default=None, show=False),
        Field(
            name="port_id",
            schema=UUID_OR_NONE,
            create="optional",
            update=True,
            default=None,
            filter="exact",
            sort=True,
        ),
        Field(
            name="fixed_ip_address",
            schema=_ADDRESS,
            create="optional",
            update=True,
            default=None,
            filter="exact",
            sort=True,
        ),
        shown("router_id", UUID_OR_NONE, filter="exact", sort=True),
        shown("status", TEXT, filter="exact", sort=True),
        shown("port_details", {"type": ["object", "null"]}),
        text("dns_name", update=False),
        text("dns_domain", update=False),
        *standard(),
    ),
)


class FloatingIps(Noun):
    """Floating IPs."""

    resource, kind, rule, path = FLOATING_IPS, "FloatingIP", "floatingip", "/floatingips"
    extra_filters = STANDARD_FILTERS

    def conditions(
        self,
        ctx: Context,
        query: Mapping[str, list[str]],
    ) -> Iterable[sa.ColumnElement[bool]]:
        """Tags and times."""
        return standard_conditions(floating_ip, query)

    def present(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[View]:
        """Floating IPs as answered."""
        ids = [row.port_id for row in rows if row.port_id]
        details = (
            {row.id: _details(row) for row in tx.all(sa.select(port).where(port.c.id.in_(ids)))}
            if ids
            else {}
        )
        return [
            standard_view(row)
            | {
                "floating_network_id": row.floating_network_id,
                "floating_ip_address": row.floating_ip_address,
                "port_id": row.port_id,
                "fixed_ip_address": row.fixed_ip_address,
                "router_id": row.router_id,
                "status": row.status,
                "port_details": details.get(row.port_id),
                "dns_name": row.dns_name,
                "dns_domain": row.dns_domain,
            }
            for row in rows
        ]

    def create(self, ctx: Context, tx: Tx, values: Values) -> str:
        """POST."""
        return floating_ips.create(ctx, tx, values)

    def update(self, ctx: Context, tx: Tx, row: Any, changes: Values) -> None:
        """PUT."""
        floating_ips.update(ctx, tx, row, changes)

    def delete(self, ctx: Context, tx: Tx, row: Any) -> None:
        """DELETE."""
        floating_ips.delete(ctx, tx, row)


def _details(row: Any) -> View:
    return {
        "name": row.name,
        "network_id": row.network_id,
        "mac_address": row.mac_address,
        "admin_state_up": row.admin_state_up,
        "status": row.status,
        "device_id": row.device_id,
        "device_owner": row.device_owner,
    }


NOUN = FloatingIps()
ROUTES = NOUN.routes()
