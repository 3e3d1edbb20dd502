"""`/allocations`: what consumers use; `/reshaper`: moving it together with inventories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.kernel.ids import is_uuid
from nubelet.placement import allocations, names, providers
from nubelet.placement.allocations import KEEP, Claim
from nubelet.placement.api import schemas
from nubelet.placement.api.answers import answer, canonical
from nubelet.placement.api.resource_providers import find
from nubelet.placement.model import allocation, consumer, resource_provider

UNKNOWN_TYPE = "unknown"


def _consumer_id(request: Request) -> str:
    given = request.params["consumer_uuid"]
    if not is_uuid(given):
        raise BadRequest(f"consumer_uuid '{given}' is not a UUID.")
    return canonical(given)


def show(ctx: Context, request: Request) -> object:
    """Show what a consumer uses; nothing when there is no such consumer."""
    consumer_id = _consumer_id(request)
    with ctx.cloud.database.read() as tx:
        owner = allocations.find_consumer(tx, consumer_id)
        held = allocations.allocations_of(tx, [consumer_id]).get(consumer_id, {})
        generations = {
            row.id: row.generation
            for row in tx.all(
                sa.select(resource_provider.c.id, resource_provider.c.generation).where(
                    resource_provider.c.id.in_(list(held))
                )
            )
        }
    body: dict[str, Any] = {
        "allocations": {
            provider_id: {"generation": generations[provider_id], "resources": resources}
            for provider_id, resources in held.items()
        }
    }
    if owner is not None and ctx.at_least(1, 12):
        body |= {"project_id": owner.project_id, "user_id": owner.user_id}
    if owner is not None and ctx.at_least(1, 28):
        body["consumer_generation"] = owner.generation
    if owner is not None and ctx.at_least(1, 38):
        body["consumer_type"] = owner.consumer_type or UNKNOWN_TYPE
    return answer(ctx, body, modified=[owner.updated_at] if owner else ())


def _claim(ctx: Context, consumer_id: str, body: Mapping[str, Any]) -> Claim:
    """What the body of a change says."""
    given = body["allocations"]
    if isinstance(given, list):
        amounts: dict[str, dict[str, int]] = {}
        for each in given:
            held = amounts.setdefault(canonical(each["resource_provider"]["uuid"]), {})
            if held.keys() & each["resources"].keys():
                raise BadRequest("allocations: a resource provider is given twice for a class.")
            held |= each["resources"]
    else:
        amounts = {canonical(provider_id): each["resources"] for provider_id, each in given.items()}
    return Claim(
        canonical(consumer_id),
        amounts,
        project_id=body.get("project_id", KEEP),
        user_id=body.get("user_id", KEEP),
        consumer_type=body.get("consumer_type", KEEP),
        generation=body["consumer_generation"] if ctx.at_least(1, 28) else KEEP,
    )


def _require_classes(tx: Tx, claims: list[Claim]) -> None:
    asked = {name for each in claims for resources in each.amounts.values() for name in resources}
    unknown = names.unknown_resource_classes(tx, asked)
    if unknown:
        raise BadRequest(f"No such resource class {', '.join(unknown)}.")


def update(ctx: Context, request: Request) -> object:
    """Set what a consumer uses."""
    claims = [_claim(ctx, _consumer_id(request), request.body)]
    with ctx.cloud.database.write() as tx:
        _require_classes(tx, claims)
        allocations.replace(tx, claims)
    return None


def manage(ctx: Context, request: Request) -> object:
    """Set what several consumers use, at once."""
    claims = [_claim(ctx, consumer_id, body) for consumer_id, body in request.body.items()]
    with ctx.cloud.database.write() as tx:
        _require_classes(tx, claims)
        allocations.replace(tx, claims)
    return None


def delete(ctx: Context, request: Request) -> object:
    """A consumer uses nothing any more."""
    consumer_id = _consumer_id(request)
    with ctx.cloud.database.write() as tx:
        if not allocations.release(tx, consumer_id):
            raise NotFound(message=f"No allocations for consumer '{consumer_id}'")
    return None


def of_provider(ctx: Context, request: Request) -> object:
    """List who uses a provider."""
    a, c = allocation.c, consumer.c
    with ctx.cloud.database.read() as tx:
        row = find(tx, request)
        rows = tx.all(
            sa.select(a.consumer_id, a.resource_class, a.used, a.updated_at, c.generation)
            .join(consumer, c.id == a.consumer_id)
            .where(a.provider_id == row.id)
        )
    found: dict[str, dict[str, Any]] = {}
    for each in rows:
        held = found.setdefault(each.consumer_id, {"resources": {}})
        held["resources"][each.resource_class] = each.used
        if ctx.at_least(1, 28):
            held["consumer_generation"] = each.generation
    return answer(
        ctx,
        {"allocations": found, "resource_provider_generation": row.generation},
        modified=[each.updated_at for each in rows],
    )


def reshape(ctx: Context, request: Request) -> object:
    """Set inventories of providers and allocations of consumers in one go, so that what is used
    can move from one provider to another."""
    from nubelet.placement.api.inventories import require_valid
    from nubelet.placement.inventories import inventories_of, put, remove

    claims = [
        _claim(ctx, consumer_id, body) for consumer_id, body in request.body["allocations"].items()
    ]
    with ctx.cloud.database.write() as tx:
        _require_classes(tx, claims)
        wanted = {canonical(key): value for key, value in request.body["inventories"].items()}
        for provider_id, given in sorted(wanted.items()):
            _lock(tx, provider_id, given["resource_provider_generation"])
            require_valid(ctx, tx, provider_id, given["inventories"])
            put(tx, provider_id, given["inventories"])
        allocations.replace(tx, claims)
        for provider_id, given in wanted.items():
            remove(
                tx,
                provider_id,
                inventories_of(tx, provider_id).keys() - given["inventories"].keys(),
            )
        providers.touch(tx, wanted)
    return None


def _lock(tx: Tx, provider_id: str, generation: int | None) -> None:
    try:
        providers.lock(tx, provider_id, generation)
    except NotFound as error:
        raise BadRequest(f"inventories: {error.message}") from None


_RULE, _ONE = "placement:allocations", "/allocations/{consumer_uuid}"
ROUTES = (
    Route(
        method="POST",
        path="/allocations",
        handler=manage,
        rule=f"{_RULE}:manage",
        since=(1, 13),
        status=204,
        body=schemas.ALLOCATIONS_POST,
    ),
    Route(method="GET", path=_ONE, handler=show, rule=f"{_RULE}:list"),
    Route(
        method="PUT",
        path=_ONE,
        handler=update,
        rule=f"{_RULE}:update",
        status=204,
        body=schemas.ALLOCATIONS_PUT,
    ),
    Route(method="DELETE", path=_ONE, handler=delete, rule=f"{_RULE}:delete", status=204),
    Route(
        method="GET",
        path="/resource_providers/{uuid}/allocations",
        handler=of_provider,
        rule="placement:resource_providers:allocations:list",
    ),
    Route(
        method="POST",
        path="/reshaper",
        handler=reshape,
        rule="placement:reshaper:reshape",
        since=(1, 30),
        status=204,
        body=schemas.RESHAPER,
    ),
)
