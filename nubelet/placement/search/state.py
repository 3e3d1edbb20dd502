"""What there is, as one search needs it: loaded in five queries whatever the size of the cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.kernel.database import Tx
from nubelet.placement import capacity, names, providers
from nubelet.placement.capacity import Stock
from nubelet.placement.model import provider_trait, resource_provider
from nubelet.placement.search.request import Search

_NOTHING: frozenset[str] = frozenset()
_rp = resource_provider.c
_PROVIDERS = sa.select(_rp.id, _rp.root_id, _rp.parent_id).order_by(_rp.created_at, _rp.id)
_SHARING = sa.select(provider_trait.c.provider_id).where(provider_trait.c.trait == names.SHARING)


class Provider(NamedTuple):
    """A provider's place in its tree."""

    id: str
    root_id: str
    parent_id: str | None


@dataclass
class State:
    """Providers, oldest first; their stocks of the asked classes; the traits and aggregates that
    matter. shared: root id -> the sharing providers that serve its tree from outside."""

    providers: dict[str, Provider]
    stocks: Mapping[str, Mapping[str, Stock]]
    traits: Mapping[str, set[str]]
    aggregates: Mapping[str, set[str]]
    shared: dict[str, list[str]] = field(default_factory=dict)
    trees: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for provider in self.providers.values():
            self.trees.setdefault(provider.root_id, []).append(provider.id)

    def traits_of(self, provider_id: str) -> set[str] | frozenset[str]:
        """The traits of a provider, as far as they matter."""
        return self.traits.get(provider_id, _NOTHING)

    def in_aggregates(self, provider_id: str, spanning: bool) -> set[str]:
        """The aggregates of a provider; `spanning`: and those of the root of its tree."""
        own = self.aggregates.get(provider_id, set())
        if not spanning:
            return own
        return own | self.aggregates.get(self.providers[provider_id].root_id, set())

    def is_ancestor(self, upper: str, lower: str) -> bool:
        """Is `upper` the provider `lower`, or above it?"""
        at: str | None = lower
        while at is not None:
            if at == upper:
                return True
            at = self.providers[at].parent_id
        return False


def load(tx: Tx, search: Search) -> State:
    """The state that a search looks at."""
    rows: Sequence[Any] = tx.all(_PROVIDERS)
    found = {row[0]: Provider(*row) for row in rows}
    sharing = [row[0] for row in tx.all(_SHARING)]
    traits = search.traits
    asked = any(group.member_of or group.not_member_of for group in search.groups)
    state = State(
        found,
        capacity.stocks(tx, None, sorted(search.resource_classes)),
        providers.traits_of(tx, None, sorted(traits)) if traits else {},
        providers.aggregates_of(tx) if sharing or asked else {},
    )
    _share(state, sharing)
    return state


def _share(state: State, sharing: list[str]) -> None:
    members: dict[str, set[str]] = {}
    for provider_id, aggregates in state.aggregates.items():
        for aggregate in aggregates:
            members.setdefault(aggregate, set()).add(provider_id)
    for provider_id in sharing:
        own_root = state.providers[provider_id].root_id
        roots = {
            state.providers[other].root_id
            for aggregate in state.aggregates.get(provider_id, ())
            for other in members[aggregate]
        }
        for root in roots - {own_root}:
            state.shared.setdefault(root, []).append(provider_id)
