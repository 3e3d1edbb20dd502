"""`/v3/registered_limits` and `/v3/limits`.

In OpenStack: keystone/api/{registered_limits,limits}.py.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity.api.resource import ID, IdentityResource, list_answer, require
from nubelet.identity.limits import changing
from nubelet.identity.limits.model import limit, registered_limit
from nubelet.identity.limits.rules import DESCRIPTIONS
from nubelet.identity.model import project
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.fields import Condition, Field, FilterCall
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Handler, Route

_COUNT = {"type": "integer", "minimum": -1, "maximum": 0x7FFFFFFF}
_RESOURCE_NAME = {"type": "string", "minLength": 1, "maxLength": 255}
_REGION_ID = {"type": ["string", "null"], "maxLength": 255}
_DESCRIPTION = {"type": ["string", "null"]}
_OWNER = {**ID, "type": ["string", "null"]}


def _by_registration(name: str) -> FilterCall:
    """A limit is found by what its registration says."""
    column = registered_limit.c[name]

    def condition(values: list[str], ctx: Context) -> Condition:
        return column.in_(values)

    return condition


REGISTERED = IdentityResource(
    "registered_limit",
    "registered_limits",
    registered_limit,
    (
        Field(name="id", schema={"type": "string"}),
        Field(name="service_id", schema=ID, create="required", update=True, filter="exact"),
        Field(name="region_id", schema=_REGION_ID, create="optional", update=True, filter="exact"),
        Field(
            name="resource_name",
            schema=_RESOURCE_NAME,
            create="required",
            update=True,
            filter="exact",
        ),
        Field(name="default_limit", schema=_COUNT, create="required", update=True),
        Field(name="description", schema=_DESCRIPTION, create="optional", update=True),
    ),
)
LIMITS = IdentityResource(
    "limit",
    "limits",
    limit,
    (
        Field(name="id", schema={"type": "string"}),
        Field(
            name="service_id", schema=ID, create="required", filter=_by_registration("service_id")
        ),
        Field(
            name="region_id",
            schema=_REGION_ID,
            create="optional",
            filter=_by_registration("region_id"),
        ),
        Field(
            name="resource_name",
            schema=_RESOURCE_NAME,
            create="required",
            filter=_by_registration("resource_name"),
        ),
        Field(name="project_id", schema=_OWNER, create="optional", filter="exact"),
        Field(name="domain_id", schema=_OWNER, create="optional", filter="exact"),
        Field(name="resource_limit", schema=_COUNT, create="required", update=True),
        Field(name="description", schema=_DESCRIPTION, create="optional", update=True),
    ),
)


def _several(resource: IdentityResource, **more: Any) -> dict[str, Any]:
    """The body that creates several at once."""
    one: dict[str, Any] = dict(resource.create_schema())["properties"][resource.singular]
    return {
        "type": "object",
        "required": [resource.plural],
        "additionalProperties": False,
        "properties": {resource.plural: {"type": "array", "minItems": 1, "items": {**one, **more}}},
    }


# --- Registered limits ----------------------------------------------------------------------------


def list_registered(ctx: Context, request: Request) -> object:
    """List registered limits."""
    with ctx.cloud.database.read() as tx:
        return list_answer(ctx, tx, request, REGISTERED, sa.select(registered_limit))


def create_registered(ctx: Context, request: Request) -> object:
    """Register limits, all or none."""
    view = REGISTERED.view(ctx)
    with ctx.cloud.database.write() as tx:
        rows = changing.register(ctx, tx, request.body["registered_limits"])
        return {"registered_limits": [view(row) for row in rows]}


def show_registered(ctx: Context, request: Request) -> object:
    """Show a registered limit."""
    with ctx.cloud.database.read() as tx:
        return {"registered_limit": REGISTERED.view(ctx)(_find_registered(tx, request))}


def update_registered(ctx: Context, request: Request) -> object:
    """Change a registered limit that nobody has an exception of."""
    with ctx.cloud.database.write() as tx:
        row = _find_registered(tx, request)
        changed = changing.update_registered(ctx, tx, row, request.body["registered_limit"])
        return {"registered_limit": REGISTERED.view(ctx)(changed)}


def delete_registered(ctx: Context, request: Request) -> None:
    """Delete a registered limit that nobody has an exception of."""
    with ctx.cloud.database.write() as tx:
        changing.delete_registered(ctx, tx, _find_registered(tx, request))


def _find_registered(tx: Tx, request: Request) -> Any:
    identifier = request.params["registered_limit_id"]
    return require(changing.find_registered(tx, identifier), "registered limit", identifier)


# --- Limits ---------------------------------------------------------------------------------------


def show_model(ctx: Context, request: Request) -> object:
    """How limits of projects and domains go together."""
    name = ctx.cloud.settings.identity.limit_model
    return {"model": {"name": name, "description": DESCRIPTIONS[name]}}


def list_all(ctx: Context, request: Request) -> object:
    """List limits: all, those of the token's domain and its projects, or of the token's project."""
    with ctx.cloud.database.read() as tx:
        return list_answer(ctx, tx, request, LIMITS, changing.SHOWN.where(_visible(ctx)))


def create(ctx: Context, request: Request) -> object:
    """Set limits of projects and domains, all or none."""
    view, model = LIMITS.view(ctx), ctx.cloud.settings.identity.limit_model
    with ctx.cloud.database.write() as tx:
        for given in request.body["limits"]:
            ctx.authorize(target=_target(tx, given.get("project_id"), given.get("domain_id")))
        rows = changing.create(ctx, tx, model, request.body["limits"])
        return {"limits": [view(row) for row in rows]}


def show(ctx: Context, request: Request) -> object:
    """Show a limit."""
    identifier = request.params["limit_id"]
    with ctx.cloud.database.read() as tx:
        row = changing.find(tx, identifier)
        ctx.authorize(target=_target_of(tx, row))
        return {"limit": LIMITS.view(ctx)(require(row, "limit", identifier))}


def update(ctx: Context, request: Request) -> object:
    """Change a limit."""
    model = ctx.cloud.settings.identity.limit_model
    with ctx.cloud.database.write() as tx:
        row = _find(ctx, tx, request)
        changed = changing.update(ctx, tx, model, row, request.body["limit"])
        return {"limit": LIMITS.view(ctx)(changed)}


def delete(ctx: Context, request: Request) -> None:
    """Delete a limit: what is registered holds again."""
    with ctx.cloud.database.write() as tx:
        changing.delete(ctx, tx, _find(ctx, tx, request))


def _find(ctx: Context, tx: Tx, request: Request) -> Any:
    identifier = request.params["limit_id"]
    row = changing.find(tx, identifier)
    ctx.authorize(target=_target_of(tx, row))
    return require(row, "limit", identifier)


def _visible(ctx: Context) -> Condition:
    who = ctx.credentials
    if ctx.allows("identity:get_limit", {}):
        return sa.true()
    if who.domain_id:
        inside = sa.select(project.c.id).where(project.c.domain_id == who.domain_id)
        return sa.or_(limit.c.domain_id == who.domain_id, limit.c.project_id.in_(inside))
    return limit.c.project_id == who.project_id if who.project_id else sa.false()


def _target_of(tx: Tx, row: Any) -> dict[str, Any]:
    return {} if row is None else _target(tx, row.project_id, row.domain_id)


def _target(tx: Tx, project_id: str | None, domain_id: str | None) -> dict[str, Any]:
    """What policy sees of a limit: whose it is."""
    if domain_id:
        return {"target.limit.domain.id": domain_id}
    home = tx.scalar(sa.select(project.c.domain_id).where(project.c.id == project_id))
    return {"target.limit.project_id": project_id, "target.limit.project.domain_id": home}


def _route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
    return Route(method=method, path=path, handler=handler, rule=f"identity:{rule}", **more)


_REGISTERED_ONE, _ONE = "/registered_limits/{registered_limit_id}", "/limits/{limit_id}"
_OF_SOMEBODY = [
    {"required": [name], "properties": {name: ID}} for name in ("project_id", "domain_id")
]
ROUTES = (
    _route(
        "GET",
        "/registered_limits",
        list_registered,
        "list_registered_limits",
        response=REGISTERED.list_schema,
    ),
    _route(
        "POST",
        "/registered_limits",
        create_registered,
        "create_registered_limits",
        status=201,
        body=_several(REGISTERED),
        response=REGISTERED.list_schema,
    ),
    _route(
        "GET",
        _REGISTERED_ONE,
        show_registered,
        "get_registered_limit",
        response=REGISTERED.show_schema,
    ),
    _route(
        "PATCH",
        _REGISTERED_ONE,
        update_registered,
        "update_registered_limit",
        body=REGISTERED.update_schema,
        response=REGISTERED.show_schema,
    ),
    _route("DELETE", _REGISTERED_ONE, delete_registered, "delete_registered_limit", status=204),
    _route("GET", "/limits/model", show_model, "get_limit_model"),
    _route("GET", "/limits", list_all, "list_limits", response=LIMITS.list_schema),
    _route(
        "POST",
        "/limits",
        create,
        "create_limits",
        rule_needs_target=True,
        status=201,
        body=_several(LIMITS, oneOf=_OF_SOMEBODY),
        response=LIMITS.list_schema,
    ),
    _route("GET", _ONE, show, "get_limit", rule_needs_target=True, response=LIMITS.show_schema),
    _route(
        "PATCH",
        _ONE,
        update,
        "update_limit",
        rule_needs_target=True,
        body=LIMITS.update_schema,
        response=LIMITS.show_schema,
    ),
    _route("DELETE", _ONE, delete, "delete_limit", rule_needs_target=True, status=204),
)
