"""`GET container?versions`: every version of every object, the newest of each first."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http.messages import Response
from nubelet.object_store import limits
from nubelet.object_store.api import containers, listing_formats
from nubelet.object_store.call import Call
from nubelet.object_store.features.version_names import (
    IS_NULL,
    hidden,
    is_id,
    object_name,
    prefix_of,
    start_of,
    version_id,
    visible,
)
from nubelet.object_store.storage import Listing, Missing, ObjectEntry

_PAGE = 10_000
NULLS = "nulls"  # note: say which version is S3's null version
LINKED = "; versions_id="  # behind the ETag of a link: the version that it leads to


class _Line(NamedTuple):
    """A line of the listing with what it is ordered by."""

    name: str
    order: str
    shown: listing_formats.Shown


def show(call: Call, *, with_versions: bool) -> Response:
    """The listing. Where no versions are kept, each object is its own only version, `null`."""
    info = call.container_info()
    call.authorize(info.metadata.get("x-container-read", "") if info else "")
    if info is None:
        raise NotFound(message="The container does not exist.")
    kind = listing_formats.check_json(call)
    page = listing_formats.page(call, limits.CONTAINER_LISTING_LIMIT)
    marker = call.query.get("version_marker", "")
    if marker and (not page.marker or (marker != "null" and not is_id(marker))):
        raise BadRequest("version_marker needs a marker and the id of a version.")
    lines = _lines(call, page, marker, with_versions)
    lines.sort(key=lambda line: line[:2], reverse=page.reverse)
    shown = [line.shown for line in lines[: page.limit]]
    headers = containers.describe(call, info) | listing_formats.varies(call)
    body = listing_formats.render(kind, ("container", call.container), "object", shown)
    return Response(200, body, headers, f"{kind}; charset=utf-8")


def _lines(call: Call, page: Listing, marker: str, with_versions: bool) -> list[_Line]:
    lines: list[_Line] = []
    current: dict[str, str] = {}  # name -> the version it leads to
    seen = page
    if page.reverse and marker not in ("", "null"):
        seen = replace(page, marker=page.marker + "\0")  # newer ones of the marker's object too
    for entry in call.store.list_objects(call.account, call.container, seen):
        if not isinstance(entry, ObjectEntry):
            lines.append(_Line(entry.name, "", {"subdir": entry.name}))
        elif LINKED in entry.etag:
            current[entry.name] = entry.etag.rpartition(LINKED)[2]
        else:
            current[entry.name] = "null"
            shown = listing_formats.show_object(entry)
            shown |= {"version_id": "null", "is_latest": True}
            lines.append(_Line(entry.name, "", shown))
    if with_versions:
        if marker and not page.reverse:
            current[page.marker] = ""  # the latest came before
        lines += _versions(call, page, marker, current, {line.name for line in lines})
    return lines


def _versions(
    call: Call, page: Listing, marker: str, current: dict[str, str], folders: set[str]
) -> list[_Line]:
    found: list[_Line] = []
    start = _start(page, marker)
    while len(found) <= page.limit:
        entries = _hidden(call, page, start)
        for entry in entries:
            name = visible(entry.name)
            at = name.find(page.delimiter, len(page.prefix)) if page.delimiter else -1
            if at >= 0:
                folder = name[: at + len(page.delimiter)]
                if folder not in folders and _is_behind(folder, page):
                    folders.add(folder)
                    found.append(_Line(folder, "", {"subdir": folder}))
                continue
            shown = listing_formats.show_object(entry)
            shown |= {"name": name, "version_id": version_id(entry.name), "is_latest": False}
            if call.notes.get(NULLS) and IS_NULL in entry.etag:
                shown["is_null"] = True
            found.append(_Line(name, entry.name, shown))
        if len(entries) < _PAGE:
            break
        start = entries[-1].name
    _mark_latest(call, page, found, current)
    return found


def _start(page: Listing, marker: str) -> str:
    """Behind which name of the hidden container a page begins."""
    if not page.marker:
        return ""
    if marker not in ("", "null"):
        return object_name(page.marker, marker)
    if page.reverse:  # the null version is the newest, so the last one here
        return prefix_of(page.marker)
    # Without a version, all of the marker's are over; with the null version, only that is.
    return prefix_of(page.marker) + ("" if marker == "null" else "~")


def _is_behind(folder: str, page: Listing) -> bool:
    if not page.marker:
        return True
    return folder < page.marker if page.reverse else folder > page.marker


def _mark_latest(call: Call, page: Listing, found: list[_Line], current: dict[str, str]) -> None:
    """Where no name leads to a version, the newest there is (a delete marker) is the latest."""
    newest = dict(current)
    versions = [line for line in found if line.order]
    for line in versions:
        if page.reverse and line.name not in current:
            newest[line.name] = str(line.shown["version_id"])  # the last one seen is the newest
        else:
            newest.setdefault(line.name, str(line.shown["version_id"]))
    if page.reverse and versions and versions[-1].name not in current:
        name = versions[-1].name  # the page may end amidst its versions
        for entry in _hidden(call, Listing(prefix=name + "\0"), "", limit=1):
            newest[name] = version_id(entry.name)
    for line in versions:
        line.shown["is_latest"] = newest[line.name] == line.shown["version_id"]


def _hidden(call: Call, page: Listing, start: str, limit: int = _PAGE) -> list[ObjectEntry]:
    end = page.end_marker and prefix_of(page.end_marker) + ("~" if page.reverse else "")
    wanted = Listing(
        limit=limit,
        prefix=start_of(page.prefix),
        marker=start,
        end_marker=end,
        reverse=page.reverse,
        reserved=True,
    )
    try:
        entries = call.store.list_objects(call.account, hidden(call.container), wanted)
    except Missing:
        return []
    return [entry for entry in entries if isinstance(entry, ObjectEntry)]
