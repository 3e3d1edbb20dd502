"""The few calls of librados and librbd that the RBD store needs, through ctypes.

ctypes lets other threads run while a call waits for the cluster. Every call has the time limit
that the connection was given. Errors are CephError with the library's own errno.
"""

from __future__ import annotations

import ctypes
import errno
import os
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint64, c_void_p, create_string_buffer
from functools import cache
from pathlib import Path
from typing import Any


class CephError(Exception):
    """A call that failed; `missing` and `exists` tell the two that are expected."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(f"Ceph: {what}: {os.strerror(code)}")
        self.missing = code == errno.ENOENT
        self.exists = code == errno.EEXIST


@cache
def _libraries() -> tuple[Any, Any]:
    """librados and librbd; raises CephError where the Debian package librbd1 is absent."""
    try:
        rados, rbd = ctypes.CDLL("librados.so.2"), ctypes.CDLL("librbd.so.1")
    except OSError:
        raise CephError(
            "librados and librbd (package librbd1) are not here", errno.ENOSYS
        ) from None
    for library, names in ((rados, _RADOS), (rbd, _RBD)):
        for name, arguments in names.items():
            function = getattr(library, name)
            function.argtypes = arguments
            function.restype = None if name in _NO_ANSWER else c_int
    rbd.rbd_read.restype = rbd.rbd_write.restype = ctypes.c_ssize_t
    return rados, rbd


_P = ctypes.POINTER
_RADOS: dict[str, list[Any]] = {
    "rados_create": [_P(c_void_p), c_char_p],
    "rados_conf_read_file": [c_void_p, c_char_p],
    "rados_conf_set": [c_void_p, c_char_p, c_char_p],
    "rados_connect": [c_void_p],
    "rados_cluster_fsid": [c_void_p, c_char_p, c_size_t],
    "rados_ioctx_create": [c_void_p, c_char_p, _P(c_void_p)],
    "rados_ioctx_destroy": [c_void_p],
    "rados_shutdown": [c_void_p],
}
_RBD: dict[str, list[Any]] = {
    "rbd_create2": [c_void_p, c_char_p, c_uint64, c_uint64, _P(c_int)],
    "rbd_open": [c_void_p, c_char_p, _P(c_void_p), c_char_p],
    "rbd_open_read_only": [c_void_p, c_char_p, _P(c_void_p), c_char_p],
    "rbd_close": [c_void_p],
    "rbd_resize": [c_void_p, c_uint64],
    "rbd_write": [c_void_p, c_uint64, c_size_t, c_char_p],
    "rbd_read": [c_void_p, c_uint64, c_size_t, c_char_p],
    "rbd_flush": [c_void_p],
    "rbd_get_size": [c_void_p, _P(c_uint64)],
    "rbd_snap_create": [c_void_p, c_char_p],
    "rbd_snap_protect": [c_void_p, c_char_p],
    "rbd_snap_unprotect": [c_void_p, c_char_p],
    "rbd_snap_remove": [c_void_p, c_char_p],
    "rbd_snap_is_protected": [c_void_p, c_char_p, _P(c_int)],
    "rbd_list": [c_void_p, c_char_p, _P(c_size_t)],
    "rbd_remove": [c_void_p, c_char_p],
    "rbd_rename": [c_void_p, c_char_p, c_char_p],
}
_NO_ANSWER = frozenset({"rados_ioctx_destroy", "rados_shutdown"})
_LAYERING = 1  # what clones need


def _check(code: int, what: str) -> int:
    if code < 0:
        raise CephError(what, -code)
    return code


class Pool:
    """A pool of a cluster, over a connection of its own. Safe for threads."""

    def __init__(
        self, name: str, *, user: str, config: Path, keyring: Path | None, timeout_seconds: int
    ) -> None:
        rados, self._rbd = _libraries()
        cluster = c_void_p()
        _check(rados.rados_create(byref(cluster), user.encode()), f"user {user}")
        try:
            _check(rados.rados_conf_read_file(cluster, str(config).encode()), f"reading {config}")
            limits = ("client_mount_timeout", "rados_mon_op_timeout", "rados_osd_op_timeout")
            options = {option: str(timeout_seconds) for option in limits}
            if keyring is not None:
                options["keyring"] = str(keyring)
            for option, value in options.items():
                code = rados.rados_conf_set(cluster, option.encode(), value.encode())
                _check(code, f"setting {option}")
            _check(rados.rados_connect(cluster), "connecting to the cluster")
            self._io = c_void_p()
            code = rados.rados_ioctx_create(cluster, name.encode(), byref(self._io))
            _check(code, f"opening pool {name}")
        except BaseException:
            rados.rados_shutdown(cluster)
            raise
        text = create_string_buffer(64)
        _check(rados.rados_cluster_fsid(cluster, text, 64), "asking for the cluster's id")
        self.fsid = text.value.decode()

    def create(self, name: str, size: int, object_bytes: int) -> None:
        """A new device."""
        order = c_int(object_bytes.bit_length() - 1)
        code = self._rbd.rbd_create2(self._io, name.encode(), size, _LAYERING, byref(order))
        _check(code, f"creating device {name}")

    def open(self, name: str, *, read_only: bool = False) -> Device:
        """A device, to be closed."""
        handle = c_void_p()
        call = self._rbd.rbd_open_read_only if read_only else self._rbd.rbd_open
        _check(call(self._io, name.encode(), byref(handle), None), f"opening device {name}")
        return Device(self._rbd, handle, name)

    def remove(self, name: str) -> None:
        """Remove a device without snapshots."""
        _check(self._rbd.rbd_remove(self._io, name.encode()), f"removing device {name}")

    def rename(self, old: str, new: str) -> None:
        """Give a device another name that is free."""
        code = self._rbd.rbd_rename(self._io, old.encode(), new.encode())
        _check(code, f"renaming device {old} to {new}")

    def list(self) -> list[str]:
        """The names of all devices."""
        room = c_size_t(1 << 16)
        while True:
            names = create_string_buffer(room.value)
            code = self._rbd.rbd_list(self._io, names, byref(room))
            if code != -errno.ERANGE:
                break
        length = _check(code, "listing devices")
        return [name.decode() for name in names.raw[:length].split(b"\0") if name]


class Device:
    """An open device."""

    def __init__(self, rbd: Any, handle: c_void_p, name: str) -> None:
        self._rbd, self._handle, self._name = rbd, handle, name

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let it go."""
        _check(self._rbd.rbd_close(self._handle), f"closing device {self._name}")

    def size(self) -> int:
        """Bytes of it."""
        size = c_uint64()
        code = self._rbd.rbd_get_size(self._handle, byref(size))
        _check(code, f"asking for the size of device {self._name}")
        return size.value

    def resize(self, size: int) -> None:
        """Grow or cut it."""
        _check(self._rbd.rbd_resize(self._handle, size), f"resizing device {self._name}")

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data`."""
        done = self._rbd.rbd_write(self._handle, offset, len(data), bytes(data))
        if _check(done, f"writing to device {self._name}") != len(data):
            raise CephError(f"writing to device {self._name}", errno.EIO)

    def read(self, offset: int, length: int) -> bytes:
        """Up to so many bytes."""
        buffer = create_string_buffer(length)
        done = self._rbd.rbd_read(self._handle, offset, length, buffer)
        return buffer.raw[: _check(done, f"reading device {self._name}")]

    def flush(self) -> None:
        """All that was written is durable."""
        _check(self._rbd.rbd_flush(self._handle), f"flushing device {self._name}")

    def create_snapshot(self, name: str) -> None:
        """Keep it as it is now."""
        _check(self._rbd.rbd_snap_create(self._handle, name.encode()), f"snapshot {name}")

    def protect_snapshot(self, name: str) -> None:
        """It cannot be removed while clones stand on it."""
        _check(self._rbd.rbd_snap_protect(self._handle, name.encode()), f"protecting {name}")

    def has_snapshot(self, name: str) -> bool:
        """Is there such a snapshot?"""
        state = c_int()
        code = self._rbd.rbd_snap_is_protected(self._handle, name.encode(), byref(state))
        return code != -errno.ENOENT and _check(code, f"asking for snapshot {name}") >= 0

    def remove_snapshot(self, name: str) -> None:
        """Remove it, protected or not."""
        state = c_int()
        code = self._rbd.rbd_snap_is_protected(self._handle, name.encode(), byref(state))
        _check(code, f"asking for snapshot {name}")
        if state.value:
            code = self._rbd.rbd_snap_unprotect(self._handle, name.encode())
            _check(code, f"unprotecting {name} of {self._name}")
        code = self._rbd.rbd_snap_remove(self._handle, name.encode())
        _check(code, f"removing snapshot {name} of {self._name}")
