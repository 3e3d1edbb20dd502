"""/networks.

API reference: https://docs.openstack.org/api-ref/network/v2/#networks
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.fields import UNSET, Field, Resource
from nubelet.network import hosts, networks, sharing
from nubelet.network.api.attributes import (
    FLAG,
    STANDARD_FILTERS,
    TEXT,
    UUID,
    flag,
    identity,
    shared_filter,
    shown,
    standard,
    standard_conditions,
    standard_view,
    text,
)
from nubelet.network.api.noun import Noun, Values, View
from nubelet.network.model import dhcp_service, network, subnet, subnet_pool

_PROVIDER = ("provider:network_type", "provider:physical_network", "provider:segmentation_id")
_RULE = "{verb}_network:"


def _provider(name: str, column: str, schema: Mapping[str, Any], kind: Any) -> Field:
    return Field(
        name=f"provider:{name}",
        column=column,
        schema=schema,
        create="optional",
        update=True,
        default=None,
        filter=kind,
        sort=True,
        rule=f"{_RULE}provider:{name}",
    )


NETWORKS = Resource(
    "network",
    "networks",
    network,
    (
        *identity(),
        text("name"),
        flag("admin_state_up", default=True),
        shown("status", TEXT, filter=lambda values, ctx: sa.literal("ACTIVE").in_(values)),
        shown("subnets", {"type": "array", "items": UUID}),
        Field(
            name="shared",
            schema=FLAG,
            create="optional",
            update=True,
            default=False,
            filter=shared_filter(network, "network"),
            rule=_RULE + "shared",
        ),
        flag("router:external", column="external", default=False, rule=_RULE + "router:external"),
        flag("is_default", default=False, rule=_RULE + "is_default"),
        flag("port_security_enabled", default=True, rule=_RULE + "port_security_enabled"),
        Field(
            name="mtu",
            schema={"type": "integer", "minimum": 0},
            create="optional",
            update=True,
            default=None,
            filter="int",
            sort=True,
        ),
        _provider("network_type", "network_type", {"type": ["string", "null"]}, "exact"),
        _provider("physical_network", "physical_network", {"type": ["string", "null"]}, "exact"),
        _provider("segmentation_id", "segmentation_id", {"type": ["integer", "null"]}, "int"),
        text("dns_domain"),
        Field(
            name="availability_zone_hints",
            schema={"type": "array", "items": TEXT},
            create="optional",
            default=[],
        ),
        shown("availability_zones", {"type": "array", "items": TEXT}),
        shown("ipv4_address_scope", {"type": ["string", "null"]}),
        shown("ipv6_address_scope", {"type": ["string", "null"]}),
        *standard(),
    ),
)


class Networks(Noun):
    """Networks."""

    resource, kind, rule, path = NETWORKS, "Network", "network", "/networks"
    extra_filters = STANDARD_FILTERS

    def visible(self, ctx: Context) -> sa.ColumnElement[bool] | None:
        """Own, shared and external networks."""
        return networks.visible(ctx)

    def conditions(
        self,
        ctx: Context,
        query: Mapping[str, list[str]],
    ) -> Iterable[sa.ColumnElement[bool]]:
        """Tags and times."""
        return standard_conditions(network, query)

    def targets(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[Values]:
        """Owner, sharing, external or not."""
        shared = sharing.shared_ids(ctx, tx, "network", [row.id for row in rows])
        return [
            {
                "project_id": row.project_id,
                "tenant_id": row.project_id,
                "shared": row.id in shared,
                "router:external": row.external,
            }
            for row in rows
        ]

    def present(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[View]:
        """Networks as answered."""
        ids = [row.id for row in rows]
        shared = sharing.shared_ids(ctx, tx, "network", ids)
        related = _related(tx, ids)
        provider = [name for name in _PROVIDER if ctx.allows(f"get_network:{name}")]
        views = []
        for row in rows:
            subnets, zones, scopes = related[row.id]
            view = standard_view(row)
            view |= {
                "name": row.name,
                "admin_state_up": row.admin_state_up,
                "status": "ACTIVE",
                "subnets": subnets,
                "shared": row.id in shared,
                "router:external": row.external,
                "is_default": row.is_default,
                "mtu": row.mtu,
                "dns_domain": row.dns_domain,
                "port_security_enabled": row.port_security_enabled,
                "availability_zone_hints": row.availability_zone_hints,
                "availability_zones": zones,
                "ipv4_address_scope": scopes.get(4),
                "ipv6_address_scope": scopes.get(6),
            }
            values = (row.network_type, row.physical_network, row.segmentation_id)
            view |= {
                name: value
                for name, value in zip(_PROVIDER, values, strict=True)
                if name in provider
            }
            views.append(view)
        return views

    def create(self, ctx: Context, tx: Tx, values: Values) -> str:
        """POST."""
        return networks.create(ctx, tx, columns(NETWORKS, values))

    def update(self, ctx: Context, tx: Tx, row: Any, changes: Values) -> None:
        """PUT."""
        from nubelet.network import refusals

        changes = columns(NETWORKS, changes)
        for name in ("network_type", "physical_network", "segmentation_id"):
            if name in changes and changes[name] != getattr(row, name):
                raise refusals.invalid(
                    "Plugin does not support updating the following provider "
                    "network attributes: " + ", ".join(_PROVIDER)
                )
        networks.update(ctx, tx, row, changes)

    def delete(self, ctx: Context, tx: Tx, row: Any) -> None:
        """DELETE."""
        networks.delete(ctx, tx, row)


def columns(resource: Resource, values: Values) -> Values:
    """Attribute values under the names of their columns; unset ones are left out."""
    found = {}
    for name, value in values.items():
        field = resource.field(name)
        if value is not UNSET and name != "tenant_id":
            found[field.column if field and field.column else name] = value
    return found


def _related(tx: Tx, ids: Sequence[str]) -> dict[str, tuple[list[str], list[str], dict[int, str]]]:
    """Subnets, availability zones and address scopes of networks."""
    found: dict[str, tuple[list[str], list[str], dict[int, str]]] = {
        each: ([], [], {}) for each in ids
    }
    if not ids:
        return found
    for row in tx.all(
        sa.select(
            subnet.c.id, subnet.c.network_id, subnet.c.ip_version, subnet_pool.c.address_scope_id
        )
        .outerjoin(subnet_pool, subnet_pool.c.id == subnet.c.subnetpool_id)
        .where(subnet.c.network_id.in_(ids))
        .order_by(subnet.c.created_at, subnet.c.id)
    ):
        subnets, _zones, scopes = found[row.network_id]
        subnets.append(row.id)
        if row.address_scope_id:
            scopes[row.ip_version] = row.address_scope_id
    for row in tx.all(
        sa.select(dhcp_service.c.network_id).where(dhcp_service.c.network_id.in_(ids)).distinct()
    ):
        found[row.network_id][1].append(hosts.DEFAULT_ZONE)
    return found


NOUN = Networks()
ROUTES = NOUN.routes()
