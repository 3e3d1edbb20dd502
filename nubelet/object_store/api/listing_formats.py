"""Listings as text, JSON or XML, as the query or the header Accept asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from xml.sax.saxutils import escape, quoteattr

import msgspec

from nubelet.kernel.errors import BadRequest, NotAcceptable
from nubelet.object_store import limits
from nubelet.object_store.call import Call, is_true
from nubelet.object_store.storage import (
    ContainerEntry,
    Listing,
    ObjectEntry,
    Policies,
    Subdirectory,
)
from nubelet.object_store.storage.timestamps import iso

_TYPES = {
    "plain": "text/plain",
    "json": "application/json",
    "xml": "application/xml",
}
_encode = msgspec.json.Encoder().encode
Shown = dict[str, object]


class _Plain(msgspec.Struct, gc=False):
    """An object in a listing as JSON, where nothing further is noted of it: thousands of these
    cost half of what dicts do."""

    hash: str
    last_modified: str
    bytes: int
    name: str
    content_type: str


def check_json(call: Call) -> str:
    """The media type of a listing that JSON alone can show; raises NotAcceptable."""
    if call.query.get("format", "json").lower() != "json" or (
        "format" not in call.query
        and not any(
            part.split(";")[0].strip().lower() in ("application/json", "application/*", "*/*", "*")
            for part in call.headers.get("accept", "*/*").split(",")
        )
    ):
        raise NotAcceptable("Versions are listed as JSON only.")
    return "application/json"


def content_type(call: Call) -> str:
    """The media type a listing is asked in; raises NotAcceptable."""
    asked = call.query.get("format", "").lower()
    if asked:
        return _TYPES.get(asked, "text/plain")
    accept = call.headers.get("accept", "")
    return _negotiate(accept) if accept else "text/plain"


def varies(call: Call) -> dict[str, str]:
    """The header that tells caches what the form of the listing depends on."""
    return {} if "format" in call.query else {"Vary": "Accept"}


@lru_cache(256)
def _negotiate(accept: str) -> str:
    ranked: list[tuple[float, int, str]] = []
    for place, part in enumerate(accept.split(",")):
        media, *parameters = (each.strip() for each in part.lower().split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    raise BadRequest("Invalid Accept header") from None
        ranked.append((-quality, place, media))
    offers = ("text/plain", "application/json", "application/xml", "text/xml")
    for quality, _, media in sorted(ranked):
        if quality == 0:
            continue
        for offer in offers:
            kind = offer.split("/")[0]
            if media in (offer, f"{kind}/*", "*/*", "*"):
                return offer
    raise NotAcceptable(f"No listing can be had as {accept}.")


def page(call: Call, most: int) -> Listing:
    """Which page is asked for; raises PreconditionFailed for a limit too high."""
    query = call.query
    for name in ("marker", "end_marker", "prefix", "delimiter", "path"):
        if "\ufffd" in query.get(name, ""):
            raise BadRequest(f"Parameter {name} is not valid UTF-8")
    return Listing(
        limit=limits.page_limit(query.get("limit"), most),
        prefix=query.get("prefix", ""),
        delimiter=query.get("delimiter", ""),
        marker=query.get("marker", ""),
        end_marker=query.get("end_marker", ""),
        reverse=is_true(query.get("reverse")),
        path=query.get("path"),
        reserved=call.reserved,
        newest=call.wants_newest,
    )


@lru_cache(4096)
def _second(whole: str) -> str:
    return iso(whole + ".00000")[:20]


def _time(timestamp: str) -> str:
    """`iso`, with the seconds remembered: neighbours in a listing often share them."""
    return f"{_second(timestamp[:10])}{timestamp[11:]}0"


def show_object(entry: ObjectEntry | Subdirectory) -> Shown:
    """An entry of a container's listing as JSON shows it."""
    if len(entry) == 1:
        return {"subdir": entry.name}
    name, timestamp, size, kind, etag = entry
    shown: Shown = {
        "hash": etag,
        "last_modified": _time(timestamp),
        "bytes": size,
        "name": name,
        "content_type": kind,
    }
    if ";" in etag:
        etag, *parameters = etag.split(";")
        shown["hash"] = etag
        shown |= _further(dict(each.strip().split("=", 1) for each in parameters))
    if ";swift_bytes=" in kind:
        kind, _, length = kind.rpartition(";swift_bytes=")
        shown |= {"content_type": kind, "bytes": int(length)}
    return shown


def objects_json(entries: Iterable[ObjectEntry | Subdirectory]) -> bytes:
    """A container's listing as JSON."""
    shown: list[_Plain | Shown] = []
    second = date = ""
    for entry in entries:
        if len(entry) == 1:
            shown.append(show_object(entry))
            continue
        name, timestamp, size, kind, etag = entry
        if ";" in etag or ";swift_bytes=" in kind:
            shown.append(show_object(entry))
            continue
        if timestamp[:10] != second:
            second = timestamp[:10]
            date = _second(second)
        shown.append(_Plain(etag, f"{date}{timestamp[11:]}0", size, name, kind))
    return _encode(shown)


def _further(noted: Mapping[str, str]) -> Shown:
    """What features noted behind the ETag: of a large object, of where a link leads."""
    shown: Shown = {}
    if "slo_etag" in noted:
        shown["slo_etag"] = f'"{noted["slo_etag"]}"'
    if "s3_etag" in noted:
        shown["s3_etag"] = f'"{noted["s3_etag"]}"'
    if "symlink_target" in noted:
        shown["symlink_path"] = f"/v1/{noted['symlink_target_account']}/{noted['symlink_target']}"
    if "symlink_target_etag" in noted:
        shown["symlink_etag"] = noted["symlink_target_etag"]
    if "versions_id" in noted:
        shown["version_symlink"] = True
    if "symlink_target_bytes" in noted:
        shown["symlink_bytes"] = int(noted["symlink_target_bytes"])
    return shown


def show_container(entry: ContainerEntry | Subdirectory, policies: Policies) -> Shown:
    """An entry of an account's listing as JSON shows it."""
    if len(entry) == 1:
        return {"subdir": entry.name}
    return {
        "name": entry.name,
        "count": entry.object_count,
        "bytes": entry.bytes_used,
        "last_modified": _time(entry.timestamp),
        "storage_policy": policies[entry.policy].name,
    }


def render(kind: str, root: tuple[str, str], item: str, shown: Sequence[Shown]) -> bytes:
    """The body. root: the element and name of what is listed; item: the element of entries."""
    if kind == "application/json":
        return _encode(shown)
    if kind == "text/plain":
        names = [str(each.get("name") or each.get("subdir")) for each in shown]
        return "".join(f"{name}\n" for name in names).encode()
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        f"<{root[0]} name={quoteattr(root[1])}>",
        *(_element(item, each) for each in shown),
        f"</{root[0]}>",
    ]
    return "".join(lines).encode()


def _element(item: str, shown: Mapping[str, object]) -> str:
    if "subdir" in shown:
        name = str(shown["subdir"])
        if item == "container":
            return f"<subdir name={quoteattr(name)} />"
        return f"<subdir name={quoteattr(name)}><name>{escape(name)}</name></subdir>"
    order = (
        ("name", "hash", "bytes", "content_type", "last_modified")
        if item == "object"
        else ("name", "count", "bytes", "last_modified")
    )
    rest = [key for key in shown if key not in order]
    inner = "".join(f"<{key}>{escape(_xml(shown[key]))}</{key}>" for key in (*order, *rest))
    return f"<{item}>{inner}</{item}>"


def _xml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
