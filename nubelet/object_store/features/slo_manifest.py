"""What a manifest of a static large object may say, as clients send it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nubelet.kernel.errors import ApiError, BadRequest
from nubelet.object_store import limits
from nubelet.object_store.storage import ObjectPath

MAX_SEGMENTS = 1000
MAX_BYTES = 8 << 20
_KEYS = {"path", "etag", "size_bytes", "range"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One segment: of an object, or (`data`) of bytes in the manifest."""

    path: str = ""
    etag: str = ""
    size: int | None = None
    range: str = ""
    data: bytes | None = None
    encoded: str = ""
    sent: str = ""  # the path as the client wrote it

    def object_path(self, account: str) -> ObjectPath:
        """The object."""
        return split(self.path, account)


def split(name: str, account: str) -> ObjectPath:
    """`/container/object` in an account."""
    container, _, found = name.removeprefix("/").partition("/")
    return ObjectPath(account, container, found)


def parse(text: bytes) -> list[Entry]:
    """The entries; raises BadRequest that names each wrong one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest("Manifest must be valid JSON.") from None
    if not isinstance(value, list):
        raise BadRequest("Manifest must be a list.")
    entries, problems, objects = [], [], 0
    for number, each in enumerate(value):
        try:
            entry = _entry(each)
            entries.append(entry)
            objects += entry.data is None
        except BadRequest as error:
            problems.append(f"Index {number}: {error.message}")
    if objects > MAX_SEGMENTS:
        raise ApiError(
            f"Number of object-backed segments must be <= {MAX_SEGMENTS}",
            status=413,
            title="Request Entity Too Large",
        )
    if problems:
        raise BadRequest("\n".join(problems))
    if not objects:
        raise BadRequest("Inline data segments require at least one object-backed segment.")
    return entries


def _entry(value: Any) -> Entry:
    if not isinstance(value, dict):
        raise BadRequest("not a JSON object")
    if "data" in value:
        return _data(value)
    if extra := set(value) - _KEYS:
        raise BadRequest(f"extraneous keys {', '.join(sorted(map(repr, extra)))}")
    path = value.get("path")
    if not isinstance(path, str) or not path:
        raise BadRequest("expected keys to include one of 'data' or 'path'")
    where = split(path, "")
    if not where.container or not where.object or not limits.is_text(path):
        raise BadRequest(
            "path does not refer to an object. Path must be of the form /container/object."
        )
    limits.check_names("", where.container, where.object)
    etag, size = value.get("etag"), value.get("size_bytes")
    if etag is not None and not isinstance(etag, str):
        raise BadRequest("etag must be a string or null (if provided)")
    if isinstance(size, str) and size.isascii() and size.isdigit() and len(size) < 20:
        size = int(size)
    if size is not None and (not isinstance(size, int) or isinstance(size, bool)):
        raise BadRequest("invalid size_bytes")
    if size is not None and size < 1:
        raise BadRequest("too small; each segment must be at least 1 byte.")
    wanted = value.get("range")
    if wanted is not None and (not isinstance(wanted, str) or not _RANGE.fullmatch(wanted)):
        raise BadRequest("invalid range")
    full, checksum = "/" + path.removeprefix("/"), (etag or "").strip('"')
    return Entry(full, checksum, size, wanted or "", sent=path)


_RANGE = re.compile(r"\d{1,18}-\d{0,18}|-\d{1,18}", re.ASCII)


def _data(value: Mapping[str, Any]) -> Entry:
    if extra := set(value) - {"data"}:
        raise BadRequest(f"extraneous keys {', '.join(sorted(map(repr, extra)))}")
    text = value["data"]
    try:
        data = decode(text)
    except (TypeError, ValueError, binascii.Error):
        raise BadRequest("data must be valid base64") from None
    if not data:
        raise BadRequest("too small; each segment must be at least 1 byte.")
    return Entry(data=data, encoded=text)


def decode(text: str) -> bytes:
    """The bytes of an entry of data; raises ValueError."""
    return base64.b64decode(text, validate=True)


def one_range(text: str, size: int) -> tuple[int, int]:
    """First and one past the last byte."""
    first, _, last = text.partition("-")
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size


def as_sent(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored entry as a client could send it."""
    if "data" in stored:
        return {"data": stored["data"]}
    sent = {"path": stored["name"], "size_bytes": stored["bytes"], "etag": stored["hash"]}
    if "range" in stored:
        sent["range"] = stored["range"]
    return sent
