"""Keeping policies, and finding the one for an endpoint.

The most particular wins: one for the endpoint itself, then one for its service in its region or the
nearest region above, then one for its service. An endpoint, a service, or a service in a region
has one policy at a time: another takes its place.

In OpenStack: keystone/policy/core.py, keystone/endpoint_policy/core.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.identity import changes, regions
from nubelet.identity.model import endpoint
from nubelet.identity.policies.model import policy, policy_association
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.ids import new_hex


class Subject(NamedTuple):
    """What a policy is for."""

    endpoint_id: str | None = None
    service_id: str | None = None
    region_id: str | None = None

    def condition(self) -> sa.ColumnElement[bool]:
        """The associations of exactly this."""
        c = policy_association.c
        return sa.and_(
            *(
                c[name].is_(None) if value is None else c[name] == value
                for name, value in self._asdict().items()
            )
        )


def find(tx: Tx, identifier: str) -> Any:
    """The row of a policy; None where there is none."""
    return tx.first(sa.select(policy).where(policy.c.id == identifier))


def create(ctx: Context, tx: Tx, values: Mapping[str, Any], extra: Mapping[str, Any]) -> Any:
    """Insert a policy; answers its row."""
    identifier = new_hex()
    tx.insert(
        policy,
        id=identifier,
        type=values["type"],
        blob=values["blob"],
        extra=dict(extra),
        created_at=clock.now(),
    )
    changes.record(ctx, tx, "policy.created", identifier)
    return find(tx, identifier)


def update(
    ctx: Context, tx: Tx, row: Any, values: Mapping[str, Any], extra: Mapping[str, Any]
) -> Any:
    """Change a policy; answers its row."""
    if values.get("id", row.id) != row.id:
        raise BadRequest("Invalid input for field/attribute id: it cannot be changed.")
    changed = {name: values[name] for name in ("type", "blob") if name in values}
    tx.update(policy, policy.c.id == row.id, **changed, extra={**row.extra, **extra})
    changes.record(ctx, tx, "policy.updated", row.id)
    return find(tx, row.id)


def delete(ctx: Context, tx: Tx, row: Any) -> None:
    """Delete a policy; it is for nothing any more."""
    tx.delete(policy_association, policy_association.c.policy_id == row.id)
    tx.delete(policy, policy.c.id == row.id)
    changes.record(ctx, tx, "policy.deleted", row.id)


def associate(ctx: Context, tx: Tx, policy_id: str, subject: Subject) -> None:
    """Let a policy be for something, in place of another."""
    tx.lock("identity", "policy_association", *(part or "" for part in subject))
    tx.delete(policy_association, subject.condition())
    tx.insert(policy_association, id=new_hex(), policy_id=policy_id, **subject._asdict())
    changes.record(ctx, tx, "policy.updated", policy_id)


def is_associated(tx: Tx, policy_id: str, subject: Subject) -> bool:
    """Is the policy for exactly this?"""
    return bool(_policy_of(tx, subject) == policy_id)


def dissociate(ctx: Context, tx: Tx, policy_id: str, subject: Subject) -> bool:
    """Let a policy no longer be for something; False where it was not."""
    gone = tx.delete(
        policy_association, policy_association.c.policy_id == policy_id, subject.condition()
    )
    if gone:
        changes.record(ctx, tx, "policy.updated", policy_id)
    return gone > 0


def for_endpoint(tx: Tx, row: Any) -> Any:
    """The row of the policy for an endpoint (a row); None where there is none."""
    subjects = [Subject(endpoint_id=row.id)]
    if row.region_id:
        parents = regions.parents(tx)
        subjects += [
            Subject(service_id=row.service_id, region_id=region_id)
            for region_id in regions.line(parents, row.region_id)
        ]
    subjects.append(Subject(service_id=row.service_id))
    for subject in subjects:
        found = _policy_of(tx, subject)
        if found is not None:
            return find(tx, found)
    return None


def endpoints_for(tx: Tx, policy_id: str) -> list[Any]:
    """The endpoints that a policy is for, by any of its associations."""
    parents = regions.parents(tx)
    conditions: list[sa.ColumnElement[bool]] = []
    for row in tx.all(
        sa.select(policy_association).where(policy_association.c.policy_id == policy_id)
    ):
        if row.endpoint_id:
            conditions.append(endpoint.c.id == row.endpoint_id)
            continue
        condition: sa.ColumnElement[bool] = endpoint.c.service_id == row.service_id
        if row.region_id:
            inside = [each for each in parents if row.region_id in regions.line(parents, each)]
            condition = sa.and_(condition, endpoint.c.region_id.in_(inside))
        conditions.append(condition)
    if not conditions:
        return []
    return list(tx.all(sa.select(endpoint).where(sa.or_(*conditions)).order_by(endpoint.c.id)))


def forget(tx: Tx, **gone: str) -> None:
    """Delete the associations of what is being deleted: `endpoint_id=`, `service_id=`, or
    `region_id=`."""
    for name, identifier in gone.items():
        column = policy_association.c[name]
        condition = column == identifier
        if name == "service_id":
            endpoints = sa.select(endpoint.c.id).where(endpoint.c.service_id == identifier)
            condition = sa.or_(condition, policy_association.c.endpoint_id.in_(endpoints))
        tx.delete(policy_association, condition)


def _policy_of(tx: Tx, subject: Subject) -> Any:
    return tx.scalar(sa.select(policy_association.c.policy_id).where(subject.condition()))
