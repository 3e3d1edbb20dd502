"""Allocations: who uses how much of which provider. `replace` is the only way to take resources.

Correct under concurrency: consumers are locked in the order of their ids, then the providers'
rows in the order of theirs; capacity is read after that.
In OpenStack: placement/objects/allocation.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, Conflict
from nubelet.placement import capacity, providers
from nubelet.placement.model import allocation, consumer, resource_provider

# Provider id -> resource class -> amount.
Amounts = Mapping[str, Mapping[str, int]]
Row = sa.Row[Any]
UNKNOWN_OWNER = "00000000-0000-0000-0000-000000000000"  # of consumers made before API 1.8
KEEP: Any = object()
_a, _c, _rp = allocation.c, consumer.c, resource_provider.c
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_CONSUMERS = sa.select(consumer).where(_c.id.in_(_IDS))
_LOCKED = sa.select(_rp.id).where(_rp.id.in_(_IDS)).order_by(_rp.id).with_for_update()
_DELETE = sa.delete(allocation).where(_a.consumer_id == sa.bindparam("id"))
_DELETE_CONSUMER = sa.delete(consumer).where(_c.id == sa.bindparam("id"))


@dataclass(frozen=True)
class Claim:
    """What one consumer uses from now on, instead of what it used before.

    generation: the consumer's as the caller knows it; None: it must be new; KEEP: whatever it
    is. project_id, user_id and consumer_type: KEEP leaves those of an existing consumer.
    """

    consumer_id: str
    amounts: Amounts
    project_id: str = KEEP
    user_id: str = KEEP
    consumer_type: str | None = KEEP
    generation: int | None = field(default=KEEP)


def claim(
    tx: Tx,
    consumer_id: str,
    amounts: Amounts,
    *,
    project_id: str,
    user_id: str,
    consumer_type: str | None = "INSTANCE",
) -> None:
    """The consumer uses exactly these amounts from now on, instead of what it used before.

    Raises Conflict naming provider and resource when something does not fit, and BadRequest
    for a provider that does not exist.
    """
    replace(tx, [Claim(consumer_id, amounts, project_id, user_id, consumer_type)])


def replace(tx: Tx, claims: Sequence[Claim]) -> None:
    """All consumers use what their claims say, or nothing is changed.

    Raises Conflict when something does not fit or a generation is not the expected one
    (`placement.concurrent_update`), BadRequest for a provider that does not exist. What raises
    has written nothing, so the caller may try something else in the same transaction.
    """
    ids = sorted(each.consumer_id for each in claims)
    for consumer_id in ids:
        tx.lock("consumer", consumer_id)
    present = {row.id: row for row in tx.all(_CONSUMERS, ids=ids)}
    for each in claims:
        _require_generation(each, present.get(each.consumer_id))
    used = _lock_providers(tx, claims)
    held = allocations_of(tx, present) if present else {}
    _require_room(tx, claims, used, held)
    if present:
        tx.delete(allocation, _a.consumer_id.in_(list(present)))
    _write_consumers(tx, claims, present)
    now = clock.now()
    tx.insert(
        allocation,
        *(
            {
                "consumer_id": each.consumer_id,
                "provider_id": provider_id,
                "resource_class": name,
                "used": amount,
                "updated_at": now,
            }
            for each in claims
            for provider_id, resources in each.amounts.items()
            for name, amount in resources.items()
        ),
    )
    providers.touch(tx, used)


def _require_generation(claimed: Claim, row: Row | None) -> None:
    if claimed.generation is KEEP:
        return
    actual = row.generation if row else None
    if actual != claimed.generation:
        expected = "null" if claimed.generation is None else claimed.generation
        found = "null" if actual is None else actual
        raise Conflict(
            f"consumer generation conflict: consumer {claimed.consumer_id} is at "
            f"generation {found}, not {expected}",
            code=providers.CONCURRENT_UPDATE,
        )


def _lock_providers(tx: Tx, claims: Sequence[Claim]) -> list[str]:
    wanted = sorted({provider_id for each in claims for provider_id in each.amounts})
    if not wanted:
        return []
    found = {row.id for row in tx.all(_LOCKED, ids=wanted)}
    for provider_id in wanted:
        if provider_id not in found:
            raise BadRequest(
                f"Allocation for resource provider '{provider_id}' that does not exist."
            )
    return wanted


def _require_room(
    tx: Tx, claims: Sequence[Claim], provider_ids: list[str], held: Mapping[str, Amounts]
) -> None:
    found = capacity.stocks(tx, provider_ids) if provider_ids else {}
    for amounts in held.values():  # will be given back
        for provider_id, resources in amounts.items():
            stock = found.get(provider_id, {})
            for name in resources.keys() & stock.keys():
                stock[name] = stock[name]._replace(used=stock[name].used - resources[name])
    for each in claims:
        for provider_id, resources in each.amounts.items():
            stock = found.setdefault(provider_id, {})
            reasons = capacity.refusals(stock, resources)
            if reasons:
                raise Conflict(
                    f"Unable to allocate inventory on resource provider {provider_id}"
                    f": {'; '.join(reasons)}"
                )
            for name, amount in resources.items():
                stock[name] = stock[name]._replace(used=stock[name].used + amount)


def _write_consumers(tx: Tx, claims: Sequence[Claim], present: Mapping[str, Row]) -> None:
    now = clock.now()
    for each in claims:
        row = present.get(each.consumer_id)
        given = {
            name: value
            for name in ("project_id", "user_id", "consumer_type")
            if (value := getattr(each, name)) is not KEEP
        }
        if not each.amounts:
            tx.delete(consumer, _c.id == each.consumer_id)
        elif row is not None:
            tx.update(
                consumer,
                _c.id == each.consumer_id,
                generation=_c.generation + 1,
                updated_at=now,
                **given,
            )
        else:
            tx.insert(
                consumer,
                **{
                    "project_id": UNKNOWN_OWNER,
                    "user_id": UNKNOWN_OWNER,
                    "consumer_type": None,
                    "id": each.consumer_id,
                    "generation": 1,
                    "created_at": now,
                    "updated_at": now,
                    **given,
                },
            )


def release(tx: Tx, consumer_id: str) -> bool:
    """The consumer uses nothing any more; True if it used something."""
    tx.lock("consumer", consumer_id)
    held = tx.execute(_DELETE, {"id": consumer_id}).rowcount
    tx.execute(_DELETE_CONSUMER, {"id": consumer_id})
    return bool(held)


def find_consumer(tx: Tx, consumer_id: str) -> Row | None:
    """The consumer's row, if it uses anything."""
    return tx.first(sa.select(consumer).where(_c.id == consumer_id))


def allocations_of(
    tx: Tx,
    consumer_ids: Iterable[str] | None = None,
) -> dict[str, dict[str, dict[str, int]]]:
    """Consumer id -> provider id -> resource class -> amount; None: of all consumers."""
    statement: sa.Select[Any] = sa.select(
        _a.consumer_id, _a.provider_id, _a.resource_class, _a.used
    )
    if consumer_ids is not None:
        statement = statement.where(_a.consumer_id.in_(list(consumer_ids)))
    found: dict[str, dict[str, dict[str, int]]] = {}
    rows: Sequence[Any] = tx.all(statement)
    for consumer_id, provider_id, name, used in rows:
        found.setdefault(consumer_id, {}).setdefault(provider_id, {})[name] = used
    return found


def usages(tx: Tx, provider_id: str) -> dict[str, int]:
    """Resource class -> used, for every class the provider has an inventory of."""
    found = capacity.stocks(tx, [provider_id]).get(provider_id, {})
    return {name: stock.used for name, stock in found.items()}


def usages_of(tx: Tx, provider_ids: Sequence[str] | None = None) -> dict[str, dict[str, int]]:
    """Provider id -> what `usages` tells of it, for many (None: all) in two queries."""
    return {
        provider_id: {name: stock.used for name, stock in found.items()}
        for provider_id, found in capacity.stocks(tx, provider_ids).items()
    }
