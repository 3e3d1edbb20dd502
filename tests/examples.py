"""The smallest value that fits a JSON schema, for tests that walk over routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nubelet.kernel.http.schemas import validator

# Tried in turn where a pattern or format narrows a string.
_STRINGS = (
    "x",
    "00000000-0000-4000-8000-000000000000",
    "1",
    "xx",
    "http://example.org/x",
    "10.0.0.1",
    "10.0.0.0/24",
    "true",
    "fa:16:3e:00:00:01",
    "CUSTOM_X",
    "VCPU",
    "2030-01-01T00:00:00Z",
    "0" * 32,
    "x" * 64,
)


def example(schema: Mapping[str, Any] | None) -> Any:
    """A value that a schema accepts; None when no small one was found."""
    if not schema:
        return None
    found = _guess(schema)
    return found if validator(schema).is_valid(found) else None


def _guess(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return "x"
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    if schema.get("enum"):
        return schema["enum"][0]
    for word in ("anyOf", "oneOf"):
        if schema.get(word) and "properties" not in schema:
            return _first_valid(schema, [_guess(each) for each in schema[word]])
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next(each for each in kind if each != "null")
    return _MAKE[kind](schema)


def _object(schema: Mapping[str, Any]) -> Any:
    properties = schema.get("properties", {})
    needed = set(schema.get("required", ()))
    for each in schema.get("anyOf", []) or schema.get("oneOf", []):
        needed |= set(each.get("required", ()))
        break
    least = schema.get("minProperties", 0)
    for name in properties:
        if len(needed) >= least:
            break
        needed.add(name)
    made = {name: _guess(properties.get(name, {})) for name in sorted(needed)}
    extra = schema.get("additionalProperties")
    patterns = schema.get("patternProperties")
    if len(made) < least and patterns:
        made["x"] = _guess(next(iter(patterns.values())))
    elif len(made) < least and isinstance(extra, Mapping):
        made["x"] = _guess(extra)
    return made


def _array(schema: Mapping[str, Any]) -> Any:
    return [_guess(schema.get("items", {})) for _ in range(max(schema.get("minItems", 0), 0))]


def _string(schema: Mapping[str, Any]) -> Any:
    return _first_valid(schema, _STRINGS)


def _number(schema: Mapping[str, Any]) -> Any:
    return max(schema.get("minimum", 1), schema.get("exclusiveMinimum", 0) + 1)


def _first_valid(schema: Mapping[str, Any], values: Any) -> Any:
    judge = validator(schema)
    return next((value for value in values if judge.is_valid(value)), None)


_MAKE = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _number,
    "number": _number,
    "boolean": lambda schema: True,
    "null": lambda schema: None,
}
