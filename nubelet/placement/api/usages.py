"""`/usages` of a project and `/resource_providers/{uuid}/usages`."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.placement import allocations
from nubelet.placement.api import query
from nubelet.placement.api.allocations import UNKNOWN_TYPE
from nubelet.placement.api.answers import answer
from nubelet.placement.api.resource_providers import find
from nubelet.placement.model import allocation, consumer

_KEYS = {"project_id": (1, 9), "user_id": (1, 9), "consumer_type": (1, 38)}
_ALL = "all"


def of_provider(ctx: Context, request: Request) -> object:
    """Show how much of each of its resource classes is used of a provider."""
    with ctx.cloud.database.read() as tx:
        row = find(tx, request)
        used = allocations.usages(tx, row.id)
    return answer(ctx, {"usages": used, "resource_provider_generation": row.generation})


def of_project(ctx: Context, request: Request) -> object:
    """Show how much a project, or a user in it, uses; from 1.38 on by type of consumer."""
    given = {key: _value(request, key) for key in _KEYS}
    if given["project_id"] is None:
        raise BadRequest(
            "Invalid query string parameters: 'project_id' is a required property",
            code=query.MISSING_VALUE,
        )
    ctx.authorize(target={"project_id": given["project_id"]})
    with ctx.cloud.database.read() as tx:
        if not ctx.at_least(1, 38):
            rows = tx.all(_amounts(given))
            return answer(ctx, {"usages": {row.resource_class: int(row.used) for row in rows}})
        rows, counts = tx.all(_amounts(given, by_type=True)), tx.all(_counts(given))
    return answer(ctx, {"usages": _by_type(rows, counts, given["consumer_type"])})


def _value(request: Request, key: str) -> str | None:
    text = query.one(request.query, key)
    if text is not None and not 0 < len(text) <= 255:
        raise BadRequest(
            f"Invalid query string parameters: {key} must have 1 to 255 characters",
            code=query.BAD_VALUE,
        )
    return text


def _where(statement: sa.Select[Any], given: dict[str, str | None]) -> sa.Select[Any]:
    statement = statement.where(consumer.c.project_id == given["project_id"])
    if given["user_id"] is not None:
        statement = statement.where(consumer.c.user_id == given["user_id"])
    kind = given["consumer_type"]
    if kind == UNKNOWN_TYPE:
        return statement.where(consumer.c.consumer_type.is_(None))
    if kind is not None and kind != _ALL:
        return statement.where(consumer.c.consumer_type == kind)
    return statement


def _amounts(given: dict[str, str | None], by_type: bool = False) -> sa.Select[Any]:
    columns: list[Any] = [allocation.c.resource_class]
    if by_type:
        columns.append(consumer.c.consumer_type)
    statement = sa.select(*columns, sa.func.sum(allocation.c.used).label("used"))
    return _where(
        statement.join(consumer, consumer.c.id == allocation.c.consumer_id), given
    ).group_by(*columns)


def _counts(given: dict[str, str | None]) -> sa.Select[Any]:
    return _where(
        sa.select(consumer.c.consumer_type, sa.func.count().label("consumers")), given
    ).group_by(consumer.c.consumer_type)


def _by_type(rows: Any, counts: Any, asked: str | None) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for row in counts:
        kind = _ALL if asked == _ALL else row.consumer_type or UNKNOWN_TYPE
        held = found.setdefault(kind, {"consumer_count": 0})
        held["consumer_count"] += row.consumers
    for row in rows:
        held = found[_ALL if asked == _ALL else row.consumer_type or UNKNOWN_TYPE]
        held[row.resource_class] = held.get(row.resource_class, 0) + int(row.used)
    return found


ROUTES = (
    Route(
        method="GET",
        path="/resource_providers/{uuid}/usages",
        handler=of_provider,
        rule="placement:resource_providers:usages",
    ),
    Route(
        method="GET",
        path="/usages",
        handler=of_project,
        rule="placement:usages",
        rule_needs_target=True,
        since=(1, 9),
        query=lambda version: query.allowed_keys(version, _KEYS),
    ),
)
