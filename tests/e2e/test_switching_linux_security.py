"""Security groups and port security on real bridges: what passes and what does not.

Each check is one that a user makes: ping, connect, send. A check that something is refused stands
beside one that the same thing passes when allowed.
"""

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nubelet.node.switching.linux.records import GroupRecord
from nubelet.node.wire import Address, AddressPair, SecurityGroups, SecurityGroupSpec
from tests.e2e.switching_host import (
    Conversation,
    Guest,
    Host,
    Net,
    eventually,
    group,
    missing_tools,
    new_id,
    rule,
    run,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(bool(missing_tools()), reason=f"needs {missing_tools()}"),
]

ALL_ICMP = rule(protocol="icmp")
SSH = rule(protocol="tcp", port_range_min=22, port_range_max=22)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    host.driver.start(None)
    yield host
    host.close()


def set_groups(host: Host, *groups: SecurityGroupSpec) -> None:
    host.driver.ensure_security_groups(SecurityGroups(groups=groups))


def ipv6_address(net: Net, ip: str) -> Address:
    return Address(ip=ip, prefix_length=64, subnet_id=net.subnet_id)


def pair_of_guests(host: Host, *to: SecurityGroupSpec) -> tuple[Guest, Guest]:
    """A client that may send anything, and a server in the given groups; IPv4 and IPv6."""
    client_group = group()
    set_groups(host, client_group, *to)
    net = Net(dhcp_ip=None)
    host.driver.ensure_network(net.spec())
    client = host.boot(net.port("10.0.0.5", client_group.id, more=(ipv6_address(net, "fd00::5"),)))
    server = host.boot(
        net.port("10.0.0.6", *(g.id for g in to), more=(ipv6_address(net, "fd00::6"),))
    )
    for guest in (client, server):
        guest.configure()
    return client, server


def change(guest: Guest, host: Host, **fields: object) -> None:
    guest.port = msgspec.structs.replace(guest.port, **fields)
    host.driver.ensure_port(guest.port)


def test_what_the_rules_name_passes_and_nothing_else(host: Host) -> None:
    client, server = pair_of_guests(host, group(ALL_ICMP, SSH))
    for port in (22, 80):
        server.serve(port)
    client.serve(22)
    server.serve(53, protocol="udp")
    assert client.ping("10.0.0.6")
    assert client.call("10.0.0.6", 22) == f"{server.namespace} hears 10.0.0.5"
    assert client.cannot_call("10.0.0.6", 80)
    assert client.cannot_call("10.0.0.6", 53, protocol="udp")
    assert server.cannot_call("10.0.0.5", 22), "the client's group lets nothing in"
    assert server.cannot_ping("10.0.0.5")
    assert client.cannot_ping("fd00::6"), "an IPv4 rule says nothing about IPv6"


def test_ipv6_rules_and_udp(host: Host) -> None:
    ping6 = rule(ethertype="IPv6", protocol="ipv6-icmp", port_range_min=128)
    ssh6 = rule(ethertype="IPv6", protocol="tcp", port_range_min=22, port_range_max=22)
    dns = rule(protocol="udp", port_range_min=50, port_range_max=60)
    client, server = pair_of_guests(host, group(ping6, ssh6, dns))
    server.serve(22, family="6")
    server.serve(80, family="6")
    server.serve(53, protocol="udp")
    server.serve(61, protocol="udp")
    assert client.ping("fd00::6")
    assert client.call("fd00::6", 22)
    assert client.cannot_call("fd00::6", 80)
    assert client.call("10.0.0.6", 53, protocol="udp") == f"{server.namespace} hears 10.0.0.5"
    assert client.cannot_call("10.0.0.6", 61, protocol="udp")
    assert client.cannot_ping("10.0.0.6")


def test_icmp_type_and_code(host: Host) -> None:
    client, _ = pair_of_guests(host, group(rule(protocol="icmp", port_range_min=13)))
    assert client.cannot_ping("10.0.0.6"), "type 13 is a timestamp, not an echo request"
    client, _ = pair_of_guests(
        host, group(rule(protocol="icmp", port_range_min=8, port_range_max=0))
    )
    assert client.ping("10.0.0.6")


def test_egress_is_denied_without_a_rule(host: Host) -> None:
    client, server = pair_of_guests(host, group(ALL_ICMP, SSH))
    server.serve(22)
    only_ping = SecurityGroupSpec(id=new_id(), rules=(rule("egress", protocol="icmp"),))
    set_groups(host, only_ping)
    change(client, host, security_group_ids=(only_ping.id,))
    assert client.ping("10.0.0.6")
    assert client.cannot_call("10.0.0.6", 22)
    change(client, host, security_group_ids=())
    assert client.cannot_ping("10.0.0.6")


def test_prefixes(host: Host) -> None:
    near = rule(
        protocol="tcp", port_range_min=22, port_range_max=22, remote_ip_prefix="10.0.0.5/32"
    )
    far = rule(protocol="tcp", port_range_min=80, port_range_max=80, remote_ip_prefix="10.9.0.0/16")
    client, server = pair_of_guests(host, group(near, far))
    server.serve(22)
    server.serve(80)
    assert client.call("10.0.0.6", 22)
    assert client.cannot_call("10.0.0.6", 80)


def test_remote_group_follows_its_members(host: Host) -> None:
    friends = group(id=new_id())
    server_group = group(rule(remote_group_id=friends.id, protocol="tcp"))
    client, server = pair_of_guests(host, server_group)
    server.serve(22)
    assert client.cannot_call("10.0.0.6", 22), "the remote group is not known here yet"
    set_groups(host, msgspec.structs.replace(friends, members=("10.0.0.5", "10.7.0.0/16")))
    assert client.call("10.0.0.6", 22)
    set_groups(host, msgspec.structs.replace(friends, members=("10.7.0.0/16",)))
    assert client.cannot_call("10.0.0.6", 22)
    set_groups(host, msgspec.structs.replace(friends, members=("10.0.0.0/8", "10.0.0.5")))
    assert client.call("10.0.0.6", 22), "members may be prefixes that overlap"
    host.driver.remove_security_group(friends.id)
    assert client.cannot_call("10.0.0.6", 22)


def test_a_member_is_one_set_element_not_a_new_ruleset(host: Host) -> None:
    from nubelet.node import trail

    friends = group()
    pair_of_guests(host, friends, group(rule(remote_group_id=friends.id)))
    members = tuple(f"10.1.{n // 200}.{n % 200 + 1}" for n in range(1000))
    set_groups(host, msgspec.structs.replace(friends, members=members))
    namespace = host.driver.tap_namespace()
    with trail.recording() as entries:
        set_groups(host, msgspec.structs.replace(friends, members=(*members, "10.2.0.1")))
    assert len([entry.what for entry in entries if "nft" in entry.what]) == 1
    listed = run(namespace, "nft", "list", "set", "inet", "nubelet", f"sg-{friends.id}-4")
    assert listed.count("10.1.") == 1000
    assert "10.2.0.1" in listed


def test_a_removed_rule_cuts_its_connections_and_no_others(host: Host) -> None:
    web = rule(protocol="tcp", port_range_min=80, port_range_max=80)
    both = group(SSH, web)
    client, server = pair_of_guests(host, both)
    server.serve(22)
    server.serve(80)
    ssh, http = Conversation(client, "10.0.0.6", 22), Conversation(client, "10.0.0.6", 80)
    assert ssh.alive()
    assert http.alive()
    set_groups(host, group(SSH, id=both.id))
    assert ssh.alive()
    assert not http.alive()
    set_groups(host, group(id=both.id))
    assert not ssh.alive()
    for conversation in (ssh, http):
        conversation.end()


def test_a_member_that_leaves_loses_its_connections(host: Host) -> None:
    friends = group(id=new_id())
    client, server = pair_of_guests(host, group(rule(remote_group_id=friends.id)))
    set_groups(host, msgspec.structs.replace(friends, members=("10.0.0.5",)))
    server.serve(22)
    ssh = Conversation(client, "10.0.0.6", 22)
    assert ssh.alive()
    set_groups(host, msgspec.structs.replace(friends, members=("10.0.0.5", "10.0.0.9")))
    assert ssh.alive()
    set_groups(host, msgspec.structs.replace(friends, members=("10.0.0.9",)))
    assert not ssh.alive()
    ssh.end()


def test_a_port_that_leaves_a_group_loses_its_connections(host: Host) -> None:
    allowed, other = group(SSH), group(ALL_ICMP)
    client, server = pair_of_guests(host, allowed, other)
    server.serve(22)
    ssh = Conversation(client, "10.0.0.6", 22)
    change(server, host, security_group_ids=(other.id,))
    assert not ssh.alive()
    assert client.ping("10.0.0.6")
    ssh.end()


def test_what_an_earlier_process_left_undone_is_done(host: Host) -> None:
    """It died after it wrote the new rules and before it ended the connections."""
    allowed = group(SSH)
    client, server = pair_of_guests(host, allowed)
    server.serve(22)
    ssh = Conversation(client, "10.0.0.6", 22)
    host.driver.stop()
    shelf = host.folder / "switching" / "security_groups" / f"{allowed.id}.json"
    closed = msgspec.structs.replace(allowed, rules=allowed.rules[:2])
    shelf.write_bytes(msgspec.json.encode(GroupRecord(spec=closed)))
    host.driver = host.new_driver()
    host.driver.start(None)
    set_groups(host, closed)
    assert not ssh.alive()
    ssh.end()


def test_stateless_group_lets_no_answer_in(host: Host) -> None:
    client, server = pair_of_guests(host, group(ALL_ICMP, SSH))
    server.serve(22)
    stateless = group(stateful=False)
    set_groups(host, stateless)
    change(client, host, security_group_ids=(stateless.id,))
    assert client.cannot_call("10.0.0.6", 22)
    back = rule(protocol="tcp", remote_ip_prefix="10.0.0.6/32")
    set_groups(host, group(back, id=stateless.id, stateful=False))
    assert client.call("10.0.0.6", 22)
    set_groups(host, group(id=stateless.id, stateful=True))
    assert client.call("10.0.0.6", 22), "a stateful group needs no rule for answers"


def test_spoofed_sources_are_dropped(host: Host) -> None:
    client, server = pair_of_guests(
        host, group(ALL_ICMP, rule(ethertype="IPv6", protocol="ipv6-icmp"))
    )
    assert client.ping("10.0.0.6")
    assert client.ping("fd00::6")
    client.run("ip", "addr", "add", "10.0.0.77/24", "dev", "eth0")
    client.run("ip", "addr", "add", "fd00::77/64", "dev", "eth0", "nodad")
    # The server knows the way back, so only the filter can be the reason for silence.
    server.run("ip", "neigh", "replace", "10.0.0.77", "lladdr", client.port.mac, "dev", "eth0")
    server.run("ip", "neigh", "replace", "fd00::77", "lladdr", client.port.mac, "dev", "eth0")
    assert not sends_from(client, "10.0.0.77", "10.0.0.6")
    assert not sends_from(client, "fd00::77", "fd00::6")
    assert client.ping("10.0.0.6")
    client.run("ip", "link", "set", "eth0", "address", "fa:16:3e:99:99:99")
    server.run("ip", "neigh", "flush", "dev", "eth0")
    assert client.cannot_ping("10.0.0.6")


def sends_from(guest: Guest, source: str, target: str) -> bool:
    words = ["ping", "-c", "1", "-W", "1", "-I", source, target]
    command = ["nsenter", f"--net=/run/netns/{guest.namespace}", "--", *words]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def sniffed(guest: Guest, send: str, sender: Guest, seconds: float = 0.7) -> list[bytes]:
    """Frames that arrive at a guest while another one runs a piece of Python, and a moment on."""
    code = (
        "import select,socket,sys\n"
        "s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW,socket.htons(3)); s.bind(('eth0',0))\n"
        "print('ready',flush=True)\n"
        "while s in (found:=select.select([s,sys.stdin],[],[])[0]) or sys.stdin not in found:\n"
        "    d,a=s.recvfrom(2000)\n"
        "    if a[2]!=4: print(d.hex(),flush=True)\n"
    )
    listener = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{guest.namespace}", "--", "python3", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert listener.stdin is not None
    assert listener.stdout is not None
    assert listener.stdout.readline() == "ready\n"
    sender.run("python3", "-c", send)
    time.sleep(seconds)
    listener.stdin.close()  # it ends as soon as no more frames wait
    frames = [bytes.fromhex(line.strip()) for line in listener.stdout]
    listener.wait()
    return frames


def raw_send(frame: bytes) -> str:
    return (
        "import socket\n"
        "s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW); s.bind(('eth0',0))\n"
        f"s.send(bytes.fromhex('{frame.hex()}'))\n"
    )


def arp_reply(mac: str, ip: str) -> bytes:
    hardware, address = bytes.fromhex(mac.replace(":", "")), socket.inet_aton(ip)
    header = bytes.fromhex("0001080006040002")
    body = header + hardware + address + b"\xff" * 6 + address
    return b"\xff" * 6 + hardware + b"\x08\x06" + body + bytes(18)


def test_arp_spoofing_is_dropped(host: Host) -> None:
    client, server = pair_of_guests(host, group(ALL_ICMP))
    honest = arp_reply(client.port.mac, "10.0.0.5")
    false_ip = arp_reply(client.port.mac, "10.0.0.1")
    false_mac = honest[:22] + bytes.fromhex("fa163e777777") + honest[28:]
    assert any(f[:42] == honest[:42] for f in sniffed(server, raw_send(honest), client))
    assert not any(f[12:14] == b"\x08\x06" for f in sniffed(server, raw_send(false_ip), client))
    assert not any(f[12:14] == b"\x08\x06" for f in sniffed(server, raw_send(false_mac), client))


def test_tagged_and_foreign_frames_are_dropped(host: Host) -> None:
    """A VLAN tag or PPPoE would carry IP past the filters of the inet family."""
    client, server = pair_of_guests(host, group())
    source = bytes.fromhex(client.port.mac.replace(":", ""))
    for ethertype in ("8100000508004500", "8864110000000000", "88cc0207"):
        frame = (b"\xff" * 6 + source + bytes.fromhex(ethertype)).ljust(64, b"\0")
        frames = sniffed(server, raw_send(frame), client, 0.5)
        assert not any(f[6:12] == source for f in frames), ethertype


def test_guests_are_neither_dhcp_server_nor_router(host: Host) -> None:
    client, server = pair_of_guests(
        host, group(rule(), rule(ethertype="IPv6")), group(rule(), rule(ethertype="IPv6"))
    )
    open_to_all = group(rule(), rule(ethertype="IPv6"))
    set_groups(host, open_to_all)
    change(client, host, security_group_ids=(open_to_all.id,))

    def udp(family: str, source_port: int, target: str, port: int) -> str:
        return (
            "import socket\n"
            f"s=socket.socket(socket.{family},socket.SOCK_DGRAM)\n"
            "s.setsockopt(socket.SOL_SOCKET,socket.SO_BROADCAST,1)\n"
            f"s.bind(('',{source_port})); s.sendto(b'marker-{port}',({target!r},{port}))\n"
        )

    def seen(code: str, marker: bytes) -> bool:
        return any(marker in frame for frame in sniffed(server, code, client, 0.6))

    assert seen(udp("AF_INET", 1067, "10.0.0.6", 68), b"marker-68")
    assert not seen(udp("AF_INET", 67, "10.0.0.6", 68), b"marker-68")
    assert not seen(udp("AF_INET6", 547, "fd00::6", 546), b"marker-546")
    advertisement = (
        "import socket\n"
        "s=socket.socket(socket.AF_INET6,socket.SOCK_RAW,socket.IPPROTO_ICMPV6)\n"
        "s.setsockopt(socket.IPPROTO_IPV6,socket.IPV6_MULTICAST_HOPS,255)\n"
        "s.setsockopt(socket.IPPROTO_IPV6,socket.IPV6_MULTICAST_IF,"
        "socket.if_nametoindex('eth0'))\n"
        "s.sendto(bytes([{kind},0,0,0,64,0,7,8])+b'marker-ra',('ff02::1',0))\n"
    )
    assert seen(advertisement.format(kind=128), b"marker-ra"), "an echo request gets there"
    assert not seen(advertisement.format(kind=134), b"marker-ra")


def test_fragments_hide_nothing(host: Host) -> None:
    client, server = pair_of_guests(host, group(rule(protocol="udp", port_range_min=53)))
    server.serve(53, protocol="udp")
    server.serve(54, protocol="udp")
    big = (
        "import socket\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout({seconds})\n"
        "s.sendto(b'x'*4000,('10.0.0.6',{port})); print(s.recv(100).decode())\n"
    )
    assert "hears" in client.run("python3", "-c", big.format(port=53, seconds=20), check=False)
    assert "hears" in client.run("python3", "-c", big.format(port=54, seconds=20), check=False)
    set_groups(
        host,
        group(
            rule(protocol="udp", port_range_min=53, port_range_max=53),
            id=server.port.security_group_ids[0],
        ),
    )
    assert "hears" in client.run("python3", "-c", big.format(port=53, seconds=20), check=False)
    assert "hears" not in client.run("python3", "-c", big.format(port=54, seconds=2), check=False)


def test_allowed_address_pairs(host: Host) -> None:
    client, server = pair_of_guests(host, group(ALL_ICMP))
    server.run("ip", "route", "replace", "default", "dev", "eth0")
    client.run("ip", "addr", "add", "10.0.0.77/24", "dev", "eth0")
    client.run("ip", "addr", "add", "172.16.5.5/32", "dev", "eth0")
    assert not sends_from(client, "10.0.0.77", "10.0.0.6")
    pairs = (AddressPair(ip="10.0.0.77"), AddressPair(ip="172.16.0.0/12"))
    change(client, host, allowed_address_pairs=pairs)
    assert eventually(lambda: sends_from(client, "10.0.0.77", "10.0.0.6"))
    assert eventually(lambda: sends_from(client, "172.16.5.5", "10.0.0.6"))
    assert client.ping("10.0.0.6"), "its own address still counts"
    change(client, host, allowed_address_pairs=())
    assert not sends_from(client, "10.0.0.77", "10.0.0.6")
    everything = (AddressPair(ip="0.0.0.0/0"), AddressPair(ip="::/0"))
    change(client, host, allowed_address_pairs=everything)
    assert eventually(lambda: sends_from(client, "10.0.0.77", "10.0.0.6"))
    other_mac = (AddressPair(ip="10.0.0.77", mac="fa:16:3e:aa:aa:aa"),)
    change(client, host, allowed_address_pairs=other_mac)
    assert not sends_from(client, "10.0.0.77", "10.0.0.6"), "that address goes with another MAC"


def test_port_security_off(host: Host) -> None:
    client, server = pair_of_guests(host, group(ALL_ICMP))
    server.serve(80)
    client.run("ip", "addr", "add", "10.0.0.77/24", "dev", "eth0")
    change(client, host, port_security_enabled=False)
    assert eventually(lambda: sends_from(client, "10.0.0.77", "10.0.0.6")), (
        "it may claim any source"
    )
    assert client.cannot_call("10.0.0.6", 80), "the other port's rules still hold"
    change(server, host, port_security_enabled=False)
    assert client.call("10.0.0.6", 80)
    change(client, host, port_security_enabled=True)
    change(server, host, port_security_enabled=True)
    assert not sends_from(client, "10.0.0.77", "10.0.0.6")
    assert client.cannot_call("10.0.0.6", 80)


def test_admin_state_down(host: Host) -> None:
    client, server = pair_of_guests(host, group(ALL_ICMP))
    change(server, host, admin_state_up=False)
    assert client.cannot_ping("10.0.0.6")
    change(server, host, admin_state_up=True)
    assert eventually(lambda: client.ping("10.0.0.6", seconds=1))


def test_flushed_rules_come_back_whole_with_the_next_change(host: Host) -> None:
    client, server = pair_of_guests(host, group(ALL_ICMP))
    server.serve(22)
    run(host.driver.tap_namespace(), "nft", "flush", "ruleset")
    assert client.call("10.0.0.6", 22), "without rules everything passes"
    host.driver.ensure_port(client.port)
    assert client.ping("10.0.0.6")
    assert client.cannot_call("10.0.0.6", 22)


def test_projects_with_the_same_addresses_do_not_share_connections(host: Host) -> None:
    allowed, closed = group(SSH), group()
    set_groups(host, allowed, closed)
    guests = []
    for chosen in (allowed, closed):
        net = Net(dhcp_ip=None)
        host.driver.ensure_network(net.spec())
        client = host.boot(net.port("10.0.0.5", closed.id))
        server = host.boot(net.port("10.0.0.6", chosen.id))
        for guest in (client, server):
            guest.configure()
        server.serve(22)
        guests.append((client, server))
    (mine, my_server), (theirs, _) = guests
    assert mine.call("10.0.0.6", 22) == f"{my_server.namespace} hears 10.0.0.5"
    ssh = Conversation(mine, "10.0.0.6", 22)
    assert theirs.cannot_call("10.0.0.6", 22)
    assert ssh.alive()
    ssh.end()


def test_the_next_owner_of_an_address_inherits_no_connection(host: Host) -> None:
    client, server = pair_of_guests(host, group(SSH))
    server.serve(22)
    assert client.call("10.0.0.6", 22)
    entries = run(host.driver.tap_namespace(), "conntrack", "-L")
    assert "10.0.0.6" in entries
    host.driver.remove_port(server.port.id)
    assert "10.0.0.6" not in run(host.driver.tap_namespace(), "conntrack", "-L")


def test_many_small_changes_end_where_one_big_one_does(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the order of changes, nft holds what a fresh load of the records would hold."""
    caplog.set_level("INFO", logger="nubelet.node.switching.linux")
    choose = random.Random(7)
    net, ids = Net(dhcp_ip=None), [new_id() for _ in range(4)]
    host.driver.ensure_network(net.spec())
    ports = [net.port(f"10.0.0.{n}") for n in range(10, 16)]
    present: set[str] = set()

    def random_group() -> SecurityGroupSpec:
        rules = [
            rule(
                choose.choice(["ingress", "egress"]),
                protocol="tcp",
                port_range_min=choose.randrange(1, 9),
                port_range_max=9,
                remote_group_id=choose.choice([None, *ids]),
            )
            for _ in range(choose.randrange(4))
        ]
        members = tuple(f"10.0.{choose.randrange(3)}.{choose.randrange(9)}" for _ in range(5))
        stateful = choose.random() < 0.7
        return SecurityGroupSpec(
            id=choose.choice(ids), rules=tuple(rules), members=members, stateful=stateful
        )

    for _ in range(80):
        port = choose.choice(ports)
        action = choose.random()
        if action < 0.35:
            set_groups(host, random_group())
        elif action < 0.5:
            host.driver.remove_security_group(choose.choice(ids))
        elif action < 0.85:
            chosen = tuple(choose.sample(ids, choose.randrange(3)))
            secured = choose.random() < 0.8
            host.driver.ensure_port(
                msgspec.structs.replace(
                    port, security_group_ids=chosen, port_security_enabled=secured
                )
            )
            present.add(port.id)
        else:
            host.driver.remove_port(port.id)
            present.discard(port.id)
    space = host.driver.tap_namespace()
    assert set(host.driver.observe().ports) == present

    def loaded() -> dict[str, list[str]]:
        """Each object with its lines; the order of objects does not matter, that of rules does."""
        text = run(space, "nft", "-s", "list", "ruleset")
        blocks = re.findall(r"\t((?:set|map|chain) [^\n]+\{)\n(.*?)\n\t\}", text, re.DOTALL)
        return {
            head: body.split("\n")
            if head.startswith("chain")
            else sorted(re.split(r"[\s,]+", body))
            for head, body in blocks
        }

    before = loaded()
    assert len(before) > 12
    assert "loading all rules anew" not in caplog.text, "no change had to be made the long way"
    host.driver.restore()
    assert loaded() == before


def test_connections_of_every_protocol_are_cut(host: Host) -> None:
    everything = group(rule(), rule(ethertype="IPv6"))
    client, server = pair_of_guests(host, everything)
    for family in ("4", "6"):
        server.serve(22, family=family)
        server.serve(53, family=family, protocol="udp")
    for address in ("10.0.0.6", "fd00::6"):
        assert client.ping(address)
        assert client.call(address, 22)
        assert client.call(address, 53, protocol="udp")

    def tracked() -> list[str]:
        space = host.driver.tap_namespace()
        lines = [run(space, "conntrack", "-L", "-f", family) for family in ("ipv4", "ipv6")]
        return sorted({line.split()[0] for line in "".join(lines).splitlines()})

    assert tracked() == ["icmp", "icmpv6", "tcp", "udp"]
    set_groups(host, group(id=everything.id))
    assert tracked() == []
