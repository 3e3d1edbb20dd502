"""What a key is made of: its parts by number, GetObjectAttributes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import header, is_true, pieces
from nubelet.object_store.s3 import checksums, customer_keys, objects, parts, pins, removing, xml
from nubelet.object_store.s3.asked import Asked
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.s3.etags import etag_of

_MOST = 1000
_ATTRIBUTES = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")
Shown = Callable[[Mapping[str, str]], Response]


def show_part(asked: Asked, found: Response, shown: Shown) -> Response:
    """GET and HEAD ?partNumber of the key that was found: the bytes of one part, as a range. Raises
    ChangedError."""
    wanted = parts.read_number(asked.query["partNumber"])
    there = _parts(asked, found)
    whole = int(header(found, "Content-Length") or 0)
    sizes = [size for _place, size, _checksum in there] or [whole]
    if wanted > len(sizes):
        raise S3Error("InvalidPartNumber")
    if not whole:  # no range can be said of nothing
        return shown({})
    start, size = sum(sizes[: wanted - 1]), sizes[wanted - 1]
    response = shown({"range": f"bytes={start}-{start + size - 1}"})
    response.status = 206
    response.headers |= {
        "Content-Length": str(size),
        "Content-Range": f"bytes {start}-{start + size - 1}/{whole}",
    }
    if there:
        response.headers["x-amz-mp-parts-count"] = str(len(there))
    return response


def _parts(asked: Asked, found: Response) -> list[tuple[int, int, str]]:
    """Place, size and kept checksum of the parts of a key that was found; none where it is of one
    piece. The parts of a key are numbered anew, from 1: its readers count to how many there are.
    Raises ChangedError."""
    if not is_true(header(found, "X-Static-Large-Object")):
        return []
    call = asked.call("GET", query={**objects.wanted(asked), "multipart-manifest": "get"})
    call.notes["decided"] = True
    manifest = asked.ask(call)
    document = b"".join(pieces(manifest))
    pins.check(found, manifest)
    stored = json.loads(document)
    return [
        (place, int(each["bytes"]), parts.checksum_of(each.get("content_type", "")))
        for place, each in enumerate(stored, 1)
    ]


def show(asked: Asked) -> Response:
    """GET ?attributes: those that x-amz-object-attributes names."""
    with removing.telling_of_marker(asked):
        return pins.of_one_write(lambda: _show(asked))


def _show(asked: Asked) -> Response:
    asks = asked.headers.get("x-amz-object-attributes", "")
    wanted = {each.strip() for each in asks.split(",") if each.strip()}
    if not wanted or not wanted <= set(_ATTRIBUTES):
        raise S3Error("InvalidArgument", "x-amz-object-attributes names no attributes, or others.")
    found = asked.ask(asked.call("HEAD", query=objects.wanted(asked)))
    customer_keys.check(asked.headers, found)
    kept = header(found, checksums.STORED)
    document: dict[str, Any] = {}
    if "ETag" in wanted:
        document["ETag"] = etag_of(found).strip('"')
    if "Checksum" in wanted and kept:
        document["Checksum"] = checksums.document_of(kept)
    if "ObjectParts" in wanted and (there := _parts(asked, found)):
        document["ObjectParts"] = _page(asked, there)
    if "StorageClass" in wanted:
        document["StorageClass"] = "STANDARD"
    if "ObjectSize" in wanted:
        document["ObjectSize"] = header(found, "Content-Length") or "0"
    answer = xml.document("GetObjectAttributesResponse", document)
    answer.headers["Last-Modified"] = header(found, "Last-Modified") or ""
    answer.headers |= objects.version_header(found)
    return answer


def _page(asked: Asked, there: list[tuple[int, int, str]]) -> dict[str, Any]:
    most, marker = (
        _integer(asked, "x-amz-max-parts", _MOST),
        _integer(asked, "x-amz-part-number-marker", 0),
    )
    behind = [each for each in there if each[0] > marker]
    shown = behind[: min(most, _MOST)]
    # Parts without checksums are counted only.
    lines = [
        {
            "PartNumber": number,
            "Size": size,
            **{
                name: value
                for name, value in checksums.document_of(kept).items()
                if name != "ChecksumType"
            },
        }
        for number, size, kept in shown
        if kept
    ]
    return {
        "TotalPartsCount": len(there),
        "PartsCount": len(there),
        "PartNumberMarker": marker,
        "NextPartNumberMarker": shown[-1][0] if shown else 0,
        "MaxParts": most,
        "IsTruncated": len(behind) > len(shown),
        "Part": lines,
    }


def _integer(asked: Asked, name: str, default: int) -> int:
    text = asked.headers.get(name, str(default))
    if not text.isascii() or not text.isdigit():
        raise S3Error("InvalidArgument", f"{name} must be an integer.")
    return int(text[:9])
