"""Versions in a container of the user's own, as it was done first.

    X-Versions-Location: other    overwriting moves the old object there; DELETE brings it back
    X-History-Location: other     overwriting and deleting move it there; DELETE notes that too

An old object is called `<length of the name, 3 hex digits><name>/<its timestamp>` there.

In OpenStack: swift/common/middleware/versioned_writes/legacy.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from nubelet.kernel.errors import ApiError, BadRequest, PreconditionFailed
from nubelet.kernel.http.messages import Response
from nubelet.object_store.api import objects
from nubelet.object_store.call import Call, Proceed, header, is_true, pieces
from nubelet.object_store.features import archived_parts
from nubelet.object_store.features.version_names import DELETE_MARKER, ENABLED, shown_etags
from nubelet.object_store.storage import (
    OVERRIDE_ETAG,
    ContainerInfo,
    Listing,
    Missing,
    ObjectEntry,
    ObjectPath,
    Storage,
    timestamps,
)

_STACK, _HISTORY = "x-versions-location", "x-history-location"
# A note: this is what a user asks for, though whether they may was decided before.
KEEPS_OLD = "keeps-old"
CAPABILITY: Mapping[str, Any] = {"allowed_flags": [_STACK, _HISTORY]}
_NOT_KEPT = ("etag", "last-modified", "x-timestamp", "accept-ranges", "content-length")


def history(call: Call, proceed: Proceed) -> Response:
    """Move what is replaced, bring back what was moved."""
    if not call.container:
        return proceed(call)
    if not call.object:
        if call.method in ("PUT", "POST"):
            _check(call)
        return proceed(call)
    if call.method not in ("PUT", "DELETE"):
        return proceed(call)
    if call.authority is None and not call.notes.get(KEEPS_OLD):  # a feature, for itself
        return proceed(call)
    info = call.container_info()
    container = location(info) if info else ""
    if info is None or not container:
        return proceed(call)
    call.authorize(info.metadata.get("x-container-write", ""))
    if call.method == "PUT":
        _move(call, proceed, container)
        return proceed(call)
    if _STACK in info.metadata:
        return _bring_back(call, proceed, container)
    _move(call, proceed, container)
    _note_delete(call, proceed, container)
    return proceed(call)


def location(info: ContainerInfo) -> str:
    """The container that old objects of this one are moved to; empty: they are not kept so."""
    return unquote(info.metadata.get(_STACK) or info.metadata.get(_HISTORY) or "")


def keeps_all(info: ContainerInfo) -> bool:
    """Does what is deleted go to the other container too, and nothing come back from there?"""
    return bool(location(info)) and _STACK not in info.metadata


def archived(store: Storage, info: ContainerInfo, name: str) -> Iterator[ObjectEntry]:
    """The old objects of a name in the other container, page by page; notes of deletes are left
    out."""
    container, marker = location(info), ""
    while container:
        listing = Listing(prefix=_prefix(name), marker=marker)
        try:
            found = store.list_objects(info.account, container, listing)
        except Missing:
            return
        for each in found:
            if isinstance(each, ObjectEntry) and each.content_type != DELETE_MARKER:
                yield each
        if len(found) < listing.limit:
            return
        marker = found[-1].name


def _check(call: Call) -> None:
    asked = [name for name in (_STACK, _HISTORY) if call.headers.get(name)]
    if len(asked) == 2:
        raise BadRequest("Only one of X-Versions-Location or X-History-Location may be specified")
    for name in asked:
        container = unquote(call.headers[name])
        if not container or "/" in container or "\0" in container:
            raise PreconditionFailed(f"{name.title()} must be the name of a container.")
        info = call.container_info()
        if info is not None and info.metadata.get(ENABLED) == "true":
            raise BadRequest("The container keeps versions in another style.")
        other = _HISTORY if name == _STACK else _STACK
        call.headers[other] = ""
        call.headers[name] = quote(container)


def _name(call: Call, stamp: str) -> str:
    return f"{_prefix(call.object)}{stamp}"


def _prefix(name: str) -> str:
    return f"{len(name.encode()):03x}{name}/"


def _move(call: Call, proceed: Proceed, container: str) -> None:
    """Copy the object that is there to the other container, large objects as manifests."""
    if call.container_info(call.account, container) is None:
        raise PreconditionFailed("The container of the versions does not exist.")
    get = call.own("GET", query={"multipart-manifest": "get", "symlink": "get"})
    try:
        found = proceed(get)
    except ApiError as error:
        if error.status == 404:
            return
        raise
    to = ObjectPath(call.account, container, _name(call, _stamp(found)))
    upload_id = header(found, archived_parts.MADE_BY)
    if upload_id and is_true(header(found, "X-Static-Large-Object")):  # else it has no parts
        manifest = b"".join(pieces(found))
        archived_parts.note(call.store, call.path, upload_id, manifest, to)
        found.body = manifest
    _copy(call, proceed, found, to)


def _stamp(found: Response) -> str:
    return header(found, "X-Timestamp") or timestamps.now()


def _copy(
    call: Call,
    proceed: Proceed,
    found: Response,
    to: ObjectPath,
    expected: timestamps.Timestamp | None = None,
) -> None:
    headers = {
        name.lower(): value
        for name, value in found.headers.items()
        if name.lower() not in _NOT_KEPT
    }
    headers["content-type"] = found.content_type or "application/octet-stream"
    headers["content-length"] = header(found, "Content-Length") or "0"
    body = pieces(found)
    put = call.own("PUT", headers=headers, body=lambda size: body).at(to)
    shown = shown_etags(found)

    def finish(own: str, size: int) -> Mapping[str, str]:
        return {OVERRIDE_ETAG: f"{own}{shown}"} if shown else {}

    put.notes |= {objects.EXPECTED: expected, objects.FINISH: finish}
    proceed(put)


def _note_delete(call: Call, proceed: Proceed, container: str) -> None:
    proceed(
        call.own(
            "PUT",
            headers={"content-length": "0", "content-type": DELETE_MARKER},
            container=container,
            object=_name(call, timestamps.now()),
        )
    )


def _bring_back(call: Call, proceed: Proceed, container: str) -> Response:
    """Replace the object by its newest version, which is removed there; without one, delete."""
    listing = Listing(limit=2, prefix=_prefix(call.object), reverse=True)
    try:
        entries = call.store.list_objects(call.account, container, listing)
    except Missing:
        entries = []
    newest = [each for each in entries if isinstance(each, ObjectEntry)]
    if not newest:
        return proceed(call)
    if newest[0].content_type == DELETE_MARKER:
        if _is_there(call, proceed):
            return proceed(call)  # the marker says what is right again then
        proceed(call.own("DELETE").at(ObjectPath(call.account, container, newest[0].name)))
        newest = newest[1:]
    if newest and newest[0].content_type != DELETE_MARKER:
        version = ObjectPath(call.account, container, newest[0].name)
        get = call.own("GET", query={"multipart-manifest": "get", "symlink": "get"})
        expected = call.notes.get(objects.EXPECTED)
        _copy(call, proceed, proceed(get.at(version)), call.path, expected)
        proceed(call.own("DELETE").at(version))
    return Response(204, None, {}, "text/html; charset=UTF-8")


def _is_there(call: Call, proceed: Proceed) -> bool:
    try:
        proceed(call.own("HEAD", query={"symlink": "get"}))
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True
