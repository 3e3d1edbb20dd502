"""Checksums: stated as `sha256:...`, or found in the lists that distributors publish."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

import click

# By the number of hexadecimal digits. The first ones are accepted only where nothing better is.
_BY_LENGTH = {32: "md5", 64: "sha256", 96: "sha384", 128: "sha512"}
_HEX = r"[0-9a-fA-F]{32,128}"
_GNU = re.compile(rf"\\?(?P<hash>{_HEX})\s+[ *]?(?:\./)?(?P<name>\S+)\s*")
_BSD = re.compile(rf"(?P<kind>[A-Z0-9-]+)\s*\((?P<name>[^)]+)\)\s*=\s*(?P<hash>{_HEX})\s*")
_ALONE = re.compile(rf"(?P<hash>{_HEX})\s*")
# Where a list may lie beside a file of which nobody said where.
_BESIDE = ("{}.sha512", "{}.sha256", "{}.CHECKSUM", "SHA512SUMS", "SHA256SUMS", "CHECKSUM")


class Checksum(NamedTuple):
    """An algorithm of hashlib and the hash in hexadecimal digits."""

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


def parse(text: str) -> Checksum:
    """A checksum as a user states it, with or without its algorithm; raises ClickException."""
    algorithm, colon, value = text.rpartition(":")
    value = value.strip().lower()
    found = _BY_LENGTH.get(len(value))
    if not re.fullmatch(r"[0-9a-f]+", value) or found is None or (colon and algorithm != found):
        raise click.ClickException(
            f"{text} is not a checksum: write ALGORITHM:HASH with one of "
            f"{', '.join(_BY_LENGTH.values())}"
        )
    return Checksum(found, value)


def look_up(listing: str, file_name: str) -> Checksum | None:
    """The strongest checksum that a list has for a file; the list may be signed around."""
    found: list[Checksum] = []
    lines = [line.strip() for line in listing.splitlines()]
    for line in lines:
        match = _GNU.fullmatch(line) or _BSD.fullmatch(line)
        if match and match["name"].rsplit("/", 1)[-1] == file_name:
            found += _made(match["hash"])
    if not found and len(lines) == 1 and (match := _ALONE.fullmatch(lines[0])):
        found += _made(match["hash"])
    return max(found, key=lambda each: len(each.value), default=None)


def _made(value: str) -> list[Checksum]:
    algorithm = _BY_LENGTH.get(len(value))
    return [Checksum(algorithm, value.lower())] if algorithm else []


def find_beside(
    url: str, file_name: str, fetch_text: Callable[[str], str | None]
) -> Checksum | None:
    """The checksum of a file that lies in one of the usual lists beside it."""
    for pattern in _BESIDE:
        listing = fetch_text(urljoin(url, pattern.format(file_name)))
        if listing and (found := look_up(listing, file_name)):
            return found
    return None


def verify(path: Path, expected: Checksum, progress: Callable[[int], None]) -> bool:
    """Does a file have this checksum? `progress` is told how many bytes were read."""
    return digest(path, expected.algorithm, progress) == expected.value


def digest(path: Path, algorithm: str, progress: Callable[[int], None]) -> str:
    """The hash of a file in hexadecimal digits."""
    made = hashlib.new(algorithm)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            made.update(piece)
            progress(len(piece))
    return made.hexdigest()
