"""The lifecycle of a bucket: its configuration, where that is kept, and what answers tell of it.

A thousand rules are too much to be read with every look at a bucket. They are an object of an
account that no client can name; the bucket's metadata says which one. Who applies them
(`aging.py`) finds all buckets that have rules by listing those objects.

    .s3_lifecycles/rules/<account>/<bucket>/<id>

A change writes a new object, then the bucket names it, then the old one goes: whoever is killed in
between leaves the old rules or the new ones.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from email.utils import formatdate
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote

from nubelet.kernel.errors import ApiError
from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import header
from nubelet.object_store.features.version_names import is_id
from nubelet.object_store.s3 import lifecycle_documents, lifecycle_rules, versions, xml
from nubelet.object_store.s3.asked import Asked, noted
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.s3.lifecycle_rules import Lifecycle
from nubelet.object_store.s3.rules import TAGS
from nubelet.object_store.storage import (
    ContainerInfo,
    Missing,
    ObjectPath,
    Outdated,
    Storage,
    timestamps,
)

ACCOUNT, CONTAINER = ".s3_lifecycles", "rules"
_SMALLEST = "x-amz-transition-default-minimum-object-size"
_SMALLEST_USUAL = "all_storage_classes_128K"
_SMALLEST_KNOWN = (_SMALLEST_USUAL, "varies_by_storage_class")


# --- The configuration ------------------------------------------------------------------------


def show(asked: Asked) -> Response:
    """GET ?lifecycle."""
    lifecycle = of_bucket(asked.store, asked.require_permitted())
    if lifecycle is None:
        raise S3Error("NoSuchLifecycleConfiguration", BucketName=asked.bucket)
    answer = xml.document(lifecycle_documents.ROOT, lifecycle_documents.document(lifecycle))
    answer.headers[_SMALLEST] = lifecycle.smallest or _SMALLEST_USUAL
    return answer


def update(asked: Asked) -> Response:
    """PUT ?lifecycle replaces all rules, DELETE removes them."""
    info = asked.require_permitted()
    before = token_of(info)
    if asked.request.method == "DELETE":
        asked.note(lifecycle="")
        forget(asked.store, asked.account, asked.bucket, before)
        return Response(204)
    smallest = asked.headers.get(_SMALLEST, "")
    if smallest and smallest not in _SMALLEST_KNOWN:
        raise S3Error("InvalidRequest", f"{_SMALLEST} is none of those there are.")
    lifecycle = Lifecycle(rules=lifecycle_documents.read(asked.document()), smallest=smallest)
    token = secrets.token_hex(16)
    _keep(asked.store, place(asked.account, asked.bucket, token), lifecycle)
    asked.note(lifecycle=token)
    forget(asked.store, asked.account, asked.bucket, before)
    return Response(200, b"", {_SMALLEST: smallest or _SMALLEST_USUAL})


# --- Where it is kept -------------------------------------------------------------------------


def place(account: str, bucket: str, token: str) -> ObjectPath:
    """Where the rules are that a bucket calls so."""
    return ObjectPath(ACCOUNT, CONTAINER, f"{account}/{bucket}/{token}")


def token_of(info: ContainerInfo) -> str:
    """How a bucket calls its rules; empty: it has none."""
    return noted(info, "lifecycle")


def of_bucket(store: Storage, info: ContainerInfo) -> Lifecycle | None:
    """The rules of a bucket."""
    token = token_of(info)
    if not token:
        return None
    known: Any = store
    try:
        return _read(known, place(info.account, info.container, token))
    except Missing:  # somebody changes them just now
        return None


@lru_cache(maxsize=64)
def _read(store: Any, path: ObjectPath) -> Lifecycle:
    """What never changes: a change has another name."""
    opened = store.open_object(path, policy(store))
    try:
        return lifecycle_rules.read(b"".join(opened.read()))
    finally:
        opened.close()


def _keep(store: Storage, path: ObjectPath, lifecycle: Lifecycle) -> None:
    now = timestamps.now()
    try:
        store.container(ACCOUNT, CONTAINER)
    except Missing:
        store.put_account(ACCOUNT, now, {})
        store.put_container(ACCOUNT, CONTAINER, now, {})
    body = lifecycle_rules.kept(lifecycle)
    metadata = {"content-type": "application/json", "content-length": str(len(body))}
    store.put_object(path, policy(store), timestamps.now(), metadata, [body])


def forget(store: Storage, account: str, bucket: str, token: str) -> None:
    """These rules are no bucket's any more."""
    if token:
        with suppress(Missing, Outdated):
            path = place(account, bucket, token)
            store.delete_object(path, policy(store), timestamps.now())


def policy(store: Storage) -> int:
    """The storage policy of the rules."""
    return store.container(ACCOUNT, CONTAINER, totals=False).policy


# --- What answers tell ------------------------------------------------------------------------


def since_of(found: Response) -> float:
    """When what a HEAD is about, or its metadata, was last changed, in seconds since 1970; of a
    version when it was made."""
    return made_at(found, header(found, "X-Timestamp") or "")


def made_at(found: Response, written: timestamps.Timestamp) -> float:
    """When what a HEAD is about was made, in seconds since 1970: of a version its id says so; what
    has no versions was `written` then."""
    version = header(found, "X-Object-Version-Id") or ""
    return timestamps.seconds((version if is_id(version) else written) or timestamps.ZERO)


def tags_of(found: Response) -> dict[str, str]:
    """The tags that a HEAD tells of."""
    return dict(parse_qsl(header(found, TAGS) or "", keep_blank_values=True))


def size_of(found: Response) -> int:
    """The size of the whole, also where an answer is about a part of it."""
    whole = (header(found, "Content-Range") or "").rpartition("/")[2]
    return int(whole or header(found, "Content-Length") or 0)


def told(asked: Asked, found: Response) -> dict[str, str]:
    """The header about when the key that was found expires, if it does."""
    lifecycle = of_bucket(asked.store, asked.bucket_info())
    if lifecycle is None or "versionId" in asked.query:
        return {}
    size, tags = size_of(found), tags_of(found)
    about = [rule for rule in lifecycle.enabled if rule.is_about(asked.key, size, tags)]
    if not about:
        return {}
    # The HEAD of a key without versions says when its tags were changed, too.
    written = (
        "" if header(found, "X-Object-Version-Id") else versions.written_at(asked.store, asked.path)
    )
    expiry = lifecycle_rules.first(
        about, made_at(found, written or header(found, "X-Timestamp") or "")
    )
    return {"x-amz-expiration": lifecycle_rules.header(expiry)} if expiry else {}


def told_of_upload(asked: Asked, begun: float) -> dict[str, str]:
    """The headers about when an upload is given up that was begun then (seconds since 1970), if it
    is."""
    lifecycle = of_bucket(asked.store, asked.bucket_info())
    over = [
        (lifecycle_rules.due(begun, rule.abort_days), rule.id)
        for rule in (lifecycle.enabled if lifecycle else ())
        if rule.abort_days and asked.key.startswith(rule.prefix)
    ]
    if not over:
        return {}
    at, rule_id = min(over)
    return {
        "x-amz-abort-date": formatdate(at, usegmt=True),
        "x-amz-abort-rule-id": quote(rule_id, safe=""),
    }


def told_of_written(asked: Asked) -> dict[str, str]:
    """The same of a key that was just written."""
    if not token_of(asked.bucket_info()):
        return {}
    try:
        return told(asked, asked.look())
    except ApiError:  # it is gone again
        return {}
