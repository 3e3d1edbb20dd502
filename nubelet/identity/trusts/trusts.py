"""Trusts: what a user lets another do in their place.

The trustor picks a project, roles they hold there, an end and a number of uses; the trustee logs in
as usual and asks for a token scoped to the trust. With impersonation that token says it is the
trustor. A trust may allow its trustee to make further trusts from it: each is at most what the one
before is, for one step less, and ends with it.

In OpenStack: keystone/trust/core.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.identity import assignments, changes
from nubelet.identity.model import role, user
from nubelet.identity.tokens import Scope
from nubelet.identity.trusts.model import trust
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Forbidden, NotFound, Unauthorized
from nubelet.kernel.ids import new_hex

MAX_REDELEGATION_COUNT = 3
_LONGEST_CHAIN = MAX_REDELEGATION_COUNT + 1


def find(tx: Tx, identifier: str) -> Any:
    """The row of a trust that can still be used; None where there is none."""
    now, c = clock.now(), trust.c
    return tx.first(
        sa.select(trust).where(
            c.id == identifier,
            sa.or_(c.expires_at.is_(None), c.expires_at > now),
            sa.or_(c.remaining_uses.is_(None), c.remaining_uses > 0),
        )
    )


def create(ctx: Context, tx: Tx, given: Mapping[str, Any], parent: Any) -> Any:
    """Insert a trust; answers its row. `given`: the body with `expires_at` in microseconds and
    the free attributes in `extra`; `parent`: the trust it is made from, if any."""
    if tx.scalar(sa.select(user.c.id).where(user.c.id == given["trustee_user_id"])) is None:
        raise NotFound("user", given["trustee_user_id"])
    first_trustor = parent.first_trustor_id if parent else given["trustor_user_id"]
    role_ids = _find_roles(tx, given.get("roles") or [])
    _require_held(tx, first_trustor, given.get("project_id"), role_ids)
    count = _redelegation_count(given, parent)
    expires_at = given.get("expires_at")
    if parent:
        _require_within(given, role_ids, expires_at, parent)
        expires_at = expires_at or parent.expires_at
    identifier = new_hex()
    tx.insert(
        trust,
        id=identifier,
        trustor_user_id=given["trustor_user_id"],
        trustee_user_id=given["trustee_user_id"],
        project_id=given.get("project_id"),
        impersonation=given["impersonation"],
        role_ids=role_ids,
        expires_at=expires_at,
        remaining_uses=given.get("remaining_uses"),
        redelegation_count=count,
        redelegated_trust_id=parent.id if parent else None,
        first_trustor_id=first_trustor,
        extra=given["extra"],
        created_at=clock.now(),
    )
    changes.record(ctx, tx, "OS-TRUST:trust.created", identifier)
    return find(tx, identifier)


def use(tx: Tx, identifier: str) -> None:
    """Count one use; raises Unauthorized when none is left."""
    limited = tx.update(
        trust,
        trust.c.id == identifier,
        trust.c.remaining_uses > 0,
        remaining_uses=trust.c.remaining_uses - 1,
    )
    if not limited and find(tx, identifier) is None:
        raise Unauthorized


def delete(ctx: Context, tx: Tx, row: Any) -> None:
    """End a trust and all that were made from it."""
    _delete(tx, [row.id])
    changes.record(ctx, tx, "OS-TRUST:trust.deleted", row.id)


def forget_users(tx: Tx, identifiers: Collection[str]) -> None:
    """End the trusts of users who are being deleted, on whichever side they are."""
    c = trust.c
    columns = (c.trustor_user_id, c.trustee_user_id, c.first_trustor_id)
    _delete_where(tx, sa.or_(*(column.in_(identifiers) for column in columns)))


def end_used_up(last: int, limit: int, tx: Tx) -> int:
    """Let at most `limit` trusts that have no use left end at `last` (microseconds), when a token
    made at their last use has ended for certain; how many."""
    c = trust.c
    some = (
        sa.select(c.id)
        .where(c.remaining_uses == 0, sa.or_(c.expires_at.is_(None), c.expires_at > last))
        .limit(limit)
    )
    return tx.update(trust, c.id.in_([row.id for row in tx.all(some)]), expires_at=last)


def forget_ended(before: int, limit: int, tx: Tx) -> int:
    """Delete at most `limit` trusts that ended before a moment (microseconds); how many."""
    ended = sa.select(trust.c.id).where(trust.c.expires_at < before).limit(limit)
    found = [row.id for row in tx.all(ended)]
    _delete(tx, found)
    return len(found)


def forget_projects(tx: Tx, identifiers: Collection[str]) -> None:
    """End the trusts for projects that are being deleted."""
    _delete_where(tx, trust.c.project_id.in_(identifiers))


def _delete_where(tx: Tx, condition: sa.ColumnElement[bool]) -> None:
    _delete(tx, [row.id for row in tx.all(sa.select(trust.c.id).where(condition))])


def _delete(tx: Tx, identifiers: Sequence[str]) -> None:
    gone, level = set(identifiers), set(identifiers)
    while level:
        below = tx.all(sa.select(trust.c.id).where(trust.c.redelegated_trust_id.in_(level)))
        level = {row.id for row in below} - gone
        gone |= level
    if gone:  # they refer to each other: all are let go first
        tx.update(trust, trust.c.id.in_(gone), redelegated_trust_id=None)
        tx.delete(trust, trust.c.id.in_(gone))


# --- What may be given --------------------------------------------------------------------------


def _find_roles(tx: Tx, asked: Sequence[Mapping[str, str]]) -> list[str]:
    """The ids of the roles that are named by id or by name; raises NotFound."""
    found: list[str] = []
    for each in asked:
        name, value = next(iter(each.items()))
        rows = tx.all(sa.select(role.c.id, role.c.domain_id).where(role.c[name] == value))
        best = sorted(rows, key=lambda row: row.domain_id or "")
        if not best:
            raise NotFound("role", value)
        found.append(best[0].id)
    return list(dict.fromkeys(found))


def _require_held(tx: Tx, user_id: str, project_id: str | None, role_ids: Sequence[str]) -> None:
    """Nobody gives what they do not have."""
    if not role_ids:
        return
    held = assignments.held_in(tx, user_id, Scope("project", project_id)) if project_id else set()
    for each in role_ids:
        if each not in held:
            raise NotFound("role", each)


def _redelegation_count(given: Mapping[str, Any], parent: Any) -> int:
    """How many trusts may be made in a row from this one."""
    asked, uses = given.get("redelegation_count"), given.get("remaining_uses")
    if not given.get("allow_redelegation") or asked == 0:
        return 0
    if asked and asked > MAX_REDELEGATION_COUNT:
        raise Forbidden(
            f"A redelegation_count of {asked} is greater than the allowed {MAX_REDELEGATION_COUNT}."
        )
    if uses is not None:
        raise BadRequest(
            "Invalid input for field/attribute remaining_uses: it must not be set if redelegation "
            "is allowed."
        )
    if parent is None:
        return int(asked or MAX_REDELEGATION_COUNT)
    left = int(parent.redelegation_count) - 1
    if asked and asked != left:
        raise Forbidden(
            f"The redelegation_count of a redelegated trust is one less than before: {left}. "
            "Leave it out."
        )
    return left


def _require_within(
    given: Mapping[str, Any], role_ids: Sequence[str], expires_at: int | None, parent: Any
) -> None:
    """A trust made from another is at most what that one is."""
    if not 0 < parent.redelegation_count <= MAX_REDELEGATION_COUNT:
        raise Forbidden(f"The trust {parent.id} cannot be redelegated (any further).")
    if given.get("remaining_uses") is not None:
        raise Forbidden("remaining_uses must not be set in a redelegated trust.")
    if given.get("project_id") != parent.project_id:
        raise Forbidden(f"The trust {parent.id} is for the project {parent.project_id} only.")
    if expires_at and parent.expires_at and expires_at > parent.expires_at:
        raise Forbidden(f"The trust {parent.id} ends before the asked expires_at.")
    if not set(role_ids) <= set(parent.role_ids):
        raise Forbidden(f"Some of the asked roles are not in the trust {parent.id}.")
    if given["impersonation"] and not parent.impersonation:
        raise Forbidden(f"The trust {parent.id} does not allow impersonation.")
