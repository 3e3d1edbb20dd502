"""JSON schemas of the values that occur everywhere in the Compute API.

Many integers and booleans may also be given as text, a heritage of XML; `as_int` and `as_bool`
read both after validation.

In OpenStack: nova/api/validation/parameter_types.py.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from nubelet.kernel.errors import BadRequest

Schema = dict[str, Any]

# No control characters, no white space at the ends.
NAME_PATTERN: Final = r"^[^\s\x00-\x1f\x7f]([^\x00-\x09\x0b-\x1f\x7f\n\r]*[^\s\x00-\x1f\x7f])?$"
NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": NAME_PATTERN}
PRINTABLE: Final = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
DESCRIPTION: Final[Schema] = {
    "type": ["string", "null"],
    "minLength": 0,
    "maxLength": 255,
    "pattern": r"^[^\x00-\x1f\x7f]*$",
}
UUID: Final[Schema] = {"type": "string", "format": "uuid"}
HOSTNAME: Final[Schema] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": r"^[a-zA-Z0-9._-]*$",
}
PROJECT_ID: Final[Schema] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": "^[a-zA-Z0-9-]*$",
}
MAX_INT: Final = 0x7FFFFFFF
_TRUE = (True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes")
_FALSE = (False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no")
BOOLEAN: Final[Schema] = {"type": ["boolean", "string"], "enum": [*_TRUE, *_FALSE]}
METADATA: Final[Schema] = {
    "type": "object",
    "additionalProperties": False,
    "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": "string", "maxLength": 255}},
}
# null removes an item
METADATA_WITH_NULL: Final[Schema] = {
    "type": "object",
    "additionalProperties": False,
    "patternProperties": {
        "^[a-zA-Z0-9-_:. ]{1,255}$": {"type": ["string", "null"], "maxLength": 255}
    },
}
TAG: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 60, "pattern": "^[^,/]*$"}
TAGS: Final[Schema] = {"type": "array", "items": TAG, "maxItems": 50}
DISK_CONFIG: Final[Schema] = {"type": "string", "enum": ["AUTO", "MANUAL"]}
BASE64: Final[Schema] = {"type": "string", "maxLength": 65535}
LINKS: Final[Schema] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"href": {"type": "string"}, "rel": {"type": "string"}},
    },
}
NOTHING: Final[Schema] = {"type": "null"}


def integer(minimum: int = 0, maximum: int = MAX_INT) -> Schema:
    """An integer, also as text."""
    return {
        "type": ["integer", "string"],
        "pattern": "^-?[0-9]+$",
        "minLength": 1,
        "minimum": minimum,
        "maximum": maximum,
    }


def obj(
    properties: Mapping[str, Any], required: tuple[str, ...] = (), *, extra: bool = False
) -> Schema:
    """An object with these properties."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": extra,
    }


def wrapped(name: str, schema: Schema) -> Schema:
    """`{"<name>": ...}` and nothing else."""
    return obj({name: schema}, (name,))


def array(items: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": items}


def answer(name: str, properties: Mapping[str, Any]) -> Schema:
    """The shape of an answer (for documents)."""
    return {
        "type": "object",
        "properties": {name: {"type": "object", "properties": dict(properties)}},
    }


ACTION_WITHOUT_ARGUMENT: Final[Schema] = {"type": "object", "maxProperties": 1}


def as_bool(value: Any) -> bool:
    """A boolean of the API, in any of its spellings."""
    return value in _TRUE if isinstance(value, str) else bool(value)


def as_int(name: str, value: Any, minimum: int = 0, maximum: int = MAX_INT) -> int:
    """An integer of the API, also given as text; raises BadRequest naming the field."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise BadRequest(
            f"Invalid input for field/attribute {name}. Value: {value}. '{value}' is not an integer"
        ) from None
    if not minimum <= number <= maximum:
        raise BadRequest(
            f"Invalid input for field/attribute {name}. Value: {value}. "
            f"{number} is not between {minimum} and {maximum}"
        )
    return number


def require_printable(name: str, value: str) -> None:
    """Refuse text with characters that no terminal shows (categories C and Z but space)."""
    for character in value:
        if character not in string.printable and unicodedata.category(character)[0] == "C":
            raise BadRequest(
                f"Invalid input for field/attribute {name}. Value: {value!r}. "
                "It contains characters that cannot be printed"
            )


# --- Queries ---------------------------------------------------------------------------------

ANY_VALUES: Final[Schema] = {"type": "array", "items": {"type": "string"}}
ONE_VALUE: Final[Schema] = {"type": "array", "items": {"type": "string"}, "maxItems": 1}
NUMBERS: Final[Schema] = {"type": "array", "items": {"type": "string", "pattern": "^[0-9]+$"}}
PAGING: Final[Schema] = {"limit": NUMBERS, "marker": ANY_VALUES}


def query(properties: Mapping[str, Schema], *, extra: bool = True) -> Schema:
    """A query string; `extra`: are other parameters ignored (before 2.75) or refused?"""
    return {"type": "object", "properties": dict(properties), "additionalProperties": extra}
