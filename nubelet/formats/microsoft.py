"""VHD and VHDX. Danger in both: a differencing disk names its parent file.

Specifications: "Virtual Hard Disk Image Format Specification", [MS-VHDX].
"""

from __future__ import annotations

import struct
import uuid

from nubelet.formats.content import Content
from nubelet.formats.verdict import Unsafe

VHD_COOKIE, VHDX_MAGIC = b"conectix", b"vhdxfile"
_VHD_TYPES = {2: "fixed", 3: "dynamic"}
_REGION_TABLES = (192 * 1024, 256 * 1024)
_METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le
_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
_PARENT = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
_TABLE_BYTES = 64 * 1024
_HAS_PARENT = 1 << 1


def has_vhd_footer(content: Content) -> bool:
    """Does the data end as a VHD does? (A fixed one has no other mark.)"""
    return content.size >= 512 and content.at(content.size - 512, 8) == VHD_COOKIE


def vhd_virtual_size(content: Content) -> int:
    """The size of the disk in bytes; raises Unsafe."""
    places = [0] if content.head[:8] == VHD_COOKIE else []
    if has_vhd_footer(content):
        places.append(content.size - 512)
    if not places:
        raise Unsafe("the VHD has no footer")
    sizes = []
    for place in places:
        footer = content.at(place, 512)
        if len(footer) < 512:
            raise Unsafe("the VHD footer is incomplete")
        kind = struct.unpack(">I", footer[60:64])[0]
        if kind not in _VHD_TYPES:
            raise Unsafe(
                "the image is a differencing disk: it has a parent"
                if kind == 4
                else f"VHD of type {kind} is not supported"
            )
        sizes.append(struct.unpack(">Q", footer[48:56])[0])
    if len(set(sizes)) > 1:
        raise Unsafe("the two footers of the VHD contradict each other")
    return int(sizes[0])


def plan_vhdx(content: Content) -> None:
    """Ask for the metadata region."""
    offset, length = _metadata_region(content)
    if offset + length > len(content.head) and not content.watch(offset, length):
        raise Unsafe("the VHDX metadata region is too large or out of place")


def _metadata_region(content: Content) -> tuple[int, int]:
    found = []
    for table in _REGION_TABLES:
        signature, _, count = struct.unpack("<4sII", content.at(table, 12).ljust(12, b"\0"))
        if signature != b"regi" or count > 2047:
            raise Unsafe("the VHDX region tables are damaged")
        for number in range(count):
            entry = content.at(table + 16 + 32 * number, 32)
            if entry[:16] == _METADATA:
                found.append(struct.unpack("<QI", entry[16:28]))
    if not found or len(set(found)) > 1:
        raise Unsafe("the VHDX has no metadata, or contradicts itself about it")
    return int(found[0][0]), int(found[0][1])


def vhdx_virtual_size(content: Content) -> int:
    """The size of the disk in bytes; raises Unsafe."""
    offset, length = _metadata_region(content)
    signature, count = struct.unpack("<8s2xH", content.at(offset, 12).ljust(12, b"\0"))
    if signature != b"metadata" or count > 2047:
        raise Unsafe("the VHDX metadata table is damaged")
    sizes = []
    for number in range(count):
        entry = content.at(offset + 32 + 32 * number, 32)
        if entry[:16] == _PARENT:
            raise Unsafe("the image has a parent")
        if entry[:16] not in (_SIZE, _PARAMETERS):
            continue
        place, size = struct.unpack("<II", entry[16:24])
        if place < _TABLE_BYTES or place + size > length or size < 8:
            raise Unsafe("the VHDX metadata table is damaged")
        item = content.at(offset + place, 8).ljust(8, b"\0")
        if entry[:16] == _SIZE:
            sizes.append(struct.unpack("<Q", item)[0])
        elif struct.unpack("<I", item[4:])[0] & _HAS_PARENT:
            raise Unsafe("the image has a parent")
    if len(sizes) != 1:
        raise Unsafe("the VHDX does not say the size of its disk")
    return int(sizes[0])
