"""A file becomes an image: made with what is known of it, filled, and found again when it is there.

An upload that was interrupted leaves a queued image with the property `nubelet_fetch`, which says
what was to come into it: the next try fills that one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import click

from nubelet.cli.asking import Refused

_IMAGES = "/image/v2/images"
MARK = "nubelet_fetch"
_GIB = 1 << 30


class Cloud(Protocol):
    """The cloud as its administrator reaches it (`asking.Session`)."""

    def call(
        self, method: str, path: str, body: object = None, *, kind: str = "application/json"
    ) -> Any:
        """Send a request; the decoded answer."""

    def upload(self, path: str, pieces: Iterator[bytes], size: int) -> None:
        """Send data."""


class Wanted(NamedTuple):
    """An image as it shall be. min_disk in GiB, min_ram in MiB; sha512 is that of the data."""

    name: str
    disk_format: str
    visibility: str
    min_disk: int
    min_ram: int
    properties: dict[str, str]
    sha512: str


def disk_gib(size_bytes: int) -> int:
    """The smallest disk in whole GiB that holds so many bytes."""
    return -(-size_bytes // _GIB)


def find_present(cloud: Cloud, wanted: Wanted) -> tuple[str | None, str | None]:
    """The ids of an image of this name that has the data already, and of one that waits for it."""
    ready = waiting = None
    query = f"name={quote(wanted.name, safe='')}&limit=1000"
    for each in cloud.call("GET", f"{_IMAGES}?{query}")["images"]:
        if each["status"] == "active" and each["os_hash_value"] == wanted.sha512:
            ready = each["id"]
        elif each["status"] == "queued" and each.get(MARK) == wanted.sha512:
            waiting = each["id"]
    return ready, waiting


def create(cloud: Cloud, wanted: Wanted) -> str:
    """Make the image, still without data; returns its id."""
    made = cloud.call(
        "POST",
        _IMAGES,
        {
            **wanted.properties,
            MARK: wanted.sha512,
            "name": wanted.name,
            "disk_format": wanted.disk_format,
            "container_format": "bare",
            "visibility": wanted.visibility,
            "min_disk": wanted.min_disk,
            "min_ram": wanted.min_ram,
        },
    )
    return str(made["id"])


def fill(cloud: Cloud, image_id: str, path: Path, sha512: str, sent: Callable[[int], None]) -> None:
    """Upload the data and see that it arrived as it is here; raises ClickException.

    A refused image is removed; one whose upload was interrupted waits for the next try.
    """
    try:
        cloud.upload(f"{_IMAGES}/{image_id}/file", pieces(path, sent), path.stat().st_size)
    except Refused:
        cloud.call("DELETE", f"{_IMAGES}/{image_id}")
        raise
    finish(cloud, image_id, sha512)


def finish(cloud: Cloud, image_id: str, sha512: str) -> None:
    """The image has its data, and waits for nothing any more; raises ClickException."""
    path = f"{_IMAGES}/{image_id}"
    shown = cloud.call("GET", path)
    if shown["status"] != "active" or shown["os_hash_value"] != sha512:
        raise click.ClickException(
            f"image {image_id} is {shown['status']} and its data is not what was sent"
        )
    if MARK in shown:
        change = [{"op": "remove", "path": f"/{MARK}"}]
        cloud.call("PATCH", path, change, kind="application/openstack-images-v2.1-json-patch")


def pieces(path: Path, progress: Callable[[int], None]) -> Iterator[bytes]:
    """A file in pieces; `progress` is told of each."""
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece
            progress(len(piece))
