"""JSON schema validation of bodies and queries: compiled once, errors that name the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from nubelet.kernel.errors import BadRequest

_compiled: dict[int, tuple[Mapping[str, Any], jsonschema_rs.Validator]] = {}


def _is_uuid(text: str) -> bool:
    from nubelet.kernel.ids import is_uuid

    return is_uuid(text)


def _is_network(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_FORMATS = {"uuid-any": _is_uuid, "cidr": _is_network, "ip": _is_address}


def validator(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    """The compiled form of a schema. Formats are checked, also ours: uuid-any, cidr, ip."""
    entry = _compiled.get(id(schema))
    if entry is None:
        compiled = jsonschema_rs.Draft7Validator(
            dict(schema), validate_formats=True, formats=_FORMATS
        )
        entry = _compiled[id(schema)] = (schema, compiled)  # keeps the schema, hence its id, alive
    return entry[1]


# Attributes whose values no message repeats: messages are answered, logged and recorded.
_SECRETS = frozenset(
    (
        "password",
        "original_password",
        "adminpass",
        "admin_pass",
        "secret",
        "passcode",
        "token",
        "blob",
        "private_key",
        "user_data",
    )
)


def check(schema: Mapping[str, Any], value: Any, where: str) -> None:
    """Raise `BadRequest` naming the first field that does not fit."""
    compiled = validator(schema)
    if compiled.is_valid(value):
        return
    error = next(iter(compiled.iter_errors(value)))
    path = [str(part) for part in error.instance_path]
    message, shown = error.message, f"Value: {_shorten(error.instance)}. "
    if any(part.lower() in _SECRETS for part in (where, *path)) or _holds_secret(error.instance):
        message, shown = _without_values(schema, value), ""
    if where == "query" and path:
        raise BadRequest(f"Invalid input for query parameter {path[0]}. {shown}{message}")
    if path:
        named = path[-1] if isinstance(error.instance_path[-1], str) else ".".join(path)
        raise BadRequest(f"Invalid input for field/attribute {named}. {shown}{message}")
    raise BadRequest(f"Invalid {where}: {message}")


def _holds_secret(value: Any) -> bool:
    if isinstance(value, dict):
        return any(name.lower() in _SECRETS or _holds_secret(each) for name, each in value.items())
    return isinstance(value, list) and any(_holds_secret(each) for each in value)


def _without_values(schema: Mapping[str, Any], value: Any) -> str:
    """The first complaint in words that repeat nothing of the value."""
    masked = jsonschema_rs.Draft7Validator(
        dict(schema), validate_formats=True, formats=_FORMATS, mask="The value (not shown)"
    )
    return next(iter(masked.iter_errors(value))).message


def _shorten(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "..."
