"""Injected failures for the fake drivers: "the next `ensure_guest` here says the disk is full".

A fault is a small file in a folder, so that a test can inject one into a node that runs in
another process, and so that using one up is a single atomic unlink. Real drivers do not look.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import msgspec

from nubelet.decoding import prepared
from nubelet.node.errors import HostError
from nubelet.node.files import write_whole

_serial = itertools.count()


class Fault(msgspec.Struct, frozen=True):
    """What a driver method shall answer. `keep`: every time, not only the next."""

    method: str
    code: str
    message: str
    detail: str = ""
    keep: bool = False


class Faults:
    """A folder of faults that wait to be met."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unchanged: int | None = None  # the folder's mtime when it was last seen empty

    def fail_next(
        self,
        method: str,
        code: str,
        message: str,
        *,
        detail: str = "",
        times: int = 1,
        keep: bool = False,
    ) -> None:
        """Make the next `times` calls of a driver method fail so (with `keep`: all of them)."""
        self._folder.mkdir(parents=True, exist_ok=True)
        fault = msgspec.json.encode(Fault(method, code, message, detail, keep))
        for _ in range(times):
            name = f"{method}.{os.getpid():08d}.{next(_serial):08d}.json"
            write_whole(self._folder / name, fault)

    def clear(self) -> None:
        """Forget all faults."""
        for path in self._folder.glob("*.json"):
            path.unlink(missing_ok=True)

    def meet(self, method: str) -> None:
        """Raise the fault that waits for this method, if there is one."""
        try:
            changed = os.stat(self._folder).st_mtime_ns
        except FileNotFoundError:
            return
        if changed == self._unchanged:
            return
        waiting = sorted(self._folder.glob("*.json"))
        if not waiting:
            # File times are as coarse as the kernel's tick: a fresh one may hide a newer file.
            if time.time_ns() - changed > 100_000_000:
                self._unchanged = changed
            return
        for path in waiting:
            if path.name.split(".", 1)[0] == method:
                self._use(path)

    def _use(self, path: Path) -> None:
        try:
            fault = msgspec.json.decode(path.read_bytes(), type=prepared(Fault))
            if not fault.keep:
                path.unlink()
        except FileNotFoundError:
            return  # another thread met it first
        raise HostError(fault.code, fault.message, fault.detail)
