"""The node: serves the calls of `wire.NODE_CALLS` with three drivers, and says how it is.

One call, in order: decode, take the subject's lock, refuse an older attempt (fence), run the
driver, answer with the trail of what was done. Calls for different subjects run side by side.
A second thread sends heartbeats and keeps house; a third reports guests that changed by
themselves.

Read next: `hypervisor/__init__.py`, `disks/__init__.py`, `switching/__init__.py` (the drivers).

In OpenStack: nova/compute/manager.py, without the database it reaches through conductor.
"""

from __future__ import annotations

import logging
import queue
import shutil
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from nubelet.node import calls, host, wire
from nubelet.node.control import ControlClient
from nubelet.node.disks import Disks
from nubelet.node.errors import BAD_CALL, HostError
from nubelet.node.fences import Fences
from nubelet.node.hypervisor import GuestPlan, Hypervisor
from nubelet.node.subjects import SubjectLocks
from nubelet.node.switching import Switching

log = logging.getLogger(__name__)
_ALONE_SECONDS = 600.0


@dataclass(frozen=True)
class Addresses:
    """How others reach this node: in general, and for tunnels between nodes."""

    ip: str = "127.0.0.1"
    tunnel_ip: str = "127.0.0.1"


class Agent:
    """One node of the cloud. `handle` may be called from any number of threads."""

    def __init__(
        self,
        name: str,
        hypervisor: Hypervisor,
        switching: Switching,
        disks: Disks,
        state_dir: Path,
        *,
        addresses: Addresses | None = None,
        heartbeat_seconds: float = 5.0,
        housekeeping_seconds: float = 300.0,
    ) -> None:
        self.name = name
        self.hypervisor = hypervisor
        self.switching = switching
        self.disks = disks
        self._addresses = addresses or Addresses()
        self._heartbeat_seconds = heartbeat_seconds
        self._housekeeping_seconds = housekeeping_seconds
        self._locks = SubjectLocks()
        self._folder = state_dir / "agent"
        self._fences = Fences(self._folder / "fences")
        self._handlers = self._table()
        self._stopping = threading.Event()
        self._changes: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._busy: set[str] = set()  # guests that a call is changing right now
        self._threads: list[threading.Thread] = []
        self._started_at = 0

    # --- Life -------------------------------------------------------------------------------

    def start(self, control: ControlClient | None = None) -> None:
        """Take up what runs on this host; with a control plane, send it heartbeats and events."""
        self._started_at = time.time_ns() // 1000
        self.disks.start()
        self.switching.start(control.metadata if control else None)
        self.hypervisor.start(self._guest_changed)
        self._spawn("old-copies", self.hypervisor.end_old_copies, self._alone)
        if control is not None:
            self._spawn("heartbeat", self._send_heartbeats, control)
            self._spawn("events", self._send_changes, control)

    def stop(self) -> None:
        """Stop serving. Guests and networks go on."""
        self._stopping.set()
        self._changes.put(None)
        for thread in self._threads:
            thread.join(timeout=5)
        self.hypervisor.stop()
        self.switching.stop()
        self._fences.close()

    def purge(self) -> list[str]:
        """Remove everything the drivers ever made here; says what, one line each."""
        said = [*self.hypervisor.purge(), *self.switching.purge(), *self.disks.purge()]
        self._fences.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        return said

    # --- Calls ------------------------------------------------------------------------------

    def handle(self, raw: bytes) -> bytes:
        """Serve one call: the bytes of a `NodeCall` in, those of a `NodeReply` out."""
        return calls.serve(raw, wire.NODE_CALLS, self._handlers, self._around)

    def _around(
        self, method: str, argument: wire.Spec, fence: wire.Fence | None, handler: calls.Handler
    ) -> wire.Spec | None:
        if method.startswith(("observe_", "read_")):
            return handler(argument)
        if fence is None:
            raise HostError(BAD_CALL, f"{method} changes this node and needs a fence")
        self._fences.check(fence)
        subject, guest_id = _subject(method, argument)
        # A little less than the caller waits, so that it hears why.
        with self._locks.hold(subject, wire.NODE_CALLS[method][2] * 0.9):
            # Again: a newer attempt may have come and gone while this one waited.
            self._fences.check(fence)
            if guest_id is None:
                return handler(argument)
            self._busy.add(guest_id)
            try:
                return handler(argument)
            finally:
                self._busy.discard(guest_id)

    def _table(self) -> Mapping[str, calls.Handler]:
        hypervisor, switching, disks = self.hypervisor, self.switching, self.disks
        return {
            "observe_host": lambda a: self.observe_host(),
            "ensure_network": switching.ensure_network,
            "remove_network": lambda a: switching.remove_network(a.id),
            "ensure_security_groups": switching.ensure_security_groups,
            "remove_security_group": lambda a: switching.remove_security_group(a.id),
            "ensure_port": switching.ensure_port,
            "remove_port": lambda a: switching.remove_port(a.id),
            "ensure_router": switching.ensure_router,
            "remove_router": lambda a: switching.remove_router(a.id),
            "observe_network": lambda a: switching.observe(),
            "ensure_image": disks.ensure_image,
            "remove_image": lambda a: disks.remove_image(a.id),
            "ensure_disk": disks.ensure_disk,
            "remove_disks": lambda a: disks.remove_disks(a.id),
            "ensure_snapshot": self._ensure_snapshot,
            "read_snapshot": lambda a: wire.SnapshotPiece(
                data=disks.read_snapshot(a.guest_id, a.id, a.offset, a.length)
            ),
            "remove_snapshot": self._remove_snapshot,
            "observe_storage": lambda a: disks.observe(),
            "ensure_guest": self._ensure_guest,
            "remove_guest": lambda a: hypervisor.remove_guest(a.id),
            "set_power": lambda a: hypervisor.set_power(a.id, a.power, a.soft_timeout_seconds),
            "reboot_guest": lambda a: hypervisor.reboot(a.id, a.hard, a.soft_timeout_seconds),
            "attach_nic": lambda a: hypervisor.attach_nic(a.guest_id, a.nic),
            "detach_nic": lambda a: hypervisor.detach_nic(a.guest_id, a.port_id, a.mac),
            "observe_guest": lambda a: hypervisor.observe_guest(a.id),
            "observe_guests": lambda a: wire.GuestStates(guests=hypervisor.observe_guests()),
            "observe_diagnostics": lambda a: hypervisor.observe_diagnostics(a.id),
            "read_console": lambda a: wire.ConsoleOutput(
                text=hypervisor.read_console(a.id, a.lines)
            ),
        }

    def _ensure_guest(self, argument: wire.EnsureGuest) -> None:
        guest = argument.guest
        if guest.config_drive is not None:
            self.disks.ensure_config_drive(guest.id, guest.config_drive)
        kernel, ramdisk = guest.kernel_image_id, guest.ramdisk_image_id
        plan = GuestPlan(
            spec=guest,
            drives=self.disks.drives(guest),
            kernel_path=self.disks.image_path(kernel) if kernel else None,
            ramdisk_path=self.disks.image_path(ramdisk) if ramdisk else None,
        )
        self.hypervisor.ensure_guest(plan, argument.power)

    def _ensure_snapshot(self, argument: wire.TakeSnapshot) -> wire.SnapshotState:
        """A guest's QEMU copies the disk that it has open; a disk that nobody has open is copied
        by the disk driver."""
        disks, guest_id = self.disks, argument.guest_id
        done = disks.find_snapshot(guest_id, argument.id)
        if done is not None:
            return done
        target = disks.begin_snapshot(argument)
        state = self.hypervisor.copy_disk(guest_id, argument.disk.id, target, argument.quiesce)
        if state is None:
            state = disks.copy_disk(argument)
        return disks.finish_snapshot(argument) if state.is_done else state

    def _remove_snapshot(self, name: wire.SnapshotName) -> None:
        self.hypervisor.stop_copy(name.guest_id)
        self.disks.remove_snapshot(name.guest_id, name.id)

    def observe_host(self) -> wire.HostState:
        """This node's inventory and condition: the hypervisor's view, completed."""
        total, free = self.disks.capacity()
        return msgspec.structs.replace(
            self.hypervisor.describe_host(),
            name=self.name,
            disk_gb=total >> 30,
            free_disk_gb=free >> 30,
            ip=self._addresses.ip,
            tunnel_ip=self._addresses.tunnel_ip,
            uptime=host.uptime_line(),
            load_average=host.load_average(),
            physical_networks=self.switching.physical_networks(),
        )

    # --- Threads ----------------------------------------------------------------------------

    def _spawn(self, what: str, target: object, argument: object) -> None:
        assert callable(target)
        thread = threading.Thread(
            target=target, args=(argument,), name=f"node-{self.name}-{what}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _alone(self, guest_id: str) -> AbstractContextManager[None]:
        """Keep calls for a guest away; `busy` when one of them takes too long."""
        return self._locks.hold(f"guest {guest_id}", _ALONE_SECONDS)

    def _send_heartbeats(self, control: ControlClient) -> None:
        next_housekeeping = time.monotonic() + self._housekeeping_seconds
        while True:
            try:
                control.heartbeat(
                    wire.Heartbeat(
                        host=self.observe_host(),
                        switching=self.switching.name,
                        started_at=self._started_at,
                    )
                )
                if time.monotonic() >= next_housekeeping:
                    next_housekeeping = time.monotonic() + self._housekeeping_seconds
                    self.hypervisor.keep_house()
                    self.disks.keep_house()
            except Exception as error:  # the control plane may be down; the node goes on
                log.warning("heartbeat of %s failed: %s", self.name, error)
            if self._stopping.wait(self._heartbeat_seconds):
                return

    def _guest_changed(self, guest_id: str, reason: str) -> None:
        # Comes on the hypervisor's event thread, which must never wait for the control plane.
        if guest_id not in self._busy:
            self._changes.put((guest_id, reason))

    def _send_changes(self, control: ControlClient) -> None:
        while (change := self._changes.get()) is not None:
            guest_id, reason = change
            try:
                # The state of now, not of the event: a later call may have changed it again.
                state = self.hypervisor.observe_guest(guest_id)
                control.guest_changed(
                    wire.GuestEvent(
                        host=self.name, guest_id=guest_id, power=state.power, reason=reason
                    )
                )
            except Exception as error:  # what is lost here the control plane finds by observing
                log.warning("event of guest %s was not delivered: %s", guest_id, error)


_KINDS: Mapping[str, Literal["network", "port", "router", "image"]] = {
    "ensure_network": "network",
    "remove_network": "network",
    "ensure_port": "port",
    "remove_port": "port",
    "ensure_router": "router",
    "remove_router": "router",
    "ensure_image": "image",
    "remove_image": "image",
}


def _subject(method: str, argument: wire.Spec) -> tuple[str, str | None]:
    """The key that serialises this call, and the guest it changes (if it is about one)."""
    match argument:
        case wire.SecurityGroups():
            return "security groups", None
        case wire.EnsureGuest():
            guest_id = argument.guest.id
        case (
            wire.AttachNic()
            | wire.DetachNic()
            | wire.DiskSpec()
            | wire.TakeSnapshot()
            | wire.SnapshotName()
        ):
            guest_id = argument.guest_id
        case _:
            subject: str = getattr(argument, "id")  # noqa: B009 - every other argument has one
            if method == "remove_security_group":
                return "security groups", None
            if method in _KINDS:
                return f"{_KINDS[method]} {subject}", None
            guest_id = subject
    return f"guest {guest_id}", guest_id
