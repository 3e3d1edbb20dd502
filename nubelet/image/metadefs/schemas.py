"""JSON schemas of metadata definitions: what is served, and what bodies are checked against.

A property definition is itself a JSON schema of a small dialect; `property` in DEFINITIONS says
which. In OpenStack: the get_schema functions of glance/api/v2/metadef_*.py.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TYPES = ["array", "boolean", "integer", "number", "object", "string", None]
_TEXT: Schema = {"type": "string"}
_TEXT_255: Schema = {"type": "string", "maxLength": 255}
_TEXT_80: Schema = {"type": "string", "maxLength": 80}
_WHOLE: Schema = {"$ref": "#/definitions/positiveInteger"}
_WHOLE_OR_0: Schema = {"$ref": "#/definitions/positiveIntegerDefault0"}
_TEXTS: Schema = {"$ref": "#/definitions/stringArray"}
_PROPERTIES: Schema = {"$ref": "#/definitions/property"}
_LINK: Schema = {"type": "string", "readOnly": True}

_PROPERTY_FIELDS: Schema = {
    "name": _TEXT_255,
    "title": _TEXT,
    "description": _TEXT,
    "operators": {"type": "array", "items": _TEXT},
    "type": {"type": "string", "enum": _TYPES},
    "required": _TEXTS,
    "minimum": {"type": "number"},
    "maximum": {"type": "number"},
    "maxLength": _WHOLE,
    "minLength": _WHOLE_OR_0,
    "pattern": {"type": "string", "format": "regex"},
    "enum": {"type": "array"},
    "readonly": {"type": "boolean"},
    "default": {},
    "items": {
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": _TYPES},
            "enum": {"type": "array"},
        },
    },
    "maxItems": _WHOLE,
    "minItems": _WHOLE_OR_0,
    "uniqueItems": {"type": "boolean", "default": False},
    "additionalItems": {"type": "boolean"},
}


def _definitions(**more: Schema) -> Schema:
    return {
        "positiveInteger": {"type": "integer", "minimum": 0},
        "positiveIntegerDefault0": {
            "allOf": [{"$ref": "#/definitions/positiveInteger"}, {"default": 0}]
        },
        "stringArray": {"type": "array", "items": _TEXT, "uniqueItems": True},
        **more,
    }


_WITH_PROPERTY = _definitions(
    property={
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["title", "type"],
            "properties": _PROPERTY_FIELDS,
        },
    }
)
_ALONE = _definitions()
_ALONE["stringArray"] = {**_ALONE["stringArray"], "minItems": 1}


def _times(noun: str) -> Schema:
    kind = {"type": "string", "format": "date-time", "readOnly": True}
    return {
        "created_at": {**kind, "description": f"When the {noun} was created"},
        "updated_at": {**kind, "description": f"When the {noun} was last changed"},
    }


NAMESPACE: Schema = {
    "name": "namespace",
    "properties": {
        "namespace": {**_TEXT_80, "description": "Name of the namespace, unique in the cloud"},
        "display_name": {**_TEXT_80, "description": "Name to show to people"},
        "description": {
            "type": "string",
            "maxLength": 500,
            "description": "What the namespace is about",
        },
        "visibility": {
            "type": "string",
            "enum": ["public", "private"],
            "description": "Whether other projects see the namespace",
        },
        "protected": {
            "type": "boolean",
            "description": "Whether the namespace and what it holds are safe from deletion",
        },
        "owner": {**_TEXT_255, "description": "Project that the namespace belongs to"},
        **_times("namespace"),
        "schema": _LINK,
        "self": _LINK,
        "resource_type_associations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": _TEXT, "prefix": _TEXT, "properties_target": _TEXT},
            },
        },
        "properties": _PROPERTIES,
        "objects": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "name": _TEXT,
                    "description": _TEXT,
                    "required": _TEXTS,
                    "properties": _PROPERTIES,
                },
            },
        },
        "tags": {"type": "array", "items": {"type": "object", "properties": {"name": _TEXT}}},
    },
    "required": ["namespace"],
    "definitions": _WITH_PROPERTY,
    "additionalProperties": False,
}
OBJECT: Schema = {
    "name": "object",
    "properties": {
        "name": _TEXT_255,
        "description": _TEXT,
        "required": _TEXTS,
        "properties": _PROPERTIES,
        "schema": _LINK,
        "self": _LINK,
        **_times("object"),
    },
    "required": ["name"],
    "definitions": _WITH_PROPERTY,
    "additionalProperties": False,
}
PROPERTY: Schema = {
    "name": "property",
    "properties": _PROPERTY_FIELDS,
    "required": ["type", "title", "name"],
    "definitions": _ALONE,
    "additionalProperties": False,
}
TAG: Schema = {
    "name": "tag",
    "properties": {"name": _TEXT_255, **_times("tag")},
    "required": ["name"],
    "additionalProperties": False,
}
ASSOCIATION: Schema = {
    "name": "resource_type_association",
    "properties": {
        "name": {**_TEXT_80, "description": "Resource type, named as Heat names it where it does"},
        "prefix": {
            **_TEXT_80,
            "description": "What the names of the namespace's properties begin with on resources "
            "of this type, its separator included",
        },
        "properties_target": {
            **_TEXT_80,
            "description": "Which metadata of a resource that has several kinds is meant, such as "
            "`image` for the image metadata of a volume",
        },
        **_times("association"),
    },
    "required": ["name"],
    "additionalProperties": False,
}


def _collection(name: str, items: Schema) -> Schema:
    definitions = {"definitions": items["definitions"]} if "definitions" in items else {}
    item = {key: value for key, value in items.items() if key != "definitions"}
    return {
        "name": name,
        "properties": {
            name: {"type": "array", "items": item},
            "first": _TEXT,
            "next": _TEXT,
            "schema": _TEXT,
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
        **definitions,
    }


def _named_collection(name: str, items: Schema) -> Schema:
    """A collection that is an object of items by name."""
    schema = _collection(name, items)
    item = {**schema["properties"][name]["items"]}
    item["required"] = [each for each in item["required"] if each != "name"]
    schema["properties"][name] = {"type": "object", "additionalProperties": item}
    return schema


SERVED: dict[str, Schema] = {
    "namespace": NAMESPACE,
    "namespaces": _collection("namespaces", NAMESPACE),
    "object": OBJECT,
    "objects": _collection("objects", OBJECT),
    "property": PROPERTY,
    "properties": _named_collection("properties", PROPERTY),
    "tag": TAG,
    "tags": _collection("tags", TAG),
    "resource_type": ASSOCIATION,
    "resource_types": _collection("resource_type_associations", ASSOCIATION),
}

# --- Bodies -----------------------------------------------------------------------------------

READ_ONLY = ("created_at", "updated_at", "self", "schema")


def _body(schema: Schema, **closer: Schema) -> Schema:
    """What a body must be: read-only attributes may be anything, for they are refused by name."""
    properties = {
        name: {} if name in READ_ONLY else {**each, **closer.get(name, {})}
        for name, each in schema["properties"].items()
    }
    body = {key: value for key, value in schema.items() if key not in ("name", "properties")}
    return {"type": "object", **body, "properties": properties}


_NAME = {"minLength": 1}


def _nested(schema: Schema) -> Schema:
    """An item of a namespace's body: checked as closely as when it is sent alone."""
    return {key: value for key, value in _body(schema, name=_NAME).items() if key != "definitions"}


# Inside the definitions each property is closed too, or a misspelt word would be kept unseen.
_STRICT: Schema = {
    **_WITH_PROPERTY,
    "property": {
        "type": "object",
        "propertyNames": {**_NAME, "maxLength": 255},
        "additionalProperties": {
            **_WITH_PROPERTY["property"]["additionalProperties"],
            "additionalProperties": False,
        },
    },
}
NAMESPACE_BODY: Schema = {
    **_body(
        NAMESPACE,
        namespace={"minLength": 1},
        resource_type_associations={"items": _nested(ASSOCIATION)},
        objects={"items": _nested(OBJECT)},
        tags={"items": _nested(TAG)},
    ),
    "definitions": _STRICT,
}
OBJECT_BODY: Schema = {**_body(OBJECT, name=_NAME), "definitions": _STRICT}
PROPERTY_BODY: Schema = _body(PROPERTY, name=_NAME)
TAG_BODY: Schema = _body(TAG, name=_NAME)
TAGS_BODY: Schema = {
    "type": "object",
    "required": ["tags"],
    "properties": {
        "tags": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {**_TEXT_255, "minLength": 1}},
                "additionalProperties": False,
            },
        }
    },
    "additionalProperties": False,
}
ASSOCIATION_BODY: Schema = _body(ASSOCIATION, name={"minLength": 1})
