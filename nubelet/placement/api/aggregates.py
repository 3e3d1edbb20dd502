"""`/resource_providers/{uuid}/aggregates`: the groups of providers that a provider is in."""

from __future__ import annotations

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.placement import providers
from nubelet.placement.api import schemas
from nubelet.placement.api.answers import answer, canonical
from nubelet.placement.api.resource_providers import find, provider_id


def show(ctx: Context, request: Request) -> object:
    """List the aggregates of a provider."""
    with ctx.cloud.database.read() as tx:
        return _answer(ctx, tx, find(tx, request))


def _answer(ctx: Context, tx: Tx, row: providers.Row) -> object:
    found = sorted(providers.aggregates_of(tx, [row.id]).get(row.id, ()))
    body: dict[str, object] = {"aggregates": found}
    if ctx.at_least(1, 19):
        body["resource_provider_generation"] = row.generation
    return answer(ctx, body)


def replace(ctx: Context, request: Request) -> object:
    """Set the aggregates of a provider."""
    body, counted = request.body, ctx.at_least(1, 19)
    ids = body["aggregates"] if counted else body
    with ctx.cloud.database.write() as tx:
        row = providers.lock(
            tx, provider_id(request), body["resource_provider_generation"] if counted else None
        )
        changed = providers.set_aggregates(tx, row.id, map(canonical, ids), counted=counted)
        if counted and not changed:
            providers.touch(tx, [row.id])
        return _answer(ctx, tx, find(tx, request))


_PATH = "/resource_providers/{uuid}/aggregates"
_RULE = "placement:resource_providers:aggregates"
ROUTES = (
    Route(method="GET", path=_PATH, handler=show, rule=f"{_RULE}:list", since=(1, 1)),
    Route(
        method="PUT",
        path=_PATH,
        handler=replace,
        rule=f"{_RULE}:update",
        since=(1, 1),
        body=schemas.AGGREGATES_PUT,
    ),
)
