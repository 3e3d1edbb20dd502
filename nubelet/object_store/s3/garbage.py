"""Parts that go when their key is deleted or overwritten, also if the process dies in between.

Before such a change an intent is written down: which key, which parts. After it the parts are
deleted, then the intent. `object-store-garbage` finishes what a killed process left: parts that the
key does not name any more are deleted, the others stay. When an upload is over, one is left for all
that was sent for it and is not in the key, so that nobody waits until it is deleted, and for parts
that somebody still stores who saw the upload before: whatever it has by then.

Where old objects are moved to a container of the user's own, notes of that
(features/archived_parts.py) tell which parts may be nobody's: `object-store-archived-parts` looks
once an hour.

Intents are objects of an account of their own, which no client can name.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

from nubelet.kernel.cloud import Cloud
from nubelet.kernel.errors import ApiError
from nubelet.kernel.reconcile import Reconciler
from nubelet.object_store.features import archived_parts, history
from nubelet.object_store.features.version_names import hidden, object_name, upload_of
from nubelet.object_store.s3 import names, versions
from nubelet.object_store.storage import (
    WITHIN_RESERVE,
    Listing,
    Missing,
    ObjectEntry,
    ObjectPath,
    Outdated,
    Storage,
)
from nubelet.object_store.storage import timestamps as times

ACCOUNT, CONTAINER = ".s3_garbage", "intents"
# As long as this a change may still be under way.
_GRACE_SECONDS = 3600.0
# Of the record of an upload: how it ends (endings.py). One that was given up is as good as gone.
ENDING, GIVEN_UP = "x-object-sysmeta-s3-ending", "given up"


def intend(
    store: Storage,
    path: ObjectPath,
    version: str,
    parts: Collection[str],
    *,
    unless: str = "",
    starts: Sequence[str] = (),
    keep: Collection[str] = (),
) -> ObjectPath:
    """Write down that a key (or a version of it) is about to lose these parts, and all whose names
    have one of the starts by then, unless there is an object `unless` beside them. What is to
    `keep` stays: it goes with the key that it was made for."""
    now = times.now()
    try:
        store.container(ACCOUNT, CONTAINER)
    except Missing:
        store.put_account(ACCOUNT, now, {})
        store.put_container(ACCOUNT, CONTAINER, now, {})
    intent = ObjectPath(ACCOUNT, CONTAINER, f"{now}-{secrets.token_hex(8)}")
    intended = {"path": path, "version": version, "parts": list(parts)}
    if starts:
        intended |= {"unless": unless, "starts": list(starts), "keep": list(keep)}
    body = json.dumps(intended).encode()
    metadata = {"content-type": "application/json", "content-length": str(len(body))}
    metadata[WITHIN_RESERVE] = "true"  # a full disk can be emptied
    store.put_object(intent, _policy(store, ACCOUNT, CONTAINER), now, metadata, [body])
    return intent


def forget(store: Storage, intent: ObjectPath) -> None:
    """What was intended is done, or will not be."""
    with suppress(Missing, Outdated):
        store.delete_object(intent, _policy(store, *intent[:2]), times.now())


def sweep(cloud: Cloud) -> None:
    """Finish old intents."""
    sweep_until(cloud.get(Storage), times.seconds(times.now()) - _GRACE_SECONDS)  # type: ignore[type-abstract]


def sweep_until(store: Storage, end: float) -> None:
    """Finish the intents from before `end` (seconds since 1970). Raises the first of what the
    store could not do, after everything else was done."""
    try:
        listing = Listing(end_marker=times.normal(end))
        found = store.list_objects(ACCOUNT, CONTAINER, listing)
    except Missing:
        return
    failure: ApiError | None = None
    for entry in found:
        if isinstance(entry, ObjectEntry):
            intent = ObjectPath(ACCOUNT, CONTAINER, entry.name)
            try:
                with suppress(Missing):
                    _finish(store, json.loads(_read(store, intent)))
                forget(store, intent)
            except ApiError as error:
                failure = failure or error
    if failure is not None:
        raise failure


def sweep_archived(cloud: Cloud) -> None:
    """Delete the parts of what was deleted where old objects are moved to."""
    sweep_archived_until(cloud.get(Storage), times.seconds(times.now()) - _GRACE_SECONDS)  # type: ignore[type-abstract]


def sweep_archived_until(store: Storage, end: float) -> None:
    """The same of what was moved before `end` (seconds since 1970). Raises the first of what the
    store could not do, after everything else was done."""
    failure: ApiError | None = None
    for upload_id, notes in archived_parts.noted(store, end):
        try:
            _lose_archived(store, upload_id, notes)
        except ApiError as error:
            failure = failure or error
    if failure is not None:
        raise failure


def _lose_archived(store: Storage, upload_id: str, notes: Sequence[archived_parts.Note]) -> None:
    """Forget the moves whose objects are gone; their parts go unless something names them."""
    there = {note.at: _still(store, note.at, "", {upload_id}) for note in notes}
    gone = [note for note in notes if there[note.at].isdisjoint(note.names)]
    lost = {name for note in gone for name in note.names}.difference(*there.values())
    if lost:
        key = gone[0].key
        start = f"/{names.parts_of(key.container)}/"
        own = [name.removeprefix(start) for name in lost if name.startswith(start)]
        with suppress(Missing):
            _finish(store, {"path": key, "version": "", "parts": own})
    for note in gone:
        archived_parts.forget(store, note)


def archive_of(store: Storage, account: str, bucket: str) -> str:
    """A container where something is that is made of parts of a bucket; empty: there is none."""
    for note in archived_parts.of_bucket(store, account, bucket):
        if not _still(store, note.at, "", {note.upload_id}).isdisjoint(note.names):
            return note.at.container
    return ""


def _finish(store: Storage, intended: dict[str, Any]) -> None:
    path, version = ObjectPath(*intended["path"]), intended["version"]
    container = names.parts_of(path.container)
    policy = _policy(store, path.account, container)
    unless = ObjectPath(path.account, container, intended.get("unless", ""))
    lost = {*intended["parts"], *_started(store, unless, intended.get("starts", ()))}
    lost -= set(intended.get("keep", ()))
    ids = {name.split("/")[1] for name in lost if is_named_by_keys(name)}
    still = _still(store, path, version, ids) if ids else set[str]()
    for name in sorted(lost):
        if f"/{container}/{name}" not in still:
            with suppress(Missing, Outdated):
                store.delete_object(ObjectPath(path.account, container, name), policy, times.now())


def is_named_by_keys(part: str) -> bool:
    """Can a key's manifest name this object? What only tells of an upload never is."""
    return part.startswith("parts/")


def _still(store: Storage, path: ObjectPath, version: str, ids: Collection[str]) -> set[str]:
    """The segments that a key and its versions name now; all that were sent for these uploads."""
    # Two versions may be made of the same parts; a listing of them may be behind. The name is read
    # first: what it holds may become a version meanwhile.
    still = {*_named(store, path, ""), *_named(store, path, version)}
    there = {versions.under_name(store, path)}
    there.update(each.id for each in versions.of_key(store, path) if each.may_name(ids))
    for each in there - {None, "", version}:
        still.update(_named(store, path, each or ""))
    return still | set(named_by_archived(store, path, ids))


def named_by_archived(store: Storage, path: ObjectPath, ids: Collection[str]) -> Iterator[str]:
    """The segments that old objects of a key name, where those are moved to a container of the
    user's own (features/history.py) or were before another one was chosen; all that were sent for
    these uploads (none given: for any)."""
    for note in archived_parts.of_uploads(store, path, ids):
        yield from _named(store, note.at, "")
    try:
        info = store.container(path.account, path.container, totals=False)
    except Missing:
        return
    for each in history.archived(store, info, path.object):
        made_by = upload_of(each.etag)  # where that is told, it is made of nothing else
        if not ids or not made_by or made_by in ids:
            at = ObjectPath(path.account, history.location(info), each.name)
            yield from _named(store, at, "")


def _started(store: Storage, unless: ObjectPath, starts: Sequence[str]) -> Iterator[str]:
    """The objects with these starts; none where there is the one that they belong to."""
    if not starts:
        return
    with suppress(Missing):
        found = store.open_object(unless, _policy(store, *unless[:2]), newest=True)
        found.close()
        if found.metadata.get(ENDING) != GIVEN_UP:
            return
        yield unless.object  # who gave it up died
    for start in starts:
        marker = ""
        while page := store.list_objects(*unless[:2], Listing(prefix=start, marker=marker)):
            yield from (each.name for each in page)
            marker = page[-1].name


def _named(store: Storage, path: ObjectPath, version: str) -> Iterator[str]:
    """The segments that a key's manifest names now."""
    at = path
    if version not in ("", "null"):
        name = object_name(path.object, version)
        at = path._replace(container=hidden(path.container), object=name)
    try:
        opened = store.open_object(at, _policy(store, *at[:2]), newest=True)
    except Missing:
        return
    try:
        if opened.metadata.get("x-static-large-object", "").lower() == "true":
            for each in json.loads(b"".join(opened.read())):
                if "name" in each:
                    yield each["name"]
    finally:
        opened.close()


def _read(store: Storage, path: ObjectPath) -> bytes:
    opened = store.open_object(path, _policy(store, *path[:2]))
    try:
        return b"".join(opened.read())
    finally:
        opened.close()


def _policy(store: Storage, account: str, container: str) -> int:
    return store.container(account, container).policy


RECONCILERS = (
    Reconciler("object-store-garbage", 300.0, sweep),
    Reconciler("object-store-archived-parts", 3600.0, sweep_archived),
)
