"""What a guest is to libvirt: one XML document, made from a `GuestPlan`.

The document depends on nothing but the plan and the options, so that "is it defined so already?"
is answered by a digest, which is kept in the definition itself.

In OpenStack: nova/virt/libvirt/config.py and _get_guest_config in driver.py.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from nubelet.node.errors import HYPERVISOR_REFUSED, HostError
from nubelet.node.hypervisor import Drive, GuestPlan, has_agent
from nubelet.node.wire import GuestSpec, NicSpec

XMLNS = "urn:nubelet:guest:1"
_HOTPLUG_SLOTS = 12
_LEAST_SLOTS = 16
_CONSOLE_ARGUMENTS = "root=/dev/vda console=tty0 console=ttyS0"
_NOT_IN_XML = re.compile(r"[\x00-\x1f\ud800-\udfff\ufffe\uffff]")

ET.register_namespace("nubelet", XMLNS)


@dataclass(frozen=True)
class Machine:
    """What this host decides about every guest. `translates`: TCG instead of KVM."""

    translates: bool
    machine_type: str
    firmwares: tuple[str, ...] = ("bios",)


@dataclass(frozen=True)
class GuestPaths:
    """Where the guest's console log and sockets are on this host."""

    console: Path
    vnc_socket: Path
    agent_socket: Path


def build(plan: GuestPlan, machine: Machine, paths: GuestPaths, tap_names: list[str]) -> str:
    """The guest's definition. `tap_names` are those of the plan's cards, in order."""
    spec = plan.spec
    is_q35 = "q35" in (spec.machine_type or machine.machine_type)
    domain = ET.Element("domain", type="qemu" if machine.translates else "kvm")
    _add(domain, "name", spec.id)
    _add(domain, "uuid", spec.id)
    _add(domain, "title", _printable(spec.name))
    _add(domain, "memory", str(spec.memory_mb), unit="MiB")
    _add(domain, "vcpu", str(spec.vcpus))
    _add_sysinfo(domain, spec)
    _add_os(domain, plan, machine)
    _add_features(domain, machine)
    _add_cpu(domain, spec, machine)
    _add_clock(domain, spec)
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        _add(domain, f"on_{event}", action)
    devices = _add(domain, "devices")
    _add_controllers(devices, plan, is_q35)
    _add_drives(devices, plan.drives, is_q35)
    for nic, tap_name in zip(spec.nics, tap_names, strict=True):
        devices.append(nic_element(nic, tap_name))
    _add_consoles(devices, spec, paths)
    _add_others(devices, spec)
    digest = hashlib.sha256(ET.tostring(domain)).hexdigest()
    metadata = ET.Element("metadata")
    ET.SubElement(metadata, f"{{{XMLNS}}}guest", digest=digest)
    domain.insert(3, metadata)
    return ET.tostring(domain, encoding="unicode")


def digest_of(xml: str) -> str:
    """The digest kept in a definition that `build` made; empty for others."""
    guest = parse(xml).find(f"metadata/{{{XMLNS}}}guest")
    return guest.get("digest", "") if guest is not None else ""


def nic_element(nic: NicSpec, tap_name: str) -> ET.Element:
    """A card on a tap that is there already. Its alias holds the port's id."""
    interface = ET.Element("interface", type="ethernet")
    ET.SubElement(interface, "mac", address=nic.mac)
    ET.SubElement(interface, "target", dev=tap_name, managed="no")
    ET.SubElement(interface, "model", type=nic.model)
    if nic.model == "virtio":
        ET.SubElement(interface, "mtu", size=str(nic.mtu))
    ET.SubElement(interface, "alias", name=f"ua-{nic.port_id}")
    return interface


@dataclass(frozen=True)
class Devices:
    """The disks and cards of a definition, by the ids we gave them."""

    disk_ids: tuple[str, ...]
    nics: dict[str, ET.Element]  # port id -> interface element

    @staticmethod
    def of(xml: str) -> Devices:
        """Read them from a definition."""
        root = parse(xml)
        disks = (alias(disk) for disk in root.iterfind("devices/disk"))
        nics = {alias(nic): nic for nic in root.iterfind("devices/interface")}
        return Devices(tuple(disk for disk in disks if disk), nics)

    def taps(self) -> dict[str, str]:
        """The tap of each card: port id -> device name."""
        targets = {port_id: nic.find("target") for port_id, nic in self.nics.items()}
        return {
            port_id: target.get("dev", "")
            for port_id, target in targets.items()
            if target is not None
        }


def alias(element: ET.Element) -> str:
    """The id that we gave a device; empty for others."""
    found = element.find("alias")
    name = found.get("name", "") if found is not None else ""
    return name.removeprefix("ua-")


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _printable(text: str) -> str:
    return _NOT_IN_XML.sub(" ", text) or "guest"


def _add_sysinfo(domain: ET.Element, spec: GuestSpec) -> None:
    # cloud-init knows an OpenStack cloud by this product name and looks for metadata then.
    sysinfo = _add(domain, "sysinfo", type="smbios")
    system = _add(sysinfo, "system")
    entries = {"manufacturer": "Nubelet", "product": "OpenStack Compute", "uuid": spec.id}
    for name, value in {**entries, "serial": spec.id, "family": "Virtual Machine"}.items():
        _add(system, "entry", value, name=name)


def _add_os(domain: ET.Element, plan: GuestPlan, machine: Machine) -> None:
    spec = plan.spec
    os_element = _add(domain, "os")
    if spec.firmware == "uefi":
        if "efi" not in machine.firmwares:
            raise HostError(
                HYPERVISOR_REFUSED,
                f"Guest {spec.id} wants UEFI firmware, which this host does not have "
                "(package ovmf)",
            )
        os_element.set("firmware", "efi")
    _add(
        os_element, "type", "hvm", arch="x86_64", machine=spec.machine_type or machine.machine_type
    )
    if plan.kernel_path is not None:
        _add(os_element, "kernel", plan.kernel_path)
        if plan.ramdisk_path is not None:
            _add(os_element, "initrd", plan.ramdisk_path)
        _add(os_element, "cmdline", _kernel_arguments(spec.kernel_arguments, machine))
    if spec.extra.get("hw_boot_menu", "").lower() == "true":
        _add(os_element, "bootmenu", enable="yes")
    _add(os_element, "smbios", mode="sysinfo")


def _kernel_arguments(given: str, machine: Machine) -> str:
    arguments = given or _CONSOLE_ARGUMENTS
    # On a busy host translated timer interrupts come late and Linux gives the IO-APIC up.
    if machine.translates and "no_timer_check" not in arguments.split():
        arguments += " no_timer_check"
    return _printable(arguments)


def _add_features(domain: ET.Element, machine: Machine) -> None:
    features = _add(domain, "features")
    _add(features, "acpi")
    _add(features, "apic")
    if machine.translates:
        # The default grows to a gigabyte; more than this is no faster (measured).
        _add(_add(features, "tcg"), "tb-cache", "32", unit="MiB")


def _add_cpu(domain: ET.Element, spec: GuestSpec, machine: Machine) -> None:
    cpu = _add(domain, "cpu", mode="maximum" if machine.translates else "host-model")
    sockets, cores, threads = (
        _number(spec.extra.get(f"hw_cpu_{part}", "")) for part in ("sockets", "cores", "threads")
    )
    if not any((sockets, cores, threads)):
        sockets, cores, threads = spec.vcpus, 1, 1
    cores, threads = cores or 1, threads or 1
    sockets = sockets or max(1, spec.vcpus // (cores * threads))
    if sockets * cores * threads != spec.vcpus:
        sockets, cores, threads = spec.vcpus, 1, 1
    _add(cpu, "topology", sockets=str(sockets), cores=str(cores), threads=str(threads))


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _add_clock(domain: ET.Element, spec: GuestSpec) -> None:
    is_windows = spec.extra.get("os_type", "") == "windows"
    clock = _add(domain, "clock", offset="localtime" if is_windows else "utc")
    _add(clock, "timer", name="pit", tickpolicy="delay")
    _add(clock, "timer", name="rtc", tickpolicy="catchup")
    _add(clock, "timer", name="hpet", present="no")


def _add_controllers(devices: ET.Element, plan: GuestPlan, is_q35: bool) -> None:
    spec = plan.spec
    if is_q35:
        # Every card and disk takes a port of its own, and ports cannot be added to a running
        # guest: these are the free places for what is plugged later.
        _add(devices, "controller", type="pci", index="0", model="pcie-root")
        slots = max(_LEAST_SLOTS, len(plan.drives) + len(spec.nics) + _HOTPLUG_SLOTS)
        for _ in range(min(slots, 28)):
            _add(devices, "controller", type="pci", model="pcie-root-port")
    if any(drive.bus == "scsi" for drive in plan.drives):
        _add(
            devices, "controller", type="scsi", model=spec.extra.get("hw_scsi_model", "virtio-scsi")
        )
    wants_usb = spec.extra.get("hw_pointer_model") == "usbtablet" or any(
        drive.bus == "usb" for drive in plan.drives
    )
    _add(devices, "controller", type="usb", model="qemu-xhci" if wants_usb else "none")
    if spec.extra.get("hw_pointer_model") == "usbtablet":
        _add(devices, "input", type="tablet", bus="usb")


def _add_drives(devices: ET.Element, drives: tuple[Drive, ...], is_q35: bool) -> None:
    names = _target_names()
    for number, drive in enumerate(drives, 1):
        bus = "sata" if is_q35 and drive.bus == "ide" else drive.bus
        disk = _add(devices, "disk", type="file", device=drive.device)
        driver = _add(disk, "driver", name="qemu", type=drive.format, cache="writeback")
        if not drive.read_only:
            driver.set("discard", "unmap")
        _add(disk, "source", file=drive.path)
        _add(disk, "target", dev=names(bus), bus=bus)
        if drive.read_only:
            _add(disk, "readonly")
        if drive.bootable:
            _add(disk, "boot", order=str(number))
        _add(disk, "alias", name=f"ua-{drive.id}")


class _target_names:  # noqa: N801 - called like a function
    """vda, vdb, ... for virtio; hdX for ide; sdX for what looks like SCSI to a guest."""

    def __init__(self) -> None:
        self._letters: dict[str, Iterator[str]] = {}

    def __call__(self, bus: str) -> str:
        prefix = {"virtio": "vd", "ide": "hd", "fdc": "fd"}.get(bus, "sd")
        letters = self._letters.setdefault(prefix, iter("abcdefghijklmnopqrstuvwxyz"))
        return prefix + next(letters)


def _add_consoles(devices: ET.Element, spec: GuestSpec, paths: GuestPaths) -> None:
    serial = _add(devices, "serial", type="pty")
    _add(serial, "log", file=str(paths.console), append="on")  # else each start empties it
    graphics = _add(devices, "graphics", type="vnc")
    _add(graphics, "listen", type="socket", socket=str(paths.vnc_socket))
    _add(_add(devices, "video"), "model", type=spec.video_model)
    if has_agent(spec):
        channel = _add(devices, "channel", type="unix")
        _add(channel, "source", mode="bind", path=str(paths.agent_socket))
        _add(channel, "target", type="virtio", name="org.qemu.guest_agent.0")


def _add_others(devices: ET.Element, spec: GuestSpec) -> None:
    if spec.has_rng:
        rng = _add(devices, "rng", model="virtio")
        _add(rng, "backend", "/dev/urandom", model="random")
    balloon = _add(devices, "memballoon", model="virtio")
    _add(balloon, "stats", period="10")
    action = spec.extra.get("hw_watchdog_action", "disabled")
    if action in ("reset", "poweroff", "pause", "none"):
        _add(devices, "watchdog", model="i6300esb", action=action)


def parse(xml: str) -> ET.Element:
    """Read a document that libvirt wrote."""
    return ET.fromstring(xml)  # noqa: S314 - libvirt's own words, not a guest's


def as_text(element: ET.Element) -> str:
    """An element as libvirt takes it."""
    return ET.tostring(element, encoding="unicode")
