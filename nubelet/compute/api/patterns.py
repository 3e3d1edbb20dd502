"""Regular expressions in queries (`GET /servers?name=^web-`), without the danger of some.

The database matches them one row after the other; an expression whose matching may take time
exponential in the length of a name is refused, as is one that is not well formed.
"""

from __future__ import annotations

import re
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.errors import BadRequest

_MAX_LENGTH = 255
_MAX_REPEATS = 4  # each may cost another factor of the name's length
_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)
_PLAIN = re.compile(r"[\w -]*")


def matches(column: sa.ColumnElement[Any], name: str, pattern: str) -> sa.ColumnElement[bool]:
    """The condition that the column matches anywhere; raises BadRequest naming the parameter."""
    if _PLAIN.fullmatch(pattern):
        return column.contains(pattern, autoescape=True)
    require_harmless(name, pattern)
    return column.regexp_match(pattern)


def compile_pattern(name: str, pattern: str) -> re.Pattern[str]:
    """The expression, ready to search with; raises BadRequest."""
    require_harmless(name, pattern)
    return re.compile(pattern)


def require_harmless(name: str, pattern: str) -> None:
    """Raise BadRequest for an expression that is wrong, too long or too costly."""
    refusal = BadRequest(
        f"Invalid input for query parameters {name}: '{pattern[:100]}' is not "
        "a regular expression that can be searched with."
    )
    if len(pattern) > _MAX_LENGTH:
        raise refusal
    try:
        re.compile(pattern)
        parsed = _parser.parse(pattern)
    except (re.error, OverflowError, RecursionError):
        raise refusal from None
    if _repeats(parsed) > _MAX_REPEATS or _is_nested(parsed, inside=False):
        raise refusal


def _is_open(arguments: Any) -> bool:
    """Is it a repeat of more than a few times?"""
    return arguments[1] is _constants.MAXREPEAT or arguments[1] > 8


def _repeats(part: Any) -> int:
    count = 0
    for operation, arguments in part:
        if operation in _REPEATS:
            count += _is_open(arguments) + _repeats(arguments[2])
        else:
            count += sum(_repeats(inner) for inner in _inner(arguments))
    return count


def _is_nested(part: Any, *, inside: bool) -> bool:
    """Is there a repeat, or a choice, in something that repeats itself?"""
    for operation, arguments in part:
        if operation in _REPEATS:
            open_here = _is_open(arguments)
            if (inside and open_here) or _is_nested(arguments[2], inside=inside or open_here):
                return True
        elif operation is _constants.GROUPREF or (operation is _constants.BRANCH and inside):
            return True
        parts = () if operation in _REPEATS else _inner(arguments)
        if any(_is_nested(inner, inside=inside) for inner in parts):
            return True
    return False


def _inner(arguments: Any) -> list[Any]:
    """The parts within an operation's arguments."""
    if isinstance(arguments, _parser.SubPattern):
        return [arguments]
    if isinstance(arguments, list | tuple):
        found: list[Any] = []
        for each in arguments:
            found += _inner(each)
        return found
    return []
