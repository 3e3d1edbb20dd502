"""Which pages' scripts may use a container (Fetch standard), as its owner says.

    X-Container-Meta-Access-Control-Allow-Origin: http://page.example https://other.example
    X-Container-Meta-Access-Control-Max-Age, -Expose-Headers, -Allow-Headers

In OpenStack: swift/proxy/controllers/base.py cors_validation, OPTIONS.
"""

from __future__ import annotations

from nubelet.kernel.errors import ApiError, Unauthorized
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import Call, Proceed
from nubelet.object_store.features.refusals import refusal

_META = "x-container-meta-access-control-"
METHODS = "HEAD, GET, PUT, POST, COPY, OPTIONS, DELETE"
_SIMPLE = (
    "cache-control, content-language, content-type, expires, last-modified, pragma, etag, "
    "x-timestamp, x-trans-id, x-openstack-request-id"
)


def cors(call: Call, proceed: Proceed) -> Response:
    """Answer OPTIONS; tell browsers whose scripts may see the answer, errors too."""
    origin = call.headers.get("origin")
    if call.method == "OPTIONS":
        return _preflight(call, origin)
    if origin is None or not call.container:
        return proceed(call)
    try:
        response = proceed(call)
    except ApiError as error:
        response = refusal(error)
    allowed = _allowed(call, origin)
    if allowed:
        response.headers["Access-Control-Allow-Origin"] = allowed
        if allowed != "*":
            depends = response.headers.get("Vary")
            response.headers["Vary"] = f"{depends}, Origin" if depends else "Origin"
        response.headers["Access-Control-Expose-Headers"] = _exposed(call, response)
    return response


def _allowed(call: Call, origin: str) -> str | None:
    info = call.container_info()
    origins = (info.metadata.get(f"{_META}allow-origin", "") if info else "").split()
    if "*" in origins:
        return "*"
    return origin if origin in origins else None


def _exposed(call: Call, response: Response) -> str:
    info = call.container_info()
    more = (info.metadata.get(f"{_META}expose-headers", "") if info else "").replace(",", " ")
    meta = [name.lower() for name in response.headers if "-meta-" in name.lower()]
    return ", ".join([_SIMPLE, *meta, *more.split()])


def _preflight(call: Call, origin: str | None) -> Response:
    asked = call.headers.get("access-control-request-method")
    if origin is None:
        return Response(200, b"", {"Allow": METHODS}, "text/plain; charset=utf-8")
    allowed = _allowed(call, origin) if call.container else None
    if allowed is None or asked not in METHODS.split(", "):
        raise Unauthorized("The container does not allow this origin.", headers={"Allow": METHODS})
    info = call.container_info()
    metadata = info.metadata if info else {}
    headers = {
        "Allow": METHODS,
        "Access-Control-Allow-Origin": allowed,
        "Access-Control-Allow-Methods": METHODS,
    }
    if allowed != "*":
        headers["Vary"] = "Origin"
    if max_age := metadata.get(f"{_META}max-age"):
        headers["Access-Control-Max-Age"] = max_age
    wanted = call.headers.get("access-control-request-headers", "").replace(",", " ").split()
    wanted += metadata.get(f"{_META}allow-headers", "").replace(",", " ").split()
    if wanted:
        headers["Access-Control-Allow-Headers"] = ", ".join(dict.fromkeys(wanted))
    return Response(200, b"", headers, "text/plain; charset=utf-8")
