"""Copies: `COPY` with a Destination, or `PUT` with X-Copy-From.

A copy is a GET of the source whose body becomes that of a PUT; what is around it (large objects,
links, encryption, quotas) sees an ordinary GET and an ordinary PUT.

In OpenStack: swift/common/middleware/copy.py.
"""

from __future__ import annotations

import time
from urllib.parse import quote, unquote

from nubelet.kernel.errors import BadRequest, PreconditionFailed, TooLarge
from nubelet.kernel.http.messages import Response
from nubelet.object_store import limits
from nubelet.object_store.call import Call, Proceed, header, is_true, pieces, with_prefix
from nubelet.object_store.storage import ObjectPath
from nubelet.object_store.storage.metadata import KEPT_HEADERS, SYSTEM_PREFIX, USER_PREFIX

_CONDITIONS = (
    "range",
    "if-range",
    "x-open-expired",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "x-newest",
)
_OF_SOURCE = ("version-id", "part-number")  # parameters
_NOT_COPIED = ("x-static-large-object", "x-object-manifest")
# Sysmeta that says what the stored bytes are; the copy's bytes get their own.
_OF_THE_DATA = (
    "x-object-sysmeta-slo-",
    "x-object-sysmeta-container-update-override-",
    "x-object-sysmeta-crypto-",
    "x-object-sysmeta-symlink-",
    "x-object-sysmeta-versions-",
)


def copying(call: Call, proceed: Proceed) -> Response:
    """Make copies."""
    if call.object and call.method == "COPY":
        return _copy(_as_put(call), proceed, call.path)
    if call.object and call.method == "PUT" and "x-copy-from" in call.headers:
        account = unquote(call.headers.get("x-copy-from-account", "")) or call.account
        container, name = _pair(call.headers["x-copy-from"], "X-Copy-From")
        limits.check_names(account, container, name)
        return _copy(call, proceed, ObjectPath(account, container, name))
    return proceed(call)


def _as_put(call: Call) -> Call:
    if "destination" not in call.headers:
        raise PreconditionFailed("Destination header required")
    container, name = _pair(call.headers["destination"], "Destination")
    account = unquote(call.headers.get("destination-account", "")) or call.account
    limits.check_names(account, container, name)
    headers = {name: value for name, value in call.headers.items() if name != "content-length"}
    put = call.at(ObjectPath(account, container, name))
    put.method = "PUT"
    put.headers = {**headers, "content-length": "0"}
    return put


def _pair(text: str, name: str) -> tuple[str, str]:
    decoded = unquote(text).removeprefix("/")
    container, _, found = decoded.partition("/")
    if not container or not found or "\0" in decoded:
        raise PreconditionFailed(
            f"{name} header must be of the form <container name>/<object name>"
        )
    return container, found


def _copy(call: Call, proceed: Proceed, source: ObjectPath) -> Response:
    if call.headers.get("content-length", "0") != "0" or "transfer-encoding" in call.headers:
        raise BadRequest("Copy requests require a zero byte body")
    for name in ("x-copy-from-account", "destination-account"):
        if "/" in unquote(call.headers.get(name, "")):
            raise PreconditionFailed("Account name cannot contain slashes")
    get = call.sub(
        "GET",
        account=source.account,
        container=source.container,
        object=source.object,
        headers={name: call.headers[name] for name in _CONDITIONS if name in call.headers},
        query=_query_of_source(call),
    )
    found = proceed(get)
    if found.status not in (200, 206):
        return found
    length = header(found, "Content-Length")
    if length is not None and int(length) > limits.MAX_FILE_SIZE:
        raise TooLarge("The source is too large for one object.")
    put = _sink(call, found, length)
    response = proceed(put)
    if response.status < 300:
        response.headers["X-Copied-From"] = quote(f"{source.container}/{source.object}")
        response.headers["X-Copied-From-Account"] = quote(source.account)
        if modified := header(found, "Last-Modified"):
            response.headers["X-Copied-From-Last-Modified"] = modified
        if version := header(found, "X-Object-Version-Id"):
            response.headers["X-Copied-From-Version-Id"] = version
        for name, value in with_prefix(put.headers, USER_PREFIX, "x-delete-at").items():
            response.headers.setdefault(name.title(), value)
    return response


def _query_of_source(call: Call) -> dict[str, str]:
    query: dict[str, str] = {}
    for name in ("symlink", *_OF_SOURCE):
        if name in call.query:
            query[name] = call.query[name]
    if call.query.get("multipart-manifest") == "get":
        query |= {"multipart-manifest": "get", "format": "raw"}
    return query


def _sink(call: Call, found: Response, length: str | None) -> Call:
    """The PUT of the copy."""
    headers = {
        name: value
        for name, value in call.headers.items()
        if name not in _CONDITIONS
        and not name.startswith(("x-copy-from", "destination", "content-length"))
    }
    if length is None:
        headers["transfer-encoding"] = "chunked"
    else:
        headers["content-length"] = length
    is_fresh = is_true(call.headers.get("x-fresh-metadata"))
    source = {name.lower(): value for name, value in found.headers.items()}
    for name, value in source.items():
        if name.startswith(SYSTEM_PREFIX):
            if not name.startswith(_OF_THE_DATA):
                headers.setdefault(name, value)
        elif is_fresh or name in _NOT_COPIED:
            continue
        elif name == "x-delete-at":
            # Who may see what has expired (X-Open-Expired) copies it to save it.
            if "x-delete-after" not in headers and int(value) > time.time():
                headers.setdefault(name, value)
        elif name.startswith(USER_PREFIX) or name in KEPT_HEADERS:
            headers.setdefault(name, value)
    for name in ("x-symlink-target", "x-symlink-target-account", "x-symlink-target-etag"):
        if name in source:
            headers[name] = source[name]
    if not headers.get("content-type"):
        headers["content-type"] = source.get("content-type") or found.content_type or ""
    query = {name: value for name, value in call.query.items() if name not in _OF_SOURCE}
    if query.pop("multipart-manifest", "") == "get":
        if is_true(source.get("x-static-large-object")):
            query["multipart-manifest"] = "put"
        elif "x-object-manifest" in source:
            headers.setdefault("x-object-manifest", source["x-object-manifest"])
    elif found.status == 200 and not source.get("etag", '"').startswith('"'):
        headers.setdefault("etag", source["etag"])
    body = pieces(found)
    put = call.sub("PUT", headers=headers, query=query, body=lambda size: body)
    put.notes = call.notes
    return put
