"""Cross-origin requests (Fetch standard): which browsers' pages may call the APIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, COPY, OPTIONS"
_EXPOSED = (
    "X-Subject-Token, X-OpenStack-Request-ID, OpenStack-API-Version, Location, "
    "X-Compute-Request-Id, Content-Range"
)


def is_preflight(headers: Mapping[str, str]) -> bool:
    """An OPTIONS request by which a browser asks for permission."""
    return "origin" in headers and "access-control-request-method" in headers


def headers(request: Mapping[str, str], allowed: Sequence[str]) -> dict[str, str]:
    """The headers that allow the request's origin; none for an origin that is not listed."""
    origin = request.get("origin")
    if not origin or not allowed or (origin not in allowed and "*" not in allowed):
        return {}
    answer = {
        "Access-Control-Allow-Origin": origin,
        "Vary": "Origin",
        "Access-Control-Expose-Headers": _EXPOSED,
    }
    if "access-control-request-method" in request:
        answer["Access-Control-Allow-Methods"] = _METHODS
        answer["Access-Control-Allow-Headers"] = request.get(
            "access-control-request-headers", "X-Auth-Token, Content-Type, OpenStack-API-Version"
        )
        answer["Access-Control-Max-Age"] = "600"
    return answer
