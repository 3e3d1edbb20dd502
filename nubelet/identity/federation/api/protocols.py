"""`/v3/OS-FEDERATION/identity_providers/{idp_id}/protocols`: by which mapping a provider is read.

In OpenStack: keystone/api/os_federation.py.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity.api.resource import all_links, links
from nubelet.identity.federation import providers
from nubelet.identity.federation.api.resource import PREFIX, check_id, route
from nubelet.identity.federation.model import protocol
from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request

_MAPPING_ID = {"type": "string", "minLength": 1, "maxLength": 64}
_ATTRIBUTE = {"type": "string", "maxLength": 64}
_ATTRIBUTE_OR_NULL = {**_ATTRIBUTE, "type": ["string", "null"]}
_LINKS = {"type": "object"}


def _body(attribute: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["protocol"],
        "additionalProperties": False,
        "properties": {
            "protocol": {
                "type": "object",
                "required": ["mapping_id"],
                "additionalProperties": False,
                "properties": {"mapping_id": _MAPPING_ID, "remote_id_attribute": attribute},
            }
        },
    }


_ITEM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "mapping_id": _MAPPING_ID,
        "remote_id_attribute": _ATTRIBUTE,
        "links": _LINKS,
    },
}
_SHOWN = {"type": "object", "properties": {"protocol": _ITEM}}
_LISTED_ITEM = {
    **_ITEM,
    "properties": {
        **_ITEM["properties"],
        "idp_id": {"type": "string"},
        "remote_id_attribute": {"type": ["string", "null"]},
    },
}
_LISTED = {
    "type": "object",
    "properties": {"protocols": {"type": "array", "items": _LISTED_ITEM}, "links": _LINKS},
}


def _view(ctx: Context, row: Any) -> dict[str, Any]:
    provider = f"{PREFIX}/identity_providers/{row.idp_id}"
    answer = {
        "id": row.id,
        "mapping_id": row.mapping_id,
        "links": {
            "self": links(ctx, f"{provider}/protocols/{row.id}")["self"],
            "identity_provider": links(ctx, provider)["self"],
        },
    }
    # A list shows it always, and the provider's id too (as upstream).
    if row.remote_id_attribute is not None:
        answer["remote_id_attribute"] = row.remote_id_attribute
    return answer


def list_all(ctx: Context, request: Request) -> object:
    """List the protocols of an identity provider."""
    idp_id = request.params["idp_id"]
    with ctx.cloud.database.read() as tx:
        providers.find(tx, idp_id)
        rows = tx.all(
            sa.select(protocol).where(protocol.c.idp_id == idp_id).order_by(protocol.c.id)
        )
    shown = [
        {
            **_view(ctx, row),
            "idp_id": row.idp_id,
            "remote_id_attribute": row.remote_id_attribute,
        }
        for row in rows
    ]
    return {"protocols": shown, "links": all_links(request)}


def create(ctx: Context, request: Request) -> object:
    """Add a protocol to an identity provider."""
    identifier = check_id("protocol_id", request.params["protocol_id"])
    with ctx.cloud.database.write() as tx:
        row = providers.create_protocol(
            ctx, tx, request.params["idp_id"], identifier, request.body["protocol"]
        )
    return {"protocol": _view(ctx, row)}


def show(ctx: Context, request: Request) -> object:
    """Show a protocol."""
    with ctx.cloud.database.read() as tx:
        row = providers.find_protocol(tx, request.params["idp_id"], request.params["protocol_id"])
    return {"protocol": _view(ctx, row)}


def update(ctx: Context, request: Request) -> object:
    """Read a protocol by another mapping."""
    idp_id, identifier = request.params["idp_id"], request.params["protocol_id"]
    with ctx.cloud.database.write() as tx:
        row = providers.update_protocol(ctx, tx, idp_id, identifier, request.body["protocol"])
    return {"protocol": _view(ctx, row)}


def delete(ctx: Context, request: Request) -> None:
    """Remove a protocol from an identity provider."""
    with ctx.cloud.database.write() as tx:
        providers.delete_protocol(ctx, tx, request.params["idp_id"], request.params["protocol_id"])


_ALL = "/identity_providers/{idp_id}/protocols"
_ONE = f"{_ALL}/{{protocol_id}}"
ROUTES = (
    route("GET", _ALL, list_all, "list_protocols", response=_LISTED),
    route(
        "PUT",
        _ONE,
        create,
        "create_protocol",
        status=201,
        body=_body(_ATTRIBUTE_OR_NULL),
        response=_SHOWN,
    ),
    route("GET", _ONE, show, "get_protocol", response=_SHOWN),
    route("PATCH", _ONE, update, "update_protocol", body=_body(_ATTRIBUTE), response=_SHOWN),
    route("DELETE", _ONE, delete, "delete_protocol", status=204),
)
