"""Add data that lies somewhere already to a queued image, and compute its hashes.

An image whose hash is given waits for it to be confirmed; any other is active as soon as its data
is found, and gets its hashes while it can be used already.

In OpenStack: glance/async_/flows/location_import.py.
"""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa

from nubelet.image import formats, locations, progress
from nubelet.image.locations import Location
from nubelet.image.model import image
from nubelet.image.stores import Stores, pieces
from nubelet.image.uploads import HASH_ALGORITHM
from nubelet.kernel import clock
from nubelet.kernel.database import TransactionRetry, Tx
from nubelet.kernel.errors import ApiError, NotFound
from nubelet.kernel.operations.run import Run
from nubelet.kernel.operations.steps import LeaseLost, Operation, Retry, Step

CHUNK_BYTES = 1 << 20
_RETRY = Retry(attempts=3, first_delay_seconds=1.0)
_HASHES = ("checksum", "os_hash_algo", "os_hash_value", "virtual_size")


def attach(run: Run) -> dict[str, Any]:
    """The data is there, and the image's."""
    store, key = run.cloud.get(Stores).get(run.inputs["store"]), run.inputs["key"]
    size = store.size(key)
    if size is None:
        raise NotFound(message=f"The size of the data at {store.url(key)} cannot be found out.")
    given = run.inputs["validation_data"]
    values: dict[str, Any] = {"size": size}
    if not run.inputs["hashes"]:
        values |= {name: given.get(name) for name in ("os_hash_algo", "os_hash_value")}
    elif not given:
        values |= {"os_hash_algo": HASH_ALGORITHM}
    waits = bool(given) and run.inputs["hashes"]
    with run.cloud.database.write() as tx:
        locations.replace(tx, run.subject_id, [Location(store.name, key)])
        _set(tx, run.subject_id, status="importing" if waits else "active", **values)
    return {"size": size}


def detach(run: Run) -> None:
    """The image has no data. Its location stays where nobody can delete what lies there: so does
    upstream (its bug 2076648), and the next upload or import replaces it."""
    store = run.cloud.get(Stores).get(run.inputs["store"])
    with run.cloud.database.write() as tx:
        if not store.read_only:
            locations.remove(tx, run.subject_id, store.name, run.inputs["key"])
        tx.update(
            image,
            image.c.id == run.subject_id,
            status="importing",
            updated_at=clock.now(),
            size=None,
            **dict.fromkeys(_HASHES),
        )


def calculate_hash(run: Run) -> dict[str, Any]:
    """Read all data; what was claimed of it must be true."""
    given = run.inputs["validation_data"]
    if not run.inputs["hashes"]:
        return {}
    algorithm = given.get("os_hash_algo", HASH_ALGORITHM)
    try:
        facts = _hashed(run, algorithm)
    except (progress.Stopped, LeaseLost, TransactionRetry):
        raise
    except Exception as error:
        last = run.tries + 1 >= _RETRY.attempts or not _RETRY.is_transient(error)
        harmful = isinstance(error, ApiError)
        if given or harmful or not last:
            raise
        # It is in use: better without a hash than gone.
        run.note("note", f"the hashes could not be computed: {error}", ok=False)
        return dict.fromkeys(_HASHES)
    if given and facts["os_hash_value"] != given["os_hash_value"]:
        raise ValueError(
            f"the {algorithm} of the data is {facts['os_hash_value']}, "
            f"not {given['os_hash_value']} as was said"
        )
    return facts


def _hashed(run: Run, algorithm: str) -> dict[str, Any]:
    store, size = run.cloud.get(Stores).get(run.inputs["store"]), run.outputs["size"]
    md5, sha = hashlib.md5(usedforsecurity=False), hashlib.new(algorithm)
    inspector = _inspector(run)
    chunks = pieces(store.read(run.inputs["key"], 0, size), CHUNK_BYTES)
    for chunk in progress.counted(run, "Hashed", chunks):
        md5.update(chunk)
        sha.update(chunk)
        inspector.feed(chunk)
    return {
        "virtual_size": inspector.finish(),
        "checksum": md5.hexdigest(),
        "os_hash_algo": algorithm,
        "os_hash_value": sha.hexdigest(),
    }


def _inspector(run: Run) -> formats.Inspector:
    with run.cloud.database.read() as tx:
        row = tx.first(sa.select(image).where(image.c.id == run.subject_id))
    if row is None:
        raise NotFound("image", run.subject_id)
    return formats.Inspector(
        row.disk_format or "raw",
        row.container_format or "bare",
        refuses=run.cloud.settings.image.require_format_match,
        image_id=run.subject_id,
    )


def mark_active(run: Run) -> dict[str, Any]:
    """The image has its hashes and is ready."""
    hashes = {name: run.outputs[name] for name in _HASHES if name in run.outputs}
    with run.cloud.database.write() as tx:
        _set(tx, run.subject_id, status="active", **hashes)
    return {"image_id": run.subject_id}


def _set(tx: Tx, image_id: str, **values: Any) -> None:
    if not tx.update(
        image,
        image.c.id == image_id,
        image.c.status.in_(("importing", "active")),
        updated_at=clock.now(),
        **values,
    ):
        raise NotFound("image", image_id)


def on_failed(run: Run, reason: str) -> None:
    """The image is queued again."""
    with run.cloud.database.write() as tx:
        tx.update(
            image,
            image.c.id == run.subject_id,
            image.c.status == "importing",
            status="queued",
            updated_at=clock.now(),
        )


IMPORT_LOCATION = Operation(
    kind="import_image_location",
    title="Add a location",
    steps=(
        Step("attach", attach, detach, retry=_RETRY),
        Step("calculate_hash", calculate_hash, why_no_undo="it only reads", retry=_RETRY),
        Step(
            "mark_active",
            mark_active,
            why_no_undo="it is the last step, and `detach` takes its columns back",
        ),
    ),
    deadline_seconds=12 * 3600,
    long=True,
    on_failed=on_failed,
)
