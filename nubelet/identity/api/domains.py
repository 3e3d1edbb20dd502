"""`/v3/domains`: domains. They are the projects that act as one, shown without their place.

In OpenStack: keystone/api/domains.py.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity import projects
from nubelet.identity.api.projects import TAGS, with_tags
from nubelet.identity.api.resource import (
    ID,
    OPTIONS,
    TEXT,
    IdentityResource,
    enabled_field,
    list_answer,
    list_target,
    name_schema,
    require,
    to_bool,
)
from nubelet.identity.model import project
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.fields import Field
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Handler, Route

DOMAINS = IdentityResource(
    "domain",
    "domains",
    project,
    (
        Field(name="id", schema={"type": "string"}),
        Field(
            name="name",
            schema=name_schema(64),
            create="required",
            update=True,
            filter="exact",
            sort=True,
        ),
        Field(
            name="description", schema={**TEXT, "maxLength": 255}, create="optional", update=True
        ),
        enabled_field(project.c.enabled),
        Field(name="options", schema=OPTIONS, create="optional", update=True),
        Field(name="tags", schema=TAGS, create="optional", update=True, show=False),
        Field(name="explicit_domain_id", schema=ID, create="optional", show=False),
    ),
    extra_create={},
)


def list_all(ctx: Context, request: Request) -> object:
    """List domains; a token for a domain shows that one."""
    target = list_target(ctx)
    ctx.authorize(target=target)
    statement = sa.select(project).where(project.c.is_domain)
    if target:
        statement = statement.where(project.c.id == target["target.domain_id"])
    with ctx.cloud.database.read() as tx:
        return list_answer(
            ctx,
            tx,
            request,
            DOMAINS,
            statement,
            lambda rows: with_tags(tx, rows, DOMAINS.view(ctx)),
        )


def create(ctx: Context, request: Request) -> object:
    """Create a domain."""
    values, extra = _read(request.body["domain"])
    values |= {"is_domain": True, "id": values.pop("explicit_domain_id", None)}
    with ctx.cloud.database.write() as tx:
        return {"domain": _view(ctx, tx, projects.create(ctx, tx, values, extra))}


def show(ctx: Context, request: Request) -> object:
    """Show a domain."""
    with ctx.cloud.database.read() as tx:
        return {"domain": _view(ctx, tx, _find(ctx, tx, request))}


def update(ctx: Context, request: Request) -> object:
    """Change a domain; disabling it revokes the tokens of its users and projects."""
    values, extra = _read(request.body["domain"])
    identifier = request.params["domain_id"]
    with ctx.cloud.database.write() as tx:
        # Everybody is told of a domain that is not there (as upstream).
        require(projects.find_domain(tx, identifier), "domain", identifier)
        row = _find(ctx, tx, request)
        return {"domain": _view(ctx, tx, projects.update(ctx, tx, row, values, extra))}


def delete(ctx: Context, request: Request) -> None:
    """Delete a disabled domain with everything in it."""
    with ctx.cloud.database.write() as tx:
        projects.delete_domain(ctx, tx, _find(ctx, tx, request))


def _find(ctx: Context, tx: Tx, request: Request) -> Any:
    identifier = request.params["domain_id"]
    row = projects.find_domain(tx, identifier)
    ctx.authorize(
        target={"target.domain.id": row.id, "target.domain.name": row.name} if row else {}
    )
    return require(row, "domain", identifier)


def _view(ctx: Context, tx: Tx, row: Any) -> dict[str, Any]:
    return with_tags(tx, [row], DOMAINS.view(ctx))(row)


def _read(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    values, extra = DOMAINS.split(given)
    if "enabled" in values:
        values["enabled"] = to_bool(values["enabled"])
    return values, extra


def _route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
    return Route(
        method=method, path=f"/domains{path}", handler=handler, rule=f"identity:{rule}", **more
    )


ROUTES = (
    _route(
        "GET", "", list_all, "list_domains", rule_needs_target=True, response=DOMAINS.list_schema
    ),
    _route(
        "POST",
        "",
        create,
        "create_domain",
        body=DOMAINS.create_schema,
        status=201,
        response=DOMAINS.show_schema,
    ),
    _route(
        "GET",
        "/{domain_id}",
        show,
        "get_domain",
        rule_needs_target=True,
        response=DOMAINS.show_schema,
    ),
    _route(
        "PATCH",
        "/{domain_id}",
        update,
        "update_domain",
        rule_needs_target=True,
        body=DOMAINS.update_schema,
        response=DOMAINS.show_schema,
    ),
    _route("DELETE", "/{domain_id}", delete, "delete_domain", rule_needs_target=True, status=204),
)
