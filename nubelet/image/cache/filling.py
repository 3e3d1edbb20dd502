"""The loop of the cache: it makes the folder of this machine what the rows say.

In this order: forget what is not right, remove what nobody wants, fetch what is queued. Only this
loop writes to the folder, and there is one of it for each machine, so it need not fear itself. A
copy is fetched into a part, compared with the size and the hash of the image, made durable, and
renamed; killed at any moment it leaves a part, which the next run removes.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from nubelet.image import locations
from nubelet.image.cache import entries, folder
from nubelet.image.cache.model import CACHED, QUEUED
from nubelet.image.model import image
from nubelet.image.stores import StoreUnreachable
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound
from nubelet.kernel.http.messages import FileBody
from nubelet.kernel.reconcile import Reconciler

log = logging.getLogger(__name__)
PERIOD_SECONDS = 60
_CHUNK_BYTES = 1 << 20


class NotCached(Exception):  # noqa: N818 - a finding
    """An image cannot be cached now; the text says why."""


def fill(cloud: Cloud) -> None:
    """Make the folder what the rows say; raises NotCached when an image could not be fetched."""
    if not folder.is_on(cloud):
        return
    clean(cloud)
    prune(cloud)
    failed = []
    with cloud.database.read() as tx:
        queued = entries.list_all(cloud, tx, QUEUED)
    for entry in queued:
        try:
            _fetch(cloud, entry.image_id)
        except (NotCached, NotFound, StoreUnreachable, OSError) as error:
            failed.append(f"{entry.image_id}: {error}")
    if failed:
        raise NotCached("; ".join(failed))


def clean(cloud: Cloud) -> None:
    """Forget images that are gone, changed or damaged, and remove data that no row names."""
    files = folder.list_ids(cloud)
    wrong, right = [], set()
    with cloud.database.write() as tx:
        cached = entries.list_all(cloud, tx, CACHED)
        queued = entries.list_all(cloud, tx, QUEUED)
        sizes = _sizes(tx, [entry.image_id for entry in (*cached, *queued)])
        for entry in cached:
            size = folder.size_of(folder.path_of(cloud, entry.image_id))
            if size is not None and size == sizes.get(entry.image_id) == entry.size:
                right.add(entry.image_id)
            else:
                wrong.append(entry.image_id)
        # A file comes a moment before its row says so.
        right |= {entry.image_id for entry in queued if entry.image_id in sizes}
        wrong += [entry.image_id for entry in queued if entry.image_id not in sizes]
        if wrong:
            entries.remove(cloud, tx, *wrong)
    for image_id in files - right:
        folder.remove(cloud, image_id)
    folder.remove_dead_parts(cloud)


def _sizes(tx: Tx, image_ids: list[str]) -> dict[str, int]:
    """The images among these that have data, and how much."""
    statement = sa.select(image.c.id, image.c.size).where(
        image.c.id.in_(image_ids), image.c.status.in_(("active", "deactivated"))
    )
    return {row.id: row.size for row in tx.all(statement)} if image_ids else {}


def prune(cloud: Cloud, room: int = 0) -> tuple[int, int]:
    """Let go of what was not read for the longest time until `room` bytes more fit into the limit.

    Returns how many images and how many bytes went.
    """
    gone: list[Any] = []
    with cloud.database.write() as tx:
        used = entries.used_bytes(cloud, tx)
        for entry in entries.least_recent(cloud, tx):
            if used + room <= folder.limit(cloud):
                break
            used -= entry.size
            gone.append(entry)
        if gone:
            entries.remove(cloud, tx, *(entry.image_id for entry in gone))
    for entry in gone:
        folder.remove(cloud, entry.image_id)
    return len(gone), sum(entry.size for entry in gone)


def _fetch(cloud: Cloud, image_id: str) -> None:
    with cloud.database.read() as tx:
        row = tx.first(sa.select(image).where(image.c.id == image_id))
        places = locations.find_all(tx, image_id)
    if row is None or row.status not in ("active", "deactivated"):
        return  # the next run forgets it
    if row.size > folder.limit(cloud):
        cloud.database.transact(lambda tx: entries.remove(cloud, tx, image_id))
        raise NotCached(f"it has {row.size} bytes, more than the cache may take")
    prune(cloud, row.size)
    store, key = locations.source(cloud, image_id, places)
    part = folder.part_of(cloud, image_id)
    try:
        _copy(store.read(key, 0, row.size), part, row)
        part.rename(folder.path_of(cloud, image_id))
    finally:
        part.unlink(missing_ok=True)
    if not cloud.database.transact(lambda tx: entries.mark_cached(cloud, tx, image_id, row.size)):
        folder.remove(cloud, image_id)


def _copy(body: FileBody | Iterator[bytes], part: Path, row: Any) -> None:
    """Write what a store gives; a file of this disk is the copy itself, under a second name."""
    if isinstance(body, FileBody):
        try:
            os.link(body.path, part)
        except OSError:  # another disk, or one that has no second names
            body = _pieces(body)
        else:
            if folder.size_of(part) != row.size:
                raise NotCached(f"the store has {folder.size_of(part)} bytes instead of {row.size}")
            return
    made, size = hashlib.new(row.os_hash_algo or "sha512"), 0
    with part.open("wb") as file:
        for piece in body:
            made.update(piece)
            size += len(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    if size != row.size:
        raise NotCached(f"the store gave {size} bytes instead of {row.size}")
    if row.os_hash_value and made.hexdigest() != row.os_hash_value:
        raise NotCached("the store gave data that does not have the hash of the image")


def _pieces(body: FileBody) -> Iterator[bytes]:
    with Path(body.path).open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            yield piece


def reconciler(cloud: Cloud) -> Reconciler:
    """The loop of this machine."""
    return Reconciler(entries.reconciler_name(cloud), PERIOD_SECONDS, fill)
