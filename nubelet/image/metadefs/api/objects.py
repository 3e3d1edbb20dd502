"""Objects: groups of property definitions that belong together."""

from __future__ import annotations

import sqlalchemy as sa

from nubelet.image.metadefs import views
from nubelet.image.metadefs.api.contents import Contents
from nubelet.image.metadefs.api.opening import check_visibility, open_namespace
from nubelet.image.metadefs.model import metadef_object
from nubelet.image.metadefs.schemas import OBJECT, OBJECT_BODY, SERVED
from nubelet.kernel.context import Context
from nubelet.kernel.http.collections import list_page, render
from nubelet.kernel.http.fields import Field, Resource
from nubelet.kernel.http.messages import Request

_RESOURCE = Resource(
    "object",
    "objects",
    metadef_object,
    (
        Field(name=name, schema={}, sort=True)
        for name in ("name", "description", "created_at", "updated_at", "id")
    ),
    marker="name",
)


def list_objects(ctx: Context, request: Request) -> object:
    """List the objects of a namespace."""
    check_visibility(request)
    with ctx.cloud.database.read() as tx:
        namespace = open_namespace(ctx, tx, request)
        inside = metadef_object.c.namespace_id == namespace.id
        page = list_page(
            ctx,
            tx,
            request,
            _RESOURCE,
            sa.select(metadef_object).where(inside),
            filtered=False,
            max_limit=ctx.cloud.settings.limits.page_size,
            marker_scope=inside,
        )
    shown = [views.metadef_object(row, namespace.namespace) for row in page.rows]
    answer = render(ctx, request, _RESOURCE, page, shown)
    answer["schema"] = "/v2/schemas/metadefs/objects"
    return answer


OBJECTS = Contents(
    table=metadef_object,
    noun="object",
    plural="objects",
    title="an object",
    titles="objects",
    view=views.metadef_object,
    delete_rule="delete_metadef_object",
    body=OBJECT_BODY,
    response=OBJECT,
    list_response=SERVED["objects"],
)
ROUTES = OBJECTS.routes(list_objects)
