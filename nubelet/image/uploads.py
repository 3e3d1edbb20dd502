"""Data on its way in: hashed, inspected and written while it streams, all or nothing.

The row says `saving` with a lease that is renewed while data comes. What fails leaves the image
`queued` without data; when the process dies, the lease runs out and `reconcilers.py` does that.
In OpenStack: glance/location.py and glance_store.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nubelet.image import formats, locations, loose_data, quotas
from nubelet.image.locations import Location
from nubelet.image.model import image
from nubelet.image.stores import ImageStore, Stores, StoreUnreachable, Upload
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Gone,
    NotFound,
    ServiceUnavailable,
    TooLarge,
)
from nubelet.kernel.ids import new_hex

if TYPE_CHECKING:
    from nubelet.image.images import Image

log = logging.getLogger(__name__)
LEASE_SECONDS, RENEW_SECONDS = 20, 5
IDLE_SECONDS = 300  # a client that sends nothing for so long has gone
DRAIN_BYTES = 64 << 20  # a refused upload is read so far, so that the client sees the answer
HASH_ALGORITHM = "sha512"
_hashers = ThreadPoolExecutor(4, thread_name_prefix="hash")


def receive(
    ctx: Context, found: Image, chunks: Iterator[bytes], store: ImageStore | None = None
) -> None:
    """Take the data of a queued image into a store (the default one) and make it active.

    Raises Conflict unless the image is queued, UnsupportedMediaType when the data is not what
    `disk_format` says, BadRequest when it is unsafe, TooLarge past the limit.
    """
    store = store or ctx.cloud.get(Stores).default
    _fill(ctx.cloud, found.row.id, "saving", store, chunks)


def fill(cloud: Cloud, image_id: str, store: ImageStore, chunks: Iterator[bytes]) -> None:
    """As `receive`, of data that no client sends: what is refused is read no further."""
    _fill(cloud, image_id, "saving", store, chunks, drains=False)


def stage(ctx: Context, found: Image, chunks: Iterator[bytes]) -> None:
    """Take the data of a queued image for a later import, which will look at it."""
    _fill(ctx.cloud, found.row.id, "uploading", ctx.cloud.get(Stores).staging, chunks)


def _fill(
    cloud: Cloud,
    image_id: str,
    status: str,
    store: ImageStore,
    chunks: Iterator[bytes],
    *,
    drains: bool = True,
) -> None:
    row, written = _begin(cloud, image_id, status, store)
    looks = status == "saving"
    try:
        with _Lease(cloud, image_id, row.upload_id) as lease:
            facts = _write(cloud, row, store, written.key, chunks, lease, looks)
        values = {"status": "active", **facts} if looks else {"size": facts["size"]}
        _finish(cloud, row, values, written)
    except BaseException as error:
        _give_up(cloud, row, written)
        if isinstance(error, StoreUnreachable):
            name = store.name.partition("@")[0]  # of a staging area: behind it is the machine's URL
            raise ServiceUnavailable(f"The store {name} failed: {error}.") from error
        if isinstance(error, ApiError) and drains:
            _drain(chunks)
        raise


def _write(
    cloud: Cloud,
    row: Any,
    store: ImageStore,
    key: str,
    chunks: Iterator[bytes],
    lease: _Lease,
    looks: bool,
) -> dict[str, Any]:
    upload = store.begin(key)
    try:
        facts = consume(cloud, row, upload, chunks, lease.progress, looks=looks)
        lease.renew()
        lease.progress()
        upload.commit()
    except BaseException:
        upload.abort()
        raise
    return facts


def _begin(cloud: Cloud, image_id: str, status: str, store: ImageStore) -> tuple[Any, Location]:
    """The image is ours to fill from here on; returns its row, and where the data will be."""
    upload_id = new_hex()
    written = Location(store.name, store.new_key(image_id, upload_id))
    with cloud.database.write() as tx:
        row = tx.first(sa.select(image).where(image.c.id == image_id).with_for_update())
        if row is None:
            raise NotFound(message=f"No image found with ID {image_id}")
        if row.status != "queued":
            raise Conflict(
                f"Image status transition from {row.status} to {status} is not allowed: "
                "data is uploaded once, while the image is queued."
            )
        if not row.disk_format or not row.container_format:
            raise BadRequest(
                "Properties disk_format, container_format must be set prior to saving data."
            )
        quotas.require_upload(cloud, tx, row.owner, staged=status == "uploading")
        locations.replace(tx, image_id, ())  # one that was added and found wrong
        loose_data.note(tx, image_id, written.store, written.key)
        tx.update(
            image,
            image.c.id == image_id,
            status=status,
            upload_id=upload_id,
            updated_at=clock.now(),
            lease_until=_lease(),
        )
        return tx.first(sa.select(image).where(image.c.id == image_id)), written


def _lease() -> int:
    return clock.now() + LEASE_SECONDS * 1_000_000


class _Lease:
    """Keeps the image ours while data comes, however slowly, and while it is made durable."""

    def __init__(self, cloud: Cloud, image_id: str, upload_id: str) -> None:
        self._cloud, self._image_id, self._upload_id = cloud, image_id, upload_id
        self._ended = threading.Event()
        self._progress = time.monotonic()
        self.is_lost = False
        self._thread = threading.Thread(target=self._keep, daemon=True, name="upload-lease")

    def __enter__(self) -> _Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def progress(self) -> None:
        """Data came; raises Gone when the image is not ours any more."""
        self._progress = time.monotonic()
        if self.is_lost:
            raise _gone(self._image_id)

    def renew(self) -> None:
        """Keep the image for another while, if it is still ours."""
        self.is_lost = self.is_lost or not self._cloud.database.transact(
            lambda tx: tx.update(
                image,
                image.c.id == self._image_id,
                image.c.upload_id == self._upload_id,
                lease_until=_lease(),
            )
        )

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            if time.monotonic() - self._progress > IDLE_SECONDS:
                self.is_lost = True
                return
            try:
                self.renew()
            except Exception as error:  # the next try may succeed in time
                log.warning("the lease of upload %s was not renewed: %s", self._upload_id, error)


def _gone(image_id: str) -> Gone:
    return Gone(
        f"The image {image_id} was deleted during the upload, or the upload was taken for dead."
    )


def consume(
    cloud: Cloud,
    row: Any,
    upload: Upload,
    chunks: Iterator[bytes],
    progress: Callable[[], None],
    *,
    looks: bool = True,
) -> dict[str, Any]:
    """Write, hash and (unless `looks` is False) inspect the data of an image; `progress` is called
    with each piece and may raise. Returns the columns that follow from the data."""
    md5, sha = hashlib.md5(usedforsecurity=False), hashlib.new(HASH_ALGORITHM)
    options = cloud.settings.image
    inspector = formats.Inspector(
        row.disk_format,
        row.container_format,
        refuses=options.require_format_match,
        image_id=row.id,
    )
    size, limit = 0, options.max_bytes
    pending: list[Future[None]] = []
    try:
        for chunk in chunks:  # the hashes of the last chunk are made while this one comes
            _wait(pending)
            progress()
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"The image is larger than {limit} bytes.")
            # They release the interpreter lock for large chunks: all run side by side.
            if looks:
                pending = [_hashers.submit(md5.update, chunk), _hashers.submit(sha.update, chunk)]
                inspector.feed(chunk)
            upload.write(chunk)
    finally:
        _wait(pending)
    virtual_size = inspector.finish() if looks else None
    return {
        "size": size,
        "virtual_size": virtual_size,
        "checksum": md5.hexdigest(),
        "os_hash_algo": HASH_ALGORITHM,
        "os_hash_value": sha.hexdigest(),
    }


def _wait(pending: list[Future[None]]) -> None:
    for future in pending:
        future.result()


def _finish(cloud: Cloud, row: Any, values: dict[str, Any], written: Location) -> None:
    """The data is the image's; raises Gone when it is not ours. Staged data stays noted."""
    with cloud.database.write() as tx:
        done = tx.update(
            image,
            image.c.id == row.id,
            image.c.upload_id == row.upload_id,
            upload_id=None,
            lease_until=None,
            updated_at=clock.now(),
            **values,
        )
        if done and values.get("status") == "active":
            locations.replace(tx, row.id, [written])
            loose_data.forget(tx, written.store, written.key)
    if not done:
        raise _gone(row.id)


def _give_up(cloud: Cloud, row: Any, written: Location) -> None:
    """Let the image be filled anew, and remove what was written. Whoever deleted the image
    meanwhile, or took the upload for dead, may have been too early: the store had not ended."""
    left = end(cloud, image.c.id == row.id, image.c.upload_id == row.upload_id)
    left = left or loose_data.note_again(cloud, row.id, *written[:2])
    loose_data.remove(cloud, left, patient=True)


def end(cloud: Cloud, *where: sa.ColumnElement[bool]) -> list[Any]:
    """Images whose uploads ended badly are queued again. Returns the notes of what was written:
    nobody writes there any more, and each may be removed."""

    def work(tx: Tx) -> list[Any]:
        found = [row.id for row in tx.all(sa.select(image.c.id).where(*where).with_for_update())]
        if not found:
            return []
        tx.update(
            image,
            image.c.id.in_(found),
            status="queued",
            upload_id=None,
            lease_until=None,
            updated_at=clock.now(),
        )
        return loose_data.find(tx, *found)

    left: list[Any] = cloud.database.transact(work)
    return left


def _drain(chunks: Iterator[bytes]) -> None:
    """Read on for a while: many clients look for an answer only when they have sent all."""
    left = DRAIN_BYTES
    with contextlib.suppress(Exception):
        for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                return
