"""Data on its way to an import: in the staging area, step by step under keys of its own.

What was staged or downloaded, what was in it when it was compressed (PLAIN), and the same disk in
another format (CONVERTED) lie side by side, each try of a step has a key of its own. A step that
is repeated begins with what the step before it left, so nothing is done twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nubelet.image import loose_data, progress, staging
from nubelet.image.stores import Stores, StoreUnreachable, pieces
from nubelet.image.stores.file import FileStore
from nubelet.kernel.errors import NotFound, TooLarge
from nubelet.kernel.ids import new_hex
from nubelet.kernel.operations.run import Run

DOWNLOADED, PLAIN, CONVERTED = "downloaded", "plain", "converted"  # how keys end
CHUNK_BYTES = 1 << 20


def area(run: Run) -> FileStore:
    """The staging area: files of this machine, or of a folder that all machines share."""
    store = run.cloud.get(Stores).staging
    assert isinstance(store, FileStore)
    return store


def key_of(run: Run) -> str:
    """The key of the data as the last finished step left it."""
    # The image's id: of imports that an earlier release started.
    return str(run.outputs.get("staged") or run.inputs.get("staged") or run.subject_id)


def new_key(run: Run, kind: str) -> str:
    """The key of what this try of a step will make."""
    return f"{area(run).new_key(run.subject_id, f'{run.operation_id}-{run.attempt}')}.{kind}"


def path_of(run: Run) -> Path:
    """Its file, fetched when it was put into the staging area of another machine.

    Raises NotFound when it is nowhere, StoreUnreachable when that machine does not give it.
    """
    key, own = key_of(run), area(run).name
    path = area(run).path(key)
    with run.cloud.database.write() as tx:  # not for whoever lost the operation
        rows = [row for row in staging.rows_of(tx, run.subject_id) if row.key == key]
    if path.is_file() and any(row.store == own for row in rows):
        return path
    # The oldest first: there it was staged. A younger one may have begun to fetch it, and died.
    machines = [loose_data.machine_of(row.store) for row in reversed(rows) if row.store != own]
    missing: Exception = NotFound(message=f"The staged data of image {run.subject_id} is missing.")
    for machine in filter(None, machines):
        loose_data.remove(run.cloud, [row for row in rows if row.store == own])
        try:
            size = write(run, key, staging.fetch(run.cloud, machine, key), "Fetched")
        except StoreUnreachable as error:
            missing = error
            continue
        run.note("http", f"GET {machine} staged {key}", result=f"{size} bytes")
        return path
    raise missing


def read(run: Run) -> Iterator[bytes]:
    """The data as the last finished step left it."""
    path = path_of(run)
    return pieces(area(run).read(key_of(run), 0, path.stat().st_size), CHUNK_BYTES)


def write(run: Run, key: str, chunks: Iterator[bytes], verb: str) -> int:
    """Put data into the staging area, whole or not at all; returns its size.

    Raises TooLarge past the largest size of an image.
    """
    _note(run, key)
    limit, size = run.cloud.settings.image.max_bytes, 0
    upload = area(run).begin(key)
    try:
        for chunk in progress.counted(run, verb, chunks):
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"The image is larger than {limit} bytes.")
            upload.write(chunk)
        require_lease(run)
        upload.commit()
    except BaseException:
        upload.abort()
        raise
    return size


@contextmanager
def part(run: Run, key: str, doing: str) -> Iterator[Path]:
    """A file to write, which lies under a key when the block ends, and nowhere when it fails.

    `doing` is told to the user.
    """
    _note(run, key)
    progress.tell(run, doing)
    target = area(run).path(key)
    path = target.with_name(f"{key}.{new_hex()}.part")
    try:
        yield path
        require_lease(run)
        path.rename(target)
    finally:
        path.unlink(missing_ok=True)


def _note(run: Run, key: str) -> None:
    with run.cloud.database.write() as tx:
        loose_data.note(tx, run.subject_id, area(run).name, key)


def remove(run: Run, kind: str = "") -> None:
    """Nothing is staged for this image any more (of what one step makes, or at all)."""
    with run.cloud.database.write() as tx:  # whoever lost the operation finds nothing to remove
        rows = staging.rows_of(tx, run.subject_id)
    loose_data.remove(run.cloud, [row for row in rows if row.key.endswith(kind)])


def require_lease(run: Run) -> None:
    """Raise when another worker has taken over: a file must not appear after its cleaning up."""
    with run.cloud.database.write():
        pass
