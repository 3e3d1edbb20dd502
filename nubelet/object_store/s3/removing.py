"""Keys deleted: by a delete marker, or a version for good; what the current version is then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from nubelet.kernel.errors import ApiError, Conflict, PreconditionFailed
from nubelet.object_store.api import objects as swift_objects
from nubelet.object_store.call import header
from nubelet.object_store.features import history, object_lock
from nubelet.object_store.features.taking import take
from nubelet.object_store.features.version_names import DELETE_MARKER, IS_NULL
from nubelet.object_store.features.version_names import NULL as NULL_MARK
from nubelet.object_store.features.versions import TAKES, UNKEPT
from nubelet.object_store.s3 import locks, parts, preconditions, rules, versions
from nubelet.object_store.s3.asked import Asked
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.s3.versions import NULL, Version
from nubelet.object_store.storage import OVERRIDE_ETAG, timestamps
from nubelet.object_store.storage.timestamps import Timestamp

_FEW = 10


def remove(
    asked: Asked,
    key: str,
    version: str,
    said: Mapping[str, str],
    shares: parts.Shares | None = None,
) -> dict[str, str]:
    """Delete a key or a version of it, with its parts, if what is `said` of the key holds; headers
    that tell of it. shares: where several are deleted one after another."""
    at = replace(asked, key=key, query={"versionId": version} if version else {})
    seen = preconditions.check(at, said)
    if not version:
        parts.require_writer(at)
        return _delete(at, seen)
    state = versions.state(at.store, at.account, at.bucket)
    asked.bucket_info()
    rules.decide(at, at.call("DELETE", query={"version-id": version}), "")
    told = {"x-amz-version-id": version}
    try:
        found = versions.resolve(at.store, at.path, version)
        if state:
            return told | remove_version(at, found, shares=shares)
        # Where versions were never kept there is the null version, and no other.
        return told | (_plain(at, seen, moves=True) if found == NULL else {})
    except ApiError as error:
        if error.status != 404:
            raise
        return told


def expire(at: Asked, seen: Timestamp | None) -> dict[str, str]:
    """The key's time has come: delete it as it is now (None), or as it was written then; headers
    that tell of it. Raises PreconditionFailed where it has changed."""
    return _delete(at, seen, moves=False)


def _delete(at: Asked, seen: Timestamp | None, *, moves: bool = True) -> dict[str, str]:
    """The same, after it was decided that the caller may. moves: the bucket's container of old
    objects gets or gives one (features/history.py)."""
    state = versions.state(at.store, at.account, at.bucket)
    is_asked = moves and bool(seen)  # a condition, by whom one shall win
    if state == "true":
        return _mark(at, seen, takes=is_asked)
    if state:
        return _suspended(at, seen, takes=is_asked)
    return _plain(at, seen, moves=moves)


def remove_version(
    at: Asked,
    version: str,
    *,
    unless_current: bool = False,
    shares: parts.Shares | None = None,
) -> dict[str, str]:
    """Delete a version (as the store calls it) for good, with its parts; raises AccessDenied where
    it is locked, PreconditionFailed where it has become the current one. shares: where
    several are deleted one after another."""
    record = locks.release(at, version)
    told = _version(at, version, unless_current, shares)
    if record is not None:
        object_lock.forget(at.store, record)
    return told


def headers_of(marker: Version) -> dict[str, str]:
    """What an answer tells of a delete marker."""
    return {
        "x-amz-version-id": NULL if marker.is_null else marker.id,
        "x-amz-delete-marker": "true",
    }


@contextmanager
def telling_of_marker(asked: Asked) -> Iterator[None]:
    """The refusal to show a key whose current version is a delete marker tells of the marker."""
    try:
        yield
    except S3Error as error:
        if error.s3_code == "NoSuchKey" and "versionId" not in asked.query:
            newest = next(versions.of_key(asked.store, asked.path, 1), None)
            if newest is not None and newest.is_marker:
                error.headers |= headers_of(newest)
        raise


def remove_nulls(asked: Asked, since: Timestamp) -> None:
    """The null version that was written then has taken the place of those that are hidden."""
    for each in versions.of_key(asked.store, asked.path):
        if each.is_null and each.id < since:
            _drop(asked, each.id)


def _mark(at: Asked, seen: Timestamp | None, *, takes: bool) -> dict[str, str]:
    """Versions are kept: the key gets a delete marker."""
    call = at.call("DELETE")
    call.notes |= {swift_objects.EXPECTED: seen, TAKES: takes}
    with _of_one():
        response = at.ask(call)
    marker = header(response, "X-Object-Version-Id") or ""
    return headers_of(Version(marker, is_null=False, is_marker=True))


def _plain(at: Asked, seen: Timestamp | None, *, moves: bool) -> dict[str, str]:
    """No versions were ever kept: the key goes; with conditions, as it was `seen`."""
    call = parts.decided(at.call("DELETE"))
    call.notes[history.KEEPS_OLD] = moves
    takes = moves and bool(seen) and not history.location(at.bucket_info())
    if seen is not None:
        call.notes |= {
            swift_objects.TIMESTAMP: timestamps.after(seen),
            swift_objects.EXPECTED: seen,
        }
    # What is moved to the archive keeps its parts, also where a listing does not tell of it yet.
    keeps = moves and history.keeps_all(at.bucket_info())
    with parts.losing(at, at.key, "", [] if keeps else parts.behind(at, {})):
        if takes:
            call.notes[swift_objects.TIMESTAMP] = _take(at, seen or "")
        try:
            at.ask(call)
        except ApiError as error:
            if error.status == 409 and seen is not None and not takes:
                raise S3Error("PreconditionFailed") from None
            if error.status not in ((404, 409) if takes else (404,)):
                raise
    return {}


def _take(at: Asked, seen: Timestamp) -> Timestamp:
    """Empty the key's name, if it holds what was seen; when its deletion is to be dated."""
    with _of_one():
        return take(at.store, at.path, at.bucket_info().policy, seen)


@contextmanager
def _of_one() -> Iterator[None]:
    """What the store says of several who change what they saw, in S3's words."""
    try:
        yield
    except PreconditionFailed:
        raise S3Error("PreconditionFailed") from None
    except Conflict:
        raise S3Error("ConditionalRequestConflict") from None


def _suspended(at: Asked, seen: Timestamp | None, *, takes: bool) -> dict[str, str]:
    """Versions are not kept any more: a delete marker is the null version now."""
    there, now = versions.under_name(at.store, at.path), timestamps.now()
    if seen and there is None:  # somebody else deleted what it was asked of
        raise S3Error("PreconditionFailed")
    marker = parts.decided(
        at.call(
            "PUT",
            headers={"content-length": "0", "content-type": DELETE_MARKER, NULL_MARK: "true"},
        ).at(versions.place(at.path, now))
    )
    marker.reserved = True

    def finish(own: str, size: int) -> Mapping[str, str]:
        return {OVERRIDE_ETAG: f"{own}{IS_NULL}"}

    marker.notes |= {swift_objects.TIMESTAMP: now, swift_objects.FINISH: finish}
    at.ask(marker)
    then = now if seen is None else timestamps.after(seen)
    try:
        is_empty = there is None or _empty_name(at, there, then, seen if takes else None)
    except ApiError as error:
        if takes and error.status < 500:  # the name is as it was
            _drop(at, now)
        raise
    if not is_empty and seen is not None:
        _drop(at, now)
        raise S3Error("PreconditionFailed")
    remove_nulls(at, now)
    return headers_of(Version(now, is_null=True, is_marker=True))


def _version(
    at: Asked, version: str, unless_current: bool, shares: parts.Shares | None
) -> dict[str, str]:
    """Delete one version for good. The one before it becomes the current one first, so that there
    is no time at which there is none."""
    there, since = versions.named(at.store, at.path)
    newest = next(versions.of_key(at.store, at.path, 1), None)
    is_marker = newest is not None and newest.id == version and newest.is_marker
    is_current = version == there
    if is_current and unless_current:
        raise S3Error("PreconditionFailed")
    if there is None and newest is not None and newest.id == version:
        is_current, since = True, max(since, newest.id)
    # The change is dated right behind what it is about: whatever was written since is newer.
    then = timestamps.after(since)
    if is_current and not _restore(at, version, there, then) and there is not None:
        _empty_name(at, there, then)
    if version == NULL:
        remove_nulls(at, then)  # copies of it that a write left which was broken off
    else:
        is_marker = _drop(at, version, shares) or is_marker
    return {"x-amz-delete-marker": "true"} if is_marker else {}


def _restore(at: Asked, version: str, there: str | None, then: Timestamp) -> bool:
    """Let the key's name lead to the version before this one; False if none is to be seen."""
    # The one before is nearly always the first that is found.
    before = "" if version == NULL else version
    for each in versions.of_key(at.store, at.path, _FEW, before=before):
        if version == NULL and each.is_null:
            continue
        if each.is_marker:
            return False
        behind = parts.behind(at, {}) if there == NULL else []
        put = at.call("PUT", query={"version-id": each.id}, headers={"content-length": "0"})
        put.notes |= {swift_objects.TIMESTAMP: then, UNKEPT: True}
        try:
            with parts.losing(at, at.key, NULL, behind):
                at.ask(parts.decided(put))
        except ApiError as error:
            if error.status != 404:
                raise
            continue  # somebody deletes that one at the same time
        return True
    return False


def _empty_name(at: Asked, there: str, then: Timestamp, taken: Timestamp | None = None) -> bool:
    """The key's name leads to nothing, unless (False) something was written since `then`; the
    version that it led to stays, but for a null one. taken: only who gets what was written then
    may do it."""
    call = parts.decided(at.call("DELETE"))
    with parts.losing(at, at.key, NULL, parts.behind(at, {}) if there == NULL else []):
        if taken:
            then = _take(at, taken)
        call.notes |= {"versioned": True, swift_objects.TIMESTAMP: then}
        try:
            at.ask(call)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return error.status == 404 or bool(taken)
    return True


def _drop(at: Asked, version: str, shares: parts.Shares | None = None) -> bool:
    """Remove a hidden version that no name leads to, with its parts: was it a delete marker?"""
    place = versions.place(at.path, version)
    found = parts.decided(at.call("HEAD").at(place))
    found.reserved = True
    try:
        is_marker = at.ask(found).content_type == DELETE_MARKER
    except ApiError as error:
        if error.status != 404:
            raise
        return False
    query = {"version-id": version}
    lost = [] if is_marker else parts.behind(at, query)
    with parts.losing(at, at.key, version, lost, shares):
        call = parts.decided(at.call("DELETE").at(place))
        call.reserved = True
        at.ask(call)
    return is_marker
