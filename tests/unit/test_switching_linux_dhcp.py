"""What dnsmasq is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from nubelet.node.switching.linux import announcements, dhcp_files
from nubelet.node.switching.linux.dhcp_files import Files
from nubelet.node.wire import (
    Address,
    DhcpHost,
    DhcpSpec,
    NetworkSpec,
    Route,
    RouterPort,
    RouterSpec,
    SubnetSpec,
)

FILES = Files(Path("/state/switching/dhcp/n"))
MAC = "fa:16:3e:00:00:02"


def subnet(identifier: str = "s4", cidr: str = "10.0.0.0/24", **fields: object) -> SubnetSpec:
    version = 6 if ":" in cidr else 4
    return SubnetSpec(id=identifier, cidr=cidr, ip_version=version, **fields)  # type: ignore[arg-type]


def dhcp(*hosts: DhcpHost, **fields: object) -> DhcpSpec:
    addresses = (
        Address(ip="10.0.0.2", prefix_length=24, subnet_id="s4"),
        Address(ip="fd00::2", prefix_length=64, subnet_id="s6"),
    )
    return DhcpSpec(port_id="d", mac=MAC, addresses=addresses, hosts=hosts, **fields)  # type: ignore[arg-type]


def network(*subnets: SubnetSpec) -> NetworkSpec:
    return NetworkSpec(id="n", kind="local", mtu=1450, subnets=subnets)


def host(*ips: str, name: str = "web", **fields: object) -> DhcpHost:
    return DhcpHost(port_id="p1", mac="fa:16:3e:00:00:05", ips=ips, host_name=name, **fields)  # type: ignore[arg-type]


def configuration(net: NetworkSpec, *announced: SubnetSpec, **fields: object) -> list[str]:
    text = dhcp_files.configuration(FILES, net, dhcp(**fields), user="nobody", announced=announced)
    return text.splitlines()


def test_ranges_follow_the_subnets() -> None:
    stateful = subnet("s6", "fd00::/64", ipv6_address_mode="dhcpv6-stateful")
    slaac = subnet("s7", "fd01::/64", ipv6_address_mode="slaac", ipv6_ra_mode="slaac")
    off = subnet("s8", "10.8.0.0/16", enable_dhcp=False)
    lines = configuration(network(subnet(), stateful, slaac, off))
    assert [line for line in lines if line.startswith("dhcp-range")] == [
        "dhcp-range=set:subnet-s4,10.0.0.0,static,255.255.255.0,86400s",
        "dhcp-range=set:subnet-s6,fd00::,static,64,86400s",
    ]
    assert "enable-ra" not in lines


def test_a_lease_may_be_for_ever() -> None:
    lines = configuration(network(subnet()), lease_seconds=-1)
    assert "dhcp-range=set:subnet-s4,10.0.0.0,static,255.255.255.0,infinite" in lines


def test_announcing_without_being_a_router() -> None:
    slaac = subnet("s7", "fd01::/64", ipv6_address_mode="slaac", ipv6_ra_mode="slaac")
    mode = "dhcpv6-stateless"
    rest = subnet("s6", "fd00::/64", ipv6_address_mode=mode, ipv6_ra_mode=mode)
    lines = configuration(network(slaac, rest), slaac, rest)
    assert "ra-param=dhcp0,mtu:1450,10,0" in lines
    assert "dhcp-range=set:subnet-s7,fd01::,ra-only,64,86400s" in lines
    assert "dhcp-range=set:subnet-s6,fd00::,ra-stateless,64,86400s" in lines


def test_hosts_get_what_their_subnets_serve() -> None:
    stateful = subnet("s6", "fd00::/64", ipv6_address_mode="dhcpv6-stateful")
    slaac = subnet("s7", "fd01::/64", ipv6_address_mode="slaac")
    text = dhcp_files.hosts(
        network(subnet(), stateful, slaac), dhcp(host("10.0.0.5", "fd00::5", "fd01::5", "10.9.9.9"))
    )
    assert text.splitlines() == [
        "fa:16:3e:00:00:05,web,10.0.0.5",
        "fa:16:3e:00:00:05,web,[fd00::5]",
    ]


def test_names_of_all_addresses() -> None:
    text = dhcp_files.names(dhcp(host("10.0.0.5", "fd01::5"), domain="demo.example."))
    assert text.splitlines() == [
        "10.0.0.5 web.demo.example web",
        "fd01::5 web.demo.example web",
    ]


@pytest.mark.parametrize("name", ["", "a b", "a,set:x", "a\ndhcp-host=x", "-a", "x" * 300])
def test_what_is_no_name_is_none(name: str) -> None:
    assert dhcp_files.names(dhcp(host("10.0.0.5", name=name))) == ""
    assert dhcp_files.hosts(network(subnet()), dhcp(host("10.0.0.5", name=name))) == (
        "fa:16:3e:00:00:05,10.0.0.5\n"
    )


def options(net: NetworkSpec, *hosts: DhcpHost, **fields: object) -> list[str]:
    return dhcp_files.options(net, dhcp(*hosts, **fields)).splitlines()


def test_routes_hold_the_default_and_metadata() -> None:
    routes = (Route(destination="192.168.0.0/16", next_hop="10.0.0.9"),)
    net = network(subnet(gateway_ip="10.0.0.1", host_routes=routes), subnet("s5", "10.0.1.0/24"))
    static = (
        "192.168.0.0/16,10.0.0.9,10.0.1.0/24,0.0.0.0,169.254.169.254/32,10.0.0.2,0.0.0.0/0,10.0.0.1"
    )
    lines = options(net)
    assert f"tag:subnet-s4,option:classless-static-route,{static}" in lines
    assert f"tag:subnet-s4,249,{static}" in lines
    assert "tag:subnet-s4,option:router,10.0.0.1" in lines
    assert "tag:subnet-s4,option:mtu,1450" in lines


def test_an_isolated_network_has_no_router() -> None:
    lines = options(network(subnet()), serves_metadata=False)
    assert "tag:subnet-s4,option:router" in lines, "without a value: do not send it"
    assert "tag:subnet-s4,option:classless-static-route" in lines
    assert "tag:subnet-s4,option:dns-server,10.0.0.2" in lines


def test_servers_of_names() -> None:
    assert "tag:subnet-s4,option:dns-server,9.9.9.9,8.8.8.8" in options(
        network(subnet(dns_servers=("9.9.9.9", "8.8.8.8")))
    )
    assert "tag:subnet-s4,option:dns-server" in options(network(subnet(dns_servers=("0.0.0.0",))))
    stateful = subnet("s6", "fd00::/64", ipv6_address_mode="dhcpv6-stateful")
    assert options(network(stateful)) == [
        "tag:subnet-s6,option6:dns-server,[fd00::2]",
        "tag:subnet-s6,option6:domain-search,openstacklocal",
    ]


def test_options_of_a_port() -> None:
    extra = (
        ("bootfile-name", "pxelinux.0", 4),
        ("67", "x", 4),
        ("dns-server", "[fd00::9]", 6),
        ("23", "[fd00::9]", 6),
    )
    one = host("10.0.0.5", extra_options=extra)
    assert [line for line in options(network(subnet()), one) if "port-" in line] == [
        "tag:port-p1,option:bootfile-name,pxelinux.0",
        "tag:port-p1,67,x",
        "tag:port-p1,option6:dns-server,[fd00::9]",
        "tag:port-p1,option6:23,[fd00::9]",
    ]
    text = dhcp_files.configuration(FILES, network(subnet()), dhcp(one), user="nobody")
    assert "dhcp-mac=set:port-p1,fa:16:3e:00:00:05" in text.splitlines()


@pytest.mark.parametrize("option", [("a\nb", "x", 4), ("x,y", "z", 4), ("mtu", "1\nlog-dhcp", 4)])
def test_an_option_stays_in_its_line(option: tuple[str, str, int]) -> None:
    lines = options(network(subnet()), host("10.0.0.5", extra_options=(option,)))
    assert not any("port-" in line for line in lines)


def test_a_value_that_breaks_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        options(network(subnet(dns_servers=("1.1.1.1\nx",))))


def test_what_a_router_announces() -> None:
    slaac = subnet("s6", "fd00::/64", ipv6_ra_mode="slaac", dns_servers=("fd00::53",))
    outside = subnet("s7", "fd01::/64", ipv6_address_mode="slaac")
    net = network(subnet(), slaac, outside)
    addresses = tuple(
        Address(ip=ip, prefix_length=64, subnet_id=i)
        for ip, i in (("fd00::1", "s6"), ("fd01::1", "s7"))
    )
    leg = RouterPort(port_id="q" * 12, network_id="n", mac=MAC, addresses=addresses, mtu=1400)
    spec = RouterSpec(id="r", interfaces=(leg,))
    subjects = announcements.announced(spec, {"n": net})
    assert [subject.subnet.id for subject in subjects] == ["s6"]
    text = announcements.configuration(subjects, Path("/pid"), "nobody")
    lines = text.splitlines()
    assert "ra-param=qr-qqqqqqqqqqq,mtu:1400,30,1800" in lines
    assert "dhcp-range=set:subnet-s6,fd00::,ra-only,64,86400s" in lines
    assert "dhcp-option=tag:subnet-s6,option6:dns-server,[fd00::53]" in lines
    down = RouterSpec(id="r", interfaces=(leg,), admin_state_up=False)
    assert announcements.announced(down, {"n": net}) == []


@pytest.mark.parametrize(
    ("mode", "word"),
    [("slaac", "ra-only"), ("dhcpv6-stateless", "ra-stateless"), ("dhcpv6-stateful", "static")],
)
def test_how_guests_shall_get_addresses(mode: str, word: str) -> None:
    net = network(subnet("s6", "fd00::/64", ipv6_ra_mode=mode))
    address = Address(ip="fd00::1", prefix_length=64, subnet_id="s6")
    leg = RouterPort(port_id="q" * 12, network_id="n", mac=MAC, addresses=(address,))
    subjects = announcements.announced(RouterSpec(id="r", interfaces=(leg,)), {"n": net})
    text = announcements.configuration(subjects, Path("/pid"), "nobody")
    assert f"dhcp-range=set:subnet-s6,fd00::,{word},64,86400s" in text.splitlines()
