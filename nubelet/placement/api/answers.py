"""What all answers of placement share: caching headers, links, and the ids in paths."""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate
from typing import Any

from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request, Response
from nubelet.placement.providers import Row

_SUBRESOURCES = (
    ("aggregates", (1, 1)),
    ("inventories", (1, 0)),
    ("usages", (1, 0)),
    ("traits", (1, 6)),
    ("allocations", (1, 11)),
)


def answer(
    ctx: Context, body: Any, *, status: int = 200, modified: Iterable[int] = (), location: str = ""
) -> Response:
    """An answer that says when its content last changed (from 1.15 on) and is never cached.

    modified: microseconds; none means now.
    """
    headers = {"Location": location} if location else {}
    if ctx.at_least(1, 15):
        headers["Last-Modified"] = formatdate(max(modified, default=clock.now()) / 1e6, usegmt=True)
        headers["Cache-Control"] = "no-cache"
    return Response(status, body, headers)


def provider_links(ctx: Context, request: Request, provider_id: str) -> list[dict[str, str]]:
    """The links of a provider at the asked version."""
    here = f"{request.base}/resource_providers/{provider_id}"
    return [
        {"rel": "self", "href": here},
        *(
            {"rel": name, "href": f"{here}/{name}"}
            for name, since in _SUBRESOURCES
            if ctx.version >= since
        ),
    ]


def provider_view(ctx: Context, request: Request, row: Row) -> dict[str, Any]:
    """A provider as shown."""
    shown = {
        "uuid": row.id,
        "name": row.name,
        "generation": row.generation,
        "links": provider_links(ctx, request, row.id),
    }
    if ctx.at_least(1, 14):
        shown["parent_provider_uuid"] = row.parent_id
        shown["root_provider_uuid"] = row.root_id
    return shown


def canonical(identifier: str) -> str:
    """The one spelling of a UUID: lower case, with dashes."""
    plain = identifier.replace("-", "").lower()
    return f"{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{plain[20:]}"
