"""Tracked connections: cut those that no rule permits any more.

A stateful filter lets every packet of a known connection pass, so a rule that is taken away, a
member that leaves a group and an address that changes hands must also end the connections that
lived by it. Which ones: an entry is cut when, by the rules as they are now, its first packet
would be refused. Connections that another rule still permits go on.

In OpenStack: neutron/agent/linux/ip_conntrack.py. Tool: conntrack(8).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nubelet.node import commands
from nubelet.node.switching.linux.security_rules import (
    ICMP,
    ICMPV6,
    WITH_PORTS,
    protocol_number,
)
from nubelet.node.wire import SecurityGroupRule

_FAMILY_NAMES = {4: "ipv4", 6: "ipv6"}


@dataclass(frozen=True)
class Flow:
    """A tracked connection: the first packet's header, and its zone.

    `first` and `second` are source and destination port, or ICMP type and code.
    """

    version: int
    protocol: int
    source: str
    target: str
    first: int = 0
    second: int = 0
    icmp_id: int = 0
    zone: int = 0
    reply_source: str = ""  # where answers come from: another address than `target` if translated
    reply_target: str = ""  # where answers go to


def parse(text: str, version: int) -> list[Flow]:
    """Entries from the output of `conntrack -L`."""
    flows = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or not words[1].isdigit():
            continue
        header: dict[str, str] = {}
        reply: dict[str, str] = {}  # most words stand twice: the original direction comes first
        for word in words[2:]:
            key, separator, value = word.partition("=")
            if separator:
                (reply if key in header else header)[key] = value
        if "src" in header:
            flows.append(_flow(header, reply, version, int(words[1])))
    return flows


def _flow(header: dict[str, str], reply: dict[str, str], version: int, protocol: int) -> Flow:
    is_icmp = protocol in (ICMP, ICMPV6)
    first, second = ("type", "code") if is_icmp else ("sport", "dport")
    return Flow(
        version=version,
        protocol=protocol,
        source=header["src"],
        target=header["dst"],
        first=int(header.get(first, 0)),
        second=int(header.get(second, 0)),
        icmp_id=int(header.get("id", 0)),
        zone=int(header.get("zone", 0)),
        reply_source=reply.get("src", ""),
        reply_target=reply.get("dst", ""),
    )


def permits(rule: SecurityGroupRule, flow: Flow, members: Iterable[str]) -> bool:
    """Whether a rule lets the first packet of a connection pass. `members`: addresses of the
    rule's remote group.
    """
    if (rule.ethertype == "IPv4") != (flow.version == 4):
        return False
    number = protocol_number(rule)
    if number is not None and number != flow.protocol:
        return False
    if number is not None and not _fits_ports(rule, flow):
        return False
    peer = flow.source if rule.direction == "ingress" else flow.target
    if rule.remote_ip_prefix and not covers([rule.remote_ip_prefix], peer):
        return False
    return not rule.remote_group_id or covers(members, peer)


def covers(prefixes: Iterable[str], address: str) -> bool:
    """Whether an address lies in one of the prefixes."""
    wanted = ipaddress.ip_address(address)
    return any(wanted in ipaddress.ip_network(prefix, strict=False) for prefix in prefixes)


def _fits_ports(rule: SecurityGroupRule, flow: Flow) -> bool:
    low, high = rule.port_range_min, rule.port_range_max
    if flow.protocol in (ICMP, ICMPV6):
        return low in (None, flow.first) and high in (None, flow.second)
    if flow.protocol in WITH_PORTS:
        return (low or 0) <= flow.second <= (65535 if high is None else high)
    return True


def listing(namespace: str, zone: int | None = None) -> list[Flow]:
    """The tracked connections of a namespace, of one zone or all."""
    flows = []
    in_zone = ["--zone", str(zone)] if zone is not None else []
    for version, family in _FAMILY_NAMES.items():
        command = ["conntrack", "-L", "-f", family, *in_zone]
        flows += parse(commands.run(command, namespace=namespace).text, version)
    return flows


def cut(namespace: str, zone: int | None, doomed: Callable[[Flow], bool]) -> int:
    """End the connections (of one zone, or all) of which `doomed` is true; returns how many."""
    chosen = [flow for flow in listing(namespace, zone) if doomed(flow)]
    if chosen:
        lines = "".join(" ".join(_deletion(flow)) + "\n" for flow in chosen)
        # An entry may end by itself in between: that is no failure.
        command = ["conntrack", "--load-file", "-"]
        commands.run(command, namespace=namespace, stdin=lines.encode(), check=False)
    return len(chosen)


def _deletion(flow: Flow) -> list[str]:
    words = ["-D", "-f", _FAMILY_NAMES[flow.version], "-s", flow.source, "-d", flow.target]
    words += ["-p", str(flow.protocol)]
    if flow.protocol in WITH_PORTS:
        words += ["--sport", str(flow.first), "--dport", str(flow.second)]
    elif flow.protocol == ICMP:
        words += ["--icmp-type", str(flow.first), "--icmp-code", str(flow.second)]
        words += ["--icmp-id", str(flow.icmp_id)]
    elif flow.protocol == ICMPV6:
        words += ["--icmpv6-type", str(flow.first), "--icmpv6-code", str(flow.second)]
        words += ["--icmpv6-id", str(flow.icmp_id)]
    return [*words, "--zone", str(flow.zone)] if flow.zone else words
