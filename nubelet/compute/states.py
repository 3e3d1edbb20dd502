"""What a server may be in, and which action is allowed where: the one table of both.

`vm_state` is what the server is, `task_state` what is being done to it (None: nothing),
`power_state` what the hypervisor says. The API's `status` follows from the first two. Every
action asks `require` before it starts an operation; the picture in README.md is tested against
`ACTIONS`.

In OpenStack: nova/compute/vm_states.py, task_states.py, and check_instance_state decorators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nubelet.kernel.errors import Conflict

# --- vm_state
BUILDING: Final = "building"
ACTIVE: Final = "active"
PAUSED: Final = "paused"
SUSPENDED: Final = "suspended"
STOPPED: Final = "stopped"
ERROR: Final = "error"
DELETED: Final = "deleted"
VM_STATES: Final = (BUILDING, ACTIVE, PAUSED, SUSPENDED, STOPPED, ERROR, DELETED)

# --- task_state
SCHEDULING: Final = "scheduling"
NETWORKING: Final = "networking"
BLOCK_DEVICE_MAPPING: Final = "block_device_mapping"
SPAWNING: Final = "spawning"
POWERING_ON: Final = "powering-on"
POWERING_OFF: Final = "powering-off"
REBOOTING: Final = "rebooting"
REBOOTING_HARD: Final = "rebooting_hard"
PAUSING: Final = "pausing"
UNPAUSING: Final = "unpausing"
SUSPENDING: Final = "suspending"
RESUMING: Final = "resuming"
REBUILDING: Final = "rebuilding"
REBUILD_BLOCK_DEVICE_MAPPING: Final = "rebuild_block_device_mapping"
REBUILD_SPAWNING: Final = "rebuild_spawning"
IMAGE_SNAPSHOT_PENDING: Final = "image_snapshot_pending"
IMAGE_SNAPSHOT: Final = "image_snapshot"
IMAGE_BACKUP: Final = "image_backup"
IMAGE_PENDING_UPLOAD: Final = "image_pending_upload"
IMAGE_UPLOADING: Final = "image_uploading"
DELETING: Final = "deleting"

# --- power_state: the numbers of the API
NO_POWER_STATE: Final = 0
RUNNING: Final = 1
POWER_PAUSED: Final = 3
SHUTDOWN: Final = 4
CRASHED: Final = 6
POWER_SUSPENDED: Final = 7
# What the hypervisor calls it (wire.PowerState) -> what the API calls it.
POWER_STATES: Final[Mapping[str, int]] = {
    "running": RUNNING,
    "paused": POWER_PAUSED,
    "shutdown": SHUTDOWN,
    "crashed": CRASHED,
    "suspended": POWER_SUSPENDED,
    "missing": NO_POWER_STATE,
}

_ANY_TASK: Final = None


@dataclass(frozen=True)
class Action:
    """When an action is allowed, and how it shows while it runs.

    from_states: vm_states it may start in. tasks: task_states it may interrupt, `None` for all.
    task: the task_state it sets. to_state: the vm_state it ends in (None: the one before).
    launched: only for servers that have been active once.
    """

    from_states: tuple[str, ...]
    tasks: tuple[str | None, ...] | None = (None,)
    task: str | None = None
    to_state: str | None = None
    launched: bool = True


_HARD_REBOOT_TASKS = (None, REBOOTING, REBOOTING_HARD, RESUMING, UNPAUSING, PAUSING, SUSPENDING)

# Names are those of the API's messages: "Cannot 'pause' instance ... while it is in vm_state ...".
ACTIONS: Final[Mapping[str, Action]] = {
    "create": Action((), task=SCHEDULING, to_state=ACTIVE, launched=False),
    "start": Action((STOPPED,), task=POWERING_ON, to_state=ACTIVE),
    "stop": Action((ACTIVE, ERROR), task=POWERING_OFF, to_state=STOPPED),
    "reboot": Action((ACTIVE,), task=REBOOTING, to_state=ACTIVE),
    "reboot_hard": Action(
        (ACTIVE, STOPPED, PAUSED, SUSPENDED, ERROR),
        _HARD_REBOOT_TASKS,
        task=REBOOTING_HARD,
        to_state=ACTIVE,
    ),
    "pause": Action((ACTIVE,), task=PAUSING, to_state=PAUSED),
    "unpause": Action((PAUSED,), task=UNPAUSING, to_state=ACTIVE),
    "suspend": Action((ACTIVE,), task=SUSPENDING, to_state=SUSPENDED),
    "resume": Action((SUSPENDED,), task=RESUMING, to_state=ACTIVE),
    "rebuild": Action((ACTIVE, STOPPED, ERROR), task=REBUILDING),
    "createImage": Action((ACTIVE, STOPPED, PAUSED, SUSPENDED), task=IMAGE_SNAPSHOT_PENDING),
    "createBackup": Action((ACTIVE, STOPPED, PAUSED, SUSPENDED), task=IMAGE_BACKUP),
    "attach_interface": Action((ACTIVE, PAUSED, STOPPED)),
    "detach_interface": Action((ACTIVE, PAUSED, STOPPED)),
    "delete": Action(
        (BUILDING, ACTIVE, PAUSED, SUSPENDED, STOPPED, ERROR),
        _ANY_TASK,
        task=DELETING,
        to_state=DELETED,
        launched=False,
    ),
    "update_instance_metadata": Action((ACTIVE, PAUSED, SUSPENDED, STOPPED), _ANY_TASK),
    "delete_instance_metadata": Action((ACTIVE, PAUSED, SUSPENDED, STOPPED), _ANY_TASK),
    "update tag": Action((ACTIVE, PAUSED, SUSPENDED, STOPPED), _ANY_TASK, launched=False),
    "get_diagnostics": Action((ACTIVE, PAUSED), _ANY_TASK),
}

STATUSES: Final[Mapping[str, str]] = {
    BUILDING: "BUILD",
    ACTIVE: "ACTIVE",
    PAUSED: "PAUSED",
    SUSPENDED: "SUSPENDED",
    STOPPED: "SHUTOFF",
    ERROR: "ERROR",
    DELETED: "DELETED",
}
_TASK_STATUSES: Final[Mapping[str, str]] = {
    REBOOTING: "REBOOT",
    REBOOTING_HARD: "HARD_REBOOT",
    REBUILDING: "REBUILD",
    REBUILD_BLOCK_DEVICE_MAPPING: "REBUILD",
    REBUILD_SPAWNING: "REBUILD",
}
# A hard reboot shows from every state it may begin in, a soft one and a rebuild not from all.
_TASK_SHOWS_IN: Final[Mapping[str, tuple[str, ...]]] = {
    "REBOOT": (ACTIVE,),
    "HARD_REBOOT": (ACTIVE, STOPPED, PAUSED, SUSPENDED, ERROR),
    "REBUILD": (ACTIVE, STOPPED, ERROR),
}
# Statuses that show `progress`.
PROGRESS_STATUSES: Final = frozenset(
    ("ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING")
)
FAULT_STATUSES: Final = frozenset(("ERROR", "DELETED"))


def status_of(vm_state: str, task_state: str | None) -> str:
    """The `status` of the API."""
    if task_state is not None:
        shown = _TASK_STATUSES.get(task_state)
        if shown is not None and vm_state in _TASK_SHOWS_IN[shown]:
            return shown
    return STATUSES.get(vm_state, "UNKNOWN")


def conditions_of(status: str) -> list[tuple[str, tuple[str, ...] | None]] | None:
    """The (vm_state, task_states) pairs that show as this status; None for an unknown one.

    Task states None: all but those that show as something else there.
    """
    wanted = status.upper()
    pairs: list[tuple[str, tuple[str, ...] | None]] = [
        (vm_state, None) for vm_state, shown in STATUSES.items() if shown == wanted
    ]
    tasks = tuple(task for task, shown in _TASK_STATUSES.items() if shown == wanted)
    if tasks:
        pairs += [(vm_state, tasks) for vm_state in _TASK_SHOWS_IN[wanted]]
    return pairs or None


def tasks_shown_in(vm_state: str) -> tuple[str, ...]:
    """The task_states that change the status of a server in this vm_state."""
    return tuple(
        task for task, shown in _TASK_STATUSES.items() if vm_state in _TASK_SHOWS_IN[shown]
    )


def require(action: str, server: Any) -> Action:
    """Raise Conflict naming action and state unless the server (a row) allows the action now."""
    rule = ACTIONS[action]
    name = "reboot" if action == "reboot_hard" else action
    if rule.from_states and server.vm_state not in rule.from_states:
        raise Conflict(
            f"Cannot '{name}' instance {server.id} while it is in vm_state {server.vm_state}"
        )
    if rule.tasks is not _ANY_TASK and server.task_state not in rule.tasks:
        raise Conflict(
            f"Cannot '{name}' instance {server.id} while it is in task_state {server.task_state}"
        )
    if rule.launched and server.launched_at is None:
        raise Conflict(f"Cannot '{name}' instance {server.id} as it has never been active")
    return rule
