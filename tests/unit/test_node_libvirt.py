"""The parts of the libvirt driver that need no libvirt: definitions, states, traits, paths."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from nubelet.node import wire
from nubelet.node.errors import HostError
from nubelet.node.hypervisor import Drive, GuestPlan, console
from nubelet.node.hypervisor.libvirt import domain_xml, losses, purging, states
from nubelet.node.hypervisor.libvirt.connection import Connection
from nubelet.node.hypervisor.libvirt.paths import Paths
from nubelet.node.hypervisor.libvirt.traits import cpu_traits, device_traits

TCG = domain_xml.Machine(translates=True, machine_type="pc-q35-7.2")
KVM = domain_xml.Machine(translates=False, machine_type="pc-q35-7.2", firmwares=("bios", "efi"))
PATHS = domain_xml.GuestPaths(Path("/s/c.log"), Path("/s/v.sock"), Path("/s/a.sock"))
NIC = wire.NicSpec(port_id="port-1", mac="fa:16:3e:00:00:01", mtu=1450)


def plan(drives=(), kernel=None, ramdisk=None, **fields) -> GuestPlan:
    values = {"id": "g1", "name": "web", "vcpus": 2, "memory_mb": 128}
    spec = wire.GuestSpec(**{**values, **fields})
    return GuestPlan(spec, tuple(drives), kernel, ramdisk)


def build(machine=TCG, taps=(), **fields) -> ET.Element:
    return ET.fromstring(domain_xml.build(plan(**fields), machine, PATHS, list(taps)))


def test_translation_has_its_own_kind_cpu_and_cache():
    domain = build()
    assert domain.get("type") == "qemu"
    assert domain.find("cpu").get("mode") == "maximum"
    assert domain.findtext("features/tcg/tb-cache") == "32"
    domain = build(KVM)
    assert domain.get("type") == "kvm"
    assert domain.find("cpu").get("mode") == "host-model"
    assert domain.find("features/tcg") is None


def test_the_machine_type_is_versioned_unless_the_image_names_one():
    assert build().find("os/type").get("machine") == "pc-q35-7.2"
    domain = build(machine_type="pc")
    assert domain.find("os/type").get("machine") == "pc"
    assert domain.findall("devices/controller[@model='pcie-root-port']") == []


def test_there_are_free_places_for_cards_and_disks():
    ports = build().findall("devices/controller[@model='pcie-root-port']")
    assert len(ports) == 16
    cards = tuple(wire.NicSpec(port_id=f"p{n}", mac=f"fa:16:3e:00:00:{n:02x}") for n in range(8))
    domain = build(nics=cards, taps=[f"t{n}" for n in range(8)])
    assert len(domain.findall("devices/controller[@model='pcie-root-port']")) == 20


def test_a_card_is_on_its_tap_and_carries_its_port():
    nic = build(nics=(NIC,), taps=["t1234abc"]).find("devices/interface")
    assert (nic.get("type"), nic.find("target").get("dev")) == ("ethernet", "t1234abc")
    assert nic.find("target").get("managed") == "no"
    assert nic.find("mtu").get("size") == "1450"
    xml = domain_xml.build(plan(nics=(NIC,)), TCG, PATHS, ["t1"])
    assert list(domain_xml.Devices.of(xml).nics) == ["port-1"]


def test_disks_have_stated_formats_and_names_by_bus():
    drives = [
        Drive("a", "/d/a", "qcow2", bootable=True),
        Drive("b", "/d/b", "raw", "sata", "cdrom", read_only=True),
        Drive("c", "/d/c", "raw", "ide"),
        Drive("d", "/d/d", "raw", "scsi"),
        Drive("e", "/d/e", "raw"),
    ]
    disks = build(drives=drives).findall("devices/disk")
    targets = [(d.find("target").get("dev"), d.find("target").get("bus")) for d in disks]
    assert targets == [
        ("vda", "virtio"),
        ("sda", "sata"),
        ("sdb", "sata"),  # this machine has no IDE
        ("sdc", "scsi"),
        ("vdb", "virtio"),
    ]
    assert [d.find("driver").get("type") for d in disks] == ["qcow2", "raw", "raw", "raw", "raw"]
    assert disks[0].find("boot").get("order") == "1"
    assert disks[1].find("readonly") is not None
    assert disks[4].find("boot") is None


def test_the_console_log_goes_on_after_a_restart():
    log = build().find("devices/serial/log")
    assert log.get("append") == "on"


def test_the_screen_is_on_a_socket_only():
    listen = build().find("devices/graphics/listen")
    assert (listen.get("type"), listen.get("socket")) == ("socket", "/s/v.sock")


def test_a_directly_booted_kernel_gets_what_translation_needs():
    domain = build(kernel="/k", ramdisk="/r", kernel_arguments="console=ttyS0")
    assert domain.findtext("os/kernel") == "/k"
    assert domain.findtext("os/initrd") == "/r"
    assert domain.findtext("os/cmdline") == "console=ttyS0 no_timer_check"
    again = build(kernel="/k", kernel_arguments="no_timer_check")
    assert again.findtext("os/cmdline") == "no_timer_check"
    assert "no_timer_check" not in build(KVM, kernel="/k").findtext("os/cmdline")
    assert "console=ttyS0" in build(KVM, kernel="/k").findtext("os/cmdline")


def test_uefi_needs_firmware_on_the_host():
    assert build(KVM, firmware="uefi").find("os").get("firmware") == "efi"
    with pytest.raises(HostError, match="package ovmf"):
        build(TCG, firmware="uefi")


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, ("2", "1", "1")),
        ({"hw_cpu_cores": "2"}, ("1", "2", "1")),
        ({"hw_cpu_sockets": "1", "hw_cpu_threads": "2"}, ("1", "1", "2")),
        ({"hw_cpu_sockets": "3"}, ("2", "1", "1")),  # cannot be: the flavor's count wins
        ({"hw_cpu_cores": "many"}, ("2", "1", "1")),
    ],
)
def test_cpu_topology(extra, expected):
    topology = build(extra=extra).find("cpu/topology")
    assert tuple(topology.get(part) for part in ("sockets", "cores", "threads")) == expected


def test_what_users_write_cannot_break_the_document():
    domain = build(name="a\x00<b>&\"'\n\ud800\ufffe\N{SNOWMAN}")
    title = domain.findtext("title")
    assert "<b>&" in title
    assert "\N{SNOWMAN}" in title
    assert build(name="").findtext("title") == "guest"


def test_the_digest_tells_whether_a_definition_is_the_same():
    first, same, other = (
        domain_xml.build(plan(memory_mb=memory), TCG, PATHS, []) for memory in (128, 128, 256)
    )
    assert domain_xml.digest_of(first) == domain_xml.digest_of(same) != ""
    assert domain_xml.digest_of(first) != domain_xml.digest_of(other)
    assert domain_xml.digest_of("<domain/>") == ""


@pytest.mark.parametrize(
    ("state", "reason", "is_saved", "power"),
    [
        (1, 1, False, "running"),
        (2, 0, False, "running"),
        (4, 1, False, "running"),  # on its way down: not off yet
        (3, 1, False, "paused"),
        (3, 11, False, "running"),  # QEMU has just been started
        (5, 1, False, "shutdown"),
        (5, 2, False, "shutdown"),
        (5, 5, True, "suspended"),
        (5, 3, False, "crashed"),
        (5, 6, False, "crashed"),
        (5, 8, False, "crashed"),
        (5, 0, False, "shutdown"),
        (6, 1, False, "crashed"),
        (7, 1, False, "suspended"),
    ],
)
def test_states(state, reason, is_saved, power):
    found, fault = states.power_of(state, reason, is_saved)
    assert found == power
    assert bool(fault) == (power == "crashed")


def test_a_guest_paused_for_its_disk_says_so():
    assert states.power_of(3, 5, False) == (
        "paused",
        "A disk of the guest could not be read or written",
    )


def test_traits_are_standard_ones():
    found = cpu_traits(("aes", "sse4.1", "sse4_2", "svm", "sha-ni", "not-a-feature", "avx512f"))
    assert found == {
        "HW_CPU_X86_AESNI",
        "HW_CPU_X86_SSE41",
        "HW_CPU_X86_SSE42",
        "HW_CPU_X86_SVM",
        "HW_CPU_X86_AMD_SVM",
        "HW_CPU_X86_SHA",
        "HW_CPU_X86_AVX512F",
    }
    capabilities = ET.fromstring(
        "<domainCapabilities><os><enum name='firmware'><value>efi</value></enum></os><devices>"
        "<video><enum name='modelType'><value>qxl</value><value>ramfb</value></enum></video>"
        "<disk><enum name='bus'><value>scsi</value></enum></disk></devices></domainCapabilities>"
    )
    found = device_traits(capabilities)
    assert {"COMPUTE_GRAPHICS_MODEL_QXL", "COMPUTE_STORAGE_BUS_SCSI"} <= found
    assert "COMPUTE_FIRMWARE_UEFI" in found
    assert "COMPUTE_GRAPHICS_MODEL_RAMFB" not in found  # no such trait


def test_sockets_stay_short_in_deep_folders(tmp_path):
    shallow, deep = Paths(Path("/var/lib/nubelet")), Paths(tmp_path / ("x" * 60))
    assert shallow.root == Path("/var/lib/nubelet/libvirt")
    assert str(deep.root).startswith("/run/nubelet-")
    guest_id = "0" * 36
    for paths in (shallow, deep):
        assert len(os.fsencode(paths.vnc_socket(guest_id))) < 108
        assert len(f"{paths.root}/lib/qemu/domain-12345-{'0' * 20}/monitor.sock") < 108
    assert deep.console(guest_id).is_relative_to(tmp_path)


def test_purge_ends_processes_that_libvirt_does_not_know(tmp_path):
    """Also where libvirt cannot be opened; and none of another state folder."""
    code = "import time; print(flush=True); time.sleep(600)"
    state, other = tmp_path / "state", tmp_path / "state2"
    processes = [
        subprocess.Popen(
            ["qemu-system-fake", "-c", code, f"{folder}/guests/x.qcow2"],
            executable=sys.executable,
            stdout=subprocess.PIPE,
        )
        for folder in (state, other)
    ]
    try:
        for process in processes:
            process.stdout.readline()
        (state / "consoles").mkdir(parents=True)
        said = purging.purge(Connection(Paths(state)), Paths(state))
        assert f"QEMU process {processes[0].pid}" in said
        assert f"folder {state / 'consoles'}" in said
        assert processes[0].wait(60) == -9
        assert processes[1].poll() is None
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.fixture
def processes() -> Iterator[Callable[..., int]]:
    """Starts processes that look like a guest's QEMU, or like something else."""
    started = []

    def start(program: str, *words: str) -> int:
        code = "import time; print(flush=True); time.sleep(600)"
        process = subprocess.Popen(
            [program, "-c", code, *words], executable=sys.executable, stdout=subprocess.PIPE
        )
        process.stdout.readline()
        started.append(process)
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_status_of_a_guest_without_qemu_is_dropped_before_libvirt_waits_for_it(
    tmp_path, processes
):
    paths = Paths(tmp_path)
    folder = paths.folder / "run" / "qemu"
    folder.mkdir(parents=True)
    lock = folder / "driver.pid"
    lock.write_text("1")
    dead = subprocess.Popen(["true"])
    dead.wait()
    found = {
        "alive": processes("qemu-system-x86_64", "-name", "guest=alive,debug-threads=on"),
        "reused-by-another-guest": processes("qemu-system-x86_64", "-name", "guest=other"),
        "reused-by-a-program": processes("something"),
        "gone": dead.pid,
    }
    for guest_id, process_id in found.items():
        (folder / f"{guest_id}.xml").write_text(f"<domstatus state='running' pid='{process_id}'/>")
        (folder / f"{guest_id}.pid").write_text(str(process_id))
    (folder / "torn.xml").write_text("<domst")
    holder = "import fcntl, sys; f = open(sys.argv[1], 'rb+'); fcntl.lockf(f, 2); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holder, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        assert losses.drop_dead(paths) == []  # another process has this root
        other.communicate(b"\n")
    assert set(losses.drop_dead(paths)) == {*found, "torn"} - {"alive"}
    assert {path.name for path in folder.iterdir()} == {"driver.pid", "alive.xml", "alive.pid"}
    assert losses.drop_dead(Paths(tmp_path / "new")) == []


def test_what_libvirt_asked_of_qemu_ends_with_the_process_that_asked(tmp_path, processes):
    """A node that is killed while libvirt looks for the abilities of QEMU."""
    paths = Paths(tmp_path)
    (paths.folder / "run" / "qemu").mkdir(parents=True)
    (paths.folder / "run" / "qemu" / "driver.pid").write_text("1")
    qemu, probe = f"qemu-system-{platform.machine()}", paths.root / "lib" / "qemu" / "qmp-9BGHZ3"
    probe.mkdir(parents=True)
    other = tmp_path / "other" / "libvirt" / "lib" / "qemu" / "qmp-9BGHZ3" / "qmp.pid"
    asked = processes(qemu, "-pidfile", str(probe / "qmp.pid"), "-daemonize")
    guest = processes(qemu, "-name", "guest=g", str(paths.root / "lib/qemu/domain-1-g/key"))
    elsewhere = processes(qemu, "-pidfile", str(other))
    assert losses.drop_dead(paths) == []
    assert [_is_at_work(each) for each in (asked, guest, elsewhere)] == [False, True, True]
    assert not probe.exists()


def _is_at_work(process_id: int) -> bool:
    return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_lost_guest_is_remembered_until_it_is_dealt_with(tmp_path):
    paths = Paths(tmp_path)
    found = losses.Losses(paths)
    assert found.why("g1") == ""
    found.note("g1", "QEMU ended")
    assert losses.Losses(paths).why("g1") == "QEMU ended"
    found.forgive("g1")
    assert (found.why("g1"), found.is_forgiven("g1")) == ("", True)
    found.note("g1", "QEMU ended again")
    assert not found.is_forgiven("g1")
    found.forget("g1")
    assert (found.why("g1"), found.is_forgiven("g1")) == ("", False)


def test_a_console_log_is_cut_but_keeps_its_end(tmp_path):
    path = tmp_path / "console.log"
    assert console.tail(path, None) == ""
    with open(path, "ab", buffering=0) as writer:  # as QEMU holds it
        writer.write(b"old\n" * (2 << 20))
        writer.write("the end \N{SNOWMAN}\n".encode())
        console.trim(path)
        writer.write(b"and after\n")
    assert path.stat().st_size < 1 << 20
    assert console.tail(path, 2) == "the end \N{SNOWMAN}\nand after"
    assert console.tail(path, 0) == ""
    assert len(console.tail(path, None)) <= 256 << 10
    console.trim(tmp_path / "missing")
