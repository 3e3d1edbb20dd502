"""Old objects that are made of parts of an upload of S3, in a container of the user's own.

Where what is replaced is moved elsewhere (history.py), it goes on naming the parts beside its
bucket. A note is made of each move, before it, so that the parts can go when nothing names them
any more (s3/garbage.py): whoever deletes what was moved knows nothing of its bucket.

Notes are objects of a hidden account, `<account>/<bucket>/<upload>/<time>`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import groupby
from typing import NamedTuple

from nubelet.object_store.storage import (
    WITHIN_RESERVE,
    Listing,
    Missing,
    ObjectEntry,
    ObjectPath,
    Outdated,
    Storage,
    timestamps,
)

# Of an object: the id of the upload that made it. Not copied, but with what becomes a version.
MADE_BY = "x-object-sysmeta-slo-s3-upload"
_ACCOUNT, _CONTAINER = ".s3_archived", "parts"


class Note(NamedTuple):
    """A move: of which key, to where, and what the object names (`/container/name`)."""

    own: ObjectPath
    key: ObjectPath
    at: ObjectPath
    names: list[str]

    @property
    def upload_id(self) -> str:
        """Which upload made it."""
        return self.own.object.split("/")[-2]


def note(store: Storage, path: ObjectPath, upload_id: str, manifest: bytes, to: ObjectPath) -> None:
    """An object that an upload made is about to be moved."""
    named = [each["name"] for each in json.loads(manifest) if "name" in each]
    if not named:
        return
    bucket = named[0].split("/")[1].rpartition("+")[0]
    if path.container != bucket:  # it was moved before
        known = next(_notes(store, f"{path.account}/{bucket}/{upload_id}/"), None)
        if known is None:
            return
        path = known.key
    now = timestamps.now()
    try:
        store.container(_ACCOUNT, _CONTAINER)
    except Missing:
        store.put_account(_ACCOUNT, now, {})
        store.put_container(_ACCOUNT, _CONTAINER, now, {})
    own = ObjectPath(_ACCOUNT, _CONTAINER, f"{path.account}/{bucket}/{upload_id}/{now}")
    body = json.dumps({"key": path, "at": to, "names": named}).encode()
    metadata = {"content-type": "application/json", "content-length": str(len(body))}
    metadata[WITHIN_RESERVE] = "true"  # a full disk can be emptied
    store.put_object(own, _policy(store), now, metadata, [body])


def noted(store: Storage, before: float) -> Iterator[tuple[str, list[Note]]]:
    """All notes, by upload; not of uploads of which one was made since (seconds since 1970): the
    move may be under way."""
    there = groupby(_entries(store, ""), lambda entry: entry.name.rpartition("/")[0])
    for start, entries in there:
        upload_id = start.rpartition("/")[2]
        if all(timestamps.seconds(entry.timestamp) < before for entry in entries):
            yield upload_id, list(_notes(store, f"{start}/"))


def of_bucket(store: Storage, account: str, bucket: str) -> Iterator[Note]:
    """What was moved of a bucket; perhaps it is not there any more."""
    return _notes(store, f"{account}/{bucket}/")


def of_uploads(store: Storage, path: ObjectPath, upload_ids: Collection[str]) -> Iterator[Note]:
    """The same of what some uploads made (none given: any) under a key."""
    start = f"{path.account}/{path.container}/"
    for each in sorted(upload_ids) if upload_ids else [""]:
        found = _notes(store, f"{start}{each}/" if each else start)
        yield from (note for note in found if note.key == path)


def forget(store: Storage, note: Note) -> None:
    """What was moved there is not there any more."""
    with suppress(Missing, Outdated):
        store.delete_object(note.own, _policy(store), timestamps.now())


def _notes(store: Storage, prefix: str) -> Iterator[Note]:
    for entry in _entries(store, prefix):
        own = ObjectPath(_ACCOUNT, _CONTAINER, entry.name)
        try:
            opened = store.open_object(own, _policy(store))
        except Missing:
            continue
        try:
            found = json.loads(b"".join(opened.read()))
        finally:
            opened.close()
        yield Note(own, ObjectPath(*found["key"]), ObjectPath(*found["at"]), found["names"])


def _entries(store: Storage, prefix: str) -> Iterator[ObjectEntry]:
    marker = ""
    while True:
        listing = Listing(prefix=prefix, marker=marker, limit=1000)
        try:
            page = store.list_objects(_ACCOUNT, _CONTAINER, listing)
        except Missing:
            return
        yield from (entry for entry in page if isinstance(entry, ObjectEntry))
        if len(page) < listing.limit:
            return
        marker = page[-1].name


def _policy(store: Storage) -> int:
    return store.container(_ACCOUNT, _CONTAINER, totals=False).policy
