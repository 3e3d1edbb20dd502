"""What a directory says, written into the tables of identity.

A user or group of a directory gets a row like any other, under an id that follows from the domain
and the directory's own id (the same that Keystone would give). What vanished from the directory
stays as a disabled user or an empty group with its roles, so that a mistake in a filter loses
nothing; an administrator may delete it.

In OpenStack: keystone/identity/core.py, keystone/identity/id_generators/sha256.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import changes
from nubelet.identity.directories import DirectoryGroup, DirectoryUser
from nubelet.identity.directories.model import mirrored
from nubelet.identity.domain_config import options
from nubelet.identity.model import group, membership, user
from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Forbidden


def public_id(domain_id: str, kind: str, local_id: str) -> str:
    """The id under which the cloud knows what the directory calls `local_id`."""
    return hashlib.sha256(f"{domain_id}{kind}{local_id}".encode()).hexdigest()


def find(tx: Tx, identifier: str) -> Any:
    """The row (kind, domain_id, local_id, present) of something mirrored; None for anything
    else."""
    return tx.first(sa.select(mirrored).where(mirrored.c.id == identifier))


def require_own(tx: Tx, identifier: str) -> None:
    """Raise Forbidden for a user or a group that a directory still has: it is changed there."""
    row = find(tx, identifier)
    if row is not None and row.present and row.domain_id in options.drivers(tx):
        raise Forbidden(
            f"The {row.kind} {identifier} is read from the directory of its domain "
            f"{row.domain_id}, and can be changed there only."
        )


def forget(tx: Tx, identifiers: Any) -> None:
    """Delete what is said of users and groups that are being deleted (ids, or a query of them)."""
    tx.delete(mirrored, mirrored.c.id.in_(identifiers))


def write(
    tx: Tx, domain_id: str, users: Iterable[DirectoryUser], groups: Collection[DirectoryGroup]
) -> list[str]:
    """Bring the rows of a domain to what its whole directory says. Answers what could not be
    taken over, a sentence each."""
    tx.lock("identity", "directory", domain_id)
    found = {each.local_id: each for each in users}
    problems = _write_users(tx, domain_id, found)
    problems += _write_groups(tx, domain_id, {each.local_id: each for each in groups})
    _mark_absent(tx, domain_id, "user", found)
    _mark_absent(tx, domain_id, "group", {each.local_id for each in groups})
    for each in groups:
        _write_members(tx, domain_id, each)
    return problems


def write_user(
    tx: Tx, domain_id: str, found: DirectoryUser, groups: Collection[DirectoryGroup]
) -> str | None:
    """Bring the rows of one user, and the groups they belong to, up to date; answers the user's
    id, or None where somebody else has the name."""
    tx.lock("identity", "directory", domain_id)
    if _write_users(tx, domain_id, {found.local_id: found}):
        return None
    identifier = public_id(domain_id, "user", found.local_id)
    _write_groups(tx, domain_id, {each.local_id: each for each in groups})
    known = sa.select(mirrored.c.id).where(
        mirrored.c.kind == "group", mirrored.c.domain_id == domain_id
    )
    _set_pairs(
        tx,
        sa.and_(membership.c.user_id == identifier, membership.c.group_id.in_(known)),
        {
            (_id_of(domain_id, each), identifier)
            for each in groups
            if _is_known(tx, domain_id, each)
        },
    )
    return identifier


# --- Users and groups -----------------------------------------------------------------------------


def _write_users(tx: Tx, domain_id: str, found: Mapping[str, DirectoryUser]) -> list[str]:
    return _write(
        tx,
        domain_id,
        "user",
        user,
        {
            local_id: {"name": each.name, "enabled": each.enabled, "extra": dict(each.extra)}
            for local_id, each in found.items()
        },
        {"default_project_id": None, "options": {}, "valid_from": 0},
    )


def _write_groups(tx: Tx, domain_id: str, found: Mapping[str, DirectoryGroup]) -> list[str]:
    return _write(
        tx,
        domain_id,
        "group",
        group,
        {
            local_id: {"name": each.name, "description": each.description}
            for local_id, each in found.items()
        },
        {"extra": {}},
    )


def _write(
    tx: Tx,
    domain_id: str,
    kind: str,
    table: sa.Table,
    wanted: Mapping[str, Mapping[str, Any]],
    beginning: Mapping[str, Any],
) -> list[str]:
    """Insert and update the rows of a kind; answers which names are taken by somebody else."""
    ids = {local_id: public_id(domain_id, kind, local_id) for local_id in wanted}
    present = {
        row.id: row for row in tx.all(sa.select(table).where(table.c.domain_id == domain_id))
    }
    known = {
        row.id: row
        for row in tx.all(
            sa.select(mirrored).where(mirrored.c.domain_id == domain_id, mirrored.c.kind == kind)
        )
    }
    problems = []
    taken = _taken_names(present, {*known, *ids.values()}, set(ids.values()))
    changed = _changed(wanted, ids, present)
    for identifier in changed:
        if identifier in present:  # two may have swapped their names: none is in the way now
            tx.update(table, table.c.id == identifier, name=identifier)
    for local_id, values in wanted.items():
        identifier = ids[local_id]
        if values["name"] in taken:
            problems.append(
                f"The {kind} {local_id} of the directory of the domain {domain_id} is left out: "
                f"somebody else is called {values['name']}."
            )
            continue
        taken.add(values["name"])
        _write_row(tx, domain_id, kind, table, local_id, values, beginning, present, known)
    return problems


def _taken_names(present: Mapping[str, Any], mirror: set[str], written: set[str]) -> set[str]:
    """Names that those have who are not of the directory, or are of it and not written now."""
    return {
        row.name
        for identifier, row in present.items()
        if identifier not in mirror or identifier not in written
    }


def _changed(
    wanted: Mapping[str, Mapping[str, Any]], ids: Mapping[str, str], present: Mapping[str, Any]
) -> list[str]:
    return [
        ids[local_id]
        for local_id, values in wanted.items()
        if ids[local_id] in present and present[ids[local_id]].name != values["name"]
    ]


def _write_row(
    tx: Tx,
    domain_id: str,
    kind: str,
    table: sa.Table,
    local_id: str,
    values: Mapping[str, Any],
    beginning: Mapping[str, Any],
    present: Mapping[str, Any],
    known: Mapping[str, Any],
) -> None:
    identifier = public_id(domain_id, kind, local_id)
    now = clock.now()
    if identifier not in present:
        start = {"id": identifier, "domain_id": domain_id, "created_at": now}
        tx.insert(table, {**start, **beginning, **values})
        changes.record(None, tx, f"{kind}.created", identifier)
    else:
        row = present[identifier]
        if any(getattr(row, name) != value for name, value in values.items()):
            revoked = {"valid_from": now} if kind == "user" and row.enabled else {}
            more = revoked if values.get("enabled") is False else {}
            tx.update(table, table.c.id == identifier, **values, **more)
            changes.record(None, tx, f"{kind}.updated", identifier)
    if identifier not in known:
        tx.insert(
            mirrored,
            id=identifier,
            kind=kind,
            domain_id=domain_id,
            local_id=local_id,
            present=True,
        )
    elif not known[identifier].present:
        tx.update(mirrored, mirrored.c.id == identifier, present=True)


def _mark_absent(tx: Tx, domain_id: str, kind: str, there: Collection[str]) -> None:
    for row in tx.all(
        sa.select(mirrored).where(
            mirrored.c.domain_id == domain_id, mirrored.c.kind == kind, mirrored.c.present
        )
    ):
        if row.local_id in there:
            continue
        tx.update(mirrored, mirrored.c.id == row.id, present=False)
        if kind == "user":
            tx.update(user, user.c.id == row.id, enabled=False, valid_from=clock.now())
        else:
            tx.delete(membership, membership.c.group_id == row.id)
        changes.record(None, tx, f"{kind}.updated", row.id)


# --- Memberships ----------------------------------------------------------------------------------


def _write_members(tx: Tx, domain_id: str, found: DirectoryGroup) -> None:
    if not _is_known(tx, domain_id, found):
        return
    group_id = _id_of(domain_id, found)
    wanted = {public_id(domain_id, "user", local_id) for local_id in found.member_ids}
    there = {
        row.id for row in tx.all(sa.select(user.c.id).where(user.c.domain_id == domain_id))
    } & wanted
    _set_pairs(tx, membership.c.group_id == group_id, {(group_id, each) for each in there})


def _set_pairs(
    tx: Tx, condition: sa.ColumnElement[bool], wanted: Collection[tuple[str, str]]
) -> None:
    """Let exactly these (group, user) be the memberships that fit the condition."""
    present = {
        (row.group_id, row.user_id) for row in tx.all(sa.select(membership).where(condition))
    }
    gone, new = present - set(wanted), set(wanted) - present
    for group_id, user_id in gone:
        tx.delete(membership, membership.c.group_id == group_id, membership.c.user_id == user_id)
    if new:
        tx.insert(membership, *({"group_id": each[0], "user_id": each[1]} for each in sorted(new)))
    for group_id in sorted({each[0] for each in gone | new}):
        changes.record(None, tx, "group.updated", group_id)


def _id_of(domain_id: str, found: DirectoryGroup) -> str:
    return public_id(domain_id, "group", found.local_id)


def _is_known(tx: Tx, domain_id: str, found: DirectoryGroup) -> bool:
    """Was the group taken over (its name may be somebody else's)?"""
    return find(tx, _id_of(domain_id, found)) is not None
