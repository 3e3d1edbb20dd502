"""What format image data really has, seen while it streams by.

The declared disk_format must be the real one, and the data must not point outside itself: a qcow2
with a backing file, or a "raw" image that is really a qcow2, would make a host read files of its
own for a guest. Everything is decided by our own reading of the data; no program guesses.

`raw` is what is none of the others. A disk with a partition table (`gpt`) or an encrypted one
(LUKS) is raw too: nothing that is opened as raw is ever interpreted by a host.

The image service looks at data on its way in, a node looks again before any tool opens it: so this
package imports neither. In OpenStack: oslo_utils/imageutils/format_inspector.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from nubelet.formats import microsoft, plain, qcow2, vmdk
from nubelet.formats.content import HEAD_BYTES, Content
from nubelet.formats.verdict import Mismatch, Unsafe

__all__ = ["Inspector", "Mismatch", "Unsafe", "detect", "identify"]

# Declared formats whose data is not looked into by anybody.
_OPAQUE = frozenset({"raw", "ami", "ari", "aki"})
# What opaque data may be found to be.
_OPAQUE_CONTENT = frozenset({"raw", "gpt", "luks"})
# Formats that say at a place of their own what they are, so that data can be two of them at once.
# A disc with a partition table is common (and `gpt` is not among them); anything else is a trick.
_SELF_DECLARED = ("qcow2", "vmdk", "vhdx", "vhd", "vdi", "ploop", "qed", "bochs", "luks", "iso")
LARGEST_DISK_BYTES = (1 << 63) - 1
# Containers around a disk: their data is not the disk itself.
_WRAPPED = frozenset({"ova", "docker", "compressed"})


class _Format(NamedTuple):
    is_it: Callable[[Content], bool]
    virtual_size: Callable[[Content], int | None]


def _file_size(content: Content) -> int:
    return content.size


def _refuse(content: Content) -> None:
    raise Unsafe("this format is not supported")


def _begins(*marks: bytes) -> Callable[[Content], bool]:
    return lambda content: bytes(content.head[:32]).startswith(marks)


# In this order; what is none of them is raw.
_FORMATS: dict[str, _Format] = {
    "qcow2": _Format(_begins(qcow2.MAGIC), qcow2.virtual_size),
    "vmdk": _Format(
        lambda content: (
            _begins(vmdk.MAGIC, vmdk.OLD_MAGIC)(content)
            or vmdk.is_description(bytes(content.head[:2048]))
        ),
        vmdk.virtual_size,
    ),
    "vhdx": _Format(_begins(microsoft.VHDX_MAGIC), microsoft.vhdx_virtual_size),
    "vhd": _Format(_begins(microsoft.VHD_COOKIE), microsoft.vhd_virtual_size),
    "vdi": _Format(lambda content: content.at(64, 4) == plain.VDI_MAGIC, plain.vdi_virtual_size),
    "ploop": _Format(_begins(*plain.PLOOP_MAGICS), plain.ploop_virtual_size),
    "qed": _Format(_begins(b"QED\0"), _refuse),
    "bochs": _Format(_begins(b"Bochs Virtual HD Image"), _refuse),
    "luks": _Format(_begins(plain.LUKS_MAGIC), _file_size),
    "iso": _Format(plain.is_iso, _file_size),
    "gpt": _Format(plain.is_partitioned, _file_size),
}


def detect(content: Content) -> str:
    """The format that the data has, by its head."""
    return next((name for name, found in _FORMATS.items() if found.is_it(content)), "raw")


def identify(pieces: Iterator[bytes]) -> tuple[str, int]:
    """The disk_format that data is to be declared with, and the bytes of its disk.

    Raises Unsafe when the data is not safe, Mismatch for a format nobody takes.
    """
    head = bytearray()
    for piece in pieces:
        head += piece
        if len(head) >= HEAD_BYTES:
            break
    content = Content()
    content.feed(bytes(head))
    found = detect(content)
    declared = "raw" if found in _OPAQUE_CONTENT else found
    inspector = Inspector(declared)
    inspector.feed(bytes(head))
    for piece in pieces:
        inspector.feed(piece)
    return declared, inspector.finish() or 0


class Inspector:
    """Feed it the data; it refuses as soon as it can, and `finish` says the virtual size.

    Raises Mismatch when the data is not of the declared format, Unsafe when it is but is not safe.
    """

    def __init__(self, disk_format: str, container_format: str = "bare") -> None:
        self._declared, self._container = disk_format, container_format
        self._content = Content()
        self._planned = False

    def feed(self, chunk: bytes) -> None:
        """The next piece of data."""
        if not self._planned:  # only so much that a window behind the head is not missed
            room = max(0, 512 * 1024 - len(self._content.head))
            self._content.feed(chunk[:room])
            chunk = chunk[room:]
            if self._content.head_is_complete:
                self._plan()
        if chunk:
            self._content.feed(chunk)

    def finish(self) -> int | None:
        """The size of the disk in bytes; None for data that is not a disk itself."""
        if not self._planned:
            self._plan()
        if self._container in _WRAPPED:
            return None
        size = self._measure(self._content)
        if size is not None and not 0 <= size <= LARGEST_DISK_BYTES:
            raise Unsafe(f"no disk has {size} bytes")
        return size

    def _plan(self) -> None:
        """The head is known: is it what was declared, and what else must be seen?"""
        self._planned = True
        found = detect(self._content)
        also = [name for name in _SELF_DECLARED if _FORMATS[name].is_it(self._content)]
        if len(also) > 1:
            raise Mismatch(self._declared, " and ".join(also) + " at once")
        if self._container in _WRAPPED:
            if found not in _OPAQUE_CONTENT:
                raise Mismatch(f"a {self._container} container", found)
            return
        if not self._matches(found):
            raise Mismatch(self._declared, found)
        if found == "vmdk":
            vmdk.plan(self._content)
        elif found == "vhdx":
            microsoft.plan_vhdx(self._content)

    def _matches(self, found: str) -> bool:
        if self._declared in _OPAQUE:
            return found in _OPAQUE_CONTENT
        if self._declared == "vhd" and found in _OPAQUE_CONTENT:
            return True  # a fixed one: only its end will tell
        return found == self._declared

    def _measure(self, content: Content) -> int | None:
        if self._declared in _OPAQUE:
            return content.size
        if (
            self._declared == "vhd"
            and not content.head.startswith(microsoft.VHD_COOKIE)
            and not microsoft.has_vhd_footer(content)
        ):
            raise Mismatch("vhd", detect(content))
        return _FORMATS[self._declared].virtual_size(content)
