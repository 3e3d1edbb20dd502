"""What most handlers do first: find the namespace of the path and ask its rule."""

from __future__ import annotations

from typing import Any

from nubelet.image.metadefs import namespaces
from nubelet.image.metadefs.schemas import READ_ONLY
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Forbidden
from nubelet.kernel.http.messages import Request

NAMESPACES = "/metadefs/namespaces"
NAMESPACE = NAMESPACES + "/{namespace_name}"


def open_namespace(ctx: Context, tx: Tx, request: Request) -> Any:
    """The namespace of the path, when the caller may see it and the route's rule allows what is
    asked; raises NotFound, Forbidden."""
    row = namespaces.find(ctx, tx, request.params["namespace_name"])
    ctx.authorize(target=namespaces.target(row))
    return row


def read_body(request: Request) -> Any:
    """The body; raises Forbidden when it sets what only the service sets."""
    if request.body is None:
        raise BadRequest("Body expected in request.")
    for name in READ_ONLY:
        if name in request.body:
            raise Forbidden(f"Attribute '{name}' is read-only.")
    return request.body


def check_visibility(request: Request) -> str | None:
    """The visibility that a list is asked for; raises BadRequest for one there is not."""
    visibility = request.first("visibility")
    if visibility and visibility not in ("public", "private"):
        raise BadRequest(f"Invalid visibility value: {visibility}")
    return visibility or None
