"""What is done with imported data on its way: decompressing it, and bringing it to one format.

In OpenStack: glance/async_/flows/plugins.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from nubelet.image import formats, progress
from nubelet.image.conversion import ImageConverter
from nubelet.image.operations import lzh, staged
from nubelet.image.operations.storing import declared
from nubelet.kernel.errors import BadRequest, TooLarge
from nubelet.kernel.operations.run import Run

_MAGICS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x5d\0\0", "lzma"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
_BY_TOOL = ("zstd", "lha")


def decompress(run: Run) -> dict[str, Any]:
    """Unpack data in the container `compressed`; anything else stays as it is."""
    if declared(run).container_format != "compressed":
        return {}
    path = staged.path_of(run)
    kind = _kind(path)
    if kind is None:
        raise BadRequest(
            "The image is declared to be compressed, but is none of gzip, xz, lzma, bzip2, zip, "
            "zstd and lha."
        )
    remove_plain(run)  # what an earlier try left
    key = staged.new_key(run, staged.PLAIN)
    if kind in _BY_TOOL:
        size = _unpack_by_tool(run, path, kind, key)
    else:
        size = staged.write(run, key, _unpacked(path, kind), "Decompressed")
    run.note("file", f"decompress {kind}", result=f"{size} bytes")
    return {"staged": key, "container_format": "bare"}


def remove_plain(run: Run) -> None:
    """The packed data is still there; the other goes."""
    staged.remove(run, staged.PLAIN)


def _kind(path: Path) -> str | None:
    with path.open("rb") as file:
        head = file.read(8)
    if lzh.is_archive(head):
        return "lha"
    return next((kind for magic, kind in _MAGICS if head.startswith(magic)), None)


def _unpack_by_tool(run: Run, path: Path, kind: str, key: str) -> int:
    limit = run.cloud.settings.image.max_bytes
    told = _size_in_archive(path, limit) if kind == "lha" else None
    converter = run.cloud.get(ImageConverter)  # type: ignore[type-abstract]
    with staged.part(run, key, f"Decompressing {kind}") as part:
        try:
            converter.unpack(path, kind, part, limit + 1)
        except Exception as error:
            if part.exists() and part.stat().st_size > limit:
                raise _too_large(limit) from None
            raise _broken(kind, error) from None
        size = part.stat().st_size
        if told not in (None, size):
            raise _broken(kind, f"{size} bytes came out instead of {told}")
        return size


def _size_in_archive(path: Path, limit: int) -> int:
    """What the only file of an LHA archive is said to have."""
    try:
        sizes = lzh.file_sizes(path)
    except ValueError as error:
        raise _broken("lha", error) from None
    if len(sizes) != 1:
        raise _broken("lha", f"the archive has {len(sizes)} files, not one")
    if sizes[0] == 0:
        raise _broken("lha", "the file in the archive is empty")
    if sizes[0] > limit:
        raise _too_large(limit)
    return sizes[0]


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The image is larger than {limit} bytes.")


def _broken(kind: str, error: object) -> BadRequest:
    return BadRequest(f"The image cannot be decompressed ({kind}): {error}")


def _unpacked(path: Path, kind: str) -> Iterator[bytes]:
    try:
        with _open(path, kind) as file:
            while chunk := file.read(staged.CHUNK_BYTES):
                yield chunk
    except (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, ValueError) as error:
        raise _broken(kind, error) from None


def _open(path: Path, kind: str) -> IO[bytes]:
    if kind == "gzip":
        return cast(IO[bytes], gzip.open(path))
    if kind in ("xz", "lzma"):
        return lzma.open(path)
    if kind == "bzip2":
        return bz2.open(path)
    archive = zipfile.ZipFile(path)
    names = archive.namelist()
    if len(names) != 1:
        raise ValueError(f"the archive has {len(names)} files, not one")
    return archive.open(names[0])


def convert(run: Run) -> dict[str, Any]:
    """Bring a disk to the format of this cloud. ISO images stay: guests boot from them as such."""
    formats_now, wanted = declared(run), run.inputs["conversion_format"]
    if formats_now.container_format != "bare" or formats_now.disk_format in ("iso", wanted):
        return {}
    inspect(run)
    remove_converted(run)  # what an earlier try left
    key = staged.new_key(run, staged.CONVERTED)
    with staged.part(run, key, f"Converting from {formats_now.disk_format} to {wanted}") as part:
        run.cloud.get(ImageConverter).convert(  # type: ignore[type-abstract]
            staged.path_of(run),
            formats_now.disk_format,
            part,
            wanted,
            run.cloud.settings.image.max_bytes,
        )
    run.note("file", f"convert {formats_now.disk_format} to {wanted}")
    return {"staged": key, "disk_format": wanted}


def remove_converted(run: Run) -> None:
    """The data as it came is still there; the other goes."""
    staged.remove(run, staged.CONVERTED)


def inspect(run: Run) -> None:
    """Raise unless the data is what it is declared to be, and safe: no tool opens it before."""
    formats_now = declared(run)
    inspector = formats.Inspector(formats_now.disk_format, formats_now.container_format)
    for chunk in progress.counted(run, "Inspected", staged.read(run)):
        inspector.feed(chunk)
    inspector.finish()
