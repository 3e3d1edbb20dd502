"""A node in a process of its own, with real guests and disks, spoken to over a unix socket.

libvirt's embedded driver belongs to one state folder per process, and some tests kill the
process: so tests do not hold it in theirs. Networks are only taps in a namespace here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from nubelet.node import commands, wire
from nubelet.node.switching.fake import FakeSwitching

SLOW_COPIES = "slow-copies"  # a file of this name makes copies of disks slow from the next start on


class TapSwitching(FakeSwitching):
    """Records as the fake keeps them, and a real tap for each port."""

    def __init__(self, state_dir: Path, namespace: str) -> None:
        super().__init__(state_dir)
        self._namespace = namespace
        self._tag = wire.cloud_tag(str(state_dir))

    def ensure_port(self, spec: wire.PortSpec) -> None:
        super().ensure_port(spec)
        name = wire.tap_name(self._tag, spec.id)
        ip = ["ip", "-n", self._namespace]
        if commands.run([*ip, "link", "show", name], check=False).status != 0:
            commands.run([*ip, "tuntap", "add", name, "mode", "tap"])
        commands.run([*ip, "link", "set", name, "mtu", str(spec.mtu), "up"])

    def remove_port(self, port_id: str) -> None:
        super().remove_port(port_id)
        name = wire.tap_name(self._tag, port_id)
        commands.run(["ip", "-n", self._namespace, "link", "del", name], check=False)

    def tap_namespace(self) -> str | None:
        return self._namespace


def _receive(connection: socket.socket, count: int) -> bytes:
    parts = b""
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise ConnectionError("the other side hung up")
        parts += part
    return parts


def _receive_message(connection: socket.socket) -> bytes:
    (length,) = struct.unpack("!I", _receive(connection, 4))
    return _receive(connection, length)


def _send_message(connection: socket.socket, body: bytes) -> None:
    connection.sendall(struct.pack("!I", len(body)) + body)


class SocketBus:
    """The bus to a node process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def call(self, target: str, body: bytes, *, timeout_seconds: float) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_seconds)
            connection.connect(str(self._path))
            _send_message(connection, body)
            return _receive_message(connection)


class NodeProcess:
    """Starts, kills and restarts a node process of one state folder."""

    def __init__(self, state_dir: Path, namespace: str) -> None:
        self.state_dir = state_dir
        self.namespace = namespace
        self.bus = SocketBus(state_dir / "agent.sock")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.state_dir / "agent.sock").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.node_process", self.state_dir, self.namespace]
        self._process = subprocess.Popen(command)
        deadline = time.monotonic() + 100
        while not (self.state_dir / "agent.sock").exists():
            assert self._process.poll() is None, "the node process ended at its start"
            assert time.monotonic() < deadline, "the node process did not come up"
            time.sleep(0.02)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0

    def purge(self) -> list[str]:
        """In a process of its own, as `down --purge` is."""
        command = [sys.executable, "-m", "tests.node_process", self.state_dir, self.namespace]
        done = subprocess.run([*command, "purge"], check=True, capture_output=True, text=True)
        return done.stdout.splitlines()

    def events(self) -> list[wire.GuestEvent]:
        with contextlib.suppress(FileNotFoundError):
            lines = (self.state_dir / "events").read_bytes().splitlines()
            return [msgspec.json.decode(line, type=wire.GuestEvent) for line in lines]
        return []


def _slow_down_copies(connection) -> None:
    """QEMU's own brake: what it has yet to copy when it begins takes it hours."""
    import libvirt_qemu

    call = connection.call

    def ask(domain, execute: str, **arguments: object):
        words = json.dumps({"execute": execute, "arguments": arguments})
        answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, words, 0))
        return answer.get("return", ())  # a job that has ended has no speed

    def call_slowly(what, guest_id, function):
        answer = call(what, guest_id, function)
        if what == "virDomainBackupBegin":
            domain = connection.need(guest_id)
            for job in ask(domain, "query-block-jobs"):
                ask(domain, "block-job-set-speed", device=job["device"], speed=1 << 12)
        return answer

    connection.call = call_slowly


def make_agent(state_dir: Path, namespace: str):
    from nubelet.node.agent import Agent
    from nubelet.node.disks.file import FileDisks
    from nubelet.node.hypervisor.libvirt import LibvirtHypervisor

    switching = TapSwitching(state_dir, namespace)
    hypervisor = LibvirtHypervisor(
        state_dir,
        accelerator="tcg",
        accelerator_reason="tests translate everywhere",
        tap_namespace=switching.tap_namespace,
        capability_cache=Path("/var/tmp/nubelet-test-qemu-capabilities"),
    )
    if (state_dir / SLOW_COPIES).exists():
        _slow_down_copies(hypervisor.connection)
    disks = FileDisks(state_dir, host="host1")
    return Agent("host1", hypervisor, switching, disks, state_dir, heartbeat_seconds=1)


def main(state_dir: Path, namespace: str) -> None:
    from nubelet.node.control import ControlClient, ControlServer

    def guest_changed(event: wire.GuestEvent) -> None:
        with open(state_dir / "events", "ab") as file:
            file.write(msgspec.json.encode(event) + b"\n")

    control = ControlServer(
        heartbeat=lambda beat: None,
        guest_changed=guest_changed,
        metadata=lambda request: wire.MetadataResponse(status=404),
    )

    class Local:
        def call(self, target: str, body: bytes, *, timeout_seconds: float) -> bytes:
            return control.handle(body)

    agent = make_agent(state_dir, namespace)
    agent.start(ControlClient(Local()))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(state_dir / "agent.sock.new"))
    listener.listen(64)
    os.rename(state_dir / "agent.sock.new", state_dir / "agent.sock")

    def serve(connection: socket.socket) -> None:
        with connection:
            _send_message(connection, agent.handle(_receive_message(connection)))

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    signal.sigwait([signal.SIGTERM])
    agent.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    if sys.argv[3:] == ["purge"]:
        print("\n".join(make_agent(Path(sys.argv[1]), sys.argv[2]).purge()))
    else:
        main(Path(sys.argv[1]), sys.argv[2])
