"""The Linux switching driver on real namespaces: tunnels, restarts, reboots, leaks, purge."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nubelet.node import trail
from nubelet.node.errors import HostError
from nubelet.node.switching.linux import ExternalNetwork, LinuxSwitching, namespaces
from nubelet.node.switching.linux.dnsmasq import processes
from nubelet.node.wire import (
    Address,
    FloatingIpSpec,
    MetadataRequest,
    MetadataResponse,
    RouterGateway,
    RouterPort,
    RouterSpec,
    SecurityGroups,
)
from tests.e2e.switching_host import (
    Guest,
    Host,
    Net,
    call,
    eventually,
    group,
    missing_tools,
    new_id,
    new_mac,
    rule,
    run,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(bool(missing_tools()), reason=f"needs {missing_tools()}"),
]

EXTERNAL = {"public": ExternalNetwork(host_addresses=("203.0.113.1/24",), masquerade=True)}
OPEN = group(rule(), rule(ethertype="IPv6"))


def metadata(request: MetadataRequest) -> MetadataResponse:
    behind = request.network_id or request.router_id
    return MetadataResponse(status=200, body=f"{request.source_ip} {behind}".encode())


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path, external=EXTERNAL)
    host.driver.start(metadata)
    host.driver.ensure_security_groups(SecurityGroups(groups=(OPEN,)))
    yield host
    host.close()


class Cloud:
    """A whole small cloud: external network, project network, router, floating address, guest."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.public = Net(cidr="203.0.113.0/24", gateway="203.0.113.1", dhcp_ip=None, kind="flat")
        self.public.physical_network = "public"
        self.net = Net()
        self.port = self.net.port("10.0.0.5", OPEN.id)
        self.router = RouterSpec(
            id=new_id(),
            interfaces=(self._leg(self.net, "10.0.0.1"),),
            gateway=RouterGateway(
                port=self._leg(self.public, "203.0.113.10"), next_hops=("203.0.113.1",)
            ),
            floating_ips=(
                FloatingIpSpec(id=new_id(), floating_ip="203.0.113.50", fixed_ip="10.0.0.5"),
            ),
        )
        host.driver.ensure_network(self.public.spec())
        host.driver.ensure_network(self.net.spec())
        host.driver.ensure_router(self.router)
        self.guest = self.boot()

    def _leg(self, net: Net, ip: str) -> RouterPort:
        address = Address(ip=ip, prefix_length=net.length, subnet_id=net.subnet_id)
        return RouterPort(
            port_id=new_id(), network_id=net.id, mac=new_mac(), addresses=(address,), mtu=net.mtu
        )

    def boot(self) -> Guest:
        guest = self.host.boot(self.port)
        assert guest.lease("staticroutes", "mtu")["ip"] == "10.0.0.5"
        guest.serve(22)
        return guest

    def works(self) -> bool:
        """The floating address answers, metadata answers, a closed neighbour stays closed."""
        reached = call(self.host.namespace, "203.0.113.50", 22)
        asked = self.guest.run(
            "busybox",
            "timeout",
            "20",
            "busybox",
            "wget",
            "-qO-",
            "http://169.254.169.254/",
            check=False,
        )
        return "hears 203.0.113.1" in reached and asked == f"10.0.0.5 {self.net.id}"


def everything_of(host: Host) -> str:
    """All that belongs to a cloud on this machine, as other tools see it."""
    tag = host.tag
    spaces = [name for name in namespaces.listing("nb-") if name.startswith(f"nb-{tag}")]
    devices = run(host.namespace, "ip", "-o", "link")
    tables = run(host.namespace, "nft", "list", "tables")
    pids = processes(str(host.folder))
    files = [str(path) for path in host.folder.rglob("*") if "switching" in path.parts]
    devices = "\n".join(line for line in devices.splitlines() if tag in line)
    return "\n".join([*spaces, devices, tables, *map(str, pids), *files]).strip()


def test_a_small_cloud_and_its_speed(host: Host) -> None:
    started = time.perf_counter()
    cloud = Cloud(host)
    built = time.perf_counter() - started
    assert cloud.works()
    ports = [cloud.net.port(f"10.0.0.{n}", OPEN.id) for n in range(20, 30)]
    took = []
    for port in ports:
        started = time.perf_counter()
        with trail.recording() as done:
            host.driver.ensure_port(port)
        took.append(time.perf_counter() - started)
        # What a port costs is programs that are started: one, whatever the machine.
        assert [each.kind for each in done].count("command") <= 1, done
    print(f"network, DHCP, router, lease: {built:.3f} s; a port: {min(took) * 1000:.1f} ms")


def test_observe_tells_what_is_there_and_what_should_not_be(host: Host) -> None:
    cloud = Cloud(host)
    state = host.driver.observe()
    assert set(state.networks) == {cloud.public.id, cloud.net.id}
    assert state.ports == (cloud.port.id,)
    assert state.routers == (cloud.router.id,)
    assert state.security_groups == (OPEN.id,)
    assert state.dhcp_servers == (cloud.net.id,)
    assert state.unknown_devices == ()
    space = host.driver.tap_namespace()
    run(space, "ip", "link", "add", "stray0", "type", "bridge")
    namespaces.create(f"{space}-r-{new_id()}")
    state = host.driver.observe()
    assert len(state.unknown_devices) == 2
    assert any("stray0" in leak for leak in state.unknown_devices)
    pid = processes(str(host.folder / "switching" / "dhcp"))[0]
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: host.driver.observe().dhcp_servers == ())
    host.driver.ensure_network(cloud.net.spec())
    assert host.driver.observe().dhcp_servers == (cloud.net.id,)
    run(space, "ip", "link", "del", host.driver.observe().unknown_devices[0].split()[1])
    assert cloud.works()


def test_observe_misses_what_was_taken_away(host: Host) -> None:
    cloud = Cloud(host)
    run(
        host.driver.tap_namespace(),
        "ip",
        "link",
        "del",
        f"b{host.tag}{cloud.net.id.replace('-', '')[:10]}",
    )
    namespaces.remove(f"{host.driver.tap_namespace()}-r-{cloud.router.id}")
    state = host.driver.observe()
    assert state.networks == (cloud.public.id,)
    assert state.routers == ()
    host.driver.ensure_network(cloud.net.spec())
    host.driver.ensure_port(cloud.port)
    host.driver.ensure_router(cloud.router)
    assert eventually(cloud.works)


def test_ensure_twice_changes_nothing(host: Host) -> None:
    cloud = Cloud(host)
    pids = processes(str(host.folder))
    links = run(host.driver.tap_namespace(), "ip", "-o", "link")
    for _ in range(2):
        host.driver.ensure_network(cloud.public.spec())
        host.driver.ensure_network(cloud.net.spec())
        host.driver.ensure_port(cloud.port)
        host.driver.ensure_router(cloud.router)
    assert processes(str(host.folder)) == pids
    assert run(host.driver.tap_namespace(), "ip", "-o", "link") == links
    assert cloud.works()


def test_restart_of_the_process(host: Host) -> None:
    """Traffic and DHCP go on without it; metadata is back with it."""
    cloud = Cloud(host)
    pids = processes(str(host.folder))
    host.driver.stop()
    assert "hears" in call(host.namespace, "203.0.113.50", 22)
    assert cloud.guest.lease()["ip"] == "10.0.0.5"
    assert not cloud.works(), "nobody serves metadata"
    host.driver = host.new_driver()
    host.driver.start(metadata)
    assert cloud.works()
    assert processes(str(host.folder)) == pids
    # And it goes on from what is there.
    second = cloud.net.port("10.0.0.6", OPEN.id)
    host.driver.ensure_network(cloud.net.spec())
    other = host.boot(second)
    assert other.lease()["ip"] == "10.0.0.6"
    assert other.call("10.0.0.5", 22)
    closed = msgspec.structs.replace(cloud.port, security_group_ids=())
    host.driver.ensure_port(closed)
    assert other.cannot_call("10.0.0.5", 22)


def test_reboot_of_the_host(host: Host) -> None:
    """All processes and namespaces are gone; the next start brings back what was."""
    cloud = Cloud(host)
    host.driver.stop()
    for pid in processes(str(host.folder)):
        os.kill(pid, signal.SIGKILL)
    for name in namespaces.listing(f"nb-{host.tag}"):
        namespaces.remove(name)
    guest_space = host.guest_namespace(cloud.port.id)
    for server in cloud.guest.servers:
        server.kill()
        server.wait()
    namespaces.remove(guest_space)
    host.driver = host.new_driver()
    host.driver.start(metadata)
    assert host.driver.observe().ports == (cloud.port.id,)
    cloud.guest = cloud.boot()
    assert eventually(cloud.works)
    assert host.driver.observe().unknown_devices == ()
    assert host.driver.restore() == []
    assert cloud.works()


def test_lost_networks_come_back_with_what_needs_them(host: Host) -> None:
    cloud = Cloud(host)
    for name in namespaces.listing(f"nb-{host.tag}"):
        namespaces.remove(name)
    assert host.driver.observe().networks == ()
    host.driver.ensure_router(cloud.router)
    assert set(host.driver.observe().networks) == {cloud.public.id, cloud.net.id}
    assert host.driver.observe().dhcp_servers == (cloud.net.id,)


def test_restore_names_what_could_not_be(host: Host) -> None:
    Cloud(host)
    options = dataclasses.replace(host.options, physical_networks={})
    broken = LinuxSwitching(host.folder, options, taps=host)
    host.driver.stop()
    broken.start(None)
    failed = broken.restore()
    assert len(failed) == 1
    assert "public" in failed[0]
    broken.stop()
    host.driver = host.new_driver()
    host.driver.start(metadata)


def test_removing_leaves_nothing_behind(host: Host) -> None:
    cloud = Cloud(host)
    host.driver.remove_port(cloud.port.id)
    host.driver.remove_router(cloud.router.id)
    host.driver.remove_network(cloud.net.id)
    host.driver.remove_network(cloud.public.id)
    host.driver.remove_security_group(OPEN.id)
    state = host.driver.observe()
    assert state == type(state)()
    space = host.driver.tap_namespace()
    assert [name for name in namespaces.listing(f"nb-{host.tag}") if name != space] == []
    assert processes(str(host.folder)) == []
    rules = run(space, "nft", "list", "ruleset")
    assert "sg-" not in rules
    assert "port-" not in rules
    assert run(space, "conntrack", "-L") == ""
    for subject in (cloud.port.id, new_id()):
        host.driver.remove_port(subject)
        host.driver.remove_router(subject)
        host.driver.remove_network(subject)
        host.driver.remove_security_group(subject)


def test_purge_leaves_nothing_and_says_so(host: Host) -> None:
    Cloud(host)
    space = host.driver.tap_namespace()
    namespaces.create(f"{space}-r-{new_id()}")  # not on record
    assert everything_of(host)
    said = host.driver.purge()
    assert everything_of(host) == ""
    for word in ("namespace", "device", "process", "nft table", "files"):
        assert any(word in line for line in said), word
    assert host.driver.purge() == []


def test_purge_by_a_process_that_never_started(host: Host) -> None:
    Cloud(host)
    host.driver.stop()
    other = host.new_driver()
    assert any("dnsmasq" in line for line in other.purge())
    other.stop()
    assert everything_of(host) == ""
    host.driver = host.new_driver()


def test_two_clouds_on_one_machine(host: Host, tmp_path: Path) -> None:
    """Same networks, same addresses, same ids: they do not meet."""
    mine = Cloud(host)
    other = Host(tmp_path, "two", external=EXTERNAL)
    other.driver.start(metadata)
    other.driver.ensure_security_groups(SecurityGroups(groups=(OPEN,)))
    theirs = Cloud(other)
    assert mine.works()
    assert theirs.works()
    other.close()
    assert mine.works()


def test_a_range_of_the_host_is_refused(host: Host) -> None:
    run(host.namespace, "ip", "link", "add", "office0", "type", "bridge")
    run(host.namespace, "ip", "addr", "add", "203.0.113.99/25", "dev", "office0")
    net = Net(cidr="203.0.113.0/24", dhcp_ip=None, kind="flat", physical_network="public")
    with pytest.raises(HostError, match="overlaps 203.0.113.99/25 on office0"):
        host.driver.ensure_network(net.spec())
    net.physical_network = "backbone"
    with pytest.raises(HostError, match=r"backbone.*configured for: public"):
        host.driver.ensure_network(net.spec())


def test_uplink_moves_in_and_comes_back(tmp_path: Path) -> None:
    host = Host(tmp_path, external={"public": ExternalNetwork(uplink="wire0")})
    host.driver.start(None)
    host.driver.ensure_security_groups(SecurityGroups(groups=(OPEN,)))
    try:
        street = f"nbtest-{host.tag}-street"
        namespaces.create(street)
        run(
            host.namespace,
            "ip",
            "link",
            "add",
            "wire0",
            "type",
            "veth",
            "peer",
            "name",
            "far0",
            "netns",
            street,
        )
        run(street, "ip", "addr", "add", "203.0.113.9/24", "dev", "far0")
        run(street, "ip", "link", "set", "far0", "up")
        net = Net(cidr="203.0.113.0/24", dhcp_ip=None, kind="flat", physical_network="public")
        host.driver.ensure_network(net.spec())
        guest = host.boot(net.port("203.0.113.20", OPEN.id))
        guest.configure()
        assert eventually(lambda: guest.ping("203.0.113.9", seconds=1))
        host.driver.remove_network(net.id)
        assert "wire0" in run(host.namespace, "ip", "link")
        host.driver.ensure_network(net.spec())
        assert "gave back device wire0" in host.driver.purge()
        assert "wire0" in run(host.namespace, "ip", "link")
    finally:
        host.close()


def test_vxlan_between_two_hosts(tmp_path: Path) -> None:
    one = Host(tmp_path, "one", tunnel_ip="192.0.2.1")
    two = Host(tmp_path, "two", tunnel_ip="192.0.2.2")
    hosts = (one, two)
    try:
        run(
            one.namespace,
            "ip",
            "link",
            "add",
            "wire",
            "type",
            "veth",
            "peer",
            "name",
            "wire",
            "netns",
            two.namespace,
        )
        for host in hosts:
            run(host.namespace, "ip", "addr", "add", f"{host.options.tunnel_ip}/24", "dev", "wire")
            run(host.namespace, "ip", "link", "set", "wire", "up")
            host.driver.start(metadata)
            host.driver.ensure_security_groups(SecurityGroups(groups=(OPEN,)))
        # Two networks with the same addresses; DHCP lives on the first host only.
        for vni in (7, 8):
            ends = {one: ("192.0.2.2",), two: ("192.0.2.1",)}
            here = Net(kind="vxlan", segmentation_id=vni)
            port_one, port_two = here.port("10.0.0.5", OPEN.id), here.port("10.0.0.6", OPEN.id)
            spec = msgspec.structs.replace(here.spec(), tunnel_endpoints=ends[one])
            remote = msgspec.structs.replace(spec, tunnel_endpoints=ends[two], dhcp=None)
            one.driver.ensure_network(spec)
            two.driver.ensure_network(remote)
            a, b = one.boot(port_one), two.boot(port_two)
            assert a.lease()["ip"] == "10.0.0.5"
            assert b.lease("staticroutes")["ip"] == "10.0.0.6", "DHCP over the tunnel"
            a.serve(80)
            assert b.call("10.0.0.5", 80) == f"{a.namespace} hears 10.0.0.6"
            # With places known, unicast goes there without flooding.
            known = ((port_two.mac, "192.0.2.2"),)
            one.driver.ensure_network(msgspec.structs.replace(spec, forwarding=known))
            entries = run(one.driver.tap_namespace(), "bridge", "fdb", "show")
            assert f"{port_two.mac} dev x{one.tag}" in entries
            assert a.ping("10.0.0.6")
            one.driver.ensure_network(msgspec.structs.replace(spec, tunnel_endpoints=()))
            assert a.cannot_ping("10.0.0.6")
            one.driver.ensure_network(spec)
            assert eventually(lambda a=a: a.ping("10.0.0.6", seconds=1))
    finally:
        for host in hosts:
            host.close()


def test_network_that_is_down_carries_nothing(host: Host) -> None:
    net = Net()
    ports = [net.port(f"10.0.0.{n}", OPEN.id) for n in (5, 6)]
    host.driver.ensure_network(net.spec())
    a, b = (host.boot(port) for port in ports)
    a.configure()
    b.configure()
    assert a.ping("10.0.0.6")
    host.driver.ensure_network(msgspec.structs.replace(net.spec(), admin_state_up=False))
    assert a.cannot_ping("10.0.0.6")
    assert host.driver.observe().dhcp_servers == ()
    host.driver.ensure_network(net.spec())
    assert eventually(lambda: a.ping("10.0.0.6", seconds=1))


def test_a_port_of_an_unknown_network_is_refused(host: Host) -> None:
    with pytest.raises(HostError, match="is not on this host"):
        host.driver.ensure_port(Net().port("10.0.0.5"))


def test_a_real_tap(host: Host) -> None:
    """The device the hypervisor gets: persistent, single queue, on the bridge, up."""
    driver = LinuxSwitching(host.folder, host.options)
    net = Net(dhcp_ip=None)
    port = net.port("10.0.0.5", OPEN.id)
    driver.start(None)
    driver.ensure_network(net.spec())
    driver.ensure_port(port)
    driver.stop()
    tap = f"t{host.tag}{port.id.replace('-', '')[:10]}"
    shown = run(driver.tap_namespace(), "ip", "-d", "link", "show", tap)
    assert "tun type tap" in shown
    assert "multi_queue" not in shown or "multi_queue off" in shown
    assert "persist on" in shown
    assert f"master b{host.tag}" in shown
    assert ",UP" in shown
    assert f"mtu {port.mtu}" in shown
    assert f"alias port {port.id}" in shown


def test_on_the_host_itself(tmp_path: Path) -> None:
    """Without a namespace that plays it: the host reaches a floating address of its own."""
    external = {"public": ExternalNetwork(host_addresses=("198.51.100.193/27",))}
    host = Host(tmp_path, external=external)
    host.options = dataclasses.replace(host.options, host_namespace=None)
    host.driver = host.new_driver()
    try:
        host.driver.start(None)
        net = Net(cidr="198.51.100.192/27", dhcp_ip=None, kind="flat", physical_network="public")
        host.driver.ensure_network(net.spec())
        host.driver.ensure_security_groups(SecurityGroups(groups=(OPEN,)))
        host.boot(net.port("198.51.100.200", OPEN.id)).configure()
        ping = ["ping", "-c", "1", "-W", "1", "198.51.100.200"]
        assert subprocess.run(ping, capture_output=True, check=False).returncode == 0
        host.driver.remove_network(net.id)
        links = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True)
        assert f"h{host.tag}" not in links.stdout
    finally:
        host.close()
    links = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True)
    assert host.tag not in links.stdout
