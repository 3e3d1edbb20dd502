"""Image data as objects of an S3 bucket: `<image id>/<upload id>`, uploaded in parts.

An object appears whole when its parts are completed; parts that are not are aborted by `delete`.
Requests are signed by our own Signature Version 4: a few lines of the standard library instead of
boto3 and botocore (70 MB). In OpenStack: glance_store/_drivers/s3.py.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from nubelet.image.stores import StoreUnreachable, remote
from nubelet.image.stores.remote import Answer

if TYPE_CHECKING:
    from nubelet.settings import S3Store as Options

_OURS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/[0-9a-f-]+")


class S3Upload:
    """A multipart upload: one part is in memory, the others are in the bucket."""

    def __init__(self, store: S3Store, key: str) -> None:
        self._store, self._key = store, key
        self._waiting: list[bytes] = []
        self._size = 0
        self._tags: list[str] = []
        answer = store.ask("POST", key, {"uploads": ""})
        self._id = _text(ET.fromstring(answer.body), "UploadId")  # noqa: S314 - our own store

    def write(self, data: bytes) -> None:
        """Append; a part that is full goes to the bucket."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= self._store.part_bytes:
            self._send()

    def commit(self) -> None:
        """Put the parts together."""
        if self._size or not self._tags:
            self._send()
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
            for number, tag in enumerate(self._tags, 1)
        )
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        answer = self._store.ask("POST", self._key, {"uploadId": self._id}, body)
        if b"<Error>" in answer.body:  # S3 may say 200 before it knows
            raise StoreUnreachable(f"the upload was not completed: {answer.body[:300]!r}")

    def abort(self) -> None:
        """Remove the parts."""
        self._waiting.clear()
        with suppress(StoreUnreachable):
            self._store.ask("DELETE", self._key, {"uploadId": self._id})

    def _send(self) -> None:
        part = b"".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        query = {"partNumber": str(len(self._tags) + 1), "uploadId": self._id}
        answer = self._store.ask("PUT", self._key, query, part)
        self._tags.append(answer.headers["ETag"])


class S3Store:
    """A store of type `s3`."""

    type, read_only = "s3", False

    def __init__(self, name: str, options: Options) -> None:
        self.name, self.description, self.weight = name, options.description, options.weight
        self.part_bytes = options.part_bytes
        self._options = options
        self._base = f"{options.endpoint.rstrip('/')}/{options.bucket}"

    @property
    def properties(self) -> Mapping[str, Any]:
        """Endpoint and bucket."""
        return {
            "s3_store_host": self._options.endpoint,
            "s3_store_bucket": self._options.bucket,
            "s3_store_large_object_size": self.part_bytes >> 20,
            "s3_store_large_object_chunk_size": self.part_bytes >> 20,
        }

    def new_key(self, image_id: str, upload_id: str) -> str:
        """One of its own for each upload: a late one never meets another."""
        return f"{image_id}/{upload_id}"

    def begin(self, key: str) -> S3Upload:
        """Start a multipart upload."""
        return S3Upload(self, key)

    def size(self, key: str) -> int | None:
        """Bytes of the object."""
        answer = self.ask("HEAD", key)
        return None if answer.status == 404 else int(answer.headers["Content-Length"])

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        """A range of the object."""
        if length == 0:
            return iter(())
        url = f"{self._base}/{quote(key)}"
        headers = self._signed("GET", url, {"Range": f"bytes={offset}-{offset + length - 1}"}, b"")
        return remote.stream(url, headers, length)

    def url(self, key: str) -> str:
        """`s3://host/bucket/key`, without any secret."""
        parts = urlsplit(self._base)
        scheme = "s3+https" if parts.scheme == "https" else "s3"
        return f"{scheme}://{parts.netloc}{parts.path}/{quote(key)}"

    def key(self, url: str) -> str | None:
        """The key in this bucket."""
        prefix = self.url("")
        return url.removeprefix(prefix) if url.startswith(prefix) and url != prefix else None

    def delete(self, key: str) -> None:
        """Remove the object, and the parts of uploads that were not completed."""
        for upload_id in self._open_uploads(key):
            self.ask("DELETE", key, {"uploadId": upload_id})
        self.ask("DELETE", key)

    def _open_uploads(self, key: str) -> list[str]:
        answer = self.ask("GET", "", {"uploads": "", "prefix": key})
        root = ET.fromstring(answer.body)  # noqa: S314 - our own store
        return [
            _text(each, "UploadId") for each in _all(root, "Upload") if _text(each, "Key") == key
        ]

    def list_ids(self) -> list[str]:
        """The keys of objects that are images of ours."""
        found: list[str] = []
        query = {"list-type": "2"}
        while True:
            root = ET.fromstring(self.ask("GET", "", query).body)  # noqa: S314 - our own store
            keys = [_text(each, "Key") for each in _all(root, "Contents")]
            found += [key for key in keys if _OURS.fullmatch(key)]
            token = _text(root, "NextContinuationToken")
            if not token:
                return found
            query["continuation-token"] = token

    def ask(
        self, method: str, key: str, query: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """A signed request for a key (or, empty, the bucket); raises StoreUnreachable, also when
        the bucket is not there: that must not look as if it were empty.
        """
        url = f"{self._base}/{quote(key)}" if key else self._base
        if query:
            url += "?" + urlencode(sorted(query.items()), quote_via=quote)
        answer = remote.request(method, url, self._signed(method, url, {}, body), body)
        if answer.status == 404 and b"<Code>NoSuchBucket</Code>" in answer.body:
            raise StoreUnreachable(f"{self._base}: there is no such bucket (NoSuchBucket)")
        return answer

    def _signed(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> dict[str, str]:
        secret = self._options.secret_key_file.read_text().strip()
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return sign(
            method, url, headers, body, self._options.access_key, secret, self._options.region, now
        )


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    access_key: str,
    secret_key: str,
    region: str,
    now: str,
) -> dict[str, str]:
    """The headers of a request with AWS Signature Version 4; `now` is `YYYYMMDDThhmmssZ`."""
    parts = urlsplit(url)
    digest = hashlib.sha256(body).hexdigest()
    signed = {
        **headers,
        "Host": parts.netloc,
        "x-amz-content-sha256": digest,
        "x-amz-date": now,
    }
    names = sorted(name.lower() for name in signed)
    values = {name.lower(): value.strip() for name, value in signed.items()}
    canonical = "\n".join(
        (
            method,
            parts.path or "/",
            parts.query,
            *(f"{name}:{values[name]}" for name in names),
            "",
            ";".join(names),
            digest,
        )
    )
    scope = f"{now[:8]}/{region}/s3/aws4_request"
    text = "\n".join(
        ("AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest())
    )
    key = f"AWS4{secret_key}".encode()
    for word in (now[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    signed["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, "
        f"SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return signed


def _all(root: ET.Element, name: str) -> list[ET.Element]:
    """Elements of a name, whatever the namespace."""
    return [each for each in root.iter() if each.tag.rpartition("}")[2] == name]


def _text(root: ET.Element, name: str) -> str:
    found = _all(root, name)
    return (found[0].text or "") if found else ""
