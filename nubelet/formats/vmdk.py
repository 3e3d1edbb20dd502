"""VMDK: a sparse file that carries its own description, or a description of other files.

Only files that contain all of the disk are accepted (monolithicSparse, streamOptimized). Dangers:
a description whose extents or parent name files of the host; a second header at the end of a
stream that says something else than the first.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from nubelet.formats.content import WINDOW_BYTES, Content
from nubelet.formats.verdict import Unsafe

MAGIC, OLD_MAGIC = b"KDMV", b"COWD"
_AT_END = 0xFFFFFFFFFFFFFFFF
_SECTOR = 512
_LOOKED_AT = 2048  # of the head, for a text that describes a disk
_TYPES = ("monolithicSparse", "streamOptimized")
_BEGINS_AS_EXTENT = re.compile(r"(?:RW|RDONLY|NOACCESS)\b")
_EXTENT = re.compile(r'(?:RW|RDONLY|NOACCESS)\s+(\d+)\s+(\w+)(?:\s+"([^"]*)"(?:\s+\d+)?)?\s*')


class _Header(NamedTuple):
    magic: bytes
    version: int
    flags: int
    capacity: int
    grain_size: int
    description_offset: int
    description_size: int
    entries: int
    redundant_offset: int
    directory_offset: int

    @staticmethod
    def read(data: bytes) -> _Header:
        if len(data) < 64:
            raise Unsafe("the VMDK header is incomplete")
        return _Header(*struct.unpack("<4sIIQQQQIQQ", data[:64]))


def is_description(head: bytes) -> bool:
    """Does the data begin as a text that describes a disk?

    By its first line, or as QEMU sees it: behind comments and blank lines stands a version.
    """
    text = head[:_LOOKED_AT]
    if text.lstrip().lower().startswith(b"# disk descriptorfile"):
        return True
    for line in map(bytes.strip, text.split(b"\n")):
        if line and not line.startswith(b"#"):
            return line in (b"version=1", b"version=2", b"version=3")
    return False


def plan(content: Content) -> None:
    """Ask for the description, when it lies behind the head."""
    if content.head[:4] == MAGIC:
        header = _Header.read(content.at(0, 64))
        offset = header.description_offset * _SECTOR
        length = header.description_size * _SECTOR
        if offset + length > len(content.head) and not content.watch(offset, length):
            raise Unsafe("the description of the disk is too large or out of place")


def virtual_size(content: Content) -> int:
    """The size of the disk in bytes; raises Unsafe."""
    if is_description(bytes(content.head)):
        raise Unsafe("the data describes a disk that is in other files")
    if content.head[:4] == OLD_MAGIC:
        raise Unsafe("VMDK of the COWD kind is not supported")
    header = _Header.read(content.at(0, 64))
    if header.version not in (1, 2, 3):
        raise Unsafe(f"VMDK version {header.version} is not supported")
    if not header.capacity:
        raise Unsafe("the header says that the disk is described elsewhere")
    if header.directory_offset == _AT_END:
        _check_footer(content, header)
    _check_description(_description(content, header), header)
    return header.capacity * _SECTOR


def _check_footer(content: Content, header: _Header) -> None:
    footer = _Header.read(content.at(content.size - 1024, 64))
    if footer.magic != MAGIC:
        raise Unsafe("the second header at the end of the stream is missing")
    same = ("version", "capacity", "grain_size", "description_offset", "description_size")
    if any(getattr(footer, name) != getattr(header, name) for name in same):
        raise Unsafe("the two headers of the stream contradict each other")


def _description(content: Content, header: _Header) -> str:
    if not header.description_offset:
        raise Unsafe("the file does not contain the description of its disk")
    length = header.description_size * _SECTOR
    if length > WINDOW_BYTES:
        raise Unsafe("the description of the disk is too large or out of place")
    text = content.at(header.description_offset * _SECTOR, length)
    if len(text) < length or not length:
        raise Unsafe("the description of the disk is incomplete")
    try:
        return text.split(b"\0", 1)[0].decode("utf-8")
    except UnicodeDecodeError:
        raise Unsafe("the description of the disk is not a text") from None


def _check_description(text: str, header: _Header) -> None:
    values: dict[str, str] = {}
    extents = []
    for line in (line.strip() for line in text.splitlines()):
        if not line or line.startswith("#"):
            continue
        match = _EXTENT.fullmatch(line)
        name, equals, value = (part.strip() for part in line.partition("="))
        if match:
            extents.append(match)
        elif equals and not _BEGINS_AS_EXTENT.match(line):
            if name.lower() in values:  # readers differ in which of them they believe
                raise Unsafe(f"the description of the disk says {name[:40]!r} twice")
            values[name.lower()] = value.strip('"')
        else:
            raise Unsafe(f"the description of the disk has a line nobody knows: {line[:80]!r}")
    kind = values.get("createtype", "")
    if kind not in _TYPES:
        raise Unsafe(f"VMDK of type {kind[:40]!r} is not supported; {' and '.join(_TYPES)} are")
    if values.get("parentcid", "ffffffff").lower() != "ffffffff" or "parentfilenamehint" in values:
        raise Unsafe("the image has a parent")
    if len(extents) != 1:
        raise Unsafe(f"the disk has {len(extents)} extents, not one")
    sectors, extent_type, name = extents[0].groups()
    if extent_type != "SPARSE" or not name or re.search(r"[/\\:]", name) or name in (".", ".."):
        raise Unsafe("the extent of the disk points to another file")
    if int(sectors) != header.capacity:
        raise Unsafe("header and description disagree about the size of the disk")
