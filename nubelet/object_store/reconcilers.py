"""What is mended and finished without being asked.

`object-store-listings` finishes writes whose process was killed; `object-store-expiry` deletes
objects whose time has come; `object-store-reaper` those of deleted accounts;
`object-store-later-deletes` the segments of deleted large objects.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from nubelet.kernel.cloud import Cloud
from nubelet.kernel.errors import PreconditionFailed
from nubelet.kernel.reconcile import Reconciler
from nubelet.object_store.features import later_deletes, object_lock
from nubelet.object_store.reaping import Reaped, empty
from nubelet.object_store.storage import (
    EXPIRING_ACCOUNT,
    ContainerEntry,
    Listing,
    Missing,
    ObjectEntry,
    ObjectPath,
    Outdated,
    Storage,
    timestamps,
)
from nubelet.object_store.sync_sender import send_all

_THOROUGH_SECONDS = 3600.0


@runtime_checkable
class CatchesUp(Protocol):
    """Storage that finishes what killed processes left."""

    def catch_up(self, *, thorough: bool = False) -> None:
        """Finish it."""
        ...

    def left_of_accounts(self, delay_seconds: float) -> Iterator[tuple[str, str]]:
        """(account, container) of what is left of accounts deleted at least so long ago."""
        ...


def follow(cloud: Cloud) -> None:
    """Let listings and totals follow the objects."""
    store = cloud.get(Storage)  # type: ignore[type-abstract]
    if isinstance(store, CatchesUp):
        store.catch_up()


def look_at_all(cloud: Cloud) -> None:
    """The same for every listing there is; forget old tombstones."""
    store = cloud.get(Storage)  # type: ignore[type-abstract]
    if isinstance(store, CatchesUp):
        store.catch_up(thorough=True)


def reap(cloud: Cloud) -> None:
    """Delete what deleted accounts left. In a cluster the storage nodes do it."""
    store = cloud.get(Storage)  # type: ignore[type-abstract]
    if isinstance(store, CatchesUp):
        reaped = Reaped()
        delay = cloud.settings.object_store.reap_delay_seconds
        for account, container in store.left_of_accounts(delay):
            empty(cloud.get(Storage), account, container, reaped)  # type: ignore[type-abstract]


def delete_later(cloud: Cloud) -> None:
    """Delete what was asked to be deleted in the background."""
    later_deletes.delete_noted(cloud.get(Storage))  # type: ignore[type-abstract]


def expire(cloud: Cloud) -> None:
    """Delete objects whose time has come."""
    expire_until(cloud.get(Storage), time.time())  # type: ignore[type-abstract]


def expire_until(store: Storage, now: float) -> int:
    """Delete what expires before `now` (seconds since 1970); how many were deleted."""
    count = 0
    try:
        days = store.list_containers(EXPIRING_ACCOUNT, Listing())
    except Missing:
        return 0
    for day in days:
        if not isinstance(day, ContainerEntry) or int(day.name) > now:
            continue
        end = f"{int(now):010d}.~"
        for entry in store.list_objects(EXPIRING_ACCOUNT, day.name, Listing(end_marker=end)):
            if isinstance(entry, ObjectEntry) and int(entry.name[:10]) <= now:
                count += _expire_one(store, day.name, entry)
        info = store.container(EXPIRING_ACCOUNT, day.name)
        if not info.object_count and int(day.name) + 2 * 86_400 < now:
            store.delete_container(EXPIRING_ACCOUNT, day.name, timestamps.now())
    return count


def _expire_one(store: Storage, day: str, entry: ObjectEntry) -> int:
    text, _, name = entry.name.partition("-")
    path = ObjectPath(*name[1:].split("/", 2))
    deleted = 0
    if object_lock.keeps(store, path):
        return deleted
    # Right behind the write that the entry tells of: whatever was stored since is newer, also
    # where a replica does not know of it yet.
    then = timestamps.after(entry.timestamp)
    try:
        policy = store.container(path.account, path.container).policy
        store.delete_object(path, policy, then, if_delete_at=int(text))
        deleted = 1
    except (Missing, PreconditionFailed, Outdated):
        pass  # it is gone, or expires at another time now, which has an entry of its own
    store.remove_entry(EXPIRING_ACCOUNT, day, entry.name, then)
    return deleted


RECONCILERS = (
    Reconciler("object-store-listings", 10.0, follow),
    Reconciler("object-store-expiry", 30.0, expire),
    Reconciler("object-store-reaper", 30.0, reap),
    Reconciler("object-store-later-deletes", 10.0, delete_later),
    Reconciler("object-store-sync", 10.0, send_all),
    Reconciler("object-store-everything", _THOROUGH_SECONDS, look_at_all),
)
