"""Namespaces: list, create, show with all they hold, change, delete."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from nubelet.image.metadefs import contents, namespaces, resource_types, views
from nubelet.image.metadefs.api.opening import (
    NAMESPACE,
    NAMESPACES,
    check_visibility,
    open_namespace,
    read_body,
)
from nubelet.image.metadefs.model import metadef_object, metadef_property, metadef_tag, namespace
from nubelet.image.metadefs.schemas import NAMESPACE as SHOWN
from nubelet.image.metadefs.schemas import NAMESPACE_BODY, SERVED
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.collections import list_page, render
from nubelet.kernel.http.fields import Field, Resource
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route

_SORTABLE = (
    "namespace",
    "display_name",
    "description",
    "visibility",
    "protected",
    "owner",
    "created_at",
    "updated_at",
    "id",
)
_RESOURCE = Resource(
    "namespace",
    "namespaces",
    namespace,
    (Field(name=name, schema={}, sort=True) for name in _SORTABLE),
    marker="namespace",
)


def list_namespaces(ctx: Context, request: Request) -> object:
    """List namespaces with their resource types."""
    statement = sa.select(namespace).where(namespaces.visible(ctx))
    visibility = check_visibility(request)
    if visibility:
        statement = statement.where(namespace.c.visibility == visibility)
    types = [name for text in request.query.get("resource_types", ()) for name in text.split(",")]
    if any(types):
        statement = statement.where(resource_types.has_any(types))
    with ctx.cloud.database.read() as tx:
        page = list_page(
            ctx,
            tx,
            request,
            _RESOURCE,
            statement,
            filtered=False,
            max_limit=ctx.cloud.settings.limits.page_size,
            marker_scope=namespaces.visible(ctx),
        )
        associations = resource_types.of_namespaces(tx, [row.id for row in page.rows])
    shown = [views.namespace(row, associations[row.id]) for row in page.rows]
    answer = render(ctx, request, _RESOURCE, page, shown)
    answer["schema"] = "/v2/schemas/metadefs/namespaces"
    return answer


def create(ctx: Context, request: Request) -> object:
    """Create a namespace, with all that it shall hold."""
    body = read_body(request)
    owner = body.get("owner") or ctx.project_id
    ctx.authorize(target={"project_id": owner, "owner": owner, "visibility": "private"})
    with ctx.cloud.database.write() as tx:
        row = namespaces.create(ctx, tx, body)
        shown = _whole(tx, row, "")
    location = f"{request.base_url}{NAMESPACES}/{quote(row.namespace, safe=':')}"
    return Response(201, shown, {"Location": location})


def show(ctx: Context, request: Request) -> object:
    """Show a namespace and all that it holds; `resource_type` puts the prefix of that type before
    the names of properties."""
    with ctx.cloud.database.read() as tx:
        row = open_namespace(ctx, tx, request)
        for rule in (
            "get_metadef_objects",
            "list_metadef_resource_types",
            "get_metadef_properties",
            "get_metadef_tags",
        ):
            ctx.authorize(rule, namespaces.target(row))
        return _whole(tx, row, request.first("resource_type") or "")


def _whole(tx: Tx, row: Any, resource_type: str) -> dict[str, Any]:
    associations = resource_types.of_namespaces(tx, [row.id])[row.id]
    prefix = next((each.prefix or "" for each in associations if each.name == resource_type), "")
    objects, properties, tags = (
        contents.list_all(tx, table, row.id)
        for table in (metadef_object, metadef_property, metadef_tag)
    )
    shown = views.namespace(row, associations)
    if objects:
        shown["objects"] = [views.metadef_object(each, row.namespace, prefix) for each in objects]
    if properties:
        shown["properties"] = views.properties(properties, prefix)
    if tags:
        shown["tags"] = [{"name": each.name} for each in tags]
    return shown


def update(ctx: Context, request: Request) -> object:
    """Replace the attributes of a namespace."""
    body = read_body(request)
    with ctx.cloud.database.write() as tx:
        row = namespaces.update(ctx, tx, open_namespace(ctx, tx, request), body)
        associations = resource_types.of_namespaces(tx, [row.id])[row.id]
    return views.namespace(row, associations)


def delete(ctx: Context, request: Request) -> object:
    """Delete a namespace and all that it holds."""
    with ctx.cloud.database.write() as tx:
        namespaces.delete(tx, open_namespace(ctx, tx, request))
    return None


ROUTES = (
    Route(
        method="GET",
        path=NAMESPACES,
        handler=list_namespaces,
        rule="get_metadef_namespaces",
        response=SERVED["namespaces"],
    ),
    Route(
        method="POST",
        path=NAMESPACES,
        handler=create,
        rule="add_metadef_namespace",
        rule_needs_target=True,
        body=NAMESPACE_BODY,
        response=SHOWN,
        status=201,
    ),
    Route(
        method="GET",
        path=NAMESPACE,
        handler=show,
        rule="get_metadef_namespace",
        rule_needs_target=True,
        response=SHOWN,
    ),
    Route(
        method="PUT",
        path=NAMESPACE,
        handler=update,
        rule="modify_metadef_namespace",
        rule_needs_target=True,
        body=NAMESPACE_BODY,
        response=SHOWN,
    ),
    Route(
        method="DELETE",
        path=NAMESPACE,
        handler=delete,
        rule="delete_metadef_namespace",
        rule_needs_target=True,
        status=204,
    ),
)
