"""Objects that are to be deleted in the background: the segments of large objects deleted with
`async=on`. Lists of them are objects of a hidden account, so that any storage can keep them.

In OpenStack: the expirer's queue, which swift/common/middleware/slo.py writes to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress

from nubelet.object_store.features import object_lock
from nubelet.object_store.storage import (
    Listing,
    Missing,
    ObjectEntry,
    ObjectPath,
    Outdated,
    Storage,
    timestamps,
)

_ACCOUNT, _CONTAINER = ".later_deletes", "lists"
_PAGE = 100


def note(store: Storage, paths: Sequence[ObjectPath]) -> None:
    """Have the objects deleted, as they are now: what is written later stays."""
    now = timestamps.now()
    policy = store.policies.default.index
    try:
        store.container(_ACCOUNT, _CONTAINER)
    except Missing:
        store.put_account(_ACCOUNT, now, {})
        store.put_container(_ACCOUNT, _CONTAINER, now, {}, policy)
    first = paths[0]
    at = ObjectPath(_ACCOUNT, _CONTAINER, f"{now}/{first.account}/{first.container}")
    store.put_object(at, policy, now, {}, iter((json.dumps(list(paths)).encode(),)))


def delete_noted(store: Storage) -> None:
    """Delete what is noted; the list goes last, so a run that is killed is done again."""
    try:
        page = store.list_objects(_ACCOUNT, _CONTAINER, Listing(limit=_PAGE))
    except Missing:
        return
    policy = store.policies.default.index
    for entry in page:
        if not isinstance(entry, ObjectEntry):
            continue
        at = ObjectPath(_ACCOUNT, _CONTAINER, entry.name)
        try:
            opened = store.open_object(at, policy)
        except Missing:
            continue
        try:
            paths = json.loads(b"".join(opened.read()))
        finally:
            opened.close()
        stamp = entry.name.partition("/")[0]
        for path in paths:
            _delete(store, ObjectPath(*path), stamp)
        with suppress(Missing, Outdated):
            store.delete_object(at, policy, timestamps.now())


def _delete(store: Storage, path: ObjectPath, stamp: str) -> None:
    with suppress(Missing, Outdated):
        if not object_lock.keeps(store, path):
            policy = store.container(path.account, path.container).policy
            store.delete_object(path, policy, stamp)
