"""Versions that nobody may remove for a while: S3's object lock, kept whichever API is used.

    bucket     x-container-sysmeta-s3-lock: that it has object lock, and what new versions get
    version    x-object-sysmeta-s3-lock: what it got when it was written
               \\0locks\\0<bucket>/<key>\\0<version>: what was set since, which takes its place

A version is protected by a retention (until a time; of mode GOVERNANCE or COMPLIANCE) or a legal
hold (until it is taken off). Versions of such a bucket are always kept, so overwriting and deleting
a key removes none; what is left are requests that name a version, those that change how versions
are kept, and the parts that large keys are made of.

What was set since is an object of its own, written only if nobody wrote it meanwhile: no other
change of the version's metadata can lose it, of two changes one knows of the other, and a version
that is about to be deleted cannot be locked any more.

Account deletion ends all locks, as at Amazon. Reference: Amazon S3 User Guide, "Locking objects
with Object Lock". There is no such thing in OpenStack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec

from nubelet.decoding import prepared
from nubelet.kernel import clock
from nubelet.kernel.errors import Conflict, Forbidden, PreconditionFailed
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import PARTS, Call, Proceed, is_true
from nubelet.object_store.features import symlinks
from nubelet.object_store.features.version_names import (
    ENABLED,
    hidden,
    is_id,
    object_name,
    shown,
    version_id,
    visible,
)
from nubelet.object_store.features.version_names import NULL as NULL_MARK
from nubelet.object_store.storage import (
    ContainerInfo,
    Listing,
    Missing,
    ObjectPath,
    Outdated,
    Storage,
    timestamps,
)
from nubelet.object_store.storage.timestamps import Timestamp

GOVERNANCE, COMPLIANCE = "GOVERNANCE", "COMPLIANCE"
# A note: the lock that the request gives to what it writes.
GIVEN = "object-lock"
OF_BUCKET = "x-container-sysmeta-s3-lock"
_OF_VERSION = "x-object-sysmeta-s3-lock"
_RECORDS, _NULL = "\0locks\0", "null"
_EXPIRY = ("x-delete-at", "x-delete-after")
_DAY_SECONDS, _YEAR_DAYS = 86_400, 365
_TRIES = 10
# Longer than it takes to delete a version that nothing stands in the way of.
_GOING_SECONDS = 300.0


class Rule(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What new versions of a bucket get: a mode, and days or years; nothing without."""

    mode: str = ""
    days: int = 0
    years: int = 0


class Lock(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Of a version. until: seconds since 1970. is_held: None where nobody ever said. going: since
    when it is being deleted."""

    mode: str = ""
    until: float = 0.0
    is_held: bool | None = None
    going: float = 0.0

    @property
    def is_retained(self) -> bool:
        """Does the retention still protect it?"""
        return bool(self.mode) and self.until > _now()


class Locked(Forbidden):
    """The version is protected."""


def rule_of(info: ContainerInfo | None) -> Rule | None:
    """The rule of a bucket with object lock; None: it has none."""
    text = info.metadata.get(OF_BUCKET, "") if info else ""
    return msgspec.json.decode(text, type=prepared(Rule)) if text else None


def kept(value: Rule | Lock) -> str:
    """As it is kept."""
    return msgspec.json.encode(value).decode()


def read(text: str | bytes) -> Lock:
    """A lock as it is kept."""
    return msgspec.json.decode(text, type=prepared(Lock))


# --- Requests ---------------------------------------------------------------------------------


def object_lock(call: Call, proceed: Proceed) -> Response:
    """Give locks to new versions, and keep those that have one."""
    if not call.container:
        return proceed(call)
    info = call.container_info()
    rule = rule_of(info)
    if not call.object:
        return proceed(call) if rule is None else _container(call, proceed)
    if call.method == "PUT":
        call.headers.pop(_OF_VERSION, None)  # of what is copied
    if rule is not None and info is not None and call.method in ("PUT", "DELETE"):
        call.authorize(info.metadata.get("x-container-write", ""))
        if info.metadata.get(ENABLED) != "true":
            raise Conflict("Versions of a container with object lock must be kept: enable them.")
        if call.query.get("multipart-manifest") == "delete":
            raise Locked("Segments of objects with object lock are not deleted by a manifest.")
    is_post = call.method == "POST" and not call.notes.get("decided")
    if rule is not None and is_post and any(name in call.headers for name in _EXPIRY):
        call.authorize(info.metadata.get("x-container-write", "") if info else "")
        if keeps(call.store, call.path):
            raise Locked("What is protected by object lock does not expire.")
    version = call.query.get("version-id", "")
    if call.method == "DELETE" and (is_id(version) or version == _NULL):
        call.authorize()
        return _delete(call, proceed, version)
    if rule is not None and call.method == "PUT" and "version-id" not in call.query:
        lock = call.notes.get(GIVEN) or _default(rule)
        if lock is not None:
            call.headers[_OF_VERSION] = kept(lock)
    return proceed(call)


def _container(call: Call, proceed: Proceed) -> Response:
    wanted = call.headers.get("x-versions-enabled")
    if call.method in ("PUT", "POST") and wanted is not None and not is_true(wanted):
        call.authorize()
        raise Conflict("Versions of a container with object lock are always kept.")
    response = proceed(call)
    if call.method == "DELETE" and response.status < 300:
        _forget_all(call.store, call.account, call.container)
    return response


def _delete(call: Call, proceed: Proceed, version: str) -> Response:
    try:
        record = claim(call.store, call.path, version, lambda lock: False)
    except Missing:
        return proceed(call)  # it says so
    response = proceed(call)
    if record is not None:
        forget(call.store, record)
    return response


def _default(rule: Rule) -> Lock | None:
    if not rule.mode:
        return None
    mode, until = retention_of(rule)
    return Lock(mode=mode, until=until)


def retention_of(rule: Rule) -> tuple[str, float]:
    """Mode and end of what is written now."""
    days = rule.days or rule.years * _YEAR_DAYS
    return rule.mode, _now() + days * _DAY_SECONDS


def keep_parts(call: Call, proceed: Proceed) -> Response:
    """What large keys of a bucket with object lock are made of changes through S3 only."""
    is_change = call.object and not call.is_read
    if is_change and is_of_locked(call.container, lambda name: call.container_info("", name)):
        call.authorize()
        raise Locked("These are parts of a bucket with object lock.")
    return proceed(call)


def is_of_locked(container: str, look: Callable[[str], ContainerInfo | None]) -> bool:
    """Does a container hold the parts of a bucket with object lock?"""
    bucket = container.removesuffix(PARTS)
    if bucket == container:
        return False
    try:
        return rule_of(look(bucket)) is not None
    except Missing:
        return False


# --- Locks of versions ------------------------------------------------------------------------


def of_version(store: Storage, path: ObjectPath, version: str) -> Lock:
    """The lock of a version (an id, or `null` for what is under the name); raises Missing."""
    return _read(store, path, version)[0]


def change(store: Storage, path: ObjectPath, version: str, wanted: Callable[[Lock], Lock]) -> None:
    """Set another lock, made of the one there is. Raises Missing, Conflict and what `wanted`
    does."""

    def next_lock(lock: Lock) -> Lock:
        if lock.going > _now() - _GOING_SECONDS:
            raise Conflict("The version is being deleted.")
        found = wanted(lock)
        found.going = 0.0
        return found

    _write(store, path, version, next_lock)
    _read(store, path, version)  # still there?


def claim(
    store: Storage, path: ObjectPath, version: str, may_pass: Callable[[Lock], bool]
) -> ObjectPath | None:
    """The version is about to be deleted: nobody can lock it from now on. What to forget then.
    Raises Missing, Conflict, Locked. may_pass: may a retention of this lock be gone past?

    It is asked of the version whatever its bucket says, which may have been told to a device that
    has not heard yet that there is object lock.
    """

    def going(lock: Lock) -> Lock:
        if lock.is_held or (lock.is_retained and not may_pass(lock)):
            raise Locked("Access denied because the object is protected by object lock.")
        return msgspec.structs.replace(lock, going=_now())

    lock, _, written = _read(store, path, version)
    bucket = store.container(path.account, path.container, totals=False)
    if rule_of(bucket) is None and not written and lock == Lock():
        return None
    return _write(store, path, version, going)


def forget(store: Storage, record: ObjectPath) -> None:
    """The version is gone."""
    with suppress(Missing, Outdated):
        store.delete_object(record, _policy(store, record), timestamps.now())


def keeps(store: Storage, path: ObjectPath) -> bool:
    """Must what is under this name stay, though its time has come?"""

    def look(container: str) -> ContainerInfo:
        return store.container(path.account, container, totals=False)

    version = _NULL
    if bucket := shown(path.container):  # the name is that of a version
        version = version_id(path.object)
        path = path._replace(container=bucket, object=visible(path.object))
    try:
        if is_of_locked(path.container, look):
            return True
        if rule_of(look(path.container)) is None:
            return False
        lock = of_version(store, path, version)
    except Missing:
        return False
    return bool(lock.is_held) or lock.is_retained


def _read(store: Storage, path: ObjectPath, version: str) -> tuple[Lock, ObjectPath, Timestamp]:
    """The lock of a version; what was set since it was written is where, and of what time."""
    at = path
    if version != _NULL:
        at = path._replace(
            container=hidden(path.container), object=object_name(path.object, version)
        )
    metadata = _metadata(store, at)
    if metadata.get(symlinks.TARGET, "").startswith("%00"):
        raise Missing("object", path.object)  # a link to another version
    is_null = version == _NULL or metadata.get(NULL_MARK) == "true"
    record = _record(path, _NULL if is_null else version)
    try:
        opened = store.open_object(record, _policy(store, record), newest=True)
    except Missing:
        return read(metadata.get(_OF_VERSION, "") or "{}"), record, ""
    try:
        data = b"".join(opened.read())
        written = opened.metadata["x-backend-data-timestamp"]
    finally:
        opened.close()
    return read(data), record, written


def _write(
    store: Storage, path: ObjectPath, version: str, wanted: Callable[[Lock], Lock]
) -> ObjectPath:
    for _ in range(_TRIES):
        lock, record, written = _read(store, path, version)
        data = msgspec.json.encode(wanted(lock))
        metadata = {"content-type": "application/json", "content-length": str(len(data))}
        policy = _ensure(store, path, record)
        now = timestamps.now()
        with suppress(PreconditionFailed, Outdated):  # somebody else was quicker
            store.put_object(record, policy, now, metadata, [data], expected=written)
            return record
    raise Conflict("Others change the lock of the version. Please try again.")


def _metadata(store: Storage, path: ObjectPath) -> Mapping[str, str]:
    opened = store.open_object(path, _policy(store, path), newest=True)
    opened.close()
    return opened.metadata


def _record(path: ObjectPath, version: str) -> ObjectPath:
    return path._replace(container=_RECORDS + path.container, object=f"{path.object}\0{version}")


def _policy(store: Storage, path: ObjectPath) -> int:
    return store.container(path.account, path.container, totals=False).policy


def _ensure(store: Storage, path: ObjectPath, record: ObjectPath) -> int:
    """The container of what was set since is there; its policy."""
    with suppress(Missing):
        return _policy(store, record)
    policy = _policy(store, path)
    store.put_container(record.account, record.container, timestamps.now(), {}, policy)
    return policy


def _forget_all(store: Storage, account: str, container: str) -> None:
    """The bucket is gone."""
    records = _RECORDS + container
    with suppress(Missing):
        for entry in store.list_objects(account, records, Listing(reserved=True, limit=1_000_000)):
            at = ObjectPath(account, records, entry.name)
            with suppress(Missing, Outdated):
                store.delete_object(at, _policy(store, at), timestamps.now())
        with suppress(Conflict):
            store.delete_container(account, records, timestamps.now())


def _now() -> float:
    return clock.now() / 1e6
