"""Which versions of the identity API there are: `GET /identity`, `GET /identity/v3`."""

from __future__ import annotations

from typing import Any

from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route

# The newest version of the API, and when it was published.
VERSION, UPDATED = "v3.14", "2020-04-07T00:00:00Z"


def list_versions(ctx: Context, request: Request) -> object:
    """Show all versions of the identity API."""
    return Response(300, {"versions": {"values": [_version(request.base_url)]}})


def show_version(ctx: Context, request: Request) -> object:
    """Show version 3 of the identity API."""
    return {"version": _version(request.base_url.removesuffix("/v3"))}


def _version(base_url: str) -> dict[str, Any]:
    return {
        "id": VERSION,
        "status": "stable",
        "updated": UPDATED,
        "links": [{"rel": "self", "href": f"{base_url}/v3/"}],
        "media-types": [
            {"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}
        ],
    }


ROUTES = (
    Route(method="GET", path="/", handler=list_versions, open=True, prefixed=False, status=300),
    Route(method="GET", path="/", handler=show_version, open=True),
)
