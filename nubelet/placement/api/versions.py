"""The version document of placement."""

from __future__ import annotations

from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.microversions import text
from nubelet.kernel.http.routes import Route
from nubelet.placement.api.answers import answer
from nubelet.placement.versions import MICROVERSIONS


def versions(ctx: Context, request: Request) -> object:
    """The versions there are; needs no token."""
    return answer(
        ctx,
        {
            "versions": [
                {
                    "id": "v1.0",
                    "status": "CURRENT",
                    "min_version": text(MICROVERSIONS.minimum),
                    "max_version": text(MICROVERSIONS.maximum),
                    "links": [{"rel": "self", "href": ""}],
                }
            ]
        },
    )


ROUTES = (
    Route(
        method="GET", path="/", handler=versions, open=True, prefixed=False, summary="List versions"
    ),
)
