"""Making it so: presence rows that are behind become calls to nodes, and results become rows.

One round: read what is behind and compute the specs in one snapshot, call the nodes (a thread
per host, so that a silent one holds up nobody), write down what came of it. Calls carry the
`wanted` of the snapshot as their fence, so a round that was overtaken is refused by the node.

Read next: `reconcilers.py` (who runs rounds, and when).
In OpenStack: the loops of neutron's DHCP, L3 and layer-2 agents.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock, guards
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.network import hosts, presence, results
from nubelet.network.model import host as host_table
from nubelet.network.model import presence as presence_table
from nubelet.network.specs import Specs
from nubelet.node import wire
from nubelet.node.client import NodeClient, NodeError, NodeUnreachable
from nubelet.node.errors import FENCED

log = logging.getLogger(__name__)
_p = presence_table.c
ROUND_WAIT_SECONDS = 2.0
MAX_ROWS = 2000
MIN_PAUSE_SECONDS = 0.005
MAX_PAUSE_SECONDS = 0.08  # a change shall be on its node within a tenth of a second


@dataclass
class Work:
    """What one host is to be sent, and the rows it comes from."""

    host: str
    rows: list[Any] = field(default_factory=list)
    networks: dict[str, wire.NetworkSpec] = field(default_factory=dict)
    groups: dict[str, wire.SecurityGroupSpec] = field(default_factory=dict)
    ports: dict[str, wire.PortSpec] = field(default_factory=dict)
    routers: dict[str, wire.RouterSpec] = field(default_factory=dict)

    def rows_of(self, kind: str, *, absent: bool) -> list[Any]:
        """The rows of one kind that shall be there, or shall go."""
        return [row for row in self.rows if row.kind == kind and bool(row.absent) == absent]


def fence(row: Any, request_id: str = "") -> wire.Fence:
    """The fence of a call about a presence row: a node refuses what is older."""
    return wire.Fence(
        operation_id=f"{row.kind}:{row.subject_id}", attempt=row.wanted, request_id=request_id
    )


Answer = tuple[str, list[results.Outcome]]  # of a host


class Realizer:
    """Runs rounds for one process."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def run(self, max_rounds: int = 100) -> None:
        """Rounds until nothing is behind that can be done now."""
        for _ in range(max_rounds):
            began = time.monotonic()
            if not self.round():
                return
            # What comes in a burst is sent together, and a large network leaves time for others.
            spent = time.monotonic() - began
            time.sleep(min(max(MIN_PAUSE_SECONDS, 2 * spent), MAX_PAUSE_SECONDS))

    def round(self) -> bool:
        """One round; False when there was nothing to do."""
        with self._lock:
            busy = set(self._busy)
        with self._cloud.database.read() as tx:
            works = plan(self._cloud, tx, busy)
        if not works:
            return False
        if len(works) == 1 and not busy:
            self._record([(works[0].host, self._send(works[0]))])
        else:
            self._side_by_side(works)
        return True

    def _side_by_side(self, works: Sequence[Work]) -> None:
        """A thread for each host. What is ready in time is written down together; a slow host
        writes down its own results, and is left alone until then."""
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        late = threading.Event()
        with self._lock:
            self._busy.update(work.host for work in works)
        for work in works:
            threading.Thread(
                target=self._work,
                args=(work, answers, late),
                daemon=True,
                name=f"networks-{work.host}",
            ).start()
        until = time.monotonic() + ROUND_WAIT_SECONDS
        ready: list[Answer] = []
        while len(ready) < len(works):
            try:
                ready.append(answers.get(timeout=max(until - time.monotonic(), 0.001)))
            except queue.Empty:
                break
        with self._lock:
            late.set()
            while not answers.empty():
                ready.append(answers.get())
        self._record(ready)

    def _work(
        self,
        work: Work,
        answers: queue.SimpleQueue[Answer],
        late: threading.Event,
    ) -> None:
        outcomes = self._send(work)
        with self._lock:
            if not late.is_set():
                answers.put((work.host, outcomes))
                return
        self._record([(work.host, outcomes)])

    def _send(self, work: Work) -> list[results.Outcome]:
        try:
            with guards.node_calls_allowed():
                return send(NodeClient(self._cloud.bus, work.host), work)
        except Exception:  # a defect; the rows stay behind, and the doctor sees them
            log.exception("networks of host %s could not be brought up to date", work.host)
            return [
                results.Outcome(row, error="the control plane met an error it does not know")
                for row in work.rows
            ]

    def _record(self, answers: Sequence[Answer]) -> None:
        def write(tx: Tx) -> None:
            for name, outcomes in answers:
                results.record(tx, name, outcomes)

        try:
            self._cloud.database.transact(write)
        finally:
            with self._lock:
                self._busy.difference_update(name for name, _ in answers)


def plan(cloud: Cloud, tx: Tx, busy: set[str]) -> list[Work]:
    """What is behind on live hosts, with the specs of this moment."""
    now = clock.now()
    rows = tx.all(
        sa.select(presence_table)
        .join(host_table, host_table.c.name == _p.host)
        .where(
            _p.applied != _p.wanted, _p.not_before <= now, hosts.alive(now), _p.host.not_in(busy)
        )
        .order_by(_p.host)
        .limit(MAX_ROWS)
    )
    works: dict[str, Work] = {}
    for row in rows:
        works.setdefault(row.host, Work(row.host)).rows.append(row)
    specs = Specs(cloud, tx)
    for work in works.values():
        equip(specs, work)
    return list(works.values())


def equip(specs: Specs, work: Work) -> None:
    """Compute the specs of a host's work."""
    for row in work.rows_of(presence.NETWORK, absent=False):
        network = specs.network(row.subject_id, work.host)
        if network is not None:
            work.networks[row.subject_id] = network
    ids = [row.subject_id for row in work.rows_of(presence.SECURITY_GROUP, absent=False)]
    work.groups = {each.id: each for each in specs.security_groups(ids)}
    work.ports = specs.ports([row.subject_id for row in work.rows_of(presence.PORT, absent=False)])
    for row in work.rows_of(presence.ROUTER, absent=False):
        router = specs.router(row.subject_id)
        if router is not None:
            work.routers[row.subject_id] = router


def send(client: NodeClient, work: Work, request_id: str = "") -> list[results.Outcome]:
    """Make the calls in the order in which things stand on each other; nothing is raised."""
    outcomes: list[results.Outcome] = []
    try:
        _send_ensures(client, work, outcomes, request_id)
        for kind, remove in (
            (presence.ROUTER, client.remove_router),
            (presence.PORT, client.remove_port),
            (presence.SECURITY_GROUP, client.remove_security_group),
            (presence.NETWORK, client.remove_network),
        ):
            for row in work.rows_of(kind, absent=True):
                attempt(outcomes, row, partial(remove, row.subject_id, fence(row, request_id)))
    except NodeUnreachable as error:
        reached = {(each.row.kind, each.row.subject_id) for each in outcomes}
        outcomes += [
            results.Outcome(row, error=str(error), unreachable=True)
            for row in work.rows
            if (row.kind, row.subject_id) not in reached
        ]
    return outcomes


def _send_ensures(
    client: NodeClient, work: Work, outcomes: list[results.Outcome], request_id: str
) -> None:
    def ensure(kind: str, specs: dict[str, Any], call: Callable[..., None]) -> None:
        for row in work.rows_of(kind, absent=False):
            spec = specs.get(row.subject_id)
            if spec is None:  # deleted meanwhile: the row goes with the next settling
                outcomes.append(results.Outcome(row, gone=True))
            else:
                attempt(outcomes, row, partial(call, spec, fence(row, request_id)), spec)

    def ensure_group(spec: wire.SecurityGroupSpec, key: wire.Fence) -> None:
        client.ensure_security_groups(wire.SecurityGroups(groups=(spec,)), key)

    ensure(presence.NETWORK, work.networks, client.ensure_network)
    ensure(presence.SECURITY_GROUP, work.groups, ensure_group)
    ensure(presence.PORT, work.ports, client.ensure_port)
    ensure(presence.ROUTER, work.routers, client.ensure_router)


def attempt(
    outcomes: list[results.Outcome], row: Any, call: Callable[[], None], spec: Any = None
) -> None:
    """Make one call and note what came of it; only an unreachable node is raised."""
    try:
        call()
    except NodeUnreachable:
        raise
    except NodeError as refusal:
        outcomes.append(
            results.Outcome(
                row, error=str(refusal), fenced=refusal.code == FENCED, spec=spec, refusal=refusal
            )
        )
    else:
        outcomes.append(results.Outcome(row, spec=spec))
