"""What all resources of identity share on the wire: free attributes, links, filters, pages.

Callers may add attributes of their own to most things (`email` of a user, `description` of a
service); they live in the column `extra` and are shown beside the others. Lists take exact
filters (`name=web`) and comparisons (`name__contains=we`).

In OpenStack: keystone/common/driver_hints.py, keystone/server/flask/common.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import authenticator
from nubelet.identity.domain_config import options
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound
from nubelet.kernel.http.collections import list_page, render
from nubelet.kernel.http.fields import Condition, Field, Resource, View, read_bool
from nubelet.kernel.http.messages import Request

PREFIX = "/identity/v3"
# Sorting by id alone keeps pages stable while names change.
_BY_ID = (("id", "asc"),)

TEXT: dict[str, Any] = {"type": ["string", "null"]}
ID: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 64,
    "pattern": r"^[a-zA-Z0-9-]+$",
}
ID_OR_NULL = {**ID, "type": ["string", "null"]}
BOOLEAN: dict[str, Any] = {
    "anyOf": [
        {"type": "boolean"},
        {"type": "string", "pattern": r"^(?i:0|1|t|f|y|n|true|false|yes|no|on|off)$"},
    ]
}
OPTIONS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"immutable": {"type": ["boolean", "null"]}},
}


def name_schema(max_length: int) -> dict[str, Any]:
    """A name that is not blank."""
    return {"type": "string", "minLength": 1, "maxLength": max_length, "pattern": r"[\S]+"}


def links(ctx: Context, path: str) -> dict[str, str]:
    """The `links` of a resource."""
    return {"self": f"{ctx.base_url}{PREFIX}/{path}"}


class IdentityResource(Resource):
    """A resource with free attributes (unless `extra_create` is None) and a link to itself."""

    folder = ""  # where an extension's resource lives: `OS-EP-FILTER/`

    def view(self, ctx: Context, only: Iterable[str] = ()) -> View:
        """A function from a row to what is shown of it."""
        shown = super().view(ctx, only)
        start = f"{ctx.base_url}{PREFIX}/{self.folder}{self.plural}/"
        if self.extra is None:
            return lambda row: {**shown(row), "links": {"self": start + row.id}}
        return lambda row: {**row.extra, **shown(row), "links": {"self": start + row.id}}

    def split(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The attributes of a body that have columns, and the free ones."""
        known = {field.name for field in self.fields} | {"id", "links", "extra"}
        return (
            {name: value for name, value in given.items() if name in known},
            {name: value for name, value in given.items() if name not in known},
        )


def bool_filter(column: sa.ColumnElement[bool], name: str) -> Any:
    """`?enabled`, `?enabled=true`, `?enabled=0`."""

    def condition(values: list[str], ctx: Context) -> Condition:
        return column.in_([value == "" or read_bool(name, value) for value in values])

    return condition


def enabled_field(column: sa.ColumnElement[bool]) -> Field:
    """Whether it may be used."""
    return Field(
        name="enabled",
        schema=BOOLEAN,
        create="optional",
        update=True,
        default=True,
        filter=bool_filter(column, "enabled"),
        sort=True,
    )


def to_bool(value: Any) -> bool:
    """A boolean in a body, which may be spelled as text."""
    return value if isinstance(value, bool) else read_bool("enabled", str(value))


def list_answer(
    ctx: Context,
    tx: Tx,
    request: Request,
    resource: Resource,
    statement: sa.Select[Any],
    view: Any = None,
    most: int | None = None,
) -> dict[str, Any]:
    """The answer of a list: filtered and paged as the query asks. `view(rows)`, if given,
    answers the function that shows one row. `most`: a smaller page than the settings say."""
    largest = ctx.cloud.settings.limits.page_size
    for condition in _comparisons(resource, request):
        statement = statement.where(condition)
    page = list_page(
        ctx,
        tx,
        request,
        resource,
        statement,
        default_sort=_BY_ID,
        max_limit=largest if most is None else min(largest, most),
    )
    show = view(page.rows) if view else resource.view(ctx)
    answer = render(ctx, request, resource, page, [show(row) for row in page.rows])
    if page.more and request.first("limit") is None:
        answer["truncated"] = True
    return answer


def refresh_directory(ctx: Context, request: Request) -> None:
    """Before a list of users or groups of one domain: read its directory, if it has one."""
    authenticator.of(ctx.cloud).directories.refresh(ctx.cloud, _domain_of_list(ctx, request))


def most_of_domain(ctx: Context, tx: Tx, request: Request) -> int | None:
    """How many users or groups a list of one domain shows at once, where its configuration says."""
    domain_id = _domain_of_list(ctx, request)
    return options.list_limit(tx, domain_id) if domain_id else None


def _domain_of_list(ctx: Context, request: Request) -> str | None:
    return ctx.credentials.domain_id or request.first("domain_id")


def list_target(ctx: Context) -> dict[str, Any]:
    """What policy sees of a list: the domain of the token, to which the list is then narrowed."""
    domain_id = ctx.credentials.domain_id
    return {"target.domain_id": domain_id} if domain_id else {}


def all_links(request: Request) -> dict[str, str | None]:
    """The `links` of a list that has no pages."""
    return {"self": request.url, "previous": None, "next": None}


def require(row: Any, kind: str, identifier: str) -> Any:
    """The row; raises NotFound when there is none. Authorize before: strangers learn nothing."""
    if row is None:
        raise NotFound(kind, identifier)
    return row


def _comparisons(resource: Resource, request: Request) -> list[Condition]:
    found = []
    for parameter, values in request.query.items():
        name, separator, comparator = parameter.partition("__")
        field = resource.field(name) if separator else None
        if field is None or field.filter != "exact" or resource.table is None:
            continue
        column = resource.table.c[field.column or name]
        found += [_compare(column, comparator, value) for value in values]
    return found


def _compare(column: Any, comparator: str, value: str) -> Condition:
    """Case matters unless the comparator begins with i. Written without LIKE, which ignores case
    on SQLite and not on PostgreSQL."""
    if comparator in ("icontains", "istartswith", "iendswith", "iequals"):
        return _compare(sa.func.lower(column), comparator[1:], value.lower())
    if comparator == "equals":
        return column == value  # type: ignore[no-any-return]
    if comparator == "contains":
        return sa.true() if not value else sa.func.replace(column, value, "") != column
    if comparator == "startswith":
        return sa.func.substr(column, 1, len(value)) == value
    if comparator == "endswith":
        length = sa.func.length(column)
        return sa.and_(
            length >= len(value),
            sa.func.substr(column, length - len(value) + 1, len(value)) == value,
        )
    raise BadRequest(
        f"{comparator} is not a comparison that lists know; there are contains, "
        "startswith and endswith, and the same after an i."
    )
