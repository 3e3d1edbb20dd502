"""How versions of objects are called: `\\0versions\\0<container>/\\0versions\\0<object>\\0<time>`.

The time is turned around (what is left until the end of timestamps), so that a listing has the
newest version first. A version's id is its timestamp. Names begin with NUL: no client can say one.
"""

from __future__ import annotations

import re

from nubelet.kernel.http.messages import Response
from nubelet.object_store.call import header

ENABLED = "x-container-sysmeta-versions-enabled"
DELETE_MARKER = "application/x-deleted;swift_versions_deleted=1"
# A version from before versions were kept: noted with it, and behind its ETag in listings.
NULL = "x-object-sysmeta-versions-null"
IS_NULL = "; versions_null=1"
# Behind the ETag of a large object in listings; and (s3/parts.py) by which upload it was made.
IS_LARGE, BY_UPLOAD = "; slo_etag=", "; s3_upload="
_PREFIX = "\0versions\0"
_END = 9_999_999_999_99999
_ID = re.compile(r"\d{10}\.\d{5}")


def hidden(container: str) -> str:
    """The container of a container's versions."""
    return _PREFIX + container


def shown(hidden_container: str) -> str:
    """The container whose versions are there; empty for one of no versions."""
    is_hidden = hidden_container.startswith(_PREFIX)
    return hidden_container.removeprefix(_PREFIX) if is_hidden else ""


def is_id(text: str) -> bool:
    """Could that be the id of a version?"""
    return _ID.fullmatch(text) is not None


def object_name(name: str, version: str) -> str:
    """The name of a version in the hidden container."""
    return f"{_PREFIX}{name}\0{_turned(version)}"


def prefix_of(name: str) -> str:
    """What the names of all versions of an object begin with."""
    return f"{_PREFIX}{name}\0"


def shown_etags(found: Response) -> str:
    """What listings have behind the ETag of a large object that was found."""
    noted = {
        name: header(found, f"x-object-sysmeta-slo-{name.replace('_', '-').removeprefix('slo-')}")
        for name in ("slo_etag", "s3_etag", "s3_upload")
    }
    return "".join(f"; {name}={whole}" for name, whole in noted.items() if whole)


def upload_of(shown_etag: str) -> str:
    """By which upload an entry of a listing was made; empty: it does not tell."""
    return shown_etag.partition(BY_UPLOAD)[2].partition(";")[0]


def version_id(hidden_name: str) -> str:
    """The id of a version, by its name."""
    return _turned(hidden_name.rpartition("\0")[2])


def visible(hidden_name: str) -> str:
    """The object's own name."""
    return hidden_name[len(_PREFIX) :].rpartition("\0")[0]


def start_of(name: str) -> str:
    """Where versions of objects whose names begin so begin in the hidden container."""
    return _PREFIX + name


def _turned(time: str) -> str:
    left = _END - int(time.replace(".", ""))
    return f"{left // 100_000:010d}.{left % 100_000:05d}"
