"""Routers on real namespaces: ways between networks, to the outside, and back in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nubelet.node.switching.linux import ExternalNetwork
from nubelet.node.wire import (
    Address,
    FloatingIpSpec,
    Route,
    RouterGateway,
    RouterPort,
    RouterSpec,
    SecurityGroups,
    SubnetSpec,
)
from tests.e2e.switching_host import (
    Conversation,
    Guest,
    Host,
    Net,
    call,
    cannot_call,
    eventually,
    group,
    missing_tools,
    new_id,
    new_mac,
    rule,
    run,
    succeeds,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(bool(missing_tools()), reason=f"needs {missing_tools()}"),
]

EXTERNAL = {"public": ExternalNetwork(host_addresses=("203.0.113.1/24", "2001:db8:ff::1/64"))}
OPEN = group(rule(), rule(ethertype="IPv6"))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path, external=EXTERNAL)
    host.driver.start(None)
    host.driver.ensure_security_groups(SecurityGroups(groups=(OPEN,)))
    yield host
    host.close()


def public_net(host: Host) -> Net:
    net = Net(cidr="203.0.113.0/24", gateway="203.0.113.1", dhcp_ip=None, kind="flat", mtu=1500)
    net.physical_network = "public"
    host.driver.ensure_network(net.spec())
    return net


def leg(net: Net, ip: str, *more: Address) -> RouterPort:
    address = Address(ip=ip, prefix_length=net.length, subnet_id=net.subnet_id)
    return RouterPort(
        port_id=new_id(), network_id=net.id, mac=new_mac(), addresses=(address, *more), mtu=net.mtu
    )


def gateway(net: Net, ip: str, **fields: Any) -> RouterGateway:
    return RouterGateway(port=leg(net, ip), next_hops=("203.0.113.1",), **fields)


def floating(ip: str, fixed: str) -> FloatingIpSpec:
    return FloatingIpSpec(id=new_id(), floating_ip=ip, fixed_ip=fixed)


def guest_on(host: Host, net: Net, ip: str, **fields: Any) -> Guest:
    guest = host.boot(net.port(ip, OPEN.id, **fields))
    guest.configure(net.gateway)
    return guest


def serve_on_host(host: Host, port: int) -> Guest:
    """A server in the namespace that plays the host: the outside world."""
    outside = Guest(host.namespace, Net().port("203.0.113.1"), host.folder)
    host.guests[f"outside-{port}"] = outside
    outside.serve(port)
    return outside


def test_between_two_networks(host: Host) -> None:
    one, two = Net(), Net(cidr="10.0.1.0/24", gateway="10.0.1.1", dhcp_ip=None)
    for net in (one, two):
        host.driver.ensure_network(net.spec())
    a, b = guest_on(host, one, "10.0.0.5"), guest_on(host, two, "10.0.1.5")
    assert a.cannot_ping("10.0.1.5")
    legs = (leg(one, "10.0.0.1"), leg(two, "10.0.1.1"))
    router = RouterSpec(id=new_id(), interfaces=legs)
    host.driver.ensure_router(router)
    assert a.ping("10.0.1.5")
    b.serve(80)
    assert a.call("10.0.1.5", 80) == f"{b.namespace} hears 10.0.0.5", "no translation inside"
    host.driver.ensure_router(msgspec.structs.replace(router, interfaces=legs[:1]))
    assert a.cannot_ping("10.0.1.5")
    host.driver.ensure_router(router)
    assert a.ping("10.0.1.5")
    host.driver.ensure_router(msgspec.structs.replace(router, admin_state_up=False))
    assert a.cannot_ping("10.0.1.5")
    assert host.driver.observe().routers == (router.id,)
    host.driver.ensure_router(router)
    assert a.ping("10.0.1.5")
    host.driver.remove_router(router.id)
    assert a.cannot_ping("10.0.1.5")
    assert host.driver.observe().routers == ()
    assert host.driver.observe().unknown_devices == ()


def test_out_and_in_again(host: Host) -> None:
    """SNAT, floating addresses from the host and from inside, and back on itself."""
    public, net = public_net(host), Net()
    host.driver.ensure_network(net.spec())
    one, two = guest_on(host, net, "10.0.0.5"), guest_on(host, net, "10.0.0.6")
    serve_on_host(host, 8000)
    router = RouterSpec(
        id=new_id(),
        interfaces=(leg(net, "10.0.0.1"),),
        gateway=gateway(public, "203.0.113.10"),
    )
    host.driver.ensure_router(router)
    assert one.call("203.0.113.1", 8000).endswith("hears 203.0.113.10")
    fip = floating("203.0.113.50", "10.0.0.5")
    host.driver.ensure_router(msgspec.structs.replace(router, floating_ips=(fip,)))
    one.serve(22)
    assert call(host.namespace, "203.0.113.50", 22) == f"{one.namespace} hears 203.0.113.1"
    assert one.call("203.0.113.1", 8000).endswith("hears 203.0.113.50")
    assert two.call("203.0.113.1", 8000).endswith("hears 203.0.113.10")
    assert two.call("203.0.113.50", 22) == f"{one.namespace} hears 203.0.113.10", "hairpin"
    assert one.call("203.0.113.50", 22) == f"{one.namespace} hears 203.0.113.50", "to itself"
    moved = floating("203.0.113.50", "10.0.0.6")
    host.driver.ensure_router(msgspec.structs.replace(router, floating_ips=(moved,)))
    two.serve(22)
    assert call(host.namespace, "203.0.113.50", 22) == f"{two.namespace} hears 203.0.113.1"
    host.driver.ensure_router(router)
    assert cannot_call(host.namespace, "203.0.113.50", 22)
    no_snat = gateway(public, "203.0.113.10", enable_snat=False)
    host.driver.ensure_router(msgspec.structs.replace(router, gateway=no_snat))
    assert one.cannot_call("203.0.113.1", 8000), "the outside knows no way to 10.0.0.5"
    run(host.namespace, "ip", "route", "add", "10.0.0.0/24", "via", "203.0.113.10")
    assert one.call("203.0.113.1", 8000).endswith("hears 10.0.0.5")


def test_floating_address_moves_between_routers_at_once(host: Host) -> None:
    """The neighbours outside learn the new place by gratuitous ARP, not by waiting."""
    public = public_net(host)
    routers = []
    for number in (1, 2):
        net = Net()
        host.driver.ensure_network(net.spec())
        guest = guest_on(host, net, "10.0.0.5")
        guest.serve(22)
        legs = (leg(net, "10.0.0.1"),)
        out = gateway(public, f"203.0.113.{10 + number}")
        routers.append((RouterSpec(id=new_id(), interfaces=legs, gateway=out), guest))
    fip = (floating("203.0.113.50", "10.0.0.5"),)
    (first, one), (second, two) = routers
    host.driver.ensure_router(msgspec.structs.replace(first, floating_ips=fip))
    host.driver.ensure_router(second)
    assert call(host.namespace, "203.0.113.50", 22) == f"{one.namespace} hears 203.0.113.1"
    host.driver.ensure_router(first)
    host.driver.ensure_router(msgspec.structs.replace(second, floating_ips=fip))
    assert call(host.namespace, "203.0.113.50", 22) == f"{two.namespace} hears 203.0.113.1"


def test_a_floating_address_that_goes_ends_its_connections(host: Host) -> None:
    public, net = public_net(host), Net()
    host.driver.ensure_network(net.spec())
    guest = guest_on(host, net, "10.0.0.5")
    guest.serve(22)
    kept, lost = floating("203.0.113.50", "10.0.0.5"), floating("203.0.113.51", "10.0.0.6")
    other = guest_on(host, net, "10.0.0.6")
    other.serve(22)
    router = RouterSpec(
        id=new_id(),
        interfaces=(leg(net, "10.0.0.1"),),
        gateway=gateway(public, "203.0.113.10"),
        floating_ips=(kept, lost),
    )
    host.driver.ensure_router(router)
    outside = Guest(host.namespace, net.port("203.0.113.1"), host.folder)
    talks = [Conversation(outside, f.floating_ip, 22) for f in (kept, lost)]
    assert all(talk.alive() for talk in talks)
    # Also when the process that knew of the change died before it came to this.
    host.driver.stop()
    host.driver = host.new_driver()
    host.driver.start(None)
    host.driver.ensure_router(router)
    assert all(talk.alive() for talk in talks)
    host.driver.ensure_router(msgspec.structs.replace(router, floating_ips=(kept,)))
    assert [talk.alive() for talk in talks] == [True, False]
    for talk in talks:
        talk.end()


def test_projects_meet_only_outside(host: Host) -> None:
    """Same addresses on both sides; neither gets at the other but by a floating address."""
    public = public_net(host)
    guests, routers = [], []
    for number in (1, 2):
        net = Net()
        host.driver.ensure_network(net.spec())
        guests.append(guest_on(host, net, "10.0.0.5"))
        guests[-1].serve(80)
        routers.append(
            RouterSpec(
                id=new_id(),
                interfaces=(leg(net, "10.0.0.1"),),
                gateway=gateway(public, f"203.0.113.{10 + number}"),
                floating_ips=(floating(f"203.0.113.{50 + number}", "10.0.0.5"),),
            )
        )
        host.driver.ensure_router(routers[-1])
    mine, theirs = guests
    assert mine.call("203.0.113.52", 80) == f"{theirs.namespace} hears 203.0.113.51"
    # The host and another project's router may know a route to the inside: it is refused.
    run(host.namespace, "ip", "route", "add", "10.0.0.0/24", "via", "203.0.113.12")
    assert cannot_call(host.namespace, "10.0.0.5", 80)
    far = Net(cidr="10.77.0.0/24", gateway="10.77.0.1", dhcp_ip=None)
    host.driver.ensure_network(far.spec())
    victim = guest_on(host, far, "10.77.0.5")
    victim.serve(80)
    second = routers[1]
    legs = (*second.interfaces, leg(far, "10.77.0.1"))
    host.driver.ensure_router(msgspec.structs.replace(second, interfaces=legs))
    assert theirs.call("10.77.0.5", 80)
    sly = msgspec.structs.replace(
        routers[0], routes=(Route(destination="10.77.0.0/24", next_hop="203.0.113.12"),)
    )
    host.driver.ensure_router(sly)
    assert mine.cannot_call("10.77.0.5", 80)


def test_static_routes(host: Host) -> None:
    near, far = Net(), Net(cidr="10.0.9.0/24", gateway="10.0.9.1", dhcp_ip=None)
    for net in (near, far):
        host.driver.ensure_network(net.spec())
    guest, target = guest_on(host, near, "10.0.0.5"), guest_on(host, far, "10.0.9.5")
    first = RouterSpec(id=new_id(), interfaces=(leg(near, "10.0.0.1"),))
    second = RouterSpec(id=new_id(), interfaces=(leg(near, "10.0.0.254"), leg(far, "10.0.9.1")))
    host.driver.ensure_router(first)
    host.driver.ensure_router(second)
    route = Route(destination="10.0.9.0/24", next_hop="10.0.0.254")
    back = Route(destination="10.0.0.0/24", next_hop="10.0.0.1")
    assert guest.cannot_ping("10.0.9.5")
    host.driver.ensure_router(msgspec.structs.replace(first, routes=(route, route)))
    assert guest.ping("10.0.9.5")
    host.driver.ensure_router(msgspec.structs.replace(first, routes=(back,)))
    assert guest.cannot_ping("10.0.9.5")
    assert target


def ipv6_net(number: int, ra: str, addressing: str, **fields: Any) -> tuple[Net, SubnetSpec]:
    subnet = SubnetSpec(
        id=new_id(),
        cidr=f"fd00:{number}::/64",
        ip_version=6,
        gateway_ip=f"fd00:{number}::1",
        ipv6_ra_mode=ra,
        ipv6_address_mode=addressing,
        **fields,
    )
    own = Address(ip=f"fd00:{number}::2", prefix_length=64, subnet_id=subnet.id)
    return Net(more_subnets=(subnet,), more_dhcp_addresses=(own,)), subnet


def eui64(number: int, mac: str) -> str:
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= 2
    digits = (bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])).hex()
    groups = [digits[i : i + 4].lstrip("0") or "0" for i in range(0, 16, 4)]
    return f"fd00:{number}::{':'.join(groups)}"


def test_slaac_by_the_router(host: Host) -> None:
    net, subnet = ipv6_net(1, "slaac", "slaac", dns_servers=("fd00:53::1",))
    host.driver.ensure_network(net.spec())
    more = Address(ip="fd00:1::1", prefix_length=64, subnet_id=subnet.id)
    router = RouterSpec(id=new_id(), interfaces=(leg(net, "10.0.0.1", more),))
    host.driver.ensure_router(router)
    mac = new_mac()
    fixed = Address(ip=eui64(1, mac), prefix_length=64, subnet_id=subnet.id)
    guest = host.boot(net.port("10.0.0.5", OPEN.id, mac=mac, more=(fixed,)))
    shown = ("ip", "-6", "addr", "show", "dev", "eth0", "scope", "global")
    assert eventually(lambda: fixed.ip in guest.run(*shown)), guest.run(*shown)
    assert eventually(lambda: "default via fe80" in guest.run("ip", "-6", "route"))
    assert eventually(lambda: guest.ping("fd00:1::1", seconds=1))


def test_the_dhcp_service_announces_where_no_router_does(host: Host) -> None:
    net, subnet = ipv6_net(2, "slaac", "slaac")
    host.driver.ensure_network(net.spec())
    mac = new_mac()
    fixed = Address(ip=eui64(2, mac), prefix_length=64, subnet_id=subnet.id)
    guest = host.boot(net.port("10.0.0.5", OPEN.id, mac=mac, more=(fixed,)))
    shown = ("ip", "-6", "addr", "show", "dev", "eth0", "scope", "global")
    assert eventually(lambda: fixed.ip in guest.run(*shown))
    assert "default" not in guest.run("ip", "-6", "route"), "it is no router, and says so"
    more = Address(ip="fd00:2::1", prefix_length=64, subnet_id=subnet.id)
    router = RouterSpec(id=new_id(), interfaces=(leg(net, "10.0.0.1", more),))
    host.driver.ensure_router(router)
    assert eventually(lambda: "default via fe80" in guest.run("ip", "-6", "route"))
    host.driver.remove_router(router.id)
    configuration = host.folder / "switching" / "dhcp" / net.id / "dnsmasq.conf"
    assert "enable-ra" in configuration.read_text()


def test_ipv6_between_networks_and_outside(host: Host) -> None:
    public = public_net(host)
    outer = SubnetSpec(
        id=new_id(), cidr="2001:db8:ff::/64", ip_version=6, gateway_ip="2001:db8:ff::1"
    )
    public.more_subnets = (outer,)
    host.driver.ensure_network(public.spec())
    net, subnet = ipv6_net(3, "slaac", "slaac")
    host.driver.ensure_network(net.spec())
    inner = Address(ip="fd00:3::1", prefix_length=64, subnet_id=subnet.id)
    outside = Address(ip="2001:db8:ff::10", prefix_length=64, subnet_id=outer.id)
    router = RouterSpec(
        id=new_id(),
        interfaces=(leg(net, "10.0.0.1", inner),),
        gateway=RouterGateway(
            port=leg(public, "203.0.113.10", outside),
            next_hops=("203.0.113.1", "2001:db8:ff::1"),
        ),
    )
    host.driver.ensure_router(router)
    # The one that the guest makes of what it is announced, before or after `configure`: had it
    # another one besides, the newer of them would be the source.
    mac = new_mac()
    fixed = Address(ip=eui64(3, mac), prefix_length=64, subnet_id=subnet.id)
    guest = host.boot(net.port("10.0.0.5", OPEN.id, more=(fixed,), mac=mac))
    guest.configure("10.0.0.1")
    guest.configure("fd00:3::1")
    run(host.namespace, "ip", "-6", "route", "add", "fd00:3::/64", "via", "2001:db8:ff::10")
    assert eventually(lambda: guest.ping("2001:db8:ff::1", seconds=1))
    assert succeeds(host.namespace, "ping", "-c", "1", "-W", "1", fixed.ip)


def test_a_hundred_floating_addresses_are_two_rules(host: Host) -> None:
    public, net = public_net(host), Net()
    host.driver.ensure_network(net.spec())
    router = RouterSpec(
        id=new_id(),
        interfaces=(leg(net, "10.0.0.1"),),
        gateway=gateway(public, "203.0.113.10"),
        floating_ips=tuple(floating(f"203.0.113.{n}", f"10.0.0.{n}") for n in range(100, 200)),
    )
    host.driver.ensure_router(router)
    namespace = f"{host.driver.tap_namespace()}-r-{router.id}"
    rules = run(namespace, "nft", "list", "table", "ip", "nubelet")
    assert rules.count("dnat to") == 2
    assert rules.count("203.0.113.150") == 2
