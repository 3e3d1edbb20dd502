"""Room on the file system that holds the disks, and how its want is told."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from nubelet.node.disks.capacity import disk_full
from nubelet.node.errors import HostError


@dataclass(frozen=True)
class Space:
    """The space below a folder. `reserve_bytes` are left to the rest of the host."""

    folder: Path
    host: str
    reserve_bytes: int = 0

    def total_and_free(self) -> tuple[int, int]:
        """Bytes that guests may use in all, and now."""
        made = self.folder if self.folder.exists() else self.folder.parent
        found = os.statvfs(made)
        total = found.f_blocks * found.f_frsize - self.reserve_bytes
        return max(0, total), max(0, found.f_bavail * found.f_frsize - self.reserve_bytes)

    def need(self, what: str, needed_bytes: int) -> None:
        """Refuse `what` (`disk_full`) when it does not fit."""
        free_bytes = self.total_and_free()[1]
        if needed_bytes > free_bytes:
            raise disk_full(self.host, what, needed_bytes, free_bytes)

    def translate(self, what: str, needed_bytes: int, error: OSError | HostError) -> Exception:
        """`disk_full` if that is what the error says, else the error itself."""
        if isinstance(error, OSError):
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        else:
            is_full = "No space left on device" in error.detail
        if not is_full:
            return error
        return disk_full(self.host, what, needed_bytes, self.total_and_free()[1])
