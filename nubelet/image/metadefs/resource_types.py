"""Resource types, and which namespaces say something about resources of them.

A type is known as soon as somebody names it, and stays so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.image.metadefs.model import association, namespace, resource_type
from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Conflict, NotFound


def list_types(tx: Tx) -> list[Any]:
    """All resource types."""
    return list(tx.all(sa.select(resource_type).order_by(resource_type.c.name)))


def ensure_type(tx: Tx, name: str) -> None:
    """The type is known from here on."""
    tx.lock("metadef_resource_type", name)
    if not tx.first(sa.select(resource_type.c.name).where(resource_type.c.name == name)):
        now = clock.now()
        tx.insert(resource_type, name=name, created_at=now, updated_at=now)


def associate(tx: Tx, namespace_id: str, body: Mapping[str, Any]) -> Any:
    """The namespace says something about resources of a type; raises Conflict when it already
    does."""
    name = body["name"]
    ensure_type(tx, name)
    where = _is(namespace_id, name)
    if tx.first(sa.select(association.c.name).where(*where)):
        raise Conflict(
            f"The metadata definition resource-type association of resource-type={name} "
            "to the namespace already exists."
        )
    now = clock.now()
    tx.insert(
        association,
        namespace_id=namespace_id,
        name=name,
        prefix=body.get("prefix"),
        properties_target=body.get("properties_target"),
        created_at=now,
        updated_at=now,
    )
    return tx.first(sa.select(association).where(*where))


def of_namespaces(tx: Tx, namespace_ids: Iterable[str]) -> dict[str, list[Any]]:
    """The associations of namespaces, by the namespace's id, in one query."""
    found: dict[str, list[Any]] = {each: [] for each in namespace_ids}
    if found:
        statement = sa.select(association).where(association.c.namespace_id.in_(found))
        for row in tx.all(statement.order_by(association.c.created_at, association.c.name)):
            found[row.namespace_id].append(row)
    return found


def find(tx: Tx, found: Any, name: str) -> Any:
    """The association of a namespace with a type; raises NotFound."""
    row = tx.first(sa.select(association).where(*_is(found.id, name)))
    if row is None:
        raise NotFound(
            message=f"The metadata definition resource-type association of resource-type={name} "
            f"to namespace={found.namespace} was not found."
        )
    return row


def dissociate(tx: Tx, found: Any, name: str) -> None:
    """Remove an association; raises NotFound."""
    find(tx, found, name)
    tx.delete(association, *_is(found.id, name))


def has_any(names: list[str]) -> sa.ColumnElement[bool]:
    """Namespaces that are associated with one of these types."""
    return namespace.c.id.in_(
        sa.select(association.c.namespace_id).where(association.c.name.in_(names))
    )


def _is(namespace_id: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return association.c.namespace_id == namespace_id, association.c.name == name
