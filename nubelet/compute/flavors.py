"""Flavors: the sizes a server may have, and who may use them.

A server keeps a `snapshot` of its flavor; deleting or changing a flavor touches no server.
Extra specs are checked by `flavor_extra_specs.py`.

In OpenStack: nova/compute/flavors.py, nova/objects/flavor.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.compute.model import flavor, flavor_access
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, NotFound
from nubelet.kernel.ids import new_uuid

Row = sa.Row[Any]


def visible(ctx: Context, is_public: bool | None = True) -> sa.ColumnElement[bool]:
    """The flavors that the caller may list.

    `is_public` (of administrators): True public ones and those of the own project, False
    private ones, None all. Everybody else sees public flavors and those of the own project.
    """
    own = flavor.c.id.in_(
        sa.select(flavor_access.c.flavor_id).where(flavor_access.c.project_id == ctx.project_id)
    )
    if not ctx.is_admin or is_public is True:
        return sa.or_(flavor.c.is_public.is_(True), own)
    return sa.true() if is_public is None else flavor.c.is_public.is_(False)


def find(ctx: Context, tx: Tx, flavor_id: str) -> Row:
    """A flavor that the caller may use; raises NotFound."""
    statement = sa.select(flavor).where(
        flavor.c.id == flavor_id, visible(ctx, None if ctx.is_admin else True)
    )
    row = tx.first(statement)
    if row is None:
        raise NotFound("flavor", flavor_id)
    return row


def create(
    tx: Tx,
    *,
    name: str,
    memory_mb: int,
    vcpus: int,
    root_gb: int,
    flavor_id: str | None = None,
    ephemeral_gb: int = 0,
    swap_mb: int = 0,
    rxtx_factor: float = 1.0,
    is_public: bool = True,
    description: str | None = None,
    extra_specs: Mapping[str, str] | None = None,
) -> Row:
    """A new flavor; a private one is open to nobody yet. Raises Conflict for a taken name or
    id."""
    identifier = flavor_id or new_uuid()
    tx.lock("flavor")
    taken = tx.first(
        sa.select(flavor.c.id).where(sa.or_(flavor.c.id == identifier, flavor.c.name == name))
    )
    if taken is not None:
        kind, value = ("ID", identifier) if taken.id == identifier else ("name", name)
        raise Conflict(f"Flavor with {kind} {value} already exists.")
    now = clock.now()
    tx.insert(
        flavor,
        id=identifier,
        name=name,
        description=description,
        memory_mb=memory_mb,
        vcpus=vcpus,
        root_gb=root_gb,
        ephemeral_gb=ephemeral_gb,
        swap_mb=swap_mb,
        rxtx_factor=rxtx_factor,
        is_public=is_public,
        disabled=False,
        extra_specs=dict(extra_specs or {}),
        created_at=now,
        updated_at=now,
    )
    row = tx.first(sa.select(flavor).where(flavor.c.id == identifier))
    assert row is not None
    return row


def update(tx: Tx, row: Row, description: str | None) -> Row:
    """Change the description, which is all that can be changed."""
    tx.update(flavor, flavor.c.id == row.id, description=description, updated_at=clock.now())
    changed = tx.first(sa.select(flavor).where(flavor.c.id == row.id))
    assert changed is not None
    return changed


def delete(tx: Tx, row: Row) -> None:
    """Delete a flavor. Servers made with it keep their copy."""
    tx.delete(flavor_access, flavor_access.c.flavor_id == row.id)
    tx.delete(flavor, flavor.c.id == row.id)


def set_extra_specs(tx: Tx, flavor_id: str, changes: Mapping[str, str | None]) -> None:
    """Set extra specs, and remove those that are None. Raises NotFound for a flavor that is
    gone or a key to be removed that is not there."""
    tx.lock("flavor", flavor_id)
    present = tx.scalar(sa.select(flavor.c.extra_specs).where(flavor.c.id == flavor_id))
    if present is None:
        raise NotFound("flavor", flavor_id)
    for key, value in changes.items():
        if value is not None:
            present[key] = value
        elif present.pop(key, None) is None:
            raise NotFound(message=f"Flavor {flavor_id} has no extra specs with key {key}.")
    tx.update(flavor, flavor.c.id == flavor_id, extra_specs=present, updated_at=clock.now())


# --- Access to private flavors ---------------------------------------------------------------


def projects_with_access(tx: Tx, row: Row) -> list[str]:
    """The projects that may use a private flavor; raises NotFound for a public one."""
    if row.is_public:
        raise NotFound(message="Access list not available for public flavors.")
    statement = (
        sa.select(flavor_access.c.project_id)
        .where(flavor_access.c.flavor_id == row.id)
        .order_by(flavor_access.c.project_id)
    )
    return [found.project_id for found in tx.all(statement)]


def add_access(tx: Tx, row: Row, project_id: str) -> None:
    """Let a project use a private flavor; raises Conflict for a public one or a second time."""
    if row.is_public:
        raise Conflict("Can not add access to a public flavor.")
    if project_id in projects_with_access(tx, row):
        raise Conflict(
            f"Flavor access already exists for flavor {row.id} and project "
            f"{project_id} combination."
        )
    tx.insert(flavor_access, flavor_id=row.id, project_id=project_id)


def remove_access(tx: Tx, row: Row, project_id: str) -> None:
    """Let a project no longer use a private flavor; raises NotFound where it could not."""
    if row.is_public:
        raise Conflict("Can not remove access from a public flavor.")
    if not tx.delete(
        flavor_access, flavor_access.c.flavor_id == row.id, flavor_access.c.project_id == project_id
    ):
        raise NotFound(message=f"Flavor access not found for {row.id} / {project_id} combination.")


def forget_project(tx: Tx, project_id: str) -> None:
    """A project is gone: so are its rights."""
    tx.delete(flavor_access, flavor_access.c.project_id == project_id)


def require_project(tx: Tx, project_id: str) -> None:
    """Raise BadRequest unless the project exists."""
    from nubelet import identity

    try:
        identity.find_project(tx, project_id)
    except NotFound:
        raise BadRequest(f"Project ID {project_id} is not a valid project.") from None


# --- What servers keep -----------------------------------------------------------------------


def snapshot(row: Row) -> dict[str, Any]:
    """What a server remembers of its flavor."""
    return {
        "id": row.id,
        "name": row.name,
        "memory_mb": row.memory_mb,
        "vcpus": row.vcpus,
        "root_gb": row.root_gb,
        "ephemeral_gb": row.ephemeral_gb,
        "swap_mb": row.swap_mb,
        "rxtx_factor": row.rxtx_factor,
        "extra_specs": row.extra_specs,
    }
