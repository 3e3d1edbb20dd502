"""Namespaces: who sees them, how they are made, changed, filled and deleted.

A public namespace is seen by everybody, a private one by its project; to anybody else it does
not exist. What is protected, and all that it holds, is not deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.image.metadefs import contents, resource_types
from nubelet.image.metadefs.model import (
    CONTENTS,
    association,
    metadef_object,
    metadef_property,
    metadef_tag,
    namespace,
)
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Conflict, Forbidden, NotFound
from nubelet.kernel.ids import new_uuid

Target = dict[str, Any]
_ATTRIBUTES = ("namespace", "display_name", "description", "visibility", "protected", "owner")


def target(row: Any) -> Target:
    """What policy rules see of a namespace."""
    return {"project_id": row.owner, "owner": row.owner, "visibility": row.visibility}


def visible(ctx: Context) -> sa.ColumnElement[bool]:
    """Which namespaces a caller sees."""
    if ctx.is_admin:
        return sa.true()
    return sa.or_(
        namespace.c.visibility == "public",
        namespace.c.owner == (ctx.project_id or ""),
        namespace.c.owner.is_(None),
    )


def find(ctx: Context, tx: Tx, name: str) -> Any:
    """The row of a namespace that the caller may see; raises NotFound for any other."""
    statement = sa.select(namespace).where(namespace.c.namespace == name, visible(ctx))
    row = tx.first(statement.with_for_update() if tx.writable else statement)
    if row is None or not ctx.allows("get_metadef_namespace", target(row)):
        raise NotFound(message=f"Metadata definition namespace not found: {name}")
    return row


def create(ctx: Context, tx: Tx, body: Mapping[str, Any]) -> Any:
    """A new namespace with all that the body says it holds; raises Conflict for a name that is
    taken, Forbidden for an owner that is not the caller's project."""
    values = _values(ctx, body)
    _require_free(tx, values["namespace"])
    now = clock.now()
    namespace_id = new_uuid()
    tx.insert(namespace, id=namespace_id, created_at=now, updated_at=now, **values)
    for each in body.get("resource_type_associations", ()):
        resource_types.associate(tx, namespace_id, each)
    contents.create(tx, metadef_object, namespace_id, body.get("objects", ()))
    contents.create(
        tx,
        metadef_property,
        namespace_id,
        [{**each, "name": name} for name, each in body.get("properties", {}).items()],
    )
    contents.create(tx, metadef_tag, namespace_id, body.get("tags", ()))
    return tx.first(sa.select(namespace).where(namespace.c.id == namespace_id))


def update(ctx: Context, tx: Tx, row: Any, body: Mapping[str, Any]) -> Any:
    """Replace the attributes of a namespace: what the body leaves out has its default again."""
    values = _values(ctx, body)
    if values["namespace"] != row.namespace:
        _require_free(tx, values["namespace"])
    tx.update(namespace, namespace.c.id == row.id, updated_at=clock.now(), **values)
    return tx.first(sa.select(namespace).where(namespace.c.id == row.id))


def _values(ctx: Context, body: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: body.get(name) for name in _ATTRIBUTES}
    values["visibility"] = values["visibility"] or "private"
    values["protected"] = bool(values["protected"])
    values["owner"] = values["owner"] or ctx.project_id
    if values["owner"] != ctx.project_id and not ctx.is_admin:
        raise Forbidden(f"You are not permitted to create namespace owned by '{values['owner']}'")
    return values


def _require_free(tx: Tx, name: str) -> None:
    tx.lock("metadef_namespace", name)
    if tx.first(sa.select(namespace.c.id).where(namespace.c.namespace == name)):
        raise Conflict(f"The metadata definition namespace={name} already exists.")


def delete(tx: Tx, row: Any) -> None:
    """Remove a namespace and all it holds; raises Forbidden for a protected one."""
    require_unprotected(row, f"Metadata definition namespace {row.namespace}")
    for table in (*CONTENTS, association):
        tx.delete(table, table.c.namespace_id == row.id)
    tx.delete(namespace, namespace.c.id == row.id)


def require_unprotected(row: Any, what: str) -> None:
    """Raise Forbidden when the namespace is protected; `what` was to be deleted."""
    if row.protected:
        raise Forbidden(f"{what} is protected and cannot be deleted.")
