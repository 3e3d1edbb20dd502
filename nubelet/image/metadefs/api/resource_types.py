"""Resource types, and the associations of namespaces with them."""

from __future__ import annotations

from nubelet.image.metadefs import namespaces, resource_types, views
from nubelet.image.metadefs.api.opening import NAMESPACE, open_namespace, read_body
from nubelet.image.metadefs.schemas import ASSOCIATION, ASSOCIATION_BODY, SERVED
from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route


def list_types(ctx: Context, request: Request) -> object:
    """List resource types."""
    with ctx.cloud.database.read() as tx:
        return {
            "resource_types": [views.resource_type(row) for row in resource_types.list_types(tx)]
        }


def list_associations(ctx: Context, request: Request) -> object:
    """List the associations of a namespace."""
    with ctx.cloud.database.read() as tx:
        namespace = open_namespace(ctx, tx, request)
        rows = resource_types.of_namespaces(tx, [namespace.id])[namespace.id]
    allowed = ctx.allows("get_metadef_resource_type", namespaces.target(namespace))
    return {"resource_type_associations": [views.association(row) for row in rows if allowed]}


def associate(ctx: Context, request: Request) -> object:
    """Associate a namespace with a resource type."""
    body = read_body(request)
    with ctx.cloud.database.write() as tx:
        namespace = open_namespace(ctx, tx, request)
        return views.association(resource_types.associate(tx, namespace.id, body))


def dissociate(ctx: Context, request: Request) -> object:
    """Remove the association of a namespace with a resource type."""
    name = request.params["name"]
    with ctx.cloud.database.write() as tx:
        namespace = open_namespace(ctx, tx, request)
        resource_types.find(tx, namespace, name)
        namespaces.require_unprotected(
            namespace, f"Metadata definition resource-type-association {name}"
        )
        resource_types.dissociate(tx, namespace, name)
    return None


_ALL = NAMESPACE + "/resource_types"
ROUTES = (
    Route(
        method="GET",
        path="/metadefs/resource_types",
        handler=list_types,
        rule="list_metadef_resource_types",
    ),
    Route(
        method="GET",
        path=_ALL,
        handler=list_associations,
        rule="list_metadef_resource_types",
        rule_needs_target=True,
        response=SERVED["resource_types"],
    ),
    Route(
        method="POST",
        path=_ALL,
        handler=associate,
        rule="add_metadef_resource_type_association",
        rule_needs_target=True,
        body=ASSOCIATION_BODY,
        response=ASSOCIATION,
        status=201,
    ),
    Route(
        method="DELETE",
        path=_ALL + "/{name}",
        handler=dissociate,
        rule="remove_metadef_resource_type_association",
        rule_needs_target=True,
        status=204,
    ),
)
