"""An object: bytes of any number under a name, with metadata.

Large objects, copies, versions, links and encryption are features around this (features/).
"""

from __future__ import annotations

import math
import mimetypes
import re
import time
from collections.abc import Iterator, Mapping

from nubelet.kernel.errors import (
    ApiError,
    BadRequest,
    Conflict,
    NotFound,
    PreconditionFailed,
    UnprocessableEntity,
)
from nubelet.kernel.http.bodies import ClientGone
from nubelet.kernel.http.messages import Response
from nubelet.object_store import limits
from nubelet.object_store.api import answers, conditions
from nubelet.object_store.call import Call, is_true
from nubelet.object_store.storage import (
    ContainerInfo,
    Metadata,
    Missing,
    OpenObject,
    Outdated,
    timestamps,
)
from nubelet.object_store.storage.metadata import (
    KEPT_HEADERS,
    SYSTEM_PREFIX,
    TRANSIENT_PREFIX,
    USER_PREFIX,
)

WRITE_BYTES = 1 << 20
READ_BYTES = 1 << 20
# Headers of a PUT by which features shape what is stored (call.notes): see put().
FINISH, ETAG_IS_AT, DATA_SIZE = "finish", "etag-is-at", "data-size"
# The timestamp of the data that a PUT expects to replace, as storage knows it.
EXPECTED = "expected"
# When the object shall expire (in seconds, or None), instead of what the headers say.
EXPIRY = "expiry"
# How long a value of metadata may be, where Swift's limit does not hold.
LONGEST_VALUE = "longest-value"
# Of a GET: the object is shown, expired or not.
THOUGH_EXPIRED = "though-expired"
TIMESTAMP = "x-timestamp"
_CHECKSUM = re.compile(r"[0-9a-fA-F]{32}")


def show(call: Call) -> Response:
    """GET the bytes, HEAD the metadata."""
    info = call.container_info()
    call.authorize(info.metadata.get("x-container-read", "") if info else "")
    opened = _open(call, info)
    metadata = opened.metadata
    headers = describe(metadata)
    etag = metadata.get(call.notes.get(ETAG_IS_AT, ""), metadata["etag"])
    modified = math.ceil(timestamps.seconds(metadata["x-timestamp"]))
    status = conditions.check(call.headers, etag, modified)
    kind = metadata.get("content-type") or "application/octet-stream"
    if status != 200:
        opened.close()
        headers.pop("Content-Length", None)
        return Response(status, None, headers, kind)
    if call.method == "HEAD":
        opened.close()
        return Response(200, None, headers, kind)
    wanted = conditions.wanted_range(call.headers, etag, modified)
    response = conditions.send(headers, wanted, opened.size, kind, opened.read, opened.close)
    body = response.body
    if isinstance(body, Iterator) and int(response.headers["Content-Length"]) <= READ_BYTES:
        response.body = b"".join(body)  # one piece need not be handed from thread to thread
    return response


def _open(call: Call, info: ContainerInfo | None, *, expired: bool = False) -> OpenObject:
    """The object; what has expired is as good as gone, unless `expired`."""
    if info is None:
        raise NotFound(message="The container does not exist.")
    try:
        opened = call.store.open_object(call.path, info.policy, newest=call.wants_newest)
    except Missing as missing:
        headers = {"X-Timestamp": missing.timestamp} if missing.timestamp else {}
        raise _not_found(headers) from None
    at = opened.metadata.get("x-delete-at")
    if not expired and at is not None and int(at) <= time.time() and not _opens_expired(call):
        opened.close()
        raise _not_found({})
    return opened


def _opens_expired(call: Call) -> bool:
    """May the caller see what has expired and is not removed yet (X-Open-Expired)?"""
    return call.notes.get(THOUGH_EXPIRED, False) or (
        is_true(call.headers.get("x-open-expired"))
        and call.is_owner
        and call.ctx.cloud.settings.object_store.open_expired
    )


def _not_found(headers: dict[str, str]) -> ApiError:
    return ApiError("The object does not exist.", status=404, title="Not Found", headers=headers)


def describe(metadata: Metadata) -> dict[str, str]:
    """The headers of an object; what features noted is in them too, the gateway takes it out."""
    headers = {
        "Content-Length": metadata["content-length"],
        "Etag": metadata["etag"],
        "Last-Modified": timestamps.http_date(metadata["x-timestamp"]),
        "X-Timestamp": metadata["x-timestamp"],
        "Accept-Ranges": "bytes",
    }
    for name, value in metadata.items():
        if name in KEPT_HEADERS or name.startswith((USER_PREFIX, SYSTEM_PREFIX, TRANSIENT_PREFIX)):
            headers[answers.title(name)] = value
    return headers


def kept(headers: Mapping[str, str]) -> Metadata:
    """What of a PUT's or POST's headers is kept with the object."""
    return {
        name: value
        for name, value in headers.items()
        if (name in KEPT_HEADERS and value)
        or name.startswith((SYSTEM_PREFIX, TRANSIENT_PREFIX, USER_PREFIX))
    }


def put(call: Call) -> Response:
    """Create or replace the object.

    Notes of features: FINISH is called as storage's `finish` after the checksum was found right.
    """
    info = call.container_info()
    call.authorize(info.metadata.get("x-container-write", "") if info else "")
    if info is None:
        raise NotFound(message="The container does not exist.")
    length = limits.body_length(call.headers)
    metadata = checked_metadata(call)
    replaced = "" if _only_if_absent(call) else call.notes.get(EXPECTED)
    if length is not None:
        metadata["content-length"] = str(length)
    expected = call.headers.get("etag", "").strip('"').lower()
    further = call.notes.get(FINISH)

    def finish(etag: str, size: int) -> Mapping[str, str]:
        if length is not None and size != length:
            raise ClientGone
        if expected and expected != etag:
            raise UnprocessableEntity("The MD5 of the body is not the ETag that was sent.")
        return further(etag, size) if further else {}

    timestamp = call.notes.get(TIMESTAMP) or timestamps.now()
    try:
        stored = call.store.put_object(
            call.path,
            info.policy,
            timestamp,
            metadata,
            _limited(call),
            finish=finish,
            expected=replaced,
        )
    except Outdated as outdated:
        return answers.done(202, {"X-Backend-Timestamp": outdated.newest})
    headers = {
        "Etag": stored.etag,
        "Last-Modified": timestamps.http_date(stored.timestamp),
        "X-Backend-Timestamp": stored.timestamp,
    }
    return Response(201, b"", headers, "text/html; charset=UTF-8")


def checked_metadata(call: Call) -> Metadata:
    """What a PUT keeps; raises BadRequest."""
    headers = call.headers
    _check_limits(call)
    metadata = kept(headers)
    metadata.pop("x-delete-at", None)
    if (at := _expiry(call)) is not None:
        metadata["x-delete-at"] = str(at)
    kind = headers.get("content-type", "")
    if not kind or is_true(headers.get("x-detect-content-type")):
        kind = mimetypes.guess_type(call.object)[0] or "application/octet-stream"
    if not limits.is_text(kind):
        raise BadRequest("Content-Type must be valid UTF-8")
    metadata["content-type"] = kind
    for name, value in metadata.items():
        if not limits.is_text(value):
            raise BadRequest(f"{answers.title(name)} must be valid UTF-8")
    return metadata


def _expiry(call: Call) -> int | None:
    """When the object shall expire. Raises BadRequest for a time that is over, but where a feature
    has looked before: a body may take longer than that."""
    if EXPIRY in call.notes:
        found: int | None = call.notes[EXPIRY]
        return found
    return limits.delete_at(call.headers)


def _check_limits(call: Call) -> None:
    longest = call.notes.get(LONGEST_VALUE, limits.MAX_META_VALUE_LENGTH)
    limits.check_metadata(call.headers, "object", longest)


def _only_if_absent(call: Call) -> bool:
    condition = call.headers.get("if-none-match")
    if condition is None:
        return False
    if condition.strip().strip('"') != "*":
        raise BadRequest("If-None-Match only supports *")
    return True


def _limited(call: Call) -> Iterator[bytes]:
    """The body, up to the largest size an object may have."""
    size = 0
    for piece in call.body(WRITE_BYTES):
        size += len(piece)
        if size > limits.MAX_FILE_SIZE:
            raise ApiError("Your request is too large.", status=413, title="Too Large")
        yield piece


def update(call: Call) -> Response:
    """Replace the metadata."""
    info = call.container_info()
    call.authorize(info.metadata.get("x-container-write", "") if info else "")
    _check_limits(call)
    at = _expiry(call)
    opened = _open(call, info)
    opened.close()
    assert info is not None
    metadata = kept(call.headers)
    for name in [name for name in metadata if name.startswith(SYSTEM_PREFIX)]:
        del metadata[name]
    metadata.pop("x-delete-at", None)
    if at is not None:
        metadata["x-delete-at"] = str(at)
    # A later POST may leave out what an earlier one changed: it stays.
    metadata["content-type"] = call.headers.get("content-type") or opened.metadata.get(
        "content-type", ""
    )
    for name, value in metadata.items():
        if not limits.is_text(value):
            raise BadRequest(f"{answers.title(name)} must be valid UTF-8")
    timestamp = call.notes.get(TIMESTAMP) or timestamps.now()
    try:
        call.store.post_object(call.path, info.policy, timestamp, metadata)
    except Missing:
        raise NotFound(message="The object does not exist.") from None
    except Outdated as outdated:
        raise _newer(outdated) from None
    return Response(202, b"", {}, "text/html; charset=UTF-8")


def _newer(outdated: Outdated) -> Conflict:
    return Conflict(f"What is stored is newer: of {outdated.newest}.")


def delete(call: Call) -> Response:
    """Delete the object."""
    info = call.container_info()
    call.authorize(info.metadata.get("x-container-write", "") if info else "")
    wanted = limits.if_delete_at(call.headers)
    expired = False
    try:
        opened = _open(call, info, expired=wanted is not None)
        opened.close()
        at = int(opened.metadata.get("x-delete-at", "0"))
        if wanted is not None and at != wanted:
            raise PreconditionFailed("X-If-Delete-At and X-Delete-At do not match")
    except ApiError as error:
        if info is None or error.status != 404:
            raise
        expired = True
    assert info is not None
    timestamp = call.notes.get(TIMESTAMP) or timestamps.now()
    try:
        call.store.delete_object(call.path, info.policy, timestamp)
    except Missing:
        raise NotFound(message="The object does not exist.") from None
    except Outdated as outdated:
        raise _newer(outdated) from None
    if expired:
        raise NotFound(message="The object does not exist.")
    return Response(204, None, {}, "text/html; charset=UTF-8")


METHODS = {"GET": show, "HEAD": show, "PUT": put, "POST": update, "DELETE": delete}
