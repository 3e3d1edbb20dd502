"""/subnets.

API reference: https://docs.openstack.org/api-ref/network/v2/#subnets
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.fields import UNSET, Condition, Field, Resource, read_bool
from nubelet.network import allocation, networks, sharing, subnets
from nubelet.network.api.attributes import (
    FLAG,
    STANDARD_FILTERS,
    TEXT,
    UUID,
    flag,
    identity,
    shown,
    standard,
    standard_conditions,
    standard_view,
    text,
)
from nubelet.network.api.networks import columns
from nubelet.network.api.noun import Noun, Values, View
from nubelet.network.model import network, subnet

_MODE = {"type": ["string", "null"], "enum": ["slaac", "dhcpv6-stateful", "dhcpv6-stateless", None]}
_POOLS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["start", "end"],
        "additionalProperties": False,
        "properties": {"start": {"type": "string"}, "end": {"type": "string"}},
    },
}
_ROUTES = {
    "type": ["array", "null"],
    "items": {
        "type": "object",
        "required": ["destination", "nexthop"],
        "additionalProperties": False,
        "properties": {"destination": {"type": "string"}, "nexthop": {"type": "string"}},
    },
}
_ADDRESSES = {"type": ["array", "null"], "items": {"type": "string"}}


def _external(values: list[str], ctx: Context) -> Condition:
    found = sa.select(network.c.id).where(network.c.external)
    inside = subnet.c.network_id.in_(found)
    return sa.or_(*(inside if read_bool("router:external", value) else ~inside for value in values))


SUBNETS = Resource(
    "subnet",
    "subnets",
    subnet,
    (
        *identity(),
        text("name"),
        Field(name="network_id", schema=UUID, create="required", filter="exact", sort=True),
        Field(
            name="ip_version",
            schema={"type": "integer", "enum": [4, 6]},
            create="required",
            filter="int",
            sort=True,
        ),
        Field(
            name="cidr",
            schema={"type": ["string", "null"], "maxLength": 49},
            create="optional",
            filter="exact",
            sort=True,
        ),
        Field(
            name="prefixlen",
            schema={"type": "integer", "minimum": 0, "maximum": 128},
            create="optional",
            show=False,
        ),
        Field(
            name="subnetpool_id",
            schema={"type": ["string", "null"]},
            create="optional",
            default=None,
            filter="exact",
            sort=True,
        ),
        Field(
            name="use_default_subnetpool", schema=FLAG, create="optional", default=False, show=False
        ),
        Field(
            name="gateway_ip",
            schema={"type": ["string", "null"], "maxLength": 45},
            create="optional",
            update=True,
            filter="exact",
            sort=True,
        ),
        Field(name="allocation_pools", schema=_POOLS, create="optional", update=True),
        flag("enable_dhcp", default=True),
        Field(
            name="dns_nameservers", schema=_ADDRESSES, create="optional", update=True, default=[]
        ),
        Field(name="host_routes", schema=_ROUTES, create="optional", update=True, default=[]),
        Field(
            name="ipv6_ra_mode",
            schema=_MODE,
            create="optional",
            default=None,
            filter="exact",
            sort=True,
        ),
        Field(
            name="ipv6_address_mode",
            schema=_MODE,
            create="optional",
            default=None,
            filter="exact",
            sort=True,
        ),
        Field(
            name="service_types",
            schema={"type": "array", "items": TEXT},
            create="optional",
            update=True,
            default=[],
            rule="{verb}_subnet:service_types",
        ),
        shown("router:external", FLAG, filter=_external),
        *standard(),
    ),
)


class Subnets(Noun):
    """Subnets."""

    resource, kind, rule, path = SUBNETS, "Subnet", "subnet", "/subnets"
    extra_filters = STANDARD_FILTERS

    def visible(self, ctx: Context) -> sa.ColumnElement[bool] | None:
        """Own ones and those of visible networks."""
        return subnets.visible(ctx)

    def conditions(
        self,
        ctx: Context,
        query: Mapping[str, list[str]],
    ) -> Iterable[sa.ColumnElement[bool]]:
        """Tags and times."""
        return standard_conditions(subnet, query)

    def targets(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[Values]:
        """Owner of the subnet and of its network, and how open that is."""
        found = owners(ctx, tx, [row.network_id for row in rows])
        return [
            {"project_id": row.project_id, "tenant_id": row.project_id, **found[row.network_id]}
            for row in rows
        ]

    def new_target(self, ctx: Context, tx: Tx, values: Values) -> Values:
        """A subnet is created in a network: its owner counts."""
        networks.find_visible(ctx, tx, values["network_id"])
        found = owners(ctx, tx, [values["network_id"]])
        return {**super().new_target(ctx, tx, values), **found[values["network_id"]]}

    def present(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[View]:
        """Subnets as answered."""
        ranges = allocation.ranges_of(tx, [row.id for row in rows])
        external = {
            row.id
            for row in tx.all(
                sa.select(network.c.id).where(
                    network.c.external, network.c.id.in_({row.network_id for row in rows})
                )
            )
        }
        return [
            standard_view(row)
            | {
                "name": row.name,
                "network_id": row.network_id,
                "ip_version": row.ip_version,
                "cidr": row.cidr,
                "subnetpool_id": row.subnetpool_id,
                "gateway_ip": row.gateway_ip,
                "allocation_pools": [
                    {"start": each.first, "end": each.last} for each in ranges[row.id]
                ],
                "enable_dhcp": row.enable_dhcp,
                "dns_nameservers": row.dns_nameservers,
                "host_routes": row.host_routes,
                "ipv6_ra_mode": row.ipv6_ra_mode,
                "ipv6_address_mode": row.ipv6_address_mode,
                "service_types": row.service_types,
                "router:external": row.network_id in external,
            }
            for row in rows
        ]

    def create(self, ctx: Context, tx: Tx, values: Values) -> str:
        """POST."""
        return subnets.create(ctx, tx, _lists(columns(SUBNETS, values)))

    def update(self, ctx: Context, tx: Tx, row: Any, changes: Values) -> None:
        """PUT."""
        subnets.update(ctx, tx, row, _lists(changes))

    def delete(self, ctx: Context, tx: Tx, row: Any) -> None:
        """DELETE."""
        subnets.delete(ctx, tx, row)


def _lists(values: Values) -> Values:
    """`null` for a list means an empty one."""
    return {
        name: [] if value is None and name in ("dns_nameservers", "host_routes") else value
        for name, value in values.items()
        if value is not UNSET
    }


def owners(ctx: Context, tx: Tx, network_ids: Sequence[str]) -> dict[str, Values]:
    """What rules about things on a network ask of the network."""
    ids = set(network_ids)
    shared = sharing.shared_ids(ctx, tx, "network", ids)
    rows = tx.all(
        sa.select(network.c.id, network.c.project_id, network.c.external).where(
            network.c.id.in_(ids)
        )
    )
    return {
        row.id: {
            "network:tenant_id": row.project_id,
            "network:project_id": row.project_id,
            "shared": row.id in shared,
            "router:external": row.external,
        }
        for row in rows
    }


NOUN = Subnets()
ROUTES = NOUN.routes()
