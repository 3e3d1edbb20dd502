"""Metadata definitions as the API shows them: what was never given is left out."""

from __future__ import annotations

from typing import Any

from nubelet.kernel.clock import iso_seconds

Shown = dict[str, Any]


def namespace(row: Any, associations: list[Any]) -> Shown:
    """One namespace, without what it holds."""
    return _without_none(
        {
            "namespace": row.namespace,
            "display_name": row.display_name,
            "description": row.description,
            "visibility": row.visibility,
            "protected": row.protected,
            "owner": row.owner,
            "resource_type_associations": [association(each) for each in associations] or None,
            **_times(row),
            "self": path(row.namespace),
            "schema": "/v2/schemas/metadefs/namespace",
        }
    )


def path(name: str) -> str:
    """The link to a namespace, as upstream writes it: not escaped."""
    return f"/v2/metadefs/namespaces/{name}"


def association(row: Any) -> Shown:
    """One association with a resource type."""
    return _without_none(
        {
            "name": row.name,
            "prefix": row.prefix,
            "properties_target": row.properties_target,
            **_times(row),
        }
    )


def resource_type(row: Any) -> Shown:
    """One resource type."""
    return {"name": row.name, **_times(row)}


def metadef_object(row: Any, namespace_name: str, prefix: str = "") -> Shown:
    """One object; `prefix` goes before the names of its properties."""
    required = row.required
    return _without_none(
        {
            "name": row.name,
            "description": row.description,
            "required": None if required is None else [prefix + each for each in required],
            "properties": {prefix + name: each for name, each in (row.properties or {}).items()},
            **_times(row),
            "self": f"{path(namespace_name)}/objects/{row.name}",
            "schema": "/v2/schemas/metadefs/object",
        }
    )


def metadef_property(row: Any) -> Shown:
    """One property definition, with its name."""
    return {**row.definition, "name": row.name}


def properties(rows: list[Any], prefix: str = "") -> Shown:
    """Property definitions by name."""
    return {prefix + row.name: row.definition for row in rows}


def tag(row: Any) -> Shown:
    """One tag."""
    return {"name": row.name, **_times(row)}


def _times(row: Any) -> Shown:
    return {
        "created_at": iso_seconds(row.created_at),
        "updated_at": iso_seconds(row.updated_at),
    }


def _without_none(values: Shown) -> Shown:
    return {name: value for name, value in values.items() if value is not None}
