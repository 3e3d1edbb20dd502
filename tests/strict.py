"""Tempest's response schemas as judges: they refuse every key that they do not know.

    problems("hypervisors", "list_hypervisors_detail", (2, 53), answer.json())   # [] when it fits

Tempest keeps one module per microversion that changed a shape; the newest that the version has
reached counts, as in Tempest's own clients.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

_PACKAGE = "tempest.lib.api_schema.response.compute"


@lru_cache(maxsize=64)
def _versions(noun: str) -> tuple[int, ...]:
    """The minor versions that have a module of that name."""
    folder = Path(importlib.import_module(_PACKAGE).__path__[0])
    return tuple(
        sorted(
            int(found.parent.name.removeprefix("v2_")) for found in folder.glob(f"v2_*/{noun}.py")
        )
    )


def problems(noun: str, name: str, version: tuple[int, ...], body: Any) -> list[str]:
    """What in a body Tempest would refuse at a version."""
    pytest.importorskip("tempest")
    minor = max(each for each in _versions(noun) if each <= version[1])
    schema = getattr(importlib.import_module(f"{_PACKAGE}.v2_{minor}.{noun}"), name)
    checker = jsonschema.FormatChecker(formats=["ipv4", "ipv6", "uuid"])
    judge = jsonschema.Draft4Validator(schema["response_body"], format_checker=checker)
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in judge.iter_errors(body)
    ]


def require(noun: str, name: str, version: tuple[int, ...], body: Any) -> Any:
    """The body, if Tempest would take it."""
    found = problems(noun, name, version, body)
    assert not found, (noun, name, version, found)
    return body
