"""A cluster of storage nodes for tests: five nodes in three zones, as processes on this machine."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from nubelet.object_store.cluster import wire
from nubelet.object_store.cluster.client import Client
from nubelet.object_store.cluster.configuration import Cluster
from nubelet.object_store.cluster.messages import Figures, Nothing
from nubelet.object_store.cluster.storage import ClusterStorage
from nubelet.object_store.ring import RingBuilder
from nubelet.object_store.storage import timestamps
from tests.serving import free_port

ACCOUNT = "AUTH_test"
# Zone of each node.
ZONES = (1, 1, 2, 2, 3)
_TIMING = """
[timing]
connect_seconds = 0.5
answer_seconds = {answer_seconds}
update_seconds = {update_seconds}
shun_seconds = 1.0
ring_seconds = 0.5
pass_seconds = {pass_seconds}
update_pass_seconds = 1.0
audit_pass_seconds = {audit_seconds}
"""
# Where a test has nodes that stand still, or cables that are cut, somebody waits so long for them.
# Elsewhere nodes get the time that a loaded machine takes: one that is given up on is stood in for,
# and listings learn later.
HASTY: dict[str, Any] = {"answer_seconds": 5.0, "update_seconds": 1.0}


class NodeProcess:
    """One storage node: a process, or `in_namespace` of the network one."""

    def __init__(
        self, folder: Path, cluster: Path, ip: str, port: int, namespace: str = ""
    ) -> None:
        self.folder, self.ip, self.port = folder, ip, port
        self._cluster, self._namespace = cluster, namespace
        self.log_level = "info"
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder.with_suffix(".log")

    def start(self, *only: str, clock_offset_seconds: float = 0.0) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command(only),
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent,
                env=os.environ
                | (self._clock(clock_offset_seconds) if clock_offset_seconds else {}),
            )

    def _clock(self, offset: float) -> dict[str, str]:
        """An environment in which the process takes another time for now."""
        folder = self.folder.with_suffix(".clock")
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(
            f"import time\n_time = time.time\ntime.time = lambda: _time() + {offset}\n"
        )
        return {"PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}"}

    def once(self, *daemons: str) -> None:
        """One pass of some daemons, now."""
        subprocess.run([*self._command(daemons), "--once"], check=True, capture_output=True)

    def _command(self, only: Iterable[str]) -> list[str]:
        enter = ["ip", "netns", "exec", self._namespace] if self._namespace else []
        words = [word for name in only for word in ("--only", name)]
        words += ["--cluster", str(self._cluster), "--devices", str(self.folder)]
        words += ["--ip", self.ip, "--port", str(self.port), "--log-level", self.log_level]
        return [*enter, sys.executable, "-m", "nubelet", "object-node", *words]

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, number)
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGCONT)


class ObjectCluster:
    """Nodes, rings, and a storage as a proxy has it."""

    def __init__(
        self,
        folder: Path,
        *,
        devices: int = 1,
        part_power: int = 4,
        addresses: Iterable[tuple[str, int, str]] = (),
        pass_seconds: float = 2.0,
        audit_seconds: float = 3600.0,
        answer_seconds: float = 30.0,
        update_seconds: float = 10.0,
        policies: Iterable[str] = ("gold",),
        coded: tuple[int, int] | None = None,
        more: str = "",
    ) -> None:
        """`addresses`: (ip, port, namespace) of the nodes; free ports of this machine without.
        `coded`: data and parity of one more policy, which is erasure-coded. `more`: what else
        `cluster.toml` says, after the timing."""
        self.folder = folder / "cluster"
        self.folder.mkdir(parents=True)
        (self.folder / "cluster.toml").write_text(
            'hash_words = "words"\nkey = "0123456789abcdef0123456789abcdef"\n'
            + "".join(
                f'[[policies]]\nindex = {index}\nname = "{name}"\n'
                for index, name in enumerate(policies)
            )
            + (
                f'[[policies]]\nindex = {len(list(policies))}\nname = "coded"\n'
                f"data = {coded[0]}\nparity = {coded[1]}\nsegment_bytes = 65536\n"
                if coded
                else ""
            )
            + _TIMING.format(
                pass_seconds=pass_seconds,
                audit_seconds=audit_seconds,
                answer_seconds=answer_seconds,
                update_seconds=update_seconds,
            )
            + more
        )
        self.policies = list(policies)
        places = list(addresses) or [("127.0.0.1", free_port(), "") for _ in ZONES]
        self.nodes = [
            NodeProcess(folder / f"node{number}", self.folder, *place)
            for number, place in enumerate(places)
        ]
        self.builder = RingBuilder(part_power, 3, 0)
        for node, zone in zip(self.nodes, ZONES, strict=True):
            for number in range(devices):
                device = f"d{number}"
                (node.folder / device).mkdir(parents=True)
                self.builder.add(
                    region=1, zone=zone, ip=node.ip, port=node.port, device=device, weight=100
                )
        self.builder.set_overload(1)
        self.builder.rebalance(seed=1)
        self.write_rings()
        if coded:
            builder = RingBuilder(part_power, sum(coded), 0)
            for own in self.builder.devices:
                fields = msgspec.structs.asdict(own)
                builder.add(**{name: value for name, value in fields.items() if name != "id"})
            builder.set_overload(1)
            builder.rebalance(seed=1)
            self.coded_builder = builder
            builder.ring().save(self.folder / f"object-{len(self.policies)}.ring")
        self._storage: ClusterStorage | None = None

    def write_rings(self) -> None:
        objects = [f"object-{index}" if index else "object" for index in range(len(self.policies))]
        for name in ("account", "container", *objects):
            self.builder.ring().save(self.folder / f"{name}.ring")

    @property
    def storage(self) -> ClusterStorage:
        """As a proxy has it."""
        if self._storage is None:
            self._storage = ClusterStorage(self.folder)
        return self._storage

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        self.wait_until_up()

    def wait_until_up(self, nodes: Iterable[NodeProcess] = ()) -> None:
        """Until they answer and are used: whoever found them away shuns them a little longer, and
        another node stands in for them."""
        cluster = Cluster(self.folder)
        client = Client(cluster.key, cluster.timing)
        for node in nodes or self.nodes:
            if node.process is not None:
                eventually(lambda: self._answers(client, node), 120)  # noqa: B023
        client.close()
        time.sleep(cluster.timing.shun_seconds)

    def wait_for_rings(self) -> None:
        """Until every process uses the rings as they are now."""
        cluster = Cluster(self.folder)
        now = cluster.ring_versions()
        client = Client(cluster.key, cluster.timing)

        def check() -> None:
            assert self.storage._cluster.ring_versions() == now
            for node in self.nodes:
                if node.process is not None:
                    assert self._answers(client, node).rings == now

        eventually(check, 60)
        client.close()

    def _answers(self, client: Client, node: NodeProcess) -> Figures:
        try:
            return client.call((node.ip, node.port), "figures", Nothing(), Figures)
        except wire.NodeFailed as error:
            raise AssertionError(node.log.read_text()[-2000:]) from error

    def stop(self) -> None:
        if self._storage is not None:
            self._storage.close()
        for node in self.nodes:
            node.kill(signal.SIGKILL)

    def node_of(self, device_port: int) -> NodeProcess:
        return next(node for node in self.nodes if node.port == device_port)

    def holders(self, *names: str) -> list[Path]:
        """The folders of an object on the devices that have it, whoever they are."""
        digest = self.storage._cluster.object_ring(0).hash(*names)
        found = []
        for node in self.nodes:
            found += list(node.folder.glob(f"*/objects/*/{digest[-3:]}/{digest}"))
        return [path for path in found if _has_files(path)]

    def primaries(self, *names: str) -> list[Path]:
        """The folders that should hold an object."""
        ring = self.storage._cluster.object_ring(0)
        part, devices = ring.lookup(*names)
        digest = ring.hash(*names)
        by_address = {(node.ip, node.port): node for node in self.nodes}
        return [
            by_address[(d.ip, d.port)].folder
            / d.device
            / "objects"
            / str(part)
            / digest[-3:]
            / digest
            for d in devices
        ]

    def lose(self, holder: Path) -> None:
        """Remove the folder of an object at once: into one that loses its files one by one a
        replicator may put one back."""
        gone = holder.rename(self.folder.with_name("gone"))
        shutil.rmtree(gone)

    def wipe(self, node: NodeProcess) -> None:
        """A new, empty disk in each device."""
        for device in node.folder.iterdir():
            shutil.rmtree(device)
            device.mkdir()


@contextmanager
def running_cluster(folder: Path, **options: Any) -> Iterator[ObjectCluster]:
    """A cluster as `ObjectCluster` makes it, up, with the account ACCOUNT."""
    made = ObjectCluster(folder, **options)
    try:
        made.start()
        made.storage.put_account(ACCOUNT, timestamps.now(), {})
        yield made
    finally:
        made.stop()


def _has_files(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except FileNotFoundError:  # handed over, or reclaimed, since it was found
        return False


def eventually(check: Callable[[], object], seconds: float) -> None:
    """`check` passes within so many seconds. Files that it looks at may go meanwhile: then it looks
    again."""
    until = time.monotonic() + seconds
    wait = 0.1
    while True:
        try:
            check()
            return
        except (AssertionError, FileNotFoundError):
            if time.monotonic() > until:
                raise
        time.sleep(wait)
        wait = min(2 * wait, 2.0)  # looking costs what mending needs


# Loaded before anybody forks: another thread may hold the lock of the loader then.
_libc = ctypes.CDLL(None)


def _end_with_parent() -> None:
    """A test run that is killed leaves no nodes."""
    _libc.prctl(1, signal.SIGKILL)
