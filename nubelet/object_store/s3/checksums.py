"""Checksums that S3 keeps with a key: by which algorithm, of the whole or of its parts' checksums.

    COMPOSITE      the checksum of the parts' checksums, `-` and how many parts
    FULL_OBJECT    of the whole data; of CRCs it follows from those of the parts

Reference: Amazon S3 User Guide, "Checking object integrity".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode

from nubelet.object_store.s3 import crc
from nubelet.object_store.s3.errors import S3Error

HEADER = "x-amz-checksum-"
STORED = "x-object-sysmeta-slo-s3-checksum"
COMPOSITE, FULL = "COMPOSITE", "FULL_OBJECT"
# Headers that begin like checksums and are none.
_OTHERS = frozenset(("algorithm", "mode", "type"))
_POLYNOMIALS = {"crc32": crc.CRC32, "crc32c": crc.CRC32C, "crc64nvme": crc.CRC64NVME}
ALGORITHMS: Mapping[str, Callable[[], Any]] = {
    **{name: partial(crc.Crc, polynomial) for name, polynomial in _POLYNOMIALS.items()},
    "sha1": partial(hashlib.sha1, usedforsecurity=False),
    "sha256": hashlib.sha256,
}
# How documents call them.
ELEMENTS = {name: f"Checksum{name.upper()}" for name in ALGORITHMS}


def asked_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Algorithm -> value (empty: behind the body) of an upload's headers; raises S3Error."""
    found = {
        name.removeprefix(HEADER): value.strip()
        for name, value in headers.items()
        if name.startswith(HEADER) and name.removeprefix(HEADER) not in _OTHERS
    }
    trailer = trailer_of(headers)
    for name in found:
        if name not in ALGORITHMS:
            raise S3Error("InvalidRequest", f"There is no checksum algorithm {name}.")
    if len(found) > 1 or (found and trailer):
        raise S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header.")
    if trailer:
        found[trailer.removeprefix(HEADER)] = ""
    declared = headers.get("x-amz-sdk-checksum-algorithm", "").lower()
    if declared and declared not in found:
        raise S3Error(
            "InvalidRequest", "No header has the checksum that x-amz-sdk-checksum-algorithm names."
        )
    for name, value in found.items():
        if value:
            check_form(name, value)
    return found


def has_digest(headers: Mapping[str, str]) -> bool:
    """Whether a body comes with Content-MD5 or a checksum; raises S3Error."""
    return "content-md5" in headers or bool(asked_of(headers))


def trailer_of(headers: Mapping[str, str]) -> str:
    """The header of a checksum that comes behind the body, or an empty text; raises S3Error."""
    sent = headers.get("x-amz-trailer", "").lower().rstrip(", \t")
    names = [each.strip() for each in sent.split(",")] if sent else []
    if len(names) > 1 or any(each not in {HEADER + name for name in ALGORITHMS} for each in names):
        raise S3Error("InvalidRequest", "x-amz-trailer must be the header of one checksum.")
    return names[0] if names else ""


def without(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers but for checksums."""
    return {
        name: value
        for name, value in headers.items()
        if not name.startswith(HEADER) and name != "x-amz-sdk-checksum-algorithm"
    }


def check_form(name: str, value: str) -> None:
    """Raise InvalidRequest for what cannot be a checksum of that algorithm."""
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    right = base64.b64encode(data).decode()  # the last letter has bits that must be zero
    if right != value or len(data) != len(ALGORITHMS[name]().digest()):
        raise S3Error("InvalidRequest", f"Value for x-amz-checksum-{name} header is invalid.")


def algorithm_of(headers: Mapping[str, str]) -> tuple[str, str]:
    """Algorithm and type that an upload in parts is begun with, or two empty texts; raises
    InvalidRequest."""
    name = headers.get("x-amz-checksum-algorithm", "").lower()
    kind = headers.get("x-amz-checksum-type", "").upper()
    if not name:
        if kind:
            raise S3Error("InvalidRequest", "x-amz-checksum-type needs x-amz-checksum-algorithm.")
        return "", ""
    if name not in ALGORITHMS:
        raise S3Error("InvalidRequest", f"There is no checksum algorithm {name}.")
    usual = FULL if name == "crc64nvme" else COMPOSITE
    kind = kind or usual
    if kind not in (COMPOSITE, FULL) or (kind != usual and name not in ("crc32", "crc32c")):
        raise S3Error("InvalidRequest", f"The checksum type {kind} cannot be used with {name}.")
    return name, kind


def kept(name: str, value: str, kind: str = FULL) -> str:
    """What is kept with the key."""
    return urlencode({name: value, "type": kind})


def read(text: str | None) -> tuple[str, str, str] | None:
    """Algorithm, value and type of what is kept."""
    pairs = dict(parse_qsl((text or "").replace("+", "%2B")))
    kind = pairs.pop("type", FULL)
    for name, value in pairs.items():
        return name, value, kind
    return None


def headers_of(text: str | None) -> dict[str, str]:
    """What is kept, as headers of an answer."""
    found = read(text)
    if found is None:
        return {}
    return {f"{HEADER}{found[0]}": found[1], f"{HEADER}type": found[2]}


def encoded(digest: Any) -> str:
    """A digest as headers and documents have it."""
    return base64.b64encode(digest.digest()).decode()


def document_of(text: str | None) -> dict[str, str]:
    """What is kept, as elements of a document."""
    found = read(text)
    if found is None:
        return {}
    return {ELEMENTS[found[0]]: found[1], "ChecksumType": found[2]}


def of_parts(name: str, kind: str, parts: Sequence[tuple[str, int]]) -> str:
    """The checksum of what has these parts (checksum, size)."""
    digests = [base64.b64decode(value) for value, _size in parts]
    if kind == COMPOSITE:
        whole = ALGORITHMS[name]()
        whole.update(b"".join(digests))
        return f"{base64.b64encode(whole.digest()).decode()}-{len(parts)}"
    polynomial = _POLYNOMIALS[name]
    value = 0
    for digest, (_, size) in zip(digests, parts, strict=True):
        value = crc.joined(polynomial, value, int.from_bytes(digest, "big"), size)
    return base64.b64encode(value.to_bytes(crc.width_of(polynomial), "big")).decode()
