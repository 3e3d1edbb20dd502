"""Downloads from the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nubelet.image.cache import entries, folder
from nubelet.image.cache.model import CACHED
from nubelet.kernel.cloud import Cloud


def look_up(cloud: Cloud, row: Any) -> Path | None:
    """The file of an image (its row) in the cache of this machine, counted as read; or None.

    Whether the caller may read the image is asked before.
    """
    if not folder.is_on(cloud):
        return None
    with cloud.database.read() as tx:
        entry = entries.find(cloud, tx, row.id)
    if entry is None or entry.state != CACHED:
        return None
    path = folder.path_of(cloud, row.id)
    if folder.size_of(path) != row.size:
        return None
    return (
        path if cloud.database.transact(lambda tx: entries.count_hit(cloud, tx, row.id)) else None
    )


def want(cloud: Cloud, row: Any) -> None:
    """An image was read whole from a remote store: keep a copy for the next reader."""
    if folder.is_on(cloud) and row.status == "active" and row.size <= folder.limit(cloud):
        cloud.database.transact(lambda tx: entries.queue(cloud, tx, row.id))
