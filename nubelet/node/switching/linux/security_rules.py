"""Security groups as nft rules: one chain per group and direction, one set per member family.

Pure. Everything that is not allowed is refused by the chains of `port_filters.py`, which jump
here. A remote group is a set of addresses, so that a guest that joins or leaves a group is one
element more or less, not a new rule for each of its peers.

In OpenStack: neutron/agent/linux/iptables_firewall.py. Protocol numbers: IANA registry.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from nubelet.node.switching.linux.ruleset import Chain, Item, Key, of_set
from nubelet.node.wire import SecurityGroupRule, SecurityGroupSpec

TABLE = "inet nubelet"

PROTOCOL_NUMBERS = {
    "ah": 51,
    "dccp": 33,
    "egp": 8,
    "esp": 50,
    "gre": 47,
    "icmp": 1,
    "icmpv6": 58,
    "igmp": 2,
    "ipip": 4,
    "ipv6-encap": 41,
    "ipv6-frag": 44,
    "ipv6-icmp": 58,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "ipv6-route": 43,
    "ospf": 89,
    "pgm": 113,
    "rsvp": 46,
    "sctp": 132,
    "tcp": 6,
    "udp": 17,
    "udplite": 136,
    "vrrp": 112,
}
ANY_PROTOCOL = frozenset({"any", "ip", "0"})
WITH_PORTS = frozenset({6, 17, 33, 132, 136})
ICMP, ICMPV6 = 1, 58
# These are extension headers, not transports: `meta l4proto` looks past them.
_EXTENSION_HEADERS = frozenset({43, 44, 60})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def ingress_chain(group_id: str) -> str:
    """The chain of what a group lets in."""
    return f"sg-{group_id}-in"


def egress_chain(group_id: str) -> str:
    """The chain of what a group lets out."""
    return f"sg-{group_id}-out"


def member_set(group_id: str, version: int) -> str:
    """The set of a group's member addresses of an IP version."""
    return f"sg-{group_id}-{version}"


def group_keys(group_id: str) -> list[Key]:
    """All objects that a group has in nft."""
    chains = [ingress_chain(group_id), egress_chain(group_id)]
    return [(TABLE, n) for n in [*chains, member_set(group_id, 4), member_set(group_id, 6)]]


def groups_in(keys: Iterable[Key]) -> set[str]:
    """Ids of the groups that have objects among these."""
    chains = (name for table, name in keys if table == TABLE)
    return {n[3:-3] for n in chains if n.startswith("sg-") and n.endswith("-in")}


def group_items(group_id: str, spec: SecurityGroupSpec | None) -> dict[Key, Item]:
    """A group's chains and sets. Without a spec (somebody refers to a group that this node was
    not told of yet) they are empty: nothing is allowed.
    """
    rules = spec.rules if spec else ()
    members = tuple(spec.members) if spec else ()
    items: dict[Key, Item] = {
        (TABLE, ingress_chain(group_id)): Chain(_texts(rules, "ingress")),
        (TABLE, egress_chain(group_id)): Chain(_texts(rules, "egress")),
    }
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        # Members may be prefixes: allowed address pairs count as members.
        declaration = f"type {kind}; flags interval;"
        elements = distinct_prefixes(members, version)
        items[TABLE, member_set(group_id, version)] = of_set(declaration, elements)
    return items


def remote_groups(spec: SecurityGroupSpec) -> set[str]:
    """Groups whose members the rules of this group name."""
    return {rule.remote_group_id for rule in spec.rules if rule.remote_group_id}


def protocol_number(rule: SecurityGroupRule) -> int | None:
    """The IP protocol of a rule; None for any. ICMP in an IPv6 rule means ICMPv6."""
    name = (rule.protocol or "any").lower()
    if name in ANY_PROTOCOL:
        return None
    number = PROTOCOL_NUMBERS[name] if name in PROTOCOL_NUMBERS else int(name)
    return ICMPV6 if number == ICMP and rule.ethertype == "IPv6" else number


def rule_text(rule: SecurityGroupRule) -> str:
    """One allow rule in nft's language."""
    words = [f"meta nfproto {rule.ethertype.lower()}"]
    number = protocol_number(rule)
    if number in _EXTENSION_HEADERS and rule.ethertype == "IPv6":
        words.append(f"ip6 nexthdr {number}")
    elif number in (ICMP, ICMPV6):
        words += _icmp_words(rule, number)
    elif number is not None:
        words.append(f"meta l4proto {number}")
        words += _port_words(rule, number)
    return " ".join([*words, *_remote_words(rule), "accept"])


def distinct_prefixes(members: Iterable[str], version: int) -> list[str]:
    """Addresses and prefixes of one IP version in normal form, without those that lie inside
    another one: nft refuses overlapping elements.
    """
    parsed = {ipaddress.ip_network(member, strict=False) for member in members}
    return [element(n) for n in outermost(n for n in parsed if n.version == version)]


def outermost(networks: Iterable[Network]) -> list[Network]:
    """Prefixes of one IP version in order, without those that lie inside another one."""
    chosen: list[Network] = []
    for network in sorted(networks, key=lambda n: (int(n.network_address), n.prefixlen)):
        if not chosen or int(network.network_address) > int(chosen[-1].broadcast_address):
            chosen.append(network)
    return chosen


def element(network: Network) -> str:
    """A prefix as an nft element; a single address without its length."""
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if whole else str(network)


def _texts(rules: Iterable[SecurityGroupRule], direction: str) -> tuple[str, ...]:
    texts = (rule_text(rule) for rule in rules if rule.direction == direction)
    return tuple(dict.fromkeys(texts))  # two equal rules are one


def _icmp_words(rule: SecurityGroupRule, number: int) -> list[str]:
    name = "icmp" if number == ICMP else "icmpv6"
    words = [f"meta l4proto {number}"]
    if rule.port_range_min is not None:
        words.append(f"{name} type {rule.port_range_min}")
    if rule.port_range_max is not None:
        words.append(f"{name} code {rule.port_range_max}")
    return words


def _port_words(rule: SecurityGroupRule, number: int) -> list[str]:
    low, high = rule.port_range_min, rule.port_range_max
    if number not in WITH_PORTS or (low is None and high is None):
        return []
    first, last = low if low is not None else 0, high if high is not None else 65535
    return [f"th dport {first}" if first == last else f"th dport {first}-{last}"]


def _remote_words(rule: SecurityGroupRule) -> list[str]:
    version, family = (4, "ip") if rule.ethertype == "IPv4" else (6, "ip6")
    side = "saddr" if rule.direction == "ingress" else "daddr"
    words = []
    if rule.remote_ip_prefix:
        prefix = ipaddress.ip_network(rule.remote_ip_prefix, strict=False)
        if prefix.prefixlen:
            words.append(f"{family} {side} {element(prefix)}")
    if rule.remote_group_id:
        words.append(f"{family} {side} @{member_set(rule.remote_group_id, version)}")
    return words
