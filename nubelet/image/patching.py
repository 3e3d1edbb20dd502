"""JSON-patch of images: the two media types, and which attributes may be changed how.

RFC 6902 restricted to add, replace and remove of one attribute, plus the older v2.0 form
`{"replace": "/name", "value": ...}`. In OpenStack: glance/api/v2/images.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from nubelet.image.schemas import CREATE, READ_ONLY, RESERVED, RESERVED_PREFIX, WRITABLE
from nubelet.kernel.errors import BadRequest, Conflict, Forbidden, UnsupportedMediaType
from nubelet.kernel.http import schemas

MEDIA_V21 = "application/openstack-images-v2.1-json-patch"
MEDIA_V20 = "application/openstack-images-v2.0-json-patch"


class Change(NamedTuple):
    """One operation of a patch."""

    op: str
    name: str
    value: Any
    position: str | None = None  # of one location among several


def parse(content_type: str, body: Any) -> list[Change]:
    """Read a patch; raises BadRequest naming what is wrong, UnsupportedMediaType."""
    media = content_type.split(";")[0].strip().lower()
    if media not in (MEDIA_V21, MEDIA_V20):
        raise UnsupportedMediaType(
            f"Unsupported content type {media or '(none)'}: a patch is {MEDIA_V21} or {MEDIA_V20}",
            headers={"Accept-Patch": f"{MEDIA_V21}, {MEDIA_V20}"},
        )
    if not isinstance(body, list):
        raise BadRequest("Request body must be a JSON array of operation objects.")
    return [_parse_one(media, entry) for entry in body]


def _parse_one(media: str, entry: Any) -> Change:
    if not isinstance(entry, dict):
        raise BadRequest("Operations must be JSON objects.")
    if media == MEDIA_V20:
        ops = [op for op in ("add", "replace", "remove") if op in entry]
        if len(ops) != 1:
            raise BadRequest(
                'Operation objects must contain exactly one member named "add", '
                '"remove", or "replace".'
            )
        op, path = ops[0], entry[ops[0]]
    else:
        if "op" not in entry or "path" not in entry:
            raise BadRequest('Operation objects must contain the members "op" and "path".')
        op, path = entry["op"], entry["path"]
    if op not in ("add", "replace", "remove"):
        raise BadRequest(f"Invalid operation: {op!r}. It must be one of: add, remove, replace.")
    if op != "remove" and "value" not in entry:
        raise BadRequest(f'Operation "{op}" requires a member named "value".')
    name, position = _attribute(path)
    return Change(op, name, entry.get("value"), position)


def _attribute(path: Any) -> tuple[str, str | None]:
    """The attribute that a JSON pointer names, and which of the locations it means."""
    if not isinstance(path, str) or not path.startswith("/"):
        raise BadRequest(f'Pointer `{path}` does not start with "/".')
    inner = path[1:]
    if inner.endswith("/") or "//" in inner or not inner:
        raise BadRequest(f"Pointer `{path}` contains an empty part.")
    if re.search("~[^01]|~$", inner):
        raise BadRequest(f'Pointer `{path}` contains "~" not part of a recognized escape sequence.')
    name, separator, position = inner.partition("/")
    if separator and (name != "locations" or "/" in position):
        raise BadRequest(
            f"Pointer `{path}` is deeper than one level: only whole attributes are changed."
        )
    return name.replace("~1", "/").replace("~0", "~"), position if separator else None


class Patched(NamedTuple):
    """What a patch asks for."""

    values: dict[str, Any]  # columns
    properties: dict[str, str]  # all of them
    tags: list[str] | None


def apply(
    changes: list[Change], row: Any, properties: Mapping[str, str], tags: list[str]
) -> Patched:
    """Apply a patch; raises Forbidden for what may not be changed, Conflict for what is not there,
    BadRequest for values that do not fit."""
    values: dict[str, Any] = {}
    wanted, new_tags = dict(properties), None
    for change in changes:
        if change.name == "locations":  # `placing.py` makes these
            continue
        refuse_protected(change.name)
        if change.name == "tags":
            new_tags = [] if change.op == "remove" else _checked("tags", change.value)
        elif change.name in WRITABLE:
            values[change.name] = _core(change, row)
        else:
            _additional(change, wanted)
    return Patched(values, wanted, new_tags)


def refuse_protected(name: str) -> None:
    """Raise Forbidden for read-only and reserved attributes."""
    if name in READ_ONLY or name == "id":
        raise Forbidden(f"Attribute '{name}' is read-only.")
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise Forbidden(f"Attribute '{name}' is reserved.")


def check_name(name: str) -> None:
    """Raise BadRequest for what cannot be the name of an additional property."""
    if not 1 <= len(name) <= 255:
        raise BadRequest("The name of a property has 1 to 255 characters.")


def _core(change: Change, row: Any) -> Any:
    name = change.name
    if change.op == "remove":
        raise Forbidden(f"Property {name} may not be removed.")
    if name in ("disk_format", "container_format") and row.status != "queued":
        raise Forbidden(f"Attribute {name} can be only replaced for a queued image.")
    return _checked(name, change.value)


def _checked(name: str, value: Any) -> Any:
    schemas.check(CREATE, {name: value}, "body")
    return value


def _additional(change: Change, properties: dict[str, str]) -> None:
    name = change.name
    check_name(name)
    if change.op == "remove":
        if name not in properties:
            raise Conflict(f"Property {name} does not exist.")
        del properties[name]
        return
    if change.op == "replace" and name not in properties:
        raise Conflict(f"Property {name} does not exist.")
    properties[name] = _checked(name, change.value)
