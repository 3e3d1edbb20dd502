"""What this host offers to guests, asked from libvirt and QEMU once: machine, CPU, traits."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree import ElementTree as ET

import msgspec

from nubelet.node import host
from nubelet.node.errors import HYPERVISOR_REFUSED, HostError
from nubelet.node.hypervisor.libvirt.connection import Connection
from nubelet.node.hypervisor.libvirt.domain_xml import Machine, parse
from nubelet.node.hypervisor.libvirt.traits import cpu_traits, device_traits
from nubelet.node.wire import HostState

_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class _Learned:
    machine: Machine
    state: HostState


class HostFacts:
    """The facts, learned when first wanted; the first time on a host takes seconds."""

    def __init__(
        self, connection: Connection, accelerator: Literal["kvm", "tcg"], accelerator_reason: str
    ) -> None:
        self._connection = connection
        self._accelerator = accelerator
        self._accelerator_reason = accelerator_reason
        self._lock = threading.Lock()
        self._learned: _Learned | None = None
        self._machine_types: set[str] = set()  # those that were asked for and are there

    def machine(self) -> Machine:
        """What every guest's definition is made with."""
        return self._know().machine

    def need_machine_type(self, name: str) -> None:
        """Refuse a machine type that this host does not have: what libvirt says of a definition
        with such a one misleads.
        """
        if name in self._machine_types:
            return
        try:
            self._ask_capabilities(name)
        except HostError as error:
            raise HostError(
                HYPERVISOR_REFUSED, f"The hypervisor has no machine type {name!r}", error.detail
            ) from None
        self._machine_types.add(name)

    def describe(self) -> HostState:
        """The host as it is now."""
        total_mb, free_mb = host.memory_mb()
        return msgspec.structs.replace(
            self._know().state,
            memory_mb=total_mb,
            free_memory_mb=free_mb,
            running_guests=self._connection.handle.numOfDomains(),
        )

    def learn(self) -> None:
        """Learn the facts now; a failure shows again with the first call that needs them."""
        try:
            self._know()
        except HostError:
            return
        self._connection.keep_capabilities()

    def _know(self) -> _Learned:
        with self._lock:
            if self._learned is None:
                self._learned = self._ask()
            return self._learned

    def _ask(self) -> _Learned:
        kind = "kvm" if self._accelerator == "kvm" else "qemu"
        capabilities = parse(self._ask_capabilities("q35"))
        firmwares = [
            value.text or "" for value in capabilities.iterfind("os/enum[@name='firmware']/value")
        ]
        machine = Machine(
            translates=kind == "qemu",
            machine_type=capabilities.findtext("machine", "q35"),
            firmwares=("bios", *firmwares),
        )
        return _Learned(machine, self._describe(capabilities, kind))

    def _ask_capabilities(self, machine_type: str) -> str:
        handle = self._connection.handle
        if handle is None:
            raise HostError(HYPERVISOR_REFUSED, "libvirt is not open")
        # Named, because libvirt would question every QEMU of the host for seconds each.
        emulator = shutil.which("qemu-system-x86_64", path=_PATH)
        kind = "kvm" if self._accelerator == "kvm" else "qemu"
        text: str = self._connection.call(
            "virConnectGetDomainCapabilities",
            None,
            lambda: handle.getDomainCapabilities(emulator, "x86_64", machine_type, kind),
        )
        return text

    def _describe(self, capabilities: ET.Element, kind: str) -> HostState:
        handle = self._connection.handle
        model = capabilities.find("cpu/mode[@name='host-model']")
        cpu = model if model is not None else ET.Element("mode")
        features = self._cpu_features(cpu, kind)
        architecture, _, _, _, _, sockets, cores, threads = handle.getInfo()
        return HostState(
            name="",
            hypervisor_type="QEMU",
            hypervisor_version=handle.getVersion(),
            accelerator=self._accelerator,
            accelerator_reason=self._accelerator_reason,
            vcpus=os.cpu_count() or 1,
            memory_mb=0,
            disk_gb=0,
            cpu_model=cpu.findtext("model", ""),
            cpu_vendor=cpu.findtext("vendor", ""),
            cpu_arch=architecture,
            cpu_features=features,
            cpu_sockets=sockets,
            cpu_cores=cores,
            cpu_threads=threads,
            traits=tuple(sorted(cpu_traits(features) | device_traits(capabilities))),
        )

    def _cpu_features(self, model: ET.Element, kind: str) -> tuple[str, ...]:
        """All features of the CPU that guests get: those its model implies are spelt out."""
        libvirt: Any = self._connection.libvirt
        cpu = ET.Element("cpu")
        cpu.extend(list(model))
        flags = libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
        try:
            text = self._connection.handle.baselineHypervisorCPU(
                None, None, None, kind, [ET.tostring(cpu, encoding="unicode")], flags
            )
        except libvirt.libvirtError:
            return ()
        found = parse(text).iterfind("feature")
        return tuple(
            sorted(
                feature.get("name", "")
                for feature in found
                if feature.get("policy") in ("require", "force")
            )
        )
