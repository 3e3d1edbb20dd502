"""`/v3/OS-TRUST/trusts`: trusts and their roles.

In OpenStack: keystone/api/trusts.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import authenticator, times
from nubelet.identity.api.resource import (
    ID,
    IdentityResource,
    all_links,
    list_answer,
    name_schema,
    require,
)
from nubelet.identity.api.roles import ROLES
from nubelet.identity.binding import require_user
from nubelet.identity.model import role
from nubelet.identity.trusts import trusts
from nubelet.identity.trusts.model import trust
from nubelet.kernel.clock import iso_micros_z
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Forbidden, NotFound
from nubelet.kernel.http.fields import Field
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Handler, Route

_USER = {"type": "string", "minLength": 1, "maxLength": 64}
_OPTIONAL_ID = {**_USER, "type": ["string", "null"]}
_ROLES = {
    "type": "array",
    "items": {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {"id": ID, "name": name_schema(255)},
    },
}


def _count(least: int) -> dict[str, Any]:
    return {"type": ["integer", "null"], "minimum": least, "maximum": 2**31 - 1}


TRUSTS = IdentityResource(
    "trust",
    "trusts",
    trust,
    (
        Field(name="id", schema={"type": "string"}),
        Field(name="trustor_user_id", schema=_USER, create="required", filter="exact"),
        Field(name="trustee_user_id", schema=_USER, create="required", filter="exact"),
        Field(name="impersonation", schema={"type": "boolean"}, create="required"),
        Field(name="project_id", schema=_OPTIONAL_ID, create="optional"),
        Field(
            name="expires_at",
            schema={"type": ["string", "null"]},
            create="optional",
            show=lambda row, ctx: iso_micros_z(row.expires_at),
        ),
        Field(name="remaining_uses", schema=_count(1), create="optional"),
        Field(name="redelegation_count", schema=_count(0), create="optional"),
        Field(name="redelegated_trust_id", schema=_OPTIONAL_ID, create="optional"),
        Field(name="deleted_at", schema={"type": "null"}, show=lambda row, ctx: None),
        Field(
            name="allow_redelegation",
            schema={"type": ["boolean", "null"]},
            create="optional",
            show=False,
        ),
        Field(name="roles", schema=_ROLES, create="optional", show=False),
    ),
    extra_create={},
)
_LIST = {
    "trustor_user_id": "identity:list_trusts_for_trustor",
    "trustee_user_id": "identity:list_trusts_for_trustee",
}


def list_all(ctx: Context, request: Request) -> object:
    """List trusts: all, or those of a trustor or a trustee."""
    name = next((name for name in _LIST if name in request.query), None)
    if name is None:
        ctx.authorize("identity:list_trusts")
    else:
        ctx.authorize(_LIST[name], {f"target.trust.{name}": request.first(name)})
    with ctx.cloud.database.read() as tx:
        shown = TRUSTS.view(ctx)
        return list_answer(
            ctx,
            tx,
            request,
            TRUSTS,
            sa.select(trust),
            lambda rows: lambda row: {**shown(row), "links": _link(ctx, row.id)},
        )


def create(ctx: Context, request: Request) -> object:
    """Create a trust as its trustor; with a token of another trust, from that one."""
    given, extra = TRUSTS.split(request.body["trust"])
    ctx.authorize(target={"trust.trustor_user_id": given["trustor_user_id"]})
    subject = authenticator.subject_of(ctx, request)
    require_user(subject.token, subject.binding, "managing trusts", by_trust=True)
    if given["trustor_user_id"] != ctx.user_id:
        raise Forbidden("Only the trustor can create a trust.")
    if given.get("project_id") and not given.get("roles"):
        raise Forbidden("At least one role must be given for the project.")
    given["expires_at"] = times.read_future("expires_at", given.get("expires_at"))
    with ctx.cloud.database.write() as tx:
        parent = None
        if ctx.credentials.trust_id:
            parent = require(
                trusts.find(tx, ctx.credentials.trust_id), "trust", ctx.credentials.trust_id
            )
        row = trusts.create(ctx, tx, {**given, "extra": extra}, parent)
        return {"trust": _view(ctx, tx, row)}


def show(ctx: Context, request: Request) -> object:
    """Show a trust."""
    with ctx.cloud.database.read() as tx:
        return {"trust": _view(ctx, tx, _find(ctx, tx, request))}


def delete(ctx: Context, request: Request) -> None:
    """End a trust: its tokens are refused from the next request on."""
    subject = authenticator.subject_of(ctx, request)
    with ctx.cloud.database.write() as tx:
        row = _find(ctx, tx, request)
        require_user(subject.token, subject.binding, "managing trusts")
        trusts.delete(ctx, tx, row)


def list_roles(ctx: Context, request: Request) -> object:
    """List the roles that a trust hands on."""
    with ctx.cloud.database.read() as tx:
        row = _find(ctx, tx, request)
        return {"roles": _roles(ctx, tx, row), "links": all_links(request)}


def show_role(ctx: Context, request: Request) -> object:
    """Show a role that a trust hands on."""
    with ctx.cloud.database.read() as tx:
        found = _roles(ctx, tx, _find(ctx, tx, request), request.params["role_id"])
    if not found:
        raise NotFound("role", request.params["role_id"])
    return {"role": found[0]}


def check_role(ctx: Context, request: Request) -> Response:
    """Whether a trust hands on a role."""
    show_role(ctx, request)
    return Response(200)


def _find(ctx: Context, tx: Tx, request: Request) -> Any:
    """The trust of the path. One that is not there is 404 to everybody: its id is not to be
    guessed, and clients wait for the end of a trust like this."""
    identifier = request.params["trust_id"]
    row = require(trusts.find(tx, identifier), "trust", identifier)
    ctx.authorize(
        target={
            "target.trust.trustor_user_id": row.trustor_user_id,
            "target.trust.trustee_user_id": row.trustee_user_id,
        }
    )
    return row


def _view(ctx: Context, tx: Tx, row: Any) -> dict[str, Any]:
    link = _link(ctx, row.id)
    return {
        **TRUSTS.view(ctx)(row),
        "roles": _roles(ctx, tx, row),
        "roles_links": {"self": f"{link['self']}/roles", "next": None, "previous": None},
        "links": link,
    }


def _roles(ctx: Context, tx: Tx, row: Any, only: str | None = None) -> list[Mapping[str, Any]]:
    wanted = [each for each in row.role_ids if only in (None, each)]
    shown = ROLES.view(ctx)
    names = ("id", "name", "domain_id", "description", "options", "links")
    found = tx.all(sa.select(role).where(role.c.id.in_(wanted)).order_by(role.c.name))
    return [{name: shown(each)[name] for name in names} for each in found]


def _link(ctx: Context, identifier: str) -> dict[str, str]:
    return {"self": f"{ctx.base_url}/identity/v3/OS-TRUST/trusts/{identifier}"}


def _route(method: str, path: str, handler: Handler, rule: str, **more: Any) -> Route:
    return Route(
        method=method,
        path=f"/OS-TRUST/trusts{path}",
        handler=handler,
        rule=f"identity:{rule}",
        rule_needs_target=True,
        **more,
    )


ROUTES = (
    _route("GET", "", list_all, "list_trusts", response=TRUSTS.list_schema),
    _route(
        "POST",
        "",
        create,
        "create_trust",
        body=TRUSTS.create_schema,
        status=201,
        response=TRUSTS.show_schema,
    ),
    _route("GET", "/{trust_id}", show, "get_trust", response=TRUSTS.show_schema),
    _route("DELETE", "/{trust_id}", delete, "delete_trust", status=204),
    _route("GET", "/{trust_id}/roles", list_roles, "list_roles_for_trust"),
    _route("GET", "/{trust_id}/roles/{role_id}", show_role, "get_role_for_trust"),
    _route("HEAD", "/{trust_id}/roles/{role_id}", check_role, "get_role_for_trust"),
)
