"""Whose bucket a name means: the caller's own, else that of the project which took the name first.

Buckets are containers, and each project has its own. So that a name alone leads to a bucket, as
S3's users expect it, making a bucket takes its name in a register; the name is free again when
the bucket is gone. A container that was made through Swift is found by `project:bucket`, or by its
name once S3's access to it was set.

The register is a container of an account that no client can name: an object per bucket.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import NamedTuple

from nubelet.kernel.errors import PreconditionFailed
from nubelet.object_store.storage import Missing, ObjectPath, Outdated, Storage
from nubelet.object_store.storage import timestamps as times

ACCOUNT, CONTAINER = ".s3_buckets", "names"


def owner_of(store: Storage, bucket: str) -> str | None:
    """The account whose bucket has this name, as the register says and as it is still so."""
    taken = _taken(store, bucket, newest=False)
    if taken is None or not _is_there(store, taken.account, bucket):
        return None
    return taken.account


def take(store: Storage, bucket: str, account: str) -> bool:
    """Take the name for an account's bucket; False: it is another's."""
    taken = _taken(store, bucket)
    if taken is not None and _is_there(store, taken.account, bucket):
        return taken.account == account
    now = times.now()
    try:
        policy = _policy(store)
    except Missing:
        store.put_account(ACCOUNT, now, {})
        store.put_container(ACCOUNT, CONTAINER, now, {})
        policy = _policy(store)
    if taken is not None:  # what is left of a bucket that was deleted through Swift
        _remove(store, bucket, taken)
    body = json.dumps(account).encode()
    metadata = {"content-type": "application/json", "content-length": str(len(body))}
    try:
        store.put_object(_path(bucket), policy, times.now(), metadata, [body], expected="")
    except (PreconditionFailed, Outdated):
        return owner_of(store, bucket) == account
    return True


def free(store: Storage, bucket: str, account: str) -> None:
    """The account's bucket is gone. The name stays taken where it is another account's: anybody can
    have a container that is called like somebody's bucket."""
    taken = _taken(store, bucket)
    if taken is not None and taken.account == account:
        _remove(store, bucket, taken)


class _Taken(NamedTuple):
    """What the register says of a name, since when."""

    account: str
    since: times.Timestamp


def _taken(store: Storage, bucket: str, *, newest: bool = True) -> _Taken | None:
    try:
        opened = store.open_object(_path(bucket), _policy(store), newest=newest)
    except Missing:
        return None
    try:
        account = str(json.loads(b"".join(opened.read())))
    finally:
        opened.close()
    return _Taken(account, opened.metadata["x-backend-data-timestamp"])


def _is_there(store: Storage, account: str, bucket: str) -> bool:
    try:
        store.container(account, bucket)
    except Missing:
        return False
    return True


def _remove(store: Storage, bucket: str, taken: _Taken) -> None:
    """Remove an entry as it was read: not one that somebody wrote since."""
    with suppress(Missing, Outdated):
        store.delete_object(_path(bucket), _policy(store), times.after(taken.since))


def _path(bucket: str) -> ObjectPath:
    return ObjectPath(ACCOUNT, CONTAINER, bucket)


def _policy(store: Storage) -> int:
    return store.container(ACCOUNT, CONTAINER).policy
