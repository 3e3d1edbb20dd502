"""The files of a ring: one shape for the ring (read by servers) and the builder (by operators).

    bytes 0-7    b"NBRING\\0\\0" or b"NBBUILD\\0"
    bytes 8-9    version of the format, big endian: 1
    bytes 10-13  length of the header, big endian
    header       JSON; `table_lengths` says how many entries each table has
    tables       one after the other, entries of two bytes (ids of devices) or, for the last table
                 of a builder (hours of the last moves), four bytes; little endian
    last 32      SHA-256 of everything before

A reader refuses a version it does not know; a newer writer may add fields to the header, which an
older reader ignores. Files are written beside, synced and renamed: a reader finds the old one or
the new one, never a part. See docs/reference/ring-files.md.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from array import array
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from nubelet.decoding import prepared

RING = b"NBRING\0\0"
BUILDER = b"NBBUILD\0"
VERSION = 1

_HEAD = struct.Struct(">8sHI")
_DIGEST_BYTES = 32
_ENTRY_TYPES = {"H": 2, "I": 4}
_Header = TypeVar("_Header")


class RingFileError(ValueError):
    """A file is no ring, is damaged, or is of a newer release; says which."""


def write(path: Path, magic: bytes, header: Any, tables: Sequence[array[int]]) -> None:
    """Write a file that `read` understands, whole or not at all."""
    encoded = msgspec.json.encode(header)
    parts = [_HEAD.pack(magic, VERSION, len(encoded)), encoded]
    parts += [_little_endian(table).tobytes() for table in tables]
    content = b"".join(parts)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content + sha256(content).digest())
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(
    path: Path, magic: bytes, header_type: type[_Header], types: str = ""
) -> tuple[_Header, list[array[int]]]:
    """The header and tables of a file; `types`: array types of the last tables (others "H").

    Raises RingFileError.
    """
    content = _checked(path, magic)
    _, _, length = _HEAD.unpack_from(content)
    place = _HEAD.size + length
    try:
        header = msgspec.json.decode(content[_HEAD.size : place], type=prepared(header_type))
    except (msgspec.DecodeError, ValueError) as error:
        raise RingFileError(f"{path}: the header is damaged: {error}") from error
    lengths: list[int] = header.table_lengths  # type: ignore[attr-defined]
    kinds = "H" * (len(lengths) - len(types)) + types
    tables = []
    for kind, count in zip(kinds, lengths, strict=True):
        table: array[int] = array(kind)
        end = place + count * _ENTRY_TYPES[kind]
        if end > len(content) - _DIGEST_BYTES:
            raise RingFileError(f"{path}: a table is cut off")
        table.frombytes(content[place:end])
        tables.append(_little_endian(table))
        place = end
    return header, tables


def _checked(path: Path, magic: bytes) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RingFileError(f"{path}: {error.strerror}") from error
    if len(content) < _HEAD.size + _DIGEST_BYTES or content[:8] != magic:
        kind = "ring" if magic == RING else "builder"
        raise RingFileError(f"{path}: no {kind} file")
    version = _HEAD.unpack_from(content)[1]
    if version != VERSION:
        raise RingFileError(f"{path}: format {version} is newer than this release ({VERSION})")
    if sha256(content[:-_DIGEST_BYTES]).digest() != content[-_DIGEST_BYTES:]:
        raise RingFileError(f"{path}: damaged (its checksum does not fit)")
    return content


def _little_endian(table: array[int]) -> array[int]:
    if sys.byteorder == "little":
        return table
    copy = table[:]
    copy.byteswap()
    return copy
