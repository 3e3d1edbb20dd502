"""rebuild_server: the same server (id, addresses, host) with fresh disks from an image.

    discard_guest   the guest and its disks go
    fetch_image     the image is in the host's cache
    ensure_disks    fresh disks
    start_guest     defined; started unless the server was stopped
    mark_rebuilt    ACTIVE or SHUTOFF, as before

There is no way back once the old disks are gone: a failure leaves the server in ERROR, from
where it may be rebuilt again.

In OpenStack: nova/compute/manager.py rebuild_instance.
"""

from __future__ import annotations

from nubelet.compute import states
from nubelet.compute.operations import hosting
from nubelet.kernel.operations.run import Run
from nubelet.kernel.operations.steps import Operation, Retry, Step

_NO_WAY_BACK = "the old disks are gone; the server may be rebuilt again"
_RETRY = Retry(attempts=8, max_delay_seconds=10.0)
_DEADLINE_SECONDS = 3600


def _host(run: Run) -> str:
    return str(run.inputs["host"])


def discard_guest(run: Run) -> None:
    """The guest and its disks go."""
    hosting.change(run, task_state=states.REBUILDING)
    host = _host(run)
    hosting.node(run, host).remove_guest(run.subject_id, run.fence)
    hosting.node(run, host).remove_disks(run.subject_id, run.fence)


def fetch_image(run: Run) -> None:
    """The image is in the host's cache."""
    hosting.change(run, task_state=states.REBUILD_BLOCK_DEVICE_MAPPING)
    hosting.fetch_images(run, _host(run))


def ensure_disks(run: Run) -> None:
    """Make fresh disks."""
    hosting.make_disks(run, _host(run))


def start_guest(run: Run) -> None:
    """Define the guest, and start it unless the server was stopped."""
    hosting.change(run, task_state=states.REBUILD_SPAWNING)
    hosting.put_ports_on_host(run, _host(run))
    hosting.ensure_guest(run, _host(run), "shutdown" if run.inputs["stopped"] else "running")


def mark_rebuilt(run: Run) -> None:
    """ACTIVE, or SHUTOFF as before."""
    stopped = run.inputs["stopped"]
    hosting.change(
        run,
        task_state=None,
        fault=None,
        vm_state=states.STOPPED if stopped else states.ACTIVE,
        power_state=states.SHUTDOWN if stopped else states.RUNNING,
    )


def on_failed(run: Run, reason: str) -> None:
    """The server is in ERROR, and says why."""
    hosting.fail(run, reason, vm_state=states.ERROR)


REBUILD_SERVER = Operation(
    kind="rebuild_server",
    title="rebuilding the server",
    deadline_seconds=_DEADLINE_SECONDS,
    on_failed=on_failed,
    steps=tuple(
        Step(name, do, why_no_undo=_NO_WAY_BACK, retry=_RETRY)
        for name, do in (
            ("discard_guest", discard_guest),
            ("fetch_image", fetch_image),
            ("ensure_disks", ensure_disks),
            ("start_guest", start_guest),
            ("mark_rebuilt", mark_rebuilt),
        )
    ),
)
