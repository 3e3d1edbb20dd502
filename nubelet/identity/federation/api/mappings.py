"""`/v3/OS-FEDERATION/mappings`: the rules by which what a provider says becomes a user of ours.

In OpenStack: keystone/api/os_federation.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity.api.resource import list_answer
from nubelet.identity.federation import mappings, rules
from nubelet.identity.federation.api.resource import FederationResource, check_id, route
from nubelet.identity.federation.model import mapping
from nubelet.kernel.context import Context
from nubelet.kernel.http.fields import Field
from nubelet.kernel.http.messages import Request

MAPPINGS = FederationResource(
    "mapping",
    "mappings",
    mapping,
    (
        Field(name="id", schema={"type": "string"}, sort=True),
        Field(name="rules", schema={"type": "array"}),
        Field(name="schema_version", schema={"type": "string"}),
    ),
)
# The rules themselves are checked by the schema of their version, with better messages.
_BODY = {
    "type": "object",
    "required": ["mapping"],
    "properties": {"mapping": {"type": "object"}},
}


def _read(request: Request) -> Mapping[str, Any]:
    return rules.check(request.body["mapping"])


def list_all(ctx: Context, request: Request) -> object:
    """List mappings."""
    with ctx.cloud.database.read() as tx:
        return list_answer(ctx, tx, request, MAPPINGS, sa.select(mapping))


def create(ctx: Context, request: Request) -> object:
    """Create a mapping under the id in the path."""
    identifier, values = check_id("mapping_id", request.params["mapping_id"]), _read(request)
    with ctx.cloud.database.write() as tx:
        return {"mapping": MAPPINGS.view(ctx)(mappings.create(ctx, tx, identifier, values))}


def show(ctx: Context, request: Request) -> object:
    """Show a mapping."""
    with ctx.cloud.database.read() as tx:
        return {"mapping": MAPPINGS.view(ctx)(mappings.find(tx, request.params["mapping_id"]))}


def update(ctx: Context, request: Request) -> object:
    """Replace the rules of a mapping."""
    identifier, values = request.params["mapping_id"], _read(request)
    with ctx.cloud.database.write() as tx:
        return {"mapping": MAPPINGS.view(ctx)(mappings.update(ctx, tx, identifier, values))}


def delete(ctx: Context, request: Request) -> None:
    """Delete a mapping."""
    with ctx.cloud.database.write() as tx:
        mappings.delete(ctx, tx, request.params["mapping_id"])


_ONE = "/mappings/{mapping_id}"
ROUTES = (
    route("GET", "/mappings", list_all, "list_mappings", response=MAPPINGS.list_schema),
    route(
        "PUT",
        _ONE,
        create,
        "create_mapping",
        status=201,
        body=_BODY,
        response=MAPPINGS.show_schema,
    ),
    route("GET", _ONE, show, "get_mapping", response=MAPPINGS.show_schema),
    route("PATCH", _ONE, update, "update_mapping", body=_BODY, response=MAPPINGS.show_schema),
    route("DELETE", _ONE, delete, "delete_mapping", status=204),
)
