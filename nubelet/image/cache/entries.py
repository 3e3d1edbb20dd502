"""The rows of the cache of this machine."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from nubelet.image.cache.model import CACHED, QUEUED, image_cache
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.reconcile import bell_of

_c = image_cache.c
_MACHINE: sa.BindParameter[Any] = sa.bindparam("machine")
_ONE = sa.select(image_cache).where(_c.machine == _MACHINE, _c.image_id == sa.bindparam("image_id"))


def machine(cloud: Cloud) -> str:
    """The name of this machine, whose disk the cache is on: its URL's, or that of the host."""
    return urlsplit(cloud.settings.image.machine_url).netloc or socket.gethostname() or "localhost"


def reconciler_name(cloud: Cloud) -> str:
    """The loop of this machine: each has its own, for nobody else reaches its disk."""
    return f"image.cache@{machine(cloud)}"


def find(cloud: Cloud, tx: Tx, image_id: str) -> Any:
    """The row of an image, or None."""
    return tx.first(_ONE, machine=machine(cloud), image_id=image_id)


def list_all(cloud: Cloud, tx: Tx, state: str) -> list[Any]:
    """The rows in a state: cached ones by name, queued ones in their order."""
    order = _c.queued_at if state == QUEUED else _c.image_id
    statement = sa.select(image_cache).where(_c.machine == machine(cloud), _c.state == state)
    return list(tx.all(statement.order_by(order, _c.image_id)))


def queue(cloud: Cloud, tx: Tx, image_id: str) -> None:
    """The image is to be fetched, unless it is there or is going to be; rings the loop."""
    tx.lock("image_cache", machine(cloud), image_id)
    if find(cloud, tx, image_id) is None:
        tx.insert(
            image_cache,
            machine=machine(cloud),
            image_id=image_id,
            state=QUEUED,
            size=0,
            hits=0,
            queued_at=clock.now(),
        )
    tx.ring(bell_of(reconciler_name(cloud)))


def remove(cloud: Cloud, tx: Tx, *image_ids: str) -> int:
    """Forget images; the loop, which is rung, removes their data."""
    tx.ring(bell_of(reconciler_name(cloud)))
    return tx.delete(image_cache, _c.machine == machine(cloud), _c.image_id.in_(image_ids))


def clear(cloud: Cloud, tx: Tx, *states: str) -> None:
    """Forget all images in these states."""
    tx.ring(bell_of(reconciler_name(cloud)))
    tx.delete(image_cache, _c.machine == machine(cloud), _c.state.in_(states))


def count_hit(cloud: Cloud, tx: Tx, image_id: str) -> bool:
    """The image is read from the cache now; False when it is not there."""
    return bool(
        tx.update(
            image_cache,
            _c.machine == machine(cloud),
            _c.image_id == image_id,
            _c.state == CACHED,
            hits=_c.hits + 1,
            last_accessed=clock.now(),
        )
    )


def mark_cached(cloud: Cloud, tx: Tx, image_id: str, size: int) -> bool:
    """The data is there; False when nobody wants it any more."""
    now = clock.now()
    return bool(
        tx.update(
            image_cache,
            _c.machine == machine(cloud),
            _c.image_id == image_id,
            _c.state == QUEUED,
            state=CACHED,
            size=size,
            last_accessed=now,
            last_modified=now,
        )
    )


def used_bytes(cloud: Cloud, tx: Tx) -> int:
    """What the cached images take."""
    return int(
        tx.scalar(
            sa.select(sa.func.coalesce(sa.func.sum(_c.size), 0)).where(
                _c.machine == machine(cloud), _c.state == CACHED
            )
        )
    )


def least_recent(cloud: Cloud, tx: Tx) -> list[Any]:
    """The cached images, the one that was not read for the longest time first."""
    statement = sa.select(image_cache).where(_c.machine == machine(cloud), _c.state == CACHED)
    return list(tx.all(statement.order_by(_c.last_accessed, _c.image_id)))
