"""What a name, a URL or a path means: where the data is, how it is checked, what it is said to be.

The known images stand in images.toml, and nowhere else.
"""

from __future__ import annotations

import platform
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import click

from nubelet.cli.fetching.checksums import Checksum

_TABLE = Path(__file__).with_name("images.toml")


class Source(NamedTuple):
    """Where an image comes from.

    url: http(s); None for a file. checksum: stated beforehand; checksums: the URL of a list that
    has one. min_ram in MiB.
    """

    name: str
    url: str | None
    path: Path | None
    checksum: Checksum | None
    checksums: str | None
    min_ram: int
    properties: dict[str, str]

    @property
    def file_name(self) -> str:
        """The last part of the URL or path."""
        return name_of(self.url) if self.url else str(self.path and self.path.name)


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return tomllib.loads(_TABLE.read_text(encoding="utf-8"))


def machines() -> list[str]:
    """The architectures that images are known for."""
    return list(_table()["machine"])


def own_machine() -> str:
    """The architecture of this machine, if images are known for it."""
    return platform.machine() if platform.machine() in machines() else machines()[0]


def known() -> dict[str, str]:
    """The known images: name -> title."""
    return {name: entry["title"] for name, entry in _table()["image"].items()}


def find(word: str, machine: str, mirror: str | None) -> Source:
    """What a name, URL or path means; raises ClickException with the nearest names.

    mirror: a folder on the web that has the files instead, under their own names.
    """
    if word in _table()["image"]:
        return _known(word, machine, mirror)
    if urlsplit(word).scheme in ("http", "https"):
        found = _guess(name_of(word), machine)
        return found._replace(url=word, path=None, checksum=None, checksums=None)
    path = Path(word).expanduser()
    if path.is_file():
        found = _guess(path.name, machine)
        return found._replace(url=None, path=path, checksum=None, checksums=None)
    raise click.ClickException(f"{word} is neither a file, a URL nor a known image{_near(word)}")


def name_of(url: str) -> str:
    """The file name that a URL ends with."""
    return unquote(urlsplit(url).path.rsplit("/", 1)[-1]) or "image"


def _known(name: str, machine: str, mirror: str | None) -> Source:
    entry, facts = _table()["image"][name], _table()["machine"][machine]
    url = _filled(entry["url"], machine)
    checksums = _filled(entry["checksums"], machine)
    if mirror:
        url, checksums = (f"{mirror.rstrip('/')}/{name_of(each)}" for each in (url, checksums))
    pinned = entry.get("sha256", {}).get(machine)
    return Source(
        name=name,
        url=url,
        path=None,
        checksum=Checksum("sha256", pinned) if pinned else None,
        checksums=checksums,
        min_ram=entry.get("min_ram", 0),
        properties={**facts["properties"], **entry["properties"]},
    )


def _filled(template: str, machine: str) -> str:
    return template.format(machine=machine, deb=_table()["machine"][machine]["deb"])


def _guess(file_name: str, machine: str) -> Source:
    """A known image by the name of its file, else one that nothing is known of."""
    for each in machines():
        for name, entry in _table()["image"].items():
            if name_of(_filled(entry["url"], each)) == file_name:
                return _known(name, each, None)
    stem = file_name.split(".")[0] or "image"
    properties = dict(_table()["machine"][machine]["properties"]) if machine in file_name else {}
    return Source(stem, None, None, None, None, 0, properties)


def _near(word: str) -> str:
    import difflib

    near = difflib.get_close_matches(word, known(), n=3) or [
        name for name in known() if name.startswith(word.split("-")[0])
    ]
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    return f"{hint} (`nubelet image fetch --list` shows those that are known)"
