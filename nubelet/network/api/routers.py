"""/routers, with adding and removing interfaces and single routes.

API reference: https://docs.openstack.org/api-ref/network/v2/#routers-routers
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.fields import Field, Resource
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.network import fixed_ips, hosts, refusals, routers
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
from nubelet.network.api.noun import Noun, Values, View, check_revision, check_value, unwrapped
from nubelet.network.model import router

_GATEWAY = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "network_id": {**UUID, "type": ["string", "null"]},
        "enable_snat": FLAG,
        "external_fixed_ips": {
            "type": ["array", "null"],
            "items": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "subnet_id": UUID,
                    "ip_address": {"type": "string", "maxLength": 45},
                },
            },
        },
    },
}
_ROUTES_SCHEMA = {
    "type": ["array", "null"],
    "items": {
        "type": "object",
        "required": ["destination", "nexthop"],
        "additionalProperties": False,
        "properties": {"destination": {"type": "string"}, "nexthop": {"type": "string"}},
    },
}
_RULE = "{verb}_router:"

ROUTERS = Resource(
    "router",
    "routers",
    router,
    (
        *identity(),
        text("name"),
        flag("admin_state_up", default=True),
        shown("status", TEXT, filter="exact", sort=True),
        Field(
            name="external_gateway_info",
            schema=_GATEWAY,
            create="optional",
            update=True,
            default=None,
            rule=_RULE + "external_gateway_info",
        ),
        Field(name="routes", schema=_ROUTES_SCHEMA, update=True),
        Field(
            name="availability_zone_hints",
            schema={"type": "array", "items": TEXT},
            create="optional",
            default=[],
        ),
        shown("availability_zones", {"type": "array", "items": TEXT}),
        *standard(),
    ),
)


class Routers(Noun):
    """Routers."""

    resource, kind, rule, path = ROUTERS, "Router", "router", "/routers"
    parts = {"external_gateway_info": ("network_id", "enable_snat", "external_fixed_ips")}
    extra_filters = STANDARD_FILTERS

    def conditions(
        self,
        ctx: Context,
        query: Mapping[str, list[str]],
    ) -> Iterable[sa.ColumnElement[bool]]:
        """Tags and times."""
        return standard_conditions(router, query)

    def present(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[View]:
        """Routers as answered."""
        outside = fixed_ips.of_ports(
            tx, [row.gateway_port_id for row in rows if row.gateway_port_id]
        )
        return [
            standard_view(row)
            | {
                "name": row.name,
                "admin_state_up": row.admin_state_up,
                "status": row.status,
                "external_gateway_info": _gateway(row, outside),
                "routes": row.routes,
                "availability_zone_hints": row.availability_zone_hints,
                "availability_zones": [hosts.DEFAULT_ZONE] if row.host else [],
            }
            for row in rows
        ]

    def create(self, ctx: Context, tx: Tx, values: Values) -> str:
        """POST."""
        return routers.create(ctx, tx, values)

    def update(self, ctx: Context, tx: Tx, row: Any, changes: Values) -> None:
        """PUT."""
        routers.update(ctx, tx, row, changes)

    def delete(self, ctx: Context, tx: Tx, row: Any) -> None:
        """DELETE."""
        routers.delete(ctx, tx, row)

    # --- Further operations ------------------------------------------------------------------

    def _found(self, ctx: Context, tx: Tx, request: Request) -> Any:
        row, target = self.find(ctx, tx, request.params["id"], lock=True)
        check_revision(request, row)
        ctx.authorize(target=target)
        return row

    def add_interface(self, ctx: Context, request: Request) -> View:
        """PUT add_router_interface."""
        body = _interface_body(request.body)
        with self.writing(ctx) as tx:
            return routers.add_interface(ctx, tx, self._found(ctx, tx, request), body)

    def remove_interface(self, ctx: Context, request: Request) -> View:
        """PUT remove_router_interface."""
        body = _interface_body(request.body)
        with self.writing(ctx) as tx:
            return routers.remove_interface(ctx, tx, self._found(ctx, tx, request), body)

    def add_routes(self, ctx: Context, request: Request) -> View:
        """PUT add_extraroutes."""
        return self._change_routes(ctx, request, "add")

    def remove_routes(self, ctx: Context, request: Request) -> View:
        """PUT remove_extraroutes."""
        return self._change_routes(ctx, request, "remove")

    def _change_routes(self, ctx: Context, request: Request, which: str) -> View:
        body = unwrapped(request.body, "router")
        if set(body) != {"routes"}:
            raise refusals.malformed("The router must have one attribute: routes")
        field = self.resource.field("routes")
        assert field is not None
        routes = check_value(field, body["routes"]) or []
        with self.writing(ctx) as tx:
            row = self._found(ctx, tx, request)
            routers.change_routes(ctx, tx, row, **{which: routes})
            row = routers.find(tx, row.id)
        return {"router": {"id": row.id, "name": row.name, "routes": row.routes}}


def _gateway(row: Any, outside: dict[str, list[Any]]) -> View | None:
    if not row.gateway_port_id:
        return None
    return {
        "network_id": row.gateway_network_id,
        "enable_snat": row.enable_snat,
        "external_fixed_ips": [
            {"subnet_id": each.subnet_id, "ip_address": each.ip}
            for each in outside[row.gateway_port_id]
        ],
    }


def _interface_body(body: Any) -> dict[str, Any]:
    if (
        not isinstance(body, dict)
        or not set(body) <= {"subnet_id", "port_id"}
        or not all(isinstance(value, str) for value in body.values())
    ):
        raise refusals.bad_request("router", "Either subnet_id or port_id must be specified")
    return body


NOUN = Routers()


def _action(name: str, handler: Any) -> Route:
    return Route(
        method="PUT",
        path=f"/routers/{{id}}/{name}",
        handler=handler,
        rule=name,
        rule_needs_target=True,
        summary=name.replace("_", " ").capitalize(),
    )


ROUTES = (
    *NOUN.routes(),
    _action("add_router_interface", NOUN.add_interface),
    _action("remove_router_interface", NOUN.remove_interface),
    _action("add_extraroutes", NOUN.add_routes),
    _action("remove_extraroutes", NOUN.remove_routes),
)
