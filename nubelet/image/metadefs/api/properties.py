"""Property definitions: name, type and limits of one property of a resource."""

from __future__ import annotations

from typing import Any

from nubelet.image.metadefs import contents, namespaces, resource_types, views
from nubelet.image.metadefs.api.contents import Contents
from nubelet.image.metadefs.api.opening import open_namespace
from nubelet.image.metadefs.model import metadef_property
from nubelet.image.metadefs.schemas import PROPERTY, PROPERTY_BODY, SERVED
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound
from nubelet.kernel.http.messages import Request


def list_properties(ctx: Context, request: Request) -> object:
    """List the property definitions of a namespace, by name."""
    with ctx.cloud.database.read() as tx:
        namespace = open_namespace(ctx, tx, request)
        rows = contents.list_all(tx, metadef_property, namespace.id)
    return {"properties": {row.name: views.metadef_property(row) for row in rows}}


def show(ctx: Context, request: Request) -> object:
    """Show a property definition; with `resource_type` the path has the name with the prefix of
    that type."""
    name, resource_type = request.params["property_name"], request.first("resource_type")
    with ctx.cloud.database.read() as tx:
        namespace = open_namespace(ctx, tx, request)
        if resource_type:
            ctx.authorize("get_metadef_resource_type", namespaces.target(namespace))
            name = _without_prefix(tx, namespace, resource_type, name)
        return views.metadef_property(contents.find(tx, metadef_property, namespace, name))


def _without_prefix(tx: Tx, namespace: Any, resource_type: str, name: str) -> str:
    prefix = resource_types.find(tx, namespace, resource_type).prefix or ""
    if not name.startswith(prefix):
        raise NotFound(
            message=f"Property {name} does not start with the expected resource type "
            f"association prefix of '{prefix}'."
        )
    return name[len(prefix) :]


PROPERTIES = Contents(
    table=metadef_property,
    noun="property",
    plural="properties",
    title="a property definition",
    titles="property definitions",
    view=lambda row, _: views.metadef_property(row),
    delete_rule="remove_metadef_property",
    body=PROPERTY_BODY,
    response=PROPERTY,
    list_response=SERVED["properties"],
)
ROUTES = PROPERTIES.routes(list_properties, show)
