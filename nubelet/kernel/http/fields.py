"""Resources as tables of fields: what can be set, shown, filtered and sorted, and since when.

One `Field` row says the shape of one attribute in every operation; a `Resource` derives from
its rows the request schemas, the view and the list parameters at each API version. A table
describes shape only: behaviour is code (`if ctx.at_least(2, 37)`). There are no callables
except `show=` and `filter=`; a resource that needs more writes a handler.
In OpenStack: neutron's attribute map, and nova's schemas and view builders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import sqlalchemy as sa

from nubelet.kernel.clock import iso_seconds
from nubelet.kernel.context import Context, Version
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.routes import NEWEST, OLDEST, Schema

UNSET: Any = type("Unset", (), {"__repr__": lambda self: "UNSET", "__bool__": lambda self: False})()

LARGEST_INT = (1 << 63) - 1

Show = Callable[[Any, Context], Any]
Condition = sa.ColumnElement[bool]
FilterCall = Callable[[list[str], Context], Condition]
FilterKind = Literal["exact", "bool", "int", "like", "time"]
View = Callable[[Any], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One attribute of a resource.

    schema: JSON schema of its value; answer: of the value as it is shown, where that differs.
    create: may or must it be given on creation; update: may it be changed. show: True shows the
    column, a function `(row, ctx) -> value` computes, False hides. column: where it lives if not
    under its own name. default: its value when not given on creation. filter: how a list is
    filtered by it (several values are alternatives).
    rule: policy rule that a caller needs to set it, with `{verb}` for create/update.
    show_rule: policy rule that a caller needs to see it.
    """

    name: str
    schema: Schema
    create: Literal["required", "optional", "no"] = "no"
    update: bool = False
    show: bool | Show = True
    column: str | None = None
    default: Any = UNSET
    filter: FilterKind | FilterCall | None = None
    sort: bool = False
    since: Version = OLDEST
    until: Version = NEWEST
    rule: str | None = None
    show_rule: str | None = None
    answer: Schema | None = None

    def exists(self, version: Version) -> bool:
        """Does the attribute exist at that API version?"""
        return self.since <= version <= self.until


def time_field(
    name: str,
    column: str | None = None,
    *,
    text: Callable[[int | None], str | None] = iso_seconds,
    **more: Any,
) -> Field:
    """A read-only time: microseconds in the table, text in the API."""
    read = attrgetter(column or name)
    return Field(
        name=name,
        column=column,
        schema={"type": ["string", "null"]},
        filter="time",
        show=lambda row, ctx: text(read(row)),
        **more,
    )


class Resource:
    """A resource and its fields."""

    def __init__(
        self,
        singular: str,
        plural: str,
        table: sa.Table | None,
        fields: Iterable[Field],
        *,
        extra_create: Schema | None = None,
        marker: str = "id",
    ) -> None:
        """`extra_create`: JSON schema for attributes not in the table; None refuses them.
        `marker`: the column whose value names a row in the pages of a list."""
        self.singular, self.plural, self.table = singular, plural, table
        self.marker = marker
        self.fields = tuple(fields)
        self.extra = extra_create
        self._schemas: dict[tuple[str, Version], Schema] = {}

    def field(self, name: str, version: Version = NEWEST) -> Field | None:
        """The field of that name at that version."""
        return next(
            (f for f in self.fields if f.name == name and (version == NEWEST or f.exists(version))),
            None,
        )

    def create_schema(self, version: Version = NEWEST) -> Schema:
        """The body of a creation, `{"<singular>": {...}}`."""
        return self._wrapped(
            "create", version, lambda f: f.create != "no", lambda f: f.create == "required"
        )

    def update_schema(self, version: Version = NEWEST) -> Schema:
        """The body of an update."""
        return self._wrapped("update", version, lambda f: f.update, lambda f: False)

    def item_schema(self, version: Version = NEWEST) -> Schema:
        """One shown resource, unwrapped (for OpenAPI)."""
        shown = [f for f in self._at(version) if f.show is not False]
        return {"type": "object", "properties": {f.name: dict(f.answer or f.schema) for f in shown}}

    def show_schema(self, version: Version = NEWEST) -> Schema:
        """`{"<singular>": {...}}` as answered."""
        return {"type": "object", "properties": {self.singular: self.item_schema(version)}}

    def list_schema(self, version: Version = NEWEST) -> Schema:
        """`{"<plural>": [...]}` as answered."""
        return {
            "type": "object",
            "properties": {self.plural: {"type": "array", "items": self.item_schema(version)}},
        }

    def defaults(self, version: Version = NEWEST) -> dict[str, Any]:
        """The values of attributes that a creation did not give."""
        return {f.name: f.default for f in self._at(version) if f.default is not UNSET}

    def authorize_fields(
        self, ctx: Context, verb: str, given: Mapping[str, Any], target: Mapping[str, Any]
    ) -> None:
        """Enforce the rules of the single attributes that the caller set."""
        for f in self._at(ctx.version):
            if f.rule and f.name in given:
                ctx.authorize(f.rule.format(verb=verb), target)

    def view(self, ctx: Context, only: Iterable[str] = ()) -> View:
        """A function that turns a row into the shown resource. Make it once per list."""
        chosen = set(only)
        parts: list[tuple[str, Callable[[Any], Any]]] = []
        for f in self._at(ctx.version):
            if f.show is False or (chosen and f.name not in chosen):
                continue
            if f.show_rule and not ctx.allows(f.show_rule):
                continue
            parts.append(
                (f.name, attrgetter(f.column or f.name) if f.show is True else _bind(f.show, ctx))
            )
        return lambda row: {name: read(row) for name, read in parts}

    def conditions(self, ctx: Context, query: Mapping[str, list[str]]) -> list[Condition]:
        """The conditions that the filters among the query parameters ask for."""
        found = []
        for f in self._at(ctx.version):
            values = query.get(f.name)
            if f.filter is not None and values is not None:
                found.append(
                    f.filter(values, ctx) if callable(f.filter) else self._standard(f, values)
                )
        return found

    def sort_column(self, name: str, version: Version) -> sa.ColumnElement[Any]:
        """The column of a sort key; raises BadRequest for a key that cannot sort."""
        f = self.field(name, version)
        if f is None or not f.sort or self.table is None:
            raise BadRequest(f"{name} is not a valid sort key for {self.plural}.")
        return self.table.c[f.column or f.name]

    def _standard(self, f: Field, values: list[str]) -> Condition:
        assert self.table is not None
        column = self.table.c[f.column or f.name]
        if f.filter == "bool":
            return column.in_([read_bool(f.name, value) for value in values])
        if f.filter == "int":
            return wide(column).in_([read_int(f.name, value) for value in values])
        if f.filter == "time":
            return column.in_([read_time(f.name, value) for value in values])
        if f.filter == "like":
            return sa.or_(*(column.contains(value, autoescape=True) for value in values))
        if len(values) == 1:
            return column == values[0]
        return column.in_(values)

    def _at(self, version: Version) -> list[Field]:
        return [f for f in self.fields if version == NEWEST or f.exists(version)]

    def _wrapped(
        self,
        verb: str,
        version: Version,
        allowed: Callable[[Field], bool],
        required: Callable[[Field], bool],
    ) -> Schema:
        cached = self._schemas.get((verb, version))
        if cached is None:
            fields = [f for f in self._at(version) if allowed(f)]
            inner: dict[str, Any] = {
                "type": "object",
                "properties": {f.name: dict(f.schema) for f in fields},
                "additionalProperties": dict(self.extra) if self.extra is not None else False,
                "required": [f.name for f in fields if required(f)],
            }
            cached = self._schemas[verb, version] = {
                "type": "object",
                "properties": {self.singular: inner},
                "required": [self.singular],
                "additionalProperties": False,
            }
        return cached


def _bind(show: Show, ctx: Context) -> Callable[[Any], Any]:
    return lambda row: show(row, ctx)


def read_bool(name: str, value: str) -> bool:
    """A boolean in a query string; raises BadRequest naming the parameter."""
    lowered = value.strip().lower()
    if lowered in ("1", "true", "t", "yes", "y", "on"):
        return True
    if lowered in ("0", "false", "f", "no", "n", "off"):
        return False
    raise BadRequest(f"'{value}' is not a boolean value for parameter {name}.")


def read_int(name: str, value: str) -> int:
    """An integer in a query string; raises BadRequest naming the parameter, also for one that
    no database column holds."""
    try:
        number = int(value)
    except ValueError:
        raise BadRequest(f"'{value}' is not an integer for parameter {name}.") from None
    if not -LARGEST_INT <= number <= LARGEST_INT:
        raise BadRequest(f"{name} must be an integer of 64 bits, not {number}.")
    return number


def wide(column: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    """An integer column as it is compared with what callers write: PostgreSQL refuses to look
    for a number of 64 bits among those of 32."""
    return sa.type_coerce(column, sa.BigInteger)


def read_natural(name: str, value: str) -> int:
    """A whole number of 0 or more in a query string or header; raises BadRequest."""
    number = read_int(name, value)
    if number < 0:
        raise BadRequest(f"{name} must not be negative, as {value} is.")
    return number


def read_time(name: str, value: str) -> int:
    """An ISO 8601 time in a query string as microseconds; raises BadRequest."""
    from nubelet.kernel.clock import parse_iso

    try:
        return parse_iso(value)
    except ValueError:
        raise BadRequest(f"'{value}' is not a valid time for parameter {name}.") from None
