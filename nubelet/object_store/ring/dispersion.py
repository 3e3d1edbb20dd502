"""How well the replicas are spread over failure domains, beside how well they could be."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import msgspec

from nubelet.object_store.ring.tiers import Plan, Tier

NONE = 0xFFFF


class TierDispersion(msgspec.Struct, frozen=True):
    """A failure domain: partitions that have more than `most` replicas in it, and how many
    partitions have 0, 1, 2... replicas in it."""

    name: str
    most: int
    crowded: int
    counts: tuple[int, ...]


class Dispersion(msgspec.Struct, frozen=True):
    """`percent`: replicas that should be elsewhere, of all. `required_overload`: what would let
    the ring be spread as well as its devices allow."""

    percent: float
    required_overload: float
    tiers: tuple[TierDispersion, ...]

    @classmethod
    def of(cls, plan: Plan, tables: Sequence[array[int]]) -> Dispersion:
        """Count."""
        partitions = max((len(table) for table in tables), default=0)
        spread: dict[Tier, dict[int, int]] = {}
        excess = total = 0
        for part in range(partitions):
            counts: dict[Tier, int] = {}
            for table in tables:
                if part < len(table) and table[part] in plan.way:
                    total += 1
                    for tier in plan.way[table[part]]:
                        counts[tier] = counts.get(tier, 0) + 1
            for tier, count in counts.items():
                row = spread.setdefault(tier, {})
                row[count] = row.get(count, 0) + 1
            excess += max(
                (count - tier.most_dispersed for tier, count in counts.items()), default=0
            )
        return cls(
            percent=100 * excess / total if total else 0.0,
            required_overload=plan.required_overload,
            tiers=tuple(_entry(tier, row, partitions) for tier, row in spread.items()),
        )


def _entry(tier: Tier, row: dict[int, int], partitions: int) -> TierDispersion:
    counts = [row.get(count, 0) for count in range(max(row) + 1)]
    counts[0] = partitions - sum(counts[1:])
    return TierDispersion(
        name=_name(tier),
        most=tier.most_dispersed,
        crowded=sum(number for count, number in row.items() if count > tier.most_dispersed),
        counts=tuple(counts),
    )


def _name(tier: Tier) -> str:
    if tier.device is not None:
        return str(tier.device)
    region, *rest = tier.name
    text = f"r{region}"
    if rest:
        text += f"z{rest[0]}"
    if len(rest) > 1:
        text += f"-{rest[1]}"
    return text
