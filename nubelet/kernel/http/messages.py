"""A request as a handler sees it, and the answers a handler may give.

Handlers are plain functions `(ctx, request) -> answer` in a thread. An answer is JSON-able
data (sent with the route's status), None (no body), or a `Response` for anything else. Large
bodies flow both ways in chunks without the handler becoming asynchronous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from nubelet.kernel.errors import BadRequest, RequestTimeout

Query = dict[str, list[str]]
# What stands unescaped in the path of a URL (RFC 3986, 3.3).
URL_SAFE = "/:@!$&'()*+,;=~"
# No API has a body nested deeper than a dozen levels; validators and encoders recurse.
MAX_DEPTH = 64


def parse_query(raw: bytes, *, nul: bool = False) -> Query:
    """`a=1&a=2&b=` as {"a": ["1", "2"], "b": [""]}; not UTF-8 is refused, and NUL unless `nul`."""
    if not raw:
        return {}
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("The query string is not valid UTF-8.") from None
    query: Query = {}
    for name, value in pairs:
        if not nul and ("\0" in name or "\0" in value):
            raise BadRequest(f"The query parameter {name!r} must not contain NUL characters.")
        query.setdefault(name, []).append(value)
    return query


def check_depth(raw: bytes, body: Any) -> None:
    """Refuse a body (`raw` as sent, `body` decoded) that is nested deeper than MAX_DEPTH."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return
    level: list[Any] = [body]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise BadRequest(f"The request body is nested deeper than {MAX_DEPTH} levels.")


def check_text(raw: bytes, body: Any) -> None:
    """Refuse a body with NUL characters in its texts: not every database can keep them."""
    if b"\\u0000" in raw and _has_nul(body):
        raise BadRequest("The request body must not contain NUL characters.")


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(name) or _has_nul(each) for name, each in value.items())
    return isinstance(value, list) and any(_has_nul(each) for each in value)


@dataclass(slots=True)
class Request:
    """One HTTP request after routing.

    params: what the path's braces matched. headers: lower-case names. body: decoded JSON, None
    without one. `chunks(size)` iterates over a streamed body (routes with `stream=True`).
    path: as the user wrote it, with mount and version prefix; base: those two alone.
    stalled: the body stood still before it was all there; a gateway says so before anything else.
    """

    method: str
    path: str
    base: str
    params: dict[str, str]
    query: Query
    headers: Mapping[str, str]
    body: Any = None
    raw: bytes = b""
    chunks: Callable[[int], Iterator[bytes]] = field(default=lambda size: iter(()))
    url: str = ""  # scheme://host:port + path without query, for links
    raw_path: bytes = b""  # below the mount, as sent: for gateways only
    raw_query: bytes = b""  # as sent: for gateways only
    base_url: str = ""  # scheme://host:port + mount + version prefix
    stalled: RequestTimeout | None = None  # for gateways only: who else is asked is not called

    def first(self, name: str, default: str | None = None) -> str | None:
        """The first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else default

    def flag(self, name: str) -> bool:
        """A boolean query parameter: absent false, `?name` and `?name=1/true/yes/on` true."""
        values = self.query.get(name)
        return values is not None and values[0].strip().lower() not in (
            "0",
            "false",
            "no",
            "off",
            "f",
            "n",
        )


@dataclass(slots=True)
class FileBody:
    """A part of a file to be sent as a body."""

    path: str
    offset: int = 0
    length: int | None = None


@dataclass(slots=True)
class Response:
    """An answer that is more than JSON with the route's status."""

    status: int = 200
    body: Any = None  # JSON-able, bytes, FileBody, or an iterator of bytes
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None
    on_sent: Callable[[bool], None] | None = None  # called after the last byte: True if complete
