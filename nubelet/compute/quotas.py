"""What a project may have of compute's things. Usage is counted from rows (kernel/quotas.py).

A user may have less of a project's things than the project (`user_limits`); who creates something
must be within both limits (`require`).

Names and defaults are upstream's; `compute.quotas` of the settings changes the defaults.
In OpenStack: nova/quota.py.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.compute.model import keypair, server, server_group, user_quota
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import QuotaExceeded
from nubelet.kernel.quotas import UNLIMITED, QuotaResource, Quotas

_of_project = server.c.project_id == sa.bindparam("project_id")
_present = server.c.deleted_at.is_(None)
_INSTANCES = sa.select(sa.func.count()).select_from(server).where(_of_project, _present)
_CORES = sa.select(sa.func.coalesce(sa.func.sum(server.c.vcpus), 0)).where(_of_project, _present)
_RAM = sa.select(sa.func.coalesce(sa.func.sum(server.c.memory_mb), 0)).where(_of_project, _present)
_GROUPS = (
    sa.select(sa.func.count())
    .select_from(server_group)
    .where(server_group.c.project_id == sa.bindparam("project_id"))
)


def _count(statement: sa.Select[Any]) -> Any:
    return lambda tx, project_id: int(
        tx.execute(statement, {"project_id": project_id}).scalar_one()
    )


RESOURCES = (
    QuotaResource("instances", 10, _count(_INSTANCES)),
    QuotaResource("cores", 20, _count(_CORES)),
    QuotaResource("ram", 50 * 1024, _count(_RAM)),
    QuotaResource("metadata_items", 128),
    QuotaResource("injected_files", 5),
    QuotaResource("injected_file_content_bytes", 10 * 1024),
    QuotaResource("injected_file_path_bytes", 255),
    QuotaResource("key_pairs", 100),
    QuotaResource("server_groups", 10, _count(_GROUPS)),
    QuotaResource("server_group_members", 10),
    # Network has quotas of its own; these are kept for clients that set them here (until 2.35).
    QuotaResource("fixed_ips", UNLIMITED),
    QuotaResource("floating_ips", UNLIMITED),
    QuotaResource("security_groups", UNLIMITED),
    QuotaResource("security_group_rules", UNLIMITED),
)
NETWORK_RESOURCES = ("fixed_ips", "floating_ips", "security_groups", "security_group_rules")
INJECTION_RESOURCES = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")


def of(cloud: Cloud) -> Quotas:
    """Compute's quotas in this cloud."""
    return Quotas("compute", RESOURCES, cloud.settings.compute.quotas)


def limit(cloud: Cloud, tx: Tx, project_id: str, name: str) -> int:
    """One limit of a project; -1 is unlimited."""
    return of(cloud).limits(tx, project_id)[name]


# --- Users within a project ----------------------------------------------------------------------


def _own(statement: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
    return statement.where(table.c.user_id == sa.bindparam("user_id"))


_USER_COUNTS = {
    "instances": _own(_INSTANCES, server),
    "cores": _own(_CORES, server),
    "ram": _own(_RAM, server),
    "server_groups": _own(_GROUPS, server_group),
    # Keys belong to users alone, whatever the project.
    "key_pairs": _own(sa.select(sa.func.count()).select_from(keypair), keypair),
}


def user_limits(cloud: Cloud, tx: Tx, project_id: str, user_id: str) -> dict[str, int]:
    """What a user may have of the project's things: the project's limits where nobody set less."""
    return of(cloud).limits(tx, project_id) | _user_limits(tx, project_id, user_id)


def _user_limits(tx: Tx, project_id: str, user_id: str) -> dict[str, int]:
    rows = tx.all(_USER_LIMITS, project_id=project_id, user_id=user_id)
    return {row.resource: row.limit for row in rows}


_USER_LIMITS = sa.select(user_quota.c.resource, user_quota.c.limit).where(
    user_quota.c.project_id == sa.bindparam("project_id"),
    user_quota.c.user_id == sa.bindparam("user_id"),
)


def user_usage(tx: Tx, project_id: str, user_id: str) -> dict[str, int]:
    """What a user has of the project's things."""
    return {name: _user_count(tx, name, project_id, user_id) for name in _USER_COUNTS}


def _user_count(tx: Tx, name: str, project_id: str, user_id: str) -> int:
    given = {"user_id": user_id} | ({} if name == "key_pairs" else {"project_id": project_id})
    return int(tx.scalar(_USER_COUNTS[name].params(**given)))


def set_user(tx: Tx, project_id: str, user_id: str, values: dict[str, int]) -> None:
    """Set limits of a user within a project."""
    c = user_quota.c
    for name, value in values.items():
        where = (c.project_id == project_id, c.user_id == user_id, c.resource == name)
        if not tx.update(user_quota, *where, limit=value):
            tx.insert(
                user_quota, project_id=project_id, user_id=user_id, resource=name, limit=value
            )


def reset(cloud: Cloud, tx: Tx, project_id: str, user_id: str | None) -> None:
    """Forget the limits of a user within a project, or (None) those of the project and of all
    its users."""
    where = [user_quota.c.project_id == project_id]
    if user_id is None:
        of(cloud).reset(tx, project_id)
    else:
        where.append(user_quota.c.user_id == user_id)
    tx.delete(user_quota, *where)


def require(ctx: Context, tx: Tx, project_id: str, **requested: int) -> None:
    """Raise QuotaExceeded if project or caller may not have so many more."""
    of(ctx.cloud).require(tx, project_id, **requested)
    limits = _user_limits(tx, project_id, ctx.user_id)
    for name, amount in requested.items():
        if limits.get(name, UNLIMITED) == UNLIMITED or name not in _USER_COUNTS or amount <= 0:
            continue
        used = _user_count(tx, name, project_id, ctx.user_id)
        if used + amount > limits[name]:
            raise QuotaExceeded(name, limit=limits[name], used=used, requested=amount)


def left(ctx: Context, tx: Tx, project_id: str) -> dict[str, int]:
    """How much of each counted resource project and caller may still have; those without limit
    are left out."""
    found: dict[str, int] = {}
    quotas = of(ctx.cloud)
    limits, used = quotas.limits(tx, project_id), quotas.usage(tx, project_id)
    for name, limit_ in limits.items():
        if limit_ >= 0:
            found[name] = max(0, limit_ - used[name])
    for name, limit_ in _user_limits(tx, project_id, ctx.user_id).items():
        if limit_ >= 0 and name in _USER_COUNTS:
            free = max(0, limit_ - _user_count(tx, name, project_id, ctx.user_id))
            found[name] = min(found.get(name, free), free)
    return found
