"""How a full disk is said: which host, what for, how much is needed and how much is there."""

from __future__ import annotations

from nubelet.node.errors import DISK_FULL, HostError


def disk_full(host: str, what: str, needed_bytes: int, free_bytes: int) -> HostError:
    """The refusal of `what` for want of space."""
    return HostError(
        DISK_FULL,
        f"The disk of host {host} is full: {what} needs {readable(needed_bytes)}, "
        f"{readable(max(free_bytes, 0))} are free",
        f"needed_bytes={needed_bytes} free_bytes={free_bytes}",
    )


def readable(size_bytes: int) -> str:
    """A size as people write it."""
    size = float(size_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
