"""delete_server: from any state to gone. Stops whatever else is being done to the server.

    remove_guest   switched off and forgotten by the hypervisor
    release_ports  taken from the host; own ones deleted, others given back
    remove_disks
    forget_server  the claim is released, the row is marked deleted

It only goes forward: what is deleted cannot come back, and each step may be done again. A host
that is down is skipped (and cleared when it returns), so that deletion always ends.

In OpenStack: nova/compute/api.py _delete, nova/compute/manager.py terminate_instance.
"""

from __future__ import annotations

from typing import Any

from nubelet.compute import server_groups, servers, states
from nubelet.compute.model import server, server_tag
from nubelet.compute.operations import hosting
from nubelet.kernel import clock, events
from nubelet.kernel.operations.run import Run
from nubelet.kernel.operations.steps import Operation, Retry, Step

_FORWARD = "deletion only goes forward"
_PATIENT = Retry(attempts=1000, max_delay_seconds=15.0)
DEADLINE_SECONDS = 24 * 3600


def _row(run: Run) -> Any:
    with run.cloud.database.read() as tx:
        return servers.get(tx, run.subject_id)


def remove_guest(run: Run) -> None:
    """The hypervisor forgets the guest."""
    row = _row(run)
    if row is not None and row.host:
        hosting.remove_guest(run, row.host)


def release_ports(run: Run) -> None:
    """The ports go, or go back to their owner."""
    row = _row(run)
    if row is not None and row.host:
        hosting.take_ports_from_host(run, row.host)
    with run.cloud.database.write() as tx:
        hosting.release_ports(tx, run.subject_id, forget=True)


def remove_disks(run: Run) -> None:
    """The disks go."""
    row = _row(run)
    if row is not None and row.host:
        hosting.remove_disks(run, row.host)


def forget_server(run: Run) -> None:
    """The claim is released and the row marked."""
    now = clock.now()
    with run.cloud.database.write() as tx:
        row = servers.get(tx, run.subject_id)
        if row is None:
            return
        hosting.release_claim(tx, row.id)
        server_groups.leave(tx, row.id)
        tx.delete(server_tag, server_tag.c.server_id == row.id)
        tx.update(
            server,
            server.c.id == row.id,
            vm_state=states.DELETED,
            task_state=None,
            power_state=states.NO_POWER_STATE,
            terminated_at=now,
            deleted_at=now,
            updated_at=now,
            locked_by=None,
        )
        events.emit(
            tx,
            "server.deleted",
            project_id=row.project_id,
            subject_type="server",
            subject_id=row.id,
            ctx=run,
            payload={"name": row.name, "host": row.host},
        )


def on_failed(run: Run, reason: str) -> None:
    """The server is in ERROR, and may be deleted again."""
    hosting.fail(run, reason, vm_state=states.ERROR)


DELETE_SERVER = Operation(
    kind="delete_server",
    title="deleting the server",
    deadline_seconds=DEADLINE_SECONDS,
    on_failed=on_failed,
    preempts=True,
    steps=(
        Step("remove_guest", remove_guest, why_no_undo=_FORWARD, retry=_PATIENT),
        Step("release_ports", release_ports, why_no_undo=_FORWARD, retry=_PATIENT),
        Step("remove_disks", remove_disks, why_no_undo=_FORWARD, retry=_PATIENT),
        Step("forget_server", forget_server, why_no_undo=_FORWARD, retry=_PATIENT),
    ),
)
