"""What every row of the network service has in common: id, times, revision, and an event for
each change of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from nubelet.kernel import clock, events
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.ids import new_uuid
from nubelet.kernel.operations.run import Run

Who = Context | Run | None


def among(tx: Tx, column: sa.ColumnElement[Any], ids: Sequence[str]) -> sa.ColumnElement[bool]:
    """`column IN ids` for any number of ids: they travel as one parameter when there are many."""
    if len(ids) <= 20:
        return column.in_(ids)
    text = msgspec.json.encode(list(ids)).decode()
    if tx.is_sqlite:
        each = sa.func.json_each(sa.bindparam("many", text, unique=True)).table_valued("value")
        return column.in_(sa.select(each.c.value))
    each = sa.func.json_array_elements_text(
        sa.cast(
            sa.bindparam("many", text, unique=True),
            sa.JSON().with_variant(postgresql.JSON(), "postgresql"),
        )
    ).table_valued("value")
    return column.in_(sa.select(each.c.value))


def insert(ctx: Who, tx: Tx, table: sa.Table, **values: Any) -> str:
    """Insert a row of a table with the standard columns; returns its id."""
    now = clock.now()
    values = {
        "id": new_uuid(),
        "created_at": now,
        "updated_at": now,
        "revision_number": 1,
        **values,
    }
    tx.insert(table, **{name: value for name, value in values.items() if name in table.c})
    announce(ctx, tx, table, "created", values)
    return str(values["id"])


def change(ctx: Who, tx: Tx, table: sa.Table, row: Any, **changes: Any) -> None:
    """Change a row: its revision grows. Nothing happens when nothing differs."""
    changed = {
        name: value
        for name, value in changes.items()
        if name in table.c and getattr(row, name) != value
    }
    if changed:
        tx.update(
            table,
            table.c.id == row.id,
            **changed,
            updated_at=clock.now(),
            revision_number=table.c.revision_number + 1,
        )
        announce(ctx, tx, table, "updated", {**row._mapping, **changed}, sorted(changed))


def bump(tx: Tx, table: sa.Table, identifier: str) -> None:
    """Something that belongs to the row changed: its revision grows."""
    tx.update(
        table,
        table.c.id == identifier,
        updated_at=clock.now(),
        revision_number=table.c.revision_number + 1,
    )


def remove(ctx: Who, tx: Tx, table: sa.Table, row: Any) -> None:
    """Delete a row."""
    tx.delete(table, table.c.id == row.id)
    announce(ctx, tx, table, "deleted", row._mapping)


def announce(
    ctx: Who, tx: Tx, table: sa.Table, what: str, values: Any, changed: list[str] | None = None
) -> None:
    """Record the event of a change: `port.created`."""
    payload = {
        name: values[name]
        for name in ("name", "network_id", "device_id", "device_owner")
        if name in values
    }
    if changed:
        payload["changed"] = changed
    events.emit(
        tx,
        f"{table.name}.{what}",
        project_id=values["project_id"] or None,
        subject_type=table.name,
        subject_id=values["id"],
        payload=payload,
        ctx=ctx,
    )
