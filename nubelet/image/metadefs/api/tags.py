"""Tag definitions: names that resources may be tagged with, one by one or many at once."""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.image.metadefs import contents, namespaces, views
from nubelet.image.metadefs.api.opening import (
    NAMESPACE,
    check_visibility,
    open_namespace,
    read_body,
)
from nubelet.image.metadefs.model import metadef_tag
from nubelet.image.metadefs.schemas import SERVED, TAG, TAG_BODY, TAGS_BODY
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.collections import list_page, render
from nubelet.kernel.http.fields import Field, Resource
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route

APPEND_HEADER = "x-openstack-append"
_RESOURCE = Resource(
    "tag",
    "tags",
    metadef_tag,
    (Field(name=name, schema={}, sort=True) for name in ("name", "created_at", "updated_at", "id")),
    marker="name",
)


def list_tags(ctx: Context, request: Request) -> object:
    """List the tags of a namespace."""
    check_visibility(request)
    with ctx.cloud.database.read() as tx:
        namespace = open_namespace(ctx, tx, request)
        inside = metadef_tag.c.namespace_id == namespace.id
        page = list_page(
            ctx,
            tx,
            request,
            _RESOURCE,
            sa.select(metadef_tag).where(inside),
            filtered=False,
            max_limit=ctx.cloud.settings.limits.page_size,
            marker_scope=inside,
        )
    answer = render(ctx, request, _RESOURCE, page, [{"name": row.name} for row in page.rows])
    answer["schema"] = "/v2/schemas/metadefs/tags"
    return answer


def create_many(ctx: Context, request: Request) -> object:
    """Create tags: instead of those there are, or beside them when X-Openstack-Append says so."""
    body = request.body
    if body is None:
        raise BadRequest("Body expected in request.")
    appends = request.headers.get(APPEND_HEADER, "").strip().lower() in ("1", "true", "yes", "on")
    with ctx.cloud.database.write() as tx:
        namespace = open_namespace(ctx, tx, request)
        if body["tags"] and not appends:
            contents.delete_all(tx, metadef_tag, namespace.id)
        contents.create(tx, metadef_tag, namespace.id, body["tags"])
    return {"tags": [{"name": tag["name"]} for tag in body["tags"]]}


def delete_all(ctx: Context, request: Request) -> object:
    """Delete all tags of a namespace."""
    with ctx.cloud.database.write() as tx:
        namespace = open_namespace(ctx, tx, request)
        namespaces.require_unprotected(namespace, f"Namespace {namespace.namespace}")
        contents.delete_all(tx, metadef_tag, namespace.id)
    return None


def create(ctx: Context, request: Request) -> object:
    """Create a tag."""
    name = request.params["tag_name"]
    if len(name) > 255:
        raise BadRequest("The name of a tag is at most 255 characters long.")
    with ctx.cloud.database.write() as tx:
        namespace = open_namespace(ctx, tx, request)
        contents.create(tx, metadef_tag, namespace.id, [{"name": name}])
        return views.tag(contents.find(tx, metadef_tag, namespace, name))


def show(ctx: Context, request: Request) -> object:
    """Show a tag."""
    with ctx.cloud.database.read() as tx:
        namespace = open_namespace(ctx, tx, request)
        return views.tag(contents.find(tx, metadef_tag, namespace, request.params["tag_name"]))


def update(ctx: Context, request: Request) -> object:
    """Rename a tag."""
    body, name = read_body(request), request.params["tag_name"]
    with ctx.cloud.database.write() as tx:
        namespace = open_namespace(ctx, tx, request)
        return views.tag(contents.replace(tx, metadef_tag, namespace, name, body))


def delete(ctx: Context, request: Request) -> object:
    """Delete a tag."""
    with ctx.cloud.database.write() as tx:
        namespace = open_namespace(ctx, tx, request)
        row = contents.find(tx, metadef_tag, namespace, request.params["tag_name"])
        namespaces.require_unprotected(namespace, f"Metadata definition tag {row.name}")
        tx.delete(metadef_tag, metadef_tag.c.id == row.id)
    return None


_ALL = NAMESPACE + "/tags"
_ONE = _ALL + "/{tag_name}"
ROUTES = (
    Route(
        method="GET",
        path=_ALL,
        handler=list_tags,
        rule="get_metadef_tags",
        rule_needs_target=True,
        response=SERVED["tags"],
    ),
    Route(
        method="POST",
        path=_ALL,
        handler=create_many,
        rule="add_metadef_tags",
        rule_needs_target=True,
        body=TAGS_BODY,
        status=201,
    ),
    Route(
        method="DELETE",
        path=_ALL,
        handler=delete_all,
        rule="delete_metadef_tags",
        rule_needs_target=True,
        status=204,
    ),
    Route(
        method="POST",
        path=_ONE,
        handler=create,
        rule="add_metadef_tag",
        rule_needs_target=True,
        response=TAG,
        status=201,
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=show,
        rule="get_metadef_tag",
        rule_needs_target=True,
        response=TAG,
    ),
    Route(
        method="PUT",
        path=_ONE,
        handler=update,
        rule="modify_metadef_tag",
        rule_needs_target=True,
        body=TAG_BODY,
        response=TAG,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=delete,
        rule="delete_metadef_tag",
        rule_needs_target=True,
        status=204,
    ),
)
