"""Transactions between rulesets, connections that must end, and what the driver keeps in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from nubelet.node.switching.linux import flows, leases, ruleset
from nubelet.node.switching.linux.arp import gratuitous
from nubelet.node.switching.linux.flows import Flow, permits
from nubelet.node.switching.linux.metadata import passed_on
from nubelet.node.switching.linux.records import (
    GroupRecord,
    NetworkRecord,
    PortRecord,
    Records,
)
from nubelet.node.switching.linux.ruleset import Chain, Item, Key, of_map, of_set
from nubelet.node.wire import NetworkSpec, PortSpec, SecurityGroupRule, SecurityGroupSpec

TABLE = "inet nubelet"


def test_a_set_changes_by_elements() -> None:
    before: dict[Key, Item] = {(TABLE, "s"): of_set("type ipv4_addr;", ["10.0.0.1", "10.0.0.2"])}
    after = of_set("type ipv4_addr;", ["10.0.0.2", "10.0.0.3"])
    assert ruleset.transition(before, {(TABLE, "s"): after}).splitlines() == [
        "add set inet nubelet s { type ipv4_addr; }",
        "delete element inet nubelet s { 10.0.0.1 }",
        "add element inet nubelet s { 10.0.0.3 }",
    ]


def test_a_map_value_changes_by_taking_the_old_one_out() -> None:
    before: dict[Key, Item] = {(TABLE, "m"): of_map("type mark : verdict;", {"1": "jump a"})}
    after = of_map("type mark : verdict;", {"1": "jump b"})
    assert ruleset.transition(before, {(TABLE, "m"): after}).splitlines() == [
        "add map inet nubelet m { type mark : verdict; }",
        "delete element inet nubelet m { 1 : jump a }",
        "add element inet nubelet m { 1 : jump b }",
    ]


def test_what_is_gone_goes_when_nothing_names_it_any_more() -> None:
    before: dict[Key, Item] = {
        (TABLE, "m"): of_map("type mark : verdict;", {"1": "goto p"}),
        (TABLE, "p"): Chain(("jump g", "drop")),
        (TABLE, "g"): Chain(("ip saddr @s accept",)),
        (TABLE, "s"): of_set("type ipv4_addr;", ["10.0.0.1"]),
    }
    changes = {(TABLE, "p"): None, (TABLE, "g"): None, (TABLE, "s"): None}
    text = ruleset.transition(before, {**changes, (TABLE, "m"): of_map("type mark : verdict;")})
    lines = text.splitlines()
    order = [
        "flush chain inet nubelet p",
        "delete element inet nubelet m { 1 : goto p }",
        "delete set inet nubelet s",
        "delete chain inet nubelet p",
    ]
    assert [line for line in lines if line in order] == order
    assert ruleset.apply(before, changes).keys() == {(TABLE, "m")}


def test_removing_what_is_not_there_is_nothing() -> None:
    assert ruleset.transition({}, {(TABLE, "x"): None}) == ""


def test_a_replacement_starts_from_nothing() -> None:
    text = ruleset.replacement({(TABLE, "c"): Chain(("drop",), "type filter hook forward;")})
    assert text.splitlines() == [
        "add table inet nubelet",
        "delete table inet nubelet",
        "add table inet nubelet",
        "add chain inet nubelet c { type filter hook forward; }",
        "flush chain inet nubelet c",
        "add rule inet nubelet c drop",
    ]


LISTING = """\
tcp      6 431999 ESTABLISHED src=10.0.0.5 dst=10.0.0.6 sport=40000 dport=22 src=10.0.0.6 \
dst=10.0.0.5 sport=22 dport=40000 [ASSURED] mark=0 zone=7 use=1
icmp     1 29 src=10.0.0.5 dst=10.0.0.6 type=8 code=0 id=77 src=10.0.0.6 dst=10.0.0.5 type=0 \
code=0 id=77 mark=0 zone=7 use=1
unknown  47 599 src=10.0.0.5 dst=10.0.0.6 src=10.0.0.6 dst=10.0.0.5 mark=0 zone=7 use=1
conntrack v1.4.7 (conntrack-tools): 3 flow entries have been shown.
"""


def test_connections_are_read_from_their_first_packet() -> None:
    tcp, icmp, gre = flows.parse(LISTING, 4)
    way = (4, 6, "10.0.0.5", "10.0.0.6")
    assert tcp == Flow(*way, 40000, 22, 0, 7, "10.0.0.6", "10.0.0.5")
    assert (icmp.first, icmp.second, icmp.icmp_id, icmp.zone) == (8, 0, 77, 7)
    assert (gre.protocol, gre.first, gre.second) == (47, 0, 0)


SSH = Flow(4, 6, "10.0.0.5", "10.0.0.6", 40000, 22)
PING = Flow(4, 1, "10.0.0.5", "10.0.0.6", 8, 0)


@pytest.mark.parametrize(
    ("fields", "flow", "expected"),
    [
        ({}, SSH, True),
        ({"ethertype": "IPv6"}, SSH, False),
        ({"protocol": "tcp"}, SSH, True),
        ({"protocol": "udp"}, SSH, False),
        ({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}, SSH, True),
        ({"protocol": "tcp", "port_range_min": 23, "port_range_max": 80}, SSH, False),
        ({"protocol": "icmp", "port_range_min": 8}, PING, True),
        ({"protocol": "icmp", "port_range_min": 8, "port_range_max": 1}, PING, False),
        ({"remote_ip_prefix": "10.0.0.0/29"}, SSH, True),
        ({"remote_ip_prefix": "10.0.0.6/32"}, SSH, False),
        ({"direction": "egress", "remote_ip_prefix": "10.0.0.6/32"}, SSH, True),
        ({"remote_group_id": "g"}, SSH, True),
        ({"direction": "egress", "remote_group_id": "g"}, SSH, False),
    ],
)
def test_what_permits_a_connection(fields: dict[str, object], flow: Flow, expected: bool) -> None:
    values: dict[str, object] = {"id": "r", "direction": "ingress", "ethertype": "IPv4"}
    rule = SecurityGroupRule(**(values | fields))  # type: ignore[arg-type]
    assert permits(rule, flow, ["10.0.0.5", "fd00::/64"]) is expected


def network(identifier: str) -> NetworkSpec:
    return NetworkSpec(id=identifier, kind="local", mtu=1500)


def test_records_survive_and_numbers_stay(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for identifier in ("a", "b", "c"):
        zone = records.zone_for(identifier)
        records.networks.put(NetworkRecord(spec=network(identifier), zone=zone))
    port = PortSpec(id="p", network_id="a", mac="fa:16:3e:00:00:01")
    records.ports.put(PortRecord(spec=port, mark=records.mark_for("p")))
    records.groups.put(GroupRecord(spec=SecurityGroupSpec(id="g", members=("10.0.0.1",))))
    records.networks.drop("b")
    again = Records(tmp_path)
    again.load()
    assert {record.id: record.zone for record in again.networks.all()} == {"a": 1, "c": 3}
    assert again.zone_for("c") == 3
    assert again.zone_for("d") == 2, "a free number is used again"
    assert again.ports_of("a") == records.ports_of("a")
    assert again.groups.get("g") == records.groups.get("g")


def test_a_broken_record_is_left_out(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.networks.put(NetworkRecord(spec=network("a"), zone=1))
    (tmp_path / "networks" / "b.json").write_text("{")
    records.load()
    assert [record.id for record in records.networks.all()] == ["a"]


@pytest.mark.parametrize("identifier", ["", "../x", "a/b", ".hidden"])
def test_an_id_names_no_other_file(tmp_path: Path, identifier: str) -> None:
    with pytest.raises(ValueError, match="is no id"):
        Records(tmp_path).networks.put(NetworkRecord(spec=network(identifier), zone=1))


def test_leases() -> None:
    text = (
        "1795265107 fa:16:3e:00:00:02 10.0.0.5 host-a 01:fa:16:3e:00:00:02\n"
        "duid 00:01:00:01:2e\n"
        "1795265107 7 fd00::5 host-a 00:03:00:01\n"
    )
    assert leases.without(text, {"fd00::5"}).splitlines() == text.splitlines()[:2]
    assert leases.without(text, {"10.0.0.5"}).splitlines() == text.splitlines()[1:]


def test_leases_held(tmp_path: Path) -> None:
    path = tmp_path / "leases"
    assert leases.held(path, 4) == set()
    path.write_text("1 m 10.0.0.5 * *\nduid 00:01\n1 7 fd00::5 * 00\nrubbish\n1 m nowhere * *\n")
    assert leases.held(path, 4) == {"10.0.0.5"}
    assert leases.held(path, 6) == {"fd00::5"}


def test_a_release_is_a_valid_packet() -> None:
    frame = leases.release_frame("fa:16:3e:00:00:02", "10.0.0.5", "fa:16:3e:00:00:01", "10.0.0.2")
    assert frame[:14].hex(":") == "fa:16:3e:00:00:01:fa:16:3e:00:00:02:08:00"
    words = [int.from_bytes(frame[i : i + 2], "big") for i in range(14, 34, 2)]
    total = sum(words)
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF, "the header's checksum"
    assert int.from_bytes(frame[16:18], "big") == len(frame) - 14
    assert bytes([53, 1, 7, 54, 4, 10, 0, 0, 2, 255]) in frame


def test_gratuitous_arp_announces_itself() -> None:
    frame = gratuitous("fa:16:3e:00:00:02", "203.0.113.50", 1)
    assert frame[:6] == b"\xff" * 6
    assert frame[20:22] == b"\x00\x01"
    assert frame[28:32] == frame[38:42] == bytes([203, 0, 113, 50])


def test_headers_that_a_guest_may_not_say() -> None:
    said = [
        ("Host", "x"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("x-instance-id", "y"),
        ("Forwarded", "z"),
    ]
    assert passed_on(said) == [("Host", "x")]
