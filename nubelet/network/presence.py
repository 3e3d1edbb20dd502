"""What shall be on which node, and whether it is: the rows between the API and the nodes.

A transaction that changes something says so here in the same breath: `want` (this network shall
be on that node), `release` (it shall go), `touch` (it is not as it was, wherever it is). Each
raises `wanted`; the reconciler brings `applied` up to it. `wanted` is also the attempt of the
fence that node calls carry, so a node refuses what was computed from an older state.

Read next: `desired.py` (what belongs where), `realization.py` (who does it).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from nubelet.kernel import clock, reconcile
from nubelet.kernel.database import Tx
from nubelet.network.model import dhcp_service, presence
from nubelet.network.model import host as host_table

RECONCILER = "networks"
NETWORK, PORT, ROUTER, SECURITY_GROUP = "network", "port", "router", "security_group"


class Absent(NamedTuple):
    """Stands for a presence row that is no more: the subject shall go."""

    kind: str
    subject_id: str
    wanted: int
    absent: bool = True
    tries: int = 0


_c = presence.c
_FRESH: dict[str, Any] = {"wanted": _c.wanted + 1, "tries": 0, "not_before": 0}


_HERE = sa.select(_c.subject_id, _c.absent).where(
    _c.host == sa.bindparam("host"),
    _c.kind == sa.bindparam("kind"),
    _c.subject_id.in_(sa.bindparam("ids", expanding=True)),
)
_TOUCH = (
    sa.update(presence)
    .where(
        _c.kind == sa.bindparam("b_kind"),
        _c.subject_id.in_(sa.bindparam("b_ids", expanding=True)),
    )
    .values(**_FRESH)
)
_TOUCH_DHCP = _TOUCH.where(
    _c.host.in_(sa.select(dhcp_service.c.host).where(dhcp_service.c.network_id == _c.subject_id))
)
_INSERT: dict[bool, Any] = {
    True: sqlite.insert(presence).on_conflict_do_nothing(),
    False: postgresql.insert(presence).on_conflict_do_nothing(),
}


def want(tx: Tx, host: str, kind: str, ids: Collection[str]) -> None:
    """These shall be on the host."""
    if not ids or not host:
        return
    lock(tx, host)
    present = {
        row.subject_id: row.absent for row in tx.all(_HERE, host=host, kind=kind, ids=list(ids))
    }
    missing = [identifier for identifier in ids if identifier not in present]
    if missing:
        now = clock.now()
        _insert(
            tx,
            [
                {"host": host, "kind": kind, "subject_id": identifier, "wanted": now}
                for identifier in missing
            ],
        )
    back = [identifier for identifier, absent in present.items() if absent]
    if back:
        here = (_c.host == host, _c.kind == kind, _c.subject_id.in_(ids))
        tx.update(presence, *here, _c.absent, absent=False, error="", **_FRESH)
    if missing or back:
        _tell_others(tx, kind, [*missing, *back], host)
        ring(tx)


def release(tx: Tx, kind: str, ids: Collection[str], host: str | None = None) -> None:
    """These shall go from the host, or from all hosts."""
    if not ids:
        return
    conditions = [_c.kind == kind, _c.subject_id.in_(ids), ~_c.absent]
    if host is not None:
        conditions.append(_c.host == host)
    if tx.update(presence, *conditions, absent=True, error="", **_FRESH):
        if host is not None:
            _tell_others(tx, kind, ids, host)
        ring(tx)


def touch(tx: Tx, kind: str, ids: Collection[str], host: str | None = None) -> None:
    """These changed: send them again to wherever they are."""
    if not ids:
        return
    statement = _TOUCH if host is None else _TOUCH.where(_c.host == host)
    if tx.execute(statement, {"b_kind": kind, "b_ids": list(ids)}).rowcount:
        ring(tx)


def touch_dhcp(tx: Tx, network_ids: Collection[str]) -> None:
    """Whom DHCP serves changed: send the networks again to where their DHCP is."""
    if not network_ids:
        return
    if tx.execute(_TOUCH_DHCP, {"b_kind": NETWORK, "b_ids": list(network_ids)}).rowcount:
        ring(tx)


def _tell_others(tx: Tx, kind: str, ids: Collection[str], host: str) -> None:
    """A network came to a host or goes from it: its other hosts have one tunnel more or less."""
    if kind == NETWORK:
        tx.update(
            presence, _c.kind == kind, _c.subject_id.in_(ids), _c.host != host, ~_c.absent, **_FRESH
        )


def collect(tx: Tx, names: Collection[str]) -> None:
    """Something was taken off these hosts: what nothing needs there any more shall go too."""
    if tx.update(host_table, host_table.c.name.in_(names), collect=True):
        ring(tx)


def lock(tx: Tx, host: str) -> None:
    """What is wanted on a host is decided by one transaction at a time: else a network could be
    collected as unneeded in the moment in which a port is bound to it."""
    tx.lock("presence", host)


def hosts_of(tx: Tx, kind: str, identifier: str) -> list[str]:
    """The hosts where something shall be."""
    return [
        row.host
        for row in tx.all(
            sa.select(_c.host).where(_c.kind == kind, _c.subject_id == identifier, ~_c.absent)
        )
    ]


def ring(tx: Tx) -> None:
    """Wake the reconciler after the commit."""
    reconcile.ring(tx, RECONCILER)


def _insert(tx: Tx, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows that another transaction may be inserting too."""
    tx.execute(_INSERT[tx.is_sqlite], list(rows))
