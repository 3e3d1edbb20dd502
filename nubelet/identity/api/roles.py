"""`/v3/roles`: roles and what they imply. Global and domain roles have rules of their own.

In OpenStack: keystone/api/roles.py, keystone/api/role_inferences.py.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity import assignments, projects, roles
from nubelet.identity.api.resource import (
    ID_OR_NULL,
    OPTIONS,
    TEXT,
    IdentityResource,
    list_answer,
    name_schema,
    require,
)
from nubelet.identity.model import implied_role, role
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound
from nubelet.kernel.http.fields import Field
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Handler, Route

ROLES = IdentityResource(
    "role",
    "roles",
    role,
    (
        Field(name="id", schema={"type": "string"}),
        Field(
            name="name",
            schema=name_schema(255),
            create="required",
            update=True,
            filter="exact",
            sort=True,
        ),
        Field(name="domain_id", schema=ID_OR_NULL, create="optional", update=True, filter="exact"),
        Field(name="description", schema=TEXT, create="optional", update=True),
        Field(name="options", schema=OPTIONS, create="optional", update=True),
    ),
    extra_create={},
)


def target(row: Any) -> dict[str, Any]:
    """What policy sees of a role; `domain_id` None says that it is of the whole cloud."""
    return (
        {}
        if row is None
        else {
            "target.role.id": row.id,
            "target.role.name": row.name,
            "target.role.domain_id": row.domain_id,
        }
    )


def list_all(ctx: Context, request: Request) -> object:
    """List the roles of the whole cloud, or of one domain."""
    domain_id = request.first("domain_id")
    ctx.authorize("identity:list_domain_roles" if domain_id else "identity:list_roles")
    statement = sa.select(role)
    if "domain_id" not in request.query:
        statement = statement.where(role.c.domain_id.is_(None))
    with ctx.cloud.database.read() as tx:
        return list_answer(ctx, tx, request, ROLES, statement)


def create(ctx: Context, request: Request) -> object:
    """Create a role."""
    values, extra = ROLES.split(request.body["role"])
    domain_id = values.get("domain_id")
    ctx.authorize(
        "identity:create_domain_role" if domain_id else "identity:create_role",
        {"target.role.domain_id": domain_id},
    )
    with ctx.cloud.database.write() as tx:
        if domain_id:
            projects.require_domain(tx, domain_id)
        return {"role": ROLES.view(ctx)(roles.create(ctx, tx, values, extra))}


def show(ctx: Context, request: Request) -> object:
    """Show a role."""
    with ctx.cloud.database.read() as tx:
        return {"role": ROLES.view(ctx)(_find(ctx, tx, request, "get"))}


def update(ctx: Context, request: Request) -> object:
    """Change a role."""
    values, extra = ROLES.split(request.body["role"])
    with ctx.cloud.database.write() as tx:
        row = _find(ctx, tx, request, "update")
        return {"role": ROLES.view(ctx)(roles.update(ctx, tx, row, values, extra))}


def delete(ctx: Context, request: Request) -> None:
    """Delete a role; everybody who held it loses it."""
    with ctx.cloud.database.write() as tx:
        roles.delete(ctx, tx, _find(ctx, tx, request, "delete"))


# --- Implied roles --------------------------------------------------------------------------------


def list_implied(ctx: Context, request: Request) -> object:
    """The roles that a role implies directly."""
    with ctx.cloud.database.read() as tx:
        prior = _require(tx, request.params["prior_role_id"])
        implied = sa.select(implied_role.c.implied_role_id).where(
            implied_role.c.prior_role_id == prior.id
        )
        rows = tx.all(
            sa.select(role).where(role.c.id.in_(implied)).order_by(role.c.name, role.c.id)
        )
    return {
        "role_inference": {
            "prior_role": _brief(ctx, prior),
            "implies": [_brief(ctx, row) for row in rows],
        },
        "links": {"self": request.url},
    }


def list_inferences(ctx: Context, request: Request) -> object:
    """All roles that imply others."""
    with ctx.cloud.database.read() as tx:
        implies = assignments.implications(tx)
        rows = {row.id: row for row in tx.all(sa.select(role))}
    inferences = [
        {
            "prior_role": _brief(ctx, rows[prior]),
            "implies": [_brief(ctx, rows[implied]) for implied in sorted(implied_ids)],
        }
        for prior, implied_ids in sorted(implies.items())
    ]
    return {"role_inferences": inferences, "links": {"self": request.url}}


def show_implied(ctx: Context, request: Request) -> object:
    """Show that a role implies another."""
    with ctx.cloud.database.read() as tx:
        prior, implied = _pair(tx, request)
        if not roles.is_implied(tx, prior.id, implied.id):
            raise _not_implied(request)
    return _inference(ctx, request, prior, implied)


def check_implied(ctx: Context, request: Request) -> object:
    """204 if a role implies another."""
    show_implied(ctx, request)
    return Response(204)


def create_implied(ctx: Context, request: Request) -> object:
    """Let a role imply another."""
    with ctx.cloud.database.write() as tx:
        prior, implied = _pair(tx, request)
        roles.imply(ctx, tx, prior, implied)
    return _inference(ctx, request, prior, implied)


def delete_implied(ctx: Context, request: Request) -> None:
    """Let a role no longer imply another."""
    with ctx.cloud.database.write() as tx:
        prior, implied = _pair(tx, request)
        if not roles.stop_implying(ctx, tx, prior.id, implied.id):
            raise _not_implied(request)


def _find(ctx: Context, tx: Tx, request: Request, verb: str) -> Any:
    identifier = request.params["role_id"]
    row = roles.find(tx, identifier)
    if row is None:  # everybody is told (as upstream): which rule it is depends on the role
        raise NotFound("role", identifier)
    kind = "domain_role" if row.domain_id else "role"
    ctx.authorize(f"identity:{verb}_{kind}", target(row))
    return row


def _require(tx: Tx, identifier: str) -> Any:
    return require(roles.find(tx, identifier), "role", identifier)


def _pair(tx: Tx, request: Request) -> tuple[Any, Any]:
    return (
        _require(tx, request.params["prior_role_id"]),
        _require(tx, request.params["implied_role_id"]),
    )


def _not_implied(request: Request) -> NotFound:
    return NotFound(
        message=f"The role {request.params['prior_role_id']} does not imply "
        f"{request.params['implied_role_id']}."
    )


def _brief(ctx: Context, row: Any) -> dict[str, Any]:
    shown = ROLES.view(ctx)(row)
    return {"id": shown["id"], "name": shown["name"], "links": shown["links"]}


def _inference(ctx: Context, request: Request, prior: Any, implied: Any) -> dict[str, Any]:
    return {
        "role_inference": {"prior_role": _brief(ctx, prior), "implies": _brief(ctx, implied)},
        "links": {"self": request.url},
    }


def _route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
    return Route(method=method, path=path, handler=handler, rule=f"identity:{rule}", **more)


_ONE = "/roles/{role_id}"
_IMPLIES = "/roles/{prior_role_id}/implies"
_IMPLIED = "/roles/{prior_role_id}/implies/{implied_role_id}"
ROUTES = (
    _route(
        "GET", "/roles", list_all, "list_roles", rule_needs_target=True, response=ROLES.list_schema
    ),
    _route(
        "POST",
        "/roles",
        create,
        "create_role",
        rule_needs_target=True,
        status=201,
        body=ROLES.create_schema,
        response=ROLES.show_schema,
    ),
    _route("GET", _ONE, show, "get_role", rule_needs_target=True, response=ROLES.show_schema),
    _route(
        "PATCH",
        _ONE,
        update,
        "update_role",
        rule_needs_target=True,
        body=ROLES.update_schema,
        response=ROLES.show_schema,
    ),
    _route("DELETE", _ONE, delete, "delete_role", rule_needs_target=True, status=204),
    _route("GET", _IMPLIES, list_implied, "list_implied_roles"),
    _route("GET", _IMPLIED, show_implied, "get_implied_role"),
    _route("HEAD", _IMPLIED, check_implied, "check_implied_role", status=204),
    _route("PUT", _IMPLIED, create_implied, "create_implied_role", status=201),
    _route("DELETE", _IMPLIED, delete_implied, "delete_implied_role", status=204),
    _route("GET", "/role_inferences", list_inferences, "list_role_inference_rules"),
)
