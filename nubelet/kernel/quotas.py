"""Quotas: limits in a table, usage counted from rows inside the creating transaction.

Nothing is reserved and no usage is stored, so no usage can drift. A named lock per project
makes two concurrent creations count each other (on SQLite the single writer already does).
In OpenStack: nova/quota.py, neutron/db/quota, and three reservation systems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from nubelet.kernel.database import Id, Name, Tx, metadata
from nubelet.kernel.errors import QuotaExceeded

UNLIMITED = -1

quota_limit = sa.Table(
    "quota_limit",
    metadata,
    sa.Column("service", sa.String(32), primary_key=True),
    sa.Column("project_id", Id, primary_key=True),  # "" holds the defaults set by the API
    sa.Column("resource", Name, primary_key=True),
    sa.Column("limit", sa.BigInteger, nullable=False),
)

_STORED = sa.select(quota_limit.c.resource, quota_limit.c.limit).where(
    quota_limit.c.service == sa.bindparam("service"),
    quota_limit.c.project_id == sa.bindparam("project_id"),
)

Count = Callable[[Tx, str], int]


@dataclass(frozen=True)
class QuotaResource:
    """Something a project may have only so much of.

    `count(tx, project_id)` is the present usage; None for limits that are not per project
    (metadata items, injected file bytes). `default` holds when nobody set a limit.
    """

    name: str
    default: int
    count: Count | None = None


class Quotas:
    """The quotas of one service."""

    def __init__(
        self,
        service: str,
        resources: tuple[QuotaResource, ...],
        defaults: Mapping[str, int] | None = None,
    ) -> None:
        """`defaults` come from the settings and win over those of the resources."""
        self.service = service
        self.resources = {resource.name: resource for resource in resources}
        self._defaults = {name: resource.default for name, resource in self.resources.items()}
        self._defaults.update(defaults or {})

    def defaults(self, tx: Tx) -> dict[str, int]:
        """The limits of a project that has none of its own."""
        return self._defaults | self._stored(tx, "")

    def limits(self, tx: Tx, project_id: str) -> dict[str, int]:
        """The limits of a project; -1 is unlimited."""
        return self.defaults(tx) | self._stored(tx, project_id)

    def usage(self, tx: Tx, project_id: str) -> dict[str, int]:
        """What the project uses now."""
        return {
            name: resource.count(tx, project_id) if resource.count else 0
            for name, resource in self.resources.items()
        }

    def require(self, tx: Tx, project_id: str, **requested: int) -> None:
        """Raise `QuotaExceeded` if the project may not have so many more.

        Call it in the transaction that inserts the rows, before inserting them.
        """
        tx.lock("quota", self.service, project_id)
        limits = self.limits(tx, project_id)
        for name, amount in requested.items():
            count = self.resources[name].count
            if limits[name] == UNLIMITED or amount <= 0:
                continue
            used = count(tx, project_id) if count else 0
            if used + amount > limits[name]:
                raise QuotaExceeded(name, limit=limits[name], used=used, requested=amount)

    def set(self, tx: Tx, project_id: str, values: Mapping[str, int]) -> None:
        """Set limits of a project ("" sets the defaults)."""
        for name, limit in values.items():
            where = (
                quota_limit.c.service == self.service,
                quota_limit.c.project_id == project_id,
                quota_limit.c.resource == name,
            )
            if not tx.update(quota_limit, *where, limit=limit):
                tx.insert(
                    quota_limit,
                    service=self.service,
                    project_id=project_id,
                    resource=name,
                    limit=limit,
                )

    def reset(self, tx: Tx, project_id: str) -> None:
        """Forget the project's own limits."""
        tx.delete(
            quota_limit,
            quota_limit.c.service == self.service,
            quota_limit.c.project_id == project_id,
        )

    def projects(self, tx: Tx) -> list[str]:
        """The projects that have limits of their own."""
        statement = (
            sa.select(quota_limit.c.project_id)
            .distinct()
            .where(quota_limit.c.service == self.service, quota_limit.c.project_id != "")
            .order_by(quota_limit.c.project_id)
        )
        return [row.project_id for row in tx.all(statement)]

    def _stored(self, tx: Tx, project_id: str) -> dict[str, int]:
        rows = tx.all(_STORED, service=self.service, project_id=project_id)
        return {row.resource: row.limit for row in rows if row.resource in self.resources}
