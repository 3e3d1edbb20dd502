"""libvirt's states and events in the words of the contract (`wire.PowerState`)."""

from __future__ import annotations

from typing import Final

from nubelet.node.wire import PowerState

# virDomainState and the reasons that matter (include/libvirt/libvirt-domain.h).
RUNNING: Final = 1
BLOCKED: Final = 2
PAUSED: Final = 3
SHUTDOWN: Final = 4
SHUTOFF: Final = 5
CRASHED: Final = 6
PM_SUSPENDED: Final = 7

PAUSED_IO_ERROR: Final = 5
PAUSED_STARTING_UP: Final = 11

QEMU_ENDED: Final = "QEMU ended unexpectedly"
GONE: Final = "QEMU was gone when the node came back"
_CRASH_REASONS = {
    3: QEMU_ENDED,
    6: "QEMU could not be started",
    8: GONE,
}


def power_of(state: int, reason: int, is_saved: bool) -> tuple[PowerState, str]:
    """The power state and the fault that go with libvirt's state and reason.

    `is_saved`: the guest's memory lies in a file, waiting for the next start.
    """
    if state in (RUNNING, BLOCKED, SHUTDOWN):
        return "running", ""
    if state == PAUSED:
        if reason == PAUSED_IO_ERROR:
            return "paused", "A disk of the guest could not be read or written"
        return ("running" if reason == PAUSED_STARTING_UP else "paused"), ""
    if state == PM_SUSPENDED:
        return "suspended", ""
    if state == CRASHED:
        return "crashed", "The guest's kernel panicked"
    if is_saved:
        return "suspended", ""
    if reason in _CRASH_REASONS:
        return "crashed", _CRASH_REASONS[reason]
    return "shutdown", ""


# virDomainEventType -> detail -> why, for what a guest does without being asked. What only a call
# of ours can cause (defined, started, destroyed, paused, ...) is left out: nobody else can call.
_EVENT_REASONS: dict[int, dict[int, str]] = {
    3: {2: "a disk of the guest could not be read or written"},
    5: {0: "shut down from inside", 2: QEMU_ENDED, 5: QEMU_ENDED},
    7: {0: "went to sleep"},
    8: {0: "the guest's kernel panicked"},
}


def reason_of(event: int, detail: int) -> str | None:
    """Why a guest changed by itself, or None for events that we caused or that are no change."""
    return _EVENT_REASONS.get(event, {}).get(detail)
