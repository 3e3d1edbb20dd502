"""`/flavors`: list, show, create, describe, delete.

API reference: https://docs.openstack.org/api-ref/compute/#flavors
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.compute import flavors
from nubelet.compute.api import schemas as s
from nubelet.compute.api.links import Links
from nubelet.compute.model import flavor
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.collections import list_page, render
from nubelet.kernel.http.fields import Field, Resource, View, read_int, wide
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route, by_version

LIST_RULE = "os_compute_api:flavors:list"
SPECS_RULE = "os_compute_api:os-flavor-extra-specs:index"
_INTEGER: s.Schema = {"type": "integer"}
_TEXT: s.Schema = {"type": "string"}
_DESCRIPTION: s.Schema = {"type": ["string", "null"], "maxLength": 65535, "pattern": s.PRINTABLE}

# Sort keys are the columns of nova's table; fields that are only sorted by are not shown.
FLAVORS = Resource(
    "flavor",
    "flavors",
    flavor,
    (
        Field(name="flavorid", schema=_TEXT, show=False, column="id", sort=True),
        Field(name="id", schema=_TEXT, show=False, column="auto_id", sort=True),
        Field(name="name", schema=s.NAME, show=False, sort=True),
        Field(name="memory_mb", schema=_INTEGER, show=False, sort=True),
        Field(name="vcpus", schema=_INTEGER, show=False, sort=True),
        Field(name="root_gb", schema=_INTEGER, show=False, sort=True),
        Field(name="ephemeral_gb", schema=_INTEGER, show=False, sort=True),
        Field(name="swap", schema=_INTEGER, show=False, column="swap_mb", sort=True),
        Field(name="rxtx_factor", schema={"type": "number"}, show=False, sort=True),
        Field(name="is_public", schema=s.BOOLEAN, show=False, sort=True),
        Field(name="disabled", schema=s.BOOLEAN, show=False, sort=True),
        Field(name="description", schema=_DESCRIPTION, show=False, sort=True),
        Field(name="created_at", schema=_TEXT, show=False, sort=True),
        Field(name="updated_at", schema=_TEXT, show=False, sort=True),
    ),
)
# Keys of columns that nova has and this cloud does not need: accepted, the same for all flavors.
_CONSTANT_SORT_KEYS = ("vcpu_weight", "deleted", "deleted_at")

_PROPERTIES: s.Schema = {
    "name": s.NAME,
    "ram": s.integer(1),
    "vcpus": s.integer(1),
    "disk": s.integer(0),
    "id": {
        "type": ["string", "number", "null"],
        "minLength": 1,
        "maxLength": 255,
        "pattern": "^(?! )[a-zA-Z0-9. _-]+(?<! )$",
    },
    "OS-FLV-EXT-DATA:ephemeral": s.integer(0),
    "swap": s.integer(0),
    "os-flavor-access:is_public": s.BOOLEAN,
}
_RXTX: s.Schema = {
    "rxtx_factor": {
        "type": ["string", "number"],
        "pattern": r"^[0-9]+(\.[0-9]+)?$",
        "minimum": 0,
        "exclusiveMinimum": 0,
        "maximum": 3.40282e38,
    }
}
_REQUIRED = ("name", "ram", "vcpus", "disk")


def _create_body(properties: s.Schema) -> s.Schema:
    return s.wrapped("flavor", s.obj(properties, _REQUIRED))


_CREATE = by_version(
    ((2, 1), _create_body(_PROPERTIES | _RXTX)),
    ((2, 55), _create_body(_PROPERTIES | _RXTX | {"description": _DESCRIPTION})),
    ((2, 102), _create_body(_PROPERTIES | {"description": _DESCRIPTION})),
)
_UPDATE = s.wrapped("flavor", s.obj({"description": _DESCRIPTION}, ("description",)))
_QUERY_PARAMETERS: s.Schema = {
    **s.PAGING,
    "is_public": s.ANY_VALUES,
    "minRam": s.ANY_VALUES,
    "minDisk": s.ANY_VALUES,
    "sort_key": s.array(
        {"type": "string", "enum": [*(f.name for f in FLAVORS.fields), *_CONSTANT_SORT_KEYS]}
    ),
    "sort_dir": s.array({"type": "string", "enum": ["asc", "desc"]}),
}
_QUERY = by_version(
    ((2, 1), s.query(_QUERY_PARAMETERS)),
    ((2, 75), s.query(_QUERY_PARAMETERS, extra=False)),
    ((2, 102), s.query(_QUERY_PARAMETERS | {"name": s.ANY_VALUES}, extra=False)),
)


def view(ctx: Context, request: Request, row: Any) -> dict[str, Any]:
    """A flavor with its details."""
    return _viewer(ctx, request)(row)


def _viewer(ctx: Context, request: Request) -> View:
    links = Links(ctx, request, "flavors")
    no_swap: object = 0 if ctx.at_least(2, 75) else ""
    described, specified = ctx.at_least(2, 55), ctx.at_least(2, 61) and ctx.allows(SPECS_RULE)
    old = not ctx.at_least(2, 102)

    def make(row: Any) -> dict[str, Any]:
        shown = {
            "id": row.id,
            "name": row.name,
            "ram": row.memory_mb,
            "vcpus": row.vcpus,
            "disk": row.root_gb,
            "swap": row.swap_mb or no_swap,
            "OS-FLV-EXT-DATA:ephemeral": row.ephemeral_gb,
            "os-flavor-access:is_public": row.is_public,
            "links": links.of(row.id),
        }
        if old:
            shown["OS-FLV-DISABLED:disabled"] = row.disabled
            shown["rxtx_factor"] = row.rxtx_factor
        if described:
            shown["description"] = row.description
        if specified:
            shown["extra_specs"] = row.extra_specs
        return shown

    return make


def _brief(ctx: Context, request: Request) -> View:
    links, described = Links(ctx, request, "flavors"), ctx.at_least(2, 55)

    def make(row: Any) -> dict[str, Any]:
        shown = {"id": row.id, "name": row.name, "links": links.of(row.id)}
        if described:
            shown["description"] = row.description
        return shown

    return make


def _list(ctx: Context, request: Request, viewer: View) -> dict[str, Any]:
    with ctx.cloud.database.read() as tx:
        statement = sa.select(flavor).where(flavors.visible(ctx, _is_public(ctx, request)))
        for condition in _filters(ctx, request):
            statement = statement.where(condition)
        page = list_page(
            ctx,
            tx,
            _without_constants(request),
            FLAVORS,
            statement,
            default_sort=(("flavorid", "asc"),),
            filtered=False,
            max_limit=ctx.cloud.settings.limits.page_size,
        )
    return render(ctx, request, FLAVORS, page, [viewer(row) for row in page.rows])


def _is_public(ctx: Context, request: Request) -> bool | None:
    text = request.first("is_public")
    if not ctx.is_admin or text is None:
        return True
    if text.lower() == "none":
        return None
    if text.lower() in ("true", "1", "t", "yes", "y", "on"):
        return True
    if text.lower() in ("false", "0", "f", "no", "n", "off"):
        return False
    raise BadRequest(f"Invalid is_public filter [{text}]")


def _filters(ctx: Context, request: Request) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    for name, column in (("minRam", flavor.c.memory_mb), ("minDisk", flavor.c.root_gb)):
        text = request.first(name)
        if text is not None:
            found.append(wide(column) >= read_int(name, text))
    if ctx.at_least(2, 102) and "name" in request.query:
        found.append(flavor.c.name.in_(request.query["name"]))
    return found


def _without_constants(request: Request) -> Request:
    """The request without sort keys that cannot order anything."""
    keys = request.query.get("sort_key")
    if not keys or not set(keys) & set(_CONSTANT_SORT_KEYS):
        return request
    query = {
        name: values
        for name, values in request.query.items()
        if name not in ("sort_key", "sort_dir")
    }
    kept = [key for key in keys if key not in _CONSTANT_SORT_KEYS]
    if kept:
        query["sort_key"] = kept
    return Request(
        **{slot: getattr(request, slot) for slot in Request.__slots__} | {"query": query}
    )


def list_brief(ctx: Context, request: Request) -> object:
    """List flavors."""
    return _list(ctx, request, _brief(ctx, request))


def list_details(ctx: Context, request: Request) -> object:
    """List flavors with details."""
    return _list(ctx, request, _viewer(ctx, request))


def show(ctx: Context, request: Request) -> object:
    """Show a flavor."""
    with ctx.cloud.database.read() as tx:
        row = flavors.find(ctx, tx, request.params["flavor_id"])
    return {"flavor": view(ctx, request, row)}


def create(ctx: Context, request: Request) -> object:
    """Create a flavor."""
    given = request.body["flavor"]
    identifier = given.get("id")
    if isinstance(identifier, float) and identifier.is_integer():
        identifier = int(identifier)
    if identifier == "auto":  # what old clients send for "choose one"
        identifier = None
    with ctx.cloud.database.write() as tx:
        row = flavors.create(
            tx,
            name=given["name"],
            memory_mb=s.as_int("ram", given["ram"], 1),
            vcpus=s.as_int("vcpus", given["vcpus"], 1),
            root_gb=s.as_int("disk", given["disk"]),
            flavor_id=None if identifier is None else str(identifier),
            ephemeral_gb=s.as_int("ephemeral", given.get("OS-FLV-EXT-DATA:ephemeral", 0)),
            swap_mb=s.as_int("swap", given.get("swap", 0)),
            rxtx_factor=float(given.get("rxtx_factor", 1.0)),
            is_public=s.as_bool(given.get("os-flavor-access:is_public", True)),
            description=given.get("description"),
        )
    return {"flavor": view(ctx, request, row)}


def update(ctx: Context, request: Request) -> object:
    """Change a flavor's description."""
    with ctx.cloud.database.write() as tx:
        row = flavors.find(ctx, tx, request.params["flavor_id"])
        row = flavors.update(tx, row, request.body["flavor"]["description"])
    return {"flavor": view(ctx, request, row)}


def delete(ctx: Context, request: Request) -> object:
    """Delete a flavor."""
    with ctx.cloud.database.write() as tx:
        flavors.delete(tx, flavors.find(ctx, tx, request.params["flavor_id"]))
    return None


_SHOWN = s.answer("flavor", _PROPERTIES | {"swap": {"type": ["integer", "string"]}})
_LISTED: s.Schema = {"type": "object", "properties": {"flavors": {"type": "array"}}}

ROUTES = (
    Route(
        method="GET",
        path="/flavors",
        handler=list_brief,
        rule=LIST_RULE,
        query=_QUERY,
        response=_LISTED,
    ),
    Route(
        method="GET",
        path="/flavors/detail",
        handler=list_details,
        rule=LIST_RULE,
        query=_QUERY,
        response=_LISTED,
    ),
    Route(method="GET", path="/flavors/{flavor_id}", handler=show, rule=LIST_RULE, response=_SHOWN),
    Route(
        method="POST",
        path="/flavors",
        handler=create,
        body=_CREATE,
        response=_SHOWN,
        rule="os_compute_api:os-flavor-manage:create",
    ),
    Route(
        method="PUT",
        path="/flavors/{flavor_id}",
        handler=update,
        since=(2, 55),
        rule="os_compute_api:os-flavor-manage:update",
        body=_UPDATE,
        response=_SHOWN,
    ),
    Route(
        method="DELETE",
        path="/flavors/{flavor_id}",
        handler=delete,
        status=202,
        rule="os_compute_api:os-flavor-manage:delete",
    ),
)
