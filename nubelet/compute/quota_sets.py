"""Quota sets: the limits of a project, or of a user within it, as the API shows and sets them.

What is counted, and how, is `quotas.py`.

In OpenStack: nova/api/openstack/compute/quota_sets.py, nova/quota.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from nubelet.compute import quotas
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.quotas import UNLIMITED

_ALL = tuple(resource.name for resource in quotas.RESOURCES)


def names_at(ctx: Context) -> tuple[str, ...]:
    """The resources that quota sets have at the request's version."""
    gone: tuple[str, ...] = ()
    if ctx.at_least(2, 36):
        gone += quotas.NETWORK_RESOURCES
    if ctx.at_least(2, 57):
        gone += quotas.INJECTION_RESOURCES
    return tuple(name for name in _ALL if name not in gone)


def limits(cloud: Cloud, tx: Tx, project_id: str, user_id: str | None) -> dict[str, int]:
    """The limits of a project, or of a user within it."""
    if user_id is None:
        return quotas.of(cloud).limits(tx, project_id)
    return quotas.user_limits(cloud, tx, project_id, user_id)


def usage(cloud: Cloud, tx: Tx, project_id: str, user_id: str | None) -> dict[str, int]:
    """What the project has now, or a user within it. What is not counted per project is 0."""
    if user_id is None:
        return quotas.of(cloud).usage(tx, project_id)
    return dict.fromkeys(_ALL, 0) | quotas.user_usage(tx, project_id, user_id)


def update(
    cloud: Cloud,
    tx: Tx,
    project_id: str,
    user_id: str | None,
    values: Mapping[str, int],
    *,
    force: bool,
) -> None:
    """Set limits. Unless forced, raises BadRequest for a limit below what is in use, or of a
    user above the project's."""
    tx.lock("quota", "compute", project_id)
    if not force:
        used = usage(cloud, tx, project_id, user_id)
        most = quotas.of(cloud).limits(tx, project_id) if user_id else {}
        for name, limit in values.items():
            _require_possible(name, limit, used[name], most.get(name, UNLIMITED))
    if user_id is None:
        quotas.of(cloud).set(tx, project_id, values)
    else:
        quotas.set_user(tx, project_id, user_id, dict(values))


def _require_possible(name: str, limit: int, used: int, most: int) -> None:
    if limit != UNLIMITED and limit < used:
        raise BadRequest(
            f"Quota limit {limit} for {name} must be greater than or equal to "
            f"already used and reserved {used}."
        )
    if most != UNLIMITED and (limit > most or limit == UNLIMITED):
        raise BadRequest(f"Quota limit {limit} for {name} must be less than or equal to {most}.")
