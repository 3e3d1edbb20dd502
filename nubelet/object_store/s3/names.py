"""Which names buckets and keys may have.

Rules: Amazon S3 User Guide, "Bucket naming rules". Containers that Swift's users called otherwise
are not seen through S3.
"""

from __future__ import annotations

import re

from nubelet.object_store import call, limits
from nubelet.object_store.s3.errors import S3Error

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
# What Amazon keeps for names of its own.
_RESERVED_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
PARTS = call.PARTS


def is_bucket(name: str) -> bool:
    """May a bucket be called so?"""
    if not _BUCKET.fullmatch(name) or _ADDRESS.fullmatch(name):
        return False
    if name.startswith(_RESERVED_STARTS) or name.endswith(_RESERVED_ENDS):
        return False
    return ".." not in name and "-." not in name and ".-" not in name


def check_key(key: str) -> None:
    """Raise KeyTooLongError, InvalidArgument for what is no text."""
    if not limits.is_text(key):
        raise S3Error("InvalidArgument", "The key is not UTF-8, or holds a NUL.")
    if len(key.encode()) > limits.MAX_OBJECT_NAME_LENGTH:
        raise S3Error("KeyTooLongError")


def parts_of(bucket: str) -> str:
    """The container of the parts of a bucket's multipart uploads."""
    return bucket + PARTS
