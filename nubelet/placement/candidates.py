"""Where a request would fit: the search for other services, and the reasons it failed.

`candidates` answers with claims that would succeed now, and for each tree of providers that
has none, why: users read these words in the fault of a server.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from nubelet.kernel.database import Tx
from nubelet.placement import capacity, search
from nubelet.placement.capacity import Stock
from nubelet.placement.search.find import is_allowed, reach


@dataclass(frozen=True)
class CandidateRequest:
    """What is looked for; the resources may come from several providers of one tree.

    resources: class -> amount. required/forbidden: traits. any_of: of each set one trait at
    least. member_of: of each set one aggregate at least; not_member_of: none of these.
    in_tree: a provider whose tree must serve it. limit: how many candidates are enough.
    """

    resources: Mapping[str, int]
    required: Collection[str] = frozenset()
    forbidden: Collection[str] = frozenset()
    any_of: tuple[Collection[str], ...] = ()
    member_of: tuple[Collection[str], ...] = ()
    not_member_of: Collection[str] = frozenset()
    in_tree: str | None = None
    limit: int | None = None


@dataclass
class Candidates:
    """What was found.

    requests: each a claim, provider id -> resource class -> amount. summaries: provider id ->
    its stocks, for all providers in the requests. reasons: id of a root provider -> why its
    tree does not fit.
    """

    requests: list[dict[str, dict[str, int]]] = field(default_factory=list)
    summaries: dict[str, Mapping[str, Stock]] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)


def candidates(tx: Tx, request: CandidateRequest) -> Candidates:
    """Where the request would fit, in a fixed number of queries."""
    group = _group(request)
    asked = search.Search((group,), limit=request.limit)
    state = search.load(tx, asked)
    found = Candidates()
    fitting = set()
    for candidate in search.find(state, asked):
        found.requests.append(candidate.amounts)
        fitting.add(candidate.root_id)
        for provider_id in candidate.amounts:
            found.summaries[provider_id] = state.stocks.get(provider_id, {})
    if request.limit is not None and len(found.requests) >= request.limit:
        return found  # the others were not looked at
    for root_id in state.trees:
        if root_id not in fitting:
            found.reasons[root_id] = _reasons(state, group, root_id)
    return found


def _group(request: CandidateRequest) -> search.Group:
    return search.Group(
        "",
        dict(request.resources),
        required=(
            *(frozenset((trait,)) for trait in request.required),
            *(frozenset(traits) for traits in request.any_of),
        ),
        forbidden=frozenset(request.forbidden),
        member_of=tuple(frozenset(ids) for ids in request.member_of),
        not_member_of=frozenset(request.not_member_of),
        in_tree=request.in_tree,
    )


def _reasons(state: search.State, group: search.Group, root_id: str) -> list[str]:
    """Why a tree cannot serve a group: what each provider that could matter lacks."""
    if group.in_tree is not None and (
        group.in_tree not in state.providers or state.providers[group.in_tree].root_id != root_id
    ):
        return [f"is not in the tree of {group.in_tree}"]
    reachable = reach(state, root_id)
    reasons = _exclusions(state, group, root_id, reachable)
    allowed = [one for one in reachable if is_allowed(state, group, one)] or reachable
    for name, amount in group.resources.items():
        reasons += _shortage(state, allowed, name, amount)
    traits = {trait for provider_id in allowed for trait in state.traits_of(provider_id)}
    for one_of in group.required:
        if not one_of & traits:
            reasons.append(f"lacks trait {' or '.join(sorted(one_of))}")
    return reasons or ["no combination of its providers has all of this"]


def _exclusions(
    state: search.State,
    group: search.Group,
    root_id: str,
    reachable: list[str],
) -> list[str]:
    """What excludes the whole tree, when something does."""
    if any(is_allowed(state, group, provider_id) for provider_id in reachable):
        return []
    reasons = [
        f"has forbidden trait {trait}"
        for trait in sorted(group.forbidden & state.traits_of(root_id))
    ]
    aggregates = state.in_aggregates(root_id, spanning=True)
    reasons += [
        f"is in none of the aggregates {', '.join(sorted(one_of))}"
        for one_of in group.member_of
        if not one_of & aggregates
    ]
    reasons += [
        f"is in the forbidden aggregate {aggregate}"
        for aggregate in sorted(group.not_member_of & aggregates)
    ]
    return reasons


def _shortage(state: search.State, provider_ids: list[str], name: str, amount: int) -> list[str]:
    stocks = [
        stock
        for provider_id in provider_ids
        if (stock := state.stocks.get(provider_id, {}).get(name)) is not None
    ]
    told = [capacity.refusal(stock, name, amount) for stock in stocks]
    if not stocks:
        return [capacity.refusal(None, name, amount)]
    if not all(told):
        return []  # one of them has room
    best = max(stocks, key=lambda stock: stock.free)
    return [capacity.refusal(best, name, amount)]
