"""The rules of one port: who it may claim to be, and which security groups speak for it.

Pure. Two tables in the cloud's namespace share the work, because this kernel family cannot track
connections in the bridge family, and the inet family behind br_netfilter cannot see the port:

- `bridge nubelet` drops frames with a false MAC, ARP, IPv4 or IPv6 source, and writes the port's
  number into the packet's mark: the sender's before the bridge decides, the receiver's after.
- `inet nubelet` tracks connections (one zone per network: addresses of two projects may be the
  same) and asks the security groups: for the sender in prerouting, for the receiver in forward.

A port without port security is in none of the maps; its packets meet only their peer's rules.

Read next: `security_rules.py`, `filters.py`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from nubelet.node.switching.linux.names import Names
from nubelet.node.switching.linux.records import NetworkRecord, PortRecord
from nubelet.node.switching.linux.ruleset import Chain, Item, Key, of_map
from nubelet.node.switching.linux.security_rules import (
    TABLE,
    Network,
    egress_chain,
    element,
    ingress_chain,
    outermost,
)
from nubelet.node.wire import PortSpec

BRIDGE_TABLE = "bridge nubelet"

# What Neutron lets through whatever the groups say: a guest must get its address and find its
# neighbours. What it never lets out: answers that only routers and DHCP servers give. Both are
# asked behind defragmentation, so that no fragment hides a port number.
_ALWAYS_OUT = (
    "meta nfproto ipv4 udp sport 67 udp dport 68 drop",
    "meta nfproto ipv6 udp sport 547 udp dport 546 drop",
    "icmpv6 type { nd-router-advert, nd-redirect } drop",
    "meta nfproto ipv4 udp sport 68 udp dport 67 accept",
    "ip6 saddr fe80::/10 udp sport 546 udp dport 547 accept",
    "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert,"
    " mld-listener-report, mld-listener-done, mld2-listener-report } accept",
)
_ALWAYS_IN = (
    "meta nfproto ipv4 udp sport 67 udp dport 68 accept",
    "ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept",
    "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query } accept",
    "ip6 saddr fe80::/10 icmpv6 type nd-router-advert accept",
)


def hook_items() -> dict[Key, Item]:
    """The chains that the kernel calls, and those that all ports share."""
    return {
        (BRIDGE_TABLE, "sender"): Chain(
            (
                "meta mark set 0",
                "meta mark set iifname map @marks",
                "iifname vmap @sources",
            ),
            "type filter hook prerouting priority -300; policy accept;",
        ),
        # Below 0: before br_netfilter hands the packet to the inet family.
        (BRIDGE_TABLE, "receiver"): Chain(
            ("meta mark set 0", "meta mark set oifname map @marks"),
            "type filter hook forward priority -10; policy accept;",
        ),
        (TABLE, "zone"): Chain(
            ("ct zone set iifname map @zones",),
            "type filter hook prerouting priority raw; policy accept;",
        ),
        (TABLE, "leaving"): Chain(
            ("meta mark vmap @egress",),
            "type filter hook prerouting priority filter; policy accept;",
        ),
        (TABLE, "arriving"): Chain(
            ("meta mark vmap @ingress",),
            "type filter hook forward priority filter; policy accept;",
        ),
        (TABLE, "always-out"): Chain(_ALWAYS_OUT),
        (TABLE, "always-in"): Chain(_ALWAYS_IN),
    }


def map_items(
    names: Names, ports: Iterable[PortRecord], networks: Iterable[NetworkRecord]
) -> dict[Key, Item]:
    """The maps that lead a packet to its port's chains and its network's zone."""
    secured = [record for record in ports if record.spec.port_security_enabled]
    taps = {record.id: f'"{names.tap(record.id)}"' for record in secured}
    marks = {taps[r.id]: f"{r.mark:#x}" for r in secured}
    sources = {taps[r.id]: f"goto {source_chain(r.id)}" for r in secured}
    egress = {f"{r.mark:#x}": f"goto {leaving_chain(r.id)}" for r in secured}
    ingress = {f"{r.mark:#x}": f"goto {arriving_chain(r.id)}" for r in secured}
    # Behind br_netfilter the inet family sees the bridge as the input device.
    zones = {f'"{names.bridge(record.id)}"': str(record.zone) for record in networks}
    return {
        (BRIDGE_TABLE, "marks"): of_map("type ifname : mark;", marks),
        (BRIDGE_TABLE, "sources"): of_map("type ifname : verdict;", sources),
        (TABLE, "egress"): of_map("type mark : verdict;", egress),
        (TABLE, "ingress"): of_map("type mark : verdict;", ingress),
        (TABLE, "zones"): of_map("typeof iifname : ct zone;", zones),
    }


def source_chain(port_id: str) -> str:
    """The chain that checks what a port claims to be."""
    return f"source-{port_id}"


def leaving_chain(port_id: str) -> str:
    """The chain of what a port may send."""
    return f"port-{port_id}-out"


def arriving_chain(port_id: str) -> str:
    """The chain of what a port may receive."""
    return f"port-{port_id}-in"


def port_keys(port_id: str) -> list[Key]:
    """All chains of a port."""
    return [
        (BRIDGE_TABLE, source_chain(port_id)),
        (TABLE, leaving_chain(port_id)),
        (TABLE, arriving_chain(port_id)),
    ]


def port_items(spec: PortSpec, *, stateful: bool) -> dict[Key, Item]:
    """The chains of a port; none without port security."""
    if not spec.port_security_enabled:
        return {}
    tracked = ("ct state established,related accept", "ct state invalid drop") if stateful else ()
    groups = spec.security_group_ids
    leaving = ("jump always-out", *tracked, *(f"jump {egress_chain(g)}" for g in groups), "drop")
    arriving = (*tracked, "jump always-in", *(f"jump {ingress_chain(g)}" for g in groups), "drop")
    source, out, into = port_keys(spec.id)
    return {
        source: Chain(source_rules(spec)),
        out: Chain(leaving),
        into: Chain(arriving),
    }


def source_rules(spec: PortSpec) -> tuple[str, ...]:
    """Anti-spoofing: frames pass only with MAC and address pairs that belong to the port."""
    pairs = source_pairs(spec)
    macs = ", ".join(sorted({mac for mac, _ in pairs}))
    ipv4 = _pair_set(pairs, 4)
    ipv6 = _pair_set(pairs, 6)
    rules = [
        # Also refuses VLAN-tagged frames, whose inside br_netfilter would not look at.
        "ether type != { ip, arp, ip6 } drop",
        f"ether saddr != {{ {macs} }} drop",
    ]
    if ipv4:
        rules.append(f"ether type arp arp saddr ether . arp saddr ip {ipv4} accept")
    rules += ["ether type arp drop", "ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept"]
    if ipv4:
        rules.append(f"ether saddr . ip saddr {ipv4} accept")
    rules += [
        "ether type ip drop",
        # Duplicate address detection and its reports come from the unspecified address.
        "ip6 saddr :: icmpv6 type { nd-neighbor-solicit, nd-router-solicit,"
        " mld-listener-report, mld2-listener-report } accept",
        f"ether saddr . ip6 saddr != {ipv6} drop",
    ]
    for network in sorted({network for _, network in pairs if network.version == 6}, key=str):
        rules.append(f"icmpv6 type nd-neighbor-advert {_advertised(network)}accept")
    rules += ["icmpv6 type nd-neighbor-advert drop", "accept"]
    return tuple(rules)


def source_pairs(spec: PortSpec) -> set[tuple[str, Network]]:
    """The MAC and address pairs a port may send from: fixed addresses, allowed address pairs,
    and the link-local address of each MAC.
    """
    pairs = {(spec.mac.lower(), ipaddress.ip_network(a.ip)) for a in spec.addresses}
    for pair in spec.allowed_address_pairs:
        mac = (pair.mac or spec.mac).lower()
        pairs.add((mac, ipaddress.ip_network(pair.ip, strict=False)))
    for mac in {mac for mac, _ in pairs} | {spec.mac.lower()}:
        pairs.add((mac, ipaddress.ip_network(link_local(mac))))
    return pairs


def link_local(mac: str) -> str:
    """The link-local address that a MAC address leads to (modified EUI-64, RFC 4291)."""
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= 2
    identifier = bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier))


def _pair_set(pairs: set[tuple[str, Network]], version: int) -> str:
    by_mac: dict[str, list[Network]] = {}
    for mac, network in pairs:
        if network.version == version:
            by_mac.setdefault(mac, []).append(network)
    elements = []
    for mac, networks in sorted(by_mac.items()):
        elements += [f"{mac} . {element(network)}" for network in outermost(networks)]
    return f"{{ {', '.join(elements)} }}" if elements else ""


def _advertised(network: Network) -> str:
    """A match on the target of a neighbour advertisement (octets 8 to 23 of ICMPv6)."""
    if not network.prefixlen:
        return ""
    bits = int(network.network_address) >> (128 - network.prefixlen)
    return f"@th,64,{network.prefixlen} {bits:#x} "
