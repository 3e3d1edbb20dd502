"""Guests whose QEMU was lost: found before libvirt looks, and remembered until they start again.

libvirt keeps a status file for each guest that runs. Where the QEMU behind it is gone (the host
rebooted, or the node was killed between fork and exec) libvirt waits for it, in one case for ever
(a lock of a start that nobody finishes). We own its root alone, so such files are removed before
it is opened. That the guest did not stop by anybody's wish is noted in a file of our own: libvirt
forgets it with the next restart of the node.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import platform
import shutil
import time
from pathlib import Path
from xml.etree import ElementTree as ET

from nubelet.node import commands
from nubelet.node.files import write_whole
from nubelet.node.hypervisor.libvirt.domain_xml import parse
from nubelet.node.hypervisor.libvirt.paths import Paths

log = logging.getLogger(__name__)

_EXEC_SECONDS = 1.0  # how long a forked process may take to become QEMU


class Losses:
    """Which guests were lost, and why: one small file each."""

    def __init__(self, paths: Paths) -> None:
        self._folder = paths.folder / "lost"
        self._forgiven: set[str] = set()  # libvirt still says "crashed", but it was dealt with

    def note(self, guest_id: str, why: str) -> None:
        """Remember that a guest went down against everybody's wish."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._forgiven.discard(guest_id)
        write_whole(self._folder / guest_id, why.encode())

    def forgive(self, guest_id: str) -> None:
        """The guest was switched off on purpose since: it is off, not lost."""
        self.forget(guest_id)
        self._forgiven.add(guest_id)

    def forget(self, guest_id: str) -> None:
        """The guest was started again, or removed."""
        self._forgiven.discard(guest_id)
        with contextlib.suppress(FileNotFoundError):
            (self._folder / guest_id).unlink()

    def is_forgiven(self, guest_id: str) -> bool:
        """Does what libvirt remembers of a crash no longer count?"""
        return guest_id in self._forgiven

    def why(self, guest_id: str) -> str:
        """Why a guest was lost; empty when it was not."""
        try:
            return (self._folder / guest_id).read_text(errors="replace")
        except FileNotFoundError:
            return ""


def drop_dead(paths: Paths) -> list[str]:
    """Remove the status of guests whose QEMU is gone, and end the QEMUs that are no guests, unless
    another process has the root open. Returns the guests' ids.
    """
    folder = paths.folder / "run" / "qemu"
    dead = []
    with contextlib.suppress(FileNotFoundError), open(folder / "driver.pid", "rb+") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return []
        for status in folder.glob("*.xml"):
            if not _is_alive(status, paths):
                _drop(status, paths)
                dead.append(status.stem)
        _end_probes(paths)
    return dead


def _end_probes(paths: Paths) -> None:
    """End what libvirt asked for the abilities of QEMU: it waits for a process that was killed."""
    own = f"qemu-system-{platform.machine()}"
    programs = {own, *(path.name for path in Path("/usr/bin").glob("qemu-system-*"))}
    for folder in (paths.root / "lib" / "qemu").glob("qmp-*"):
        commands.end_left(programs, folder)
        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(status: Path, paths: Paths) -> bool:
    try:
        process_id = int(parse(status.read_text()).get("pid", "0"))
    except (OSError, ValueError, ET.ParseError):
        return False
    deadline = time.monotonic() + _EXEC_SECONDS
    while True:
        try:
            words = Path(f"/proc/{process_id}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        if b"qemu-system" in words[0]:
            return any(status.stem.encode() in word for word in words)
        # A zombie has no words; our own fork still has ours, and may become QEMU any moment.
        if len(words) < 2 or time.monotonic() > deadline:
            return False
        time.sleep(0.01)


def _drop(status: Path, paths: Paths) -> None:
    guest_id = status.stem
    log.info("QEMU of guest %s is gone", guest_id)
    status.with_suffix(".pid").unlink(missing_ok=True)
    for folder in (paths.folder / "lib" / "qemu").glob(f"domain-*-{guest_id[:20]}"):
        shutil.rmtree(folder, ignore_errors=True)
    paths.vnc_socket(guest_id).unlink(missing_ok=True)
    os.unlink(status)
