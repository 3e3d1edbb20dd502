"""The little language of extra specs that compare: `>= 4`, `<in> a`, `s== text`, `<or> a <or> b`.

In OpenStack: oslo_utils/specs_matcher.py.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Final


def _number(text: str) -> float:
    return float(text)


_NUMERIC: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_TEXTUAL: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
}


def matches(value: str | None, wanted: str) -> bool:
    """Does a host's value satisfy what the spec wants? A missing value satisfies nothing.

    Without an operator the texts must be equal. `=` means "at least", a relic that flavors
    depend on.
    """
    if value is None:
        return False
    words = wanted.split()
    if not words:
        return value == wanted
    method = words[0]
    if method == "<or>":
        return value in wanted.split()[1::2]
    if method == "<in>":
        return len(words) > 1 and words[1] in value
    if method == "<all-in>":
        return all(word in value for word in words[1:])
    if method in _TEXTUAL:
        return len(words) > 1 and _TEXTUAL[method](value, words[1])
    if method in _NUMERIC:
        try:
            return len(words) > 1 and _NUMERIC[method](_number(value), _number(words[1]))
        except ValueError:
            return False
    return value == wanted
