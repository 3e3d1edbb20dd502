"""/rbac-policies: who else may use a network, subnet pool, address scope or security group.

API reference: https://docs.openstack.org/api-ref/network/v2/#rbac-policies
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.fields import Field, Resource
from nubelet.kernel.ids import new_uuid
from nubelet.network import refusals, sharing
from nubelet.network.api.attributes import TEXT, UUID, identity
from nubelet.network.api.noun import Noun, Values, View
from nubelet.network.model import (
    address_scope,
    network,
    port,
    port_security_group,
    rbac_policy,
    router,
    security_group,
    subnet,
    subnet_pool,
)
from nubelet.network.quotas import quotas

# What may be opened to others, by which actions.
OBJECTS: dict[str, tuple[sa.Table, tuple[str, ...], str]] = {
    "network": (network, (sharing.SHARED, sharing.EXTERNAL), "Network"),
    "subnetpool": (subnet_pool, (sharing.SHARED,), "SubnetPool"),
    "address_scope": (address_scope, (sharing.SHARED,), "AddressScope"),
    "security_group": (security_group, (sharing.SHARED,), "SecurityGroup"),
}

RBAC_POLICIES = Resource(
    "rbac_policy",
    "rbac_policies",
    rbac_policy,
    (
        *identity(),
        Field(
            name="object_type",
            schema={"type": "string", "enum": list(OBJECTS)},
            create="required",
            filter="exact",
            sort=True,
        ),
        Field(name="object_id", schema=UUID, create="required", filter="exact", sort=True),
        Field(
            name="target_tenant",
            schema={**TEXT, "minLength": 1},
            create="required",
            update=True,
            filter="exact",
            sort=True,
            rule="{verb}_rbac_policy:target_tenant",
        ),
        Field(
            name="action",
            schema={"type": "string", "enum": [sharing.SHARED, sharing.EXTERNAL]},
            create="required",
            filter="exact",
            sort=True,
        ),
    ),
)


class RbacPolicies(Noun):
    """RBAC policies."""

    resource, kind, rule, path = RBAC_POLICIES, "RbacPolicy", "rbac_policy", "/rbac-policies"

    def present(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[View]:
        """Entries as answered."""
        return [
            {
                "id": row.id,
                "project_id": row.project_id,
                "tenant_id": row.project_id,
                "object_type": row.object_type,
                "object_id": row.object_id,
                "target_tenant": row.target_tenant,
                "action": row.action,
            }
            for row in rows
        ]

    def create(self, ctx: Context, tx: Tx, values: Values) -> str:
        """POST. Only the owner of a thing opens it to others."""
        table, actions, kind = OBJECTS[values["object_type"]]
        row = tx.first(sa.select(table).where(table.c.id == values["object_id"]))
        if row is None or (not ctx.is_admin and row.project_id != ctx.project_id):
            raise refusals.not_found(kind, values["object_id"])
        if values["action"] not in actions:
            raise refusals.invalid(
                f"'{values['action']}' action not allowed for {values['object_type']}"
            )
        if values["action"] == sharing.EXTERNAL and not ctx.is_admin:
            raise refusals.invalid(
                "Only admins can manipulate policies on networks they do not own"
            )
        quotas(ctx).require(tx, values["project_id"], rbac_policy=1)
        self._require_new(tx, values["object_id"], values["action"], values["target_tenant"])
        identifier = new_uuid()
        tx.insert(
            rbac_policy,
            id=identifier,
            project_id=values["project_id"],
            object_type=values["object_type"],
            object_id=values["object_id"],
            action=values["action"],
            target_tenant=values["target_tenant"],
            created_at=clock.now(),
        )
        if values["action"] == sharing.EXTERNAL and not row.external:
            tx.update(network, network.c.id == row.id, external=True)
        return identifier

    def update(self, ctx: Context, tx: Tx, row: Any, changes: Values) -> None:
        """PUT: another project."""
        target = changes.get("target_tenant", row.target_tenant)
        if target != row.target_tenant:
            self._require_new(tx, row.object_id, row.action, target)
            if target != sharing.EVERYBODY:
                _require_unused(tx, row)
            tx.update(rbac_policy, rbac_policy.c.id == row.id, target_tenant=target)

    def delete(self, ctx: Context, tx: Tx, row: Any) -> None:
        """DELETE, unless the other project uses what was opened to it."""
        _require_unused(tx, row)
        tx.delete(rbac_policy, rbac_policy.c.id == row.id)
        left = tx.scalar(
            sa.select(rbac_policy.c.id).where(
                rbac_policy.c.object_id == row.object_id, rbac_policy.c.action == sharing.EXTERNAL
            )
        )
        if row.action == sharing.EXTERNAL and left is None:
            tx.update(network, network.c.id == row.object_id, external=False)

    @staticmethod
    def _require_new(tx: Tx, object_id: str, action: str, target: str) -> None:
        if tx.scalar(
            sa.select(rbac_policy.c.id).where(
                rbac_policy.c.object_id == object_id,
                rbac_policy.c.action == action,
                rbac_policy.c.target_tenant == target,
            )
        ):
            raise refusals.conflict(
                "DuplicateRbacPolicy", "An RBAC policy already exists with those values."
            )


def _require_unused(tx: Tx, row: Any) -> None:
    """Refuse to close what others are using."""
    users = _users(tx, row)
    targets = {row.target_tenant} if row.target_tenant != sharing.EVERYBODY else users
    others = {
        each.target_tenant
        for each in tx.all(
            sa.select(rbac_policy.c.target_tenant).where(
                rbac_policy.c.object_id == row.object_id,
                rbac_policy.c.action == row.action,
                rbac_policy.c.id != row.id,
            )
        )
    }
    if sharing.EVERYBODY in others:
        return
    if (users & targets) - others:
        raise refusals.conflict(
            "RbacPolicyInUse",
            f"RBAC policy on object {row.object_id} cannot be removed because "
            "other objects depend on it.",
        )


def _users(tx: Tx, row: Any) -> set[str]:
    """Projects other than the owner's that use the thing by way of this kind of entry."""
    table = OBJECTS[row.object_type][0]
    owner = tx.scalar(sa.select(table.c.project_id).where(table.c.id == row.object_id))
    found: set[str] = set()
    statements = []
    if row.object_type == "network" and row.action == sharing.EXTERNAL:
        statements = [
            sa.select(router.c.project_id).where(router.c.gateway_network_id == row.object_id)
        ]
    elif row.object_type == "network":
        statements = [
            sa.select(port.c.project_id).where(port.c.network_id == row.object_id),
            sa.select(subnet.c.project_id).where(subnet.c.network_id == row.object_id),
        ]
    elif row.object_type == "security_group":
        statements = [
            sa.select(port.c.project_id)
            .join(port_security_group, port_security_group.c.port_id == port.c.id)
            .where(port_security_group.c.security_group_id == row.object_id)
        ]
    elif row.object_type == "subnetpool":
        statements = [sa.select(subnet.c.project_id).where(subnet.c.subnetpool_id == row.object_id)]
    elif row.object_type == "address_scope":
        statements = [
            sa.select(subnet_pool.c.project_id).where(
                subnet_pool.c.address_scope_id == row.object_id
            )
        ]
    for statement in statements:
        found |= {each.project_id for each in tx.all(statement.distinct())}
    return found - {owner, ""}


NOUN = RbacPolicies()
ROUTES = NOUN.routes()
