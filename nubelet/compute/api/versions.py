"""Which versions of the Compute API there are: `/compute`, `/compute/v2`, `/compute/v2.1`.

API reference: https://docs.openstack.org/api-ref/compute/#api-versions
"""

from __future__ import annotations

from typing import Any

from nubelet.compute.api.links import MOUNT
from nubelet.compute.versions import MAXIMUM, MINIMUM
from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.microversions import text
from nubelet.kernel.http.routes import Route

_UPDATED = {"v2.0": "2025-07-04T12:00:00Z", "v2.1": "2013-07-23T11:33:21Z"}


def _version(ctx: Context, identifier: str) -> dict[str, Any]:
    current = identifier == "v2.1"
    path = "v2.1" if current else "v2"
    return {
        "id": identifier,
        "status": "CURRENT" if current else "DEPRECATED",
        "version": text(MAXIMUM) if current else "",
        "min_version": text(MINIMUM) if current else "",
        "updated": _UPDATED[identifier],
        "links": [{"rel": "self", "href": f"{ctx.base_url}{MOUNT}/{path}/"}],
    }


def _shown(ctx: Context, identifier: str) -> dict[str, Any]:
    version = _version(ctx, identifier)
    number = identifier.removeprefix("v").removesuffix(".0")
    version["links"].append(
        {"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"}
    )
    version["media-types"] = [
        {
            "base": "application/json",
            "type": f"application/vnd.openstack.compute+json;version={number}",
        }
    ]
    return {"version": version}


def list(ctx: Context, request: Request) -> object:
    """List the versions of the Compute API."""
    return {"versions": [_version(ctx, "v2.0"), _version(ctx, "v2.1")]}


def show_v21(ctx: Context, request: Request) -> object:
    """Show version 2.1."""
    return _shown(ctx, "v2.1")


def show_v2(ctx: Context, request: Request) -> object:
    """Show version 2.0, which is 2.1 at its lowest microversion."""
    return _shown(ctx, "v2.0")


# Not prefixed: a prefix with a project's id would make a version of every unknown path.
ROUTES = (
    Route(method="GET", path="/", handler=list, open=True, prefixed=False),
    Route(method="GET", path="/v2.1", handler=show_v21, open=True, prefixed=False),
    Route(method="GET", path="/v2", handler=show_v2, open=True, prefixed=False),
)
