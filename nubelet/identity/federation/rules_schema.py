"""What a mapping may look like: a JSON schema for each version of the language.

Version 2.0 differs from 1.0 in one thing: a project may name its domain.

In OpenStack: keystone/federation/utils.py, IDP_ATTRIBUTE_MAPPING_SCHEMAS.
"""

from __future__ import annotations

from typing import Any

DEFAULT_VERSION = "1.0"
_TEXT: dict[str, Any] = {"type": "string"}


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": properties,
    }


_DOMAIN = _object(id=_TEXT, name=_TEXT)
_USER = _object(
    id=_TEXT,
    name=_TEXT,
    email=_TEXT,
    domain=_DOMAIN,
    type={"type": "string", "enum": ["ephemeral", "local"]},
)
_GROUP = {
    "oneOf": [
        _object(("id",), id=_TEXT),
        _object(("name", "domain"), name=_TEXT, domain=_DOMAIN),
    ]
}
_ROLES = {"type": "array", "items": _object(("name",), name=_TEXT)}
_PROJECT = {
    "1.0": _object(("name", "roles"), name=_TEXT, roles=_ROLES),
    "2.0": _object(("name", "roles"), name=_TEXT, roles=_ROLES, domain=_DOMAIN),
}


def _condition(kind: str) -> dict[str, Any]:
    return _object(
        ("type", kind),
        type=_TEXT,
        regex={"type": "boolean"},
        **{kind: {"type": "array", "items": _TEXT}},
    )


_REMOTE = {
    "oneOf": [
        _object(("type",), type=_TEXT),
        *(_condition(kind) for kind in ("any_one_of", "not_any_of", "blacklist", "whitelist")),
    ]
}


def _schema(version: str) -> dict[str, Any]:
    local = _object(
        user=_USER,
        projects={"type": "array", "items": _PROJECT[version]},
        group=_GROUP,
        groups=_TEXT,
        group_ids=_TEXT,
        domain=_DOMAIN,
    )
    rule = _object(
        ("local", "remote"),
        local={"type": "array", "items": local},
        remote={"type": "array", "minItems": 1, "items": _REMOTE},
    )
    return {
        "type": "object",
        "required": ["rules"],
        "additionalProperties": False,
        "properties": {
            "id": _TEXT,
            "links": {"type": "object"},
            "schema_version": _TEXT,
            "rules": {"type": "array", "minItems": 1, "items": rule},
        },
    }


SCHEMAS = {version: _schema(version) for version in ("1.0", "2.0")}
