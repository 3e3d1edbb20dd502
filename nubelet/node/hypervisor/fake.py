"""Guests without machines: libvirt's states and rules, kept in small files.

Guests survive the process, as QEMU does. Starting one needs its disks' plan and its taps, as
QEMU would; a soft shutdown is obeyed at once; the console gets some lines at each boot.
`crash`, `shut_down_from_inside` and `forget` do to a guest what the world does.

Read next: `hypervisor/libvirt` for the real thing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import msgspec

from nubelet.node.errors import GUEST_STATE, NO_SUCH_GUEST, NO_SUCH_PORT, HostError
from nubelet.node.faults import Faults
from nubelet.node.hypervisor import GuestChanged, GuestPlan, console, has_agent
from nubelet.node.records import Records
from nubelet.node.wire import (
    Diagnostics,
    GuestSpec,
    GuestState,
    HostState,
    NicSpec,
    PowerState,
    SnapshotState,
)

_BOOT_LINES = (
    "SeaBIOS (no machine behind it)",
    "Booting from Hard Disk...",
    "[    0.000000] Linux version 6.1.0 (fake)",
    "[    0.000000] Command line: console=tty0 console=ttyS0",
    "[    0.210000] Memory: {memory_mb}M available",
    "[    0.320000] smp: Brought up 1 node, {vcpus} CPUs",
    "[    0.900000] virtio_blk virtio1: [vda]",
    "[    1.100000] EXT4-fs (vda1): mounted filesystem",
    "[    1.400000] virtio_net virtio0 eth0: link up",
    "[    1.900000] random: crng init done",
    "Starting network: OK",
    "Starting dropbear sshd: OK",
    "=== system ready: {name} ===",
    "{name} login:",
)
_CONSOLE_CHARS = 20_000


class FakeGuest(msgspec.Struct, frozen=True):
    """A guest as it is kept."""

    spec: GuestSpec
    power: PowerState
    console: str = ""
    booted_at: float = 0.0
    fault: str = ""


class FakeHypervisor:
    """Guests as records."""

    name = "fake"

    def __init__(
        self,
        state_dir: Path,
        *,
        vcpus: int = 64,
        memory_mb: int = 256 * 1024,
        has_port: Callable[[str], bool] | None = None,
        faults: Faults | None = None,
        latency_seconds: float = 0,
    ) -> None:
        self._folder = state_dir / "hypervisor"
        self._vcpus = vcpus
        self._memory_mb = memory_mb
        self._has_port = has_port or (lambda port_id: True)
        self._latency_seconds = latency_seconds
        self.faults = faults or Faults(state_dir / "faults")
        self._guests = Records(self._folder, FakeGuest)
        self._copies: dict[str, Path] = {}  # guests whose disk is being copied, and where to
        self._on_change: GuestChanged = lambda guest_id, reason: None

    def start(self, on_change: GuestChanged) -> None:
        """Guests were read when this was made."""
        self._on_change = on_change

    def stop(self) -> None:
        """Guests go on, as far as they ever did."""

    def describe_host(self) -> HostState:
        """The machine that is not there."""
        self.faults.meet("observe_host")
        guests = self._guests.values()
        running = [guest for guest in guests if guest.power in ("running", "paused")]
        used_mb = sum(guest.spec.memory_mb for guest in running)
        return HostState(
            name="fake",
            hypervisor_type="fake",
            hypervisor_version=1000,
            accelerator="none",
            accelerator_reason="the fake hypervisor runs nothing",
            vcpus=self._vcpus,
            memory_mb=self._memory_mb,
            free_memory_mb=max(0, self._memory_mb - used_mb),
            disk_gb=0,
            running_guests=len(running),
            cpu_model="fake",
            cpu_vendor="fake",
            cpu_features=("sse4_2", "avx2"),
            cpu_cores=self._vcpus,
            traits=(
                "COMPUTE_NODE",
                "COMPUTE_DEVICE_TAGGING",
                "COMPUTE_NET_ATTACH_INTERFACE",
                "COMPUTE_IMAGE_TYPE_QCOW2",
                "COMPUTE_IMAGE_TYPE_RAW",
                "HW_CPU_X86_SSE42",
                "HW_CPU_X86_AVX2",
            ),
        )

    def ensure_guest(self, plan: GuestPlan, power: Literal["running", "shutdown"]) -> None:
        """Define a guest and bring it to `power`."""
        self._meet("ensure_guest")
        # What is on the config drive has secrets in it and is not the hypervisor's business.
        spec = msgspec.structs.replace(plan.spec, config_drive=None)
        guest = self._guests.get(spec.id)
        if guest is None:
            guest = FakeGuest(spec=spec, power="shutdown")
        else:
            guest = msgspec.structs.replace(guest, spec=spec)
        self._bring(guest, power)

    def remove_guest(self, guest_id: str) -> None:
        """Forget a guest."""
        self._meet("remove_guest")
        self._guests.drop(guest_id)

    def set_power(
        self,
        guest_id: str,
        power: Literal["running", "paused", "suspended", "shutdown"],
        soft_timeout_seconds: float,
    ) -> None:
        """Change the state of a guest by libvirt's rules."""
        self._meet("set_power")
        self._bring(self._known(guest_id), power)

    def reboot(self, guest_id: str, hard: bool, soft_timeout_seconds: float) -> None:
        """Boot a guest again."""
        self._meet("reboot_guest")
        self._bring(msgspec.structs.replace(self._known(guest_id), power="shutdown"), "running")

    def attach_nic(self, guest_id: str, nic: NicSpec) -> None:
        """Plug a card."""
        self._meet("attach_nic")
        guest = self._known(guest_id)
        if any(nic.port_id == other.port_id for other in guest.spec.nics):
            return
        self._need_port(nic.port_id)
        self._set_nics(guest, (*guest.spec.nics, nic))

    def detach_nic(self, guest_id: str, port_id: str, mac: str) -> None:
        """Unplug a card."""
        self._meet("detach_nic")
        guest = self._guests.get(guest_id)
        if guest is not None:
            self._set_nics(guest, tuple(n for n in guest.spec.nics if n.port_id != port_id))

    def copy_disk(
        self, guest_id: str, disk_id: str, target: Path, quiesce: Literal["no", "try", "must"]
    ) -> SnapshotState | None:
        """A copy takes two looks; a guest without an agent cannot be held still."""
        guest = self._known(guest_id)
        if guest.power not in ("running", "paused"):
            self._copies.pop(guest_id, None)
            return None
        if quiesce == "must" and not has_agent(guest.spec):
            raise HostError(
                GUEST_STATE, f"Guest {guest_id} has no agent that could hold its file systems still"
            )
        size = next((disk.size_bytes for disk in guest.spec.disks if disk.id == disk_id), 0)
        if self._copies.get(guest_id) != target:
            self._copies[guest_id] = target
            return SnapshotState(total_bytes=size)
        del self._copies[guest_id]
        return SnapshotState(is_done=True, copied_bytes=size, total_bytes=size)

    def stop_copy(self, guest_id: str) -> None:
        """Forget a copy."""
        self._copies.pop(guest_id, None)

    def end_old_copies(self, alone: Callable[[str], AbstractContextManager[None]]) -> None:
        """There are none: they end with their process."""

    def observe_guest(self, guest_id: str) -> GuestState:
        """One guest."""
        self._meet("observe_guest")
        guest = self._guests.get(guest_id)
        return _state(guest) if guest else GuestState(id=guest_id, power="missing")

    def observe_guests(self) -> tuple[GuestState, ...]:
        """All guests."""
        self._meet("observe_guests")
        return tuple(_state(guest) for guest in self._guests.values())

    def observe_diagnostics(self, guest_id: str) -> Diagnostics:
        """Counters; all zero but the time since the boot."""
        self._meet("observe_diagnostics")
        guest = self._known(guest_id)
        if guest.power not in ("running", "paused"):
            raise HostError(GUEST_STATE, f"Guest {guest_id} is {guest.power}; it has no counters")
        counters = ("read_bytes", "read_requests", "write_bytes", "write_requests", "errors_count")
        traffic = ("octets", "packets", "errors", "drop")
        return Diagnostics(
            id=guest_id,
            power=guest.power,
            uptime_seconds=int(time.time() - guest.booted_at),
            cpu_times_ns=(0,) * guest.spec.vcpus,
            memory_mb=guest.spec.memory_mb,
            memory_used_mb=guest.spec.memory_mb,
            disks=tuple(dict.fromkeys(counters, 0) for _ in guest.spec.disks),
            nics=tuple(
                {
                    "mac_address": nic.mac,
                    **{f"{way}_{what}": 0 for way in ("rx", "tx") for what in traffic},
                }
                for nic in guest.spec.nics
            ),
        )

    def read_console(self, guest_id: str, lines: int | None) -> str:
        """The last lines that the guest "printed"."""
        self._meet("read_console")
        text = self._known(guest_id).console
        return text if lines is None else console.last_lines(text, lines)

    def keep_house(self) -> None:
        """Nothing grows here."""

    def purge(self) -> list[str]:
        """Remove all records."""
        return self._guests.purge("guest")

    # --- What happens to guests by themselves -----------------------------------------------

    def crash(self, guest_id: str, reason: str = "the guest crashed") -> None:
        """As when QEMU dies."""
        guest = self._known(guest_id)
        self._guests.put(guest_id, msgspec.structs.replace(guest, power="crashed", fault=reason))
        self._on_change(guest_id, reason)

    def shut_down_from_inside(self, guest_id: str) -> None:
        """As when the user types `poweroff`."""
        guest = self._known(guest_id)
        self._guests.put(guest_id, msgspec.structs.replace(guest, power="shutdown"))
        self._on_change(guest_id, "shut down from inside")

    def forget(self, guest_id: str) -> None:
        """As when somebody undefines the guest behind our back."""
        self._guests.drop(guest_id)

    # --- Rules ------------------------------------------------------------------------------

    def _meet(self, method: str) -> None:
        self.faults.meet(method)
        if self._latency_seconds:
            time.sleep(self._latency_seconds)

    def _known(self, guest_id: str) -> FakeGuest:
        guest = self._guests.get(guest_id)
        if guest is None:
            raise HostError(NO_SUCH_GUEST, f"There is no guest {guest_id} on this host")
        return guest

    def _need_port(self, port_id: str) -> None:
        if not self._has_port(port_id):
            raise HostError(NO_SUCH_PORT, f"Port {port_id} has no tap on this host")

    def _set_nics(self, guest: FakeGuest, nics: tuple[NicSpec, ...]) -> None:
        spec = msgspec.structs.replace(guest.spec, nics=nics)
        self._guests.put(spec.id, msgspec.structs.replace(guest, spec=spec))

    def _bring(self, guest: FakeGuest, power: PowerState) -> None:
        if power in ("paused", "suspended") and guest.power not in ("running", "paused", power):
            raise HostError(
                GUEST_STATE, f"Guest {guest.spec.id} is {guest.power} and cannot be {power}"
            )
        if power == "running" and guest.power in ("shutdown", "crashed", "suspended"):
            guest = self._boot(guest)
        self._guests.put(guest.spec.id, msgspec.structs.replace(guest, power=power, fault=""))

    def _boot(self, guest: FakeGuest) -> FakeGuest:
        for nic in guest.spec.nics:
            self._need_port(nic.port_id)
        if guest.power == "suspended":
            return guest
        lines = "\n".join(_BOOT_LINES).format(
            name=guest.spec.name, vcpus=guest.spec.vcpus, memory_mb=guest.spec.memory_mb
        )
        printed = f"{guest.console}{lines}\n"[-_CONSOLE_CHARS:]
        return msgspec.structs.replace(guest, console=printed, booted_at=time.time())


def _state(guest: FakeGuest) -> GuestState:
    spec = guest.spec
    return GuestState(
        id=spec.id,
        power=guest.power,
        memory_mb=spec.memory_mb,
        vcpus=spec.vcpus,
        disks=tuple(disk.id for disk in spec.disks),
        nics=tuple(nic.port_id for nic in spec.nics),
        fault=guest.fault,
    )
