"""What deleted accounts left: their objects, then their containers, are deleted.

In OpenStack: swift/account/reaper.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from nubelet.kernel.errors import ApiError
from nubelet.object_store.storage import (
    Listing,
    Missing,
    ObjectEntry,
    ObjectPath,
    Storage,
    timestamps,
)

_PAGE = 1000


@dataclass
class Reaped:
    """How much was deleted."""

    objects: int = 0
    containers: int = 0


def empty(store: Storage, account: str, container: str, reaped: Reaped) -> None:
    """Delete a page of a container's objects, and the container when that was all. What cannot be
    deleted now is left to the next time."""
    try:
        policy = store.container(account, container).policy
        entries = store.list_objects(account, container, Listing(limit=_PAGE, reserved=True))
        for entry in entries:
            if isinstance(entry, ObjectEntry):
                _delete(store, ObjectPath(account, container, entry.name), policy)
                reaped.objects += 1
        if len(entries) < _PAGE:
            store.delete_container(account, container, timestamps.now())
            reaped.containers += 1
    except ApiError:
        return


def _delete(store: Storage, path: ObjectPath, policy: int) -> None:
    try:
        store.delete_object(path, policy, timestamps.now())
    except Missing:
        # Only the listing knows it.
        store.remove_entry(path.account, path.container, path.object, timestamps.now())
