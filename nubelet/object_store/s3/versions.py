"""Versions as S3 has them, over those of the store (features/versions.py).

    null       the version from before versions were kept, or written while they are suspended: the
               object under its own name, or one of the hidden container that is marked so
    current    what the key's name leads to; else the newest, which says that the key was deleted

The store gives each version the time of its write as its id; S3's users know the null version by
`null` only. When the current version is deleted, the one before it becomes the current one; the
store would leave the name empty.

Reference: Amazon S3 User Guide, "Retaining multiple versions of objects with S3 Versioning".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from nubelet.object_store.features import symlinks
from nubelet.object_store.features.version_names import (
    DELETE_MARKER,
    ENABLED,
    IS_LARGE,
    IS_NULL,
    hidden,
    is_id,
    object_name,
    prefix_of,
    upload_of,
    version_id,
)
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage import Listing, Missing, ObjectEntry, ObjectPath, Storage
from nubelet.object_store.storage.timestamps import Timestamp

NULL = "null"
_PAGE = 1000
_OF_NOTHING = "0000000000.00000"


class Version(NamedTuple):
    """A version of the hidden container: its id there, and what it is. upload: where it is made of
    parts, the upload that made it; empty where that is not told."""

    id: str
    is_null: bool
    is_marker: bool
    is_large: bool = False
    upload: str = ""

    def may_name(self, ids: Collection[str]) -> bool:
        """Can it be made of parts that were sent for these uploads (none given: for any)? Of most
        a listing tells that they are not, so they need not be read."""
        return self.is_large and (not ids or not self.upload or self.upload in ids)


def state(store: Storage, account: str, bucket: str) -> str:
    """`true`: versions are kept; `false`: suspended; empty: they never were."""
    try:
        return store.container(account, bucket, totals=False).metadata.get(ENABLED, "")
    except Missing:
        return ""


def of_key(
    store: Storage, path: ObjectPath, page: int = _PAGE, *, before: str = ""
) -> Iterator[Version]:
    """The hidden versions of a key, the newest first; or those that are older than one."""
    container, marker = hidden(path.container), object_name(path.object, before) if before else ""
    while True:
        listing = Listing(limit=page, prefix=prefix_of(path.object), marker=marker, reserved=True)
        try:
            found = store.list_objects(path.account, container, listing)
        except Missing:
            return
        for entry in found:
            if isinstance(entry, ObjectEntry):
                yield Version(
                    version_id(entry.name),
                    IS_NULL in entry.etag,
                    entry.content_type == DELETE_MARKER,
                    IS_LARGE in entry.etag,
                    upload_of(entry.etag),
                )
        if len(found) < page:
            return
        marker = found[-1].name


class Named(NamedTuple):
    """What the key's name holds: `null` for an object of its own, else the id of the version that
    it leads to, None for nothing; and since when."""

    version: str | None
    since: Timestamp


def named(store: Storage, path: ObjectPath) -> Named:
    """What the key's name holds now."""
    try:
        policy = store.container(path.account, path.container, totals=False).policy
        opened = store.open_object(path, policy, newest=True)
    except Missing as missing:
        return Named(None, missing.timestamp)
    opened.close()
    target = opened.metadata.get(symlinks.TARGET, "")
    is_link = target.startswith("%00")
    version = version_id(target.replace("%00", "\0")) if is_link else NULL
    return Named(version, opened.metadata["x-backend-data-timestamp"])


def under_name(store: Storage, path: ObjectPath) -> str | None:
    """Of that, the version."""
    return named(store, path).version


def written_at(store: Storage, path: ObjectPath) -> Timestamp:
    """When what is under the key's name was written (a link, where versions are kept); empty:
    there is nothing."""
    version, since = named(store, path)
    return since if version else ""


def resolve(store: Storage, path: ObjectPath, version: str) -> str:
    """The store's id of a version that a request names; raises InvalidArgument.

    Where there is no null version it is one that nothing has: whether there is one is told to those
    who may know, when the store looks for it.
    """
    if version != NULL:
        if not is_id(version):
            raise S3Error("InvalidArgument", "Invalid version id specified.")
        return version
    if not state(store, path.account, path.container) or under_name(store, path) == NULL:
        return NULL
    for each in of_key(store, path):
        if each.is_null:
            return each.id
    return _OF_NOTHING


def query(store: Storage, path: ObjectPath, version: str) -> dict[str, str]:
    """The store's query for a version that a request names (empty: the current one)."""
    return {"version-id": resolve(store, path, version)} if version else {}


def place(path: ObjectPath, version: str) -> ObjectPath:
    """Where a version of the hidden container is."""
    return ObjectPath(path.account, hidden(path.container), object_name(path.object, version))
