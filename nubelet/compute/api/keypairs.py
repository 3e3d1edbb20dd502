"""`/os-keypairs`: list, show, import (until 2.91 also generate), delete.

API reference: https://docs.openstack.org/api-ref/compute/#keypairs-keypairs
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from nubelet.compute import keypairs
from nubelet.compute.api import schemas as s
from nubelet.compute.model import keypair
from nubelet.kernel.clock import iso_micros
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.collections import read_limit
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route, by_version

_RULE = "os_compute_api:os-keypairs:"
_NAME: s.Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^(?! )[_\- a-zA-Z0-9]+(?<! )$",
}
_NAME_292: s.Schema = {**_NAME, "pattern": r"^(?! )[_\-\@\. a-zA-Z0-9]+(?<! )$"}
_PUBLIC_KEY: s.Schema = {"public_key": {"type": "string"}}
_TYPE: s.Schema = {"type": {"type": "string", "enum": ["ssh", "x509"]}}
_USER: s.Schema = {"user_id": {"type": "string"}}


def _body(properties: s.Schema, required: tuple[str, ...]) -> s.Schema:
    return s.wrapped("keypair", s.obj(properties, required))


_CREATE = by_version(
    ((2, 1), _body({"name": _NAME} | _PUBLIC_KEY, ("name",))),
    ((2, 2), _body({"name": _NAME} | _PUBLIC_KEY | _TYPE, ("name",))),
    ((2, 10), _body({"name": _NAME} | _PUBLIC_KEY | _TYPE | _USER, ("name",))),
    ((2, 92), _body({"name": _NAME_292} | _PUBLIC_KEY | _TYPE | _USER, ("name", "public_key"))),
)
_USER_QUERY: s.Schema = {"user_id": s.ANY_VALUES}
_ITEM_QUERY = by_version(
    ((2, 1), s.query({})),
    ((2, 10), s.query(_USER_QUERY)),
    ((2, 75), s.query(_USER_QUERY, extra=False)),
)
_LIST_QUERY = by_version(
    ((2, 1), s.query({})),
    ((2, 10), s.query(_USER_QUERY)),
    ((2, 35), s.query(_USER_QUERY | s.PAGING)),
    ((2, 75), s.query(_USER_QUERY | s.PAGING, extra=False)),
)


def _whose(ctx: Context, given: str | None) -> str:
    """The user whose keys are meant, and that the caller may deal with them (the route's rule)."""
    user_id = given if given and ctx.at_least(2, 10) else ctx.user_id
    ctx.authorize(target={"user_id": user_id, "project_id": ctx.project_id})
    return user_id


def _view(ctx: Context, row: Any, *names: str) -> dict[str, Any]:
    shown = {name: getattr(row, name) for name in ("name", "public_key", "fingerprint", *names)}
    if ctx.at_least(2, 2):
        shown["type"] = row.type
    return shown


def list(ctx: Context, request: Request) -> object:
    """List a user's keypairs."""
    user_id = _whose(ctx, request.first("user_id"))
    statement = sa.select(keypair).where(keypair.c.user_id == user_id).order_by(keypair.c.name)
    limit = None
    with ctx.cloud.database.read() as tx:
        if ctx.at_least(2, 35):
            limit = read_limit(request, ctx.cloud.settings.limits.page_size)
            marker = request.first("marker")
            if marker:
                if not tx.scalar(
                    sa.select(keypair.c.name).where(
                        keypair.c.user_id == user_id, keypair.c.name == marker
                    )
                ):
                    raise BadRequest(f"marker [{marker}] not found")
                statement = statement.where(keypair.c.name > marker)
            if limit is not None:
                statement = statement.limit(limit + 1)
        rows = [*tx.all(statement)]
    answer: dict[str, Any] = {"keypairs": [{"keypair": _view(ctx, row)} for row in rows[:limit]]}
    if limit and len(rows) > limit:
        query = {name: values for name, values in request.query.items() if name != "marker"}
        text = urlencode(query | {"marker": [rows[limit - 1].name]}, doseq=True)
        answer["keypairs_links"] = [{"rel": "next", "href": f"{request.url}?{text}"}]
    return answer


def show(ctx: Context, request: Request) -> object:
    """Show a keypair."""
    user_id = _whose(ctx, request.first("user_id"))
    with ctx.cloud.database.read() as tx:
        row = keypairs.find(tx, user_id, request.params["keypair_name"])
    return {
        "keypair": {
            **_view(ctx, row, "user_id"),
            "id": row.auto_id,
            "deleted": False,
            "deleted_at": None,
            "created_at": iso_micros(row.created_at),
            "updated_at": None,
        }
    }


def create(ctx: Context, request: Request) -> object:
    """Import a public key, or (until 2.91) generate a pair."""
    given = request.body["keypair"]
    user_id, kind = _whose(ctx, given.get("user_id")), given.get("type", "ssh")
    generated = None
    public_key = given.get("public_key")
    if public_key is None:
        generated = keypairs.generate(kind, ctx.credentials.user_name or user_id)
        public_key = generated.public_key
    fingerprint = keypairs.fingerprint_of(kind, public_key)
    with ctx.cloud.database.write() as tx:
        row = keypairs.create(
            ctx,
            tx,
            user_id=user_id,
            name=given["name"],
            kind=kind,
            public_key=public_key,
            fingerprint=fingerprint,
        )
    shown = _view(ctx, row, "user_id")
    if generated:
        shown["private_key"] = generated.private_key
    return Response(201 if ctx.at_least(2, 2) else 200, {"keypair": shown})


def delete(ctx: Context, request: Request) -> object:
    """Delete a keypair."""
    user_id = _whose(ctx, request.first("user_id"))
    with ctx.cloud.database.write() as tx:
        keypairs.delete(tx, user_id, request.params["keypair_name"])
    return Response(204 if ctx.at_least(2, 2) else 202)


_ITEM = "/os-keypairs/{keypair_name}"
_SHOWN = s.answer(
    "keypair",
    {name: {"type": "string"} for name in ("name", "public_key", "fingerprint", "type", "user_id")},
)

ROUTES = (
    Route(
        method="GET",
        path="/os-keypairs",
        handler=list,
        rule=_RULE + "index",
        rule_needs_target=True,
        query=_LIST_QUERY,
        response={"type": "object", "properties": {"keypairs": {"type": "array"}}},
    ),
    Route(
        method="POST",
        path="/os-keypairs",
        handler=create,
        rule=_RULE + "create",
        rule_needs_target=True,
        body=_CREATE,
        response=_SHOWN,
        status=201,
    ),
    Route(
        method="GET",
        path=_ITEM,
        handler=show,
        rule=_RULE + "show",
        rule_needs_target=True,
        query=_ITEM_QUERY,
        response=_SHOWN,
    ),
    Route(
        method="DELETE",
        path=_ITEM,
        handler=delete,
        rule=_RULE + "delete",
        rule_needs_target=True,
        query=_ITEM_QUERY,
        status=204,
    ),
)
