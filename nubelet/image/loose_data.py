"""Data in the stores that is no image's yet, or not any more.

Whoever writes into a store notes it here first; the transaction that makes the data an image's
forgets the note. What is noted and has nobody who works on it is removed by the reconciler, so
that nothing is lost from sight in any store, whatever dies when, and no store has to be listed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from nubelet.image.model import image_location, image_loose_data
from nubelet.image.stores import STAGING, ImageStore, Stores, StoreUnreachable
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound
from nubelet.kernel.reconcile import bell_of

log = logging.getLogger(__name__)
_c = image_loose_data.c


def note(tx: Tx, image_id: str, store: str, key: str) -> None:
    """Data may come to be under this key, which nobody wrote to before."""
    tx.insert(image_loose_data, image_id=image_id, store=store, key=key, noted_at=clock.now())


def note_again(cloud: Cloud, image_id: str, store: str, key: str) -> list[Any]:
    """Data that was noted once may be there though the note was forgotten: unless it is an image's,
    it is noted again. Returns the new note, none when there was one."""
    owned = sa.select(image_location.c.seq).where(
        image_location.c.store == store, image_location.c.key == key
    )

    def work(tx: Tx) -> list[Any]:
        if tx.first(owned) is not None or any(row.key == key for row in find(tx, image_id)):
            return []
        note(tx, image_id, store, key)
        return [row for row in find(tx, image_id, store=store) if row.key == key]

    left: list[Any] = cloud.database.transact(work)
    return left


def forget(tx: Tx, store: str, key: str) -> None:
    """The data is an image's, or is gone."""
    tx.delete(image_loose_data, _c.store == store, _c.key == key)


def find(tx: Tx, *image_ids: str, store: str | None = None) -> list[Any]:
    """What is noted, of these images or of all, in a store."""
    statement = sa.select(image_loose_data).order_by(_c.seq)
    if image_ids:
        statement = statement.where(_c.image_id.in_(image_ids))
    if store is not None:
        statement = statement.where(_c.store == store)
    return list(tx.all(statement))


def machine_of(store: str) -> str:
    """The URL of the machine that a staging area belongs to; empty for stores that all reach."""
    return store.removeprefix(f"{STAGING}@") if store.startswith(f"{STAGING}@") else ""


def cleaner_of(store: str) -> str:
    """The loop that removes data from the staging area of a machine."""
    return f"image.staging@{machine_of(store)}"


def remove(cloud: Cloud, rows: Iterable[Any], *, patient: bool = False) -> None:
    """Remove noted data from its store, unless it has become an image's meanwhile.

    A key is written to by one upload only: whoever stands still in here and goes on after hours
    meets no other data. Not inside a transaction. What cannot be reached stays noted; it raises
    StoreUnreachable unless `patient`. What lies in the staging area of another machine is left to
    its loop, which is rung.
    """
    stores, away = cloud.get(Stores), set()
    for row in rows:
        if row.store in away:
            continue
        if row.store.startswith(STAGING) and row.store != stores.staging.name:
            cloud.database.bells.ring(bell_of(cleaner_of(row.store)))
            continue
        try:
            _remove(cloud, stores.with_staging(row.store), row)
        except (StoreUnreachable, NotFound) as error:
            if not patient:
                raise
            away.add(row.store)
            log.warning("data %s stays in the store %s for now: %s", row.key, row.store, error)


def _remove(cloud: Cloud, store: ImageStore, row: Any) -> None:
    with cloud.database.read() as tx:
        is_nobodys = _is_nobodys(tx, row)
    if is_nobodys:
        store.delete(row.key)
    with cloud.database.write() as tx:
        tx.delete(image_loose_data, _c.seq == row.seq)


def _is_nobodys(tx: Tx, row: Any) -> bool:
    """Is the data noted still, and no image's?"""
    owned = sa.select(image_location.c.seq).where(
        image_location.c.store == row.store, image_location.c.key == row.key
    )
    noted = sa.select(_c.seq).where(_c.seq == row.seq)
    return tx.first(noted) is not None and tx.first(owned) is None
