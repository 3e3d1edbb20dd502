"""Removing all that the libvirt driver ever made, also when libvirt cannot be used (any more)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

from nubelet.node.errors import HostError
from nubelet.node.hypervisor.libvirt.connection import Connection
from nubelet.node.hypervisor.libvirt.paths import Paths


def remove_files_of(guest_id: str, paths: Paths) -> None:
    """Remove the console log, the sockets and QEMU's log of a guest that is gone."""
    leftovers = (
        paths.console(guest_id),
        paths.vnc_socket(guest_id),
        paths.agent_socket(guest_id),
        paths.folder / "log" / "qemu" / f"{guest_id}.log",
    )
    for path in leftovers:
        path.unlink(missing_ok=True)


def purge(connection: Connection, paths: Paths) -> list[str]:
    """Switch off and undefine all guests, end QEMU processes, remove files; say what."""
    said = []
    if paths.folder.is_dir():
        said += _remove_guests(connection)
    said += _end_processes(paths.state_dir)
    for folder in (paths.folder, paths.consoles):
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            said.append(f"folder {folder}")
    if paths.link.is_symlink():
        paths.link.unlink()
        said.append(f"link {paths.link}")
    return said


def _remove_guests(connection: Connection) -> list[str]:
    was_open = connection.handle is not None
    try:
        connection.open()
    except HostError:
        return []  # the processes are ended and the files removed all the same
    said = []
    for domain in connection.handle.listAllDomains():
        guest_id = domain.name()
        with contextlib.suppress(connection.libvirt.libvirtError):
            if domain.isActive():
                domain.destroy()
            domain.undefineFlags(
                connection.libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | connection.libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
            )
        said.append(f"guest {guest_id}")
    if not was_open:
        connection.close()
    return said


def _end_processes(state_dir: Path) -> list[str]:
    """End QEMU processes that libvirt does not know (any more), known by our folder's name."""
    mark = f"{state_dir}/"
    said = []
    for process_id in _qemu_processes(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
            said.append(f"QEMU process {process_id}")
    deadline = time.monotonic() + 5
    while _qemu_processes(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    return said


def _qemu_processes(mark: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
            if "qemu-system" in command.split("\0", 1)[0] and mark in command:
                found.append(int(entry.name))
    return found
