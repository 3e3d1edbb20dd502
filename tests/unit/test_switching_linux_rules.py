"""Rules that the Linux driver writes for security groups, ports and routers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nubelet.node.switching.linux import nat, port_filters, security_rules
from nubelet.node.switching.linux.flows import Flow
from nubelet.node.switching.linux.names import Names, gateway_leg, interior_leg, read_alias
from nubelet.node.switching.linux.records import NetworkRecord, PortRecord
from nubelet.node.switching.linux.ruleset import Chain, Collection
from nubelet.node.switching.linux.security_rules import distinct_prefixes, rule_text
from nubelet.node.wire import (
    Address,
    AddressPair,
    FloatingIpSpec,
    NetworkSpec,
    PortSpec,
    RouterGateway,
    RouterPort,
    RouterSpec,
    SecurityGroupRule,
    SecurityGroupSpec,
)

PORT = "11111111-2222-3333-4444-555555555555"
GROUP = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
MAC = "fa:16:3e:01:02:03"


def rule(
    direction: str = "ingress", ethertype: str = "IPv4", **fields: object
) -> SecurityGroupRule:
    return SecurityGroupRule(id="r", direction=direction, ethertype=ethertype, **fields)  # type: ignore[arg-type]


def port(**fields: object) -> PortSpec:
    values: dict[str, object] = {
        "id": PORT,
        "network_id": "n",
        "mac": MAC,
        "addresses": (Address(ip="10.0.0.5", prefix_length=24, subnet_id="s"),),
        "security_group_ids": (GROUP,),
    }
    return PortSpec(**(values | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "meta nfproto ipv4 accept"),
        ({"ethertype": "IPv6"}, "meta nfproto ipv6 accept"),
        ({"protocol": "any"}, "meta nfproto ipv4 accept"),
        ({"protocol": "tcp"}, "meta nfproto ipv4 meta l4proto 6 accept"),
        ({"protocol": "132"}, "meta nfproto ipv4 meta l4proto 132 accept"),
        ({"protocol": "vrrp"}, "meta nfproto ipv4 meta l4proto 112 accept"),
        (
            {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22},
            "meta nfproto ipv4 meta l4proto 6 th dport 22 accept",
        ),
        (
            {"protocol": "udp", "port_range_min": 1, "port_range_max": 65535},
            "meta nfproto ipv4 meta l4proto 17 th dport 1-65535 accept",
        ),
        (
            {"protocol": "tcp", "port_range_min": 1024},
            "meta nfproto ipv4 meta l4proto 6 th dport 1024-65535 accept",
        ),
        (
            {"protocol": "icmp", "port_range_min": 8, "port_range_max": 0},
            "meta nfproto ipv4 meta l4proto 1 icmp type 8 icmp code 0 accept",
        ),
        (
            {"ethertype": "IPv6", "protocol": "icmp", "port_range_min": 128},
            "meta nfproto ipv6 meta l4proto 58 icmpv6 type 128 accept",
        ),
        (
            {"ethertype": "IPv6", "protocol": "ipv6-route"},
            "meta nfproto ipv6 ip6 nexthdr 43 accept",
        ),
        ({"remote_ip_prefix": "10.1.2.3/16"}, "meta nfproto ipv4 ip saddr 10.1.0.0/16 accept"),
        ({"remote_ip_prefix": "0.0.0.0/0"}, "meta nfproto ipv4 accept"),
        (
            {"direction": "egress", "remote_ip_prefix": "10.1.2.3/32"},
            "meta nfproto ipv4 ip daddr 10.1.2.3 accept",
        ),
        (
            {"direction": "egress", "ethertype": "IPv6", "remote_group_id": GROUP},
            f"meta nfproto ipv6 ip6 daddr @sg-{GROUP}-6 accept",
        ),
    ],
)
def test_one_rule(fields: dict[str, object], text: str) -> None:
    assert rule_text(rule(**fields)) == text  # type: ignore[arg-type]


def test_equal_rules_are_one_and_directions_are_apart() -> None:
    spec = SecurityGroupSpec(id=GROUP, rules=(rule(), rule(), rule("egress", "IPv6")))
    items = security_rules.group_items(GROUP, spec)
    assert items["inet nubelet", f"sg-{GROUP}-in"] == Chain(("meta nfproto ipv4 accept",))
    assert items["inet nubelet", f"sg-{GROUP}-out"] == Chain(("meta nfproto ipv6 accept",))


def test_a_group_nobody_described_allows_nothing() -> None:
    items = security_rules.group_items(GROUP, None)
    assert set(items) == set(security_rules.group_keys(GROUP))
    assert security_rules.groups_in(items) == {GROUP}
    assert all(item == Chain(()) for item in items.values() if isinstance(item, Chain))


def test_members_lose_what_lies_inside_another() -> None:
    members = ("10.0.0.5", "10.0.0.0/24", "10.0.1.9", "fd00::1", "10.0.1.9/32", "fd00::/64")
    assert distinct_prefixes(members, 4) == ["10.0.0.0/24", "10.0.1.9"]
    assert distinct_prefixes(members, 6) == ["fd00::/64"]
    assert distinct_prefixes(("0.0.0.0/0", "10.0.0.1"), 4) == ["0.0.0.0/0"]


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=20))
def test_members_cover_the_same_without_overlap(numbers: list[tuple[int, int]]) -> None:
    import ipaddress

    members = [f"{ipaddress.IPv4Address(n)}/{length}" for n, length in numbers]
    chosen = [ipaddress.ip_network(prefix) for prefix in distinct_prefixes(members, 4)]
    for member in members:
        wanted = ipaddress.ip_network(member, strict=False)
        assert sum(wanted.subnet_of(prefix) for prefix in chosen) == 1  # type: ignore[arg-type]
    assert not any(a.overlaps(b) for a in chosen for b in chosen if a is not b)


def test_a_port_is_closed_until_a_group_speaks() -> None:
    items = port_filters.port_items(port(security_group_ids=()), stateful=True)
    arriving = items["inet nubelet", f"port-{PORT}-in"]
    assert isinstance(arriving, Chain)
    assert arriving.rules == (
        "ct state established,related accept",
        "ct state invalid drop",
        "jump always-in",
        "drop",
    )
    leaving = items["inet nubelet", f"port-{PORT}-out"]
    assert isinstance(leaving, Chain)
    assert leaving.rules[0] == "jump always-out", "false routers are refused before all else"
    assert leaving.rules[-1] == "drop"


def test_a_stateless_port_looks_at_every_packet() -> None:
    items = port_filters.port_items(port(), stateful=False)
    chains = [item for item in items.values() if isinstance(item, Chain)]
    assert not any("ct state" in text for chain in chains for text in chain.rules)


def test_sources_of_a_port() -> None:
    rules = port_filters.source_rules(port())
    assert "ether type != { ip, arp, ip6 } drop" in rules[0]
    assert rules[1] == f"ether saddr != {{ {MAC} }} drop"
    pair = f"{{ {MAC} . 10.0.0.5 }}"
    assert f"ether type arp arp saddr ether . arp saddr ip {pair} accept" in rules
    assert f"ether saddr . ip saddr {pair} accept" in rules
    assert f"ether saddr . ip6 saddr != {{ {MAC} . fe80::f816:3eff:fe01:203 }} drop" in rules


def test_pairs_with_their_own_mac() -> None:
    other = "fa:16:3e:aa:bb:cc"
    pairs = (AddressPair(ip="10.0.0.0/24"), AddressPair(ip="10.9.0.1", mac=other.upper()))
    rules = port_filters.source_rules(port(allowed_address_pairs=pairs))
    assert f"ether saddr != {{ {MAC}, {other} }} drop" in rules
    wanted = f"{{ {MAC} . 10.0.0.0/24, {other} . 10.9.0.1 }}"
    assert f"ether saddr . ip saddr {wanted} accept" in rules, "10.0.0.5 lies in 10.0.0.0/24"


def test_a_port_without_ipv4_may_only_ask_for_an_address() -> None:
    rules = port_filters.source_rules(port(addresses=()))
    accepted = [text for text in rules if text.endswith("accept") and "ip saddr" in text]
    assert accepted == ["ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept"]
    assert "ether type arp drop" in rules


def test_advertised_targets_are_the_ports_own() -> None:
    spec = port(
        addresses=(Address(ip="fd00::5", prefix_length=64, subnet_id="s"),),
        allowed_address_pairs=(AddressPair(ip="fd01::/60"),),
    )
    rules = [r for r in port_filters.source_rules(spec) if "neighbor-advert" in r]
    assert f"icmpv6 type nd-neighbor-advert @th,64,128 {0xFD00 << 112 | 5:#x} accept" in rules
    assert f"icmpv6 type nd-neighbor-advert @th,64,60 {0xFD01 << 44:#x} accept" in rules
    assert rules[-1] == "icmpv6 type nd-neighbor-advert drop"


def test_maps_lead_to_the_chains() -> None:
    names = Names("abcd")
    networks = [NetworkRecord(spec=NetworkSpec(id="n" * 12, kind="local", mtu=1500), zone=7)]
    off = PortRecord(spec=port(id="9" * 12, port_security_enabled=False), mark=6)
    items = port_filters.map_items(names, [PortRecord(spec=port(), mark=5), off], networks)
    marks = items["bridge nubelet", "marks"]
    assert isinstance(marks, Collection)
    assert marks.elements == {'"tabcd1111111122"': "0x5"}
    ingress = items["inet nubelet", "ingress"]
    assert isinstance(ingress, Collection)
    assert ingress.elements == {"0x5": f"goto port-{PORT}-in"}
    zones = items["inet nubelet", "zones"]
    assert isinstance(zones, Collection)
    assert zones.elements == {'"babcdnnnnnnnnnn"': "7"}


def test_names_fit_the_kernel_and_say_whose_they_are() -> None:
    names = Names("abcd")
    made = [
        names.bridge(PORT),
        names.vxlan(PORT),
        names.tap(PORT),
        names.dhcp_leg(PORT),
        names.router_leg(PORT),
        names.physical_leg("public"),
        names.host_leg("a physical network with a long name"),
        interior_leg(PORT),
        gateway_leg(PORT),
    ]
    assert all(len(name) <= 15 for name in made)
    assert len(set(made)) == len(made)
    assert names.is_host_device(names.host_leg("public"))
    assert not names.is_host_device(Names("abce").host_leg("public"))
    assert names.owner(names.router_namespace(PORT)) == ("router", PORT)
    assert names.owner(names.dhcp_namespace(PORT)) == ("dhcp", PORT)
    assert names.owner("nb-abcd") == ("cloud", "")
    assert names.owner("nb-abcd-x") == ("unknown", "nb-abcd-x")
    assert names.owner("nb-abcdef") is None
    assert names.owner(Names("abce").router_namespace(PORT)) is None
    assert read_alias("port x") == ("port", "x")
    assert read_alias("somebody's") == ("", "")


def router(**fields: object) -> RouterSpec:
    outside = RouterPort(
        port_id=PORT,
        network_id="n",
        mac=MAC,
        addresses=(Address(ip="203.0.113.9", prefix_length=24, subnet_id="s"),),
    )
    values: dict[str, object] = {
        "id": "r",
        "gateway": RouterGateway(port=outside),
        "floating_ips": (FloatingIpSpec(id="f", floating_ip="203.0.113.50", fixed_ip="10.0.0.5"),),
    }
    return RouterSpec(**(values | fields))  # type: ignore[arg-type]


def test_floating_addresses_are_elements() -> None:
    items = nat.items(router())
    inward, outward = items["ip nubelet", "floating_in"], items["ip nubelet", "floating_out"]
    assert isinstance(inward, Collection)
    assert isinstance(outward, Collection)
    assert inward.elements == {"203.0.113.50": "10.0.0.5"}
    assert outward.elements == {"10.0.0.5": "203.0.113.50"}


def test_without_translation_the_inside_is_open_to_routes() -> None:
    guarded = nat.items(router())["inet nubelet", "forward"]
    assert isinstance(guarded, Chain)
    assert guarded.rules[-1].endswith("ct state new,invalid drop")
    gateway = router().gateway
    assert gateway is not None
    plain = nat.items(router(gateway=RouterGateway(port=gateway.port, enable_snat=False)))
    assert plain["inet nubelet", "forward"] == Chain((), plain["inet nubelet", "forward"].hook)  # type: ignore[union-attr]
    postrouting = plain["ip nubelet", "postrouting"]
    assert isinstance(postrouting, Chain)
    assert f'oifname "{gateway_leg(PORT)}" ip saddr' not in " ".join(postrouting.rules)


def test_a_router_without_gateway_translates_nothing() -> None:
    items = nat.items(router(gateway=None))
    postrouting, inward = items["ip nubelet", "postrouting"], items["ip nubelet", "floating_in"]
    assert isinstance(postrouting, Chain)
    assert isinstance(inward, Collection)
    assert (postrouting.rules, dict(inward.elements)) == ((), {})


@pytest.mark.parametrize(
    ("target", "reply_source", "source", "reply_target", "expected"),
    [
        ("10.1.0.9", "10.1.0.9", "10.0.0.5", "10.0.0.5", True),  # routed, not translated
        ("203.0.113.50", "10.0.0.5", "192.0.2.1", "192.0.2.1", True),  # in by a floating address
        ("203.0.113.51", "10.0.0.5", "192.0.2.1", "192.0.2.1", False),  # one that is gone
        ("203.0.113.50", "10.0.0.6", "192.0.2.1", "192.0.2.1", False),  # leads elsewhere now
        ("192.0.2.1", "192.0.2.1", "10.0.0.5", "203.0.113.50", True),  # out by a floating address
        ("192.0.2.1", "192.0.2.1", "10.0.0.6", "203.0.113.50", False),
        ("192.0.2.1", "192.0.2.1", "10.0.0.6", "203.0.113.9", True),  # out by the router's own
        ("203.0.113.50", "10.0.0.5", "10.0.0.6", "203.0.113.9", True),  # back on itself
    ],
)
def test_translations_that_still_hold(
    target: str, reply_source: str, source: str, reply_target: str, expected: bool
) -> None:
    flow = Flow(4, 6, source, target, 1, 2, reply_source=reply_source, reply_target=reply_target)
    assert nat.upholds(router(), flow) is expected
