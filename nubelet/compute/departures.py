"""What compute does when something of another service goes away.

    user.deleted     the user's keypairs go (servers keep their copies)
    project.deleted  the project's rights to private flavors, and its quotas, go
    port.deleted     a server whose port was deleted loses that interface

Read from the outbox every few seconds; servers of a deleted project stay until an administrator
deletes them, as upstream.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from nubelet.compute import flavors, keypairs, quotas, servers
from nubelet.compute.model import server_nic
from nubelet.compute.operations import DETACH_INTERFACE
from nubelet.kernel import events
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.operations import journal

_KINDS: Final = ("user.deleted", "project.deleted", "port.deleted")
_READER: Final = events.Reader("compute.departures")
_BATCH: Final = 500


def read_departures(cloud: Cloud) -> None:
    """Deal with all events that came since the last time."""
    more = True
    while more:
        with cloud.database.read() as tx:
            newest = events.latest(tx)
            found = events.read(tx, _READER.position(tx), kinds=_KINDS, limit=_BATCH)
        more = len(found) == _BATCH
        with cloud.database.write() as tx:
            for event in found:
                _deal_with(cloud, tx, event)
            # Past the events of others too, so that they are not read again each time.
            _READER.move(tx, found[-1].cursor if more else newest)


def _deal_with(cloud: Cloud, tx: Tx, event: events.Event) -> None:
    if event.kind == "user.deleted":
        keypairs.forget_user(tx, event.subject_id)
    elif event.kind == "project.deleted":
        flavors.forget_project(tx, event.subject_id)
        quotas.reset(cloud, tx, event.subject_id, None)
    else:
        _port_gone(tx, event.subject_id)


def _port_gone(tx: Tx, port_id: str) -> None:
    card: Any = tx.first(sa.select(server_nic).where(server_nic.c.port_id == port_id))
    row = servers.get(tx, card.server_id) if card is not None else None
    if row is None:
        tx.delete(server_nic, server_nic.c.port_id == port_id)
    elif row.host and not _is_detaching(tx, row.id, port_id):
        journal.start(
            tx,
            DETACH_INTERFACE,
            project_id=row.project_id,
            subject_type="server",
            subject_id=row.id,
            inputs={"port_id": port_id, "host": row.host, "mac": ""},
        )


def _is_detaching(tx: Tx, server_id: str, port_id: str) -> bool:
    """Is this very interface on its way out? A server may lose several at once."""
    under_way = journal.find(
        tx, subject_id=server_id, kind=DETACH_INTERFACE.kind, states=journal.OPEN
    )
    return any(each.inputs["port_id"] == port_id for each in under_way)
