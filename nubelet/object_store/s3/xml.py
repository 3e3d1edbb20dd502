"""S3's documents: written from nested Python, read without trusting them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from nubelet.kernel.http.messages import Response
from nubelet.object_store.s3.errors import XML, S3Error

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(root: str, content: Mapping[str, Any], status: int = 200) -> Response:
    """An answer with one document. A list makes an element of each of its values; None none."""
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{NAMESPACE}">'
        f"{_inner(content)}</{root}>"
    )
    return Response(status, body.encode(), {}, XML)


def _inner(content: Mapping[str, Any]) -> str:
    return "".join(_element(name, value) for name, value in content.items())


def _element(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "".join(_element(name, each) for each in value)
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Mapping):
        return f"<{name}>{_inner(value)}</{name}>"
    if isinstance(value, bool):
        return f"<{name}>{str(value).lower()}</{name}>"
    return f"<{name}>{_UNFIT.sub('?', escape(str(value)))}</{name}>"


class Raw:
    """An element that is XML already."""

    def __init__(self, text: str) -> None:
        self.text = text


def mixed(elements: Iterable[tuple[str, Any]]) -> Raw:
    """Elements of several names, in their order."""
    return Raw("".join(_element(name, value) for name, value in elements))


def read(data: bytes, root: str) -> Element:
    """The root element of a document, its namespaces taken off; raises MalformedXML."""
    if b"<!" in data.replace(b"<!--", b"").replace(b"<![CDATA[", b""):
        raise S3Error("MalformedXML", "Document types are not allowed.")
    try:
        found = ElementTree.fromstring(data)  # noqa: S314 - it has no entities: see above
    except (ElementTree.ParseError, ValueError, LookupError):
        raise S3Error("MalformedXML") from None
    for each in found.iter():
        each.tag = each.tag.rpartition("}")[2]
    if found.tag != root:
        raise S3Error("MalformedXML", f"The document must be a {root}.")
    return found


def text(element: Element, name: str, default: str = "") -> str:
    """The text of a child element."""
    found = element.findtext(name)
    return default if found is None else found.strip()


def iso(time: str) -> str:
    """A time of the store's listings as S3's documents show it: the second that the header
    Last-Modified has."""
    moment = datetime.fromisoformat(time)
    if moment.microsecond:
        moment = moment.replace(microsecond=0) + timedelta(seconds=1)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.000Z"


def texts(elements: Iterable[Element]) -> list[str]:
    """The texts of elements."""
    return [(each.text or "").strip() for each in elements]
