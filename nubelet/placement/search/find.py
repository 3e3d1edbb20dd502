"""Fitting a request into trees of providers.

For each tree: each group's options (one provider for a group with a suffix; a combination of
providers of the tree, and of sharing providers that serve it, for the group without), then each
combination of options that keeps the conditions on all groups. Everything is lazy, so a limit
ends the work early.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import NamedTuple

from nubelet.placement import capacity
from nubelet.placement.search.request import Group, Search
from nubelet.placement.search.state import State

# Trees with many equal providers have more combinations than anybody can look at.
MOST_OPTIONS = 1000
MOST_TRIES = 100_000
MOST_CANDIDATES = 10_000

Taken = Mapping[str, Mapping[str, int]]  # provider id -> resource class -> amount


class Candidate(NamedTuple):
    """A claim that would succeed now. mappings: group suffix -> the providers that serve it."""

    root_id: str
    amounts: dict[str, dict[str, int]]
    mappings: dict[str, list[str]]


class _Option(NamedTuple):
    """How one group can be served."""

    suffix: str
    taken: Taken


def find(state: State, search: Search) -> list[Candidate]:
    """The candidates of a search, each once."""
    most = min(search.limit or MOST_CANDIDATES, MOST_CANDIDATES)
    candidates = _candidates(state, search)
    if state.shared or len(search.groups) > 1:  # else none can come twice
        candidates = _distinct(candidates)
    return list(islice(candidates, most))


def _distinct(candidates: Iterator[Candidate]) -> Iterator[Candidate]:
    seen: set[object] = set()
    for candidate in candidates:
        key = (
            frozenset(
                (provider_id, frozenset(resources.items()))
                for provider_id, resources in candidate.amounts.items()
            ),
            frozenset((suffix, frozenset(ids)) for suffix, ids in candidate.mappings.items()),
        )
        if key not in seen:
            seen.add(key)
            yield candidate


def _candidates(state: State, search: Search) -> Iterator[Candidate]:
    for root_id in state.trees:
        if not _root_fits(state, search, root_id):
            continue
        options: list[list[_Option]] = []
        for group in search.groups:
            found = list(islice(options_of(state, group, root_id), MOST_OPTIONS))
            if not found:
                break
            options.append(found)
        else:
            for combination in islice(product(*options), MOST_TRIES):
                amounts = _combined(state, search, combination)
                if amounts is not None:
                    yield Candidate(
                        root_id,
                        amounts,
                        {option.suffix: list(option.taken) for option in combination},
                    )


def _root_fits(state: State, search: Search, root_id: str) -> bool:
    if not search.root_required and not search.root_forbidden:
        return True
    traits = state.traits_of(root_id)
    return search.root_required <= traits and not search.root_forbidden & traits


def options_of(state: State, group: Group, root_id: str) -> Iterator[_Option]:
    """How a group can be served by the tree of that root."""
    if group.in_tree is not None:
        wanted = state.providers.get(group.in_tree)
        if wanted is None:
            return
        reachable = [
            provider_id
            for provider_id in reach(state, root_id)
            if state.providers[provider_id].root_id == wanted.root_id
        ]
    else:
        reachable = reach(state, root_id)
    allowed = [provider_id for provider_id in reachable if is_allowed(state, group, provider_id)]
    if group.suffix:
        yield from _single(state, group, allowed)
    else:
        yield from _spread(state, group, allowed)


def reach(state: State, root_id: str) -> list[str]:
    """The providers that can serve a tree: its own, and those that share with it."""
    shared = state.shared.get(root_id)
    return state.trees[root_id] + shared if shared else state.trees[root_id]


def is_allowed(state: State, group: Group, provider_id: str) -> bool:
    """Do no forbidden trait and no aggregate exclude the provider from serving the group?

    The aggregates of a root hold for its whole tree only in the group without suffix.
    """
    if group.forbidden and group.forbidden & state.traits_of(provider_id):
        return False
    if not group.member_of and not group.not_member_of:
        return True
    aggregates = state.in_aggregates(provider_id, spanning=not group.suffix)
    return (
        all(one_of & aggregates for one_of in group.member_of)
        and not group.not_member_of & aggregates
    )


def _single(state: State, group: Group, allowed: list[str]) -> Iterator[_Option]:
    for provider_id in allowed:
        traits = state.traits_of(provider_id)
        if all(one_of & traits for one_of in group.required) and not capacity.refusals(
            state.stocks.get(provider_id, {}), group.resources
        ):
            yield _Option(group.suffix, {provider_id: group.resources})


def _spread(state: State, group: Group, allowed: list[str]) -> Iterator[_Option]:
    if len(allowed) == 1:
        yield from _single(state, group, allowed)
        return
    sources = []
    for name, amount in group.resources.items():
        able = [
            provider_id
            for provider_id in allowed
            if not capacity.refusal(state.stocks.get(provider_id, {}).get(name), name, amount)
        ]
        if not able:
            return
        sources.append(able)
    for chosen in islice(product(*sources), MOST_TRIES):
        if group.required:
            traits = {trait for provider_id in chosen for trait in state.traits_of(provider_id)}
            if not all(one_of & traits for one_of in group.required):
                continue
        taken: dict[str, dict[str, int]] = {}
        for provider_id, (name, amount) in zip(chosen, group.resources.items(), strict=True):
            taken.setdefault(provider_id, {})[name] = amount
        yield _Option(group.suffix, taken)


def _combined(
    state: State,
    search: Search,
    options: tuple[_Option, ...],
) -> dict[str, dict[str, int]] | None:
    """The amounts of all groups together; None when a condition on all of them is broken."""
    if search.isolate:
        single = [
            provider_id
            for option in options
            if option.suffix
            for provider_id, resources in option.taken.items()
            if resources
        ]
        if len(set(single)) < len(single):
            return None
    if len(options) == 1 and search.nested and not search.same_subtree:
        return {one: dict(resources) for one, resources in options[0].taken.items()}
    amounts: dict[str, dict[str, int]] = {}
    for option in options:
        for provider_id, resources in option.taken.items():
            if resources:
                own = amounts.setdefault(provider_id, {})
                for name, amount in resources.items():
                    own[name] = own.get(name, 0) + amount
    if len(options) > 1 and not _has_room(state, amounts):
        return None
    if not search.nested and len({state.providers[one].root_id for one in amounts}) < len(amounts):
        return None
    return amounts if _subtrees_hold(state, search, options) else None


def _has_room(state: State, amounts: Taken) -> bool:
    """What several groups take of one provider must be claimable at once."""
    return all(
        not capacity.refusals(state.stocks[provider_id], resources)
        for provider_id, resources in amounts.items()
    )


def _subtrees_hold(state: State, search: Search, options: tuple[_Option, ...]) -> bool:
    if not search.same_subtree:
        return True
    serving = {option.suffix: list(option.taken) for option in options}
    for suffixes in search.same_subtree:
        ids = [provider_id for suffix in suffixes for provider_id in serving.get(suffix, ())]
        if not any(all(state.is_ancestor(upper, lower) for lower in ids) for upper in ids):
            return False
    return True
