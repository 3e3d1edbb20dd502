"""Users who come from elsewhere: their rows here, and the groups they were put in for a while.

The first login makes a user without a password in the domain of the identity provider; later ones
find it again by provider, protocol and unique id. Names are unique in a domain here: where another
user has the name already, that of the provider is appended.

In OpenStack: keystone/identity/shadow_backends/sql.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import sqlalchemy as sa

from nubelet.identity import changes
from nubelet.identity.federation.model import (
    expiring_membership,
    federated_user,
    identity_provider,
    protocol,
)
from nubelet.identity.model import membership, user
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict
from nubelet.kernel.ids import new_hex

_LONGEST = 255
_MINUTE = 60_000_000


class Visitor(NamedTuple):
    """Somebody who comes from elsewhere."""

    idp_id: str
    protocol_id: str
    unique_id: str
    name: str
    email: str | None = None


def unique_id(identifier: str) -> str:
    """What a user is told apart by, out of what the mapping says: safe to stand in a URL."""
    quoted = quote(identifier, safe="")
    return quoted if len(quoted) <= _LONGEST else hashlib.sha256(quoted.encode()).hexdigest()


def find(tx: Tx, visitor: Visitor) -> Any:
    """The row (user's columns, display_name) of somebody who came before; else None."""
    return tx.first(
        sa.select(user, federated_user.c.display_name)
        .join(federated_user, federated_user.c.user_id == user.c.id)
        .where(
            federated_user.c.idp_id == visitor.idp_id,
            federated_user.c.protocol_id == visitor.protocol_id,
            federated_user.c.unique_id == visitor.unique_id,
        )
    )


def is_known(row: Any, visitor: Visitor) -> bool:
    """Is nothing about them to be written?"""
    return (
        row is not None
        and row.display_name == visitor.name
        and (visitor.email is None or row.extra.get("email") == visitor.email)
    )


def admit(ctx: Context, tx: Tx, visitor: Visitor, domain_id: str) -> str:
    """The id of the user that somebody is here; made or brought up to date."""
    if len(visitor.name) > _LONGEST:
        raise BadRequest(f"The name of a user has at most {_LONGEST} characters.")
    tx.lock("identity", "federated_user", visitor.idp_id, visitor.unique_id)
    row = find(tx, visitor)
    if row is None:
        return _make(ctx, tx, visitor, domain_id)
    if not is_known(row, visitor):
        changed: dict[str, Any] = {}
        if row.display_name != visitor.name:
            changed["name"] = _free_name(tx, visitor, row.domain_id, row.id)
        if visitor.email is not None:
            changed["extra"] = {**row.extra, "email": visitor.email}
        tx.update(user, user.c.id == row.id, **changed)
        tx.update(federated_user, *_is(visitor), display_name=visitor.name)
        changes.record(ctx, tx, "user.updated", row.id)
    return str(row.id)


def _make(ctx: Context, tx: Tx, visitor: Visitor, domain_id: str) -> str:
    identifier = new_hex()
    tx.insert(
        user,
        id=identifier,
        name=_free_name(tx, visitor, domain_id, identifier),
        domain_id=domain_id,
        enabled=True,
        default_project_id=None,
        options={},
        extra={"email": visitor.email} if visitor.email else {},
        valid_from=0,
        created_at=clock.now(),
    )
    tx.insert(
        federated_user,
        idp_id=visitor.idp_id,
        protocol_id=visitor.protocol_id,
        unique_id=visitor.unique_id,
        user_id=identifier,
        display_name=visitor.name,
    )
    changes.record(ctx, tx, "user.created", identifier)
    return identifier


def _free_name(tx: Tx, visitor: Visitor, domain_id: str, identifier: str) -> str:
    """The visitor's name, or one made of it that nobody else has in the domain."""
    tx.lock("identity", "user", domain_id, visitor.name)
    short = visitor.name[: _LONGEST - 100]
    wanted = (visitor.name, f"{short}@{visitor.idp_id}", f"{short}@{identifier}")
    taken = {
        row.name
        for row in tx.all(
            sa.select(user.c.name).where(
                user.c.domain_id == domain_id, user.c.name.in_(wanted), user.c.id != identifier
            )
        )
    }
    return next(name for name in wanted if name not in taken)


def _is(visitor: Visitor) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        federated_user.c.idp_id == visitor.idp_id,
        federated_user.c.protocol_id == visitor.protocol_id,
        federated_user.c.unique_id == visitor.unique_id,
    )


# --- Groups for a while -----------------------------------------------------------------------


def put_in_groups(
    ctx: Context, tx: Tx, user_id: str, idp_id: str, groups: Sequence[str], ttl_minutes: int
) -> None:
    """Let the memberships that this provider vouches for be these, for so long from now on; no
    more than in the token for 0 minutes."""
    mine = (
        expiring_membership.c.user_id == user_id,
        expiring_membership.c.idp_id == idp_id,
    )
    had = {row.group_id for row in tx.all(sa.select(expiring_membership.c.group_id).where(*mine))}
    wanted = set(groups) if ttl_minutes > 0 else set()
    now = clock.now()
    times = {"verified_at": now, "expires_at": now + ttl_minutes * _MINUTE}
    if had - wanted:
        tx.delete(expiring_membership, *mine, expiring_membership.c.group_id.in_(had - wanted))
    if had & wanted:
        kept = expiring_membership.c.group_id.in_(had & wanted)
        tx.update(expiring_membership, *mine, kept, **times)
    for group_id in sorted(wanted - had):
        tx.insert(expiring_membership, user_id=user_id, group_id=group_id, idp_id=idp_id, **times)
    if had != wanted:
        changes.record(ctx, tx, "user.updated", user_id)


def forget_expired(tx: Tx) -> None:
    """Delete the memberships whose time is over; tokens of their users are looked at anew."""
    over = expiring_membership.c.expires_at <= clock.now()
    users = {row.user_id for row in tx.all(sa.select(expiring_membership.c.user_id).where(over))}
    tx.delete(expiring_membership, over)
    for user_id in sorted(users):
        changes.record(None, tx, "user.updated", user_id)


# --- What the users API shows -----------------------------------------------------------------

# Does this user come from elsewhere? Most do not, and to look for the links of a thousand by their
# ids takes as long as to read the thousand.
HAS_LINKS = sa.exists().where(federated_user.c.user_id == user.c.id)


def shown(tx: Tx, users: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """How each of these users comes in, as `federated` of a user shows it."""
    found: dict[str, dict[str, list[dict[str, str]]]] = {}
    for row in tx.all(
        sa.select(federated_user)
        .where(federated_user.c.user_id.in_(users))
        .order_by(federated_user.c.idp_id, federated_user.c.protocol_id)
    ):
        protocols = found.setdefault(row.user_id, {}).setdefault(row.idp_id, [])
        protocols.append({"protocol_id": row.protocol_id, "unique_id": row.unique_id})
    return {
        user_id: [{"idp_id": idp_id, "protocols": each} for idp_id, each in providers.items()]
        for user_id, providers in found.items()
    }


def set_links(tx: Tx, user_id: str, links: Sequence[Mapping[str, Any]], display_name: str) -> None:
    """Let a user come in these ways and no other, as an administrator says. Raises BadRequest for
    a protocol that is not there, Conflict for a way in which somebody else comes."""
    tx.delete(federated_user, federated_user.c.user_id == user_id)
    for link in links:
        for each in link["protocols"]:
            idp_id, protocol_id = link["idp_id"], each["protocol_id"]
            visitor = Visitor(idp_id, protocol_id, each["unique_id"], display_name)
            there = sa.select(protocol.c.id).where(
                protocol.c.idp_id == idp_id, protocol.c.id == protocol_id
            )
            if tx.first(there) is None:
                raise BadRequest(
                    "Invalid input for field/attribute federated: the identity provider "
                    f"{idp_id} has no protocol {protocol_id}."
                )
            other = find(tx, visitor)
            if other is not None:
                raise Conflict(
                    f"{visitor.unique_id} of the identity provider {idp_id} is the user "
                    f"{other.id} already."
                )
            tx.insert(
                federated_user,
                idp_id=idp_id,
                protocol_id=protocol_id,
                unique_id=visitor.unique_id,
                user_id=user_id,
                display_name=display_name,
            )


def ends_of_memberships(tx: Tx, user_id: str) -> dict[str, int]:
    """Until when a user is in each group that a provider vouches for."""
    rows = tx.all(
        sa.select(expiring_membership.c.group_id, expiring_membership.c.expires_at).where(
            expiring_membership.c.user_id == user_id,
            expiring_membership.c.group_id.not_in(
                sa.select(membership.c.group_id).where(membership.c.user_id == user_id)
            ),
        )
    )
    return {row.group_id: row.expires_at for row in rows}


def is_enabled(tx: Tx, idp_id: str) -> bool:
    """May users of this provider be here?"""
    return bool(
        tx.scalar(sa.select(identity_provider.c.enabled).where(identity_provider.c.id == idp_id))
    )
