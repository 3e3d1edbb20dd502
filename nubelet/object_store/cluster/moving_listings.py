"""Move listing files to where a larger partition power looks for them, while the cluster runs.

A database cannot be linked twice, as objects are (ring/relinker.py): each name would have a log of
its own. Instead servers look in both places while the power is raised (`Device.listing_path`), and
once all of them do, the folders are moved. A listing that two processes made in two places is
made one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from nubelet.kernel.errors import ApiError
from nubelet.object_store.cluster.listing_files import NodeAccountFile, NodeContainerFile
from nubelet.object_store.ring import Ring, partition_of
from nubelet.object_store.ring.relinker import Relinked
from nubelet.object_store.storage.sqlite import only_one, sync, sync_folders

log = logging.getLogger(__name__)
KINDS: dict[str, type[NodeAccountFile | NodeContainerFile]] = {
    "accounts": NodeAccountFile,
    "containers": NodeContainerFile,
}
_BATCH = 1000


def move(ring: Ring, folder: Path) -> Relinked:
    """Move what is elsewhere to where `ring` looks; `folder`: accounts or containers of a device.
    Running it again goes on where it stopped."""
    report = Relinked()
    for path in _files(folder):
        part = partition_of(path.stem, ring.part_power)
        if path.parts[-4] == str(part):
            continue
        try:
            _move_one(path, folder / str(part) / path.parts[-3] / path.stem, folder.name)
            report.done += 1
        except (OSError, ApiError) as error:
            log.error("%s cannot be moved: %s", path, error)
            report.errors += 1
    return report


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.glob("*/*/*/*.db")):
        if path.parts[-4].isdigit():
            yield path


def _move_one(path: Path, target: Path, kind: str) -> None:
    there = target / path.name
    with only_one(str(target)):
        is_taken = there.exists()
        if not is_taken:
            for left in target.iterdir():  # by one that was killed while it made it
                left.unlink()
            os.rename(path.parent, target)
            sync_folders(str(target.parent), 3)
    if is_taken:
        _merge(KINDS[kind](str(path)), KINDS[kind](str(there)))
    for above in path.parents[1:3]:
        with suppress(OSError):
            sync(str(above))
            above.rmdir()


def _merge(
    file: NodeAccountFile | NodeContainerFile, into: NodeAccountFile | NodeContainerFile
) -> None:
    try:
        head = file.head()
        into.take_head(head)
        point = 0
        while point < head.last:
            point, rows = file.rows_after(point, _BATCH)
            into.take_rows(rows)  # type: ignore[arg-type] # both are of one kind
        if not file.remove(lambda _: file.head() == head):
            raise FileExistsError(f"{file.path} has changed; please try again")
    finally:
        file.close()
        into.close()
