"""Uploads whose process died, and data that no image owns, are cleaned up."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from nubelet.image import cache, loose_data, staging, uploads
from nubelet.image.conditions import complete_locations, trouble
from nubelet.image.model import image, image_progress
from nubelet.image.stores import ImageStore, Stores, StoreUnreachable
from nubelet.image.stores.file import FileStore
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.operations import journal
from nubelet.kernel.reconcile import Reconciler, bell_of, ring

log = logging.getLogger(__name__)
_CLEANER = "image.clean_up_uploads"
_ID_LENGTH = 36  # keys in stores begin with the id of the image


def end_dead_uploads(cloud: Cloud) -> None:
    """Images whose upload died go back to queued; what was written is removed by the other loop."""
    if uploads.end(
        cloud,
        image.c.status.in_(("saving", "uploading")),
        image.c.upload_id.is_not(None),
        image.c.lease_until < clock.now(),
    ):
        ring(cloud, _CLEANER)


def clean_up_uploads(cloud: Cloud) -> None:
    """Data that nobody works on is removed. A store that stands still holds up this loop alone."""
    with cloud.database.read() as tx:
        noted = loose_data.find(tx)
        needed = staging.needed_of(tx, {row.image_id for row in noted})
    loose_data.remove(cloud, [row for row in noted if row.seq not in needed], patient=True)


def note_strays(cloud: Cloud) -> None:
    """Files in folders of ours that nobody knows are loose data. (Other stores may be shared.)"""
    _remove_old_parts(cloud)
    stores = cloud.get(Stores)
    # Before the rows are read: what is new after that has a row.
    listed = []
    for store in (*stores, stores.staging):
        if store.type == "file":
            with suppress(StoreUnreachable):  # the check says so
                listed += [(store.name, key) for key in store.list_ids()]
    with cloud.database.read() as tx:
        known = {(each.store, each.key) for each in loose_data.find(tx)}
        for places in complete_locations(tx).values():
            known |= {(each.store, each.key) for each in places}
    strays = [each for each in listed if each not in known]
    if strays:
        with cloud.database.write() as tx:
            for store, key in strays:
                loose_data.note(tx, key[:_ID_LENGTH], store, key)
            tx.ring(bell_of(_CLEANER))


def _remove_old_parts(cloud: Cloud) -> None:
    """Parts of uploads that are dead for long, and whose note is gone: no row leads to them."""
    stores = cloud.get(Stores)
    for store in (*stores, stores.staging):
        if isinstance(store, FileStore):
            for path in _old_parts(store):
                log.warning("removed %s, which nobody has written to for a day", path)
                with suppress(OSError):
                    path.unlink()


def _old_parts(store: FileStore) -> list[Path]:
    """None when the store cannot be reached: the check says so."""
    try:
        return sorted(store.old_parts())
    except StoreUnreachable:
        return []


def forget_progress(cloud: Cloud) -> None:
    """Messages of operations that are forgotten are forgotten too."""
    cloud.database.transact(
        lambda tx: tx.delete(
            image_progress, image_progress.c.operation_id.not_in(sa.select(journal.operation.c.id))
        )
    )


def check(cloud: Cloud) -> list[str]:
    """Violated invariants, in words."""
    stores = cloud.get(Stores)
    # Before the rows are read: what is new after that has a row.
    stored = {store.name: _listed(store) for store in stores.writable()}
    found = [
        f"{path} is part of an upload that nobody has written to for a day"
        for store in stores.writable()
        if isinstance(store, FileStore)
        for path in _old_parts(store)
    ]
    with cloud.database.read() as tx:
        rows = tx.all(sa.select(image))
        placed = complete_locations(tx)
        noted = {(each.store, each.key) for each in loose_data.find(tx)}
    for row in rows:
        told = trouble(cloud, row, placed.get(row.id, []), grace_seconds=30)
        if told.startswith("it "):
            found.append(f"image {row.id} ({row.name}) {told[3:]}")
        elif told:
            found.append(f"image {row.id} ({row.name}) is {row.status} but {told}")
    # Data of an image that has none yet is not amiss for long: `clean_up_uploads` looks after it.
    unready = {row.id for row in rows if row.status not in ("active", "deactivated")}
    known = noted | {(each.store, each.key) for places in placed.values() for each in places}
    for name, keys in stored.items():
        if isinstance(keys, str):
            found.append(keys)
            continue
        found += [
            f"data of image {key} lies in the store {name} but no image owns it"
            for key in sorted(keys)
            if (name, key) not in known and key[:_ID_LENGTH] not in unready
        ]
    return found


def _listed(store: ImageStore) -> list[str] | str:
    """The keys in a store, or why there are none."""
    try:
        return store.list_ids()
    except StoreUnreachable as error:
        return f"the store {store.name} cannot be reached: {error}"


def machine_reconcilers(cloud: Cloud) -> tuple[Reconciler, ...]:
    """The loops about the disks of this machine: its cache, and its staging area if it has one."""
    loops = (cache.reconciler(cloud), staging.reconciler(cloud))
    return tuple(loop for loop in loops if loop is not None)


RECONCILERS = (
    # Half a minute after a kill nothing is `saving`, and what was written has gone: the lease of an
    # upload (20 s) runs out while those of the loops do, if the same machine had all; then comes a
    # period, and the one rings the other.
    Reconciler("image.end_dead_uploads", 5, end_dead_uploads, lease_seconds=15),
    Reconciler(_CLEANER, 5, clean_up_uploads, lease_seconds=15),
    Reconciler("image.note_strays", 60, note_strays),
    Reconciler("image.forget_progress", 3600, forget_progress),
)
