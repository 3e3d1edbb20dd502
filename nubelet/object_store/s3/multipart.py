"""Multipart uploads: begun, filled part by part, completed or given up.

    POST   /bucket/key?uploads                      an id
    PUT    /bucket/key?partNumber=N&uploadId=ID     a part, from the body or copied
    POST   /bucket/key?uploadId=ID                  the key, of the parts that are named
    DELETE /bucket/key?uploadId=ID                  nothing

The key appears with one write of a manifest that names the parts, so a crash leaves the old key or
the new one. Completing twice is safe: the upload is forgotten last, and who asks again because the
answer was lost gets it again while the key is what the upload made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

from nubelet.kernel import clock
from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Response
from nubelet.object_store.api import objects as swift_objects
from nubelet.object_store.call import Call, header
from nubelet.object_store.features import history, object_lock, slo, version_names
from nubelet.object_store.features.archived_parts import MADE_BY
from nubelet.object_store.features.customer_keys import OF_PARTS
from nubelet.object_store.s3 import (
    access,
    checksums,
    customer_keys,
    digits,
    encryption,
    endings,
    etags,
    garbage,
    lifecycles,
    locks,
    names,
    objects,
    parts,
    versions,
    xml,
)
from nubelet.object_store.s3.asked import SUMMED, Asked, copy_headers, source_of_copy
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.s3.parts import Part
from nubelet.object_store.storage import OVERRIDE_ETAG, ObjectPath

SMALLEST_BYTES = 5 << 20
_MOST_SHOWN = 1000
_SUMMED = "x-object-sysmeta-s3-upload-checksum"


def begin(asked: Asked) -> Response:
    """POST ?uploads."""
    objects.refuse_unknown(asked)
    info = parts.require_writer(asked)
    upload_id = parts.new_id()
    name = parts.marker(asked.key, upload_id)
    names.check_key(name)
    parts.ensure(asked, info)
    headers = objects.stored_headers(asked.headers) | access.of_key(asked)
    headers["content-length"] = "0"
    if (lock := locks.given(asked)) is not None:
        headers[locks.UPLOAD] = object_lock.kept(lock)
    if key := customer_keys.read(asked.headers):
        headers[customer_keys.OF_UPLOAD] = customer_keys.kept(key)
    algorithm, kind = checksums.algorithm_of(asked.headers)
    if algorithm:
        headers[_SUMMED] = f"{algorithm} {kind}"
    asked.ask(parts.inner(asked, "PUT", name, headers=headers))
    answer = xml.document(
        "InitiateMultipartUploadResult",
        {"Bucket": asked.bucket, "Key": asked.key, "UploadId": upload_id},
    )
    answer.headers |= encryption.of_written(asked)
    answer.headers |= lifecycles.told_of_upload(asked, clock.now() / 1e6)
    if algorithm:
        answer.headers["x-amz-checksum-algorithm"] = algorithm.upper()
        answer.headers["x-amz-checksum-type"] = kind
    return answer


def _algorithm(begun: Response) -> tuple[str, str]:
    """Algorithm and type of the checksum that an upload was begun with, or two empty texts."""
    name, _, kind = (header(begun, _SUMMED) or "").partition(" ")
    return name, kind


def _upload(asked: Asked) -> Response:
    """What was said when the upload was begun; raises NoSuchUpload where it is over."""
    found = _begun(asked)
    if header(found, garbage.ENDING) == garbage.GIVEN_UP:
        raise S3Error("NoSuchUpload", UploadId=asked.query["uploadId"])
    return found


def _begun(asked: Asked) -> Response:
    """The same also of one that was given up by who died before it was forgotten."""
    parts.require_writer(asked)
    upload_id = asked.query["uploadId"]
    name = parts.marker(asked.key, upload_id)
    try:
        return asked.ask(parts.inner(asked, "HEAD", name, headers={"x-newest": "true"}))
    except ApiError as error:
        if error.status != 404:
            raise
        raise S3Error("NoSuchUpload", UploadId=upload_id) from None


def _check_key(asked: Asked, begun: Response) -> None:
    """Raise InvalidRequest unless the request brings the customer's key that the upload was begun
    with, or none where that was without."""
    noted, key = header(begun, customer_keys.OF_UPLOAD) or "", customer_keys.read(asked.headers)
    if noted and not key:
        raise S3Error(
            "InvalidRequest",
            "The upload was begun with a customer's key, which each of its parts must bring.",
        )
    if key and not (noted and customer_keys.fits(key, noted)):
        raise S3Error(
            "InvalidRequest",
            "The customer's key is not the one that the upload was begun with.",
        )


def put_part(asked: Asked) -> Response:
    """PUT ?partNumber&uploadId."""
    encryption.check(asked.ctx, asked.headers)
    number = parts.read_number(asked.query.get("partNumber", ""))
    begun = _upload(asked)
    _check_key(asked, begun)
    algorithm, _kind = _algorithm(begun)
    if "x-amz-copy-source" in asked.headers:
        return _copy_part(asked, number, algorithm)
    upload = asked.upload
    sent = next(iter(upload.checksums), "")
    if algorithm and sent and sent != algorithm:
        raise S3Error("InvalidRequest", f"The upload was begun with checksums by {algorithm}.")
    if algorithm:
        upload.compute(algorithm)

    def kept() -> str:
        upload.check()
        return "".join(checksums.kept(name, value) for name, value in upload.checksums.items())

    name = parts.new_name(asked.query["uploadId"], number)
    encrypting = customer_keys.of_written(asked.headers)
    call = objects.upload_call(asked, parts.inner(asked, "PUT", name, headers=encrypting))
    response = _store_part(asked, call, kept)
    headers = {"ETag": etags.etag_of(response), **encryption.of_written(asked)}
    for kind, value in upload.checksums.items():
        headers[f"{checksums.HEADER}{kind}"] = value
    return Response(200, b"", headers)


def _store_part(asked: Asked, call: Call, kept: Callable[[], str]) -> Response:
    """Write a part's bytes, then that they are the part. `kept`: their checksum as it is kept,
    known behind the last of them."""
    stored: list[Part] = []

    def finish(etag: str, size: int) -> Mapping[str, str]:
        stored.append(Part(parts.number_of(call.object), call.object, etag, size, kept()))
        _upload(asked)  # it may have taken long; an upload that is over gets no more parts
        return {"content-type": parts.type_of(stored[0].checksum)}

    call.notes[swift_objects.FINISH] = finish
    response = asked.ask(call)
    parts.tell(asked, stored[0])
    return response


def _copy_part(asked: Asked, number: int, algorithm: str) -> Response:
    account, bucket, key, version = source_of_copy(asked)
    query = versions.query(asked.store, ObjectPath(account, bucket, key), version)
    # The caller must be allowed to read the source; the copy itself asks nobody.
    found = objects.look_at_source(asked)
    # A part is bytes alone: it must not expire with its source.
    headers = copy_headers(asked) | customer_keys.of_written(asked.headers)
    headers["x-fresh-metadata"] = "true"
    if wanted := asked.headers.get("x-amz-copy-source-range"):
        size = int(header(found, "Content-Length") or 0)
        ends = wanted.removeprefix("bytes=").partition("-")[::2]
        first, last = (digits.read(each, size - 1) for each in ends)
        if first is None or last is None or first > last or not wanted.startswith("bytes="):
            raise S3Error("InvalidArgument", "x-amz-copy-source-range is not within the source.")
        headers["range"] = f"bytes={first}-{last}"
    name = parts.new_name(asked.query["uploadId"], number)
    call = parts.inner(asked, "PUT", name, headers=headers, query=query)
    # Of the source it is asked once more: it may be a link by now that leads to somebody else's.
    del call.notes["decided"]
    asked.writable.add(call.path)
    digest = checksums.ALGORITHMS[algorithm]() if algorithm else None
    if digest:
        call.notes[SUMMED] = digest.update

    def kept() -> str:
        return checksums.kept(algorithm, checksums.encoded(digest)) if digest else ""

    response = _store_part(asked, call, kept)
    summed = checksums.document_of(kept())
    summed.pop("ChecksumType", None)
    answer = xml.document(
        "CopyPartResult",
        {
            "LastModified": objects.iso(header(response, "Last-Modified")),
            "ETag": etags.etag_of(response),
            **summed,
        },
    )
    answer.headers |= objects.source_version(found) | encryption.of_written(asked)
    return answer


def list_parts(asked: Asked) -> Response:
    """GET ?uploadId."""
    begun = _upload(asked)
    algorithm, kind = _algorithm(begun)
    if algorithm:  # sums of what the customer's key keeps secret are shown
        _check_key(asked, begun)
    query = asked.query
    marker, most = query.get("part-number-marker", "0"), query.get("max-parts", str(_MOST_SHOWN))
    if not (marker.isascii() and marker.isdigit() and most.isascii() and most.isdigit()):
        raise S3Error("InvalidArgument", "max-parts and part-number-marker must be integers.")
    limit = min(int(most[:9]), _MOST_SHOWN)
    # One further tells whether there are more.
    behind = parts.behind_number(asked, query["uploadId"], int(marker[:9]), limit + 1)
    found = list(islice(behind, limit + 1))
    shown = found[:limit]
    own = access.owner(asked.account)
    answer = xml.document(
        "ListPartsResult",
        {
            "Bucket": asked.bucket,
            "Key": asked.key,
            "UploadId": query["uploadId"],
            "Initiator": own,
            "Owner": own,
            "StorageClass": "STANDARD",
            "PartNumberMarker": marker,
            "NextPartNumberMarker": shown[-1].number if shown else 0,
            "MaxParts": limit,
            "IsTruncated": len(found) > limit,
            "ChecksumAlgorithm": algorithm.upper() or None,
            "ChecksumType": kind or None,
            "Part": [
                {
                    "PartNumber": each.number,
                    "LastModified": xml.iso(each.time),
                    "ETag": f'"{each.etag}"',
                    "Size": each.size,
                    **_summed(each),
                }
                for each in shown
            ],
        },
    )
    answer.headers |= lifecycles.told_of_upload(asked, lifecycles.since_of(begun))
    return answer


def _summed(each: Part) -> dict[str, str]:
    found = checksums.document_of(each.checksum)
    found.pop("ChecksumType", None)
    return found


def abort(asked: Asked) -> Response:
    """DELETE ?uploadId."""
    upload_id = asked.query["uploadId"]
    _begun(asked)
    intent = parts.forget_later(asked, upload_id)
    try:
        is_given_up = endings.give_up(asked, upload_id)
    except ApiError as error:
        if error.status < 500:  # it was refused: nothing has changed
            garbage.forget(asked.store, intent)
        raise
    if is_given_up:
        parts.remove_sent(asked, upload_id)
    parts.forget(asked, upload_id)
    return Response(204)


def complete(asked: Asked) -> Response:
    """POST ?uploadId with the list of parts."""
    named = _named(asked)
    try:
        return _complete(asked, named)
    except S3Error as error:
        if error.s3_code != "NoSuchUpload" or (answer := _completed(asked, named)) is None:
            raise
        return answer


def _complete(asked: Asked, named: Sequence[_Named]) -> Response:
    begun = _upload(asked)
    if customer_keys.read(asked.headers):
        _check_key(asked, begun)
    upload_id = asked.query["uploadId"]
    chosen = _chosen(asked, named, parts.of_upload(asked, upload_id))
    summed = _whole_checksum(asked, begun, chosen)
    manifest = [
        {
            "name": f"/{names.parts_of(asked.bucket)}/{each.name}",
            "bytes": each.size,
            "hash": each.etag,
            "content_type": parts.type_of(each.checksum),
        }
        for each in chosen
        if each.size
    ]
    # Who wrote the key may have died before the upload was forgotten: it is not written again. By
    # now it may be an old version.
    if header(begun, garbage.ENDING):
        there = versions.of_key(asked.store, asked.path)
        older = (
            {"version-id": each.id}
            for each in there
            if not each.is_marker and each.upload in ("", upload_id)
        )
        if (answer := _completed(asked, named, older)) is not None:
            _forget(asked, set())  # of what it is made is looked up there
            return answer
    etag = _etag([each.etag for each in chosen])
    response = _write(asked, begun, manifest, etag, summed)
    used = {each.name for each in chosen if each.size}
    # 202: something newer was stored already, or this by another process.
    _forget(asked, set() if response.status == 202 else used)
    answer = _answer(asked, etag, summed)
    answer.headers |= objects.of_written(asked, response)
    if header(begun, customer_keys.OF_UPLOAD):
        answer.headers.pop(encryption.HEADER, None)
    return answer


def _forget(asked: Asked, used: set[str]) -> None:
    """The upload is over; what was sent for it and is not used goes."""
    upload_id = asked.query["uploadId"]
    parts.forget_later(asked, upload_id, used)
    parts.forget(asked, upload_id)


def _answer(asked: Asked, etag: str, summed: str | None) -> Response:
    return xml.document(
        "CompleteMultipartUploadResult",
        {
            "Location": f"{asked.request.base_url}/{asked.bucket}/{asked.key}",
            "Bucket": asked.bucket,
            "Key": asked.key,
            "ETag": f'"{etag}"',
            **checksums.document_of(summed),
        },
    )


def _completed(
    asked: Asked, named: Sequence[_Named], older: Iterable[Mapping[str, str]] = ()
) -> Response | None:
    """The answer once more, for who did not get it: if the key, or one of its `older` versions
    (queries), is what this upload made of the same parts."""
    try:
        etag = _etag([each.etag for each in named])
    except ValueError:  # a part's ETag is none
        return None
    for query in chain(({},), older):
        try:
            found = asked.look(query)
        except ApiError as error:
            if error.status >= 500:  # it may be there, whatever does not answer now
                raise
            continue
        is_of_it = header(found, MADE_BY) == asked.query["uploadId"]
        if is_of_it and etags.etag_of(found) == f'"{etag}"':
            answer = _answer(asked, etag, header(found, checksums.STORED))
            answer.headers |= objects.version_header(found)
            return answer
    return None


class _Named(NamedTuple):
    """A part as the completion's document names it."""

    number: int
    etag: str
    element: Element


def _named(asked: Asked) -> list[_Named]:
    """The parts that the body names, in order; raises MalformedXML, InvalidPartOrder."""
    document = xml.read(asked.document(), "CompleteMultipartUpload")
    named: list[_Named] = []
    for each in document.findall("Part"):
        text, etag = xml.text(each, "PartNumber"), xml.text(each, "ETag").strip('"')
        if not text.isascii() or not text.isdigit() or not etag:
            raise S3Error("MalformedXML")
        if named and int(text[:9]) <= named[-1].number:
            raise S3Error("InvalidPartOrder")
        named.append(_Named(int(text[:9]), etag, each))
    if not named:
        raise S3Error("MalformedXML", "At least one part must be named.")
    return named


def _chosen(asked: Asked, named: Sequence[_Named], there: Mapping[int, Part]) -> list[Part]:
    """The parts that are named; raises what is wrong with them."""
    upload_id, chosen = asked.query["uploadId"], list[Part]()
    for number, etag, each in named:
        found = there.get(number)
        if found is None or found.etag != etag:  # a listing may be behind
            found = parts.find(asked, upload_id, number)
        if found is None or found.etag != etag:
            raise S3Error("InvalidPart", UploadId=upload_id, PartNumber=str(number), ETag=etag)
        for name, value in checksums.document_of(found.checksum).items():
            if name != "ChecksumType" and xml.text(each, name, value) != value:
                raise S3Error("InvalidPart", UploadId=upload_id, PartNumber=str(number), ETag=etag)
        chosen.append(found)
    for each_part in chosen[:-1]:
        if each_part.size < SMALLEST_BYTES:
            raise S3Error(
                "EntityTooSmall",
                PartNumber=str(each_part.number),
                ETag=each_part.etag,
                ProposedSize=str(each_part.size),
                MinSizeAllowed=str(SMALLEST_BYTES),
            )
    return chosen


def _whole_checksum(asked: Asked, begun: Response, chosen: Sequence[Part]) -> str:
    """The checksum of the key, as it is kept; raises what the request says otherwise."""
    algorithm, kind = _algorithm(begun)
    said = asked.headers.get("x-amz-checksum-type", kind).upper()
    if said != kind:
        raise S3Error("InvalidRequest", "The upload was begun with another type of checksum.")
    size = asked.headers.get("x-amz-mp-object-size")
    if size is not None and size != str(sum(each.size for each in chosen)):
        raise S3Error("InvalidRequest", "The parts do not have the size of x-amz-mp-object-size.")
    if not algorithm:
        return ""
    known = [checksums.read(each.checksum) for each in chosen]
    values = [
        (found[1], each.size)
        for found, each in zip(known, chosen, strict=True)
        if found and found[0] == algorithm
    ]
    if len(values) != len(chosen):
        raise S3Error("InvalidPart", f"A part has no checksum by {algorithm}.")
    whole = checksums.of_parts(algorithm, kind, values)
    if asked.headers.get(f"{checksums.HEADER}{algorithm}", whole).strip() != whole:
        raise S3Error("BadDigest", f"The {algorithm} that was sent is not that of the parts.")
    return checksums.kept(algorithm, whole, kind)


def _etag(of_parts: Sequence[str]) -> str:
    digests = b"".join(map(bytes.fromhex, of_parts))
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(of_parts)}"


def _headers(begun: Response, etag: str, upload_id: str) -> dict[str, str]:
    """What the key gets from the beginning of its upload."""
    found = {
        name.lower(): value
        for name, value in begun.headers.items()
        if name.lower().startswith(("x-object-meta-", "x-object-transient-sysmeta-s3-"))
        or name.lower() in (*objects.KEPT, "content-encoding")
    }
    made = {etags.ETAG: etag, MADE_BY: upload_id}
    return found | {"content-type": begun.content_type or ""} | made


def _write(
    asked: Asked,
    begun: Response,
    manifest: Sequence[Mapping[str, Any]],
    etag: str,
    summed: str,
) -> Response:
    """Store the manifest, or (all parts are empty) a key without content."""
    upload_id = asked.query["uploadId"]
    headers = _headers(begun, etag, upload_id)
    call = asked.call("PUT", headers=headers | {"content-length": "0"})
    if summed:
        call.headers[checksums.STORED] = summed
    if noted := header(begun, customer_keys.OF_UPLOAD):
        call.headers[OF_PARTS] = noted
    joined = "".join(str(each["hash"]) for each in manifest).encode()
    inner = hashlib.md5(joined, usedforsecurity=False).hexdigest()
    if manifest:
        call.query = {"multipart-manifest": "put"}
        call.notes[slo.RESOLVED] = manifest

    def finish(own: str, size: int) -> Mapping[str, str]:
        made = f"{version_names.IS_LARGE}{inner}{version_names.BY_UPLOAD}{upload_id}"
        of_segments = made if manifest else ""
        return {OVERRIDE_ETAG: f"{own}; s3_etag={etag}{of_segments}"}

    call.notes[swift_objects.FINISH] = finish
    call.notes |= {
        "decided": True,
        history.KEEPS_OLD: True,
        object_lock.GIVEN: locks.of_upload(begun),
    }
    start = f"/{names.parts_of(asked.bucket)}/"
    own = {str(each["name"]).removeprefix(start) for each in manifest}
    objects.conditional(asked, call)
    endings.complete(asked, upload_id)
    response = objects.replace(asked, call, own)
    if response.status >= 400:
        raise S3Error("InvalidPart")
    return response
