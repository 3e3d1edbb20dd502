"""Getting an image's bytes to a file of this host, whole and verified."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from nubelet.node import trail
from nubelet.node.disks.file.space import Space
from nubelet.node.errors import IMAGE_CORRUPT, IMAGE_MISSING, IMAGE_UNREACHABLE, HostError
from nubelet.node.wire import ImageSpec

_CHUNK_BYTES = 1 << 20
_SILENCE_SECONDS = 60  # a server that sends nothing for so long is taken for gone
# Images come from inside the cloud: no proxy of the environment stands between.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(spec: ImageSpec, target: Path, space: Space) -> None:
    """Write the image to `target`. A file on this file system is linked, not copied: image
    files are never changed in place.
    """
    parts = urlsplit(spec.url)
    if parts.scheme == "file":
        source = Path(unquote(parts.path))
        with trail.step("file", f"link {source} to {target}"):
            _link(spec, source, target, space)
    elif parts.scheme in ("http", "https"):
        space.need(f"image {spec.id}", spec.size_bytes)
        with trail.step("http", f"GET {spec.url}") as step:
            size = _download(spec, target, space)
            step.result = f"{size} bytes"
    else:
        raise HostError(IMAGE_UNREACHABLE, f"Image {spec.id} has an unknown kind of address")
    _verify(spec, target)


def _link(spec: ImageSpec, source: Path, target: Path, space: Space) -> None:
    try:
        os.link(source, target)
        return
    except FileNotFoundError:
        raise HostError(
            IMAGE_MISSING, f"The data of image {spec.id} is missing: there is no file {source}"
        ) from None
    except OSError:
        pass  # another file system, or one without links
    space.need(f"image {spec.id}", source.stat().st_size)
    try:
        with open(source, "rb") as reader, open(target, "wb") as writer:
            _copy(reader, writer)
    except OSError as error:
        raise space.translate(f"image {spec.id}", spec.size_bytes, error) from None


def _download(spec: ImageSpec, target: Path, space: Space) -> int:
    request = urllib.request.Request(spec.url)  # noqa: S310 - the scheme was checked
    if spec.token:
        request.add_unredirected_header("X-Auth-Token", spec.token)
    try:
        with (
            _opener.open(request, timeout=_SILENCE_SECONDS) as response,
            open(target, "wb") as writer,
        ):
            return _copy(response, writer)
    except urllib.error.HTTPError as error:
        code = IMAGE_MISSING if error.code in (404, 410, 204) else IMAGE_UNREACHABLE
        raise HostError(
            code, f"The image service answered {error.code} {error.reason} for image {spec.id}"
        ) from None
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise HostError(
            IMAGE_UNREACHABLE, f"Image {spec.id} could not be fetched: {reason}", spec.url
        ) from None
    except OSError as error:
        raise space.translate(f"image {spec.id}", spec.size_bytes, error) from None


def _copy(reader: BinaryIO, writer: BinaryIO) -> int:
    size = 0
    while chunk := reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        size += len(chunk)
    return size


def _verify(spec: ImageSpec, path: Path) -> None:
    with trail.step("file", f"verify {spec.hash_algorithm} of image {spec.id}"):
        size = path.stat().st_size
        if spec.size_bytes and size != spec.size_bytes:
            raise HostError(
                IMAGE_CORRUPT,
                f"Image {spec.id} is damaged: it has {size} bytes and should have "
                f"{spec.size_bytes}",
            )
        if not spec.hash_value:
            return
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, spec.hash_algorithm).hexdigest()
        if found != spec.hash_value.lower():
            raise HostError(
                IMAGE_CORRUPT,
                f"Image {spec.id} is damaged: its {spec.hash_algorithm} is not the one it was "
                "uploaded with",
                f"found {found}, expected {spec.hash_value}",
            )
