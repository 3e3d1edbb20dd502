"""What a project may have of each resource, counted from the rows."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.quotas import QuotaResource, Quotas
from nubelet.network import model


def _count(table: sa.Table) -> Callable[[Tx, str], int]:
    statement = (
        sa.select(sa.func.count())
        .select_from(table)
        .where(table.c.project_id == sa.bindparam("project_id"))
    )

    def count(tx: Tx, project_id: str) -> int:
        return int(tx.scalar(statement, project_id=project_id))

    return count


QUOTAS: tuple[QuotaResource, ...] = (
    QuotaResource("network", 100, _count(model.network)),
    QuotaResource("subnet", 100, _count(model.subnet)),
    QuotaResource("subnetpool", -1, _count(model.subnet_pool)),
    QuotaResource("port", 500, _count(model.port)),
    QuotaResource("router", 10, _count(model.router)),
    QuotaResource("floatingip", 50, _count(model.floating_ip)),
    QuotaResource("security_group", 10, _count(model.security_group)),
    QuotaResource("security_group_rule", 100, _count(model.security_group_rule)),
    QuotaResource("rbac_policy", 10, _count(model.rbac_policy)),
)


def quotas(ctx: Context) -> Quotas:
    """The quotas of this service with the defaults of the settings."""
    return Quotas("network", QUOTAS, ctx.cloud.settings.network.quotas)
