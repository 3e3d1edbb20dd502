"""How much of an inventory can still be given out, and why an amount does not fit.

capacity = (total - reserved) * allocation_ratio; an amount must also lie between min_unit and
max_unit and be a multiple of step_size. The words are those a user reads in a fault.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.kernel.database import Tx
from nubelet.placement.model import allocation, inventory

# How resource classes are called in sentences, and in which unit.
_WORDS = {
    "VCPU": ("vCPUs", ""),
    "PCPU": ("dedicated CPUs", ""),
    "MEMORY_MB": ("memory", " MiB"),
    "DISK_GB": ("disk", " GiB"),
}
FIELDS = ("total", "reserved", "min_unit", "max_unit", "step_size", "allocation_ratio")


class Stock(NamedTuple):
    """An inventory row and what is used of it."""

    provider_id: str
    resource_class: str
    total: int
    reserved: int
    min_unit: int
    max_unit: int
    step_size: int
    allocation_ratio: float
    used: int

    @property
    def capacity(self) -> int:
        """What may be used in all."""
        return int((self.total - self.reserved) * self.allocation_ratio)

    @property
    def free(self) -> int:
        """What may still be used."""
        return self.capacity - self.used


@functools.cache
def _statements(*given: str) -> tuple[sa.Select[Any], sa.Select[Any]]:
    """What is used and what there is; of the providers and classes whose names are given."""
    used: sa.Select[Any] = sa.select(
        allocation.c.provider_id, allocation.c.resource_class, sa.func.sum(allocation.c.used)
    ).group_by(allocation.c.provider_id, allocation.c.resource_class)
    kept: sa.Select[Any] = sa.select(
        inventory.c.provider_id,
        inventory.c.resource_class,
        inventory.c.total,
        inventory.c.reserved,
        inventory.c.min_unit,
        inventory.c.max_unit,
        inventory.c.step_size,
        inventory.c.allocation_ratio,
    )
    for name in given:
        values: sa.BindParameter[Any] = sa.bindparam(name, expanding=True)
        column = name.removesuffix("es" if name == "resource_classes" else "s")
        used = used.where(allocation.c[column].in_(values))
        kept = kept.where(inventory.c[column].in_(values))
    return used, kept


def stocks(
    tx: Tx, provider_ids: Sequence[str] | None = None, resource_classes: Sequence[str] | None = None
) -> dict[str, dict[str, Stock]]:
    """Provider id -> resource class -> stock, in two queries; None: all of them."""
    given: dict[str, Any] = {}
    if provider_ids is not None:
        given["provider_ids"] = list(provider_ids)
    if resource_classes is not None:
        given["resource_classes"] = list(resource_classes)
    used, kept = _statements(*given)
    rows: Sequence[Any] = tx.all(used, **given)
    sums = {(provider_id, name): int(amount) for provider_id, name, amount in rows}
    found: dict[str, dict[str, Stock]] = {}
    row: Any
    for row in tx.all(kept, **given):
        provider_id, name = row[:2]
        found.setdefault(provider_id, {})[name] = Stock._make(
            (*row, sums.get((provider_id, name), 0))
        )
    return found


def refusal(stock: Stock | None, resource_class: str, amount: int) -> str:
    """Why `amount` does not fit; empty when it does."""
    if (
        stock is not None
        and stock.min_unit <= amount <= stock.max_unit
        and not amount % stock.step_size
        and amount <= stock.free
    ):
        return ""
    noun, unit = _WORDS.get(resource_class, (resource_class, ""))
    if stock is None:
        return f"has no {noun}"
    if amount < stock.min_unit:
        return f"gives out at least {stock.min_unit}{unit} {noun} at a time, {amount} asked"
    if amount > stock.max_unit:
        return f"gives out at most {stock.max_unit}{unit} {noun} at a time, {amount} asked"
    if amount % stock.step_size:
        return f"gives out {noun} in steps of {stock.step_size}{unit}, {amount} asked"
    return f"not enough {noun}: needs {amount}{unit}, free {max(stock.free, 0)}{unit}"


def refusals(stock: Mapping[str, Stock], resources: Mapping[str, int]) -> list[str]:
    """All reasons why the resources do not fit into one provider."""
    return [
        reason
        for name, amount in resources.items()
        if (reason := refusal(stock.get(name), name, amount))
    ]


def row_values(stock: Any) -> dict[str, Any]:
    """The fields of an inventory as the API spells them."""
    return {
        "total": stock.total,
        "reserved": stock.reserved,
        "min_unit": stock.min_unit,
        "max_unit": stock.max_unit,
        "step_size": stock.step_size,
        "allocation_ratio": stock.allocation_ratio,
    }
