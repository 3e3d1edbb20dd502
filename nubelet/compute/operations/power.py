"""start, stop, reboot, pause, unpause, suspend, resume: one step on the guest, one that says so.

The two steps of each are the same functions with other arguments (`_POWER`): bring the guest
where it shall be, then record the state the server now has. When the first fails it is undone
(brought back to what it was, as far as the hypervisor can), and the server keeps its state with
a fault; suspend and resume, which may have lost the guest's memory, leave it in ERROR.

In OpenStack: nova/compute/manager.py start_instance, stop_instance, reboot_instance...
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nubelet.compute import states
from nubelet.compute.operations import hosting
from nubelet.kernel.operations.run import Run
from nubelet.kernel.operations.steps import Operation, Retry, Step
from nubelet.node.wire import Reboot

SHUTDOWN_SECONDS: Final = 60.0  # how long a guest may take to obey the power button
_DEADLINE_SECONDS = 900
_RETRY = Retry(attempts=8, max_delay_seconds=10.0)
_POWER_NAMES: Final = {
    states.RUNNING: "running",
    states.SHUTDOWN: "shutdown",
    states.POWER_PAUSED: "paused",
    states.POWER_SUSPENDED: "suspended",
}


def _host(run: Run) -> str:
    with run.cloud.database.read() as tx:
        host = hosting.server_of(run, tx).host
    assert host, "a server that was active once has a host"
    return str(host)


def _shutdown_seconds(run: Run) -> float:
    """How long this guest may take: its image may say so (os_shutdown_timeout)."""
    with run.cloud.database.read() as tx:
        asked = hosting.server_of(run, tx).image_properties.get("os_shutdown_timeout", "")
    known = re.fullmatch(r"[0-9]{1,255}", asked)
    return float(min(int(asked), 240)) if known else SHUTDOWN_SECONDS


def _bring_up(run: Run) -> None:
    """Defined and running, with its ports: also after the host has lost all of it."""
    host = _host(run)
    hosting.put_ports_on_host(run, host)
    hosting.ensure_guest(run, host)


def _switch_off(run: Run) -> None:
    hosting.set_power(run, _host(run), "shutdown", _shutdown_seconds(run))


def _reboot(run: Run) -> None:
    host = _host(run)
    hard = bool(run.inputs.get("hard"))
    if hard:  # from any state: everything is made as it should be first
        # It may have waited for another task, whose end cleared the task_state.
        hosting.change(run, task_state=states.REBOOTING_HARD)
        hosting.put_ports_on_host(run, host)
        if hosting.observed_power(run, host) != states.RUNNING:
            hosting.ensure_guest(run, host)
            return
    hosting.node(run, host).reboot_guest(
        Reboot(id=run.subject_id, hard=hard, soft_timeout_seconds=_shutdown_seconds(run)), run.fence
    )


def _set(power: str) -> Callable[[Run], None]:
    return lambda run: hosting.set_power(run, _host(run), power)


def _resume(run: Run) -> None:
    host = _host(run)
    hosting.put_ports_on_host(run, host)
    hosting.set_power(run, host, "running")


def _back(run: Run) -> None:
    """Bring the guest back to the power state it had, where that is possible.

    The node is told even when nothing has to change: from then on it refuses whatever a worker
    that lost its lease may still send.
    """
    power = _POWER_NAMES.get(int(run.inputs.get("power_state") or states.NO_POWER_STATE))
    if power is None:
        return
    host = _host(run)

    def restore() -> None:
        if hosting.observed_power(run, host) != states.NO_POWER_STATE:
            hosting.set_power(run, host, power)

    hosting.leave_down_host(run, host, restore)


@dataclass(frozen=True)
class _Power:
    """One of these operations. breaks: does a failure leave the server in ERROR?"""

    action: str
    title: str
    step: str
    do: Callable[[Run], None]
    power_state: int
    undo: Callable[[Run], None] | None = _back
    breaks: bool = False


_POWER: Final = (
    _Power("start", "starting the server", "power_on", _bring_up, states.RUNNING),
    _Power("stop", "stopping the server", "power_off", _switch_off, states.SHUTDOWN),
    _Power("reboot", "rebooting the server", "reboot_guest", _reboot, states.RUNNING, undo=None),
    _Power("pause", "pausing the server", "pause_guest", _set("paused"), states.POWER_PAUSED),
    _Power("unpause", "unpausing the server", "unpause_guest", _set("running"), states.RUNNING),
    _Power(
        "suspend",
        "suspending the server",
        "suspend_guest",
        _set("suspended"),
        states.POWER_SUSPENDED,
        breaks=True,
    ),
    _Power(
        "resume",
        "resuming the server",
        "resume_guest",
        _resume,
        states.RUNNING,
        undo=None,
        breaks=True,
    ),
)


def _operation(power: _Power) -> Operation:
    to_state = states.ACTIONS[power.action].to_state

    def record(run: Run) -> None:
        values: dict[str, Any] = {
            "task_state": None,
            "power_state": power.power_state,
            "vm_state": to_state,
            "fault": None,
        }
        hosting.change(run, **values)

    def unrecord(run: Run) -> None:
        hosting.change(run, vm_state=run.inputs["vm_state"], power_state=run.inputs["power_state"])

    def on_failed(run: Run, reason: str) -> None:
        hosting.fail(run, reason, vm_state=states.ERROR if power.breaks else None)

    why = "" if power.undo else "it cannot be brought back to what it was; its state is observed"
    return Operation(
        kind=f"{power.action}_server",
        title=power.title,
        deadline_seconds=_DEADLINE_SECONDS,
        on_failed=on_failed,
        steps=(
            Step(power.step, power.do, power.undo, why_no_undo=why, retry=_RETRY),
            Step("record_state", record, unrecord),
        ),
    )


POWER_OPERATIONS: Final[Mapping[str, Operation]] = {
    power.action: _operation(power) for power in _POWER
}
