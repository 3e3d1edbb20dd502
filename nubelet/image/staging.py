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
from collections.abc import Iterator, Set
from typing import Any

import sqlalchemy as sa

from nubelet.image import direct, fetching, loose_data
from nubelet.image.model import image
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


def rows_of(tx: Tx, image_id: str) -> list[Any]:
    """Where data of an image was staged, the newest first."""
    rows = [row for row in loose_data.find(tx, image_id) if row.store.startswith(STAGING)]
    return rows[::-1]


def key_of(tx: Tx, image_id: str) -> str:
    """The key of what was staged for an image that is `uploading`."""
    return str(rows_of(tx, image_id)[0].key)


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
        needed = needed_of(tx, {row.image_id for row in rows})
    loose_data.remove(cloud, [row for row in rows if row.seq not in needed])


def needed_of(tx: Tx, image_ids: Set[str]) -> set[int]:
    """The notes of data that will be used. One that is not among them once never is again."""
    if not image_ids:
        return set()
    images = {
        row.id: row
        for row in tx.all(
            sa.select(image.c.id, image.c.status, image.c.upload_id).where(
                image.c.id.in_(image_ids)
            )
        )
    }
    busy = journal.open_subjects(tx, "image") | {row.id for row in images.values() if row.upload_id}
    needed, newest = set(), {}
    for row in loose_data.find(tx, *image_ids):
        if row.image_id in busy:
            needed.add(row.seq)
        elif row.store.startswith(STAGING):
            newest[row.image_id] = row.seq
    waiting = {row.id for row in images.values() if row.status == "uploading"}
    return needed | {seq for image_id, seq in newest.items() if image_id in waiting}


def reconciler(cloud: Cloud) -> Reconciler | None:
    """The loop of this machine, when it has a staging area of its own."""
    name = cloud.get(Stores).staging.name
    if not loose_data.machine_of(name):
        return None
    return Reconciler(loose_data.cleaner_of(name), PERIOD_SECONDS, clean_up)
