"""JSON schemas of placement's request bodies, and their changes by microversion."""

from __future__ import annotations

from typing import Any

from nubelet.kernel.http.routes import Schema, by_version

UUID: dict[str, Any] = {"type": "string", "format": "uuid-any"}
NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 200}
GENERATION: dict[str, Any] = {"type": "integer"}
CUSTOM_NAME: dict[str, Any] = {
    "type": "string",
    "pattern": "^CUSTOM_[A-Z0-9_]+$",
    "minLength": 1,
    "maxLength": 255,
}
UUID_KEY = "^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$"
CLASS_KEY = "^[A-Z0-9_]{1,255}$"
_MAX = 2147483647
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": _MAX}


def closed(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """An object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def mapped(key: str, value: Schema, least: int = 0) -> dict[str, Any]:
    """An object with keys of one form."""
    return {
        "type": "object",
        "patternProperties": {key: value},
        "additionalProperties": False,
        "minProperties": least,
    }


_INVENTORY: dict[str, Any] = {
    "total": _COUNT,
    "reserved": {"type": "integer", "minimum": 0, "maximum": _MAX},
    "min_unit": _COUNT,
    "max_unit": _COUNT,
    "step_size": _COUNT,
    "allocation_ratio": {"type": "number", "exclusiveMinimum": 0, "maximum": 3.40282e38},
}
INVENTORY = closed(_INVENTORY, ("total",))
INVENTORY_POST = closed(
    {
        **_INVENTORY,
        "resource_provider_generation": GENERATION,
        "resource_class": {"type": "string", "pattern": CLASS_KEY},
    },
    ("resource_class", "total"),
)
INVENTORY_PUT = closed(
    {**_INVENTORY, "resource_provider_generation": GENERATION},
    ("total", "resource_provider_generation"),
)
INVENTORIES_PUT = closed(
    {"resource_provider_generation": GENERATION, "inventories": mapped(CLASS_KEY, INVENTORY)},
    ("resource_provider_generation", "inventories"),
)

_PARENT: dict[str, Any] = {"anyOf": [UUID, {"type": "null"}]}
PROVIDER_POST = by_version(
    ((1, 0), closed({"name": NAME, "uuid": UUID}, ("name",))),
    ((1, 14), closed({"name": NAME, "uuid": UUID, "parent_provider_uuid": _PARENT}, ("name",))),
)
PROVIDER_PUT = by_version(
    ((1, 0), closed({"name": NAME}, ("name",))),
    ((1, 14), closed({"name": NAME, "parent_provider_uuid": _PARENT}, ("name",))),
)

_AGGREGATES: dict[str, Any] = {"type": "array", "items": UUID, "uniqueItems": True}
AGGREGATES_PUT = by_version(
    ((1, 1), _AGGREGATES),
    (
        (1, 19),
        closed(
            {"aggregates": _AGGREGATES, "resource_provider_generation": GENERATION},
            ("aggregates", "resource_provider_generation"),
        ),
    ),
)
TRAITS_PUT = closed(
    {
        "traits": {
            "type": "array",
            "uniqueItems": True,
            "items": {
                "type": "string",
                "pattern": "^[A-Z0-9_]+$",
                "minLength": 1,
                "maxLength": 255,
            },
        },
        "resource_provider_generation": GENERATION,
    },
    ("traits", "resource_provider_generation"),
)
RESOURCE_CLASS = closed({"name": CUSTOM_NAME}, ("name",))

RESOURCES = mapped(CLASS_KEY, _COUNT, 1)
_OWNER: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 255}
_OWNERS = {"project_id": _OWNER, "user_id": _OWNER}
_CONSUMER_GENERATION: dict[str, Any] = {"type": ["integer", "null"]}
_TYPE: dict[str, Any] = {
    "type": "string",
    "pattern": "^[A-Z0-9_]+$",
    "minLength": 1,
    "maxLength": 255,
}
_MAPPINGS: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "patternProperties": {"^[a-zA-Z0-9_-]{0,64}$": {"type": "array", "minItems": 1, "items": UUID}},
}


def _listed(properties: dict[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    """Before 1.12: a list of providers with resources."""
    item = closed(
        {"resource_provider": closed({"uuid": UUID}, ("uuid",)), "resources": RESOURCES},
        ("resource_provider", "resources"),
    )
    return closed(
        {"allocations": {"type": "array", "minItems": 1, "items": item}, **properties},
        ("allocations", *required),
    )


def _keyed(least: int, properties: dict[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    """From 1.12 on: an object keyed by provider."""
    item = closed({"resources": RESOURCES, "generation": GENERATION}, ("resources",))
    return closed(
        {"allocations": mapped(UUID_KEY, item, least), **properties}, ("allocations", *required)
    )


_OWNED = ("project_id", "user_id")
_GENERATED = (*_OWNED, "consumer_generation")
_28 = {**_OWNERS, "consumer_generation": _CONSUMER_GENERATION}
_34 = {**_28, "mappings": _MAPPINGS}
_38 = {**_34, "consumer_type": _TYPE}
_NEWER = (
    ((1, 28), _keyed(0, _28, _GENERATED)),
    ((1, 34), _keyed(0, _34, _GENERATED)),
    ((1, 38), _keyed(0, _38, (*_GENERATED, "consumer_type"))),
)
_OF_ONE = (
    ((1, 0), _listed({}, ())),
    ((1, 8), _listed(_OWNERS, _OWNED)),
    ((1, 12), _keyed(1, _OWNERS, _OWNED)),
    *_NEWER,
)
_OF_MANY = (((1, 13), _keyed(0, _OWNERS, _OWNED)), *_NEWER)

ALLOCATIONS_PUT = by_version(*_OF_ONE)
ALLOCATIONS_POST = by_version(*((since, mapped(UUID_KEY, schema, 1)) for since, schema in _OF_MANY))
RESHAPER = by_version(
    *(
        (
            max(since, (1, 30)),
            closed(
                {
                    "inventories": mapped(
                        UUID_KEY,
                        closed(
                            {
                                "inventories": mapped(CLASS_KEY, INVENTORY),
                                "resource_provider_generation": {"type": ["integer", "null"]},
                            },
                            ("inventories", "resource_provider_generation"),
                        ),
                    ),
                    "allocations": mapped(UUID_KEY, schema),
                },
                ("inventories", "allocations"),
            ),
        )
        for since, schema in _NEWER
    )
)
