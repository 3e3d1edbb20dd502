"""/security-groups, /security-group-rules and /default-security-group-rules.

API reference: https://docs.openstack.org/api-ref/network/v2/#security-groups-security-groups
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.clock import iso_seconds
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.fields import Condition, Field, Resource, read_bool
from nubelet.kernel.ids import new_uuid
from nubelet.network import refusals, security_group_rules, security_groups, sharing
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
from nubelet.network.model import (
    default_security_group_rule,
    security_group,
    security_group_rule,
)

_PORT = {"type": ["integer", "null"]}
_STRING = {"type": ["string", "null"]}


def _rule_fields() -> tuple[Field, ...]:
    """The attributes that rules and templates of rules share."""
    return (
        Field(
            name="direction",
            schema={"type": "string", "enum": ["ingress", "egress"]},
            create="required",
            filter="exact",
            sort=True,
        ),
        Field(
            name="ethertype",
            schema={"type": "string"},
            create="optional",
            default="IPv4",
            filter="exact",
            sort=True,
        ),
        Field(
            name="protocol",
            schema={"type": ["string", "integer", "null"]},
            create="optional",
            default=None,
            filter="exact",
            sort=True,
        ),
        Field(
            name="port_range_min",
            schema=_PORT,
            create="optional",
            default=None,
            filter="int",
            sort=True,
        ),
        Field(
            name="port_range_max",
            schema=_PORT,
            create="optional",
            default=None,
            filter="int",
            sort=True,
        ),
        Field(
            name="remote_ip_prefix",
            schema=_STRING,
            create="optional",
            default=None,
            filter="exact",
            sort=True,
        ),
        Field(
            name="remote_group_id",
            schema=_STRING,
            create="optional",
            default=None,
            filter="exact",
            sort=True,
        ),
    )


def _belongs(values: list[str], ctx: Context) -> Condition:
    inside = security_group_rule.c.security_group_id.in_(
        sa.select(security_group.c.id).where(security_group.c.default_of.is_not(None))
    )
    return sa.or_(
        *(inside if read_bool("belongs_to_default_sg", value) else ~inside for value in values)
    )


RULES = Resource(
    "security_group_rule",
    "security_group_rules",
    security_group_rule,
    (
        *identity(),
        Field(name="security_group_id", schema=UUID, create="required", filter="exact", sort=True),
        *_rule_fields(),
        shown("normalized_cidr", _STRING),
        shown("belongs_to_default_sg", FLAG, filter=_belongs),
        *standard(tags=False),
    ),
)

GROUPS = Resource(
    "security_group",
    "security_groups",
    security_group,
    (
        *identity(),
        text("name"),
        flag("stateful", default=True),
        shown("shared", FLAG, filter=shared_filter(security_group, "security_group")),
        shown("security_group_rules", {"type": "array", "items": {"type": "object"}}),
        *standard(),
    ),
)

TEMPLATES = Resource(
    "default_security_group_rule",
    "default_security_group_rules",
    default_security_group_rule,
    (
        shown("id", UUID, filter="exact", sort=True),
        *_rule_fields(),
        Field(
            name="used_in_default_sg",
            schema=FLAG,
            create="optional",
            default=False,
            filter="bool",
            sort=True,
        ),
        Field(
            name="used_in_non_default_sg",
            schema=FLAG,
            create="optional",
            default=True,
            filter="bool",
            sort=True,
        ),
        Field(
            name="description",
            schema=TEXT,
            create="optional",
            default="",
            filter="exact",
            sort=True,
        ),
    ),
)


def _rule_view(row: Any, is_default: bool) -> View:
    return {
        "id": row.id,
        "project_id": row.project_id,
        "tenant_id": row.project_id,
        "security_group_id": row.security_group_id,
        "direction": row.direction,
        "ethertype": row.ethertype,
        "protocol": row.protocol,
        "port_range_min": row.port_range_min,
        "port_range_max": row.port_range_max,
        "remote_ip_prefix": row.remote_ip_prefix,
        "remote_group_id": row.remote_group_id,
        "normalized_cidr": security_group_rules.normalized(row.remote_ip_prefix),
        "belongs_to_default_sg": is_default,
        "description": row.description,
        "revision_number": row.revision_number,
        "created_at": iso_seconds(row.created_at),
        "updated_at": iso_seconds(row.updated_at),
    }


class Groups(Noun):
    """Security groups."""

    resource, kind, rule = GROUPS, "SecurityGroup", "security_group"
    path = "/security-groups"
    extra_filters = STANDARD_FILTERS

    def visible(self, ctx: Context) -> sa.ColumnElement[bool] | None:
        """Own and shared ones."""
        return security_groups.visible(ctx)

    def handle_list(self, ctx: Context, request: Any) -> View:
        """A project that looks at its groups has a default one."""
        asked = request.query.get("project_id") or request.query.get("tenant_id")
        project_id = ctx.project_id
        if project_id and (not asked or project_id in asked):
            with ctx.cloud.database.read() as tx:
                there = tx.scalar(
                    sa.select(security_group.c.id).where(security_group.c.default_of == project_id)
                )
            if there is None and ctx.allows("get_security_group"):
                with ctx.cloud.database.write() as tx:
                    security_groups.default_group(ctx, tx, project_id)
        return super().handle_list(ctx, request)

    def conditions(
        self,
        ctx: Context,
        query: Mapping[str, list[str]],
    ) -> Iterable[sa.ColumnElement[bool]]:
        """Tags and times."""
        return standard_conditions(security_group, query)

    def targets(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[Values]:
        """Owner and sharing."""
        shared = sharing.shared_ids(ctx, tx, "security_group", [row.id for row in rows])
        return [
            {"project_id": row.project_id, "tenant_id": row.project_id, "shared": row.id in shared}
            for row in rows
        ]

    def present(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[View]:
        """Groups with their rules."""
        ids = [row.id for row in rows]
        shared = sharing.shared_ids(ctx, tx, "security_group", ids)
        found: dict[str, list[View]] = {each: [] for each in ids}
        defaults = {row.id for row in rows if row.default_of}
        for rule in tx.all(
            sa.select(security_group_rule)
            .where(security_group_rule.c.security_group_id.in_(ids))
            .order_by(security_group_rule.c.created_at, security_group_rule.c.id)
        ):
            group_id = rule.security_group_id
            found[group_id].append(_rule_view(rule, group_id in defaults))
        return [
            standard_view(row)
            | {
                "name": row.name,
                "stateful": row.stateful,
                "shared": row.id in shared,
                "security_group_rules": found[row.id],
            }
            for row in rows
        ]

    def create(self, ctx: Context, tx: Tx, values: Values) -> str:
        """POST."""
        return security_groups.create(ctx, tx, values)

    def update(self, ctx: Context, tx: Tx, row: Any, changes: Values) -> None:
        """PUT."""
        security_groups.update(ctx, tx, row, changes)

    def delete(self, ctx: Context, tx: Tx, row: Any) -> None:
        """DELETE."""
        security_groups.delete(ctx, tx, row)


class Rules(Noun):
    """Rules of security groups."""

    resource, kind, rule = RULES, "SecurityGroupRule", "security_group_rule"
    path = "/security-group-rules"
    verbs = frozenset({"list", "show", "create", "delete"})
    extra_filters = frozenset({"changed_since"})

    def visible(self, ctx: Context) -> sa.ColumnElement[bool] | None:
        """Own ones, and those of own groups."""
        if ctx.is_admin:
            return None
        c = security_group_rule.c
        return sa.or_(
            c.project_id == ctx.project_id,
            c.security_group_id.in_(
                sa.select(security_group.c.id).where(security_group.c.project_id == ctx.project_id)
            ),
        )

    def targets(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[Values]:
        """Owner of the rule and of its group."""
        owners = {
            row.id: row.project_id
            for row in tx.all(
                sa.select(security_group.c.id, security_group.c.project_id).where(
                    security_group.c.id.in_({row.security_group_id for row in rows})
                )
            )
        }
        return [
            {
                "project_id": row.project_id,
                "tenant_id": row.project_id,
                "security_group:tenant_id": owners.get(row.security_group_id),
            }
            for row in rows
        ]

    def new_target(self, ctx: Context, tx: Tx, values: Values) -> Values:
        """A rule is created in a group: its owner counts."""
        owner = tx.scalar(
            sa.select(security_group.c.project_id).where(
                security_group.c.id == values["security_group_id"]
            )
        )
        return {**super().new_target(ctx, tx, values), "security_group:tenant_id": owner}

    def present(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[View]:
        """Rules as answered."""
        defaults = {
            row.id
            for row in tx.all(
                sa.select(security_group.c.id).where(
                    security_group.c.default_of.is_not(None),
                    security_group.c.id.in_({row.security_group_id for row in rows}),
                )
            )
        }
        return [_rule_view(row, row.security_group_id in defaults) for row in rows]

    def create(self, ctx: Context, tx: Tx, values: Values) -> str:
        """POST."""
        return security_group_rules.create(ctx, tx, values)

    def delete(self, ctx: Context, tx: Tx, row: Any) -> None:
        """DELETE."""
        security_group_rules.delete(ctx, tx, row)


class Templates(Noun):
    """The rules that new groups begin with."""

    resource, kind, rule = TEMPLATES, "SecurityGroupDefaultRule", "default_security_group_rule"
    path = "/default-security-group-rules"
    verbs = frozenset({"list", "show", "create", "delete"})

    def visible(self, ctx: Context) -> sa.ColumnElement[bool] | None:
        """Everybody sees them."""
        return None

    def targets(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[Values]:
        """They are nobody's."""
        return [{} for _ in rows]

    def present(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[View]:
        """Templates as answered."""
        names = (
            "id",
            *security_group_rules.ATTRIBUTES,
            "used_in_default_sg",
            "used_in_non_default_sg",
            "description",
        )
        return [{name: getattr(row, name) for name in names} for row in rows]

    def create(self, ctx: Context, tx: Tx, values: Values) -> str:
        """POST."""
        rule = security_group_rules.checked(values)
        if rule["remote_group_id"] not in (None, security_group_rules.PARENT):
            security_groups.find(tx, rule["remote_group_id"])
        if tx.scalar(
            sa.select(default_security_group_rule.c.id).where(
                default_security_group_rule.c.sameness == rule["sameness"]
            )
        ):
            raise refusals.conflict(
                "DefaultSecurityGroupRuleExists", "Default Security group rule already exists."
            )
        identifier = new_uuid()
        tx.insert(
            default_security_group_rule,
            id=identifier,
            created_at=clock.now(),
            description=values["description"],
            used_in_default_sg=values["used_in_default_sg"],
            used_in_non_default_sg=values["used_in_non_default_sg"],
            **rule,
        )
        return identifier

    def delete(self, ctx: Context, tx: Tx, row: Any) -> None:
        """DELETE."""
        tx.delete(default_security_group_rule, default_security_group_rule.c.id == row.id)


NOUN = Groups()
ROUTES = (*NOUN.routes(), *Rules().routes(), *Templates().routes())
