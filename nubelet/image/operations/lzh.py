"""What is in an LHA (LZH) archive, read from the headers of its members.

Only how many files there are, and how large: unpacking is for a program of its own. Levels 0 to 3
of the header differ in where its length stands, and whether the length of the data counts further
headers.
"""

from __future__ import annotations

import struct
from pathlib import Path

_FOLDER = b"-lhd-"
_LEAST_BYTES = 22
_MEMBERS = 64  # an image has one; nobody counts on


def is_archive(head: bytes) -> bool:
    """Do these first bytes begin an archive? A method such as `-lh5-` stands after two of them."""
    return len(head) >= 7 and head[2:5] in (b"-lh", b"-lz") and head[6:7] == b"-"


def file_sizes(path: Path) -> list[int]:
    """How large each file in an archive is said to be; raises ValueError when it is damaged."""
    size, place = path.stat().st_size, 0
    files: list[int] = []
    with path.open("rb") as archive:
        for _ in range(_MEMBERS):
            archive.seek(place)
            head = archive.read(28)
            if not head or (head[0] == 0 and head[20:21] != b"\2"):
                return files
            if len(head) < _LEAST_BYTES or not is_archive(head):
                raise ValueError("there is no header where one should be")
            if head[2:7] != _FOLDER:
                files.append(int.from_bytes(head[11:15], "little"))
            place += _length(head)
            if place > size:
                raise ValueError("it ends too early")
    raise ValueError(f"it has {_MEMBERS} members or more")


def _length(head: bytes) -> int:
    """Bytes of a member with its headers."""
    packed = int.from_bytes(head[7:11], "little")
    level = head[20]
    if level in (0, 1):
        return head[0] + 2 + packed
    if level == 2:
        return int(struct.unpack_from("<H", head)[0]) + packed
    if level == 3 and len(head) == 28:
        return int(struct.unpack_from("<I", head, 24)[0]) + packed
    raise ValueError(f"its header is of the unknown level {level}")
