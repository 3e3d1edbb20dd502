"""Keys of a bucket: put, copied, shown, deleted, tagged."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Response
from nubelet.object_store.api import conditions, objects
from nubelet.object_store.call import Call, header
from nubelet.object_store.features import history, object_lock, version_names
from nubelet.object_store.s3 import (
    access,
    attributes,
    checksums,
    customer_keys,
    encryption,
    errors,
    lifecycles,
    locks,
    names,
    parts,
    pins,
    preconditions,
    removing,
    rules,
    tags,
    versions,
    website,
    xml,
)
from nubelet.object_store.s3.asked import SUMMED, Asked, copy_headers, source_of_copy
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.s3.etags import etag_of
from nubelet.object_store.s3.rules import TAGS
from nubelet.object_store.s3.signing import CONTROL
from nubelet.object_store.storage import ObjectPath

_TRANSIENT = "x-object-transient-sysmeta-s3-"
USER, _STORED = "x-amz-meta-", "x-object-meta-"
# Headers that are kept as they are, beside Content-Type and Content-Encoding.
KEPT = ("cache-control", "content-disposition", "content-language", "expires")
_OVERRIDES = {
    "response-content-type": "Content-Type",
    "response-content-language": "Content-Language",
    "response-expires": "Expires",
    "response-cache-control": "Cache-Control",
    "response-content-disposition": "Content-Disposition",
    "response-content-encoding": "Content-Encoding",
}
STORAGE_CLASS = "STANDARD"  # the one there is
# What a copy of a key to itself may change beside its metadata.
_ATTRIBUTES = (
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
    encryption.HEADER,
    f"{customer_keys.HEADER}algorithm",
)
_MOST_METADATA_BYTES = 2 << 10
_MOST_BYTES = 5 << 30  # in one piece
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")


# --- PUT --------------------------------------------------------------------------------------


def put(asked: Asked) -> Response:
    """PUT /bucket/key, with a body or (`x-amz-copy-source`) as a copy."""
    refuse_unknown(asked)
    if "versionId" in asked.query:
        raise S3Error("InvalidArgument", "A key is written without a version id.")
    if "x-amz-copy-source" in asked.headers:
        return _copy(asked)
    _require_digest(asked)
    return write(asked)


def write(asked: Asked) -> Response:
    """The request's body becomes the key."""
    headers = stored_headers(asked.headers) | access.of_key(asked)
    headers |= customer_keys.of_written(asked.headers)
    if name := checksums.algorithm_of(asked.headers)[0]:
        asked.upload.compute(name)
    call = upload_call(asked, asked.call("PUT", headers=headers))
    call.notes[object_lock.GIVEN] = locks.given(asked)
    response = replace(asked, conditional(asked, call))
    answer = {"ETag": etag_of(response), **of_written(asked, response)}
    for name, value in asked.upload.checksums.items():
        answer |= checksums.headers_of(checksums.kept(name, value))
    return Response(200, b"", answer)


def _require_digest(asked: Asked) -> None:
    """What is retained cannot be mended, so its sender says what it is (PutObject, Content-MD5)."""
    if locks.is_retention(asked.headers) and not checksums.has_digest(asked.headers):
        message = "A retention needs Content-MD5 or a checksum of the body."
        raise S3Error("InvalidRequest", message)


def conditional(asked: Asked, call: Call) -> Call:
    """A write of the key that happens only if the request's conditions hold: `If-None-Match: *`,
    `If-Match: etag`. They are asked at once; what they were asked of must still be there when the
    write is."""
    said = {name: asked.headers[name] for name in preconditions.OF_WRITES if name in asked.headers}
    call.notes[objects.EXPECTED] = preconditions.check(asked, said)
    return call


def upload_call(asked: Asked, call: Call) -> Call:
    """A PUT that writes the request's body, and only if it is as its sender says."""
    upload = asked.upload
    if upload.length is not None:
        if upload.length.isdigit() and int(upload.length) > _MOST_BYTES:
            sizes = {"ProposedSize": upload.length, "MaxSizeAllowed": str(_MOST_BYTES)}
            raise S3Error("EntityTooLarge", **sizes)
        call.headers["content-length"] = upload.length
    elif "transfer-encoding" in asked.headers:
        call.headers["transfer-encoding"] = asked.headers["transfer-encoding"]
    call.body = upload.pieces

    def finish(etag: str, size: int) -> Mapping[str, str]:
        upload.check()
        kept = [checksums.kept(name, value) for name, value in upload.checksums.items()]
        return {checksums.STORED: kept[0]} if kept else {}

    call.notes[objects.FINISH] = finish
    return call


def replace(asked: Asked, call: Call, new_parts: Collection[str] = ()) -> Response:
    """Write a key (of `new_parts`); the parts of what was there before go, unless versions are
    kept."""
    state = versions.state(asked.store, asked.account, asked.bucket)
    path = asked.path
    # Where old objects are moved to a container of the user's own, so are the names of their parts.
    is_lost = (not state and not history.location(asked.bucket_info())) or (
        state == "false" and versions.under_name(asked.store, path) == versions.NULL
    )
    before = parts.behind(asked, {}) if is_lost else []
    before = [each for each in before if each not in new_parts]
    with parts.losing(asked, asked.key, "", before):
        try:
            response = asked.ask(call)
        except ApiError as error:
            if error.status == 409 and call.notes.get(objects.EXPECTED) is not None:
                raise S3Error("ConditionalRequestConflict") from None
            raise
        if response.status in (304, 412):
            raise S3Error("PreconditionFailed")
    if state == "false" and response.status == 201:  # there is one null version; 202: a newer one
        removing.remove_nulls(asked, header(response, "X-Backend-Timestamp") or "")
    return response


def of_written(asked: Asked, response: Response) -> dict[str, str]:
    """What the answer to a write says: the version that it made, that it is encrypted, when it
    expires."""
    found = version_header(response)
    if versions.state(asked.store, asked.account, asked.bucket) == "false":
        found = {"x-amz-version-id": versions.NULL}
    return found | encryption.of_written(asked) | lifecycles.told_of_written(asked)


def refuse_unknown(asked: Asked) -> None:
    """What would be a lie to accept."""
    headers = asked.headers
    encryption.check(asked.ctx, headers)
    if headers.get("x-amz-storage-class", STORAGE_CLASS) != STORAGE_CLASS:
        raise S3Error("InvalidStorageClass")
    _refuse_conditions(headers)


def _refuse_conditions(headers: Mapping[str, str]) -> None:
    for name in ("If-Modified-Since", "If-Unmodified-Since", "x-amz-write-offset-bytes"):
        if name.lower() in headers:
            raise S3Error("NotImplemented", f"Changes of a key do not have {name}.")


def stored_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What of a request's headers is kept with the key, in the store's words."""
    found = {
        _STORED + name.removeprefix(USER): _text(value)
        for name, value in headers.items()
        if name.startswith(USER)
    }
    size = sum(
        len((name + value).encode("utf-8", "surrogateescape")) for name, value in found.items()
    )
    size -= len(found) * len(_STORED)
    if size > _MOST_METADATA_BYTES:
        most = str(_MOST_METADATA_BYTES)
        raise S3Error("MetadataTooLarge", Size=str(size), MaxSizeAllowed=most)
    for name in KEPT:
        if name in headers:
            found[name] = _text(headers[name])
    encodings = [each.strip() for each in headers.get("content-encoding", "").split(",")]
    encoding = ", ".join(each for each in encodings if each and each != "aws-chunked")
    if encoding:
        found["content-encoding"] = encoding
    found["content-type"] = _text(headers.get("content-type", "")) or "binary/octet-stream"
    if target := headers.get("x-amz-website-redirect-location"):
        found[website.REDIRECT] = website.check_target(_text(target))
    if "x-amz-tagging" in headers:
        found[TAGS] = tags.read_header(headers["x-amz-tagging"])
    return found


def _text(sent: str) -> str:
    """A value as it is kept. Answers say it in a header again, whichever way it came."""
    if CONTROL.search(sent):
        raise S3Error("InvalidArgument", "Metadata must not have control characters.")
    return sent if sent.isascii() else sent.encode("latin-1").decode("utf-8", "surrogateescape")


# --- Copies -----------------------------------------------------------------------------------


def _copy(asked: Asked) -> Response:
    account, bucket, key, version = source_of_copy(asked)
    if "x-amz-copy-source-range" in asked.headers:
        raise S3Error("InvalidArgument", "x-amz-copy-source-range is for copies of parts.")
    directive = asked.headers.get("x-amz-metadata-directive", "COPY")
    tagging = asked.headers.get("x-amz-tagging-directive", "COPY")
    if directive not in ("COPY", "REPLACE") or tagging not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", "The directive must be COPY or REPLACE.")
    is_same = (account, bucket, key) == (asked.account, asked.bucket, asked.key)
    changes = [name for name in _ATTRIBUTES if name in asked.headers]
    if is_same and directive == "COPY" and not version and not changes:
        raise S3Error(
            "InvalidRequest", "A copy of a key to itself must change its metadata or attributes."
        )
    headers = copy_headers(asked) | access.of_key(asked)
    headers |= customer_keys.of_written(asked.headers)
    given = stored_headers(asked.headers)
    found = look_at_source(asked)
    if directive == "REPLACE":
        headers |= {name: value for name, value in given.items() if name != TAGS}
        headers["x-fresh-metadata"] = "true"
    tagged = given.get(TAGS, "") if tagging == "REPLACE" else header(found, TAGS) or ""
    if tagged and tagging == "COPY":
        rules.require_tags_of_source(asked, _head_of_source(asked))
    if tagged:
        rules.require_with_write(asked, "PutObjectTagging")
        headers[TAGS] = tagged
    query = versions.query(asked.store, ObjectPath(account, bucket, key), version)
    call = asked.call("PUT", headers=headers, query=query)
    call.notes[object_lock.GIVEN] = locks.given(asked)
    name = checksums.algorithm_of(asked.headers)[0]
    known = checksums.read(header(found, checksums.STORED))
    if not name and known:
        name = known[0]
    digest = checksums.ALGORITHMS[name]() if name else None
    if digest:
        call.notes[SUMMED] = digest.update

    def finish(etag: str, size: int) -> Mapping[str, str]:
        if digest is None:
            return {}
        return {checksums.STORED: checksums.kept(name, checksums.encoded(digest))}

    call.notes[objects.FINISH] = finish
    response = replace(asked, conditional(asked, call))
    summed = checksums.kept(name, checksums.encoded(digest)) if digest else None
    answer = xml.document(
        "CopyObjectResult",
        {
            "LastModified": iso(header(response, "Last-Modified")),
            "ETag": etag_of(response),
            **checksums.document_of(summed),
        },
    )
    answer.headers |= of_written(asked, response) | source_version(found)
    return answer


def source_version(found: Response) -> dict[str, str]:
    """The version that was copied, by the HEAD of the source, where versions are kept."""
    return {
        name.replace("x-amz-", "x-amz-copy-source-"): value
        for name, value in version_header(found).items()
    }


def look_at_source(asked: Asked) -> Response:
    """The HEAD of what is copied: the caller may read it, and the conditions of the copy hold."""
    try:
        found = asked.ask(_head_of_source(asked))
    except S3Error as error:
        if error.s3_code != "MethodNotAllowed":
            raise
        raise S3Error("InvalidRequest", "The source of a copy is a delete marker.") from None
    expected = asked.headers.get("x-amz-source-expected-bucket-owner")
    source = source_of_copy(asked)
    if expected is not None and expected != access.owner(source[0])["ID"]:
        raise S3Error("AccessDenied", "The source's bucket is not that owner's.")
    customer_keys.check(asked.headers, found, customer_keys.OF_SOURCE)
    start = "x-amz-copy-source-"
    asks = {
        name.removeprefix(start): value
        for name, value in asked.headers.items()
        if name.startswith(f"{start}if-")
    }
    status = conditions.check(_in_order(asks), etag_of(found), _modified(found))
    if status != 200:
        raise S3Error("PreconditionFailed", Condition=start + _failed(asks, status))
    return found


def _head_of_source(asked: Asked) -> Call:
    account, bucket, key, version = source_of_copy(asked)
    query = versions.query(asked.store, ObjectPath(account, bucket, key), version)
    source = asked.call("HEAD", container=bucket, object=key, query=query)
    source.account = account
    return source


def _in_order(asks: Mapping[str, str]) -> Mapping[str, str]:
    """Conditions without those that others take the place of (RFC 9110, 13.2.2)."""
    if "if-match" not in asks:
        return asks
    return {name: value for name, value in asks.items() if name != "if-unmodified-since"}


def _failed(asks: Mapping[str, str], status: int) -> str:
    """Which condition it was that did not hold."""
    if status == 412:
        return "If-Match" if "if-match" in asks else "If-Unmodified-Since"
    return "If-None-Match" if "if-none-match" in asks else "If-Modified-Since"


def _modified(found: Response) -> int:
    return int(parsedate_to_datetime(header(found, "Last-Modified") or "").timestamp())


def iso(http_date: str | None) -> str:
    """A Last-Modified header as S3's documents show it."""
    return parsedate_to_datetime(http_date or "").strftime("%Y-%m-%dT%H:%M:%S.000Z")


# --- GET, HEAD --------------------------------------------------------------------------------


def show(asked: Asked) -> Response:
    """GET and HEAD of a key, or of a version of it."""
    with removing.telling_of_marker(asked):
        return pins.of_one_write(lambda: _show(asked))


def _show(asked: Asked) -> Response:
    query = wanted(asked)
    is_asked = any(name in asked.headers for name in (*_CONDITIONS, "if-range"))
    found = None
    if is_asked or "partNumber" in asked.query:
        found = asked.ask(asked.call("HEAD", query=query))
    if is_asked and found is not None:
        customer_keys.check(asked.headers, found)
        asks = _in_order(asked.headers)
        status = conditions.check(asks, etag_of(found), _modified(found))
        if status == 304:
            return Response(304, None, _described(found))
        if status == 412:
            raise S3Error("PreconditionFailed", Condition=_failed(asks, status))
    headers = {"range": asked.headers["range"]} if "range" in asked.headers else {}
    if "," in headers.get("range", ""):
        headers = {}  # S3 answers several ranges with the whole
    said = asked.headers.get("if-range", "").strip()
    if said and found and said not in (etag_of(found), header(found, "Last-Modified")):
        headers = {}  # what the range was to complete is not there any more (RFC 9110, 13.1.5)
    if found is not None and "partNumber" in asked.query:
        if headers:
            raise S3Error("InvalidRequest", "A range and a part number exclude each other.")
        return attributes.show_part(asked, found, partial(_shown, asked, found))
    return _shown(asked, found, headers)


def _shown(asked: Asked, found: Response | None, headers: Mapping[str, str]) -> Response:
    """The answer, about what was `found` before; raises ChangedError."""
    response = asked.ask(asked.call(asked.request.method, headers=headers, query=wanted(asked)))
    if found is not None:
        pins.check(found, response)
    told = customer_keys.check(asked.headers, response)
    if asked.request.method == "HEAD" and "range" in headers:
        size = header(response, "Content-Length") or "0"
        described = {**response.headers, "Content-Length": size}
        kind = response.content_type or ""
        sent = conditions.send(
            described, headers["range"], int(size), kind, lambda first, last: iter(()), lambda: None
        )
        response.status, response.headers = sent.status, sent.headers
    if response.status == 416:
        whole = (header(response, "Content-Range") or "").rpartition("/")[2]
        raise S3Error("InvalidRange", RangeRequested=headers["range"], ActualObjectSize=whole)
    described = _described(response) | told | locks.headers_of(asked)
    described |= lifecycles.told(asked, response)
    answer = Response(response.status, response.body, described, response.content_type)
    answer.on_sent = response.on_sent
    for name in ("Content-Length", "Content-Range"):
        if (value := header(response, name)) is not None:
            answer.headers[name] = value
    if asked.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED" and response.status == 200:
        answer.headers |= checksums.headers_of(header(response, checksums.STORED))
    _override(asked, answer)
    return answer


def wanted(asked: Asked) -> dict[str, str]:
    """The version that a request asks for, in the store's words."""
    return versions.query(asked.store, asked.path, asked.query.get("versionId", ""))


def _override(asked: Asked, answer: Response) -> None:
    for name, shown in _OVERRIDES.items():
        if name not in asked.query:
            continue
        if not asked.ctx.user_id:
            raise S3Error("InvalidRequest", "Only signed requests may change response headers.")
        value = asked.query[name]
        if not value.isprintable():
            raise S3Error("InvalidArgument", f"{name} is not valid.")
        if shown == "Content-Type":
            answer.content_type = value
        else:
            answer.headers[shown] = value.encode().decode("latin-1")


def _described(response: Response) -> dict[str, str]:
    """The headers of a key."""
    found = {
        "ETag": etag_of(response),
        "Last-Modified": header(response, "Last-Modified") or "",
        "Accept-Ranges": "bytes",
        **version_header(response),
        **website.headers_of(response),
        **encryption.of_found(response),
    }
    for name, value in response.headers.items():
        lowered = name.lower()
        if lowered.startswith(_STORED):
            found[USER + lowered.removeprefix(_STORED)] = value
        elif lowered in KEPT or lowered == "content-encoding":
            found[name] = value
    tagged = parse_qsl(header(response, TAGS) or "", keep_blank_values=True)
    if tagged:
        found["x-amz-tagging-count"] = str(len(tagged))
    return found


def version_header(response: Response) -> dict[str, str]:
    """The version that an answer is about, where versions are kept."""
    found = header(response, "X-Object-Version-Id")
    if header(response, version_names.NULL):
        found = versions.NULL
    return {"x-amz-version-id": found} if found else {}


# --- DELETE -----------------------------------------------------------------------------------


def delete(asked: Asked) -> Response:
    """DELETE /bucket/key[?versionId]: also what is not there is deleted."""
    _refuse_conditions(asked.headers)
    names_of = preconditions.OF_DELETES
    said = {name: asked.headers[name] for name in names_of if name in asked.headers}
    version = asked.query.get("versionId", "")
    return Response(204, None, removing.remove(asked, asked.key, version, said))


def delete_many(asked: Asked) -> Response:
    """POST /bucket?delete: up to a thousand keys at once."""
    if not checksums.has_digest(asked.headers):
        message = "Deleting many keys needs Content-MD5 or a checksum of the list."
        raise S3Error("InvalidRequest", message)
    document = xml.read(asked.document(), "Delete")
    wanted = document.findall("Object")
    if not 0 < len(wanted) <= 1000:
        raise S3Error("MalformedXML", "Delete takes 1 to 1,000 objects.")
    if any(each.find("Key") is None for each in wanted):
        raise S3Error("MalformedXML", "An object has no Key.")
    is_quiet = xml.text(document, "Quiet").lower() == "true"
    asked.bucket_info()
    deleted: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    shares = parts.Shares()
    for each in wanted:
        key, version = each.findtext("Key") or "", xml.text(each, "VersionId")
        line: dict[str, Any] = {"Key": key, "VersionId": version or None}
        try:
            if not key:
                raise S3Error("InvalidArgument", "A key is empty.")
            names.check_key(key)
            path = ObjectPath(asked.account, asked.bucket, key)
            asked.require_rule("DELETE", path)
            asked.allowed = path
            said = {
                condition: xml.text(each, name)
                for name, condition in preconditions.OF_DELETED.items()
                if each.find(name) is not None
            }
            told = removing.remove(asked, key, version, said, shares)
        except ApiError as error:
            refused = errors.translated(error)
            failed.append(line | {"Code": refused.s3_code, "Message": refused.message})
            continue
        if told.get("x-amz-delete-marker"):
            line |= {"DeleteMarker": True, "DeleteMarkerVersionId": told["x-amz-version-id"]}
        if not is_quiet:
            deleted.append(line)
    return xml.document("DeleteResult", {"Deleted": deleted, "Error": failed})


def restore(asked: Asked) -> Response:
    """POST ?restore brings back what was archived; nothing is."""
    asked.require_permitted()
    asked.look(wanted(asked))
    raise S3Error("InvalidObjectState", StorageClass=STORAGE_CLASS)


# --- Tags -------------------------------------------------------------------------------------


def show_tags(asked: Asked) -> Response:
    """GET /bucket/key?tagging."""
    found = asked.ask(asked.call("HEAD", query=wanted(asked)))
    answer = tags.document(header(found, TAGS) or "")
    answer.headers |= version_header(found)
    return answer


def update_tags(asked: Asked) -> Response:
    """PUT /bucket/key?tagging replaces all tags, DELETE removes them."""
    parts.require_writer(asked)
    is_gone = asked.request.method == "DELETE"
    kept = "" if is_gone else tags.read_document(asked.document())
    version = rewrite(asked, {TAGS: kept})
    return Response(204 if is_gone else 200, None, version)


def rewrite(asked: Asked, changes: Mapping[str, str]) -> dict[str, str]:
    """Change what is kept with the key, or with the version that is asked for (empty removes it);
    headers that tell of the version. That the caller may was decided before."""
    found = asked.look(wanted(asked))
    # A POST replaces all that a user may say of an object, and what is noted with it.
    headers = {
        name.lower(): value
        for name, value in found.headers.items()
        if name.lower().startswith((_STORED, _TRANSIENT))
        or name.lower() in (*KEPT, "content-encoding", "x-delete-at")
    }
    headers.update(changes)
    version = header(found, "X-Object-Version-Id")
    call = asked.call("POST", headers={name: value for name, value in headers.items() if value})
    if version and version != "null":
        call = call.at(versions.place(asked.path, version))
        call.reserved = True
    call.notes["decided"] = True
    asked.ask(call)
    return version_header(found)
