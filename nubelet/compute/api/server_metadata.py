"""`/servers/{id}/metadata`: texts by key, for users and for the guest.

API reference: https://docs.openstack.org/api-ref/compute/#server-metadata-servers-metadata
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nubelet.compute import servers, states
from nubelet.compute.api import schemas as s
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route

_RULE = "os_compute_api:server-metadata:"
_ONE: s.Schema = {**s.METADATA, "minProperties": 1, "maxProperties": 1}

Items = Mapping[str, str]


def _read(ctx: Context, request: Request) -> Any:
    with ctx.cloud.database.read() as tx:
        row = servers.find(ctx, tx, request.params["server_id"])
        ctx.authorize(target=servers.target_of(row))
    return row


def _write(
    ctx: Context,
    request: Request,
    change: Callable[[Items], Items],
    action: str = "update_instance_metadata",
) -> Items:
    """Replace the metadata by what `change` makes of it."""
    with ctx.cloud.database.write() as tx:
        row = servers.find_to_change(ctx, tx, request.params["server_id"])
        states.require(action, row)
        items = change(row.metadata)
        servers.set_metadata(ctx, tx, row, items)
    return items


def _require(row_id: str, items: Items, key: str) -> None:
    if key not in items:
        raise NotFound(message=f"Metadata item was not found: instance {row_id} has no {key}.")


def list(ctx: Context, request: Request) -> object:
    """List all metadata."""
    return {"metadata": _read(ctx, request).metadata}


def show(ctx: Context, request: Request) -> object:
    """Show one item."""
    row, key = _read(ctx, request), request.params["key"]
    _require(row.id, row.metadata, key)
    return {"meta": {key: row.metadata[key]}}


def add(ctx: Context, request: Request) -> object:
    """Add items, or give present ones other values."""
    given = request.body["metadata"]
    return {"metadata": _write(ctx, request, lambda present: {**present, **given})}


def replace(ctx: Context, request: Request) -> object:
    """Replace all metadata."""
    given = request.body["metadata"]
    return {"metadata": _write(ctx, request, lambda present: given)}


def update(ctx: Context, request: Request) -> object:
    """Give one item a value; the body's key must be the path's."""
    key, given = request.params["key"], request.body["meta"]
    if key not in given:
        raise BadRequest(f"Request body and URI mismatch: {key} is not a key of the body.")
    _write(ctx, request, lambda present: {**present, **given})
    return {"meta": given}


def delete(ctx: Context, request: Request) -> object:
    """Remove one item."""
    server_id, key = request.params["server_id"], request.params["key"]

    def without(present: Items) -> Items:
        _require(server_id, present, key)
        return {name: value for name, value in present.items() if name != key}

    _write(ctx, request, without, "delete_instance_metadata")
    return Response(204)


_PATH = "/servers/{server_id}/metadata"
_ITEM = "/servers/{server_id}/metadata/{key}"
_ALL = s.wrapped("metadata", s.METADATA)

ROUTES = (
    Route(
        method="GET",
        path=_PATH,
        handler=list,
        rule=_RULE + "index",
        rule_needs_target=True,
        response=_ALL,
    ),
    Route(
        method="POST",
        path=_PATH,
        handler=add,
        rule=_RULE + "create",
        rule_needs_target=True,
        body=_ALL,
        response=_ALL,
    ),
    Route(
        method="PUT",
        path=_PATH,
        handler=replace,
        rule=_RULE + "update_all",
        rule_needs_target=True,
        body=_ALL,
        response=_ALL,
    ),
    Route(
        method="GET",
        path=_ITEM,
        handler=show,
        rule=_RULE + "show",
        rule_needs_target=True,
        response=s.wrapped("meta", _ONE),
    ),
    Route(
        method="PUT",
        path=_ITEM,
        handler=update,
        rule=_RULE + "update",
        rule_needs_target=True,
        body=s.wrapped("meta", _ONE),
        response=s.wrapped("meta", _ONE),
    ),
    Route(
        method="DELETE",
        path=_ITEM,
        handler=delete,
        rule=_RULE + "delete",
        rule_needs_target=True,
        status=204,
    ),
)
