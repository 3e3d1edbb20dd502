"""Making and changing things of the identity API in a line, for tests of it and of others."""

from __future__ import annotations

from typing import Any

import httpx

V3 = "/identity/v3"


def make(admin: httpx.Client, noun: str, status: int = 201, **values: Any) -> dict[str, Any]:
    """What the API shows of a new thing, or its error."""
    answer = admin.post(f"{V3}/{noun}s", json={noun: values})
    assert answer.status_code == status, answer.text
    return dict(answer.json().get(noun) or answer.json()["error"])


def change(
    admin: httpx.Client,
    noun: str,
    identifier: str,
    status: int = 200,
    **values: Any,
) -> dict[str, Any]:
    """What the API shows of a changed thing, or its error."""
    answer = admin.patch(f"{V3}/{noun}s/{identifier}", json={noun: values})
    assert answer.status_code == status, answer.text
    return dict(answer.json().get(noun) or answer.json()["error"])
