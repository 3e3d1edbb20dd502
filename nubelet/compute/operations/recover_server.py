"""recover_server: after its host was started again, a server is brought back as it was.

    restore   ports on the host, disks there, guest defined and in its former power state

Started by the reconciler `returning_hosts`, never by a user.

In OpenStack: nova/compute/manager.py _init_instance, with resume_guests_state_on_host_boot.
"""

from __future__ import annotations

from nubelet.compute import states
from nubelet.compute.operations import hosting
from nubelet.kernel.operations.run import Run
from nubelet.kernel.operations.steps import Operation, Retry, Step

_RETRY = Retry(attempts=20, max_delay_seconds=15.0)
_DEADLINE_SECONDS = 1800


def restore(run: Run) -> None:
    """Bring ports, disks and guest back. What was only in memory is lost: a paused guest runs
    again, a suspended one is off."""
    with run.cloud.database.read() as tx:
        row = hosting.server_of(run, tx)
    if row.host != run.inputs["host"]:
        return
    running = row.vm_state in (states.ACTIVE, states.PAUSED)
    hosting.put_ports_on_host(run, row.host)
    hosting.fetch_images(run, row.host)
    hosting.make_disks(run, row.host)
    hosting.ensure_guest(run, row.host, "running" if running else "shutdown")
    hosting.change(
        run,
        vm_state=states.ACTIVE if running else states.STOPPED,
        power_state=states.RUNNING if running else states.SHUTDOWN,
    )


def on_failed(run: Run, reason: str) -> None:
    """The server is in ERROR: it could not be brought back."""
    hosting.fail(run, reason, vm_state=states.ERROR)


RECOVER_SERVER = Operation(
    kind="recover_server",
    title="bringing the server back after its host was started",
    deadline_seconds=_DEADLINE_SECONDS,
    on_failed=on_failed,
    steps=(
        Step(
            "restore",
            restore,
            retry=_RETRY,
            why_no_undo="half a recovery is better than none; it may be done again",
        ),
    ),
)
