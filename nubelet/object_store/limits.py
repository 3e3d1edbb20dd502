"""The limits that `/info` announces, and the refusals of what passes them.

In OpenStack: swift/common/constraints.py.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from nubelet.kernel.errors import (
    BadRequest,
    LengthRequired,
    PreconditionFailed,
    TooLarge,
)

ACCOUNT_LISTING_LIMIT = 10_000
CONTAINER_LISTING_LIMIT = 10_000
MAX_ACCOUNT_NAME_LENGTH = 256
MAX_CONTAINER_NAME_LENGTH = 256
MAX_OBJECT_NAME_LENGTH = 1_024
MAX_FILE_SIZE = 5_368_709_122
MAX_HEADER_SIZE = 8_192
MAX_META_COUNT = 90
MAX_META_NAME_LENGTH = 128
MAX_META_OVERALL_SIZE = 4_096
MAX_META_VALUE_LENGTH = 256
_END_OF_TIME = 9_999_999_999  # seconds that a timestamp of ten digits can say

AS_INFO: Mapping[str, int] = {
    "account_listing_limit": ACCOUNT_LISTING_LIMIT,
    "container_listing_limit": CONTAINER_LISTING_LIMIT,
    "extra_header_count": 0,
    "max_account_name_length": MAX_ACCOUNT_NAME_LENGTH,
    "max_container_name_length": MAX_CONTAINER_NAME_LENGTH,
    "max_file_size": MAX_FILE_SIZE,
    "max_header_size": MAX_HEADER_SIZE,
    "max_meta_count": MAX_META_COUNT,
    "max_meta_name_length": MAX_META_NAME_LENGTH,
    "max_meta_overall_size": MAX_META_OVERALL_SIZE,
    "max_meta_value_length": MAX_META_VALUE_LENGTH,
    "max_object_name_length": MAX_OBJECT_NAME_LENGTH,
}


def check_names(account: str, container: str, object: str) -> None:  # noqa: A002
    """Raise for a name that is too long."""
    for kind, name, most in (
        ("Account", account, MAX_ACCOUNT_NAME_LENGTH),
        ("Container", container, MAX_CONTAINER_NAME_LENGTH),
        ("Object", object, MAX_OBJECT_NAME_LENGTH),
    ):
        size = len(name.encode())
        if size > most:
            raise BadRequest(f"{kind} name length of {size} longer than {most}")


def check_metadata(
    headers: Mapping[str, str], target: str, longest_value: int = MAX_META_VALUE_LENGTH
) -> None:
    """Raise BadRequest for metadata that passes a limit. target: account, container, object."""
    prefix = f"x-{target}-meta-"
    count = total = 0
    for name, value in headers.items():
        if len(value) > MAX_HEADER_SIZE:
            raise BadRequest(f"Header value too long: {name[:MAX_META_NAME_LENGTH]}")
        if not name.startswith(prefix):
            continue
        key = name[len(prefix) :]
        size = len(value.encode("utf-8", "surrogateescape"))
        count, total = count + 1, total + len(key) + size
        if not key:
            raise BadRequest("Metadata name cannot be empty")
        if len(key) > MAX_META_NAME_LENGTH:
            raise BadRequest(f"Metadata name too long: {prefix}{key}")
        if size > longest_value:
            raise BadRequest(f"Metadata value longer than {longest_value}: {prefix}{key}")
        if not is_text(value):
            raise BadRequest("Metadata must be valid UTF-8")
    if count > MAX_META_COUNT:
        raise BadRequest(f"Too many metadata items; max {MAX_META_COUNT}")
    if total > MAX_META_OVERALL_SIZE:
        raise BadRequest(f"Total metadata too large; max {MAX_META_OVERALL_SIZE}")


def is_text(value: str) -> bool:
    """Was it UTF-8 when it came in (else it has surrogates), and free of NUL?"""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def body_length(headers: Mapping[str, str]) -> int | None:
    """The length a PUT says; None when it is chunked. Raises LengthRequired, TooLarge."""
    if "transfer-encoding" in headers:
        if headers["transfer-encoding"].lower() != "chunked":
            raise BadRequest(f"Invalid Transfer-Encoding: {headers['transfer-encoding']}")
        return None
    declared = headers.get("content-length")
    if declared is None:
        raise LengthRequired("Missing Content-Length header.")
    if not declared.isascii() or not declared.isdigit():
        raise BadRequest(f"Invalid Content-Length: {declared}")
    if int(declared) > MAX_FILE_SIZE:
        raise TooLarge("Your request is too large.")
    return int(declared)


def delete_at(headers: Mapping[str, str]) -> int | None:
    """When the object shall expire (X-Delete-At, X-Delete-After); raises BadRequest."""
    now = time.time()
    if "x-delete-after" in headers:
        after = _integer(headers["x-delete-after"], "X-Delete-After")
        if after <= 0:
            raise BadRequest("X-Delete-After in past")
        return min(int(now) + after, _END_OF_TIME)
    if headers.get("x-delete-at"):
        at = _integer(headers["x-delete-at"], "X-Delete-At")
        if at < now:
            raise BadRequest("X-Delete-At in past")
        return min(at, _END_OF_TIME)
    return None


def if_delete_at(headers: Mapping[str, str]) -> int | None:
    """The X-Delete-At that an object must have for a DELETE; raises BadRequest."""
    if "x-if-delete-at" not in headers:
        return None
    return _integer(headers["x-if-delete-at"], "X-If-Delete-At")


def _integer(text: str, name: str) -> int:
    if not text.isascii() or not text.removeprefix("-").isdigit():
        raise BadRequest(f"Non-integer {name}")
    return int(text[:20])  # more digits are beyond the end of time anyway


def page_limit(text: str | None, most: int) -> int:
    """The `limit` of a listing; what is no number is no limit. Raises PreconditionFailed."""
    if not text or not text.isascii() or not text.isdigit():
        return most
    if len(text) > 9 or int(text) > most:
        raise PreconditionFailed(f"Maximum limit is {most}")
    return int(text)
