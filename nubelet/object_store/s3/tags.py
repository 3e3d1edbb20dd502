"""Tags of keys and buckets: documents of them, and what a tag may be.

Kept as a query: `name=value&...`. Reference: Amazon S3 User Guide, "Categorizing your objects".
"""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import category
from urllib.parse import parse_qsl, urlencode

from nubelet.kernel.http.messages import Response
from nubelet.object_store.s3 import xml
from nubelet.object_store.s3.errors import S3Error

_MOST, MOST_OF_BUCKET = 10, 50
_SIGNS = "+-=._:/@"


def document(kept: str) -> Response:
    """Tags as a document."""
    tags = parse_qsl(kept, keep_blank_values=True)
    found = [{"Key": name, "Value": value} for name, value in tags]
    return xml.document("Tagging", {"TagSet": {"Tag": found}})


def read_document(body: bytes, most: int = _MOST) -> str:
    """Tags of a document, as they are kept; raises MalformedXML, InvalidTag."""
    found = xml.read(body, "Tagging").find("TagSet")
    if found is None:
        raise S3Error("MalformedXML")
    if any(each.find("Value") is None for each in found.findall("Tag")):
        raise S3Error("MalformedXML", "A tag has a Value.")
    pairs = [(each.findtext("Key"), each.findtext("Value")) for each in found.findall("Tag")]
    return urlencode(read(((name or "", value or "") for name, value in pairs), most))


def read(pairs: Iterable[tuple[str, str]], most: int = _MOST) -> dict[str, str]:
    """Tags, checked: names up to 128 characters of UTF-16, values up to 256."""
    tags: dict[str, str] = {}
    for name, value in pairs:
        if not name or not _is_fit(name, 128):
            raise S3Error("InvalidTag", "The key of a tag is not valid.")
        if not _is_fit(value, 256):
            raise S3Error("InvalidTag", "The value of a tag is not valid.")
        if name in tags:
            raise S3Error("InvalidTag", "Two tags have the same key.")
        if name.lower().startswith("aws:"):
            raise S3Error("InvalidTag", "Keys that begin with aws: are reserved.")
        tags[name] = value
    if len(tags) > most:
        raise S3Error("InvalidTag", f"There can be {most} tags.")
    return tags


def read_header(sent: str) -> str:
    """Tags of x-amz-tagging, as they are kept; raises InvalidArgument, InvalidTag."""
    try:
        pairs = parse_qsl(sent, keep_blank_values=True, errors="strict")
    except ValueError:
        raise S3Error("InvalidArgument", "x-amz-tagging is not UTF-8, encoded.") from None
    return urlencode(read(pairs))


def _is_fit(text: str, most: int) -> bool:
    """Letters, spaces and digits of any script, and some signs."""
    return len(text.encode("utf-16-le", "surrogatepass")) <= 2 * most and all(
        each in _SIGNS or category(each)[0] in "LZN" for each in text
    )
