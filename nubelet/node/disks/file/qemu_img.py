"""`qemu-img`, always with the format stated and with limits.

An image is whatever its owner uploaded: its header may name other files of this host, or make
the tool use memory and time without end. So formats are never guessed, headers that reach out
of the file are refused, and the tool runs under prlimit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from nubelet.node import commands
from nubelet.node.errors import COMMAND_FAILED, IMAGE_CORRUPT, HostError

# The Image API's names of formats -> QEMU's.
_QEMU_FORMATS = {
    "raw": "raw",
    "iso": "raw",
    "gpt": "raw",  # a disk with a partition table, named as such
    "aki": "raw",
    "ari": "raw",
    "ami": "raw",
    "qcow2": "qcow2",
    "vmdk": "vmdk",
    "vhd": "vpc",
    "vhdx": "vhdx",
    "vdi": "vdi",
    "ploop": "parallels",
}
# VMDK files of these kinds hold their data themselves; the others name files beside them.
_SELF_CONTAINED_VMDK = ("monolithicSparse", "streamOptimized")

_LOOK = commands.Limits(cpu_seconds=30, address_space_bytes=1 << 30)
_LONG_WORK = commands.Limits(address_space_bytes=4 << 30)
_WORK = commands.Limits(cpu_seconds=3600, address_space_bytes=4 << 30)


def qemu_format(disk_format: str) -> str:
    """QEMU's name of an image format; `image_corrupt` for one that is no disk."""
    try:
        return _QEMU_FORMATS[disk_format]
    except KeyError:
        raise HostError(
            IMAGE_CORRUPT, f"An image in format {disk_format!r} cannot be a guest's disk here"
        ) from None


def virtual_size(path: Path, disk_format: str, subject: str) -> int:
    """The size in bytes of the disk in an image; refuses an image that is damaged or reaches
    out of its file (`image_corrupt`). `subject` names it in messages.
    """
    kind = qemu_format(disk_format)
    if kind == "raw":
        return path.stat().st_size
    arguments = ["qemu-img", "info", "-f", kind, "--output=json", str(path)]
    done = commands.run(arguments, limits=_LOOK, check=False, timeout_seconds=60)
    if done.status != 0:
        raise HostError(IMAGE_CORRUPT, f"{subject} is no valid {disk_format} file", done.complaint)
    facts: dict[str, Any] = msgspec.json.decode(done.stdout)
    specific = facts.get("format-specific", {}).get("data", {})
    outside = facts.get("backing-filename") or specific.get("data-file")
    if kind == "vmdk" and specific.get("create-type") not in _SELF_CONTAINED_VMDK:
        outside = f"other files (VMDK {specific.get('create-type')})"
    if outside:
        raise HostError(IMAGE_CORRUPT, f"{subject} refers to data outside of itself: {outside}")
    if facts.get("encrypted"):
        raise HostError(IMAGE_CORRUPT, f"{subject} is encrypted, and there is no key for it")
    return int(facts["virtual-size"])


def create(path: Path, disk_format: str, size_bytes: int, base: tuple[Path, str] | None) -> None:
    """Make an empty disk, or (qcow2) one that is copied on write from `base` (file, format)."""
    backing = ["-F", base[1], "-b", str(base[0])] if base else []
    _work(["create", "-q", "-f", disk_format, *backing, str(path), str(size_bytes)])


def convert(source: Path, source_format: str, target: Path, target_format: str) -> None:
    """Copy a disk into another format; runs of zeros take no space."""
    _work(["convert", "-f", source_format, "-O", target_format, str(source), str(target)])


def start_convert(
    source: Path, source_format: str, target: Path, target_format: str
) -> commands.Started:
    """As `convert`, but only begin: a large disk takes longer than a call may."""
    arguments = ["convert", "-f", source_format, "-O", target_format, str(source), str(target)]
    return commands.start(["qemu-img", *arguments], limits=_LONG_WORK)


def resize(path: Path, disk_format: str, size_bytes: int) -> None:
    """Make a disk larger."""
    _work(["resize", "-q", "-f", disk_format, str(path), str(size_bytes)])


def _work(arguments: list[str]) -> None:
    commands.run(["qemu-img", *arguments], limits=_WORK, timeout_seconds=3600, code=COMMAND_FAILED)
