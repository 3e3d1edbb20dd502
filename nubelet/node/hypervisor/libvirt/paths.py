"""Where the libvirt driver keeps things, and how it keeps the names of sockets short enough.

A socket's path has at most 107 characters, and libvirt makes some of its own below its root. In
a deep state folder the root is therefore reached through a short link under /run.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

# What libvirt puts behind its root: /lib/qemu/domain-<number>-<20 characters>/monitor.sock
_LONGEST_ROOT = 107 - 60


@dataclass(frozen=True)
class Paths:
    """The folders of one state folder's driver."""

    state_dir: Path

    @property
    def folder(self) -> Path:
        """libvirt's root: configuration, definitions, monitors, saved guests."""
        return self.state_dir / "libvirt"

    @property
    def link(self) -> Path:
        """A short other name of `folder`."""
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        return Path("/run") / f"nubelet-{digest}"

    @property
    def root(self) -> Path:
        """How libvirt is told its root: the folder, or the link where that is too long."""
        return self.folder if len(os.fsencode(self.folder)) <= _LONGEST_ROOT else self.link

    @property
    def consoles(self) -> Path:
        """The serial consoles' logs."""
        return self.state_dir / "consoles"

    def console(self, guest_id: str) -> Path:
        """The log of one guest's serial console."""
        return self.consoles / f"{guest_id}.log"

    def vnc_socket(self, guest_id: str) -> Path:
        """Where the guest's screen is served."""
        return self.root / "vnc" / f"{guest_id}.sock"

    def agent_socket(self, guest_id: str) -> Path:
        """Where the guest's QEMU guest agent is reached, if it has one."""
        return self.root / "qga" / f"{guest_id}.sock"

    def process_id(self, guest_id: str) -> int | None:
        """The guest's QEMU process as libvirt wrote it down."""
        try:
            return int((self.folder / "run" / "qemu" / f"{guest_id}.pid").read_text())
        except (OSError, ValueError):
            return None

    def make(self) -> None:
        """Make the folders, readable for the node alone, and the link where one is needed."""
        for folder in (self.folder, self.folder / "etc", self.consoles):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.root == self.link:
            if self.link.is_symlink():
                self.link.unlink()
            self.link.symlink_to(self.folder)
        for folder in (self.root / "vnc", self.root / "qga"):
            folder.mkdir(mode=0o700, exist_ok=True)
