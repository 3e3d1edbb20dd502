"""Downloads that go on where they were interrupted.

A file is `<key>-<name>.part` until it is complete. What has come is kept together with the mark
that the server gave the file (its ETag or date): another file of the same name begins anew.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import click

from nubelet.cli.fetching.sources import name_of

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60
TRIES = 5
_MOST_LISTING_BYTES = 4 << 20
Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all


def fetch_text(url: str) -> str | None:
    """A small text at a URL; None when there is none."""
    try:
        with _open(url, {}) as answer:
            return bytes(answer.read(_MOST_LISTING_BYTES)).decode("utf-8", "replace")
    except (OSError, HTTPException):
        return None


def target(folder: Path, url: str) -> Path:
    """Where the data of a URL is kept."""
    key = hashlib.sha256(url.encode()).hexdigest()[:12]
    return folder / f"{key}-{name_of(url)[-100:]}"


def fetch(url: str, path: Path, progress: Progress) -> None:
    """Download to `path`, which appears when it is complete; raises ClickException."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    mark = path.with_name(path.name + ".mark")
    before = -1
    for number in range(TRIES):
        try:
            _fetch_once(url, part, mark, progress)
            break
        except urllib.error.HTTPError as error:
            raise click.ClickException(f"{url}: {error.code} {error.reason}") from None
        except (OSError, HTTPException) as error:
            size = part.stat().st_size if part.exists() else 0
            if number == TRIES - 1 or size == before:  # no step further: it will not get better
                raise click.ClickException(
                    f"{url}: {error} after {size} bytes; the same command goes on from there"
                ) from None
            before = size
    part.replace(path)
    mark.unlink(missing_ok=True)


def _fetch_once(url: str, part: Path, mark: Path, progress: Progress) -> None:
    have = part.stat().st_size if part.exists() else 0
    known = mark.read_text() if have and mark.exists() else ""
    headers = {"Range": f"bytes={have}-", "If-Range": known} if known else {}
    try:
        answer = _open(url, headers)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        part.unlink()  # more has come than there is: it is another file
        answer = _open(url, {})
    with answer:
        goes_on = answer.status == 206 and _begin(answer) == have
        if not goes_on:
            have = 0
        mark.write_text(_mark(answer))
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        with part.open("ab" if goes_on else "wb") as file:
            while piece := answer.read(CHUNK_BYTES):
                file.write(piece)
                have += len(piece)
                progress(have, total)
            file.flush()
            os.fsync(file.fileno())
        if total is not None and have != total:
            raise HTTPException(f"the connection ended at {have} of {total} bytes")


def _open(url: str, headers: dict[str, str]) -> HTTPResponse:
    request = urllib.request.Request(  # noqa: S310 - only http and https get here
        url, headers={"User-Agent": "nubelet", "Accept-Encoding": "identity", **headers}
    )
    answer: HTTPResponse = urllib.request.urlopen(  # noqa: S310
        request, timeout=TIMEOUT_SECONDS
    )
    return answer


def _mark(answer: HTTPResponse) -> str:
    """What tells this file from another one at the same URL; a weak ETag does not."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _begin(answer: HTTPResponse) -> int:
    text = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(text) if text.isdigit() else -1
