"""Dynamic large objects: all objects of a container whose names begin with a prefix, in order.

    PUT with X-Object-Manifest: container/prefix

What belongs to it is found whenever it is read, so it grows with what is uploaded.

In OpenStack: swift/common/middleware/dlo.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from urllib.parse import unquote

from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http.messages import Response
from nubelet.object_store.api import listing_formats
from nubelet.object_store.call import Call, Proceed, header
from nubelet.object_store.features.segments import Segment, answer
from nubelet.object_store.storage import Listing, Missing, ObjectEntry, ObjectPath

_PAGE = 10_000
_CONDITIONS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "range")


def dlo(call: Call, proceed: Proceed) -> Response:
    """Store and show them."""
    if not call.object:
        return proceed(call)
    if call.method in ("PUT", "POST"):
        if call.headers.get("x-object-manifest"):
            _check(call)
        return proceed(call)
    if not call.is_read or call.query.get("multipart-manifest") == "get":
        return proceed(call)
    response = proceed(call)
    manifest = header(response, "X-Object-Manifest")
    if manifest is None:
        return response
    if response.status != 200:  # conditions are about the whole, not about the manifest
        plain = {name: value for name, value in call.headers.items() if name not in _CONDITIONS}
        again = call.sub(call.method, headers=plain)
        again.notes = call.notes
        response = proceed(again)
    container, prefix = _split(manifest)
    segments = list(_segments(call, container, prefix))
    etag = hashlib.md5(
        "".join(segment.etag for segment in segments).encode(), usedforsecurity=False
    ).hexdigest()
    if "," in call.headers.get("range", ""):  # several ranges of what may grow: all of it
        call.headers.pop("range")
    return answer(call, proceed, response, segments, etag, sum(each.size for each in segments))


def _check(call: Call) -> None:
    container, prefix = _split(call.headers["x-object-manifest"])
    if not container or not prefix or "?" in prefix or "&" in prefix or prefix.startswith("/"):
        raise BadRequest("X-Object-Manifest must be in the format container/prefix")


def _split(manifest: str) -> tuple[str, str]:
    container, _, prefix = unquote(manifest).removeprefix("/").partition("/")
    return container, prefix


def _segments(call: Call, container: str, prefix: str) -> Iterator[Segment]:
    """Whoever may read the manifest and list the segments' container reads the whole."""
    listing_of = call.sub("GET", container=container, object="")
    info = listing_of.container_info()
    listing_of.authorize(info.metadata.get("x-container-read", "") if info else "")
    if info is None:
        raise NotFound(message="The container of the segments does not exist.")
    marker = ""
    while True:
        try:
            page = call.store.list_objects(
                call.account, container, Listing(limit=_PAGE, prefix=prefix, marker=marker)
            )
        except Missing:
            page = []
        for entry in page:
            if isinstance(entry, ObjectEntry):
                shown = listing_formats.show_object(entry)
                etag = str(shown.get("slo_etag") or shown["hash"]).strip('"')
                size = shown["bytes"]
                assert isinstance(size, int)
                yield Segment(size, ObjectPath(call.account, container, entry.name), etag)
        if len(page) < _PAGE:
            return
        marker = page[-1].name
