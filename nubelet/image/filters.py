"""The filters of image lists: `in:`, comparison operators, sizes, tags, any property.

API reference: "Show images", section Filters. Several values of one filter are alternatives
only by `in:`; repeated tags must all be there.
"""

from __future__ import annotations

import csv
from typing import Any

import sqlalchemy as sa

from nubelet.image import property_protection
from nubelet.image.model import image, image_property, image_tag
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.fields import read_bool, read_int, read_time, wide
from nubelet.kernel.http.messages import Query

PAGING = frozenset(
    {"limit", "marker", "sort", "sort_key", "sort_dir", "visibility", "member_status"}
)
_IN = frozenset({"id", "name", "status", "container_format", "disk_format"})
_EXACT = frozenset({"owner", "checksum", "os_hash_algo", "os_hash_value"})
_NUMBERS = frozenset({"min_disk", "min_ram", "size", "virtual_size"})
_TIMES = frozenset({"created_at", "updated_at"})
_BOOLEANS = frozenset({"protected", "os_hidden"})
_OPERATORS = {
    "eq": "__eq__",
    "neq": "__ne__",
    "gt": "__gt__",
    "gte": "__ge__",
    "lt": "__lt__",
    "lte": "__le__",
}


def conditions(ctx: Context, query: Query) -> list[sa.ColumnElement[bool]]:
    """What the query asks for; raises BadRequest naming the filter."""
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
        limit = _natural(name, value)
        return image.c.size >= limit if name == "size_min" else image.c.size <= limit
    if name in _NUMBERS:
        return wide(image.c[name]) == _natural(name, value)
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


def _natural(name: str, value: str) -> int:
    number = read_int(name, value)
    if number < 0:
        raise BadRequest(f"{name} must not be negative, as {value} is.")
    return number


def _compared(name: str, value: str) -> sa.ColumnElement[bool]:
    operator, separator, moment = value.partition(":")
    if separator and operator in _OPERATORS:
        return getattr(image.c[name], _OPERATORS[operator])(  # type: ignore[no-any-return]
            read_time(name, moment)
        )
    if separator and operator.isalpha():
        raise BadRequest(f"Unable to filter {name} by unknown operator '{operator}'.")
    return image.c[name] == read_time(name, value)


def _split(name: str, text: str) -> list[str]:
    """Comma-separated values; a value with a comma stands in double quotes."""
    try:
        rows: list[Any] = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise BadRequest(f"Invalid filter value for {name}: {error}") from None
    if not rows or text.count('"') % 2:
        raise BadRequest(f"Invalid filter value for {name}: {text!r}")
    return [str(value) for value in rows[0]]
