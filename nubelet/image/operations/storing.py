"""The step of imports that puts data into one store; each store has a step of its own.

With `all_stores_must_succeed` a store that fails fails the import; else the image says which
stores it did not reach (`os_glance_failed_import`), and is active from the first copy on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.image import locations, loose_data, progress
from nubelet.image.locations import Location
from nubelet.image.model import FAILED, IMPORTING, image, image_property
from nubelet.image.operations import staged
from nubelet.image.stores import Stores, StoreUnreachable, pieces
from nubelet.image.uploads import consume
from nubelet.kernel import clock
from nubelet.kernel.database import TransactionRetry, Tx
from nubelet.kernel.errors import NotFound
from nubelet.kernel.operations.run import Run
from nubelet.kernel.operations.steps import LeaseLost, Retry, StepResult

COPY_IMAGE = "copy-image"
FACTS = ("size", "virtual_size", "checksum", "os_hash_algo", "os_hash_value")
RETRY = Retry(attempts=4, first_delay_seconds=1.0)
_NOT_OF_THE_STORE = (progress.Stopped, LeaseLost, TransactionRetry)


class Declared(NamedTuple):
    """What an image's data is said to be."""

    id: str
    disk_format: str
    container_format: str


def declared(run: Run) -> Declared:
    """What the data is said to be now: by the image, or by a step that changed it."""
    row = row_of(run)
    return Declared(
        row.id,
        run.outputs.get("disk_format", row.disk_format),
        run.outputs.get("container_format", row.container_format),
    )


def row_of(run: Run) -> Any:
    """The image; raises NotFound when it is gone."""
    with run.cloud.database.read() as tx:
        row = tx.first(sa.select(image).where(image.c.id == run.subject_id))
    if row is None:
        raise NotFound("image", run.subject_id)
    return row


def copies(run: Run) -> bool:
    """Does this operation copy an active image?"""
    return bool(run.inputs["import_req"]["method"]["name"] == COPY_IMAGE)


def must_succeed(run: Run) -> bool:
    """Does one store that fails fail all?"""
    return bool(run.inputs["import_req"].get("all_stores_must_succeed", True))


def store_in(run: Run, name: str) -> StepResult:
    """Put the data into a store, looking at it on the way."""
    try:
        return _store(run, name)
    except _NOT_OF_THE_STORE:
        raise
    except Exception as error:
        last = run.tries + 1 >= RETRY.attempts or not RETRY.is_transient(error)
        if must_succeed(run) or not last:
            raise
        run.note("note", f"the store {name} was not reached: {error}", ok=False)
        clear(run, name)
        with run.cloud.database.write() as tx:
            move_store(tx, run.subject_id, name, failed=True)
        return None


def _store(run: Run, name: str) -> dict[str, Any]:
    store = run.cloud.get(Stores).get(name)
    clear(run, name)
    key = store.new_key(run.subject_id, f"{run.operation_id}-{run.attempt}")
    with run.cloud.database.write() as tx:
        loose_data.note(tx, run.subject_id, name, key)
    upload = store.begin(key)
    try:
        chunks = progress.counted(run, "Copied", _source(run, name))
        facts = consume(run.cloud, declared(run), upload, chunks, lambda: progress.go_on(run))
        _require_same(run, facts)
        staged.require_lease(run)
        upload.commit()
    except BaseException:
        upload.abort()
        raise
    try:
        with run.cloud.database.write() as tx:
            _own(tx, run, Location(name, key), facts)
    except (LeaseLost, NotFound):  # who cleaned up meanwhile may have been too early
        with suppress(StoreUnreachable):
            store.delete(key)
        raise
    return facts | {f"stored_{name}": key}


def _source(run: Run, name: str) -> Iterator[bytes]:
    """The staged data, or for a copy that of the image."""
    if not copies(run):
        return staged.read(run)
    with run.cloud.database.read() as tx:
        found = locations.find_all(tx, run.subject_id)
    store, key = locations.source(
        run.cloud, run.subject_id, [each for each in found if each.store != name]
    )
    size = row_of(run).size
    return pieces(store.read(key, 0, size), staged.CHUNK_BYTES)


def _require_same(run: Run, facts: Mapping[str, Any]) -> None:
    """A copy is what the image was."""
    if not copies(run):
        return
    row = row_of(run)
    known = row.os_hash_algo == facts["os_hash_algo"] and row.os_hash_value
    if facts["size"] != row.size or (known and row.os_hash_value != facts["os_hash_value"]):
        raise ValueError(f"the data of image {row.id} is damaged: it is not what was uploaded")


def _own(tx: Tx, run: Run, new: Location, facts: Mapping[str, Any]) -> None:
    """The copy is the image's, which is active at once when no other store matters."""
    if tx.first(sa.select(image.c.id).where(image.c.id == run.subject_id)) is None:
        raise NotFound("image", run.subject_id)
    locations.add(tx, run.subject_id, new)
    loose_data.forget(tx, new.store, new.key)
    move_store(tx, run.subject_id, new.store, failed=False)
    if not copies(run) and not must_succeed(run):
        activate(tx, run, facts)


def activate(tx: Tx, run: Run, facts: Mapping[str, Any]) -> None:
    """The image is ready. Raises NotFound when it is gone."""
    values = {name: facts[name] for name in FACTS}
    for name in ("disk_format", "container_format"):
        if name in run.outputs:
            values[name] = run.outputs[name]
    if not tx.update(
        image,
        image.c.id == run.subject_id,
        image.c.status.in_(("importing", "active")),
        status="active",
        updated_at=clock.now(),
        **values,
    ):
        raise NotFound("image", run.subject_id)


def clear(run: Run, name: str) -> None:
    """The store has nothing of this operation. What it does not give away now goes when it can be
    reached: nobody waits for that, the next try has a key of its own."""
    with run.cloud.database.write() as tx:
        noted = {row.key for row in loose_data.find(tx, run.subject_id, store=name)}
        for each in locations.find_all(tx, run.subject_id):
            if each.store == name:
                locations.remove(tx, run.subject_id, name, each.key)
                if each.key not in noted:
                    loose_data.note(tx, run.subject_id, name, each.key)
        rows = loose_data.find(tx, run.subject_id, store=name)
    loose_data.remove(run.cloud, rows, patient=True)


def remove_from(run: Run, name: str) -> None:
    """As before the step: an image without any copy is importing."""
    clear(run, name)
    with run.cloud.database.write() as tx:
        if not locations.find_all(tx, run.subject_id):
            tx.update(
                image,
                image.c.id == run.subject_id,
                image.c.status == "active",
                status="importing",
                updated_at=clock.now(),
                **dict.fromkeys(FACTS),
            )


def move_store(tx: Tx, image_id: str, name: str, *, failed: bool) -> None:
    """The image says that a store is done, or was not reached."""
    shown = {
        row.name: [each for each in row.value.split(",") if each]
        for row in tx.all(
            sa.select(image_property).where(
                image_property.c.image_id == image_id,
                image_property.c.name.in_((IMPORTING, FAILED)),
            )
        )
    }
    waiting, missed = shown.get(IMPORTING, []), shown.get(FAILED, [])
    waiting = [each for each in waiting if each != name]
    missed = [each for each in missed if each != name] + ([name] if failed else [])
    set_reserved(tx, image_id, {IMPORTING: ",".join(waiting), FAILED: ",".join(missed)})


def set_reserved(tx: Tx, image_id: str, values: Mapping[str, str]) -> None:
    """Set properties that only the service sets, of an image that is still there."""
    if not tx.update(image, image.c.id == image_id, updated_at=clock.now()):
        return
    tx.delete(
        image_property,
        image_property.c.image_id == image_id,
        image_property.c.name.in_(list(values)),
    )
    tx.insert(
        image_property,
        *({"image_id": image_id, "name": name, "value": value} for name, value in values.items()),
    )
