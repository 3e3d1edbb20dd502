"""Config drives: a guest's metadata as a small read-only disk, labelled config-2.

Built with genisoimage or mtools: neither needs a mount, which a host may not allow.

In OpenStack: nova/virt/configdrive.py.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path, PurePosixPath

from nubelet.node import commands
from nubelet.node.errors import BAD_CALL, HostError
from nubelet.node.files import partial_path
from nubelet.node.wire import ConfigDrive

LABEL = "config-2"
_VFAT_KIB = 64 * 1024  # what cloud-init's documentation calls for at least
SUFFIXES = {"iso9660": "iso", "vfat": "img"}


def digest(drive: ConfigDrive) -> str:
    """What tells whether a drive has these contents already."""
    content = hashlib.sha256(drive.format.encode())
    for name in sorted(drive.files):
        data = drive.files[name]
        content.update(f"\0{name}\0{len(data)}\0".encode())
        content.update(data)
    return content.hexdigest()


def build(drive: ConfigDrive, target: Path) -> None:
    """Make the drive at `target`, which must not exist."""
    tree = partial_path(target).with_suffix(".tree.partial")
    try:
        tree.mkdir(mode=0o700)
        for name, data in drive.files.items():
            path = tree / _inside(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        target.touch(mode=0o600)  # it holds passwords and keys
        if drive.format == "iso9660":
            _build_iso(tree, target)
        else:
            _build_vfat(tree, target)
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise HostError(BAD_CALL, f"{name!r} is no path on a config drive")
    return path


def _build_iso(tree: Path, target: Path) -> None:
    words = ["-quiet", "-J", "-r", "-l", "-ldots", "-allow-lowercase", "-allow-multidot"]
    names = ["-publisher", "Nubelet", "-V", LABEL]
    commands.run(["genisoimage", "-o", target, *words, *names, tree])


def _build_vfat(tree: Path, target: Path) -> None:
    geometry = ["-T", str(_VFAT_KIB * 2), "-h", "64", "-s", "32"]
    commands.run(["mformat", "-i", target, "-C", *geometry, "-v", LABEL, "::"])
    commands.run(["mcopy", "-i", target, "-s", "-Q", *sorted(tree.iterdir()), "::/"])
    _spell_label(target)


def _spell_label(target: Path) -> None:
    """mtools writes labels in capitals, and guests look for small letters."""
    volume_entry = f"{LABEL:11}".encode() + b"\x08"
    with open(target, "r+b") as file:
        start = file.read(1 << 20)  # the root directory is among the first sectors
        file.seek(start.index(volume_entry.upper()))
        file.write(volume_entry)
