"""Disk images that are distributed packed (.xz, .gz, .bz2): the cloud takes them plain."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import click

_OPENERS: dict[str, Callable[[Path], IO[bytes]]] = {
    ".xz": lzma.LZMAFile,
    ".gz": lambda path: cast(IO[bytes], gzip.GzipFile(path)),
    ".bz2": bz2.BZ2File,
}
# A packed file may say anything of what is in it.
MOST_BYTES = 1 << 40


def unpacked(path: Path, folder: Path, progress: Callable[[int], None]) -> Path:
    """The file itself, or its contents beside it in `folder`; raises ClickException."""
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        return path
    plain = folder / path.with_suffix("").name
    part = plain.with_name(plain.name + ".part")
    size = 0
    try:
        with opener(path) as source, part.open("wb") as file:
            while piece := source.read(1 << 20):
                size += len(piece)
                if size > MOST_BYTES:
                    raise click.ClickException(f"{path.name} holds more than {MOST_BYTES} bytes")
                file.write(piece)
                progress(len(piece))
            file.flush()
            os.fsync(file.fileno())
        part.replace(plain)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise click.ClickException(f"{path.name} cannot be unpacked: {error}") from None
    finally:
        part.unlink(missing_ok=True)
    return plain
