"""Identity providers and their protocols: who may say who somebody is, and by which mapping.

An identity provider has a domain: that of the users who come from it. One is made where none was
named. What a change of a provider means for tokens is looked at anew at the next request
(revision.py): a disabled or deleted provider's tokens are refused at once.

In OpenStack: keystone/federation/core.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from nubelet.identity import changes
from nubelet.identity.federation import mappings
from nubelet.identity.federation.model import (
    expiring_membership,
    federated_user,
    identity_provider,
    protocol,
    remote_id,
)
from nubelet.identity.projects import create as create_domain
from nubelet.identity.projects import require_domain
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict, NotFound
from nubelet.kernel.ids import new_hex


def find(tx: Tx, identifier: str) -> Any:
    """The row of an identity provider; raises NotFound."""
    row = tx.first(sa.select(identity_provider).where(identity_provider.c.id == identifier))
    if row is None:
        raise NotFound("identity provider", identifier)
    return row


def remote_ids(tx: Tx, identifiers: Collection[str]) -> dict[str, list[str]]:
    """The remote ids of each of these providers, in the order they were given."""
    found: dict[str, list[str]] = {identifier: [] for identifier in identifiers}
    for row in tx.all(
        sa.select(remote_id.c.idp_id, remote_id.c.remote_id)
        .where(remote_id.c.idp_id.in_(found))
        .order_by(remote_id.c.position)
    ):
        found[row.idp_id].append(row.remote_id)
    return found


def by_remote_id(tx: Tx, name: str) -> Any:
    """The row of the provider that calls itself so; None where there is none."""
    return tx.first(
        sa.select(identity_provider)
        .join(remote_id, remote_id.c.idp_id == identity_provider.c.id)
        .where(remote_id.c.remote_id == name)
    )


def create(ctx: Context, tx: Tx, identifier: str, values: Mapping[str, Any]) -> Any:
    """Insert an identity provider; answers its row. Raises Conflict."""
    tx.lock("identity", "identity_provider", identifier)
    if tx.first(sa.select(identity_provider.c.id).where(identity_provider.c.id == identifier)):
        raise Conflict(f"There is an identity provider {identifier} already.")
    domain_id = values.get("domain_id")
    if domain_id:
        require_domain(tx, domain_id)
    else:
        domain_id = _make_domain(ctx, tx, identifier)
    tx.insert(
        identity_provider,
        id=identifier,
        domain_id=domain_id,
        enabled=values.get("enabled", False),
        description=values.get("description"),
        authorization_ttl=values.get("authorization_ttl"),
        created_at=clock.now(),
    )
    _set_remote_ids(tx, identifier, values.get("remote_ids") or [])
    changes.record(ctx, tx, "identity_provider.created", identifier)
    return find(tx, identifier)


def update(ctx: Context, tx: Tx, identifier: str, values: Mapping[str, Any]) -> Any:
    """Change an identity provider; answers its row."""
    find(tx, identifier)
    columns = ("enabled", "description", "authorization_ttl")
    changed = {name: values[name] for name in columns if name in values}
    if changed:
        tx.update(identity_provider, identity_provider.c.id == identifier, **changed)
    if "remote_ids" in values:
        _set_remote_ids(tx, identifier, values["remote_ids"] or [])
    changes.record(ctx, tx, "identity_provider.updated", identifier)
    return find(tx, identifier)


def delete(ctx: Context, tx: Tx, identifier: str) -> None:
    """Delete an identity provider with its protocols. Its users stay, with the roles that were
    given to them, but cannot come in any more."""
    find(tx, identifier)
    tx.delete(expiring_membership, expiring_membership.c.idp_id == identifier)
    tx.delete(federated_user, federated_user.c.idp_id == identifier)
    tx.delete(protocol, protocol.c.idp_id == identifier)
    tx.delete(remote_id, remote_id.c.idp_id == identifier)
    tx.delete(identity_provider, identity_provider.c.id == identifier)
    changes.record(ctx, tx, "identity_provider.deleted", identifier)


def _make_domain(ctx: Context, tx: Tx, identifier: str) -> str:
    domain_id = new_hex()
    values = {
        "id": domain_id,
        "name": domain_id,
        "is_domain": True,
        "description": f"Auto generated federated domain for Identity Provider: {identifier}",
    }
    return str(create_domain(ctx, tx, values, {}).id)


def _set_remote_ids(tx: Tx, identifier: str, wanted: list[str]) -> None:
    for name in sorted(wanted):
        tx.lock("identity", "remote_id", name)
    taken = tx.first(
        sa.select(remote_id.c.remote_id, remote_id.c.idp_id).where(
            remote_id.c.remote_id.in_(wanted), remote_id.c.idp_id != identifier
        )
    )
    if taken is not None:
        raise Conflict(
            f"The remote id {taken.remote_id} is that of another identity provider already."
        )
    tx.delete(remote_id, remote_id.c.idp_id == identifier)
    for position, name in enumerate(wanted):
        tx.insert(remote_id, remote_id=name, idp_id=identifier, position=position)


# --- Protocols --------------------------------------------------------------------------------


def find_protocol(tx: Tx, idp_id: str, identifier: str) -> Any:
    """The row of a protocol; raises NotFound."""
    row = tx.first(sa.select(protocol).where(*_is_protocol(idp_id, identifier)))
    if row is None:
        raise NotFound(
            message=f"Could not find federated protocol {identifier} for identity provider "
            f"{idp_id}."
        )
    return row


def first_protocol(tx: Tx, idp_id: str) -> str | None:
    """The id of a provider's oldest protocol; None where it has none."""
    found = tx.scalar(
        sa.select(protocol.c.id)
        .where(protocol.c.idp_id == idp_id)
        .order_by(protocol.c.created_at, protocol.c.id)
        .limit(1)
    )
    return str(found) if found is not None else None


def create_protocol(
    ctx: Context, tx: Tx, idp_id: str, identifier: str, values: Mapping[str, Any]
) -> Any:
    """Insert a protocol of a provider; answers its row. Raises NotFound, Conflict, BadRequest."""
    find(tx, idp_id)
    _require_mapping(tx, values["mapping_id"])
    tx.lock("identity", "protocol", idp_id, identifier)
    if tx.first(sa.select(protocol.c.id).where(*_is_protocol(idp_id, identifier))):
        raise Conflict(f"The identity provider {idp_id} has a protocol {identifier} already.")
    tx.insert(
        protocol,
        id=identifier,
        idp_id=idp_id,
        mapping_id=values["mapping_id"],
        remote_id_attribute=values.get("remote_id_attribute"),
        created_at=clock.now(),
    )
    changes.record(ctx, tx, "protocol.created", identifier)
    return find_protocol(tx, idp_id, identifier)


def update_protocol(
    ctx: Context, tx: Tx, idp_id: str, identifier: str, values: Mapping[str, Any]
) -> Any:
    """Change a protocol; answers its row."""
    find_protocol(tx, idp_id, identifier)
    _require_mapping(tx, values["mapping_id"])
    columns = ("mapping_id", "remote_id_attribute")
    tx.update(
        protocol,
        *_is_protocol(idp_id, identifier),
        **{name: values[name] for name in columns if name in values},
    )
    changes.record(ctx, tx, "protocol.updated", identifier)
    return find_protocol(tx, idp_id, identifier)


def delete_protocol(ctx: Context, tx: Tx, idp_id: str, identifier: str) -> None:
    """Delete a protocol. Who came by it cannot come in any more."""
    find_protocol(tx, idp_id, identifier)
    tx.delete(
        federated_user,
        federated_user.c.idp_id == idp_id,
        federated_user.c.protocol_id == identifier,
    )
    tx.delete(protocol, *_is_protocol(idp_id, identifier))
    changes.record(ctx, tx, "protocol.deleted", identifier)


def _is_protocol(idp_id: str, identifier: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (protocol.c.idp_id == idp_id, protocol.c.id == identifier)


def _require_mapping(tx: Tx, identifier: str) -> None:
    try:
        mappings.find(tx, identifier)
    except NotFound:
        raise BadRequest(
            f"Invalid input for field/attribute mapping_id: there is no mapping {identifier}."
        ) from None
