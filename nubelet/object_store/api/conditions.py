"""Conditional requests and byte ranges of RFC 9110, as Swift reads them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from itertools import pairwise

from nubelet.kernel.http.messages import Response

MAX_RANGES = 50
Read = Callable[[int, int], Iterator[bytes]]


def check(headers: Mapping[str, str], etag: str, modified: int) -> int:
    """200, 304 (the client's copy is good) or 412. modified: Last-Modified in whole seconds."""
    if "if-match" in headers and not _matches(headers["if-match"], etag):
        return 412
    # Swift asks this also where If-Match holds.
    if (moment := _date(headers.get("if-unmodified-since"))) is not None and modified > moment:
        return 412
    if "if-none-match" in headers:
        if _matches(headers["if-none-match"], etag):
            return 304
    elif (moment := _date(headers.get("if-modified-since"))) is not None and modified <= moment:
        return 304
    return 200


def wanted_range(headers: Mapping[str, str], etag: str, modified: int) -> str | None:
    """The Range; None where If-Range says that it is of something else: an entity tag, or the very
    moment of Last-Modified (RFC 9110, 13.1.5)."""
    known = headers.get("if-range", "").strip()
    # What is asked for is bytes: a weak tag never tells which they are.
    if known and known.strip('"') != etag.strip('"') and _date(known) != modified:
        return None
    return headers.get("range")


def _matches(asked: str, etag: str) -> bool:
    offered = {each.strip().removeprefix("W/").strip('"') for each in asked.split(",")}
    return "*" in offered or etag.strip('"') in offered


def _date(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def ranges(asked: str | None, size: int) -> list[tuple[int, int]] | None:
    """First and one past the last byte of each range asked for; None: all of it (no or no
    understandable Range); empty: none of them can be satisfied."""
    match = re.fullmatch(r"bytes\s*=\s*(.+)", asked.strip(), re.IGNORECASE) if asked else None
    if match is None:
        return None
    found: list[tuple[int, int]] = []
    parts = match[1].split(",")
    for part in parts:
        one = re.fullmatch(r"\s*(\d*)\s*-\s*(\d*)\s*", part, re.ASCII)
        if one is None or one.groups() == ("", "") or len(part) > 60:
            return None
        first, last = one.groups()
        if first == "":
            start, end = max(size - int(last), 0), size
        else:
            start, end = int(first), min(int(last) + 1, size) if last else size
            if last and int(last) < start:
                return None
        if start < end:
            found.append((start, end))
    if len(parts) > MAX_RANGES or _is_abuse(found):
        return []
    return found


def _is_abuse(found: list[tuple[int, int]]) -> bool:
    """More than two ranges that overlap ask for the same bytes again and again."""
    ordered = sorted(found)
    overlaps = sum(1 for one, two in pairwise(ordered) if two[0] < one[1])
    return overlaps > 2


def send(
    headers: dict[str, str],
    asked: str | None,
    size: int,
    kind: str,
    read: Read,
    close: Callable[[], None],
) -> Response:
    """200, 206 (one range, or several as multipart/byteranges) or 416."""
    wanted = ranges(asked, size)
    if wanted is None:
        headers["Content-Length"] = str(size)
        return Response(200, _closing(read(0, size), close), headers, kind)
    if not wanted:
        close()
        headers = {**headers, "Content-Range": f"bytes */{size}"}
        headers.pop("Content-Length", None)
        body = (
            b"<html><h1>Requested Range Not Satisfiable</h1>"
            b"<p>The Range requested is not available.</p></html>"
        )
        return Response(416, body, headers, "text/html; charset=UTF-8")
    if len(wanted) == 1:
        start, end = wanted[0]
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        headers["Content-Length"] = str(end - start)
        return Response(206, _closing(read(start, end), close), headers, kind)
    return _multipart(headers, wanted, size, kind, read, close)


def _closing(body: Iterator[bytes], close: Callable[[], None]) -> Iterator[bytes]:
    try:
        yield from body
    finally:
        close()


def _multipart(
    headers: dict[str, str],
    wanted: list[tuple[int, int]],
    size: int,
    kind: str,
    read: Read,
    close: Callable[[], None],
) -> Response:
    boundary = secrets.token_hex(16)
    heads = [
        f"--{boundary}\r\nContent-Type: {kind}\r\n"
        f"Content-Range: bytes {start}-{end - 1}/{size}\r\n\r\n".encode()
        for start, end in wanted
    ]
    tail = f"--{boundary}--".encode()
    length = sum(
        len(head) + end - start + 2 for head, (start, end) in zip(heads, wanted, strict=True)
    )
    headers["Content-Length"] = str(length + len(tail))

    def stream() -> Iterator[bytes]:
        try:
            for head, (start, end) in zip(heads, wanted, strict=True):
                yield head
                yield from read(start, end)
                yield b"\r\n"
            yield tail
        finally:
            close()

    return Response(206, stream(), headers, f"multipart/byteranges; boundary={boundary}")
