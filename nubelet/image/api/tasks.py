"""The API of tasks: administrators see every import, and may start one that makes its image."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from nubelet.image import tasks
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.fields import read_int
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route
from nubelet.kernel.operations import journal

_SORT_KEYS = ("created_at", "updated_at", "status", "type", "id")
_CREATE = {
    "type": "object",
    "required": ["type", "input"],
    "properties": {
        "type": {"type": "string", "enum": list(tasks.TYPES)},
        "input": {"type": "object"},
    },
}


def list_tasks(ctx: Context, request: Request) -> object:
    """List tasks."""
    ctx.authorize("get_tasks")
    status = _choice(request, "status", tasks.STATUSES)
    kind = _choice(request, "type", tasks.TYPES)
    limit = _limit(request, ctx.cloud.settings.limits.page_size)
    with ctx.cloud.database.read() as tx:
        records = tasks.find_all(ctx, tx)
    records = [
        each
        for each in _sorted(request, records)
        if status in (None, tasks.status_of(each)) and kind in (None, tasks.type_of(each))
    ]
    begin = _begin(records, request.first("marker"))
    page = records[begin : begin + limit]
    answer: dict[str, Any] = {
        "tasks": [tasks.show(each, brief=True) for each in page],
        "first": _link(request, None),
        "schema": "/v2/schemas/tasks",
    }
    if page and begin + limit < len(records):
        answer["next"] = _link(request, page[-1].id)
    return answer


def _choice(request: Request, name: str, allowed: tuple[str, ...]) -> str | None:
    value = request.first(name)
    if value is not None and value not in allowed:
        raise BadRequest(f"Invalid {name} value: {value}; it is one of {', '.join(allowed)}.")
    return value


def _limit(request: Request, most: int) -> int:
    asked = request.first("limit")
    if asked is None:
        return most
    number = read_int("limit", asked)
    if number < 0:
        raise BadRequest("limit must not be negative.")
    return min(number, most)


def _sorted(request: Request, records: list[journal.Record]) -> list[journal.Record]:
    key = request.first("sort_key") or "created_at"
    direction = request.first("sort_dir") or "desc"
    if key not in _SORT_KEYS:
        raise BadRequest(f"Invalid sort_key: {key}; it is one of {', '.join(_SORT_KEYS)}.")
    if direction not in ("asc", "desc"):
        raise BadRequest(f"Invalid sort direction: {direction}")

    def value(record: journal.Record) -> tuple[Any, str]:
        if key == "status":
            return tasks.status_of(record), record.id
        return tasks.type_of(record) if key == "type" else getattr(record, key), record.id

    return sorted(records, key=value, reverse=direction == "desc")


def _begin(records: list[journal.Record], marker: str | None) -> int:
    if marker is None:
        return 0
    for number, each in enumerate(records):
        if each.id == marker:
            return number + 1
    raise BadRequest(f"marker [{marker}] not found")


def _link(request: Request, marker: str | None) -> str:
    query = {name: values for name, values in request.query.items() if name != "marker"}
    if marker is not None:
        query["marker"] = [marker]
    return "/v2/tasks" + (f"?{urlencode(query, doseq=True)}" if query else "")


def show(ctx: Context, request: Request) -> object:
    """Show a task."""
    ctx.authorize("get_task")
    with ctx.cloud.database.read() as tx:
        record = tasks.find(ctx, tx, request.params["task_id"])
        told = tasks.messages(tx, [record])
    return tasks.show(record, told.get(record.id, ""))


def create(ctx: Context, request: Request) -> object:
    """Start a task that imports an image."""
    ctx.authorize("add_task")
    with ctx.cloud.database.write() as tx:
        record = tasks.create(ctx, tx, request.body)
    location = f"{request.base_url}/tasks/{record.id}"
    return Response(201, tasks.show(record), {"Location": location})


ROUTES = (
    Route(method="GET", path="/tasks", handler=list_tasks, rule="tasks_api_access"),
    Route(
        method="POST",
        path="/tasks",
        handler=create,
        rule="tasks_api_access",
        body=_CREATE,
        status=201,
    ),
    Route(method="GET", path="/tasks/{task_id}", handler=show, rule="tasks_api_access"),
)
