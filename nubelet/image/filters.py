"""The filters of image lists: `in:`, comparison operators, sizes, tags, any property.

API reference: "Show images", section Filters. Several values of one filter are alternatives
only by `in:`; repeated tags must all be there.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from nubelet.image import property_protection
from nubelet.image.model import image, image_property, image_tag
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.fields import read_bool, read_natural, read_time, wide
from nubelet.kernel.http.messages import Query

PAGING = frozenset(
    {"limit", "marker", "sort", "sort_key", "sort_dir", "visibility", "member_status"}
)
_IN = frozenset({"id", "name", "status", "container_format", "disk_format"})
_EXACT = frozenset({"owner", "checksum", "os_hash_algo", "os_hash_value"})
_NUMBERS = frozenset({"min_disk", "min_ram", "size", "virtual_size"})
_TIMES = frozenset({"created_at", "updated_at"})
_BOOLEANS = frozenset({"protected", "os_hidden"})
_MOST = 300  # all tags and properties that one image may have, and the attributes
_SECOND = 1_000_000
# column, begin and end of a second
_OPERATORS: dict[str, Callable[[Any, int, int], sa.ColumnElement[bool]]] = {
    "eq": lambda column, begin, end: sa.and_(column >= begin, column < end),
    "neq": lambda column, begin, end: sa.or_(column < begin, column >= end),
    "gt": lambda column, begin, end: column >= end,
    "gte": lambda column, begin, end: column >= begin,
    "lt": lambda column, begin, end: column < begin,
    "lte": lambda column, begin, end: column < end,
}


def conditions(ctx: Context, query: Query) -> list[sa.ColumnElement[bool]]:
    """What the query asks for; raises BadRequest naming the filter."""
    if "changes-since" in query:
        raise BadRequest("changes-since is not available in v2: use updated_at with an operator.")
    if sum(map(len, query.values())) > _MOST:
        raise BadRequest(f"A list takes {_MOST} parameters at most.")
    found = [
        _condition(ctx, name, value)
        for name, values in query.items()
        if name not in PAGING
        for value in values
    ]
    if "os_hidden" not in query:
        found.append(image.c.os_hidden.is_(False))
    return found


def _condition(ctx: Context, name: str, value: str) -> sa.ColumnElement[bool]:
    if name == "tag":
        return image.c.id.in_(sa.select(image_tag.c.image_id).where(image_tag.c.tag == value))
    if name in ("size_min", "size_max"):
        limit = read_natural(name, value)
        return image.c.size >= limit if name == "size_min" else image.c.size <= limit
    if name in _NUMBERS:
        return wide(image.c[name]) == read_natural(name, value)
    if name in _BOOLEANS:
        return image.c[name] == read_bool(name, value)
    if name in _TIMES:
        return _compared(name, value)
    if name in _IN and value.startswith("in:"):
        return image.c[name].in_(_split(name, value[3:]))
    if name in _IN or name in _EXACT:
        return image.c[name] == value
    if not property_protection.may_filter(ctx, name):
        return sa.false()  # whether there is one would tell its value
    return image.c.id.in_(
        sa.select(image_property.c.image_id).where(
            image_property.c.name == name, image_property.c.value == value
        )
    )


def _compared(name: str, value: str) -> sa.ColumnElement[bool]:
    """By whole seconds, as times are shown."""
    operator, separator, moment = value.partition(":")
    if separator and operator.isalpha():
        if operator not in _OPERATORS:
            raise BadRequest(f"Unable to filter {name} by unknown operator '{operator}'.")
    else:
        operator, moment = "eq", value
    begin = read_time(name, moment) // _SECOND * _SECOND
    return _OPERATORS[operator](image.c[name], begin, begin + _SECOND)


def _split(name: str, text: str) -> list[str]:
    """Comma-separated values; a value with a comma stands in double quotes."""
    try:
        rows: list[Any] = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise BadRequest(f"Invalid filter value for {name}: {error}") from None
    if not rows or text.count('"') % 2:
        raise BadRequest(f"Invalid filter value for {name}: {text!r}")
    return [str(value) for value in rows[0]]
