"""The catalog: which services there are and under which URLs, as a token shows it.

`%(project_id)s` (also `$(project_id)s`, and tenant_id, user_id) in the URL of an endpoint is
replaced for each caller; an endpoint whose URL needs a project is left out for callers without.

In OpenStack: keystone/catalog/backends/sql.py get_v3_catalog.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.identity.model import endpoint, service
from nubelet.kernel.database import Tx

_PLACEHOLDER = re.compile(r"[%$]\(([a-z_]+)\)s")
ALLOWED = ("project_id", "tenant_id", "user_id")


def load(tx: Tx) -> list[dict[str, Any]]:
    """All enabled services with their enabled endpoints, URLs as stored."""
    services = tx.all(
        sa.select(service.c.id, service.c.type, service.c.name)
        .where(service.c.enabled)
        .order_by(service.c.created_at, service.c.id)
    )
    found = {
        row.id: {"id": row.id, "type": row.type, "name": row.name, "endpoints": []}
        for row in services
    }
    for row in tx.all(
        sa.select(endpoint).where(endpoint.c.enabled).order_by(endpoint.c.created_at, endpoint.c.id)
    ):
        if row.service_id in found:
            found[row.service_id]["endpoints"].append(
                {
                    "id": row.id,
                    "interface": row.interface,
                    "region": row.region_id,
                    "region_id": row.region_id,
                    "url": row.url,
                }
            )
    return list(found.values())


def fill(
    services: Sequence[Mapping[str, Any]],
    user_id: str,
    project_id: str | None,
    visible: Container[str] | None = None,
) -> list[dict[str, Any]]:
    """The catalog of one caller. `visible`: the ids of the endpoints that the caller's project
    sees; None for all."""
    values = {"user_id": user_id}
    if project_id:
        values |= {"project_id": project_id, "tenant_id": project_id}
    answer = []
    for each in services:
        endpoints = []
        for entry in each["endpoints"]:
            if visible is not None and entry["id"] not in visible:
                continue
            url = fill_url(entry["url"], values)
            if url is not None:
                endpoints.append({**entry, "url": url})
        answer.append({**each, "endpoints": endpoints})
    return answer


def fill_url(url: str, values: Mapping[str, str]) -> str | None:
    """A URL with its placeholders replaced; None where a value is missing."""
    if "(" not in url:
        return url
    if any(name not in values for name in placeholders(url)):
        return None
    return _PLACEHOLDER.sub(lambda match: values[match[1]], url)


def placeholders(url: str) -> set[str]:
    """The names in a URL that are to be replaced."""
    return {match[1] for match in _PLACEHOLDER.finditer(url)}
