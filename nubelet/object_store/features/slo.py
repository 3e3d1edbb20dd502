"""Static large objects: a manifest that lists segments with their sizes and checksums.

    PUT ?multipart-manifest=put      a JSON list of {path, etag, size_bytes, range} or {data}
        &heartbeat=on                an answer that goes on while the segments are looked at
    GET                              the whole; ?multipart-manifest=get: the manifest
        ?part-number=2               the second segment, as a range of the whole
    DELETE ?multipart-manifest=delete    the segments too; &async=on: those a little later

The manifest is checked against the segments once, when it is stored, and each segment against
the manifest whenever it is read.

In OpenStack: swift/common/middleware/slo.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from nubelet.kernel.errors import ApiError, BadRequest, Conflict, UnprocessableEntity
from nubelet.kernel.http.messages import Response
from nubelet.object_store.api import objects
from nubelet.object_store.call import Call, Proceed, body_of, header, is_true, pieces
from nubelet.object_store.features import bulk_answers, later_deletes, slo_manifest, symlinks
from nubelet.object_store.features.segments import MAX_DEPTH, Segment, answer, answer_part
from nubelet.object_store.features.version_names import ENABLED
from nubelet.object_store.storage import OVERRIDE_ETAG, OVERRIDE_SHOWN_SIZE, ObjectPath

_ETAG, _SIZE = "x-object-sysmeta-slo-etag", "x-object-sysmeta-slo-size"
# A note: the segments as they are stored, looked at already by who asks (and as many as it likes).
RESOLVED = "slo-resolved"
# A note of a call that reads a segment: the path of the manifest that names it.
NAMED_BY = "slo-named-by"
CAPABILITY: Mapping[str, Any] = {
    "max_manifest_segments": slo_manifest.MAX_SEGMENTS,
    "max_manifest_size": slo_manifest.MAX_BYTES,
    "min_segment_size": 1,
    "yield_frequency": int(bulk_answers.BEAT_SECONDS),
    "allow_async_delete": True,
}


def slo(call: Call, proceed: Proceed) -> Response:
    """Store, show and delete large objects."""
    if not call.object:
        return proceed(call)
    asked = call.query.get("multipart-manifest", "")
    if call.is_read:
        return _show(call, proceed, asked)
    if call.method == "PUT":
        if asked == "put":
            return _put(call, proceed)
        if "x-static-large-object" in call.headers:
            call.headers.pop("x-static-large-object")
    elif call.method == "DELETE" and asked == "delete":
        return _delete(call, proceed)
    return proceed(call)


# --- PUT --------------------------------------------------------------------------------------


def _put(call: Call, proceed: Proceed) -> Response:
    if (known_parts := call.notes.get(RESOLVED)) is not None:
        return _store(call, proceed, known_parts)
    entries = slo_manifest.parse(call.read_body(slo_manifest.MAX_BYTES))
    if not is_true(call.query.get("heartbeat")):
        checked = _Checked()
        for _entry in checked.check(call, proceed, entries):
            pass
        if checked.problems:
            body = bulk_answers.text(call, [], checked.problems, BadRequest.status)
            return Response(400, body, {}, bulk_answers.kind(call))
        return _store(call, proceed, checked.resolved)
    info = call.container_info()
    call.authorize(info.metadata.get("x-container-write", "") if info else "")
    return Response(202, _beating(call, proceed, entries), {}, bulk_answers.kind(call))


class _Checked:
    """The entries of a manifest as they are stored, and what is wrong with them."""

    def __init__(self) -> None:
        self.resolved: list[dict[str, Any]] = []
        self.problems: list[tuple[str, str]] = []

    def check(
        self, call: Call, proceed: Proceed, entries: Sequence[slo_manifest.Entry]
    ) -> Iterator[None]:
        """Look at one segment after the other."""
        known: dict[str, Response | ApiError] = {}
        for entry in entries:
            try:
                self.resolved.append(_resolve(call, proceed, entry, known))
            except ApiError as error:
                self.problems.append((entry.sent, error.message))
            yield


def _beating(
    call: Call, proceed: Proceed, entries: Sequence[slo_manifest.Entry]
) -> Iterator[bytes]:
    """Blanks while it lasts, then how it ended: the status of the answer had to be said before."""
    checked = _Checked()
    yield b" "
    yield from bulk_answers.beats(checked.check(call, proceed, entries))
    further: dict[str, str] = {}
    status, words = 201, ""
    try:
        if checked.problems:
            status, words = 400, bulk_answers.explained(400)
        else:
            stored = _store(call, proceed, checked.resolved)
            status = stored.status
            further = {
                "Etag": header(stored, "Etag") or "",
                "Last Modified": header(stored, "Last-Modified") or "",
            }
    except ApiError as error:
        status, words = error.status, bulk_answers.explained(error.status, error.message)
    yield b"\r\n\r\n" + bulk_answers.text(
        call, [], checked.problems, status, words, further=further
    )


def _store(call: Call, proceed: Proceed, resolved: Sequence[Mapping[str, Any]]) -> Response:
    """Store the manifest of checked segments."""
    etag = hashlib.md5(
        "".join(_fingerprint(each) for each in resolved).encode(), usedforsecurity=False
    ).hexdigest()
    if call.headers.get("etag", etag).strip('"') != etag:
        raise UnprocessableEntity("The ETag is not that of the segments.")
    size = sum(_length(each) for each in resolved)
    data = json.dumps(resolved).encode()
    put = call.sub("PUT", body=body_of(data), query=_without_manifest(call))
    put.notes = call.notes
    put.headers = {name: value for name, value in call.headers.items() if name != "etag"} | {
        "content-length": str(len(data)),
        "x-static-large-object": "True",
        _ETAG: etag,
        _SIZE: str(size),
    }
    put.headers.pop("transfer-encoding", None)
    _finish_with(put, etag, size)
    response = proceed(put)
    if response.status == 201:
        response.headers["Etag"] = f'"{etag}"'
    return response


def _finish_with(put: Call, etag: str, size: int) -> None:
    earlier = put.notes.get(objects.FINISH)

    def finish(own_etag: str, own_size: int) -> Mapping[str, str]:
        more = earlier(own_etag, own_size) if earlier else {}
        return {
            OVERRIDE_ETAG: f"{own_etag}; slo_etag={etag}",
            OVERRIDE_SHOWN_SIZE: str(size),
            **more,
        }

    put.notes = {**put.notes, objects.FINISH: finish}


def _without_manifest(call: Call) -> dict[str, str]:
    return {name: value for name, value in call.query.items() if name != "multipart-manifest"}


def _resolve(
    call: Call,
    proceed: Proceed,
    entry: slo_manifest.Entry,
    known: dict[str, Response | ApiError],
) -> dict[str, Any]:
    """An entry as it is stored: checked against the object. Raises what is wrong with it."""
    if entry.data is not None:
        return {"data": entry.encoded}
    path = entry.object_path(call.account)
    if path == call.path:
        raise Conflict("Manifest file name must differ from its segments'.")
    found = _look(call, proceed, path, entry.path, known)
    size = int(header(found, "Content-Length") or 0)
    etag = (header(found, "Etag") or "").strip('"')
    if entry.size is not None and entry.size != size:
        raise BadRequest("Size Mismatch")
    if entry.etag and entry.etag != etag:
        raise BadRequest("Etag Mismatch")
    stored: dict[str, Any] = {
        "name": entry.path,
        "bytes": size,
        "hash": etag,
        "content_type": found.content_type,
        "last_modified": _iso(header(found, "X-Timestamp")),
    }
    if entry.range:
        start, end = slo_manifest.one_range(entry.range, size)
        if start >= end:
            raise BadRequest("Unsatisfiable Range")
        stored["range"] = f"{start}-{end - 1}"
    elif size < 1:
        raise BadRequest("Too Small; each segment must be at least 1 byte.")
    if is_true(header(found, "X-Static-Large-Object")):
        stored["sub_slo"] = True
    return stored


def _look(
    call: Call,
    proceed: Proceed,
    path: ObjectPath,
    name: str,
    known: dict[str, Response | ApiError],
) -> Response:
    if name not in known:
        try:
            known[name] = _as_large(call, proceed(call.sub("HEAD").at(path)))
        except ApiError as error:
            known[name] = error
    found = known[name]
    if isinstance(found, ApiError):
        raise ApiError(f"{found.status} {found.title}", status=found.status)
    if found.status != 200:
        raise ApiError(f"{found.status} Conflict", status=found.status)
    return found


def _as_large(call: Call, found: Response) -> Response:
    """A HEAD of a manifest as the HEAD of the large object."""
    if is_true(header(found, "X-Static-Large-Object")):
        found.headers["Content-Length"] = header(found, _SIZE) or "0"
        found.headers["Etag"] = f'"{header(found, _ETAG)}"'
    return found


def _iso(timestamp: str | None) -> str:
    from nubelet.object_store.storage.timestamps import iso

    return iso(timestamp) if timestamp else ""


def _fingerprint(stored: Mapping[str, Any]) -> str:
    if "data" in stored:
        raw = slo_manifest.decode(stored["data"])
        return hashlib.md5(raw, usedforsecurity=False).hexdigest()
    return f"{stored['hash']}:{stored['range']};" if "range" in stored else str(stored["hash"])


def _length(stored: Mapping[str, Any]) -> int:
    if "data" in stored:
        return len(slo_manifest.decode(stored["data"]))
    if "range" in stored:
        first, last = stored["range"].split("-")
        return int(last) - int(first) + 1
    return int(stored["bytes"])


# --- GET, HEAD --------------------------------------------------------------------------------


def _show(call: Call, proceed: Proceed, asked: str) -> Response:
    if asked == "get":
        response = proceed(call)
        if response.status == 200 and is_true(header(response, "X-Static-Large-Object")):
            return _show_manifest(call, response)
        return response
    part = _part_number(call)
    call.notes[objects.ETAG_IS_AT] = _ETAG
    response = proceed(call)
    if not is_true(header(response, "X-Static-Large-Object")):
        return response
    etag, size = header(response, _ETAG) or "", int(header(response, _SIZE) or 0)
    response.headers["X-Manifest-Etag"] = header(response, "Etag") or ""
    if response.status in (304, 412):
        response.headers["Etag"] = f'"{etag}"'
        return response
    if call.method == "HEAD" and part is None:
        return answer(call, proceed, response, (), etag, size)
    if (
        response.status != 200 or call.method == "HEAD"
    ):  # the range was that of the large object, not of the manifest
        whole = {name: value for name, value in call.headers.items() if name != "range"}
        again = call.sub("GET", headers=whole, query=call.query)
        again.notes = call.notes
        response = proceed(again)
        response.headers["X-Manifest-Etag"] = header(response, "Etag") or ""
    # A link may have led to the manifest.
    manifest = call.notes.get(symlinks.FOLLOWED, call.path)
    segments = _segments(call, proceed, b"".join(pieces(response)), 0, manifest)
    if part is not None:
        return answer_part(call, proceed, response, segments, etag, part)
    return answer(call, proceed, response, segments, etag, size)


def _part_number(call: Call) -> int | None:
    text = call.query.get("part-number")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text[:9]) < 1:
        raise BadRequest("Part number must be an integer greater than 0")
    return int(text[:9])


def _segments(
    call: Call, proceed: Proceed, manifest: bytes, depth: int, at: ObjectPath
) -> list[Segment]:
    """What a manifest names. at: where it is."""
    if depth >= MAX_DEPTH:
        raise Conflict("Max recursion depth exceeded")
    return [_segment(call, proceed, stored, depth, at) for stored in json.loads(manifest)]


def _segment(
    call: Call, proceed: Proceed, stored: Mapping[str, Any], depth: int, at: ObjectPath
) -> Segment:
    if "data" in stored:
        data = slo_manifest.decode(stored["data"])
        return Segment(size=len(data), data=data)
    path = slo_manifest.split(stored["name"], call.account)
    segment = Segment(size=_length(stored), path=path, etag=stored["hash"], notes={NAMED_BY: at})
    if "range" in stored:
        segment.start = int(stored["range"].split("-")[0])
    if stored.get("sub_slo"):

        def inner() -> Sequence[Segment]:
            get = call.sub("GET", notes={NAMED_BY: at}).at(path)
            response = proceed(get)
            if (header(response, _ETAG) or "") != stored["hash"]:
                raise Conflict(f"A segment has changed: {path}")
            inner_at = get.notes.get(symlinks.FOLLOWED, path)
            return _segments(call, proceed, b"".join(pieces(response)), depth + 1, inner_at)

        segment.inner = inner
    return segment


def _show_manifest(call: Call, response: Response) -> Response:
    """The manifest itself; `format=raw` as it could be stored again."""
    is_raw = call.query.get("format") == "raw"
    if not is_raw:
        response.content_type = "application/json; charset=utf-8"
    if call.method == "HEAD":
        return response
    stored = json.loads(b"".join(pieces(response)))
    if is_raw:
        stored = [slo_manifest.as_sent(each) for each in stored]
    data = json.dumps(stored).encode()
    response.body = data
    response.headers["Content-Length"] = str(len(data))
    if is_raw:
        response.headers["Etag"] = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return response


# --- DELETE -----------------------------------------------------------------------------------


def _delete(call: Call, proceed: Proceed) -> Response:
    """Delete the segments, then the manifest; says what could not be."""
    query = {name: call.query[name] for name in ("version-id",) if name in call.query}
    if is_true(call.query.get("async")):
        return _delete_later(call, proceed, query)
    return _delete_now(call, proceed, query)


def _delete_now(call: Call, proceed: Proceed, query: dict[str, str]) -> Response:
    targets = list(_parts(call, proceed, call.path, 0, query))
    deletes = [call.sub("DELETE").at(path) for path in targets]
    deletes.append(call.sub("DELETE", query=query))
    return bulk_answers.delete_all(call, proceed, deletes)


def _delete_later(call: Call, proceed: Proceed, query: dict[str, str]) -> Response:
    """Delete the manifest now, its segments in the background."""
    info = call.container_info()
    call.authorize(info.metadata.get("x-container-write", "") if info else "")
    response = proceed(call.sub("GET", query=query))
    if not is_true(header(response, "X-Static-Large-Object")):
        raise BadRequest("Not an SLO manifest")
    stored = [each for each in json.loads(b"".join(pieces(response))) if "name" in each]
    paths = [slo_manifest.split(each["name"], call.account) for each in stored]
    if any(each.get("sub_slo") for each in stored):
        raise BadRequest("No segments may be large objects")
    if len({path.container for path in paths}) > 1:
        raise BadRequest("All segments must be in one container")
    if paths:
        of_segments = call.sub("DELETE").at(paths[0])
        found = of_segments.container_info()
        acl = found.metadata.get("x-container-write", "") if found else ""
        for path in paths:  # whoever may delete one need not be let to delete them all
            of_segments.object = path.object
            of_segments.authorize(acl)
        if found is not None and found.metadata.get(ENABLED) == "true":
            return _delete_now(call, proceed, query)  # what is deleted there becomes a version
        later_deletes.note(call.store, paths)
    return proceed(call.sub("DELETE", query=query))


def _parts(
    call: Call,
    proceed: Proceed,
    path: ObjectPath,
    depth: int,
    query: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[ObjectPath]:
    if depth >= MAX_DEPTH:
        raise Conflict("Max recursion depth exceeded")
    response = proceed(call.sub("GET", query=dict(query)).at(path))
    if not is_true(header(response, "X-Static-Large-Object")):
        if depth == 0:
            raise BadRequest("Not an SLO manifest")
        return
    for stored in json.loads(b"".join(pieces(response))):
        if "name" in stored:
            part = slo_manifest.split(stored["name"], call.account)
            if stored.get("sub_slo"):
                yield from _parts(call, proceed, part, depth + 1)
            yield part
