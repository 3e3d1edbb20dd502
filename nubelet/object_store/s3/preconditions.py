"""What has to hold of a key for it to be written or deleted.

    If-Match: "etag" | *     it is there (and is that); If-None-Match: *     it is not there
    x-amz-if-match-size, x-amz-if-match-last-modified-time: so it is, unless it is not there

They are asked at once. What they were asked of must still be there when the key changes: `seen`
says when that was written, and the change is made of that and of nothing newer.

Reference: Amazon S3 User Guide, "Conditional requests".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Response
from nubelet.object_store.api import conditions
from nubelet.object_store.call import header
from nubelet.object_store.s3 import parts, versions
from nubelet.object_store.s3.asked import Asked
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.s3.etags import etag_of
from nubelet.object_store.storage.timestamps import Timestamp, seconds

OF_WRITES = ("if-match", "if-none-match")
_TRIES = 10
_SIZE, _MODIFIED = "x-amz-if-match-size", "x-amz-if-match-last-modified-time"
# What DeleteObjects calls them, key by key.
OF_DELETED = {"ETag": "if-match", "Size": _SIZE, "LastModifiedTime": _MODIFIED}
OF_DELETES = (*OF_WRITES, _SIZE, _MODIFIED)


def check(asked: Asked, said: Mapping[str, str]) -> Timestamp | None:
    """Raise PreconditionFailed where the key is not as `said`; NoSuchKey where it shall have an
    ETag and is not there. When what is there was written (empty: nothing is); None where nothing
    was said."""
    if not said:
        return None
    if said.get("if-none-match", "*").strip().strip('"') != "*":
        raise S3Error("NotImplemented", "If-None-Match takes * only.")
    parts.require_writer(asked)
    seen = versions.written_at(asked.store, asked.path)
    for _ in range(_TRIES):
        try:
            _compare(asked.look(), said)
        except ApiError as error:
            if error.status != 404 or "if-match" in said:
                raise
        before, seen = seen, versions.written_at(asked.store, asked.path)
        if seen == before:
            return seen  # else what was found may have been written since
    raise S3Error("ConditionalRequestConflict")


def _compare(found: Response, said: Mapping[str, str]) -> None:
    etags = {name: said[name] for name in OF_WRITES if name in said}
    size = header(found, "Content-Length")
    failed = ""
    if conditions.check(etags, etag_of(found), 0) != 200:
        failed = "If-Match" if "if-match" in etags else "If-None-Match"
    elif said.get(_SIZE, size) != size:
        failed = _SIZE
    elif _MODIFIED in said and not _was_written(found, said[_MODIFIED]):
        failed = _MODIFIED
    if failed:
        raise S3Error("PreconditionFailed", Condition=failed)


def _was_written(found: Response, said: str) -> bool:
    """At that second? S3's listings and headers show one that is rounded up, Swift's listings one
    that is not rounded."""
    try:
        at = parsedate_to_datetime(said)
    except ValueError:
        try:
            at = datetime.fromisoformat(said)
        except ValueError:
            raise S3Error("InvalidArgument", "A time of last modification is not one.") from None
    try:
        wanted = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    except (OverflowError, ValueError):
        return False
    written = seconds(header(found, "X-Timestamp") or "0")
    return wanted in (math.floor(written), math.ceil(written))
