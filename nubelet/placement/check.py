"""The invariants of placement, for `nubelet doctor`."""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.kernel.cloud import Cloud
from nubelet.placement import capacity
from nubelet.placement.model import allocation, consumer


def check(cloud: Cloud) -> list[str]:
    """What is wrong, in sentences: more used than there is, and use of what does not exist.

    Fewer resources than are used is no fault of placement when an operator took some away; it is
    told all the same.
    """
    found = []
    with cloud.database.read() as tx:
        stocks = capacity.stocks(tx)
        for provider_id, held in stocks.items():
            found += [
                f"placement: {stock.used} {name} are used on provider {provider_id}, "
                f"which can give out {stock.capacity}"
                for name, stock in held.items()
                if stock.used > stock.capacity
            ]
        used = tx.all(sa.select(allocation.c.provider_id, allocation.c.resource_class).distinct())
        found += [
            f"placement: {row.resource_class} is used on provider {row.provider_id}, which has none"
            for row in used
            if row.resource_class not in stocks.get(row.provider_id, {})
        ]
        idle = tx.all(
            sa.select(consumer.c.id).where(
                consumer.c.id.not_in(sa.select(allocation.c.consumer_id))
            )
        )
        found += [f"placement: consumer {row.id} uses nothing" for row in idle]
    return found
