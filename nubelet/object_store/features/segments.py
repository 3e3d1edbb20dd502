"""Objects put together from others: what static and dynamic large objects share.

A large object is read segment by segment; each segment is one further GET, with a range where
only part of it is wanted. Memory holds a piece of one segment, however large the whole is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from nubelet.kernel.errors import ApiError, Conflict
from nubelet.kernel.http.messages import Response
from nubelet.object_store.api import conditions
from nubelet.object_store.call import Call, Proceed, header, pieces
from nubelet.object_store.storage import ObjectPath

# A segment that is itself a large object may hold further ones, so deep.
MAX_DEPTH = 10


class SegmentRefused(Conflict):
    """Who asks may not read a segment. Swift's API tells that as of any that cannot be read: as 409
    where the large object is read, in the list of what is wrong (400) where a manifest is sent."""


@dataclass(slots=True)
class Segment:
    """A part: of another object (from `start`, `size` bytes), or bytes of the manifest itself.

    etag: what the object's must be (empty: whatever). inner: gives the segments of an object
    that is a large one itself. notes: of the call that reads it.
    """

    size: int
    path: ObjectPath | None = None
    etag: str = ""
    start: int = 0
    data: bytes = b""
    inner: Callable[[], Sequence[Segment]] | None = field(default=None, repr=False)
    notes: Mapping[str, Any] = field(default_factory=dict)


def read(
    call: Call, proceed: Proceed, segments: Sequence[Segment], start: int, end: int
) -> Iterator[bytes]:
    """Bytes `start` to before `end` of the whole."""
    offset = 0
    for segment in segments:
        first, last = max(start - offset, 0), min(end - offset, segment.size)
        offset += segment.size
        if first < last:
            yield from _read_one(
                call, proceed, segment, segment.start + first, segment.start + last
            )
        if offset >= end:
            return


def _read_one(
    call: Call, proceed: Proceed, segment: Segment, first: int, last: int
) -> Iterator[bytes]:
    if segment.path is None:
        yield segment.data[first:last]
        return
    if segment.inner is not None:
        yield from read(call, proceed, segment.inner(), first, last)
        return
    get = call.sub("GET", headers={"range": f"bytes={first}-{last - 1}"}).at(segment.path)
    get.notes.update(segment.notes)
    response = proceed(get)
    if response.status not in (200, 206):
        raise ApiError(f"A segment cannot be read: {segment.path}", status=response.status)
    if segment.etag and (header(response, "Etag") or "").strip('"') != segment.etag:
        raise Conflict(f"A segment has changed: {segment.path}")
    left = last - first
    for piece in pieces(response):
        left -= len(piece)
        yield piece
    if left:
        raise Conflict(f"A segment has another size: {segment.path}")


def answer(
    call: Call,
    proceed: Proceed,
    response: Response,
    segments: Sequence[Segment],
    etag: str,
    size: int,
) -> Response:
    """The large object, given the answer that its manifest got: conditions, ranges, bytes."""
    headers = {
        name: value
        for name, value in response.headers.items()
        if name.lower() not in ("content-length", "etag", "content-range")
    }
    headers["Etag"] = f'"{etag}"'
    kind = response.content_type or "application/octet-stream"
    modified = _modified(response)
    status = conditions.check(call.headers, etag, modified)
    if status != 200:
        return Response(status, None, headers, kind)
    if call.method == "HEAD":
        headers["Content-Length"] = str(size)
        return Response(200, None, headers, kind)

    def read_part(start: int, end: int) -> Iterator[bytes]:
        return read(call, proceed, segments, start, end)

    wanted = conditions.wanted_range(call.headers, etag, modified)
    made = conditions.send(headers, wanted, size, kind, read_part, _nothing)
    if made.status in (200, 206) and isinstance(made.body, Iterator):
        made.body = _begun(made.body)
    return made


def answer_part(
    call: Call,
    proceed: Proceed,
    response: Response,
    segments: Sequence[Segment],
    etag: str,
    number: int,
) -> Response:
    """One segment (the first is 1) as the range of the whole that it is."""
    size = sum(segment.size for segment in segments)
    part = call.sub(call.method, headers=dict(call.headers), query=call.query)
    response.headers["X-Parts-Count"] = str(len(segments))
    if number > len(segments):
        made = answer(part.sub("HEAD", headers={}), proceed, response, (), etag, size)
        body = b"The requested part number is not satisfiable"
        made.headers |= {
            "Content-Range": f"bytes */{size}",
            "Content-Length": str(len(body) if call.method == "GET" else 0),
        }
        return Response(416, body, made.headers, "text/plain; charset=UTF-8")
    start = sum(segment.size for segment in segments[: number - 1])
    end = start + segments[number - 1].size
    part.headers["range"] = f"bytes={start}-{end - 1}"
    made = answer(part, proceed, response, segments, etag, size)
    if call.method == "HEAD" and made.status == 200:
        made.status = 206
        made.headers["Content-Length"] = str(end - start)
        made.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return made


def _begun(body: Iterator[bytes]) -> Iterator[bytes]:
    """The body after its first piece was read: what is wrong with it at once is a refusal, not
    an answer that breaks off."""
    try:
        first = next(body, b"")
    except ApiError as error:
        kind = SegmentRefused if error.status == 403 else Conflict
        raise kind(error.message) from None

    def rest() -> Iterator[bytes]:
        yield first
        yield from body

    return rest()


def _modified(response: Response) -> int:
    text = header(response, "Last-Modified")
    return math.ceil(parsedate_to_datetime(text).timestamp()) if text else 0


def _nothing() -> None:
    return None
