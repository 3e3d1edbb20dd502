"""The staging areas of a cloud whose machines each have one of their own.

What is staged lies where the request came in; the import runs wherever a worker takes it. Then the
worker fetches the data from the other machine, by a URL that is signed as those of nodes are. Data
is removed by the machine that it lies on, in a loop of its own: nobody else reaches that disk, and
nothing waits for a machine that is down.

The store of a row of loose data says where: `os_glance_staging_store` is the folder of a machine
that is alone, or that all share; `os_glance_staging_store@URL` that of the machine at this URL.

In OpenStack: os_glance_stage_host, worker_self_reference_url. Read next: `operations/staged.py`.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from nubelet.image import direct, fetching, loose_data
from nubelet.image.model import image, image_loose_data
from nubelet.image.stores import STAGING, Stores, StoreUnreachable
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.operations import journal
from nubelet.kernel.reconcile import Reconciler

PATH = "/staged/{key}"  # below the mount of the service, outside its versions
PERIOD_SECONDS = 10
SILENCE_SECONDS = 60
_CHUNK_BYTES = 1 << 20
_SIGNED = "staged "  # a URL of staged data is none of an image's, nor the other way round


def rows_of(tx: Tx, image_id: str, key: str | None = None) -> list[Any]:
    """Where data of an image was staged (under one key), the newest first."""
    rows = [row for row in loose_data.find(tx, image_id) if row.store.startswith(STAGING)]
    return [row for row in reversed(rows) if key in (None, row.key)]


def fetch(cloud: Cloud, machine: str, key: str) -> Iterator[bytes]:
    """Staged data of the machine at this URL, whole; raises StoreUnreachable."""
    url = f"{machine}{PATH.format(key=key)}?{fetching.signature(cloud, _SIGNED + key)}"
    try:
        with direct.opener.open(url, timeout=SILENCE_SECONDS) as answer:
            left = int(answer.headers["Content-Length"])
            while left > 0 and (piece := answer.read(min(_CHUNK_BYTES, left))):
                yield piece
                left -= len(piece)
    except (OSError, http.client.HTTPException, ValueError, TypeError) as error:
        raise StoreUnreachable(f"the staged data lies at {machine}: {error}") from error
    if left > 0:
        raise StoreUnreachable(f"the staged data at {machine} ended {left} bytes too early")


def is_signed(cloud: Cloud, key: str, expires: str, signature: str) -> bool:
    """Has a machine of this cloud signed for this data, not long ago?"""
    return fetching.is_signed(cloud, _SIGNED + key, expires, signature)


def clean_up(cloud: Cloud) -> None:
    """Remove what lies in the staging area of this machine and nobody waits for."""
    store = cloud.get(Stores).staging
    with cloud.database.read() as tx:
        rows = loose_data.find(tx, store=store.name)
    for row in rows:
        with cloud.database.write() as tx:
            # An upload that begins locks the image, too: its data is not taken for this.
            found = tx.first(
                sa.select(image.c.status, image.c.upload_id)
                .where(image.c.id == row.image_id)
                .with_for_update()
            )
            if _is_needed(tx, row, found):
                continue
            if _is_newest_here(tx, row):
                store.delete(row.key)
            tx.delete(image_loose_data, image_loose_data.c.seq == row.seq)


def _is_needed(tx: Tx, row: Any, found: Any) -> bool:
    if found is None:
        return False
    if found.upload_id or row.image_id in journal.open_subjects(tx, "image"):
        return True
    waits: bool = found.status == "uploading" and row.key == row.image_id
    return waits and _is_newest(rows_of(tx, row.image_id, row.key), row)


def _is_newest_here(tx: Tx, row: Any) -> bool:
    """A later row of the same file speaks for it."""
    same = [each for each in rows_of(tx, row.image_id, row.key) if each.store == row.store]
    return _is_newest(same, row)


def _is_newest(rows: list[Any], row: Any) -> bool:
    """Is it the first of them? A row that was removed since it was found is not."""
    return [each.seq for each in rows[:1]] == [row.seq]


def reconciler(cloud: Cloud) -> Reconciler | None:
    """The loop of this machine, when it has a staging area of its own."""
    name = cloud.get(Stores).staging.name
    if not loose_data.machine_of(name):
        return None
    return Reconciler(loose_data.cleaner_of(name), PERIOD_SECONDS, clean_up)
