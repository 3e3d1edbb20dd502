"""create_server: from a row in BUILD to a running guest.

    choose_host         filters, weights, a claim in placement      undo: the claim is released
    bind_ports          ports made or adopted, bound, on the host   undo: released again
    fetch_image         the image is in the host's cache
    ensure_disks        root, ephemeral, swap                       undo: removed
    start_guest         defined and started                         undo: removed
    wait_until_running  what the hypervisor says
    mark_active         ACTIVE

When a host refuses, all of it is undone and the next best host is chosen, with the reason kept.

In OpenStack: nova/conductor/manager.py schedule_and_build_instances and nova/compute/manager.py
build_and_run_instance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nubelet.compute import servers, states
from nubelet.compute.operations import hosting
from nubelet.compute.scheduling import choose, request_for
from nubelet.kernel import clock
from nubelet.kernel.operations.run import Run
from nubelet.kernel.operations.steps import Operation, RetryFrom, Step, Wait
from nubelet.node.client import NodeError

DEADLINE_SECONDS = 3600
BOOT_SECONDS = 120


def choose_host(run: Run) -> dict[str, Any]:
    """Choose a host and claim its resources."""
    with run.cloud.database.write() as tx:
        row = hosting.server_of(run, tx)
        hosting.release_claim(tx, row.id)  # of a run of this step that was not written down
        choice = choose(run.cloud.settings, tx, request_for(tx, row, hosting.refusals(run)))
        servers.change(
            tx,
            row.id,
            run,
            host=choice.host,
            availability_zone=choice.zone,
            task_state=states.NETWORKING,
        )
    run.note("scheduling", str(choice), host=choice.host)
    return {"host": choice.host, "reasons": dict(choice.reasons)}


def release_host(run: Run) -> None:
    """Give the claim back."""
    with run.cloud.database.write() as tx:
        hosting.release_claim(tx, run.subject_id)
        servers.change(
            tx, run.subject_id, run, host=None, availability_zone=None, task_state=states.SCHEDULING
        )


def _on_next_host_if_refused(run: Run, work: Callable[[], None]) -> None:
    """What one host refuses another may do."""
    try:
        work()
    except NodeError as error:
        if hosting.is_refusal(error, run):
            raise RetryFrom("choose_host", error.message) from error
        raise


def bind_ports(run: Run) -> dict[str, Any]:
    """Make or adopt the ports, bind them, and have them on the host."""
    host = run.outputs["host"]
    with run.cloud.database.write() as tx:
        row = hosting.server_of(run, tx)
        port_ids = hosting.make_ports(run, tx, row, run.inputs["security_group_ids"])
        servers.change(tx, row.id, run, task_state=states.BLOCK_DEVICE_MAPPING)
    _on_next_host_if_refused(run, lambda: hosting.put_ports_on_host(run, host))
    return {"port_ids": port_ids}


def release_ports(run: Run) -> None:
    """Take the ports from the host; own ones go, others belong to nobody again."""
    hosting.take_ports_from_host(run, run.outputs["host"])
    with run.cloud.database.write() as tx:
        hosting.release_ports(tx, run.subject_id, forget=False)


def fetch_image(run: Run) -> None:
    """Have the image in the host's cache."""
    _on_next_host_if_refused(run, lambda: hosting.fetch_images(run, run.outputs["host"]))


def ensure_disks(run: Run) -> None:
    """Make the disks."""
    _on_next_host_if_refused(run, lambda: hosting.make_disks(run, run.outputs["host"]))


def remove_disks(run: Run) -> None:
    """Remove the disks."""
    hosting.remove_disks(run, run.outputs["host"])


def start_guest(run: Run) -> None:
    """Define the guest and start it."""
    hosting.change(run, task_state=states.SPAWNING)
    _on_next_host_if_refused(run, lambda: hosting.ensure_guest(run, run.outputs["host"]))


def remove_guest(run: Run) -> None:
    """Remove the guest."""
    hosting.remove_guest(run, run.outputs["host"])


def wait_until_running(run: Run) -> Wait | None:
    """Ask the hypervisor whether it runs."""
    state = hosting.node(run, run.outputs["host"]).observe_guest(run.subject_id)
    if state.power == "running":
        return None
    if state.power in ("crashed", "missing", "shutdown"):
        raise RetryFrom("choose_host", state.fault or f"the guest is {state.power} after its start")
    return Wait(0.2)


def mark_active(run: Run) -> None:
    """The server is ACTIVE."""
    hosting.change(
        run,
        vm_state=states.ACTIVE,
        task_state=None,
        power_state=states.RUNNING,
        launched_at=clock.now(),
        fault=None,
    )


def on_failed(run: Run, reason: str) -> None:
    """The server is in ERROR, and says why."""
    hosting.fail(run, reason, vm_state=states.ERROR)


CREATE_SERVER = Operation(
    kind="create_server",
    title="creating the server",
    deadline_seconds=DEADLINE_SECONDS,
    on_failed=on_failed,
    max_rounds=5,
    steps=(
        Step("choose_host", choose_host, release_host),
        Step("bind_ports", bind_ports, release_ports),
        Step(
            "fetch_image",
            fetch_image,
            why_no_undo="the cache keeps images; it drops those that nobody uses",
        ),
        Step("ensure_disks", ensure_disks, remove_disks),
        Step("start_guest", start_guest, remove_guest),
        Step(
            "wait_until_running",
            wait_until_running,
            timeout_seconds=BOOT_SECONDS,
            why_no_undo="it only looks",
        ),
        Step("mark_active", mark_active, why_no_undo="the last step: what it says is true"),
    ),
)
