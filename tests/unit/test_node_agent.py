"""One node over fake drivers, spoken to in bytes as the bus does it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nubelet.node import wire
from nubelet.node.agent import Agent
from nubelet.node.client import NodeClient, NodeError, NodeUnreachable
from nubelet.node.control import ControlClient, ControlServer
from nubelet.node.disks.fake import FakeDisks
from nubelet.node.faults import Faults
from nubelet.node.hypervisor.fake import FakeHypervisor
from nubelet.node.switching.fake import FakeSwitching


def fake_agent(state_dir: Path, name: str = "host1", **options: object) -> Agent:
    switching = FakeSwitching(state_dir)
    return Agent(
        name,
        FakeHypervisor(state_dir, has_port=switching.has_port),
        switching,
        FakeDisks(state_dir, host=name),
        state_dir,
        **options,
    )


class DirectBus:
    """Targets by name, called in this thread."""

    def __init__(self) -> None:
        self.targets = {}

    def call(self, target: str, body: bytes, *, timeout_seconds: float) -> bytes:
        if target not in self.targets:
            raise LookupError(f"nobody serves {target}")
        return self.targets[target](body)


FENCE = wire.Fence(operation_id="op-1", attempt=1)
NETWORK = wire.NetworkSpec(id="net-1", kind="vxlan", mtu=1450, segmentation_id=7)
PORT = wire.PortSpec(id="port-1", network_id="net-1", mac="fa:16:3e:00:00:01")
NIC = wire.NicSpec(port_id="port-1", mac="fa:16:3e:00:00:01")
DISK = wire.DiskSpec(id="guest-1-root", guest_id="guest-1", role="root", size_bytes=1 << 30)
GUEST = wire.GuestSpec(id="guest-1", name="web", vcpus=1, memory_mb=128, disks=(DISK,), nics=(NIC,))


@pytest.fixture
def agent(tmp_path):
    return fake_agent(tmp_path)


@pytest.fixture
def bus(agent):
    bus = DirectBus()
    bus.targets["node.host1"] = agent.handle
    return bus


@pytest.fixture
def node(bus):
    return NodeClient(bus, "host1")


def boot(node: NodeClient, fence: wire.Fence = FENCE) -> None:
    node.ensure_network(NETWORK, fence)
    node.ensure_port(PORT, fence)
    node.ensure_disk(DISK, fence)
    node.ensure_guest(wire.EnsureGuest(guest=GUEST), fence)


def test_a_guest_boots_and_leaves_nothing(node):
    boot(node)
    boot(node)  # every call again: nothing changes
    assert node.observe_guest("guest-1").power == "running"
    assert node.observe_guests()[0].nics == ("port-1",)
    assert "web login:" in node.read_console("guest-1", 1)
    assert node.observe_host().running_guests == 1
    for _ in range(2):
        node.remove_guest("guest-1", FENCE)
        node.remove_disks("guest-1", FENCE)
        node.remove_port("port-1", FENCE)
        node.remove_network("net-1", FENCE)
    assert node.observe_guest("guest-1").power == "missing"
    assert node.observe_guests() == ()
    network = node.observe_network()
    assert (network.networks, network.ports) == ((), ())
    assert node.observe_storage().guest_disks == ()


def test_every_call_of_the_contract_is_served_and_has_a_client_method(agent):
    assert set(agent._handlers) == set(wire.NODE_CALLS)
    for method in wire.NODE_CALLS:
        assert callable(getattr(NodeClient, method))


def test_an_older_attempt_is_refused_also_after_a_restart(node, agent, bus, tmp_path):
    node.ensure_network(NETWORK, wire.Fence(operation_id="op-1", attempt=2))
    with pytest.raises(NodeError) as refused:
        node.remove_network("net-1", wire.Fence(operation_id="op-1", attempt=1))
    assert refused.value.code == "fenced"
    assert "attempt 2 has begun" in refused.value.message
    node.remove_network("net-1", wire.Fence(operation_id="op-2", attempt=1))
    agent.stop()
    bus.targets["node.host1"] = fake_agent(tmp_path).handle
    with pytest.raises(NodeError) as refused:
        node.ensure_network(NETWORK, wire.Fence(operation_id="op-1", attempt=1))
    assert refused.value.code == "fenced"


def test_a_stale_call_that_waited_for_its_turn_is_refused(agent, node):
    """Attempt 1 waits behind a slow call; meanwhile attempt 2 arrives; attempt 1 must not run."""
    entered, go_on = threading.Event(), threading.Event()
    ensure_disk = agent.disks.ensure_disk

    def slow(argument):
        entered.set()
        assert go_on.wait(60)
        ensure_disk(argument)

    agent._handlers["ensure_disk"] = slow
    with ThreadPoolExecutor() as pool:
        first = pool.submit(node.ensure_disk, DISK, wire.Fence(operation_id="other", attempt=1))
        assert entered.wait(60)
        stale = pool.submit(
            node.remove_disks, "guest-1", wire.Fence(operation_id="op-1", attempt=1)
        )
        time.sleep(0.05)
        node.ensure_network(NETWORK, wire.Fence(operation_id="op-1", attempt=2))
        go_on.set()
        first.result(60)
        with pytest.raises(NodeError, match="out of date"):
            stale.result(60)
    assert node.observe_storage().guest_disks == ("guest-1",)


def test_a_changing_call_needs_a_fence(bus):
    call = wire.NodeCall(method="remove_guest", argument=wire.encode(wire.ById(id="x")))
    reply = wire.decode(
        bus.call("node.host1", wire.encode(call), timeout_seconds=1), wire.NodeReply
    )
    assert reply.failure is not None
    assert reply.failure.code == "bad_call"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense",
        wire.encode(wire.NodeCall(method="format_disk", argument=b"")),
        wire.encode(wire.NodeCall(method="ensure_disk", argument=wire.encode(DISK)[:-3])),
        wire.encode(wire.NodeCall(method="observe_guest", argument=wire.encode(wire.Nothing()))),
    ],
)
def test_a_broken_call_is_answered(agent, raw):
    reply = wire.decode(agent.handle(raw), wire.NodeReply)
    assert reply.failure is not None
    assert reply.failure.code == "bad_call"


def test_a_defect_is_answered_in_a_sentence(agent, node):
    agent._handlers["observe_host"] = lambda argument: 1 // 0
    with pytest.raises(NodeError) as refused:
        node.observe_host()
    assert refused.value.code == "node_error"
    assert "Traceback" not in refused.value.message + refused.value.detail


def test_injected_faults_are_met_once(node, tmp_path):
    # Another object on the same folder, as a test in another process would have it.
    Faults(tmp_path / "faults").fail_next(
        "ensure_guest", "hypervisor_refused", "internal error: no such machine", detail="QEMU said"
    )
    with pytest.raises(NodeError) as refused:
        boot(node)
    error = refused.value
    assert (error.code, error.host) == ("hypervisor_refused", "host1")
    assert (error.message, error.detail) == ("internal error: no such machine", "QEMU said")
    boot(node)
    assert node.observe_guest("guest-1").power == "running"


def test_a_kept_fault_stays_until_cleared(node, agent):
    agent.disks.faults.fail_next("ensure_disk", "disk_full", "no room", keep=True)
    for _ in range(3):
        with pytest.raises(NodeError, match="no room"):
            node.ensure_disk(DISK, FENCE)
    agent.disks.faults.clear()
    node.ensure_disk(DISK, FENCE)


def test_nobody_there_is_unreachable(bus):
    with pytest.raises(NodeUnreachable, match="Node host9 did not answer observe_host"):
        NodeClient(bus, "host9").observe_host()


def test_calls_for_two_guests_run_side_by_side_and_for_one_in_turn(agent, bus):
    running, most = set(), []
    lock, both = threading.Lock(), threading.Barrier(2, timeout=60)

    def slow(argument):
        with lock:
            assert argument.id not in running
            running.add(argument.id)
            most.append(len(running))
        both.wait()  # passes only when two are inside at once
        with lock:
            running.discard(argument.id)

    agent._handlers["remove_guest"] = slow
    node = NodeClient(bus, "host1")
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(node.remove_guest, name, FENCE) for name in ("a", "a", "b", "b")]
        for call in calls:
            call.result(100)
    assert max(most) == 2


def test_the_trail_comes_back_with_answer_and_failure(agent, bus):
    from nubelet.node import commands

    seen = []
    node = NodeClient(bus, "host1", lambda host, method, trail: seen.append((host, method, trail)))
    agent._handlers["observe_guests"] = lambda argument: commands.run(["false"]) and None
    agent._handlers["observe_network"] = lambda argument: (
        commands.run(["echo", "a b"]) and wire.NetworkState()
    )
    node.observe_network()
    with pytest.raises(NodeError, match="false failed: exit status 1"):
        node.observe_guests()
    (_, _, good), (_, method, bad) = seen
    assert [(e.kind, e.what, e.result, e.ok) for e in good] == [
        ("command", "echo 'a b'", "ok", True)
    ]
    assert method == "observe_guests"
    assert [(e.what, e.ok) for e in bad] == [("false", False)]
    assert good[0].duration_seconds > 0
    assert abs(good[0].started_at / 1e6 - time.time()) < 60


def test_heartbeats_and_events_reach_the_control_plane(tmp_path):
    beats, events, got, beaten = [], [], threading.Event(), threading.Event()
    bus = DirectBus()

    def heartbeat(beat):
        beats.append(beat)
        beaten.set()

    def guest_changed(event):
        events.append(event)
        got.set()

    bus.targets["control"] = ControlServer(
        heartbeat=heartbeat,
        guest_changed=guest_changed,
        metadata=lambda request: wire.MetadataResponse(status=200, body=request.path.encode()),
    ).handle
    agent = fake_agent(tmp_path, heartbeat_seconds=0.01)
    bus.targets["node.host1"] = agent.handle
    agent.start(ControlClient(bus))
    try:
        boot(NodeClient(bus, "host1"))
        agent.hypervisor.crash("guest-1", "killed by the kernel")
        assert got.wait(60)
        asked = agent.switching.ask_metadata(
            wire.MetadataRequest(path="/openstack", source_ip="10.0.0.3", network_id="net-1")
        )
        assert asked.body == b"/openstack"
        assert beaten.wait(60)
    finally:
        agent.stop()
    assert beats[0].host.name == "host1"
    assert beats[0].switching == "fake"
    assert [(e.guest_id, e.power, e.reason) for e in events] == [
        ("guest-1", "crashed", "killed by the kernel")
    ]


def test_guests_survive_the_process(tmp_path, node):
    boot(node)
    bus = DirectBus()
    bus.targets["node.host1"] = fake_agent(tmp_path).handle
    again = NodeClient(bus, "host1")
    assert again.observe_guest("guest-1").power == "running"
    assert again.observe_network().ports == ("port-1",)
    assert again.observe_storage().guest_disks == ("guest-1",)


def test_purge_names_what_it_removed_and_leaves_no_file(tmp_path, node, agent):
    boot(node)
    said = agent.purge()
    assert "guest guest-1" in said
    assert "port port-1" in said
    assert "disks of guest guest-1" in said
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert agent.purge() == []


def test_fakes_answer_in_under_a_millisecond(node):
    """Of the processor's time, the best of many: what a busy machine adds does not count."""
    boot(node)
    best = 1.0
    for number in range(200):
        guest = wire.GuestSpec(id=f"g{number}", name="x", vcpus=1, memory_mb=64)
        started = time.thread_time()
        node.ensure_guest(wire.EnsureGuest(guest=guest), FENCE)
        node.observe_guest(guest.id)
        best = min(best, (time.thread_time() - started) / 2)
    assert best < 0.001
