"""`/allocation_candidates`: where resources would fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.fields import read_int
from nubelet.kernel.http.messages import Query, Request
from nubelet.kernel.http.routes import Route
from nubelet.placement import capacity, providers, search
from nubelet.placement.api import query
from nubelet.placement.api.answers import answer
from nubelet.placement.search import Candidate, Search, State

_KEYS = {
    "resources": (1, 10),
    "limit": (1, 16),
    "required": (1, 17),
    "member_of": (1, 21),
    "group_policy": (1, 25),
    "in_tree": (1, 31),
    "root_required": (1, 35),
    "same_subtree": (1, 36),
}


def index(ctx: Context, request: Request) -> object:
    """List the claims that would succeed now, and the providers they are on."""
    asked = _search(ctx, request)
    with ctx.cloud.database.read() as tx:
        query.require_known_traits(tx, asked.traits)
        for group in asked.groups:
            query.require_known_classes(tx, f"resources{group.suffix}", dict(group.resources))
        state = search.load(tx, asked)
        found = search.find(state, asked)
        summaries = _summaries(ctx, tx, state, asked, found)
    return answer(
        ctx,
        {
            "allocation_requests": [_request(ctx, each) for each in found],
            "provider_summaries": summaries,
        },
    )


def _search(ctx: Context, request: Request) -> Search:
    asked = request.query
    subtrees = _subtrees(asked)
    groups = query.groups(ctx, asked, frozenset().union(*subtrees))
    suffixes = {group.suffix for group in groups}
    for named in subtrees:
        if not named <= suffixes:
            raise BadRequest(
                "Real suffixes should be specified in same_subtree: "
                f"{', '.join(sorted(named - suffixes))} not found in groups.",
                code=query.BAD_VALUE,
            )
    root = _root_traits(ctx, asked)
    return Search(
        groups,
        isolate=_isolate(asked, suffixes),
        same_subtree=subtrees,
        root_required=frozenset().union(*root.required),
        root_forbidden=root.forbidden,
        nested=ctx.at_least(1, 29),
        limit=_limit(asked),
    )


def _subtrees(asked: Query) -> tuple[frozenset[str], ...]:
    found = []
    for value in asked.get("same_subtree", []):
        suffixes = value.split(",")
        if not all(suffixes):
            raise BadRequest(
                "Empty string (unsuffixed group) can not be specified in same_subtree.",
                code=query.BAD_VALUE,
            )
        found.append(frozenset(suffixes))
    return tuple(found)


def _root_traits(ctx: Context, asked: Query) -> query.Traits:
    values = asked.get("root_required")
    if values is None:
        return query.Traits()
    if len(values) > 1:
        raise BadRequest(
            "Query parameter 'root_required' may be specified only once.", code=query.DUPLICATE_KEY
        )
    return query.traits(ctx, "root_required", values, any_of=False)


def _isolate(asked: Query, suffixes: set[str]) -> bool:
    policy = query.one(asked, "group_policy")
    if policy is not None and policy not in ("none", "isolate"):
        raise BadRequest(
            f"group_policy must be none or isolate, not '{policy}'.", code=query.BAD_VALUE
        )
    if policy is None and len(suffixes - {""}) > 1:
        raise BadRequest(
            'The "group_policy" parameter is required when specifying more than one '
            '"resources{N}" parameter.',
            code=query.MISSING_VALUE,
        )
    return policy == "isolate"


def _limit(asked: Query) -> int | None:
    text = query.one(asked, "limit")
    if text is None:
        return None
    limit = read_int("limit", text)
    if limit < 1:
        raise BadRequest(f"limit must be a positive integer, not {limit}.", code=query.BAD_VALUE)
    return limit


def _request(ctx: Context, candidate: Candidate) -> dict[str, Any]:
    """A candidate in the form that a PUT of allocations takes at the same version."""
    if not ctx.at_least(1, 12):
        return {
            "allocations": [
                {"resource_provider": {"uuid": provider_id}, "resources": resources}
                for provider_id, resources in candidate.amounts.items()
            ]
        }
    shown: dict[str, Any] = {
        "allocations": {
            provider_id: {"resources": resources}
            for provider_id, resources in candidate.amounts.items()
        }
    }
    if ctx.at_least(1, 34):
        shown["mappings"] = candidate.mappings
    return shown


def _summaries(
    ctx: Context,
    tx: Tx,
    state: State,
    asked: Search,
    found: Iterable[Candidate],
) -> dict[str, dict[str, Any]]:
    """The providers of the candidates; from 1.29 on all providers of their trees."""
    shown: dict[str, None] = {}
    for candidate in found:
        for provider_id in candidate.amounts:
            if ctx.at_least(1, 29):
                shown.update(dict.fromkeys(state.trees[state.providers[provider_id].root_id]))
            else:
                shown[provider_id] = None
    if not shown:
        return {}
    stocks = capacity.stocks(tx) if ctx.at_least(1, 27) else state.stocks
    traits = providers.traits_of(tx) if ctx.at_least(1, 17) else {}
    return {provider_id: _summary(ctx, state, provider_id, stocks, traits) for provider_id in shown}


def _summary(
    ctx: Context,
    state: State,
    provider_id: str,
    stocks: Any,
    traits: Any,
) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "resources": {
            name: {"capacity": stock.capacity, "used": stock.used}
            for name, stock in stocks.get(provider_id, {}).items()
        }
    }
    if ctx.at_least(1, 17):
        summary["traits"] = sorted(traits.get(provider_id, ()))
    if ctx.at_least(1, 29):
        place = state.providers[provider_id]
        summary["parent_provider_uuid"] = place.parent_id
        summary["root_provider_uuid"] = place.root_id
    return summary


ROUTES = (
    Route(
        method="GET",
        path="/allocation_candidates",
        handler=index,
        since=(1, 10),
        rule="placement:allocation_candidates:list",
        query=lambda version: query.allowed_keys(version, _KEYS, query.GROUP_PATTERNS),
    ),
)
