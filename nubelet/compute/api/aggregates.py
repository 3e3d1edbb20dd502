"""`/os-aggregates`: list, show, create, update, delete, hosts, metadata, images to be cached.

API reference: https://docs.openstack.org/api-ref/compute/#host-aggregates-os-aggregates
"""

from __future__ import annotations

from typing import Any

from nubelet.compute import aggregates
from nubelet.compute.api import schemas as s
from nubelet.kernel.clock import iso_micros
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route

_RULE = "os_compute_api:os-aggregates:"
# A colon separates zone and host where a server's place is asked for.
_ZONE: s.Schema = {
    **s.NAME,
    "type": ["string", "null"],
    "pattern": s.NAME_PATTERN,
    "not": {"type": "string", "pattern": ":"},
}
_LOOSE_NAME: s.Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$",
}
_CREATE = s.wrapped("aggregate", s.obj({"name": s.NAME, "availability_zone": _ZONE}, ("name",)))
_UPDATE = s.wrapped(
    "aggregate", {**s.obj({"name": _LOOSE_NAME, "availability_zone": _ZONE}), "minProperties": 1}
)
_HOST = s.obj({"host": s.HOSTNAME}, ("host",))
_METADATA = s.obj({"metadata": s.METADATA_WITH_NULL}, ("metadata",))
_CACHE = s.obj({"cache": {**s.array(s.obj({"id": s.UUID}, ("id",))), "minItems": 1}}, ("cache",))


def _brief(ctx: Context, row: Any) -> dict[str, Any]:
    shown = {
        "id": row.auto_id,
        "name": row.name,
        "availability_zone": row.metadata.get(aggregates.ZONE_KEY),
        "created_at": iso_micros(row.created_at),
        "updated_at": iso_micros(row.updated_at),
        "deleted": False,
        "deleted_at": None,
    }
    return shown | ({"uuid": row.id} if ctx.at_least(2, 41) else {})


def _view(ctx: Context, row: Any, hosts: object) -> dict[str, Any]:
    return _brief(ctx, row) | {"hosts": hosts, "metadata": row.metadata}


def _shown(ctx: Context, tx: Tx, row: Any) -> dict[str, Any]:
    return {"aggregate": _view(ctx, row, aggregates.hosts_of(tx, [row.id]).get(row.id, []))}


def list(ctx: Context, request: Request) -> object:
    """List aggregates."""
    with ctx.cloud.database.read() as tx:
        rows, hosts = aggregates.all_aggregates(tx), aggregates.hosts_of(tx)
    return {"aggregates": [_view(ctx, row, hosts.get(row.id, [])) for row in rows]}


def show(ctx: Context, request: Request) -> object:
    """Show an aggregate."""
    with ctx.cloud.database.read() as tx:
        return _shown(ctx, tx, aggregates.find(tx, request.params["aggregate_id"]))


def create(ctx: Context, request: Request) -> object:
    """Create an aggregate without hosts."""
    given = request.body["aggregate"]
    with ctx.cloud.database.write() as tx:
        row = aggregates.create(tx, given["name"], given.get("availability_zone"))
    return {"aggregate": _brief(ctx, row)}


def update(ctx: Context, request: Request) -> object:
    """Rename an aggregate, or move it to another zone."""
    given = request.body["aggregate"]
    name = given["name"].strip() if "name" in given else None
    with ctx.cloud.database.write() as tx:
        row = aggregates.find(tx, request.params["aggregate_id"])
        row = aggregates.update(tx, row, name, None)
        if "availability_zone" in given:
            row = aggregates.set_metadata(
                tx, row, {aggregates.ZONE_KEY: given["availability_zone"]}
            )
        return _shown(ctx, tx, row)


def delete(ctx: Context, request: Request) -> object:
    """Delete an aggregate without hosts."""
    with ctx.cloud.database.write() as tx:
        aggregates.delete(tx, aggregates.find(tx, request.params["aggregate_id"]))
    return None


def add_host(ctx: Context, request: Request) -> object:
    """Add a host to an aggregate."""
    with ctx.cloud.database.write() as tx:
        row = aggregates.find(tx, request.params["aggregate_id"])
        aggregates.add_host(tx, row, request.body["add_host"]["host"])
        return _shown(ctx, tx, aggregates.find(tx, request.params["aggregate_id"]))


def remove_host(ctx: Context, request: Request) -> object:
    """Remove a host from an aggregate."""
    with ctx.cloud.database.write() as tx:
        row = aggregates.find(tx, request.params["aggregate_id"])
        aggregates.remove_host(tx, row, request.body["remove_host"]["host"])
        return _shown(ctx, tx, aggregates.find(tx, request.params["aggregate_id"]))


def set_metadata(ctx: Context, request: Request) -> object:
    """Set metadata items of an aggregate; null removes one."""
    changes = request.body["set_metadata"]["metadata"]
    zone = changes.get(aggregates.ZONE_KEY)
    if zone is not None and (not zone.strip() or ":" in zone):
        raise BadRequest(
            f"Invalid input for field/attribute availability_zone. Value: {zone}. A "
            "zone has a name without colon."
        )
    with ctx.cloud.database.write() as tx:
        row = aggregates.find(tx, request.params["aggregate_id"])
        return _shown(ctx, tx, aggregates.set_metadata(tx, row, changes))


def cache_images(ctx: Context, request: Request) -> object:
    """Have images in the caches of an aggregate's hosts before servers need them."""
    image_ids = [each["id"] for each in request.body["cache"]]
    if len(set(image_ids)) != len(image_ids):
        raise BadRequest("Duplicate images in request")
    with ctx.cloud.database.write() as tx:
        row = aggregates.find(tx, request.params["aggregate_id"])
        aggregates.cache_images(ctx, tx, row, image_ids)
    return Response(202)


_ONE = "/os-aggregates/{aggregate_id}"
_SHOWN = s.answer("aggregate", {})

ROUTES = (
    Route(
        method="GET",
        path="/os-aggregates",
        handler=list,
        rule=_RULE + "index",
        response={"type": "object", "properties": {"aggregates": s.array(s.obj({}, extra=True))}},
    ),
    Route(
        method="POST",
        path="/os-aggregates",
        handler=create,
        rule=_RULE + "create",
        body=_CREATE,
        response=_SHOWN,
    ),
    Route(method="GET", path=_ONE, handler=show, rule=_RULE + "show", response=_SHOWN),
    Route(
        method="PUT",
        path=_ONE,
        handler=update,
        rule=_RULE + "update",
        body=_UPDATE,
        response=_SHOWN,
    ),
    Route(method="DELETE", path=_ONE, handler=delete, rule=_RULE + "delete"),
    Route(
        method="POST",
        path=f"{_ONE}/action",
        action="add_host",
        handler=add_host,
        rule=_RULE + "add_host",
        body=s.wrapped("add_host", _HOST),
        response=_SHOWN,
    ),
    Route(
        method="POST",
        path=f"{_ONE}/action",
        action="remove_host",
        handler=remove_host,
        rule=_RULE + "remove_host",
        body=s.wrapped("remove_host", _HOST),
        response=_SHOWN,
    ),
    Route(
        method="POST",
        path=f"{_ONE}/action",
        action="set_metadata",
        handler=set_metadata,
        rule=_RULE + "set_metadata",
        body=s.wrapped("set_metadata", _METADATA),
        response=_SHOWN,
    ),
    Route(
        method="POST",
        path=f"{_ONE}/images",
        handler=cache_images,
        since=(2, 81),
        rule="compute:aggregates:images",
        body=_CACHE,
        status=202,
    ),
)
