"""What limits hold for a project, and which limits may stand beside each other.

`flat`: every project by itself. `strict_two_level`: a domain's limit is a ceiling for those of the
projects directly below it, and there is nothing below those.

In OpenStack: keystone/limit/models/.
"""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

from nubelet.identity.limits.model import limit, registered_limit
from nubelet.identity.model import project, service
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Forbidden

UNLIMITED = -1
Model = Literal["flat", "strict_two_level"]
DESCRIPTIONS: dict[Model, str] = {
    "flat": (
        "Limit enforcement and validation does not take project hierarchy into consideration."
    ),
    "strict_two_level": "This model requires project hierarchy never exceeds a depth of two",
}
# How deep projects may nest below a domain where a model is strict about it.
STRICT_DEPTH = 1


def of_project(
    tx: Tx, project_id: str, service_type: str, region_id: str | None = None
) -> dict[str, int]:
    """The limits of a project: resource -> how many, -1 for any number.

    Only resources that were registered for a service of that type are in it: what holds for others
    is the service's to say. A registration for the region wins over one for all regions.
    """
    own = sa.and_(
        limit.c.registered_limit_id == registered_limit.c.id, limit.c.project_id == project_id
    )
    statement = (
        sa.select(
            registered_limit.c.resource_name,
            sa.func.coalesce(limit.c.resource_limit, registered_limit.c.default_limit).label(
                "value"
            ),
        )
        .join(service, service.c.id == registered_limit.c.service_id)
        .outerjoin(limit, own)
        .where(
            service.c.type == service_type,
            sa.or_(
                registered_limit.c.region_id.is_(None), registered_limit.c.region_id == region_id
            ),
        )
        # The later of two of the same name stays in the dictionary: that of the region.
        .order_by(registered_limit.c.region_id.is_not(None), registered_limit.c.created_at)
    )
    return {row.resource_name: int(row.value) for row in tx.all(statement)}


def forget_projects(tx: Tx, identifiers: list[str]) -> None:
    """Delete the limits of projects and domains that are being deleted."""
    tx.delete(
        limit, sa.or_(limit.c.project_id.in_(identifiers), limit.c.domain_id.in_(identifiers))
    )


def check_tree(tx: Tx, model: Model, row: Any, value: int) -> None:
    """Raise Forbidden where the model does not let a limit (`row`) have this value."""
    if model == "flat":
        return
    if row.project_id:
        ceiling = _ceiling(tx, row)
        if _exceeds(value, ceiling):
            raise _misfit(row, value, f"the limit of its domain is {ceiling}")
        return
    below = tx.first(
        sa.select(limit.c.project_id, limit.c.resource_limit)
        .join(project, project.c.id == limit.c.project_id)
        .where(
            limit.c.registered_limit_id == row.registered_limit_id,
            project.c.parent_id == row.domain_id,
            _more_than(value),
        )
    )
    if below is not None:
        raise _misfit(
            row, value, f"the limit of the project {below.project_id} is {below.resource_limit}"
        )


def _ceiling(tx: Tx, row: Any) -> int:
    """What holds for the domain above a project."""
    parent_id = tx.scalar(sa.select(project.c.parent_id).where(project.c.id == row.project_id))
    found = tx.scalar(
        sa.select(limit.c.resource_limit).where(
            limit.c.registered_limit_id == row.registered_limit_id, limit.c.domain_id == parent_id
        )
    )
    if found is None:
        found = tx.scalar(
            sa.select(registered_limit.c.default_limit).where(
                registered_limit.c.id == row.registered_limit_id
            )
        )
    return UNLIMITED if found is None else int(found)


def _exceeds(value: int, ceiling: int) -> bool:
    return ceiling != UNLIMITED and (value == UNLIMITED or value > ceiling)


def _more_than(value: int) -> sa.ColumnElement[bool]:
    if value == UNLIMITED:
        return sa.false()
    return sa.or_(limit.c.resource_limit > value, limit.c.resource_limit == UNLIMITED)


def _misfit(row: Any, value: int, reason: str) -> Forbidden:
    whose = f"project {row.project_id}" if row.project_id else f"domain {row.domain_id}"
    return Forbidden(
        f"A limit of {value} for the {whose} does not fit the model strict_two_level: {reason}."
    )
