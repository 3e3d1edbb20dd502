"""Which of an object's metadata a POST replaces, and which belong to its data.

A PUT sets everything. A POST replaces what the user may say about an object (`x-object-meta-*`,
how browsers shall treat it, when it expires) and leaves what the data is (size, MD5, the manifest
of a large object, what features noted with the data as `x-object-sysmeta-*`).
"""

from __future__ import annotations

from collections.abc import Mapping

USER_PREFIX = "x-object-meta-"
SYSTEM_PREFIX = "x-object-sysmeta-"
TRANSIENT_PREFIX = "x-object-transient-sysmeta-"
# Headers that are kept with an object when they are sent.
KEPT_HEADERS = (
    "content-disposition",
    "content-encoding",
    "x-delete-at",
    "x-object-manifest",
    "x-static-large-object",
    "cache-control",
    "content-language",
    "expires",
    "x-robots-tag",
)
_WITH_DATA = frozenset(
    ("x-static-large-object", "etag", "content-length", "x-timestamp", "x-backend-data-timestamp")
)


def is_replaced_by_post(name: str) -> bool:
    """Does a POST without this name remove it?"""
    if name.startswith((USER_PREFIX, TRANSIENT_PREFIX)):
        return True
    return name in KEPT_HEADERS and name not in _WITH_DATA


def after_post(data: Mapping[str, str], posted: Mapping[str, str]) -> dict[str, str]:
    """The metadata of an object whose data came with `data` and whose last POST was `posted`."""
    merged = {name: value for name, value in data.items() if not is_replaced_by_post(name)}
    merged.update(
        (name, value)
        for name, value in posted.items()
        if is_replaced_by_post(name) or name in ("content-type", "x-timestamp")
    )
    return merged
