"""Formats with little inside: VDI, Parallels (ploop), ISO, and disks with a partition table."""

from __future__ import annotations

import struct

from nubelet.formats.content import Content
from nubelet.formats.verdict import Unsafe

VDI_MAGIC = b"\x7f\x10\xda\xbe"
PLOOP_MAGICS = (b"WithoutFreeSpace", b"WithouFreSpacExt")
LUKS_MAGIC = b"LUKS\xba\xbe"
_ISO_MARKS = (b"CD001", b"BEA01", b"NSR02", b"NSR03")


def vdi_virtual_size(content: Content) -> int:
    """The size of the disk in bytes; raises Unsafe for one with a parent."""
    header = content.at(0, 512)
    if len(header) < 512:
        raise Unsafe("the VDI header is incomplete")
    kind = struct.unpack("<I", header[76:80])[0]
    if kind not in (1, 2):
        raise Unsafe(f"VDI of type {kind} is not supported: only dynamic and static ones are")
    if any(header[424:456]):
        raise Unsafe("the image has a parent")
    return int(struct.unpack("<Q", header[368:376])[0])


def ploop_virtual_size(content: Content) -> int:
    """The size of the disk in bytes; raises Unsafe."""
    header = content.at(0, 64)
    if len(header) < 64:
        raise Unsafe("the header is incomplete")
    return int(struct.unpack("<Q", header[36:44])[0]) * 512


def is_iso(content: Content) -> bool:
    """Does a volume descriptor of ISO 9660 or UDF stand where it must?"""
    return content.at(0x8001, 5) in _ISO_MARKS


def is_partitioned(content: Content) -> bool:
    """Does the data begin with a GPT, or with an MBR that has a sensible partition?"""
    sector = content.at(0, 512)
    if content.at(512, 8) == b"EFI PART":
        return True
    if len(sector) < 512 or sector[510:] != b"\x55\xaa":
        return False
    entries = [sector[at : at + 16] for at in range(446, 510, 16)]
    return all(entry[0] in (0x00, 0x80) for entry in entries) and any(
        entry[4] and struct.unpack("<I", entry[12:16])[0] for entry in entries
    )
