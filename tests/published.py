"""The published OpenAPI documents as judges of our answers.

    contract = Contract(published / "openapi/identity/v3.14.yaml")
    contract.problems("GET", "/v3/users/{user_id}", body)      # [] when the body fits

Names of path parameters do not matter. Where a schema differs by microversion, the variants are
told apart by their `x-openstack` limits: pass `version=(2, 47)`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

_PARAMETER = re.compile(r"\{[^}]*\}")


@lru_cache(maxsize=4)
def _load(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return yaml.load(file, Loader=loader)  # type: ignore[no-any-return]


class Contract:
    """One published document."""

    def __init__(self, path: Path) -> None:
        self.document = _load(path)
        self._paths = {
            _PARAMETER.sub("{}", name): item for name, item in self.document["paths"].items()
        }

    def operations(self) -> set[tuple[str, str]]:
        """(method, path with {} for parameters) of every operation."""
        return {
            (method.upper(), path)
            for path, item in self._paths.items()
            for method in item
            if method != "parameters"
        }

    def knows(self, method: str, path: str) -> bool:
        """Is there such an operation?"""
        return method.lower() in self._paths.get(_PARAMETER.sub("{}", path), {})

    def schema(self, method: str, path: str, version: tuple[int, int] | None = None) -> Any:
        """The schema of a successful answer; None where none is published."""
        operation = self._paths[_PARAMETER.sub("{}", path)][method.lower()]
        for status, response in operation["responses"].items():
            if status.startswith("2"):
                content = response.get("content", {}).get("application/json", {})
                schema = content.get("schema")
                return _at(self._follow(schema), version, self._follow) if schema else None
        return None

    def problems(
        self, method: str, path: str, body: Any, version: tuple[int, int] | None = None
    ) -> list[str]:
        """What in a body does not fit the published schema."""
        schema = self.schema(method, path, version)
        if schema is None:
            return []
        judge = jsonschema.Draft202012Validator(
            {**schema, "components": self.document["components"]}
        )
        return [
            f"{'/'.join(str(part) for part in error.absolute_path)}: {error.message[:300]}"
            for error in judge.iter_errors(body)
        ]

    def _follow(self, schema: Any) -> Any:
        while isinstance(schema, dict) and "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        return schema


def _at(schema: Any, version: tuple[int, int] | None, follow: Any) -> Any:
    """The variant of a schema for a microversion."""
    variants = schema.get("oneOf")
    if not variants or version is None:
        return schema
    for variant in map(follow, variants):
        limits = variant.get("x-openstack", {})
        least, most = (
            _version(limits.get("min-ver"), (0, 0)),
            _version(limits.get("max-ver"), (999, 999)),
        )
        if least <= version <= most:
            return variant
    return schema


def _version(text: str | None, default: tuple[int, int]) -> tuple[int, int]:
    if not text:
        return default
    major, minor = text.split(".")
    return int(major), int(minor)
