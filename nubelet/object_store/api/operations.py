"""The operations on accounts, containers and objects as a table, for the OpenAPI page.

It is made of the tables that requests are dispatched by (dispatch.py), so the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from nubelet.kernel.http.routes import Handler, Route
from nubelet.object_store.api import accounts, containers, objects

_TEXT = {"type": "string"}
_PAGE = ("limit", "marker", "end_marker", "prefix", "delimiter", "reverse", "format")
_QUERIES: Mapping[str, tuple[str, ...]] = {
    "GET account": _PAGE,
    "GET container": (*_PAGE, "path", "versions", "version_marker"),
    "PUT account": ("extract-archive",),
    "PUT container": ("extract-archive",),
    "POST account": ("bulk-delete",),
    "GET object": ("multipart-manifest", "format", "part-number", "symlink", "version-id",
                   "temp_url_sig", "temp_url_expires", "temp_url_prefix", "temp_url_ip_range",
                   "filename", "inline"),
    "PUT object": ("multipart-manifest", "heartbeat", "version-id", "temp_url_sig",
                   "temp_url_expires", "temp_url_prefix"),
    "DELETE object": ("multipart-manifest", "async", "version-id"),
}  # fmt: skip
_STATUS = {"PUT": 201, "POST": 204, "DELETE": 204}
_OPEN = "access lists: who owns the account, and whom the container's lists name"


def _route(kind: str, path: str, method: str, handler: Any) -> Route:
    names = _QUERIES.get(f"{method} {kind}", ())
    return Route(
        method=method,
        path=path,
        handler=cast(Handler, handler),
        rule=_OPEN,
        status=202 if (method, kind) == ("POST", "object") else _STATUS.get(method, 200),
        query={"type": "object", "properties": dict.fromkeys(names, _TEXT)} if names else None,
        stream=kind == "object" and method == "PUT",
        summary=(handler.__doc__ or "").split("\n")[0],
    )


def _describe(call: Any) -> None:
    """What the store can do, and its limits."""


def _copy(call: Any) -> None:
    """Copy the object to where the header Destination says."""


OPERATIONS: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/info",
        handler=cast(Handler, _describe),
        open=True,
        summary=str(_describe.__doc__),
    ),
    *(
        _route(kind, path, method, handler)
        for kind, path, methods in (
            ("account", "/v1/{account}", accounts.METHODS),
            ("container", "/v1/{account}/{container}", containers.METHODS),
            ("object", "/v1/{account}/{container}/{object}", {**objects.METHODS, "COPY": _copy}),
        )
        for method, handler in methods.items()
    ),
)
