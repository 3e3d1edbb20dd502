"""Listings of a bucket: keys (versions 1 and 2 of the operation), versions, uploads under way."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import pieces
from nubelet.object_store.features.version_listings import NULLS
from nubelet.object_store.features.version_names import DELETE_MARKER
from nubelet.object_store.s3 import access, digits, parts, versions, xml
from nubelet.object_store.s3.asked import Asked
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage import ObjectPath

MOST = 1000
_MOST_SAID = 2**31 - 1
# Behind every name that begins with what it is added to.
_BEHIND = "\U0010ffff"


def list_objects(asked: Asked) -> Response:
    """GET /bucket (version 1), GET /bucket?list-type=2."""
    query = asked.query
    if query.get("list-type", "2") != "2":
        raise S3Error("InvalidArgument", "Invalid list type specified in the query.")
    is_second = "list-type" in query
    most, spell = _most(query.get("max-keys")), _spelling(asked)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    marker = query.get("marker", "")
    if is_second:
        marker = query.get("start-after", "")
        if "continuation-token" in query:
            marker = name_of_token(query["continuation-token"])
    entries = _page(asked, prefix, delimiter, marker, most + 1) if most else []
    if not most:
        asked.ask(asked.call("HEAD", object=""))
    is_truncated, entries = len(entries) > most, entries[:most]
    keys = [each for each in entries if "subdir" not in each]
    folders = [each["subdir"] for each in entries if "subdir" in each]
    with_owner = not is_second or query.get("fetch-owner") == "true"
    last = _name(entries[-1]) if entries else ""
    answer: dict[str, Any] = {"Name": asked.bucket, "Prefix": spell(prefix)}
    if is_second:
        answer |= {
            "StartAfter": spell(query["start-after"]) if "start-after" in query else None,
            "ContinuationToken": query.get("continuation-token"),
            "NextContinuationToken": token_of(last) if is_truncated else None,
            "KeyCount": len(entries),
        }
    else:
        answer["Marker"] = spell(marker)
        answer["NextMarker"] = spell(last) if is_truncated and delimiter else None
    answer |= {
        "MaxKeys": most,
        "Delimiter": spell(delimiter) if delimiter else None,
        "EncodingType": query.get("encoding-type"),
        "IsTruncated": is_truncated,
        "Contents": [
            {"Key": spell(each["name"]), **_shown(asked, each, with_owner)} for each in keys
        ],
        "CommonPrefixes": [{"Prefix": spell(each)} for each in folders],
    }
    return xml.document("ListBucketResult", answer)


def list_versions(asked: Asked) -> Response:
    """GET /bucket?versions."""
    query = asked.query
    most, spell = _most(query.get("max-keys")), _spelling(asked)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    further = {"versions": ""}
    marker = query.get("key-marker", "")
    version = query.get("version-id-marker")
    if version is not None:
        if not version:
            raise _wrong("version-id-marker", version, "A version-id marker is not empty.")
        if not marker:
            raise S3Error("InvalidArgument", "A version-id marker needs a key marker.")
        path = ObjectPath(asked.account, asked.bucket, marker)
        further["version_marker"] = versions.resolve(asked.store, path, version)
    entries = _page(asked, prefix, delimiter, marker, most + 1, **further) if most else []
    is_truncated, entries = len(entries) > most, entries[:most]
    shown: list[tuple[str, dict[str, Any]]] = []
    folders = []
    for each in entries:
        if "subdir" in each:
            folders.append({"Prefix": spell(each["subdir"])})
            continue
        line = {
            "Key": spell(each["name"]),
            "VersionId": _version(each),
            "IsLatest": bool(each.get("is_latest", True)),
        }
        if each["content_type"] == DELETE_MARKER:
            modified = xml.iso(each["last_modified"])
            line |= {"LastModified": modified, "Owner": access.owner(asked.account)}
            shown.append(("DeleteMarker", line))
        else:
            shown.append(("Version", line | _shown(asked, each, with_owner=True)))
    last = entries[-1] if entries and is_truncated else None
    answer = {
        "Name": asked.bucket,
        "Prefix": spell(prefix),
        "KeyMarker": spell(marker),
        "VersionIdMarker": query.get("version-id-marker", ""),
        "NextKeyMarker": spell(_name(last)) if last else None,
        # A folder has no versions.
        "NextVersionIdMarker": _version(last) if last and "subdir" not in last else None,
        "MaxKeys": most,
        "Delimiter": spell(delimiter) if delimiter else None,
        "EncodingType": query.get("encoding-type"),
        "IsTruncated": is_truncated,
        "Version": xml.mixed(shown),
        "CommonPrefixes": folders,
    }
    return xml.document("ListVersionsResult", answer)


def _version(each: Mapping[str, Any]) -> str:
    return versions.NULL if each.get("is_null") else str(each.get("version_id", versions.NULL))


def list_uploads(asked: Asked) -> Response:
    """GET /bucket?uploads: multipart uploads under way, by key and id."""
    query = asked.query
    asked.ask(asked.call("GET", object="", query={"limit": "1"}))
    most, spell = _most(query.get("max-uploads"), "max-uploads"), _spelling(asked)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    marker, id_marker = query.get("key-marker", ""), query.get("upload-id-marker", "")
    lines, folders = [], set()
    for each in parts.uploads(asked, prefix):
        at = each["key"].find(delimiter, len(prefix)) if delimiter else -1
        if at >= 0:
            folder = each["key"][: at + len(delimiter)]
            if folder > marker:
                folders.add(folder)
        elif not marker or (each["key"], each["id"]) > (marker, id_marker or _BEHIND):
            lines.append((each["key"], each["id"], each["time"]))
    # The store has them by another order: `a-b` before `a`, because of the slash behind names.
    ordered = sorted([*lines, *((folder, "", "") for folder in folders)])
    is_truncated, ordered = len(ordered) > most, ordered[:most]
    last = ordered[-1] if ordered and is_truncated else None
    answer = {
        "Bucket": asked.bucket,
        "KeyMarker": spell(marker),
        "UploadIdMarker": id_marker,
        "NextKeyMarker": spell(last[0]) if last else None,
        "NextUploadIdMarker": last[1] or None if last else None,
        "Prefix": spell(prefix),
        "Delimiter": spell(delimiter) if delimiter else None,
        "EncodingType": query.get("encoding-type"),
        "MaxUploads": most,
        "IsTruncated": is_truncated,
        "Upload": [
            {
                "Key": spell(key),
                "UploadId": upload_id,
                "Initiator": access.owner(asked.account),
                "Owner": access.owner(asked.account),
                "StorageClass": "STANDARD",
                "Initiated": xml.iso(time),
            }
            for key, upload_id, time in ordered
            if upload_id
        ],
        "CommonPrefixes": [
            {"Prefix": spell(key)} for key, upload_id, _time in ordered if not upload_id
        ],
    }
    return xml.document("ListMultipartUploadsResult", answer)


def _page(
    asked: Asked, prefix: str, delimiter: str, marker: str, limit: int, **further: str
) -> list[dict[str, Any]]:
    query = {"format": "json", "limit": str(limit), "prefix": prefix, **further}
    if delimiter:
        query["delimiter"] = delimiter
    if marker:
        # A folder that was shown is behind us with all that is in it.
        is_folder = bool(delimiter) and marker.endswith(delimiter) and marker != prefix
        query["marker"] = marker + _BEHIND if is_folder else marker
    call = asked.call("GET", object="", query=query)
    call.notes[NULLS] = True
    response = asked.ask(call)
    found: list[dict[str, Any]] = json.loads(b"".join(pieces(response)))
    return found


def _name(entry: dict[str, Any]) -> str:
    return str(entry.get("name") or entry.get("subdir"))


def _shown(asked: Asked, each: dict[str, Any], with_owner: bool) -> dict[str, Any]:
    etag = each.get("s3_etag") or each.get("slo_etag") or f'"{each["hash"]}"'
    return {
        "LastModified": xml.iso(each["last_modified"]),
        "ETag": etag,
        "Size": each.get("symlink_bytes", each["bytes"]),
        "Owner": access.owner(asked.account) if with_owner else None,
        "StorageClass": "STANDARD",
    }


def _spelling(asked: Asked) -> Callable[[str], str]:
    kind = asked.query.get("encoding-type")
    if kind not in (None, "url"):
        raise _wrong("encoding-type", kind, "encoding-type must be url.")
    return (lambda text: quote(text, safe="/-_.*")) if kind else (lambda text: text)


def _most(text: str | None, name: str = "max-keys") -> int:
    if text is None or text == "":
        return MOST
    most = digits.read(text, _MOST_SAID)
    if most is None:
        message = f"{name} must be an integer between 0 and {_MOST_SAID}."
        raise _wrong(name, text, message)
    return min(most, MOST)


def token_of(name: str) -> str:
    """A continuation token: what comes behind this name is left."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def name_of_token(token: str) -> str:
    """The name that a continuation token was made of; raises InvalidArgument."""
    try:
        return base64.b64decode(token, b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        message = "The continuation token is not one of ours."
        raise _wrong("continuation-token", token, message) from None


def _wrong(name: str, value: str, message: str) -> S3Error:
    return S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)
