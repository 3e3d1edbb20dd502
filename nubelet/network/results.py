"""What came of the calls to a host, written into the rows: presence, and the status of ports,
routers and floating IPs, which say what is, not what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.database import Tx
from nubelet.network import presence
from nubelet.network.model import dhcp_service, floating_ip, port, router
from nubelet.network.model import presence as presence_table
from nubelet.node import wire
from nubelet.node.client import NodeError

MAX_DELAY_SECONDS = 60.0
FIRST_DELAY_SECONDS = 0.25
_p = presence_table.c


@dataclass(slots=True)
class Outcome:
    """What came of one presence row.

    error: the node's sentence, empty for success. fenced: the node has seen a newer state.
    unreachable: nobody knows. gone: the subject was deleted before it was sent. spec: what was
    sent.
    """

    row: Any
    spec: Any = None
    error: str = ""
    fenced: bool = False
    unreachable: bool = False
    gone: bool = False
    refusal: NodeError | None = None

    @property
    def is_applied(self) -> bool:
        """Is the subject on the host as the row wanted it?"""
        return not self.error and not self.gone and not self.row.absent


_APPLIED = (
    sa.update(presence_table)
    .where(
        _p.host == sa.bindparam("on"),
        _p.kind == sa.bindparam("of"),
        _p.subject_id == sa.bindparam("what"),
    )
    .values(applied=sa.bindparam("sent"), made=True, error="", tries=0, not_before=0)
)


def record(tx: Tx, name: str, outcomes: Sequence[Outcome]) -> None:
    """Write down the outcomes of one host. May be called twice."""
    applied = [each for each in outcomes if each.is_applied]
    if applied:
        tx.execute(
            _APPLIED,
            [
                {
                    "on": name,
                    "of": each.row.kind,
                    "what": each.row.subject_id,
                    "sent": each.row.wanted,
                }
                for each in applied
            ],
        )
    removed = False
    for each in outcomes:
        if each.row.absent and not each.error:
            removed = _forget(tx, name, each.row) or removed
        elif each.gone:
            tx.update(
                presence_table,
                *_key(name, each.row),
                _p.wanted == each.row.wanted,
                absent=True,
                wanted=_p.wanted + 1,
            )
        elif each.error and not each.fenced:
            _postpone(tx, name, each)
    if removed:
        presence.collect(tx, [name])
    if any(each.gone or each.unreachable for each in outcomes):
        presence.ring(tx)
    _write_statuses(tx, name, outcomes)


def _key(name: str, row: Any) -> tuple[Any, ...]:
    return (_p.host == name, _p.kind == row.kind, _p.subject_id == row.subject_id)


def _forget(tx: Tx, name: str, row: Any) -> bool:
    """The subject is off the host: its row goes, unless it is wanted again by now."""
    tx.delete(presence_table, *_key(name, row), _p.absent, _p.wanted == row.wanted)
    return row.kind in (presence.PORT, presence.ROUTER, presence.NETWORK)


def _postpone(tx: Tx, name: str, outcome: Outcome) -> None:
    tries = outcome.row.tries + 1
    delay = (
        1.0
        if outcome.unreachable
        else min(FIRST_DELAY_SECONDS * 2 ** min(tries, 10), MAX_DELAY_SECONDS)
    )
    tx.update(
        presence_table,
        *_key(name, outcome.row),
        _p.wanted == outcome.row.wanted,
        tries=tries,
        error=outcome.error,
        not_before=clock.now() + round(delay * 1e6),
    )


# --- Statuses --------------------------------------------------------------------------------


def _write_statuses(tx: Tx, name: str, outcomes: Sequence[Outcome]) -> None:
    active: list[str] = []
    down: list[str] = []
    served: list[str] = []
    unserved: list[str] = []
    for each in outcomes:
        if each.row.absent or each.gone or each.fenced:
            continue
        ok = not each.error
        if each.row.kind == presence.PORT and ok:
            (active if each.spec.admin_state_up else down).append(each.row.subject_id)
        elif each.row.kind == presence.PORT:
            down.append(each.row.subject_id)
        elif each.row.kind == presence.NETWORK:
            (served if ok else unserved).append(each.row.subject_id)
        elif each.row.kind == presence.ROUTER:
            _router_status(tx, each, active, down)
    for found, ids in ((active, served), (down, unserved)):
        if ids:
            found += [
                row.port_id
                for row in tx.all(
                    sa.select(dhcp_service.c.port_id).where(
                        dhcp_service.c.host == name,
                        dhcp_service.c.network_id.in_(ids),
                        dhcp_service.c.port_id.is_not(None),
                    )
                )
            ]
    set_port_status(tx, active, "ACTIVE")
    set_port_status(tx, down, "DOWN")


_SET_STATUS = (
    sa.update(port)
    .where(
        port.c.id.in_(sa.bindparam("b_ids", expanding=True)),
        port.c.status != sa.bindparam("b_status"),
    )
    .values(status=sa.bindparam("b_status"))
)


def set_port_status(tx: Tx, ids: Sequence[str], status: str) -> None:
    """What is said of ports; their revision does not grow, since nobody changed them."""
    if ids:
        tx.execute(_SET_STATUS, {"b_ids": list(ids), "b_status": status})


def _router_status(tx: Tx, outcome: Outcome, active: list[str], down: list[str]) -> None:
    ok, spec, router_id = not outcome.error, outcome.spec, outcome.row.subject_id
    status = "ACTIVE" if ok else "ERROR"
    tx.update(router, router.c.id == router_id, router.c.status != status, status=status)
    if not isinstance(spec, wire.RouterSpec):
        return
    legs = [leg.port_id for leg in spec.interfaces]
    if spec.gateway is not None:
        legs.append(spec.gateway.port.port_id)
    (active if ok else down).extend(legs)
    floating = [each.id for each in spec.floating_ips]
    if floating:
        # Only those that still lead where this router was told to lead them.
        tx.update(
            floating_ip,
            floating_ip.c.id.in_(floating),
            floating_ip.c.router_id == router_id,
            floating_ip.c.status != status,
            status=status,
        )


def set_host_down(tx: Tx, name: str) -> None:
    """A host is lost: nothing on it is active any more."""
    tx.update(port, port.c.host == name, port.c.status == "ACTIVE", status="DOWN")
    lost = sa.select(router.c.id).where(router.c.host == name)
    tx.update(
        floating_ip,
        floating_ip.c.router_id.in_(lost),
        floating_ip.c.status == "ACTIVE",
        status="DOWN",
    )
    tx.update(router, router.c.host == name, router.c.status == "ACTIVE", status="DOWN")
