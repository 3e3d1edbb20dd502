"""Lists, done once: filter, sort, marker, limit, fields, links.

A handler builds a statement that selects what the caller may see; `list_page` narrows it by
the query, pages it by key (never by offset), and `render` spells the answer in the dialect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.fields import Resource, read_int
from nubelet.kernel.http.messages import Request

SortKeys = Sequence[tuple[str, str]]  # (field name, "asc" or "desc")


@dataclass(slots=True)
class Page:
    """Rows of one page, and whether there are more behind (or, in reverse, before) them."""

    rows: Sequence[Any]
    more: bool
    limit: int | None
    marker: str | None
    reverse: bool = False


def list_page(
    ctx: Context,
    tx: Tx,
    request: Request,
    resource: Resource,
    statement: sa.Select[Any],
    *,
    default_sort: SortKeys = (("created_at", "desc"), ("id", "desc")),
    direction: str = "asc",
    max_limit: int | None = 1000,
    filtered: bool = True,
    marker_scope: sa.ColumnElement[bool] | None = None,
) -> Page:
    """Run `statement` (over `resource.table`) as the query asks.

    `direction`: of sort keys that come without one. `filtered=False`: the handler has put the
    filters in itself. `max_limit`: page size when none or a larger one is asked; None for no
    limit. `marker_scope`: which rows may be markers (default: those of the statement's table).
    """
    assert resource.table is not None
    table = resource.table
    if filtered:
        for condition in resource.conditions(ctx, request.query):
            statement = statement.where(condition)
    reverse = request.flag("page_reverse")
    ordering = [
        (_column(resource, ctx, table, name), (direction == "asc") != reverse)
        for name, direction in _sort_keys(request, default_sort, direction)
    ]
    limit = read_limit(request, max_limit)
    marker = request.first("marker") or None
    if marker is not None:
        statement = statement.where(_behind(tx, resource, ordering, marker, marker_scope))
    statement = statement.order_by(None).order_by(
        *(_nulls_together(column, ascending) for column, ascending in ordering)
    )
    if limit is not None:
        statement = statement.limit(limit + 1)
    rows = list(tx.all(statement))
    more = limit is not None and len(rows) > limit
    if more:
        rows = rows[:limit]
    return Page(rows[::-1] if reverse else rows, more, limit, marker, reverse)


def read_limit(request: Request, max_limit: int | None) -> int | None:
    """The page size that is asked for, at most `max_limit`; 400 for a negative one."""
    text = request.first("limit")
    if text is None or (text == "" and max_limit is not None):
        return max_limit
    limit = read_int("limit", text) if len(text) <= len(str(_ENOUGH)) else _many(text)
    if limit < 0:
        raise BadRequest(f"limit must be a non-negative integer, not {limit}.")
    if limit == 0 and max_limit is None:
        return None
    return limit if max_limit is None else min(limit, max_limit)


_ENOUGH = 10**17  # as good as no limit, and one more still fits a database's integer


def _many(text: str) -> int:
    """A limit of very many digits, which is not worth reading."""
    if not (text.isascii() and text.isdigit()):
        raise BadRequest(f"'{text}' is not an integer for parameter limit.")
    return _ENOUGH


def render(
    ctx: Context, request: Request, resource: Resource, page: Page, items: list[dict[str, Any]]
) -> dict[str, Any]:
    """The answer of a list in the service's dialect."""
    dialect = ctx.cloud.services[ctx.service].dialect
    answer: dict[str, Any] = {resource.plural: items}
    last = str(getattr(page.rows[-1], resource.marker)) if page.rows else None
    first = str(getattr(page.rows[0], resource.marker)) if page.rows else None
    has_next = page.more if not page.reverse else page.marker is not None
    if dialect.pages == "links" and page.more and last:
        answer[f"{resource.plural}_links"] = [{"rel": "next", "href": _link(request, marker=last)}]
    elif dialect.pages == "neutron" and page.limit is not None:
        has_previous = page.more if page.reverse else page.marker is not None
        links = []
        if has_next and last:
            links.append({"rel": "next", "href": _link(request, marker=last, page_reverse=None)})
        if has_previous and first:
            links.append(
                {"rel": "previous", "href": _link(request, marker=first, page_reverse="True")}
            )
        if links:
            answer[f"{resource.plural}_links"] = links
    elif dialect.pages == "next":
        answer["first"] = _relative(_link(request, marker=None), request)
        if page.more and last:
            answer["next"] = _relative(_link(request, marker=last), request)
    elif dialect.pages == "keystone":
        answer["links"] = {
            "next": _link(request, marker=last) if page.more and last else None,
            "self": _link(request),
            "previous": None,
        }
    return answer


def only_fields(request: Request) -> list[str]:
    """The attributes that `?fields=a&fields=b,c` asks for; empty for all."""
    return [name for value in request.query.get("fields", ()) for name in value.split(",") if name]


def _column(resource: Resource, ctx: Context, table: sa.Table, name: str) -> Any:
    if (
        name in ("id", "created_at", "auto_id")
        and name in table.c
        and resource.field(name, ctx.version) is None
    ):
        return table.c[name]
    f = resource.field(name, ctx.version)
    if name == "id" or (name == "created_at" and (f is None or not f.sort)):
        return table.c[name]
    return resource.sort_column(name, ctx.version)


def _sort_keys(request: Request, default: SortKeys, bare: str) -> list[tuple[str, str]]:
    """The sort keys of a query, in both spellings (`sort_key` + `sort_dir`; `sort=a:asc,b`). Of a
    key that is named again only the first counts: what it would add is an endless statement."""
    combined = request.first("sort")
    if combined:
        pairs = [part.strip().partition(":")[::2] for part in combined.split(",")]
        asked = [(key, direction or bare) for key, direction in pairs]
    else:
        keys = request.query.get("sort_key", [])
        directions = request.query.get("sort_dir", [])
        if not keys and directions:
            default = [(default[0][0], directions[0]), *default[1:]]
        if len(directions) > max(len(keys), 1):
            raise BadRequest("There are more sort_dir than sort_key parameters.")
        fill = directions[-1] if len(directions) == 1 else bare
        asked = [
            (key, directions[i] if i < len(directions) else fill) for i, key in enumerate(keys)
        ]
    for _key, direction in [*asked, *default]:
        if direction not in ("asc", "desc"):
            raise BadRequest(f"Unknown sort direction '{direction}': must be asc or desc.")
    first: dict[str, str] = {}
    for key, direction in asked:
        first.setdefault(key, direction)
    asked = list(first.items())
    present = first.keys()
    tail = default if not asked else [pair for pair in default if pair[0] in ("id", "created_at")]
    return asked + [pair for pair in tail if pair[0] not in present]


def _nulls_together(column: Any, ascending: bool) -> Any:
    """NULLs first when ascending, last when descending, on every database."""
    return column.asc().nulls_first() if ascending else column.desc().nulls_last()


def _behind(
    tx: Tx,
    resource: Resource,
    ordering: list[tuple[Any, bool]],
    marker: str,
    scope: sa.ColumnElement[bool] | None,
) -> sa.ColumnElement[bool]:
    """Rows that sort after the marker's row."""
    assert resource.table is not None
    named = resource.table.c[resource.marker]
    statement = sa.select(*(column for column, _ in ordering)).where(named == marker)
    if scope is not None:
        statement = statement.where(scope)
    values = tx.first(statement)
    if values is None:
        raise BadRequest(f"marker [{marker}] not found")
    alternatives: list[sa.ColumnElement[bool]] = []
    equal: list[sa.ColumnElement[bool]] = []
    for (column, ascending), value in zip(ordering, values, strict=True):
        if value is None:
            after = column.is_not(None) if ascending else None
            same = column.is_(None)
        else:
            after = column > value if ascending else sa.or_(column < value, column.is_(None))
            same = column == value
        if after is not None:
            alternatives.append(sa.and_(*equal, after))
        equal.append(same)
    return sa.or_(*alternatives)


def _link(request: Request, **changes: str | None) -> str:
    query = {name: list(values) for name, values in request.query.items()}
    for name, value in changes.items():
        query.pop(name, None)
        if value is not None:
            query[name] = [value]
    text = urlencode(query, doseq=True)
    return f"{request.url}?{text}" if text else request.url


def _relative(link: str, request: Request) -> str:
    """Glance's links are paths from the version prefix on."""
    return link[len(request.base_url) - len(request.base.rsplit("/", 1)[-1]) - 1 :]
