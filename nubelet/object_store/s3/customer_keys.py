"""Keys of customers (SSE-C): who writes a key of a bucket brings the secret that encrypts it, and
whoever reads it has to bring it again.

The secret is never kept. With the bytes goes a salt, and what the secret and the salt make: one
half tells whether a secret that is brought is the right one, the other encrypts. Each write has a
salt of its own, so no two are encrypted alike. AES-256 in counter mode encrypts, below large
objects (each part for itself) and above versions, which move bytes as they are. The store sees
nothing else: its MD5, which is the ETag, is that of the encrypted bytes.

    x-object-sysmeta-crypto-customer    of bytes, or a part: they are encrypted so
    x-object-sysmeta-slo-s3-customer    of a key in parts: its parts are

Neither goes with a copy, whose bytes are encrypted anew or not at all.

Reference: Amazon S3 User Guide, "Using server-side encryption with customer-provided keys".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from nubelet.kernel.context import Context
from nubelet.kernel.http.messages import Request, Response
from nubelet.object_store.call import Call, Proceed, header, pieces
from nubelet.object_store.features.customer_keys import OF_BYTES, OF_PARTS, give_up
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.storage.encryption import counter_mode

HEADER = "x-amz-server-side-encryption-customer-"
OF_SOURCE = "x-amz-copy-source-server-side-encryption-customer-"
# With the object that stands for an upload.
OF_UPLOAD = "x-object-sysmeta-s3-upload-customer"
ALGORITHM = "AES256"
_KEY_BYTES, _SALT_BYTES = 32, 32
_COPY = "x-amz-copy-source"


def read(headers: Mapping[str, str], start: str = HEADER) -> bytes:
    """The secret that a request brings, or nothing; raises InvalidArgument,
    InvalidEncryptionAlgorithmError."""
    algorithm, sent, digest = (headers.get(f"{start}{each}") for each in _NAMES)
    if algorithm is None and sent is None and digest is None:
        return b""
    if not algorithm:
        raise S3Error("InvalidArgument", "A customer's key comes with an encryption algorithm.")
    if algorithm != ALGORITHM:
        raise S3Error("InvalidEncryptionAlgorithmError")
    if not sent:
        raise S3Error("InvalidArgument", "An encryption algorithm comes with a customer's key.")
    if not digest:
        raise S3Error("InvalidArgument", "A customer's key comes with its MD5.")
    key = _decoded(sent)
    if len(key) != _KEY_BYTES:
        raise S3Error("InvalidArgument", "The customer's key must be 256 bits, in base64.")
    if _decoded(digest) != hashlib.md5(key, usedforsecurity=False).digest():
        raise S3Error("InvalidArgument", "The MD5 that was sent is not that of the customer's key.")
    return key


_NAMES = ("algorithm", "key", "key-md5")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def is_brought(headers: Mapping[str, str]) -> bool:
    """Does a request say anything of a customer's key?"""
    return any(name.startswith((HEADER, OF_SOURCE)) for name in headers)


def check_transport(ctx: Context, request: Request) -> None:
    """Raise InvalidRequest for a secret that everybody on the way could read."""
    over_http = ctx.cloud.settings.object_store.s3_customer_keys_over_http
    is_safe = over_http or request.base_url.startswith("https:")
    if not is_safe and is_brought(request.headers):
        raise S3Error(
            "InvalidRequest",
            "Requests with a customer's key must be made over a secure connection"
            " (see object_store.s3_customer_keys_over_http).",
        )


# --- What is kept -----------------------------------------------------------------------------


def _derived(key: bytes, salt: bytes) -> tuple[bytes, bytes]:
    """What encrypts, and what tells whether a key is the right one."""
    found = HKDF(SHA256(), 2 * _KEY_BYTES, salt, b"nubelet s3 customer key").derive(key)
    return found[:_KEY_BYTES], found[_KEY_BYTES:]


def kept(key: bytes) -> str:
    """What is kept of a key: a new salt, and what tells the key again."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"{salt.hex()}:{_derived(key, salt)[1].hex()}"


def _encrypting(key: bytes, noted: str) -> bytes | None:
    """What encrypts by this key; None: it is another."""
    salt, _, verifier = noted.partition(":")
    found, own = _derived(key, bytes.fromhex(salt))
    return found if hmac.compare_digest(own, bytes.fromhex(verifier)) else None


def fits(key: bytes, noted: str) -> bool:
    """Is it the key of which that was kept?"""
    return _encrypting(key, noted) is not None


def noted(found: Response) -> str:
    """What is kept with a key of a bucket, by the answer about it; empty: it has no customer's
    key."""
    return header(found, OF_BYTES) or header(found, OF_PARTS) or ""


def check(headers: Mapping[str, str], found: Response, start: str = HEADER) -> dict[str, str]:
    """Raise where a request may not have what was found, by the key that it brings; headers that
    tell of the key."""
    mark, key = noted(found), read(headers, start)
    if not mark:
        if key:
            raise S3Error(
                "InvalidRequest", "The encryption parameters are not applicable to this object."
            )
        return {}
    if not key:
        raise S3Error(
            "InvalidRequest",
            "The key is encrypted with a customer's key, which the request must bring.",
        )
    if not fits(key, mark):
        raise S3Error("AccessDenied", "The object was encrypted with another key.")
    return told(headers) if start == HEADER else {}


def told(headers: Mapping[str, str]) -> dict[str, str]:
    """What an answer says of the key that a request brought."""
    if f"{HEADER}algorithm" not in headers:
        return {}
    return {
        f"{HEADER}algorithm": ALGORITHM,
        f"{HEADER}key-MD5": headers[f"{HEADER}key-md5"],
    }


def of_written(headers: Mapping[str, str]) -> dict[str, str]:
    """What is kept with what a request writes; nothing where it brings no key."""
    key = read(headers)
    return {OF_BYTES: kept(key)} if key else {}


# --- The bytes --------------------------------------------------------------------------------


def customer_keys(call: Call, proceed: Proceed) -> Response:
    """Encrypt what is written with a customer's key, decrypt what is read. A feature of S3's."""
    headers = call.request.headers
    if call.method == "PUT" and OF_BYTES in call.headers:
        own = _encrypting(read(headers), call.headers[OF_BYTES])
        assert own is not None  # it was made of this very key
        call.headers.pop("etag", None)  # of what is not encrypted
        body = call.body
        call.body = lambda size: _through(body(size), own, 0)
        return proceed(call)
    response = proceed(call)
    is_read = call.method == "GET" and response.status in (200, 206)
    if not is_read or call.query.get("multipart-manifest") == "get" or not noted(response):
        return response
    try:
        check(headers, response, OF_SOURCE if _COPY in headers else HEADER)
    except S3Error:
        give_up(response)
        raise
    if mark := header(response, OF_BYTES):
        _decrypt(response, read(headers, OF_SOURCE if _COPY in headers else HEADER), mark)
    return response


def _decrypt(response: Response, key: bytes, mark: str) -> None:
    own = _encrypting(key, mark)
    assert own is not None  # it was checked
    within = header(response, "Content-Range") or "bytes 0-"
    start = int(within.removeprefix("bytes ").partition("-")[0])
    plain = _through(pieces(response), own, start)
    response.body = b"".join(plain) if isinstance(response.body, bytes) else plain
    # A copy compares what it reads with an ETag that is an MD5: this is none of these bytes.
    response.headers["Etag"] = '"' + (header(response, "Etag") or "").strip('"') + '"'


def _through(body: Iterator[bytes], key: bytes, start: int) -> Iterator[bytes]:
    cipher: Any = counter_mode(key, bytes(16), start)
    for piece in body:
        yield cipher.update(piece)
