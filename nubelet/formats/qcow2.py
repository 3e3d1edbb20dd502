"""qcow2: a header, then tables of clusters. QEMU's docs/interop/qcow2.txt describes it.

Dangers: a backing file and an external data file, both of which a host would open by the name
that stands in the data; features that we do not know and QEMU might.
"""

from __future__ import annotations

import struct

from nubelet.formats.content import Content
from nubelet.formats.verdict import Unsafe

MAGIC = b"QFI\xfb"
_EXTERNAL_DATA_FILE, _CORRUPT = 1 << 2, 1 << 1
_KNOWN_FEATURES = 0b11111  # dirty, corrupt, external data file, compression type, extended L2
_LONGEST_NAME = 1023
_END, _DATA_FILE_NAME = 0, 0x44415441


def virtual_size(content: Content) -> int:
    """The size of the disk in bytes; raises Unsafe."""
    if len(content.head) < 72:
        raise Unsafe("the qcow2 header is incomplete")
    version, backing_offset, backing_length = struct.unpack(">IQI", content.at(4, 16))
    cluster_bits, size = struct.unpack(">IQ", content.at(20, 12))
    if version not in (2, 3):
        raise Unsafe(f"qcow version {version} is not supported")
    if backing_offset or backing_length:
        name = content.at(backing_offset, min(backing_length, _LONGEST_NAME))
        raise Unsafe(f"the image has a backing file ({name.decode(errors='replace')!r})")
    if not 9 <= cluster_bits <= 21:
        raise Unsafe(f"clusters of 2^{cluster_bits} bytes are not possible")
    if version == 3:
        _check_features(content)
    header_length = struct.unpack(">I", content.at(100, 4))[0] if version == 3 else 72
    if version == 3 and header_length < 104:
        raise Unsafe("the qcow2 header says that it is shorter than it is")
    _check_extensions(content, header_length, 1 << cluster_bits)
    return int(size)


def _check_features(content: Content) -> None:
    if len(content.head) < 104:
        raise Unsafe("the qcow2 header is incomplete")
    features = struct.unpack(">Q", content.at(72, 8))[0]
    if features & _EXTERNAL_DATA_FILE:
        raise Unsafe("the image has an external data file")
    if features & _CORRUPT:
        raise Unsafe("the image is marked as corrupt")
    if features & ~_KNOWN_FEATURES:
        raise Unsafe(f"the image uses unknown incompatible features ({features:#x})")


def _check_extensions(content: Content, offset: int, cluster_size: int) -> None:
    """The header's extensions lie in the first cluster; one of them names a data file."""
    seen = min(cluster_size, len(content.head))
    while offset + 8 <= seen:
        kind, length = struct.unpack(">II", content.at(offset, 8))
        if kind == _END:
            return
        if kind == _DATA_FILE_NAME:
            raise Unsafe("the image has an external data file")
        offset += 8 + (length + 7) // 8 * 8
    if offset > seen:
        raise Unsafe("the header's extensions are longer than its cluster")
    if content.size > seen and seen < cluster_size:
        raise Unsafe("the header's extensions go on too far to be looked at")
