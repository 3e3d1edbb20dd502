"""From a request to an answer: which account, container and object; which features; which words.

Names in the URL are taken from the raw path: `//` and `%2F` mean what they mean to Swift. What a
client may not say (names and headers of features) is refused or dropped here, and nothing that
belongs to features leaves.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

from nubelet.kernel.context import Context
from nubelet.kernel.errors import (
    ApiError,
    BadRequest,
    MethodNotAllowed,
)
from nubelet.kernel.http.dialects import Dialect
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.log import bound
from nubelet.object_store import limits, pipeline
from nubelet.object_store.call import Call
from nubelet.object_store.features.refusals import error_page, refusal
from nubelet.object_store.storage import Storage

MOUNT = "/object-store"
# Paths that Swift answers at the root of its host, where some of its clients look for them
# whatever the endpoint is; the answers' links then have no mount either.
ROOT_PATHS = ("/v1", "/v1.0", "/info", "/auth", "/endpoints", "/recon", "/crossdomain.xml")
_EXTRA = 32  # so much of X-Trans-Id-Extra is kept
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "COPY", "OPTIONS", "REPORT")
# Headers of browsers and proxies, which say nothing about objects.
_FREE = frozenset(("user-agent", "referer", "cookie", "via", "forwarded", "authorization"))
# What storage and features note for themselves; never from a client, never to one.
_INNER = (
    "x-account-sysmeta-",
    "x-container-sysmeta-",
    "x-object-sysmeta-",
    "x-object-transient-sysmeta-",
    "x-backend-",
)
# But for these, which features take from resellers.
_OF_RESELLERS = ("x-account-sysmeta-read-only", "x-account-sysmeta-global-write-ratelimit")


def serve(ctx: Context, request: Request) -> Response:
    """Answer a request. Raises nothing that a user caused."""
    trans_id = _trans_id(ctx, request)
    if request.base in ROOT_PATHS:
        request = _at_root(request)
    with bound(request_id=trans_id):  # what the client is told is what the log knows
        try:
            call = _call(ctx, request)
            response = pipeline.serve(call)
        except ApiError as error:
            response = refusal(error)
    headers = response.headers
    for name in [name for name in headers if name.lower().startswith(_INNER)]:
        del headers[name]
    if response.content_type is None and not any(
        name.lower() == "content-type" for name in headers
    ):
        response.content_type = "text/html; charset=UTF-8"
    headers["X-Trans-Id"] = headers["x-openstack-request-id"] = trans_id
    return response


def _at_root(request: Request) -> Request:
    """The request with the mount given back to its path."""
    return replace(
        request,
        base="",
        raw_path=request.base.encode() + request.raw_path,
        base_url=request.base_url.removesuffix(request.base),
    )


def _call(ctx: Context, request: Request) -> Call:
    if request.stalled:
        raise request.stalled
    if request.method not in METHODS:
        raise MethodNotAllowed(
            f"{request.method} is not allowed.", headers={"Allow": ", ".join(METHODS)}
        )
    return Call(
        ctx,
        ctx.cloud.get(Storage),  # type: ignore[type-abstract]
        request,
        request.method,
        account="",
        headers=_headers(request.headers),
        query={name: values[0] for name, values in request.query.items()},
        body=request.chunks,
    )


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of the client, as text, without what clients may not say."""
    found = {}
    for name, sent in headers.items():
        if name.startswith(_INNER) and name not in _OF_RESELLERS:
            continue
        value = sent if sent.isascii() else _as_text(name, sent)
        if "\0" in value:
            raise BadRequest(f"The header {name} contains NUL.")
        if len(value) > limits.MAX_HEADER_SIZE:
            raise BadRequest(f"Header value too long: {name[: limits.MAX_META_NAME_LENGTH]}")
        found[name] = value
    return found


def _as_text(name: str, sent: str) -> str:
    """A value as UTF-8, which whatever is kept or compared has to be; raises BadRequest."""
    data = sent.encode("latin-1")
    try:
        return data.decode()
    except UnicodeDecodeError:
        if name in _FREE:
            return data.decode("utf-8", "replace")
        raise BadRequest(f"The header {name} must be valid UTF-8.") from None


def _trans_id(ctx: Context, request: Request) -> str:
    """X-Trans-Id: what the client calls its request (X-Trans-Id-Extra) ends it."""
    digits = ctx.request_id.removeprefix("req-").replace("-", "")
    sent = request.headers.get("x-trans-id-extra", "").encode("latin-1")
    extra = quote(sent[:_EXTRA], safe="%/")
    return f"tx{digits[:21]}-{int(time.time()):010x}" + (f"-{extra}" if extra else "")


def _dialect_error(error: ApiError, status: int, request_id: str) -> object:
    return error_page(status, error.message)


DIALECT = Dialect(
    family="object-store",
    error=_dialect_error,
    pages="none",
    prefixes=("",),
    error_content_type="text/html; charset=UTF-8",
)
