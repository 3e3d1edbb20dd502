"""Image data as devices of a Ceph pool: `<image id>.<upload>`, with a protected snapshot `snap`.

Written under a name that ends in `.part`, and renamed when it is complete. librados and librbd
are called through ctypes (`ceph.py`): they come with Ceph's Debian packages, and nothing else is
needed. In OpenStack: glance_store/_drivers/rbd.py.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from nubelet.image.stores import StoreUnreachable
from nubelet.image.stores.ceph import CephError, Device, Pool
from nubelet.image.stores.file import is_part_of
from nubelet.kernel.errors import Conflict
from nubelet.kernel.ids import new_hex

if TYPE_CHECKING:
    from nubelet.settings import RbdStore as Options

SNAPSHOT = "snap"  # what clones of an image stand on, by its name in every OpenStack
_READ_BYTES = 4 << 20
_GROW_BYTES = 1 << 30
_KEY = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(\.[0-9a-z-]+)?"  # bare: of earlier releases


class RbdUpload:
    """A block device that grows while data comes."""

    def __init__(self, pool: Pool, key: str, object_bytes: int) -> None:
        self._pool, self._key = pool, key
        self._part = f"{key}.{new_hex()}.part"
        self._size = self._room = 0
        try:
            pool.create(self._part, 0, object_bytes)
            self._device: Device | None = pool.open(self._part)
        except CephError as error:
            raise StoreUnreachable(str(error)) from error

    def write(self, data: bytes) -> None:
        """Append."""
        assert self._device is not None
        try:
            if self._size + len(data) > self._room:
                self._room = max(self._room + _GROW_BYTES, self._size + len(data))
                self._device.resize(self._room)
            self._device.write(self._size, data)
        except CephError as error:
            raise StoreUnreachable(str(error)) from error
        self._size += len(data)

    def commit(self) -> None:
        """Cut to size, protect, rename."""
        assert self._device is not None
        try:
            self._device.resize(self._size)
            self._device.flush()
            self._device.create_snapshot(SNAPSHOT)
            self._device.protect_snapshot(SNAPSHOT)
            self._close()
            self._pool.rename(self._part, self._key)
        except CephError as error:
            if error.exists:
                raise Conflict(f"The pool has data of image {self._key} already.") from None
            raise StoreUnreachable(str(error)) from error

    def abort(self) -> None:
        """Remove the device."""
        with suppress(CephError):
            self._close()
        with suppress(CephError):
            _remove(self._pool, self._part)

    def _close(self) -> None:
        if self._device is not None:
            self._device.close()
            self._device = None


class RbdStore:
    """A store of type `rbd`."""

    type, read_only = "rbd", False

    def __init__(self, name: str, options: Options) -> None:
        self.name, self.description, self.weight = name, options.description, options.weight
        self._options = options
        self._lock = threading.Lock()
        self._pool: Pool | None = None

    @property
    def properties(self) -> Mapping[str, Any]:
        """Its pool; the cluster's id when it can be asked."""
        known: dict[str, Any] = {
            "pool": self._options.pool,
            "chunk_size": self._options.object_bytes,
            "thin_provisioning": False,
        }
        with suppress(StoreUnreachable):
            known["fsid"] = self._connected().fsid
        return known

    def _connected(self) -> Pool:
        """The pool, over one connection for all; raises StoreUnreachable."""
        with self._lock:
            if self._pool is None:
                options = self._options
                try:
                    self._pool = Pool(
                        options.pool,
                        user=options.user,
                        config=options.config,
                        keyring=options.keyring,
                        timeout_seconds=options.timeout_seconds,
                    )
                except CephError as error:
                    raise StoreUnreachable(str(error)) from error
            return self._pool

    def new_key(self, image_id: str, upload_id: str) -> str:
        """One of its own for each upload, which begins with the id that operators look for."""
        return f"{image_id}.{upload_id}"

    def begin(self, key: str) -> RbdUpload:
        """Start to write."""
        return RbdUpload(self._connected(), key, self._options.object_bytes)

    def size(self, key: str) -> int | None:
        """Bytes of the device."""
        try:
            with self._connected().open(key, read_only=True) as device:
                return device.size()
        except CephError as error:
            if error.missing:
                return None
            raise StoreUnreachable(str(error)) from error

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        """A part of the device."""
        try:
            with self._connected().open(key, read_only=True) as device:
                end = offset + length
                while offset < end:
                    piece = device.read(offset, min(_READ_BYTES, end - offset))
                    if not piece:
                        raise StoreUnreachable(f"device {key} ended {end - offset} bytes early")
                    yield piece
                    offset += len(piece)
        except CephError as error:
            raise StoreUnreachable(str(error)) from error

    def url(self, key: str) -> str:
        """`rbd://fsid/pool/image/snapshot`."""
        parts = (self._connected().fsid, self._options.pool, key, SNAPSHOT)
        return "rbd://" + "/".join(quote(part, safe="") for part in parts)

    def key(self, url: str) -> str | None:
        """The device in this pool of this cluster."""
        if not url.startswith("rbd://"):
            return None
        parts = [unquote(part) for part in url.removeprefix("rbd://").split("/")]
        ours = len(parts) == 4 and parts[1] == self._options.pool and parts[3] == SNAPSHOT
        return parts[2] if ours and parts[0] == self._connected().fsid else None

    def delete(self, key: str) -> None:
        """Remove the device and its parts."""
        pool = self._connected()
        try:
            for name in pool.list():
                if name == key or is_part_of(key, name):
                    _remove(pool, name)
        except CephError as error:
            raise StoreUnreachable(str(error)) from error

    def list_ids(self) -> list[str]:
        """The devices that are named like images."""
        try:
            found = self._connected().list()
        except CephError as error:
            raise StoreUnreachable(str(error)) from error
        return [name for name in found if re.fullmatch(_KEY, name) and not name.endswith(".part")]


def _remove(pool: Pool, name: str) -> None:
    """Remove a device with its snapshot; none is no error."""
    try:
        with pool.open(name) as device:
            if device.has_snapshot(SNAPSHOT):
                device.remove_snapshot(SNAPSHOT)
        pool.remove(name)
    except CephError as error:
        if not error.missing:
            raise
