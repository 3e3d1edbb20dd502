"""The libvirt driver: what is done to guests. What is seen of them is in `observing.py`.

Each method is one libvirt call or a few; all go through `Connection.call`, which writes them
into the trail. Starting a guest and plugging a card happen inside the network namespace that
holds the taps (`namespaces.py`).

In OpenStack: nova/virt/libvirt/driver.py.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from nubelet.node import trail
from nubelet.node.errors import GUEST_STATE, HYPERVISOR_REFUSED, NO_SUCH_PORT, HostError
from nubelet.node.files import safe_name
from nubelet.node.hypervisor import GuestChanged, GuestPlan, console
from nubelet.node.hypervisor.libvirt import domain_xml, observing, purging, states
from nubelet.node.hypervisor.libvirt.connection import Connection, refusing
from nubelet.node.hypervisor.libvirt.copying import Copies
from nubelet.node.hypervisor.libvirt.host_facts import HostFacts
from nubelet.node.hypervisor.libvirt.namespaces import call_in_namespace
from nubelet.node.hypervisor.libvirt.paths import Paths
from nubelet.node.wire import (
    Diagnostics,
    GuestState,
    HostState,
    NicSpec,
    SnapshotState,
    cloud_tag,
    tap_name,
)

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_BUTTON_SECONDS = 10.0  # a guest that still boots loses the first press of the power button
_UNPLUG_SECONDS = 40.0
_UNPLUG_RETRY_SECONDS = 6.0


class LibvirtHypervisor:
    """Guests in QEMU under libvirt's embedded driver."""

    name = "libvirt"

    def __init__(
        self,
        state_dir: Path,
        *,
        accelerator: Literal["kvm", "tcg"],
        accelerator_reason: str,
        tap_namespace: Callable[[], str | None] = lambda: None,
        tag: str | None = None,
        capability_cache: Path | None = None,
    ) -> None:
        self._paths = Paths(state_dir)
        self._tag = tag or cloud_tag(str(state_dir))
        self._tap_namespace = tap_namespace
        self.connection = Connection(self._paths, capability_cache)
        self._copies = Copies(self.connection)
        self._facts = HostFacts(self.connection, accelerator, accelerator_reason)
        self._on_change: GuestChanged = lambda guest_id, reason: None
        self._told_to_stop: set[str] = set()  # their going down is no news

    # --- Life -------------------------------------------------------------------------------

    def start(self, on_change: GuestChanged) -> None:
        """Open libvirt, take up the guests that run, and learn what QEMU can (in a thread)."""
        self._on_change = on_change
        self.connection.open()
        libvirt = self.connection.libvirt
        self.connection.handle.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None
        )
        threading.Thread(target=self._facts.learn, name="qemu-capabilities", daemon=True).start()

    def stop(self) -> None:
        """Close libvirt; guests go on."""
        self.connection.close()

    def _lifecycle(self, handle: Any, domain: Any, event: int, detail: int, opaque: Any) -> None:
        reason, guest_id = states.reason_of(event, detail), domain.name()
        if reason is None or guest_id in self._told_to_stop:
            return
        if reason == states.QEMU_ENDED:
            self.connection.losses.note(guest_id, reason)
        self._on_change(guest_id, reason)

    def describe_host(self) -> HostState:
        """CPU, memory, version and traits."""
        return self._facts.describe()

    def keep_house(self) -> None:
        """Cut console logs that grew too long."""
        for path in self._paths.consoles.glob("*.log"):
            console.trim(path)

    def purge(self) -> list[str]:
        """Remove all guests and files; works also when libvirt does not."""
        return purging.purge(self.connection, self._paths)

    # --- Guests -----------------------------------------------------------------------------

    @refusing
    def ensure_guest(self, plan: GuestPlan, power: Literal["running", "shutdown"]) -> None:
        """Define the guest and bring it to `power`."""
        guest_id = safe_name(plan.spec.id)
        domain = self._define(plan)
        if domain.isActive():
            self._plug_as_planned(domain, plan)
        self.set_power(guest_id, power, 0)

    @refusing
    def remove_guest(self, guest_id: str) -> None:
        """Switch off and undefine a guest; remove its console log and sockets."""
        domain = self.connection.find(safe_name(guest_id))
        if domain is not None:
            self._destroy(domain, guest_id)
            libvirt = self.connection.libvirt
            flags = (
                libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
                | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
                | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
            )
            self._call("virDomainUndefineFlags", guest_id, lambda: domain.undefineFlags(flags))
        purging.remove_files_of(guest_id, self._paths)
        self._told_to_stop.discard(guest_id)
        self.connection.losses.forget(guest_id)

    @refusing
    def set_power(
        self,
        guest_id: str,
        power: Literal["running", "paused", "suspended", "shutdown"],
        soft_timeout_seconds: float,
    ) -> None:
        """Bring a guest to a power state."""
        domain = self.connection.need(guest_id)
        now, _ = observing.power(self.connection, domain)
        if now == power:
            return
        if power == "running":
            self._start(domain, guest_id, now)
        elif power == "shutdown":
            self._shut_down(domain, guest_id, soft_timeout_seconds)
        elif now not in ("running", "paused"):
            raise HostError(GUEST_STATE, f"Guest {guest_id} is {now} and cannot be {power}")
        elif power == "paused":
            self._call("virDomainSuspend", guest_id, domain.suspend)
        else:
            self._save(domain, guest_id)

    @refusing
    def reboot(self, guest_id: str, hard: bool, soft_timeout_seconds: float) -> None:
        """Switch a guest off, gently or not, and on again with a new QEMU."""
        domain = self.connection.need(guest_id)
        self._shut_down(domain, guest_id, 0 if hard else soft_timeout_seconds)
        self._start(domain, guest_id, "shutdown")

    def _define(self, plan: GuestPlan) -> Any:
        guest_id = plan.spec.id
        paths = domain_xml.GuestPaths(
            console=self._paths.console(guest_id),
            vnc_socket=self._paths.vnc_socket(guest_id),
            agent_socket=self._paths.agent_socket(guest_id),
        )
        taps = [tap_name(self._tag, nic.port_id) for nic in plan.spec.nics]
        if plan.spec.machine_type:
            self._facts.need_machine_type(plan.spec.machine_type)
        xml = domain_xml.build(plan, self._facts.machine(), paths, taps)
        domain = self.connection.find(guest_id)
        inactive = self.connection.libvirt.VIR_DOMAIN_XML_INACTIVE
        if domain is not None:
            if domain_xml.digest_of(domain.XMLDesc(inactive)) == domain_xml.digest_of(xml):
                return domain
            if domain.hasManagedSaveImage() and not domain.isActive():
                return domain  # its memory fits the old definition only
        handle = self.connection.handle
        defined = self._call("virDomainDefineXML", guest_id, lambda: handle.defineXML(xml))
        trail.note("definition", xml)
        return defined

    def _start(self, domain: Any, guest_id: str, now: str) -> None:
        self._told_to_stop.discard(guest_id)
        if now == "paused":
            self._call("virDomainResume", guest_id, domain.resume)
            self._copies.goes_on(guest_id)
            return
        if now == "suspended" and domain.isActive():
            self._call("virDomainPMWakeup", guest_id, domain.pMWakeup)
            return
        if now == "crashed" and domain.isActive():  # QEMU is there, its guest is not
            self._destroy(domain, guest_id)
        namespace = self._tap_namespace()
        taps = domain_xml.Devices.of(domain.XMLDesc(0)).taps()
        call_in_namespace(namespace, lambda: _need_taps(taps))
        self._call("virDomainCreate", guest_id, lambda: call_in_namespace(namespace, domain.create))
        self.connection.losses.forget(guest_id)

    def _shut_down(self, domain: Any, guest_id: str, soft_timeout_seconds: float) -> None:
        self._told_to_stop.add(guest_id)
        now, _ = observing.power(self.connection, domain)
        if now == "running" and soft_timeout_seconds > 0:
            self._press_power_button(domain, guest_id, soft_timeout_seconds)
        self._destroy(domain, guest_id)
        self.connection.losses.forgive(guest_id)

    def _press_power_button(self, domain: Any, guest_id: str, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        next_press = 0.0
        with trail.step("note", f"wait for guest {guest_id} to shut down") as waiting:
            while domain.isActive():
                if time.monotonic() >= deadline:
                    waiting.result = f"it did not within {timeout_seconds:g} seconds"
                    return
                if time.monotonic() >= next_press:
                    next_press = time.monotonic() + _BUTTON_SECONDS
                    self._press(domain, guest_id)
                time.sleep(_POLL_SECONDS)

    def _press(self, domain: Any, guest_id: str) -> None:
        try:
            self._call("virDomainShutdown", guest_id, domain.shutdown)
        except HostError:
            if domain.isActive():  # else it went down between the look and the press
                raise

    def _save(self, domain: Any, guest_id: str) -> None:
        # Running when it comes back, also when it is paused now: `running` is what will be asked.
        flags = self.connection.libvirt.VIR_DOMAIN_SAVE_RUNNING
        self._call("virDomainManagedSave", guest_id, lambda: domain.managedSave(flags))

    def _destroy(self, domain: Any, guest_id: str) -> None:
        """Switch off whatever is left: the running guest, or its saved memory."""
        if domain.isActive():
            try:
                self._call("virDomainDestroy", guest_id, domain.destroy)
            except HostError:
                if domain.isActive():
                    raise
        if domain.hasManagedSaveImage():
            self._call("virDomainManagedSaveRemove", guest_id, domain.managedSaveRemove)

    # --- Cards ------------------------------------------------------------------------------

    @refusing
    def attach_nic(self, guest_id: str, nic: NicSpec) -> None:
        """Plug a card into the definition and, when it runs, into the guest."""
        domain = self.connection.need(guest_id)
        xml = domain_xml.as_text(domain_xml.nic_element(nic, tap_name(self._tag, nic.port_id)))
        for flag, devices in self._versions(domain):
            if nic.port_id not in devices.nics:
                self._attach(domain, guest_id, nic.port_id, xml, flag)

    @refusing
    def detach_nic(self, guest_id: str, port_id: str, mac: str) -> None:
        """Take a card out of the definition and out of the running guest."""
        domain = self.connection.find(guest_id)
        if domain is None:
            return
        # The definition first: whatever the guest says, its next start is without the card.
        for flag, devices in reversed(self._versions(domain)):
            if port_id not in devices.nics:
                continue
            xml = domain_xml.as_text(devices.nics[port_id])
            if flag == self.connection.libvirt.VIR_DOMAIN_AFFECT_LIVE:
                self._unplug(domain, guest_id, port_id, mac, xml)
            else:
                self._detach(domain, guest_id, xml, flag)

    def _plug_as_planned(self, domain: Any, plan: GuestPlan) -> None:
        planned = {nic.port_id: nic for nic in plan.spec.nics}
        running = domain_xml.Devices.of(domain.XMLDesc(0)).nics
        for port_id, nic in planned.items():
            if port_id not in running:
                self.attach_nic(plan.spec.id, nic)
        for port_id, element in running.items():
            if port_id not in planned:
                mac = element.find("mac")
                address = mac.get("address", "") if mac is not None else ""
                self.detach_nic(plan.spec.id, port_id, address)

    def _versions(self, domain: Any) -> list[tuple[int, domain_xml.Devices]]:
        """The running guest (if it runs) and its definition: flag and devices of each."""
        libvirt = self.connection.libvirt
        inactive = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        found = [(libvirt.VIR_DOMAIN_AFFECT_CONFIG, domain_xml.Devices.of(inactive))]
        if domain.isActive():
            live = domain_xml.Devices.of(domain.XMLDesc(0))
            found.insert(0, (libvirt.VIR_DOMAIN_AFFECT_LIVE, live))
        return found

    def _attach(self, domain: Any, guest_id: str, port_id: str, xml: str, flag: int) -> None:
        namespace = self._tap_namespace()
        if flag == self.connection.libvirt.VIR_DOMAIN_AFFECT_LIVE:
            taps = {port_id: tap_name(self._tag, port_id)}
            call_in_namespace(namespace, lambda: _need_taps(taps))
        self._call(
            "virDomainAttachDeviceFlags",
            guest_id,
            lambda: call_in_namespace(namespace, lambda: domain.attachDeviceFlags(xml, flag)),
        )

    def _detach(self, domain: Any, guest_id: str, xml: str, flag: int) -> None:
        self._call(
            "virDomainDetachDeviceFlags", guest_id, lambda: domain.detachDeviceFlags(xml, flag)
        )

    def _unplug(self, domain: Any, guest_id: str, port_id: str, mac: str, xml: str) -> None:
        """Ask the guest to let go of a card until it does; a guest that boots hears it late."""
        live = self.connection.libvirt.VIR_DOMAIN_AFFECT_LIVE
        deadline = time.monotonic() + _UNPLUG_SECONDS
        next_request = 0.0
        refusal: HostError | None = None
        while time.monotonic() < deadline:
            if time.monotonic() >= next_request:
                next_request = time.monotonic() + _UNPLUG_RETRY_SECONDS
                try:
                    self._detach(domain, guest_id, xml, live)
                except HostError as error:  # "already being unplugged", or gone by now
                    refusal = error
            if not domain.isActive():
                return
            if port_id not in domain_xml.Devices.of(domain.XMLDesc(0)).nics:
                return
            time.sleep(_POLL_SECONDS)
        raise HostError(
            HYPERVISOR_REFUSED,
            f"Guest {guest_id} did not let go of the card {mac} within {_UNPLUG_SECONDS:g} seconds",
            refusal.detail if refusal else "",
        )

    # --- Copies of disks --------------------------------------------------------------------

    @refusing
    def copy_disk(
        self, guest_id: str, disk_id: str, target: Path, quiesce: Literal["no", "try", "must"]
    ) -> SnapshotState | None:
        """Copy a disk that the guest has open."""
        return self._copies.ensure(guest_id, disk_id, target, quiesce)

    @refusing
    def stop_copy(self, guest_id: str) -> None:
        """No disk of the guest is being copied."""
        self._copies.stop(guest_id)

    def end_old_copies(self, alone: Callable[[str], AbstractContextManager[None]]) -> None:
        """What a former process was copying is not copied any more."""
        for guest_id in self.connection.found_at_start:
            try:
                with alone(guest_id):
                    self._end_old_copy(guest_id)
            except Exception as error:  # the others are to be looked at all the same
                log.warning("guest %s may still be copied for nobody: %s", guest_id, error)

    @refusing
    def _end_old_copy(self, guest_id: str) -> None:
        self._copies.end_old(guest_id)

    # --- Seeing -----------------------------------------------------------------------------

    @refusing
    def observe_guest(self, guest_id: str) -> GuestState:
        """One guest."""
        domain = self.connection.find(guest_id)
        if domain is None:
            return GuestState(id=guest_id, power="missing")
        handle = self.connection.handle
        found = observing.states_of(
            self.connection, lambda *wanted: handle.domainListGetStats([domain], *wanted)
        )
        return found[0] if found else GuestState(id=guest_id, power="missing")

    @refusing
    def observe_guests(self) -> tuple[GuestState, ...]:
        """All guests."""
        self.connection.wait_until_all_are_found_again()
        handle = self.connection.handle
        return observing.states_of(self.connection, handle.getAllDomainStats)

    @refusing
    def observe_diagnostics(self, guest_id: str) -> Diagnostics:
        """Counters of a guest."""
        return observing.diagnostics(self.connection, self._paths, guest_id)

    @refusing
    def read_console(self, guest_id: str, lines: int | None) -> str:
        """The tail of the console's log."""
        self.connection.need(guest_id)
        return console.tail(self._paths.console(guest_id), lines)

    def _call(self, what: str, guest_id: str, function: Callable[[], Any]) -> Any:
        return self.connection.call(what, guest_id, function)


def _need_taps(taps: dict[str, str]) -> None:
    """Refuse (`no_such_port`) when a tap is missing; libvirt would not say which one."""
    for port_id, name in taps.items():
        try:
            socket.if_nametoindex(name)
        except OSError:
            raise HostError(
                NO_SUCH_PORT, f"Port {port_id} has no tap on this host (device {name} is missing)"
            ) from None
