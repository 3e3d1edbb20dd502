"""Hypervisor drivers: guests on one host.

`fake` keeps guests in files (tests, `nubelet up --fake`), `libvirt` runs them in QEMU. Both pass
the same driver suite. A driver knows guests only by id; where disks lie and which tap a card
has is told to it in a `GuestPlan`.

In OpenStack: nova/virt/driver.py and nova/virt/libvirt.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from nubelet.node.wire import (
    Diagnostics,
    GuestSpec,
    GuestState,
    HostState,
    NicSpec,
    SnapshotState,
)

# (guest id, reason): called when a guest changed by itself. How it is now is to be observed.
GuestChanged = Callable[[str, str], None]


CONFIG_DRIVE_ID = "config"  # the config drive among a guest's drives; it is none of its disks


@dataclass(frozen=True)
class Drive:
    """A disk as the hypervisor opens it. The format is stated: a guest can write any header."""

    id: str
    path: str
    format: Literal["qcow2", "raw"]
    bus: str = "virtio"
    device: Literal["disk", "cdrom"] = "disk"
    read_only: bool = False
    bootable: bool = False


def has_agent(spec: GuestSpec) -> bool:
    """Is there a channel for QEMU's guest agent?"""
    return spec.extra.get("hw_qemu_guest_agent", "").lower() in ("yes", "true", "1")


@dataclass(frozen=True)
class GuestPlan:
    """A guest with everything a hypervisor needs to start it on this host."""

    spec: GuestSpec
    drives: tuple[Drive, ...]
    kernel_path: str | None = None
    ramdisk_path: str | None = None


class Hypervisor(Protocol):
    """What the agent asks of a hypervisor driver.

    `ensure_` and `remove_` calls and power changes are idempotent. Two calls for one guest never
    run at once, calls for different guests do. Refusals are `nubelet.node.errors.HostError`.
    """

    name: str

    def start(self, on_change: GuestChanged) -> None:
        """Take up the guests that run already. Called once, before any other call."""

    def stop(self) -> None:
        """Let go; guests go on running."""

    def describe_host(self) -> HostState:
        """CPU, memory, version and traits. Name, addresses and disk space are the agent's."""

    def ensure_guest(self, plan: GuestPlan, power: Literal["running", "shutdown"]) -> None:
        """Define the guest so and bring it to `power`. A running guest goes on running: its
        cards are plugged as the plan says, other changes count from its next start.
        """

    def remove_guest(self, guest_id: str) -> None:
        """Switch off and forget, with saved memory and console. Disks stay."""

    def set_power(
        self,
        guest_id: str,
        power: Literal["running", "paused", "suspended", "shutdown"],
        soft_timeout_seconds: float,
    ) -> None:
        """Bring a guest to a power state (see `wire.SetPower`)."""

    def reboot(self, guest_id: str, hard: bool, soft_timeout_seconds: float) -> None:
        """Restart a guest; one that is off is started."""

    def attach_nic(self, guest_id: str, nic: NicSpec) -> None:
        """Plug a card, now (when it runs) and for every later start."""

    def detach_nic(self, guest_id: str, port_id: str, mac: str) -> None:
        """Unplug a card; returns when the guest has let go of it."""

    def copy_disk(
        self, guest_id: str, disk_id: str, target: Path, quiesce: Literal["no", "try", "must"]
    ) -> SnapshotState | None:
        """Begin to copy a disk of a running or paused guest, as it is now, into the qcow2 file
        `target`; called again: how far that is. None when the guest is off and has no disk open.
        """

    def stop_copy(self, guest_id: str) -> None:
        """No disk of the guest is being copied any more; its file systems are not held still."""

    def end_old_copies(self, alone: Callable[[str], AbstractContextManager[None]]) -> None:
        """As `stop_copy`, of what a former process was copying when it was killed: nobody may ask
        for that again. Called once after `start`, beside calls; `alone` keeps those for one guest
        away."""

    def observe_guest(self, guest_id: str) -> GuestState:
        """One guest; power `missing` when there is none."""

    def observe_guests(self) -> tuple[GuestState, ...]:
        """All guests."""

    def observe_diagnostics(self, guest_id: str) -> Diagnostics:
        """Counters of a guest."""

    def read_console(self, guest_id: str, lines: int | None) -> str:
        """The tail of the serial console's log."""

    def keep_house(self) -> None:
        """Periodic work that needs no answer, such as trimming console logs."""

    def purge(self) -> list[str]:
        """Switch off and remove every guest and file this driver ever made; say what."""
