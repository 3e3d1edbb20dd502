"""Small files on the host: names that cannot escape their folder, writes that are whole or not.

A reader never sees half a file: it is written beside and renamed. There is no fsync: what is
lost with the power is found missing and made again, and a rename costs 0.05 ms without it.
"""

from __future__ import annotations

import itertools
import os
import re
import threading
from pathlib import Path

from nubelet.node.errors import BAD_CALL, HostError

PARTIAL = ".partial"  # end of the names of files that are not complete yet

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_serial = itertools.count()


def safe_name(name: str) -> str:
    """Return `name` if it can be a file name in our folders, else refuse (`bad_call`)."""
    if not _NAME.fullmatch(name):
        raise HostError(BAD_CALL, f"{name!r} is no usable identifier")
    return name


def partial_path(path: Path) -> Path:
    """A name beside `path` to write to before renaming; unique in this process."""
    mark = f"{os.getpid()}-{threading.get_ident()}-{next(_serial)}"
    return path.with_name(f".{path.name}.{mark}{PARTIAL}")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that others see the old content or the new, never a part."""
    beside = partial_path(path)
    try:
        with open(beside, "wb", opener=_private) as file:
            file.write(content)
        os.rename(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
