"""Which containers are to be sent elsewhere: noted as objects of a hidden account, so that any
storage can keep it, and nobody has to look at every container."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

from nubelet.object_store.storage import (
    Listing,
    Missing,
    ObjectEntry,
    ObjectPath,
    Outdated,
    Storage,
    timestamps,
)

_ACCOUNT, _CONTAINER = ".container_sync", "containers"


def _path(account: str, container: str) -> ObjectPath:
    return ObjectPath(_ACCOUNT, _CONTAINER, f"{account}/{container}")


def note(store: Storage, account: str, container: str) -> None:
    """Note a container."""
    now = timestamps.now()
    policy = store.policies.default.index
    with suppress(Outdated):
        try:
            store.container(_ACCOUNT, _CONTAINER)
        except Missing:
            store.put_account(_ACCOUNT, now, {})
            store.put_container(_ACCOUNT, _CONTAINER, now, {}, policy)
        store.put_object(_path(account, container), policy, now, {}, iter(()))


def forget(store: Storage, account: str, container: str) -> None:
    """The container is not sent any more."""
    policy = store.policies.default.index
    with suppress(Missing, Outdated):
        store.delete_object(_path(account, container), policy, timestamps.now())


def noted(store: Storage) -> Iterator[tuple[str, str]]:
    """Account and container of all that are noted."""
    marker = ""
    while True:
        try:
            page = store.list_objects(_ACCOUNT, _CONTAINER, Listing(marker=marker))
        except Missing:
            return
        for entry in page:
            if isinstance(entry, ObjectEntry):
                account, _, container = entry.name.partition("/")
                yield account, container
        if not page:
            return
        marker = page[-1].name


def read_points(store: Storage, account: str, container: str) -> dict[str, int]:
    """How far each target (its URL) has followed: the id of the last change sent."""
    try:
        opened = store.open_object(_path(account, container), store.policies.default.index)
    except Missing:
        return {}
    try:
        data = b"".join(opened.read())
    finally:
        opened.close()
    return json.loads(data) if data else {}


def write_points(store: Storage, account: str, container: str, points: dict[str, int]) -> None:
    """Remember how far."""
    with suppress(Outdated):
        store.put_object(
            _path(account, container),
            store.policies.default.index,
            timestamps.now(),
            {},
            iter((json.dumps(points).encode(),)),
        )
