"""The serial console's log: reading its tail, and keeping it from filling the disk."""

from __future__ import annotations

import os
from pathlib import Path

_READ_BYTES = 256 << 10
_TRIM_ABOVE_BYTES = 4 << 20


def tail(path: Path, lines: int | None) -> str:
    """The last lines of a log (None: as much as is ever returned, 256 KiB)."""
    content = _last_bytes(path, _READ_BYTES)
    text = content.decode(errors="replace")
    return text if lines is None else last_lines(text, lines)


def last_lines(text: str, lines: int) -> str:
    """The last lines of a text; no line end after the last one."""
    return "\n".join(text.splitlines()[-lines:]) if lines > 0 else ""


def trim(path: Path) -> None:
    """Cut a log that a guest made too long; its newest part stays.

    QEMU holds the file open for appending, so it goes on at the new end. What it writes between
    reading and cutting is lost: the price of not standing between a guest and its log.
    """
    try:
        if path.stat().st_size <= _TRIM_ABOVE_BYTES:
            return
        kept = _last_bytes(path, _READ_BYTES)
        with open(path, "r+b") as file:
            file.truncate(0)
        with open(path, "ab") as file:
            file.write(kept)
    except FileNotFoundError:
        return


def _last_bytes(path: Path, count: int) -> bytes:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - count))
            return file.read()
    except FileNotFoundError:
        return b""
