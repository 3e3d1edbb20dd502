"""Import an image: get its data, prepare it, put it into stores, make the image active.

The steps follow from the method and the stores; `copy-image` gives an active image more copies.
Read next: `acquiring.py`, `plugins.py`, `storing.py`.

In OpenStack: glance/async_/flows/api_image_import.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import sqlalchemy as sa

from nubelet.image import locations
from nubelet.image.model import (
    FAILED,
    IMPORTING,
    image,
    image_member,
    image_property,
    image_tag,
)
from nubelet.image.operations import acquiring, plugins, staged, storing
from nubelet.image.operations.storing import COPY_IMAGE, RETRY
from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound
from nubelet.kernel.operations.run import Run
from nubelet.kernel.operations.steps import Operation, Step, Steps

GLANCE_DIRECT, WEB_DOWNLOAD = "glance-direct", "web-download"
GLANCE_DOWNLOAD = "glance-download"
DECOMPRESSION, CONVERSION = "image_decompression", "image_conversion"


def create_image(run: Run) -> None:
    """The image that a task of type `import` makes; it is importing from its first moment."""
    from nubelet.image.images import create  # it starts operations, this one too

    ctx, wanted = run.ctx("image"), run.inputs["new_image"]
    with run.cloud.database.write() as tx:
        if tx.first(sa.select(image.c.id).where(image.c.id == run.subject_id)) is None:
            create(ctx, tx, run.subject_id, wanted["values"], wanted["properties"], wanted["tags"])
        begin(tx, run.subject_id, run.inputs["backend"])


def delete_image(run: Run) -> None:
    """The image is gone again."""
    with run.cloud.database.write() as tx:
        for table in (image_property, image_tag, image_member):
            tx.delete(table, table.c.image_id == run.subject_id)
        locations.replace(tx, run.subject_id, ())
        tx.delete(image, image.c.id == run.subject_id)


def mark_active(run: Run) -> dict[str, Any]:
    """The image is ready; its staged data is not needed any more."""
    with run.cloud.database.write() as tx:
        found = locations.find_all(tx, run.subject_id)
        if not any(each.store in run.inputs["backend"] for each in found):
            raise storing_failed(run)
        if not storing.copies(run):
            storing.activate(tx, run, run.outputs)
        wanted = {**run.outputs.get("properties", {}), **run.inputs.get("inject", {})}
        storing.set_reserved(tx, run.subject_id, wanted)
        _all_done(tx, run.subject_id)
    staged.remove(run)
    return {"image_id": run.subject_id}


def storing_failed(run: Run) -> Exception:
    """No store took the data."""
    names = ", ".join(run.inputs["backend"])
    return NotFound(message=f"None of the stores could be written to: {names}.")


def _all_done(tx: Tx, image_id: str) -> None:
    row = tx.first(
        sa.select(image_property.c.value).where(
            image_property.c.image_id == image_id, image_property.c.name == FAILED
        )
    )
    storing.set_reserved(tx, image_id, {IMPORTING: "", FAILED: row.value if row else ""})


def undo_mark_active(run: Run) -> None:
    """The image is importing again."""
    if storing.copies(run):
        return
    with run.cloud.database.write() as tx:
        tx.update(
            image,
            image.c.id == run.subject_id,
            status="importing",
            updated_at=clock.now(),
            **dict.fromkeys(storing.FACTS),
        )


def begin(tx: Tx, image_id: str, stores: Collection[str], *, copies: bool = False) -> None:
    """The image says what it waits for, in the transaction that starts the operation."""
    if not copies:
        tx.update(image, image.c.id == image_id, status="importing")
        locations.replace(tx, image_id, ())  # one that was added and found wrong
    storing.set_reserved(tx, image_id, {IMPORTING: ",".join(stores), FAILED: ""})


def on_failed(run: Run, reason: str) -> None:
    """The image is queued as before the import, and says which stores it did not reach."""
    staged.remove(run)
    with run.cloud.database.write() as tx:
        if not storing.copies(run) and not tx.update(
            image,
            image.c.id == run.subject_id,
            image.c.status == "importing",
            status="queued",
            size=None,  # that of the staged data
            updated_at=clock.now(),
        ):
            return
        storing.set_reserved(
            tx, run.subject_id, {IMPORTING: "", FAILED: ",".join(run.inputs["backend"])}
        )


def _steps(inputs: Mapping[str, Any]) -> Steps:
    method = inputs["import_req"]["method"]["name"]
    wanted = inputs.get("plugins", ())
    steps: list[Step] = []
    if "new_image" in inputs:
        steps.append(Step("create_image", create_image, delete_image))
    if method == WEB_DOWNLOAD:
        steps.append(Step("download", acquiring.download, acquiring.remove_staged))
    elif method == GLANCE_DOWNLOAD:
        steps.append(Step("fetch_remote", acquiring.fetch_remote, acquiring.remove_staged))
    if method != COPY_IMAGE and DECOMPRESSION in wanted:
        steps.append(Step("decompress", plugins.decompress, plugins.remove_plain, retry=RETRY))
    if method != COPY_IMAGE and CONVERSION in wanted:
        steps.append(Step("convert", plugins.convert, plugins.remove_converted, retry=RETRY))
    for name in inputs["backend"]:
        do, undo = partial(_store_in, name), partial(_remove_from, name)
        steps.append(Step(f"store_in_{name}", do, undo, retry=RETRY))
    return (*steps, Step("mark_active", mark_active, undo_mark_active))


def _store_in(name: str, run: Run) -> Any:
    return storing.store_in(run, name)


def _remove_from(name: str, run: Run) -> None:
    storing.remove_from(run, name)


IMPORT_IMAGE = Operation(
    kind="import_image",
    title="Import image",
    steps=_steps,
    deadline_seconds=12 * 3600,
    long=True,
    on_failed=on_failed,
)
