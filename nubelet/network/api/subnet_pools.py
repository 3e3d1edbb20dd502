"""/subnetpools and /address-scopes.

API reference: https://docs.openstack.org/api-ref/network/v2/#subnet-pools-extension-subnetpools
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.fields import LARGEST_INT, Field, Resource
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.network import refusals, sharing, subnet_pools
from nubelet.network.api.attributes import (
    FLAG,
    STANDARD_FILTERS,
    UUID_OR_NONE,
    flag,
    identity,
    shared_filter,
    shown,
    standard,
    standard_conditions,
    standard_view,
    text,
)
from nubelet.network.api.noun import Noun, Values, View, check_revision
from nubelet.network.model import address_scope, subnet_pool

_PREFIXES = {"type": "array", "minItems": 1, "items": {"type": "string"}}
_LENGTH = {"type": "integer", "minimum": 0, "maximum": 128}


def _length(name: str) -> Field:
    return Field(
        name=name,
        schema=_LENGTH,
        answer={"type": "string"},
        create="optional",
        update=True,
        filter="int",
        sort=True,
    )


POOLS = Resource(
    "subnetpool",
    "subnetpools",
    subnet_pool,
    (
        *identity(),
        text("name", create="required"),
        Field(name="prefixes", schema=_PREFIXES, create="required", update=True),
        shown("ip_version", {"type": "integer"}, filter="int", sort=True),
        _length("default_prefixlen"),
        _length("min_prefixlen"),
        _length("max_prefixlen"),
        Field(
            name="default_quota",
            schema={"type": ["integer", "null"], "minimum": 0, "maximum": LARGEST_INT},
            create="optional",
            update=True,
            default=None,
            filter="int",
            sort=True,
        ),
        Field(
            name="address_scope_id",
            schema=UUID_OR_NONE,
            create="optional",
            update=True,
            default=None,
            filter="exact",
            sort=True,
        ),
        Field(
            name="shared",
            schema=FLAG,
            create="optional",
            default=False,
            filter=shared_filter(subnet_pool, "subnetpool"),
            rule="{verb}_subnetpool:shared",
        ),
        flag("is_default", default=False, rule="{verb}_subnetpool:is_default"),
        *standard(),
    ),
)

SCOPES = Resource(
    "address_scope",
    "address_scopes",
    address_scope,
    (
        *identity(),
        text("name", create="required"),
        Field(
            name="ip_version",
            schema={"type": "integer", "enum": [4, 6]},
            create="optional",
            default=4,
            filter="int",
            sort=True,
        ),
        Field(
            name="shared",
            schema=FLAG,
            create="optional",
            update=True,
            default=False,
            filter=shared_filter(address_scope, "address_scope"),
            rule="{verb}_address_scope:shared",
        ),
    ),
)


class _Shareable(Noun):
    """What others may use too."""

    object_type: str

    def visible(self, ctx: Context) -> sa.ColumnElement[bool] | None:
        """Own and shared ones."""
        return subnet_pools.visible(ctx, self.table, self.object_type)

    def targets(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[Values]:
        """Owner and sharing."""
        shared = sharing.shared_ids(ctx, tx, self.object_type, [row.id for row in rows])
        return [
            {"project_id": row.project_id, "tenant_id": row.project_id, "shared": row.id in shared}
            for row in rows
        ]


class Pools(_Shareable):
    """Subnet pools."""

    resource, kind, rule, path = POOLS, "SubnetPool", "subnetpool", "/subnetpools"
    object_type = "subnetpool"
    extra_filters = STANDARD_FILTERS

    def conditions(
        self,
        ctx: Context,
        query: Mapping[str, list[str]],
    ) -> Iterable[sa.ColumnElement[bool]]:
        """Tags and times."""
        return standard_conditions(subnet_pool, query)

    def present(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[View]:
        """Pools as answered (lengths are text there)."""
        shared = sharing.shared_ids(ctx, tx, "subnetpool", [row.id for row in rows])
        return [
            standard_view(row)
            | {
                "name": row.name,
                "prefixes": row.prefixes,
                "ip_version": row.ip_version,
                "default_prefixlen": str(row.default_prefixlen),
                "min_prefixlen": str(row.min_prefixlen),
                "max_prefixlen": str(row.max_prefixlen),
                "default_quota": row.default_quota,
                "address_scope_id": row.address_scope_id,
                "shared": row.id in shared,
                "is_default": row.is_default,
            }
            for row in rows
        ]

    def create(self, ctx: Context, tx: Tx, values: Values) -> str:
        """POST."""
        return subnet_pools.create(ctx, tx, values)

    def update(self, ctx: Context, tx: Tx, row: Any, changes: Values) -> None:
        """PUT."""
        subnet_pools.update(ctx, tx, row, changes)

    def delete(self, ctx: Context, tx: Tx, row: Any) -> None:
        """DELETE."""
        subnet_pools.delete(ctx, tx, row)

    def add_prefixes(self, ctx: Context, request: Request) -> View:
        """PUT add_prefixes."""
        return self._change_prefixes(ctx, request, subnet_pools.add_prefixes)

    def remove_prefixes(self, ctx: Context, request: Request) -> View:
        """PUT remove_prefixes."""
        return self._change_prefixes(ctx, request, subnet_pools.remove_prefixes)

    def _change_prefixes(self, ctx: Context, request: Request, change: Any) -> View:
        body = request.body
        prefixes = body.get("prefixes") if isinstance(body, dict) else None
        if (
            not isinstance(prefixes, list)
            or not prefixes
            or set(body) != {"prefixes"}
            or not all(isinstance(each, str) for each in prefixes)
        ):
            raise refusals.malformed("The body must hold prefixes: a list of CIDRs")
        with self.writing(ctx) as tx:
            row, target = self.find(ctx, tx, request.params["id"], lock=True)
            check_revision(request, row)
            ctx.authorize(target=target)
            return {"prefixes": change(ctx, tx, row, prefixes)}


class Scopes(_Shareable):
    """Address scopes."""

    resource, kind, rule = SCOPES, "AddressScope", "address_scope"
    path = "/address-scopes"
    object_type = "address_scope"

    def present(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[View]:
        """Scopes as answered."""
        shared = sharing.shared_ids(ctx, tx, "address_scope", [row.id for row in rows])
        return [
            {
                "id": row.id,
                "project_id": row.project_id,
                "tenant_id": row.project_id,
                "name": row.name,
                "ip_version": row.ip_version,
                "shared": row.id in shared,
            }
            for row in rows
        ]

    def create(self, ctx: Context, tx: Tx, values: Values) -> str:
        """POST."""
        return subnet_pools.create_scope(ctx, tx, values)

    def update(self, ctx: Context, tx: Tx, row: Any, changes: Values) -> None:
        """PUT."""
        subnet_pools.update_scope(ctx, tx, row, changes)

    def delete(self, ctx: Context, tx: Tx, row: Any) -> None:
        """DELETE."""
        subnet_pools.delete_scope(ctx, tx, row)


NOUN = Pools()


def _action(name: str, handler: Any) -> Route:
    return Route(
        method="PUT",
        path=f"/subnetpools/{{id}}/{name}",
        handler=handler,
        rule=name,
        rule_needs_target=True,
        summary=name.replace("_", " ").capitalize(),
    )


ROUTES = (
    *NOUN.routes(),
    _action("add_prefixes", NOUN.add_prefixes),
    _action("remove_prefixes", NOUN.remove_prefixes),
    *Scopes().routes(),
)
