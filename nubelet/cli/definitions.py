"""Metadata definitions as files, and how they come into a cloud: through its API."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Protocol

import click

import nubelet

# The definitions that come with the release, beside the service that keeps them.
USUAL = Path(nubelet.__file__).parent / "image" / "metadefs" / "definitions"
_NAMESPACES = "/image/v2/metadefs/namespaces"


class Call(Protocol):
    """Sends a request as an administrator; raises Refused (`asking.py`)."""

    def __call__(self, method: str, path: str, body: object = None) -> Any: ...


def read(folder: Path) -> list[dict[str, Any]]:
    """The namespaces of a folder's files, public and protected unless they say otherwise."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".toml", ".json"))
    if not paths:
        raise click.ClickException(f"there are no definitions (*.toml, *.json) in {folder}")
    return [{"visibility": "public", "protected": True, **_read_one(path)} for path in paths]


def _read_one(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{path}: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("namespace"), str):
        raise click.ClickException(f"{path}: it names no namespace")
    return found


def load(call: Call, definition: dict[str, Any], *, replace: bool) -> str:
    """Bring one namespace into the cloud; returns what was done, in a word."""
    from urllib.parse import quote

    from nubelet.cli.asking import Refused

    try:
        call("POST", _NAMESPACES, definition)
    except Refused as refused:
        if refused.status != 409:
            raise click.ClickException(f"{definition['namespace']}: {refused.message}") from None
        if not replace:
            return "kept"
    else:
        return "loaded"
    path = f"{_NAMESPACES}/{quote(definition['namespace'], safe='')}"
    call("PUT", path, {"namespace": definition["namespace"], "protected": False})
    call("DELETE", path)
    call("POST", _NAMESPACES, definition)
    return "replaced"
