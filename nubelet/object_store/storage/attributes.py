"""Metadata beside a file's bytes: in an extended attribute, else in a side file.

ext4 gives a file's attributes about 4 KB; some filesystems have none. What does not fit goes to
`<file>.attributes`, which is durable before the file gets its name.

In OpenStack: swift/obj/diskfile.py read_metadata, write_metadata.
"""

from __future__ import annotations

import contextlib
import errno
import os

import msgspec

from nubelet.decoding import prepared

_NAME = "user.nubelet.metadata"
SIDE = ".attributes"
_REFUSALS = (errno.ENOTSUP, errno.E2BIG, errno.ERANGE, errno.ENOSPC, errno.EDQUOT, errno.EINVAL)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(prepared(dict[str, str])).decode


def write(descriptor: int, path: str, metadata: dict[str, str]) -> bool:
    """Note the metadata of an open file at `path`; True if that took a side file."""
    data = _encode(metadata)
    try:
        os.setxattr(descriptor, _NAME, data)
        return False
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
    side = os.open(path + SIDE, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(side, view) :]
        os.fsync(side)
    finally:
        os.close(side)
    return True


def read(descriptor: int, path: str) -> dict[str, str]:
    """The metadata of an open file; raises OSError or msgspec.DecodeError where it has none."""
    try:
        return _decode(os.getxattr(descriptor, _NAME))
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP):
            raise
    with open(path + SIDE, "rb") as file:
        return _decode(file.read())


def remove_side(path: str) -> None:
    """Remove the side file of a file that is gone."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path + SIDE)
