"""Which device holds which replica: as planned, with as few moves as possible.

Three steps. Replicas that no device holds are placed. Replicas of a partition that crowd one
failure domain are moved apart. Devices that hold too many give to those that hold too few, only
the surplus and only where the spread stays as planned. A partition moves one replica at a time, and
not again before `min_part_hours` are over, so that two good replicas of three are always in place.
In OpenStack: RingBuilder.rebalance.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator

from nubelet.object_store.ring.tiers import Plan, Tier

NONE = 0xFFFF
_Counts = dict[Tier, int]
_ROUNDS = 10


class Placement:
    """The tables being changed. `moved`: (partition, replica) of what changed its device."""

    def __init__(
        self, plan: Plan, tables: list[array[int]], movable: bytearray, seed: int | None
    ) -> None:
        """`movable[part]`: 1 where a replica may move although its device is there."""
        self._plan, self._tables, self._movable = plan, tables, movable
        self._random = random.Random(seed)  # noqa: S311 - spreads, keeps no secret
        self.moved: set[tuple[int, int]] = set()
        self._moves = 0
        # Of these nothing is anywhere yet: they may move as often as it takes.
        self._fresh = {part for part in range(len(movable)) if not list(self._holders(part))}
        for part in self._fresh:
            movable[part] = 1
        for table in tables:
            for holder in table:
                if holder != NONE:
                    for tier in plan.way[holder]:
                        tier.held += 1

    def run(self) -> None:
        """Change the tables."""
        self._place_homeless()
        self._spread_apart()
        for _ in range(_ROUNDS):  # a move may free the place that another one needs
            if self._level(needy=True):
                continue
            # Stuck, or done. While nothing is stored yet, a detour costs nothing.
            if not self._fresh or not self._level(needy=False):
                break

    # --- The three steps --------------------------------------------------------------------

    def _place_homeless(self) -> None:
        parts = [
            (part, replica)
            for replica, table in enumerate(self._tables)
            for part, holder in enumerate(table)
            if holder == NONE
        ]
        self._random.shuffle(parts)
        parts.sort(key=lambda place: place[0])  # all replicas of a partition, one after the other
        for part, replica in parts:
            counts = self._counts(part)
            to = self._find(self._plan.root, counts, needy=True)
            to = to or self._find(self._plan.root, counts, needy=False)
            self._put(part, replica, to or self._least_bad(counts))

    def _spread_apart(self) -> None:
        for part in range(len(self._movable)):
            if not self._movable[part]:
                continue
            counts = self._counts(part)
            crowded = [tier for tier, count in counts.items() if count > tier.most]
            if not crowded:
                continue
            worst = max(crowded, key=lambda tier: len(tier.name))
            replicas = [
                (replica, holder)
                for replica, holder in self._holders(part)
                if worst in self._plan.way[holder]
            ]
            replica, holder = min(replicas, key=lambda at: self._plan.leaf[at[1]].wants)
            self._move_away(part, replica, holder, counts)

    def _move_away(self, part: int, replica: int, holder: int, counts: _Counts) -> None:
        self._take(holder, counts)
        to = self._find(self._plan.root, counts, needy=True)
        to = to or self._find(self._plan.root, counts, needy=False)
        self._put_or_back(part, replica, holder, to)

    def _level(self, *, needy: bool) -> bool:
        """Move surplus: to who needs it, or (of fresh partitions) to whoever may have it.

        True when something moved and devices still hold too many.
        """
        moves = self._moves
        heavy = [leaf for leaf in self._plan.root.leaves() if leaf.wants < 0]
        if not heavy:
            return False
        holdings: dict[int, list[tuple[int, int]]] = {
            leaf.device.id: [] for leaf in heavy if leaf.device is not None
        }
        for replica, table in enumerate(self._tables):
            for part, holder in enumerate(table):
                if holder in holdings:
                    holdings[holder].append((part, replica))
        for leaf in sorted(heavy, key=lambda leaf: leaf.wants):
            assert leaf.device is not None
            held = holdings[leaf.device.id]
            self._random.shuffle(held)
            for part, replica in held:
                if leaf.wants >= 0:
                    break
                if self._movable[part] and (needy or part in self._fresh):
                    self._give(part, replica, leaf, needy=needy)
        return self._moves > moves and any(leaf.wants < 0 for leaf in heavy)

    def _give(self, part: int, replica: int, giver: Tier, *, needy: bool) -> None:
        assert giver.device is not None
        counts = self._counts(part)
        self._take(giver.device.id, counts)
        to = self._find(self._plan.root, counts, needy=needy)
        self._put_or_back(part, replica, giver.device.id, to)

    # --- Finding a place --------------------------------------------------------------------

    def _find(self, tier: Tier, counts: _Counts, *, needy: bool) -> Tier | None:
        """The device below `tier` that lacks most of its share and keeps the spread as planned."""
        if tier.device is not None:
            return tier
        children = tier.children
        if len(children) > 1:
            draw = self._random.random
            # What has less of this partition than it must have comes before all else.
            lacking = [child for child in children if counts.get(child, 0) < child.least]
            children = sorted(
                lacking or children,
                key=lambda child: (
                    child.held / child.target if child.target else 1.0,
                    draw(),
                ),
            )
        for child in children:
            if counts.get(child, 0) >= child.most or (needy and child.target <= child.held):
                continue
            found = self._find(child, counts, needy=needy)
            if found is not None:
                return found
        return None

    def _least_bad(self, counts: _Counts) -> Tier:
        """Where the plan leaves no place: the device whose domains hold the fewest."""
        free = [leaf for leaf in self._plan.root.leaves() if leaf.weight and not counts.get(leaf)]
        return min(
            free,
            key=lambda leaf: (
                [counts.get(t, 0) for t in self._plan.way[leaf.device.id]],  # type: ignore[union-attr]
                -leaf.wants,
            ),
        )

    # --- Tables -----------------------------------------------------------------------------

    def _holders(self, part: int) -> Iterator[tuple[int, int]]:
        for replica, table in enumerate(self._tables):
            if part < len(table) and table[part] != NONE:
                yield replica, table[part]

    def _counts(self, part: int) -> _Counts:
        counts: _Counts = {}
        way = self._plan.way
        for table in self._tables:
            if part < len(table) and table[part] != NONE:
                for tier in way[table[part]]:
                    counts[tier] = counts.get(tier, 0) + 1
        return counts

    def _put(self, part: int, replica: int, to: Tier) -> None:
        assert to.device is not None
        self._tables[replica][part] = to.device.id
        for tier in self._plan.way[to.device.id]:
            tier.held += 1
        self._moves += 1
        self.moved.add((part, replica))
        if part not in self._fresh:
            self._movable[part] = 0

    def _take(self, holder: int, counts: _Counts) -> None:
        for tier in self._plan.way[holder]:
            tier.held -= 1
            counts[tier] -= 1

    def _put_or_back(self, part: int, replica: int, holder: int, to: Tier | None) -> None:
        if to is not None and to is not self._plan.leaf[holder]:
            self._put(part, replica, to)
            return
        for tier in self._plan.way[holder]:
            tier.held += 1
