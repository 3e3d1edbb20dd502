"""A file tree held in memory, and the initial RAM file system made of it.

Owners, modes and times are part of the tree, not of the build machine's files, so a build needs no
root and gives the same bytes everywhere. Next to read: system.py (what is in the trees), disk.py.

The archive format is the "newc" cpio of the Linux kernel's documentation, in
driver-api/early-userspace/buffer-format.rst.
"""

import gzip
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

TIMESTAMP_SECONDS = 1_700_000_000
"""Time of every file in the image: a constant, so that equal inputs give equal bytes."""


@dataclass(frozen=True)
class Entry:
    """A file, folder or symbolic link. `mode` is complete (type and permissions)."""

    mode: int
    content: bytes = b""
    user_id: int = 0
    group_id: int = 0

    @property
    def is_folder(self) -> bool:
        """Tell whether this is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Tell whether this is a symbolic link; `content` is its target."""
        return stat.S_ISLNK(self.mode)


class Tree:
    """Paths (relative, no leading slash) and their entries; parents come by themselves."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def __getitem__(self, path: str) -> Entry:
        return self._entries[path]

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        """All entries in order of path: a folder comes before what is in it."""
        return iter(sorted(self._entries.items()))

    def add_file(self, path: str, content: bytes, permissions: int = 0o644) -> None:
        """Put a file at `path`, in place of what was there."""
        self._add_parents(path)
        self._entries[path] = Entry(stat.S_IFREG | permissions, content)

    def add_folder(self, path: str, permissions: int = 0o755, owner_id: int = 0) -> None:
        """Put an empty folder at `path`, owned by the user and group `owner_id`."""
        self._add_parents(path)
        self._entries[path] = Entry(stat.S_IFDIR | permissions, b"", owner_id, owner_id)

    def add_link(self, path: str, target: str) -> None:
        """Put a symbolic link at `path`, in place of what was there."""
        self._add_parents(path)
        self._entries[path] = Entry(stat.S_IFLNK | 0o777, target.encode())

    def _add_parents(self, path: str) -> None:
        for parent in PurePosixPath(path).parents:
            name = str(parent)
            if name != "." and name not in self._entries:
                self._entries[name] = Entry(stat.S_IFDIR | 0o755)


def to_initramfs(tree: Tree) -> bytes:
    """Return the tree as a gzip-compressed cpio archive, as the kernel takes it for an initrd."""
    parts = [
        _cpio_record(number, path, entry) for number, (path, entry) in enumerate(tree, start=1)
    ]
    parts.append(_cpio_record(0, "TRAILER!!!", Entry(0)))
    return gzip.compress(b"".join(parts), compresslevel=9, mtime=0)


def _cpio_record(inode: int, path: str, entry: Entry) -> bytes:
    name = path.encode() + b"\0"
    fields = (
        inode,
        entry.mode,
        entry.user_id,
        entry.group_id,
        2 if entry.is_folder else 1,
        TIMESTAMP_SECONDS if entry.mode else 0,
        len(entry.content),
        0,
        0,
        0,
        0,
        len(name),
        0,
    )
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _pad(header + name) + _pad(entry.content)


def _pad(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
