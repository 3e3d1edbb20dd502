"""One suite for all drivers: what the agent promises, with fakes and with QEMU and real files.

The real ones need root, QEMU and libvirt (marker e2e); their guests have an empty disk and never
get past the firmware, which is all that most promises need. Booted guests: tests/e2e.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from nubelet.formats import qcow2
from nubelet.formats.content import Content
from nubelet.node import wire
from nubelet.node.client import NodeClient, NodeError
from nubelet.node.disks.fake import FakeDisks
from tests.node_process import NodeProcess
from tests.unit.test_node_agent import DirectBus, fake_agent

NAMESPACE = f"nubelet-drivers-{os.getpid()}"


def new_fence() -> wire.Fence:
    return wire.Fence(operation_id=str(uuid.uuid4()), attempt=1)


class Bench:
    """A node to test, and short words for what the tests do with it."""

    def __init__(self, node: NodeClient, state_dir: Path, kind: str) -> None:
        self.node = node
        self.state_dir = state_dir
        self.kind = kind

    def port(self) -> wire.NicSpec:
        number = uuid.uuid4()
        mac = "fa:16:3e:" + ":".join(number.hex[i : i + 2] for i in (0, 2, 4))
        network = wire.NetworkSpec(id="net", kind="local", mtu=1450)
        self.node.ensure_network(network, new_fence())
        port = wire.PortSpec(id=str(number), network_id="net", mac=mac, mtu=1450)
        self.node.ensure_port(port, new_fence())
        return wire.NicSpec(port_id=str(number), mac=mac, mtu=1450)

    def guest(self, nics: int = 1, **fields) -> wire.GuestSpec:
        guest_id = str(uuid.uuid4())
        disk = wire.DiskSpec(
            id=f"{guest_id}-root", guest_id=guest_id, role="root", size_bytes=8 << 20
        )
        self.node.ensure_disk(disk, new_fence())
        cards = tuple(self.port() for _ in range(nics))
        return wire.GuestSpec(
            id=guest_id, name="web", vcpus=1, memory_mb=64, disks=(disk,), nics=cards, **fields
        )

    def start(self, guest: wire.GuestSpec) -> str:
        self.node.ensure_guest(wire.EnsureGuest(guest=guest), new_fence())
        return guest.id

    def power(self, guest_id: str) -> str:
        return self.node.observe_guest(guest_id).power

    def set_power(self, guest_id: str, power: str, soft: float = 0) -> str:
        spec = wire.SetPower(id=guest_id, power=power, soft_timeout_seconds=soft)
        self.node.set_power(spec, new_fence())
        return self.power(guest_id)

    def copy(self, guest: wire.GuestSpec, **fields) -> tuple[str, wire.SnapshotState]:
        """A copy of the guest's disk, made to its end."""
        wanted = wire.TakeSnapshot(
            id=str(uuid.uuid4()), guest_id=guest.id, disk=guest.disks[0], **fields
        )
        fence = new_fence()
        until = time.monotonic() + 120
        while time.monotonic() < until:
            state = self.node.ensure_snapshot(wanted, fence)
            if state.is_done:
                return wanted.id, state
            assert state.copied_bytes <= state.total_bytes
            time.sleep(0.05)
        raise AssertionError("the copy does not come to an end")

    def read_copy(self, guest: wire.GuestSpec, snapshot_id: str, size: int) -> bytes:
        parts = [
            self.node.read_snapshot(
                wire.SnapshotPart(id=snapshot_id, guest_id=guest.id, offset=at, length=100_000)
            )
            for at in range(0, size + 100_000, 100_000)
        ]
        return b"".join(parts)

    def remove_copy(self, guest: wire.GuestSpec, snapshot_id: str) -> None:
        self.node.remove_snapshot(wire.SnapshotName(id=snapshot_id, guest_id=guest.id), new_fence())

    def remove(self, guest: wire.GuestSpec) -> None:
        self.node.remove_guest(guest.id, new_fence())
        self.node.remove_disks(guest.id, new_fence())
        for nic in guest.nics:
            self.node.remove_port(nic.port_id, new_fence())


@pytest.fixture(scope="module", params=["fake", pytest.param("real", marks=pytest.mark.e2e)])
def bench(request, tmp_path_factory):
    # So deep that sockets below it have names too long for the kernel.
    state_dir = tmp_path_factory.mktemp(f"node-{request.param}") / "a-folder-deep-in-the-tree"
    state_dir.mkdir()
    if request.param == "fake":
        bus = DirectBus()
        bus.targets["node.host1"] = fake_agent(state_dir).handle
        yield Bench(NodeClient(bus, "host1"), state_dir, "fake")
        return
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("QEMU is not installed")
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    process = NodeProcess(state_dir, NAMESPACE)
    try:
        process.start()
        node = NodeClient(process.bus, "host1")
        yield Bench(node, state_dir, "real")
        process.stop()
        said = process.purge()
        (link,) = [line.split()[1] for line in said if line.startswith("link /run/nubelet-")]
        assert not Path(link).is_symlink()
    finally:
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)
        said = subprocess.run(
            ["pgrep", "-fa", f"qemu-system.*{state_dir}/"], capture_output=True, text=True
        ).stdout
        assert said == "", f"QEMU processes left: {said}"


@pytest.fixture
def guest(bench):
    guest = bench.guest()
    yield guest
    bench.remove(guest)


def test_ensuring_twice_is_ensuring_once(bench, guest):
    bench.start(guest)
    before = bench.node.observe_diagnostics(guest.id)
    time.sleep(1.1)
    bench.start(guest)
    after = bench.node.observe_diagnostics(guest.id)
    assert after.uptime_seconds >= before.uptime_seconds + 1  # it was not started anew
    state = bench.node.observe_guest(guest.id)
    assert (state.power, state.vcpus, state.memory_mb) == ("running", 1, 64)
    assert state.disks == (guest.disks[0].id,)
    assert state.nics == (guest.nics[0].port_id,)
    assert guest.id in {state.id for state in bench.node.observe_guests()}


def test_removing_twice_is_removing_once(bench):
    guest = bench.guest()
    bench.start(guest)
    bench.remove(guest)
    bench.remove(guest)
    assert bench.power(guest.id) == "missing"
    assert guest.id not in bench.node.observe_storage().guest_disks
    if bench.kind == "real":
        left = list(bench.state_dir.rglob(f"*{guest.id}*"))
        assert left == []


@pytest.mark.parametrize(
    "path",
    [
        ["paused", "running", "paused", "shutdown", "running"],
        ["suspended", "running", "suspended", "shutdown"],
        ["shutdown", "shutdown", "running", "running"],
        ["paused", "suspended", "running"],
        ["paused", "paused"],
        ["suspended", "suspended"],
    ],
    ids="-".join,
)
def test_power_states(bench, guest, path):
    bench.start(guest)
    for power in path:
        assert bench.set_power(guest.id, power) == power


@pytest.mark.parametrize("power", ["paused", "suspended"])
def test_a_guest_that_is_off_cannot_be_paused_or_suspended(bench, guest, power):
    bench.node.ensure_guest(wire.EnsureGuest(guest=guest, power="shutdown"), new_fence())
    assert bench.power(guest.id) == "shutdown"
    with pytest.raises(NodeError) as refused:
        bench.set_power(guest.id, power)
    assert refused.value.code == "guest_state"
    assert "shutdown" in refused.value.message


def test_a_guest_that_does_not_obey_is_switched_off(bench, guest):
    bench.start(guest)
    started = time.monotonic()
    assert bench.set_power(guest.id, "shutdown", soft=1) == "shutdown"
    assert time.monotonic() - started < 60  # not for ever


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("before", ["running", "paused", "suspended", "shutdown"])
def test_reboot_starts_the_guest_whatever_it_was(bench, guest, hard, before):
    bench.start(guest)
    if before != "running":
        bench.set_power(guest.id, before)
    bench.node.reboot_guest(
        wire.Reboot(id=guest.id, hard=hard, soft_timeout_seconds=0.5), new_fence()
    )
    assert bench.power(guest.id) == "running"


def test_calls_for_a_guest_that_is_not_there(bench):
    nobody = str(uuid.uuid4())
    nic = wire.NicSpec(port_id="p", mac="fa:16:3e:00:00:01")
    calls = [
        lambda: bench.set_power(nobody, "running"),
        lambda: bench.node.reboot_guest(wire.Reboot(id=nobody), new_fence()),
        lambda: bench.node.attach_nic(wire.AttachNic(guest_id=nobody, nic=nic), new_fence()),
        lambda: bench.node.observe_diagnostics(nobody),
        lambda: bench.node.read_console(nobody),
    ]
    for call in calls:
        with pytest.raises(NodeError) as refused:
            call()
        assert refused.value.code == "no_such_guest"
        assert nobody in refused.value.message
    bench.node.remove_guest(nobody, new_fence())
    bench.node.detach_nic(
        wire.DetachNic(guest_id=nobody, port_id="p", mac="fa:16:3e:00:00:01"), new_fence()
    )
    assert bench.power(nobody) == "missing"


def test_diagnostics_of_a_guest_that_is_off(bench, guest):
    bench.node.ensure_guest(wire.EnsureGuest(guest=guest, power="shutdown"), new_fence())
    with pytest.raises(NodeError) as refused:
        bench.node.observe_diagnostics(guest.id)
    assert refused.value.code == "guest_state"


def test_a_guest_without_its_tap_is_refused_by_name(bench):
    guest = bench.guest()
    bench.node.remove_port(guest.nics[0].port_id, new_fence())
    with pytest.raises(NodeError) as refused:
        bench.start(guest)
    assert refused.value.code == "no_such_port"
    assert guest.nics[0].port_id in refused.value.message
    assert bench.power(guest.id) != "running"
    bench.remove(guest)


def test_a_card_without_its_tap_is_refused_by_name(bench, guest):
    bench.start(guest)
    nic = bench.port()
    bench.node.remove_port(nic.port_id, new_fence())
    with pytest.raises(NodeError) as refused:
        bench.node.attach_nic(wire.AttachNic(guest_id=guest.id, nic=nic), new_fence())
    assert refused.value.code == "no_such_port"
    assert bench.node.observe_guest(guest.id).nics == (guest.nics[0].port_id,)


def test_what_qemu_says_is_passed_on(bench):
    if bench.kind == "fake":
        pytest.skip("there is no QEMU")
    guest = bench.guest(nics=0)
    path = next(bench.state_dir.glob(f"guests/{guest.id}/*.qcow2"))
    path.write_bytes(b"rubbish" * 1000)
    with pytest.raises(NodeError) as refused:
        bench.start(guest)
    assert refused.value.code == "hypervisor_refused"
    assert f"refused to start guest {guest.id}: QEMU ended: disk" in refused.value.message
    assert "Image is not in qcow2 format" in refused.value.message
    bench.remove(guest)


def test_a_guest_without_its_disk_is_refused_by_name(bench):
    guest = bench.guest(nics=0)
    bench.node.remove_disks(guest.id, new_fence())
    with pytest.raises(NodeError) as refused:
        bench.start(guest)
    assert refused.value.code == "disk_missing"
    assert guest.disks[0].id in refused.value.message
    bench.remove(guest)


def test_cards_are_plugged_and_unplugged_while_off(bench, guest):
    bench.node.ensure_guest(wire.EnsureGuest(guest=guest, power="shutdown"), new_fence())
    nic = bench.port()
    attach = wire.AttachNic(guest_id=guest.id, nic=nic)
    detach = wire.DetachNic(guest_id=guest.id, port_id=nic.port_id, mac=nic.mac)
    for _ in range(2):
        bench.node.attach_nic(attach, new_fence())
        assert set(bench.node.observe_guest(guest.id).nics) == {
            guest.nics[0].port_id,
            nic.port_id,
        }
    assert bench.set_power(guest.id, "running") == "running"
    assert nic.port_id in bench.node.observe_guest(guest.id).nics
    bench.set_power(guest.id, "shutdown")
    for _ in range(2):
        bench.node.detach_nic(detach, new_fence())
        assert bench.node.observe_guest(guest.id).nics == (guest.nics[0].port_id,)
    bench.node.remove_port(nic.port_id, new_fence())


def test_cards_are_plugged_while_running_and_stay(bench, guest):
    bench.start(guest)
    cards = [bench.port() for _ in range(3)]
    for nic in cards:
        bench.node.attach_nic(wire.AttachNic(guest_id=guest.id, nic=nic), new_fence())
    everything = {guest.nics[0].port_id, *(nic.port_id for nic in cards)}
    assert set(bench.node.observe_guest(guest.id).nics) == everything
    assert len(bench.node.observe_diagnostics(guest.id).nics) == 4
    bench.node.reboot_guest(wire.Reboot(id=guest.id, hard=True), new_fence())
    assert set(bench.node.observe_guest(guest.id).nics) == everything
    bench.set_power(guest.id, "shutdown")
    for nic in cards:
        bench.node.remove_port(nic.port_id, new_fence())


def test_a_new_definition_counts_from_the_next_start_but_cards_at_once(bench, guest):
    bench.start(guest)
    nic = bench.port()
    changed = wire.GuestSpec(
        id=guest.id,
        name="renamed",
        vcpus=2,
        memory_mb=96,
        disks=guest.disks,
        nics=(*guest.nics, nic),
    )
    bench.start(changed)
    state = bench.node.observe_guest(guest.id)
    assert state.power == "running"
    assert set(state.nics) == {guest.nics[0].port_id, nic.port_id}
    bench.node.reboot_guest(wire.Reboot(id=guest.id, hard=True), new_fence())
    state = bench.node.observe_guest(guest.id)
    assert (state.vcpus, state.memory_mb) == (2, 96)
    assert set(state.nics) == {guest.nics[0].port_id, nic.port_id}
    bench.set_power(guest.id, "shutdown")
    bench.node.remove_port(nic.port_id, new_fence())


def test_a_disk_that_differs_is_not_replaced(bench):
    guest = bench.guest(nics=0)
    disk = guest.disks[0]
    bench.node.ensure_disk(disk, new_fence())
    other = wire.DiskSpec(
        id=disk.id, guest_id=disk.guest_id, role="root", size_bytes=8 << 20, format="raw"
    )
    with pytest.raises(NodeError) as refused:
        bench.node.ensure_disk(other, new_fence())
    assert refused.value.code == "disk_differs"
    bench.remove(guest)


def test_an_image_is_fetched_kept_while_used_and_dropped(bench, tmp_path):
    content = bytes(range(256)) * 4096
    source = tmp_path / "image.raw"
    source.write_bytes(content)
    image_id = str(uuid.uuid4())
    spec = wire.ImageSpec(
        id=image_id, url=f"file://{source}", disk_format="raw", size_bytes=len(content)
    )
    for _ in range(2):
        bench.node.ensure_image(spec, new_fence())
    assert image_id in bench.node.observe_storage().images
    guest_id = str(uuid.uuid4())
    disk = wire.DiskSpec(
        id=f"{guest_id}-root",
        guest_id=guest_id,
        role="root",
        size_bytes=8 << 20,
        image_id=image_id,
    )
    bench.node.ensure_disk(disk, new_fence())
    bench.node.remove_image(image_id, new_fence())
    assert image_id in bench.node.observe_storage().images
    bench.node.remove_disks(guest_id, new_fence())
    for _ in range(2):
        bench.node.remove_image(image_id, new_fence())
    assert image_id not in bench.node.observe_storage().images


def test_an_image_that_is_gone_is_named(bench, tmp_path):
    spec = wire.ImageSpec(
        id="lost", url=f"file://{tmp_path}/lost.raw", disk_format="raw", size_bytes=10
    )
    with pytest.raises(NodeError) as refused:
        bench.node.ensure_image(spec, new_fence())
    assert refused.value.code == "image_missing"
    assert f"{tmp_path}/lost.raw" in refused.value.message
    disk = wire.DiskSpec(id="d", guest_id="g", role="root", size_bytes=1, image_id="lost")
    with pytest.raises(NodeError) as refused:
        bench.node.ensure_disk(disk, new_fence())
    assert refused.value.code == "image_missing"
    bench.node.remove_disks("g", new_fence())


@pytest.mark.parametrize("power", ["running", "paused", "suspended", "shutdown"])
def test_a_disk_is_copied_in_every_power_state(bench, guest, power, tmp_path):
    if bench.kind == "real":
        disk = bench.state_dir / "guests" / guest.id / f"{guest.id}-root.qcow2"
        _qemu_io(disk, "write -P 0xab 1M 64k")
    bench.start(guest)
    bench.set_power(guest.id, power)
    snapshot_id, state = bench.copy(guest)
    assert bench.power(guest.id) == power
    assert bench.node.observe_storage().snapshots == {snapshot_id: guest.id}
    content = bench.read_copy(guest, snapshot_id, state.size_bytes)
    assert len(content) == state.size_bytes
    copy = tmp_path / "copy.qcow2"
    copy.write_bytes(content)
    facts = Content()
    facts.feed(content)
    assert qcow2.virtual_size(facts) == 8 << 20  # also: it stands alone
    if bench.kind == "real":
        assert "verification failed" not in _qemu_io(copy, "read -P 0xab 1M 64k")
        assert "verification failed" not in _qemu_io(copy, "read -P 0 2M 64k")
    for _ in range(2):
        bench.remove_copy(guest, snapshot_id)
    assert bench.node.observe_storage().snapshots == {}
    assert bench.node.observe_storage().unknown_files == ()
    with pytest.raises(NodeError) as refused:
        bench.read_copy(guest, snapshot_id, 1)
    assert refused.value.code == "snapshot_missing"


def test_a_new_copy_takes_the_place_of_one_that_was_left(bench, guest):
    bench.start(guest)
    first, _ = bench.copy(guest)
    second, _ = bench.copy(guest)
    assert bench.node.observe_storage().snapshots == {second: guest.id}
    assert first != second
    bench.node.remove_disks(guest.id, new_fence())
    assert bench.node.observe_storage().snapshots == {}


def test_a_copy_can_be_given_up_at_any_time(bench, guest):
    bench.start(guest)
    wanted = wire.TakeSnapshot(id="given-up", guest_id=guest.id, disk=guest.disks[0])
    bench.node.ensure_snapshot(wanted, new_fence())
    bench.remove_copy(guest, "given-up")
    assert bench.node.observe_storage().snapshots == {}
    snapshot_id, _ = bench.copy(guest)
    bench.remove_copy(guest, snapshot_id)


def test_a_guest_that_must_be_held_still_and_cannot_is_not_copied(bench, guest):
    bench.start(guest)
    with pytest.raises(NodeError) as refused:
        bench.copy(guest, quiesce="must")
    assert refused.value.code == "guest_state"
    assert guest.id in refused.value.message
    snapshot_id, _ = bench.copy(guest, quiesce="try")
    bench.remove_copy(guest, snapshot_id)


def test_a_disk_that_is_not_there_is_not_copied(bench, guest):
    bench.start(guest)
    other = wire.DiskSpec(id="other", guest_id=guest.id, role="root", size_bytes=1)
    with pytest.raises(NodeError) as refused:
        bench.node.ensure_snapshot(
            wire.TakeSnapshot(id="x", guest_id=guest.id, disk=other), new_fence()
        )
    assert refused.value.code == "disk_missing"


def _qemu_io(path: Path, command: str) -> str:
    return subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", command, path], check=True, capture_output=True, text=True
    ).stdout.lower()


def test_names_cannot_leave_their_folder(bench):
    for name in ("../x", "/etc/passwd", "", ".", ".hidden", "a/b", "a\n"):
        with pytest.raises(NodeError) as refused:
            bench.node.ensure_disk(
                wire.DiskSpec(id="d", guest_id=name, role="root", size_bytes=1), new_fence()
            )
        assert refused.value.code == "bad_call"
    with pytest.raises(NodeError):
        bench.node.remove_disks("../agent", new_fence())


def test_the_host_says_what_it_has(bench):
    host = bench.node.observe_host()
    assert host.name == "host1"
    assert host.vcpus >= 1
    assert host.memory_mb > 512
    assert host.disk_gb >= host.free_disk_gb > 0
    assert "COMPUTE_NODE" in host.traits
    import os_traits

    assert set(host.traits) <= set(os_traits.get_traits())


def test_a_full_disk_names_host_and_bytes(tmp_path):
    disks = FakeDisks(tmp_path, host="host7", total_bytes=1 << 30)
    disk = wire.DiskSpec(id="d", guest_id="g", role="root", size_bytes=2 << 30)
    with pytest.raises(Exception, match=r"host7 is full: disk d needs 2.0 GiB, 1.0 GiB are free"):
        disks.ensure_disk(disk)
