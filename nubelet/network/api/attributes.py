"""Attributes that many nouns share, and the pieces their field tables are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from nubelet.kernel.clock import iso_seconds
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest
from nubelet.kernel.http.fields import Condition, Field, read_bool, time_field
from nubelet.network import sharing

TEXT: dict[str, Any] = {"type": "string", "maxLength": 255}
FLAG: dict[str, Any] = {"type": "boolean"}
UUID: dict[str, Any] = {"type": "string", "format": "uuid-any"}
UUID_OR_NONE: dict[str, Any] = {"type": ["string", "null"], "format": "uuid-any"}
NUMBER: dict[str, Any] = {"type": "integer"}
TAGS: dict[str, Any] = {
    "type": "array",
    "items": {"type": "string", "maxLength": 255},
    "uniqueItems": True,
    "maxItems": 50,
}

Create = Literal["required", "optional", "no"]


def text(
    name: str, *, create: Create = "optional", update: bool = True, default: Any = "", **more: Any
) -> Field:
    """A short text that lists can be filtered and sorted by."""
    return Field(
        name=name,
        schema=TEXT,
        create=create,
        update=update,
        default=default,
        filter="exact",
        sort=True,
        **more,
    )


def flag(name: str, *, default: Any, update: bool = True, **more: Any) -> Field:
    """A boolean."""
    return Field(
        name=name,
        schema=FLAG,
        create="optional",
        update=update,
        default=default,
        filter="bool",
        sort=True,
        **more,
    )


def shown(name: str, schema: Mapping[str, Any], **more: Any) -> Field:
    """An attribute nobody sets."""
    return Field(name=name, schema=schema, **more)


def identity() -> tuple[Field, ...]:
    """id and the owner in both spellings."""
    return (
        shown("id", UUID, filter="exact", sort=True),
        Field(name="project_id", schema=TEXT, create="optional", filter="exact", sort=True),
        Field(
            name="tenant_id",
            schema=TEXT,
            create="optional",
            column="project_id",
            filter="exact",
            sort=True,
        ),
    )


def standard(*, tags: bool = True, described: bool = True) -> tuple[Field, ...]:
    """Description, tags, revision and times."""
    return (
        *((text("description"),) if described else ()),
        *((Field(name="tags", schema=TAGS, create="optional", default=[]),) if tags else ()),
        shown("revision_number", NUMBER, filter="int", sort=True),
        time_field("created_at", sort=True),
        time_field("updated_at", sort=True),
    )


def standard_view(row: Any) -> dict[str, Any]:
    """The values of `identity` and `standard`."""
    return {
        "id": row.id,
        "project_id": row.project_id,
        "tenant_id": row.project_id,
        "description": row.description,
        "tags": row.tags,
        "revision_number": row.revision_number,
        "created_at": iso_seconds(row.created_at),
        "updated_at": iso_seconds(row.updated_at),
    }


# --- Filters ---------------------------------------------------------------------------------

TAG_FILTERS = frozenset({"tags", "tags-any", "not-tags", "not-tags-any"})


def tag_conditions(table: sa.Table, query: Mapping[str, Sequence[str]]) -> list[Condition]:
    """`tags` (all of), `tags-any`, `not-tags`, `not-tags-any`: names with commas between."""
    found = []
    for name in TAG_FILTERS & set(query):
        asked = [tag for value in query[name] for tag in value.split(",") if tag]
        matches = [has_tag(table, tag) for tag in asked]
        condition = (
            sa.or_(sa.false(), *matches) if name.endswith("any") else sa.and_(sa.true(), *matches)
        )
        found.append(~condition if name.startswith("not") else condition)
    return found


def has_tag(table: sa.Table, tag: str) -> Condition:
    """Tags are stored as a JSON list, in which a quoted name occurs once or not at all."""
    import msgspec

    quoted = msgspec.json.encode(tag).decode()
    return sa.cast(table.c.tags, sa.Text).contains(quoted, autoescape=True)


def shared_filter(table: sa.Table, object_type: str) -> Any:
    """A filter by `shared`."""

    def condition(values: list[str], ctx: Context) -> Condition:
        shared = table.c.id.in_(sharing.granted(ctx, object_type, sharing.SHARED))
        return sa.or_(*(shared if read_bool("shared", value) else ~shared for value in values))

    return condition


def changed_since(table: sa.Table, query: Mapping[str, Sequence[str]]) -> list[Condition]:
    """`changed_since=<time>`: what changed then or later."""
    from nubelet.kernel import clock

    found = []
    for value in query.get("changed_since", ()):
        try:
            found.append(table.c.updated_at >= clock.parse_iso(value))
        except ValueError:
            raise BadRequest(
                f"Invalid input for changed_since. Reason: '{value}' is not a valid ISO 8601 time.",
                code="InvalidInput",
            ) from None
    return found


STANDARD_FILTERS = TAG_FILTERS | {"changed_since"}


def standard_conditions(table: sa.Table, query: Mapping[str, Sequence[str]]) -> list[Condition]:
    """The conditions of tags and times."""
    return [*tag_conditions(table, query), *changed_since(table, query)]
