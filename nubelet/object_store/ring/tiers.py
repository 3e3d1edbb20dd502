"""How many replicas of a partition each region, zone, server and device should hold.

Two answers compete. By *weight*: each device in proportion to its size. By *dispersion*: as many
failure domains as possible hold a replica, so that no single failure takes two. `overload` says
by how much a device may hold more than its weight for the sake of dispersion; the target lies
between the two, as far toward dispersion as that allows.

A target is an average: a zone with 1.4 holds one or two replicas of each partition, and never
none or three. Any tree of such averages can be met by every partition at once.
In OpenStack: RingBuilder._build_target_replicas_by_tier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nubelet.object_store.ring.devices import Device

_EXACT = 1e-7  # sums of shares are no exact numbers


class Tier:
    """A failure domain, from the whole ring down to a device.

    `target`: how many replicas of all partitions it should hold; `held`: how many it holds;
    `least` and `most`: how many of one partition.
    """

    __slots__ = (
        "children", "device", "dispersed", "held", "least", "most", "most_dispersed", "name",
        "parent", "share", "target", "weight",
    )  # fmt: skip

    def __init__(self, name: tuple[object, ...], parent: Tier | None) -> None:
        self.name, self.parent = name, parent
        self.children: list[Tier] = []
        self.device: Device | None = None
        self.weight = 0.0
        self.dispersed = self.share = 0.0
        self.target = self.held = self.least = self.most = self.most_dispersed = 0

    @property
    def wants(self) -> int:
        """How many replicas it lacks; negative where it has too many."""
        return self.target - self.held

    def leaves(self) -> list[Tier]:
        """Its devices."""
        if self.device is not None:
            return [self]
        return [leaf for child in self.children for leaf in child.leaves()]


class Plan:
    """The tree of a set of devices with its targets."""

    def __init__(
        self, devices: Sequence[Device], replicas: float, slots: int, overload: float
    ) -> None:
        """`slots`: replicas of all partitions together. At least `replicas` devices have a
        weight."""
        self.root = Tier((), None)
        self.leaf: dict[int, Tier] = {}
        self._known: dict[tuple[object, ...], Tier] = {(): self.root}
        for device in devices:
            self._add(device)
        self._leaves = list(self.leaf.values())
        self.weighted = self._by_weight(replicas)
        _disperse(self.root, replicas)
        self.required_overload = max(
            (
                leaf.dispersed / self.weighted[number] - 1
                for number, leaf in self.leaf.items()
                if self.weighted[number] > 0
            ),
            default=0.0,
        )
        self._mix(overload)
        _set_bounds(self.root)
        _count_targets(self.root, slots)
        # The way of each device from the region down: what counting the replicas of a partition
        # goes through.
        self.way = {number: _way(leaf) for number, leaf in self.leaf.items()}

    def _add(self, device: Device) -> None:
        parent = self.root
        for name in device.tiers:
            tier = self._known.get(name)
            if tier is None:
                tier = self._known[name] = Tier(name, parent)
                parent.children.append(tier)
            parent = tier
        parent.device = device
        self.leaf[device.id] = parent
        above: Tier | None = parent
        while above is not None:
            above.weight += device.weight
            above = above.parent

    def _by_weight(self, replicas: float) -> dict[int, float]:
        weights = [leaf.weight for leaf in self._leaves]
        limits = [1.0 if weight else 0.0 for weight in weights]
        shares = _within(replicas, weights, [0.0] * len(weights), limits)
        return dict(zip(self.leaf, shares, strict=True))

    def _mix(self, overload: float) -> None:
        toward = 1.0
        if self.required_overload > _EXACT:
            toward = min(1.0, overload / self.required_overload)
        for number, leaf in self.leaf.items():
            weighted = self.weighted[number]
            leaf.share = weighted + (leaf.dispersed - weighted) * toward
            above = leaf.parent
            while above is not None:
                above.share += leaf.share
                above = above.parent


def _way(leaf: Tier) -> tuple[Tier, ...]:
    way = [leaf]
    while (above := way[-1].parent) is not None and above.parent is not None:
        way.append(above)
    return tuple(reversed(way))


def _disperse(tier: Tier, replicas: float) -> float:
    """Spread `replicas` evenly over what lies below, by weight within what even means."""
    tier.dispersed = replicas
    tier.most_dispersed = math.ceil(replicas - _EXACT)
    if not tier.children:
        return replicas
    room = [sum(1 for leaf in child.leaves() if leaf.weight) for child in tier.children]
    level = 0
    while sum(min(most, level + 1) for most in room) <= replicas + _EXACT and level < max(room):
        level += 1
    least = [float(min(most, level)) for most in room]
    limits = [float(min(most, level + 1)) for most in room]
    weights = [child.weight for child in tier.children]
    for child, share in zip(tier.children, _within(replicas, weights, least, limits), strict=True):
        _disperse(child, share)
    return replicas


def _within(
    total: float, weights: Sequence[float], least: Sequence[float], most: Sequence[float]
) -> list[float]:
    """Share out `total` in proportion to `weights`, each share between its `least` and `most`."""

    def shares(factor: float) -> list[float]:
        return [
            min(max(factor * weight, low), high)
            for weight, low, high in zip(weights, least, most, strict=True)
        ]

    if sum(most) <= total + _EXACT:
        return list(most)
    low, high = 0.0, 1.0 / max(min((w for w in weights if w), default=1.0), 1e-12) * max(total, 1.0)
    for _ in range(200):
        middle = (low + high) / 2
        if sum(shares(middle)) < total:
            low = middle
        else:
            high = middle
    return shares(high)


def _set_bounds(tier: Tier) -> None:
    tier.least = math.floor(tier.share + _EXACT)
    tier.most = math.ceil(tier.share - _EXACT)
    for child in tier.children:
        _set_bounds(child)


def _count_targets(tier: Tier, slots: int) -> None:
    """Whole numbers of replicas that add up at each level."""
    tier.target = slots
    if not tier.children:
        return
    total = tier.share or 1.0
    exact = [slots * child.share / total for child in tier.children]
    counts = [math.floor(value + _EXACT) for value in exact]
    order = sorted(range(len(exact)), key=lambda place: counts[place] - exact[place])
    for place in order[: slots - sum(counts)]:
        counts[place] += 1
    for child, count in zip(tier.children, counts, strict=True):
        _count_targets(child, count)
