"""Versions: what is overwritten or deleted can be had again.

    X-Versions-Enabled: true     on a container; each write of an object is a version with an id

Versions live in a hidden container; the object under its own name is a link to the newest. So a
write is: store the version, then turn the link. A crash between leaves the old object, and a
version nobody points to.

The older styles, with a container of the user's own, are in history.py.
In OpenStack: swift/common/middleware/versioned_writes/object_versioning.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote

from nubelet.kernel.errors import ApiError, BadRequest, Conflict, NotFound, PreconditionFailed
from nubelet.kernel.http.messages import Response
from nubelet.object_store import limits
from nubelet.object_store.api import objects
from nubelet.object_store.call import Call, Proceed, header, is_true, pieces
from nubelet.object_store.features import object_lock, symlinks, version_listings
from nubelet.object_store.features.refusals import refusal
from nubelet.object_store.features.taking import take
from nubelet.object_store.features.version_names import (
    DELETE_MARKER,
    ENABLED,
    IS_NULL,
    NULL,
    hidden,
    is_id,
    object_name,
    shown_etags,
    version_id,
)
from nubelet.object_store.storage import (
    OVERRIDE_ETAG,
    OVERRIDE_SHOWN_SIZE,
    ContainerInfo,
    ObjectPath,
    Outdated,
    timestamps,
)

# A note: what is under the name is being deleted, so that it becomes no version.
UNKEPT = "unkept"
# A note of a DELETE: of several who expect the same (objects.EXPECTED), one deletes it.
TAKES = "takes"
_EXPIRY = ("x-delete-at", "x-delete-after")
# Of an object that becomes a version: what the copy has of its own, and when its name goes.
_NOT_KEPT = ("etag", "last-modified", "x-timestamp", "accept-ranges", "x-delete-at")


def versions(call: Call, proceed: Proceed) -> Response:
    """Keep versions, and show, restore and delete them."""
    if not call.container:
        return proceed(call)
    if not call.object:
        return _container(call, proceed)
    info = call.container_info()
    state = info.metadata.get(ENABLED) if info else None
    wanted = call.query.get("version-id")
    if wanted is not None:
        return _one_version(call, proceed, wanted, state)
    if info is None or state is None or call.notes.get("versioned"):
        return proceed(call)
    if call.method in ("PUT", "DELETE") and state == "true":
        call.authorize(info.metadata.get("x-container-write", ""))
        if call.container_info(call.account, hidden(call.container)) is None:
            _ensure_hidden(call, proceed)  # who deleted the container died, or was refused
        return (_put if call.method == "PUT" else _delete)(call, proceed)
    if call.method == "POST":
        return _post(call, proceed, info)
    response = proceed(call)
    if call.is_read:
        followed = call.notes.get(symlinks.FOLLOWED)
        identifier = "null"
        if isinstance(followed, ObjectPath) and followed.container == hidden(call.container):
            identifier = version_id(followed.object)
            place = f"/v1{quote(str(call.path))}?version-id={identifier}"
            response.headers.setdefault("Content-Location", place)
        response.headers["X-Object-Version-Id"] = identifier
    return response


# --- Containers -------------------------------------------------------------------------------


def _container(call: Call, proceed: Proceed) -> Response:
    asked = call.headers.get("x-versions-enabled")
    if call.method in ("PUT", "POST") and asked is not None:
        return _switch(call, proceed, is_true(asked))
    info = call.container_info()
    state = info.metadata.get(ENABLED) if info else None
    if info is None or state is None:
        if call.is_read and "versions" in call.query and info is not None:
            return version_listings.show(call, with_versions=False)
        return proceed(call)
    if call.method == "DELETE":
        return _delete_container(call, proceed, info)
    if call.is_read:
        response = (
            version_listings.show(call, with_versions=True)
            if "versions" in call.query and call.method == "GET"
            else proceed(call)
        )
        response.headers["X-Versions-Enabled"] = "True" if state == "true" else "False"
        kept = call.container_info(call.account, hidden(call.container))
        used = int(header(response, "X-Container-Bytes-Used") or 0)
        response.headers["X-Container-Bytes-Used"] = str(used + (kept.bytes_used if kept else 0))
        return response
    return proceed(call)


def _switch(call: Call, proceed: Proceed, enable: bool) -> Response:
    info = call.container_info()
    noted = info.metadata if info else {}
    if enable and (
        "x-versions-location" in noted
        or "x-history-location" in noted
        or call.headers.get("x-versions-location")
        or call.headers.get("x-history-location")
    ):
        raise BadRequest(
            "Cannot enable object versioning on a container with another version style."
        )
    changed = call.sub(call.method, headers=dict(call.headers), query=call.query)
    if enable or ENABLED in noted:
        changed.headers[ENABLED] = "true" if enable else "false"
    if not enable or call.method == "POST":
        response = proceed(changed)
        if not enable:
            return response
    else:
        plain = dict(changed.headers)
        del plain[ENABLED]
        response = proceed(call.sub("PUT", headers=plain, query=call.query))
    _ensure_hidden(call, proceed)
    if call.method == "PUT":
        # The hidden container is there before anything relies on it.
        proceed(call.own("POST", headers={ENABLED: "true"}))
    return response


def _ensure_hidden(call: Call, proceed: Proceed) -> None:
    call.forget()
    info = call.container_info()
    if info is None:
        raise NotFound(message="The container does not exist.")
    policy = call.store.policies[info.policy].name
    make = call.own(
        "PUT",
        container=hidden(call.container),
        object="",
        headers={"x-storage-policy": policy},
    )
    with suppress(Conflict):  # left by a container of another policy that was deleted
        proceed(make)
    call.forget()


def _delete_container(call: Call, proceed: Proceed, info: ContainerInfo) -> Response:
    """That of the versions goes first: if it must stay, so does all that is said of versions."""
    kept = call.container_info(call.account, hidden(call.container))
    if kept is None:
        return proceed(call)
    call.authorize()
    if kept.object_count:
        raise Conflict("There was a conflict: the container still has versions of objects.")
    gone = call.own("DELETE", container=hidden(call.container))
    if info.object_count:  # it will be refused; meanwhile versions are kept
        response = proceed(call)
        proceed(gone)
        return response
    proceed(gone)
    try:
        return proceed(call)
    except ApiError:
        _ensure_hidden(call, proceed)
        raise


# --- Objects ----------------------------------------------------------------------------------


def _put(call: Call, proceed: Proceed) -> Response:
    expiry = limits.delete_at(call.headers)
    expected = call.notes.get(objects.EXPECTED)
    if "if-none-match" in call.headers:
        _refuse_if_there(call, proceed)
        expected = ""
    now = timestamps.now()
    target = ObjectPath(call.account, hidden(call.container), object_name(call.object, now))
    headers = _without(call.headers, "if-none-match", *_EXPIRY)
    put = call.own("PUT", headers=headers, query=call.query, body=call.body).at(target)
    put.notes = {**call.notes, objects.TIMESTAMP: now, objects.EXPECTED: None}
    stored = proceed(put)
    if stored.status != 201:
        return stored
    try:
        # Once the new one is here whole: a write that is refused changes nothing.
        _keep_unversioned(call, proceed)
        _turn(call, proceed, target, now, expiry, expected)
    except (PreconditionFailed, Conflict):
        proceed(call.own("DELETE").at(target))
        raise
    stored.headers["X-Object-Version-Id"] = now
    return stored


def _without(headers: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in names}


def _post(call: Call, proceed: Proceed, info: ContainerInfo) -> Response:
    """Metadata is the newest version's; when it expires, the name does: the version stays."""
    call.authorize(info.metadata.get("x-container-write", ""))
    expiry = limits.delete_at(call.headers)
    target = _current(call, proceed)
    if target is None:
        return proceed(call)
    headers = _without(call.headers, *_EXPIRY)
    notes = {name: value for name, value in call.notes.items() if name == objects.LONGEST_VALUE}
    posted = call.own("POST", headers=headers, query=call.query, notes=notes)
    response = proceed(posted.at(target))
    proceed(call.own("POST", headers=headers, notes={objects.EXPIRY: expiry}))
    response.headers["X-Object-Version-Id"] = version_id(target.object)
    return response


def _refuse_if_there(call: Call, proceed: Proceed) -> None:
    if call.headers["if-none-match"].strip('"') != "*":
        raise BadRequest("If-None-Match only supports *")
    try:
        proceed(call.own("HEAD", query={"symlink": "get"}))
    except ApiError as error:
        if error.status == 404:
            return
        raise
    raise ApiError("The object exists.", status=412, title="Precondition Failed")


def _turn(
    call: Call,
    proceed: Proceed,
    target: ObjectPath,
    timestamp: str,
    expiry: int | None = None,
    expected: str | None = None,
) -> None:
    """Let the object's name lead to a version. expiry: when the name goes. expected: of what is
    under the name until then."""
    version = proceed(call.own("HEAD", query={"symlink": "get"}).at(target))
    etag = (header(version, "Etag") or "").strip('"')
    size = header(version, "x-object-sysmeta-slo-size") or header(version, "Content-Length")
    noted = "; ".join((etag, *symlinks.shown_target(target))) + shown_etags(version)
    link = call.own(
        "PUT",
        headers={
            "content-length": "0",
            "content-type": version.content_type or "",
            symlinks.TARGET: quote(f"{target.container}/{target.object}"),
            symlinks.ACCOUNT: quote(target.account),
        },
    )

    def finish(own_etag: str, own_size: int) -> Mapping[str, str]:
        # A listing shows the version's ETag and size for the link.
        linked = f"{version_listings.LINKED}{version_id(target.object)}"
        return {OVERRIDE_ETAG: noted + linked, OVERRIDE_SHOWN_SIZE: size or "0"}

    link.notes = {
        objects.FINISH: finish,
        objects.TIMESTAMP: timestamp,
        objects.EXPECTED: expected,
        objects.EXPIRY: expiry,
    }
    proceed(link)


def _keep_unversioned(call: Call, proceed: Proceed) -> None:
    """An object from before versions were kept becomes one, before it is replaced; one that has
    expired does if it is locked."""
    query = {"symlink": "get", "multipart-manifest": "get"}
    get = call.own("GET", headers={"x-newest": "true"}, query=query)
    try:
        found = proceed(get)
    except ApiError as error:
        if error.status != 404:
            raise
        has_locks = object_lock.rule_of(call.container_info()) is not None
        if not has_locks or not object_lock.keeps(call.store, call.path):
            return
        get.notes[objects.THOUGH_EXPIRED] = True
        found = proceed(get)
    target = header(found, symlinks.TARGET) or ""
    if target.startswith("%00"):
        for _piece in pieces(found):
            pass
        return
    stamp = header(found, "X-Timestamp") or timestamps.now()
    headers = {
        name.lower(): value
        for name, value in found.headers.items()
        if name.lower() not in _NOT_KEPT
    }
    headers["content-type"] = found.content_type or ""
    headers[NULL] = "true"
    body = pieces(found)
    keep = call.own("PUT", headers=headers, body=lambda size: body).at(
        ObjectPath(call.account, hidden(call.container), object_name(call.object, stamp))
    )
    shown = shown_etags(found)

    def finish(own: str, size: int) -> Mapping[str, str]:
        return {OVERRIDE_ETAG: f"{own}{shown}{IS_NULL}"}

    keep.notes = {
        objects.TIMESTAMP: stamp,
        objects.FINISH: finish,
        objects.LONGEST_VALUE: limits.MAX_HEADER_SIZE,
    }
    proceed(keep)


def _delete(call: Call, proceed: Proceed) -> Response:
    """A version that says "deleted", then the name goes."""
    _keep_unversioned(call, proceed)
    now = timestamps.now()
    marker = call.own(
        "PUT",
        headers={"content-length": "0", "content-type": DELETE_MARKER},
        container=hidden(call.container),
        object=object_name(call.object, now),
    )
    marker.notes = {objects.TIMESTAMP: now}
    proceed(marker)
    # Of the marker's time, or of what is expected: what was written since is newer.
    expected, is_taken = call.notes.get(objects.EXPECTED), False
    then = now if expected is None else timestamps.after(expected)
    info = call.container_info()
    try:
        if expected and info is not None and call.notes.get(TAKES):
            then, is_taken = take(call.store, call.path, info.policy, expected), True
        response = proceed(call.own("DELETE", notes={objects.TIMESTAMP: then}))
    except (Conflict, PreconditionFailed) as error:
        if expected is not None and not is_taken:
            proceed(call.own("DELETE").at(marker.path))
            if isinstance(error, Outdated) or not call.notes.get(TAKES):
                raise PreconditionFailed("The object has changed meanwhile.") from None
            raise
        response = Response(204)
    except ApiError as error:
        if error.status != 404:
            raise
        response = refusal(error)
    response.headers["X-Object-Version-Id"] = now
    response.headers["X-Object-Current-Version-Id"] = now
    return response


# --- One version ------------------------------------------------------------------------------


def _one_version(call: Call, proceed: Proceed, wanted: str, state: str | None) -> Response:
    info = call.container_info()
    if info is None:
        call.authorize()
        raise NotFound(message="The container does not exist.")
    call.authorize()  # the container's lists are about what there is now
    if state is None and wanted != "null":
        raise BadRequest("version-aware operations require that the container is versioned")
    if wanted != "null" and not is_id(wanted):
        raise BadRequest("Invalid version parameter")
    if wanted == "null":
        return _null_version(call, proceed)
    path = ObjectPath(call.account, hidden(call.container), object_name(call.object, wanted))
    query = {name: value for name, value in call.query.items() if name != "version-id"}
    if call.method == "PUT":
        return _restore(call, proceed, path, wanted)
    if call.method not in ("GET", "HEAD", "DELETE"):
        raise BadRequest(f"{call.method} is not possible for a version.")
    at = call.own(call.method, headers=call.headers, query=query).at(path)
    is_current = _current(call, proceed) == path
    if call.method == "DELETE" and is_current:
        proceed(call.own("DELETE"))
    response = proceed(at)
    if call.is_read and response.content_type == DELETE_MARKER:
        raise ApiError(
            "The version says that the object was deleted.",
            status=404,
            title="Not Found",
            headers={"X-Object-Version-Id": wanted, "Content-Type": DELETE_MARKER},
        )
    response.headers["X-Object-Version-Id"] = wanted
    return response


def _current(call: Call, proceed: Proceed) -> ObjectPath | None:
    """The version that the name leads to."""
    head = call.own("HEAD")
    try:
        proceed(head)
    except ApiError as error:
        if error.status != 404:
            raise
    found = head.notes.get(symlinks.FOLLOWED)
    return found if isinstance(found, ObjectPath) else None


def _null_version(call: Call, proceed: Proceed) -> Response:
    """The object from before versions, as long as it is under its own name."""
    plain = call.own(
        call.method,
        headers=call.headers,
        query={name: value for name, value in call.query.items() if name != "version-id"},
        body=call.body,
    )
    if call.is_read and _current(call, proceed) is not None:
        raise NotFound(message="There is no such version.")
    if call.method not in ("GET", "HEAD", "DELETE"):
        raise BadRequest(f"{call.method} is not possible for a version.")
    response = proceed(plain)
    response.headers["X-Object-Version-Id"] = "null"
    return response


def _restore(call: Call, proceed: Proceed, path: ObjectPath, wanted: str) -> Response:
    if call.headers.get("content-length", "0") != "0" or "transfer-encoding" in call.headers:
        raise BadRequest("A PUT of a version takes no body.")
    version = proceed(call.own("HEAD").at(path))
    if version.content_type == DELETE_MARKER:
        raise NotFound(message="The version says that the object was deleted.")
    if not call.notes.get(UNKEPT):
        _keep_unversioned(call, proceed)
    _turn(call, proceed, path, call.notes.get(objects.TIMESTAMP) or timestamps.now())
    headers = {
        "Etag": header(version, "Etag") or "",
        "Last-Modified": header(version, "Last-Modified") or "",
        "X-Object-Version-Id": wanted,
    }
    return Response(201, b"", headers, "text/html; charset=UTF-8")
