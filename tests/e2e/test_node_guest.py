"""A node with a guest that really boots: power, console, cards, kills of either process.

One guest is booted from the project's image by libvirt and goes through most tests in turn, as
each boot takes seconds under emulation. Networks are taps without anybody on the other end.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from nubelet.guest import GuestImage
from nubelet.guest.build import build
from nubelet.guest.disk import missing_packages
from nubelet.node import wire
from nubelet.node.client import NodeClient, NodeError
from tests.node_process import NodeProcess

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGE_DIR = Path(os.environ.get("NUBELET_GUEST_IMAGE_DIR", REPOSITORY / "build" / "guest"))
NAMESPACE = f"nubelet-guest-{os.getpid()}"
BOOT_SECONDS = 200  # an overloaded machine; 6 s on a calm one
Answer = TypeVar("Answer")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("node-guest"),
    pytest.mark.skipif(
        shutil.which("qemu-system-x86_64") is None or bool(missing_packages()),
        reason="needs qemu-system-x86 and the image's build tools",
    ),
]

# Installs a script that tells the guest's cards and age, over and over, in this and later boots.
_USER_DATA = b"""#!/bin/sh
cat > /report <<'END'
#!/bin/sh
while sleep 1; do
  echo "cards: $(cd /sys/class/net; echo $(ls -d eth*)) up: $(cut -d. -f1 /proc/uptime)"
done > /dev/ttyS0
END
chmod 755 /report
echo '::respawn:/report' >> /etc/inittab
sync
kill -HUP 1
"""


def until(what: str, condition: Callable[[], Answer], seconds: float = BOOT_SECONDS) -> Answer:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds} s")


def fence() -> wire.Fence:
    return wire.Fence(operation_id=str(uuid.uuid4()), attempt=1)


class Bench:
    """The node process and its guest."""

    def __init__(self, process: NodeProcess, image: GuestImage) -> None:
        self.process = process
        self.image = image
        self.node = NodeClient(process.bus, "host1")
        self.guest_id = str(uuid.uuid4())

    def card(self, number: int) -> wire.NicSpec:
        port_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.guest_id} {number}"))
        mac = f"fa:16:3e:00:00:{number:02x}"
        network = wire.NetworkSpec(id="net", kind="local", mtu=1450)
        self.node.ensure_network(network, fence())
        self.node.ensure_port(
            wire.PortSpec(id=port_id, network_id="net", mac=mac, mtu=1450), fence()
        )
        return wire.NicSpec(port_id=port_id, mac=mac, mtu=1450)

    def fetch(self, name: str, path: Path, disk_format: str) -> None:
        size = path.stat().st_size
        spec = wire.ImageSpec(
            id=name, url=f"file://{path}", disk_format=disk_format, size_bytes=size
        )
        self.node.ensure_image(spec, fence())

    def definition(self) -> wire.GuestSpec:
        self.fetch("cirros", Path(self.image.disk.path), "qcow2")
        disks = (
            self.disk("root", 1 << 30, image_id="cirros"),
            self.disk("ephemeral", 64 << 20),
            self.disk("swap", 16 << 20),
        )
        for disk in disks:
            self.node.ensure_disk(disk, fence())
        metadata = b'{"uuid": "%s", "hostname": "bob", "name": "bob"}' % self.guest_id.encode()
        return wire.GuestSpec(
            id=self.guest_id,
            name='Bob\'s "server" <1> \N{SNOWMAN}',
            vcpus=1,
            memory_mb=128,
            disks=disks,
            nics=(self.card(0),),
            config_drive=wire.ConfigDrive(
                files={
                    "openstack/latest/meta_data.json": metadata,
                    "openstack/latest/user_data": _USER_DATA,
                }
            ),
        )

    def disk(self, role: str, size_bytes: int, image_id: str | None = None) -> wire.DiskSpec:
        return wire.DiskSpec(
            id=f"{self.guest_id}-{role}0",
            guest_id=self.guest_id,
            role=role,
            size_bytes=size_bytes,
            image_id=image_id,
        )

    def ensure(self) -> None:
        self.node.ensure_guest(wire.EnsureGuest(guest=self.definition()), fence())

    @property
    def power(self) -> str:
        return self.node.observe_guest(self.guest_id).power

    def set_power(self, power: str, soft: float = 0) -> None:
        spec = wire.SetPower(id=self.guest_id, power=power, soft_timeout_seconds=soft)
        self.node.set_power(spec, fence())

    def console(self) -> str:
        return self.node.read_console(self.guest_id)

    def boot(self) -> None:
        """Bring the guest up, from whatever state, and wait for its first word."""
        self.ensure()
        self.report()

    def report(self) -> tuple[str, int]:
        """Wait for the guest's next report: its cards, and the seconds since its boot."""
        before = len(re.findall(r"cards: ", self.console()))

        def next_report() -> re.Match[str] | None:
            found = list(re.finditer(r"cards: ([^:]*) up: (\d+)\r?\n", self.console()))
            return found[-1] if len(found) > before else None

        match = until("a report of the guest", next_report)
        return match.group(1), int(match.group(2))

    def process_id(self) -> int:
        path = self.process.state_dir / "libvirt" / "run" / "qemu" / f"{self.guest_id}.pid"
        return int(path.read_text())


@pytest.fixture(scope="module")
def image() -> GuestImage:
    return build(IMAGE_DIR, IMAGE_DIR / "packages", print)


@pytest.fixture(scope="module")
def bench(image: GuestImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    state_dir = tmp_path_factory.mktemp("guest")
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    process = NodeProcess(state_dir, NAMESPACE)
    try:
        process.start()
        yield Bench(process, image)
    finally:
        process.kill()
        process.purge()
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)


def test_it_boots_with_its_disks_and_config_drive(bench):
    bench.boot()
    until("the login", lambda: "bob login:" in bench.console())
    console = bench.console()
    assert "root partition is now 10" in console  # grown to its gigabyte
    for size in ("64.0 MiB", "16.0 MiB"):
        assert size in console
    tail = bench.node.read_console(bench.guest_id, 3)
    assert len(tail.split("\n")) == 3
    assert all(line in bench.console() for line in tail.split("\n"))


def test_counters_are_those_of_the_guest(bench):
    bench.boot()
    found = until(
        "memory statistics",
        lambda: (d := bench.node.observe_diagnostics(bench.guest_id)).memory_used_mb < 128 and d,
    )
    assert found.cpu_times_ns[0] > 1e9
    assert found.uptime_seconds >= 1
    assert found.disks[0]["read_bytes"] > 1 << 20
    assert found.nics[0]["mac_address"] == "fa:16:3e:00:00:00"
    assert found.nics[0]["tx_packets"] > 0  # it asked for an address
    assert bench.node.observe_guest(bench.guest_id).cpu_seconds > 1


def test_a_card_is_plugged_and_unplugged_while_it_runs(bench):
    bench.boot()
    assert bench.report()[0] == "eth0"
    card = bench.card(1)
    bench.node.attach_nic(wire.AttachNic(guest_id=bench.guest_id, nic=card), fence())
    assert until("the card in the guest", lambda: bench.report()[0] == "eth0 eth1")
    started = time.monotonic()
    detach = wire.DetachNic(guest_id=bench.guest_id, port_id=card.port_id, mac=card.mac)
    bench.node.detach_nic(detach, fence())
    assert time.monotonic() - started < 50  # the guest let go of it, before the call gives up
    assert bench.report()[0] == "eth0"
    bench.node.remove_port(card.port_id, fence())


def test_the_node_is_killed_and_takes_the_guest_up_again(bench):
    bench.boot()
    before = bench.process_id()
    bench.process.kill()
    time.sleep(1)
    bench.process.start()
    assert bench.power == "running"
    bench.ensure()
    assert bench.process_id() == before
    _, up = bench.report()
    assert up > 1
    bench.set_power("paused")
    bench.set_power("running")
    bench.report()


def test_its_memory_survives_a_suspension(bench):
    bench.boot()
    _, before = bench.report()
    bench.set_power("suspended")
    assert bench.power == "suspended"
    bench.process.kill()
    bench.process.start()
    assert bench.power == "suspended"
    bench.set_power("running")
    _, after = bench.report()
    assert before <= after < before + 120  # the same boot goes on


def test_it_obeys_the_power_button_and_keeps_its_console(bench):
    bench.boot()
    started = time.monotonic()
    bench.set_power("shutdown", soft=200)
    assert bench.power == "shutdown"
    assert time.monotonic() - started < 190  # it was not switched off
    boots = bench.console().count("login:")
    bench.node.reboot_guest(wire.Reboot(id=bench.guest_id, hard=True), fence())
    until("the second boot", lambda: bench.console().count("login:") > boots)


def test_a_soft_reboot_boots_again(bench):
    bench.boot()
    boots = bench.console().count("login:")
    before = bench.process_id()
    bench.node.reboot_guest(wire.Reboot(id=bench.guest_id, soft_timeout_seconds=200), fence())
    assert bench.process_id() != before
    until("the next boot", lambda: bench.console().count("login:") > boots)


def test_what_happens_to_a_guest_by_itself_is_reported(bench):
    bench.boot()
    bench.report()
    known = len(bench.process.events())
    os.kill(bench.process_id(), signal.SIGKILL)
    event = until("the event", lambda: bench.process.events()[known:])[0]
    assert (event.guest_id, event.power) == (bench.guest_id, "crashed")
    state = bench.node.observe_guest(bench.guest_id)
    assert state.power == "crashed"
    assert "unexpectedly" in state.fault
    bench.process.kill()
    bench.process.start()
    assert bench.power == "crashed"
    bench.set_power("running")
    assert bench.power == "running"


def test_a_guest_that_died_while_the_node_was_away_is_found_crashed(bench):
    bench.boot()
    bench.process.kill()
    os.kill(bench.process_id(), signal.SIGKILL)
    for _ in range(2):  # it is not forgotten either
        bench.process.start()
        assert bench.power == "crashed"
        bench.process.kill()
    bench.process.start()
    bench.set_power("shutdown")
    assert bench.power == "shutdown"  # now it is off by somebody's wish
    bench.process.kill()
    bench.process.start()
    assert bench.power == "shutdown"
    bench.boot()


def test_our_own_switching_off_is_no_event(bench):
    bench.boot()
    known = len(bench.process.events())
    bench.set_power("shutdown")
    bench.set_power("running")
    time.sleep(1)
    powers = {event.power for event in bench.process.events()[known:]}
    assert powers == set()


@pytest.mark.crash
def test_the_node_is_killed_at_any_moment_of_a_start(bench):
    """Whatever moment the kill meets: the next process finds a guest that it can start."""
    bench.boot()
    for milliseconds in (5, 40, 80, 120, 160, 200, 240, 300):
        bench.set_power("shutdown")
        start = threading.Thread(target=_ignoring_the_loss, args=(bench.ensure,))
        start.start()
        time.sleep(milliseconds / 1000)
        bench.process.kill()
        start.join()
        bench.process.start()
        bench.ensure()
        assert bench.power == "running"
        running = subprocess.run(
            ["pgrep", "-fc", f"qemu-system.*{bench.process.state_dir}/"], capture_output=True
        )
        assert int(running.stdout) == 1
    bench.report()


def _ignoring_the_loss(call: Callable[[], None]) -> None:
    with contextlib.suppress(NodeError):
        call()


def test_a_kernel_is_booted_directly(bench):
    bench.fetch("kernel", Path(bench.image.kernel.path), "aki")
    bench.fetch("ramdisk", Path(bench.image.live.path), "ari")
    guest = wire.GuestSpec(
        id=str(uuid.uuid4()),
        name="live",
        vcpus=1,
        memory_mb=128,
        kernel_image_id="kernel",
        ramdisk_image_id="ramdisk",
        kernel_arguments="console=ttyS0 quiet",
    )
    bench.set_power("shutdown")
    bench.node.ensure_guest(wire.EnsureGuest(guest=guest), fence())
    try:
        until("the login", lambda: "login:" in bench.node.read_console(guest.id))
    finally:
        bench.node.remove_guest(guest.id, fence())


def test_purge_removes_all_and_says_it(bench):
    bench.boot()
    process_id = bench.process_id()
    bench.process.stop()
    assert Path(f"/proc/{process_id}").exists()
    said = bench.process.purge()
    assert f"guest {bench.guest_id}" in said
    until("QEMU to end", lambda: not Path(f"/proc/{process_id}").exists(), 100)
    left = {path.name for path in bench.process.state_dir.iterdir()}
    assert left <= {"agent.sock", "events"}
    bench.process.start()
    assert bench.node.observe_guests() == ()
