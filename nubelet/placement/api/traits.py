"""`/traits` and `/resource_providers/{uuid}/traits`: qualities of providers."""

from __future__ import annotations

import re

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, NotFound
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route
from nubelet.placement import names, providers
from nubelet.placement.api import query, schemas
from nubelet.placement.api.answers import answer
from nubelet.placement.api.resource_providers import find, provider_id
from nubelet.placement.model import custom_trait, provider_trait

_GENERATION = "resource_provider_generation"
_NAME = re.compile(r"in:[A-Z0-9_,]+|startswith:[A-Z0-9_]+")


def index(ctx: Context, request: Request) -> object:
    """List traits: all, those of a name, those that some provider has."""
    asked = query.one(request.query, "name")
    associated = _associated(request)
    with ctx.cloud.database.read() as tx:
        custom = {row.name: row.created_at for row in tx.all(sa.select(custom_trait))}
        used = (
            {row.trait for row in tx.all(sa.select(provider_trait.c.trait).distinct())}
            if associated is not None
            else set()
        )
    found = _named({*names.standard_traits(), *custom}, asked)
    if associated is not None:
        found = found & used if associated else found - used
    return answer(
        ctx, {"traits": sorted(found)}, modified=[custom[name] for name in found if name in custom]
    )


def _associated(request: Request) -> bool | None:
    text = query.one(request.query, "associated")
    if text is None:
        return None
    if text.lower() not in ("true", "false"):
        raise BadRequest(
            f"The query parameter 'associated' only accepts 'true' or 'false', not '{text}'",
            code=query.BAD_VALUE,
        )
    return text.lower() == "true"


def _named(all_names: set[str], asked: str | None) -> set[str]:
    if asked is None:
        return all_names
    if not _NAME.fullmatch(asked):
        raise BadRequest(
            "Badly formatted name parameter. Expected name query string parameter in "
            f"form: ?name=[in|startswith]:[name1,name2|prefix]. Got: '{asked}'",
            code=query.BAD_VALUE,
        )
    kind, _, value = asked.partition(":")
    if kind == "in":
        return all_names & set(value.split(","))
    return {name for name in all_names if name.startswith(value)}


def show(ctx: Context, request: Request) -> object:
    """204 when the trait exists."""
    name = request.params["name"]
    with ctx.cloud.database.read() as tx:
        if names.unknown_traits(tx, [name]):
            raise NotFound(message=f"No such trait(s): {name}.")
    return answer(ctx, None, status=204)


def create(ctx: Context, request: Request) -> Response:
    """Create a custom trait (201), or find that it exists (204)."""
    name = request.params["name"]
    if not names.CUSTOM.fullmatch(name):
        raise BadRequest(
            f"The trait '{name}' is invalid. A valid trait must be no longer than 255 "
            'characters, start with the prefix "CUSTOM_" and use following '
            'characters: "A"-"Z", "0"-"9" and "_"'
        )
    location = f"{request.base_url}/traits/{name}"
    with ctx.cloud.database.write() as tx:
        tx.lock("custom_trait")
        if not names.unknown_traits(tx, [name]):
            return answer(ctx, None, status=204, location=location)
        tx.insert(custom_trait, name=name, created_at=clock.now())
    return answer(ctx, None, status=201, location=location)


def delete(ctx: Context, request: Request) -> object:
    """Delete a custom trait that no provider has."""
    name = request.params["name"]
    with ctx.cloud.database.write() as tx:
        tx.lock("custom_trait")
        if names.unknown_traits(tx, [name]):
            raise NotFound(message=f"No such trait(s): {name}.")
        if name in names.standard_traits():
            raise BadRequest(f"Cannot delete standard trait {name}.")
        if tx.first(
            sa.select(provider_trait.c.provider_id).where(provider_trait.c.trait == name).limit(1)
        ):
            raise Conflict(f"The trait {name} is in use by a resource provider.")
        tx.delete(custom_trait, custom_trait.c.name == name)
    return None


def of_provider(ctx: Context, request: Request) -> object:
    """List the traits of a provider."""
    with ctx.cloud.database.read() as tx:
        return _answer(ctx, tx, find(tx, request))


def _answer(ctx: Context, tx: Tx, row: providers.Row) -> object:
    return answer(
        ctx,
        {
            "traits": sorted(providers.traits_of(tx, [row.id]).get(row.id, ())),
            _GENERATION: row.generation,
        },
        modified=[row.updated_at],
    )


def replace(ctx: Context, request: Request) -> object:
    """Set the traits of a provider."""
    body = request.body
    with ctx.cloud.database.write() as tx:
        tx.lock("custom_trait")
        row = providers.lock(tx, provider_id(request), body[_GENERATION])
        unknown = names.unknown_traits(tx, body["traits"])
        if unknown:
            raise BadRequest(f"No such trait {', '.join(unknown)}")
        providers.set_traits(tx, row.id, body["traits"])
        return _answer(ctx, tx, find(tx, request))


def clear(ctx: Context, request: Request) -> object:
    """Remove all traits of a provider."""
    with ctx.cloud.database.write() as tx:
        providers.set_traits(tx, find(tx, request).id, ())
    return None


_OF = "/resource_providers/{uuid}/traits"
_RULE, _OF_RULE = "placement:traits", "placement:resource_providers:traits"
ROUTES = (
    Route(
        method="GET",
        path="/traits",
        handler=index,
        rule=f"{_RULE}:list",
        since=(1, 6),
        query=lambda version: query.allowed_keys(version, {"name": (1, 6), "associated": (1, 6)}),
    ),
    Route(
        method="GET",
        path="/traits/{name}",
        handler=show,
        rule=f"{_RULE}:show",
        since=(1, 6),
        status=204,
    ),
    Route(
        method="PUT",
        path="/traits/{name}",
        handler=create,
        rule=f"{_RULE}:update",
        since=(1, 6),
        status=201,
    ),
    Route(
        method="DELETE",
        path="/traits/{name}",
        handler=delete,
        rule=f"{_RULE}:delete",
        since=(1, 6),
        status=204,
    ),
    Route(method="GET", path=_OF, handler=of_provider, rule=f"{_OF_RULE}:list", since=(1, 6)),
    Route(
        method="PUT",
        path=_OF,
        handler=replace,
        rule=f"{_OF_RULE}:update",
        since=(1, 6),
        body=schemas.TRAITS_PUT,
    ),
    Route(
        method="DELETE",
        path=_OF,
        handler=clear,
        rule=f"{_OF_RULE}:delete",
        since=(1, 6),
        status=204,
    ),
)
