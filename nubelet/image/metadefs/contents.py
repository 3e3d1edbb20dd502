"""What a namespace holds: objects, properties and tags, each named within it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.image.metadefs.model import metadef_object, metadef_property, metadef_tag
from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Conflict, NotFound

Body = Mapping[str, Any]

_NOUNS = {
    metadef_object.name: "object",
    metadef_property.name: "property",
    metadef_tag.name: "tag",
}


def noun(table: sa.Table) -> str:
    """What the things of a table are called."""
    return _NOUNS[table.name]


def list_all(tx: Tx, table: sa.Table, namespace_id: str) -> list[Any]:
    """All of a namespace, the oldest first."""
    statement = sa.select(table).where(table.c.namespace_id == namespace_id)
    return list(tx.all(statement.order_by(table.c.id)))


def find(tx: Tx, table: sa.Table, namespace: Any, name: str) -> Any:
    """One of them by its name; raises NotFound."""
    row = tx.first(
        sa.select(table).where(table.c.namespace_id == namespace.id, table.c.name == name)
    )
    if row is None:
        raise NotFound(
            message=f"The metadata definition {noun(table)} with name={name} was not found in "
            f"namespace={namespace.namespace}."
        )
    return row


def create(tx: Tx, table: sa.Table, namespace_id: str, bodies: Iterable[Body]) -> None:
    """Add them to a namespace; raises Conflict for a name that is taken, also by another of them.

    The caller holds the namespace's row, so nobody else adds a name meanwhile.
    """
    rows = [_values(table, body) for body in bodies]
    names = [row["name"] for row in rows]
    taken = {name for name in names if names.count(name) > 1} | _taken(
        tx, table, namespace_id, names
    )
    if taken:
        raise _conflict(table, min(taken))
    now = clock.now()
    tx.insert(
        table,
        *(
            {**row, "namespace_id": namespace_id, "created_at": now, "updated_at": now}
            for row in rows
        ),
    )


def replace(tx: Tx, table: sa.Table, namespace: Any, name: str, body: Body) -> Any:
    """Give one of them what the body says, perhaps another name; raises Conflict, NotFound."""
    row = find(tx, table, namespace, name)
    values = _values(table, body)
    if values["name"] != row.name and _taken(tx, table, namespace.id, [values["name"]]):
        raise _conflict(table, values["name"])
    tx.update(table, table.c.id == row.id, updated_at=clock.now(), **values)
    return tx.first(sa.select(table).where(table.c.id == row.id))


def delete_all(tx: Tx, table: sa.Table, namespace_id: str) -> None:
    """Remove all of a namespace."""
    tx.delete(table, table.c.namespace_id == namespace_id)


def _taken(tx: Tx, table: sa.Table, namespace_id: str, names: list[str]) -> set[str]:
    rows = tx.all(sa.select(table.c.name).where(table.c.namespace_id == namespace_id))
    return {row.name for row in rows} & set(names)


def _conflict(table: sa.Table, name: str) -> Conflict:
    return Conflict(
        f"A metadata definition {noun(table)} with name={name} already exists in the namespace."
    )


def _values(table: sa.Table, body: Body) -> dict[str, Any]:
    """The columns of a body."""
    if table is metadef_property:
        definition = {key: value for key, value in body.items() if key != "name"}
        return {"name": body["name"], "definition": definition}
    if table is metadef_object:
        return {name: body.get(name) for name in ("name", "description", "required", "properties")}
    return {"name": body["name"]}
