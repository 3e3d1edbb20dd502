"""`/flavors/{id}/os-extra_specs`: what a flavor asks of hosts and hypervisors.

API reference: https://docs.openstack.org/api-ref/compute/#flavors-extra-specs-flavors-os-flavor-extra-specs
"""

from __future__ import annotations

from typing import Any

from nubelet.compute import flavor_extra_specs, flavors
from nubelet.compute.api import schemas as s
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route

_RULE = "os_compute_api:os-flavor-extra-specs:"
_KEY = "^[a-zA-Z0-9-_:. ]{1,255}$"
_SPECS: s.Schema = {
    "type": "object",
    "additionalProperties": False,
    "patternProperties": {_KEY: {"type": ["string", "number"], "maxLength": 255}},
}
_ONE: s.Schema = {**_SPECS, "minProperties": 1, "maxProperties": 1}


def _as_text(ctx: Context, given: dict[str, Any]) -> dict[str, str]:
    """The specs as text; checked since 2.86."""
    specs = {key: value if isinstance(value, str) else str(value) for key, value in given.items()}
    if ctx.at_least(2, 86):
        for key, value in specs.items():
            flavor_extra_specs.validate(key, value)
    return specs


def list(ctx: Context, request: Request) -> object:
    """List the extra specs of a flavor."""
    with ctx.cloud.database.read() as tx:
        return {"extra_specs": flavors.find(ctx, tx, request.params["flavor_id"]).extra_specs}


def show(ctx: Context, request: Request) -> object:
    """Show one extra spec."""
    flavor_id, key = request.params["flavor_id"], request.params["key"]
    with ctx.cloud.database.read() as tx:
        specs = flavors.find(ctx, tx, flavor_id).extra_specs
    if key not in specs:
        raise NotFound(message=f"Flavor {flavor_id} has no extra specs with key {key}.")
    return {key: specs[key]}


def create(ctx: Context, request: Request) -> object:
    """Add extra specs, or give present ones other values."""
    specs = _as_text(ctx, request.body["extra_specs"])
    with ctx.cloud.database.write() as tx:
        row = flavors.find(ctx, tx, request.params["flavor_id"])
        flavors.set_extra_specs(tx, row.id, specs)
    return {"extra_specs": specs}


def update(ctx: Context, request: Request) -> object:
    """Give one extra spec a value; the body's key must be the path's."""
    key = request.params["key"]
    if key not in request.body:
        raise BadRequest(f"Request body and URI mismatch: {key} is not a key of the body.")
    specs = _as_text(ctx, request.body)
    with ctx.cloud.database.write() as tx:
        row = flavors.find(ctx, tx, request.params["flavor_id"])
        flavors.set_extra_specs(tx, row.id, specs)
    return specs


def delete(ctx: Context, request: Request) -> object:
    """Remove one extra spec."""
    with ctx.cloud.database.write() as tx:
        row = flavors.find(ctx, tx, request.params["flavor_id"])
        flavors.set_extra_specs(tx, row.id, {request.params["key"]: None})
    return None


_COLLECTION = "/flavors/{flavor_id}/os-extra_specs"
_ITEM = "/flavors/{flavor_id}/os-extra_specs/{key}"

ROUTES = (
    Route(
        method="GET",
        path=_COLLECTION,
        handler=list,
        rule=_RULE + "index",
        response=s.wrapped("extra_specs", _SPECS),
    ),
    Route(
        method="POST",
        path=_COLLECTION,
        handler=create,
        rule=_RULE + "create",
        body=s.wrapped("extra_specs", _SPECS),
        response=s.wrapped("extra_specs", _SPECS),
    ),
    Route(method="GET", path=_ITEM, handler=show, rule=_RULE + "show", response=_ONE),
    Route(
        method="PUT", path=_ITEM, handler=update, rule=_RULE + "update", body=_ONE, response=_ONE
    ),
    Route(method="DELETE", path=_ITEM, handler=delete, rule=_RULE + "delete"),
)
