"""A node that is killed while the disk of a guest is copied, and nobody asks for the copy again.

The next start finds what the killed process left at work, and ends it: a job in QEMU, which goes
on by itself, file systems that the guest's agent holds still, a qemu-img. The guest is booted from
the project's image; a script in it stands for QEMU's agent.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nubelet.guest import GuestImage
from nubelet.guest.build import build
from nubelet.guest.disk import missing_packages
from nubelet.node import wire
from nubelet.node.client import NodeError
from tests.e2e.test_node_guest import IMAGE_DIR, Bench, fence, until
from tests.node_process import SLOW_COPIES, NodeProcess

NAMESPACE = f"nubelet-copies-{os.getpid()}"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("node-copies"),
    pytest.mark.skipif(
        shutil.which("qemu-system-x86_64") is None or bool(missing_packages()),
        reason="needs qemu-system-x86 and the image's build tools",
    ),
]

# Stands for QEMU's agent, of which it has two words. It never says that it has frozen anything, so
# whoever asked for it still waits when it is killed.
_USER_DATA = rb"""#!/bin/sh
cat > /agent <<'END'
#!/bin/sh
for port in /sys/class/virtio-ports/*; do
  [ "$(cat $port/name)" = org.qemu.guest_agent.0 ] && device=/dev/${port##*/}
done
exec 3<>$device 4>/dev/ttyS0
echo "agent: ready" >&4
while :; do
  read -r line <&3 || { sleep 1; continue; }
  case $line in
    *guest-sync*) id=${line##*\"id\":}; echo "{\"return\": ${id%%\}*}}" >&3 ;;
    *guest-fsfreeze-freeze*) echo "agent: frozen" >&4 ;;
    *guest-fsfreeze-thaw*) echo "agent: thawed" >&4; echo "{\"return\": 1}" >&3 ;;
  esac
done
END
chmod 755 /agent
echo '::respawn:/agent' >> /etc/inittab
sync
kill -HUP 1
"""


class CopyBench(Bench):
    """A guest with an agent, and a second disk that takes a while to copy."""

    def disk(self, role: str, size_bytes: int, image_id: str | None = None) -> wire.DiskSpec:
        return super().disk(role, 1 << 30 if role == "ephemeral" else size_bytes, image_id)

    def path_of(self, disk: wire.DiskSpec) -> Path:
        return self.process.state_dir / "guests" / self.guest_id / f"{disk.id}.qcow2"

    def fill(self) -> None:
        full = self.path_of(self.wanted().disk)
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -q 0 512M", full], check=True)

    def definition(self) -> wire.GuestSpec:
        plain = super().definition()
        assert plain.config_drive is not None
        files = {**plain.config_drive.files, "openstack/latest/user_data": _USER_DATA}
        return msgspec.structs.replace(
            plain,
            config_drive=wire.ConfigDrive(files=files),
            extra={"hw_qemu_guest_agent": "yes"},
        )

    def boot(self) -> None:
        if self.power == "missing":
            self.definition()  # makes the disks
            self.fill()
        if self.power != "running":
            self.ensure()
        until("the agent", lambda: "agent: ready" in self.console())

    def wanted(self, quiesce: str = "no") -> wire.TakeSnapshot:
        return wire.TakeSnapshot(
            id=str(uuid.uuid4()),
            guest_id=self.guest_id,
            disk=self.disk("ephemeral", 1 << 30),
            quiesce=quiesce,
        )

    def begin(self, wanted: wire.TakeSnapshot) -> wire.SnapshotState:
        return self.node.ensure_snapshot(wanted, fence())

    def remove(self, wanted: wire.TakeSnapshot) -> None:
        self.node.remove_snapshot(wire.SnapshotName(id=wanted.id, guest_id=self.guest_id), fence())

    def killed_while_it_holds_still(self) -> int:
        """The node is killed when the agent has frozen the file systems; how often it has thawed
        them before."""
        enough, frozen = threading.Event(), self.console().count("agent: frozen")

        def begin() -> None:
            while not enough.is_set():  # libvirt may not have heard of the agent yet
                with contextlib.suppress(NodeError, OSError):
                    self.begin(self.wanted("must"))

        beginning = threading.Thread(target=begin)
        beginning.start()
        until("the freeze", lambda: self.console().count("agent: frozen") > frozen)
        thaws = self.console().count("agent: thawed")
        enough.set()
        self.process.kill()
        beginning.join()
        return thaws

    def pause_behind_the_back(self) -> None:
        """Pause the guest by QEMU's own monitor, which a killed node has let go of."""
        (monitor,) = self.process.state_dir.rglob("monitor.sock")
        folder = os.open(monitor.parent, os.O_RDONLY | os.O_DIRECTORY)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            # The path of a socket is short, that of a test's folder perhaps not.
            connection.connect(f"/proc/self/fd/{folder}/{monitor.name}")
            os.close(folder)
            with connection.makefile("rw") as said:
                said.readline()  # who it is
                for command in ("qmp_capabilities", "stop"):
                    said.write(json.dumps({"execute": command}) + "\n")
                    said.flush()
                    while "return" not in (answer := json.loads(said.readline())):
                        assert "error" not in answer, answer

    def written_by_qemu(self) -> list[str]:
        """The copies that QEMU has open, also of files that are gone."""
        found = []
        for each in Path(f"/proc/{self.process_id()}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(os.readlink(each))
        return [path for path in found if "snapshot-" in path]

    def nothing_is_left(self) -> bool:
        storage = self.node.observe_storage()
        return storage.snapshots == {} and storage.unknown_files == ()

    def copies_to_the_end(self) -> None:
        """A copy can be made, and is whole."""
        wanted = self.wanted()
        until("the copy", lambda: self.begin(wanted).is_done)
        path = self.path_of(wanted.disk).with_name(f"snapshot-{wanted.id}.qcow2")
        subprocess.run(["qemu-img", "check", "-q", path], check=True)
        self.remove(wanted)


@pytest.fixture(scope="module")
def image() -> GuestImage:
    return build(IMAGE_DIR, IMAGE_DIR / "packages", print)


@pytest.fixture(scope="module")
def bench(image: GuestImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CopyBench]:
    state_dir = tmp_path_factory.mktemp("copies")
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    process = NodeProcess(state_dir, NAMESPACE)
    try:
        process.start()
        yield CopyBench(process, image)
    finally:
        process.kill()
        process.purge()
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)


def test_file_systems_that_were_held_still_are_let_go(bench: CopyBench) -> None:
    bench.boot()
    thaws = bench.killed_while_it_holds_still()
    bench.process.start()
    until("the thaw", lambda: bench.console().count("agent: thawed") > thaws)
    assert bench.power == "running"
    assert bench.nothing_is_left()
    bench.copies_to_the_end()


def test_a_guest_that_was_paused_then_is_let_go_when_it_goes_on(bench: CopyBench) -> None:
    """Its agent cannot answer at the node's start, which does not let go of what others paused."""
    bench.boot()
    thaws = bench.killed_while_it_holds_still()
    bench.pause_behind_the_back()
    bench.process.start()
    assert bench.power == "paused"
    until("the end of old copies", lambda: not bench.node.observe_storage().snapshots)
    bench.remove(bench.wanted())  # waits for its turn behind what the start does with the guest
    assert bench.power == "paused"
    assert bench.console().count("agent: thawed") == thaws
    bench.set_power("running")
    until("the thaw", lambda: bench.console().count("agent: thawed") > thaws)
    assert bench.power == "running"
    bench.copies_to_the_end()


def test_a_copy_that_nobody_asks_for_is_ended(bench: CopyBench) -> None:
    bench.boot()
    slow = bench.process.state_dir / SLOW_COPIES
    slow.touch()
    bench.process.kill()
    bench.process.start()
    for _ in range(20):  # until it is killed before QEMU has copied all
        wanted = bench.wanted()
        if not bench.begin(wanted).is_done:
            bench.process.kill()
            if bench.written_by_qemu():
                break
            bench.process.start()
        bench.remove(wanted)
    assert bench.written_by_qemu()
    slow.unlink()
    bench.process.start()
    until("QEMU to let go of the copy", lambda: not bench.written_by_qemu())
    assert bench.power == "running"
    assert bench.nothing_is_left()
    bench.copies_to_the_end()


def test_a_qemu_img_that_was_left_is_ended(bench: CopyBench) -> None:
    """It is stopped so that it cannot end by itself."""
    bench.boot()
    bench.set_power("shutdown")
    for _ in range(50):  # until it is caught before its end
        wanted = bench.wanted()
        bench.begin(wanted)
        if stopped := _stop_qemu_img(wanted.id):
            break
        until("the copy", lambda wanted=wanted: bench.begin(wanted).is_done)
        bench.remove(wanted)
    assert stopped
    assert not bench.begin(wanted).is_done
    bench.process.kill()
    assert _state(stopped) == "T"
    bench.process.start()
    until("qemu-img to end", lambda: _state(stopped) in "ZX")
    assert bench.nothing_is_left()
    bench.copies_to_the_end()


def _stop_qemu_img(snapshot_id: str) -> int:
    """Its process, which does not go on; 0 when it has ended already."""
    said = subprocess.run(
        ["pgrep", "-f", f"qemu-img convert .*{snapshot_id}"], capture_output=True, text=True
    ).stdout.split()
    for process_id in map(int, said):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGSTOP)
        if _state(process_id) not in "ZX":
            until("it to stop", lambda process_id=process_id: _state(process_id) in "TZX")
            return process_id if _state(process_id) == "T" else 0
    return 0


def _state(process_id: int) -> str:
    """As ps shows it; X for one that is gone."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
