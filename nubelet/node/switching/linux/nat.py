"""A router's address translation and its guard, as nft rules. Pure.

Floating addresses are two maps, so that one more is an element more in each. What comes back on
itself (a guest that calls a floating address of the same router) is translated too, else the
answer would take the short way and be no answer.

From outside, only answers and floating addresses get in while the router translates: another
project's router with a static route by this one's external address is refused.

In OpenStack: neutron/agent/l3/router_info.py.
"""

from __future__ import annotations

import ipaddress

from nubelet.node.switching.linux.flows import Flow
from nubelet.node.switching.linux.names import METADATA_ADDRESS, gateway_leg
from nubelet.node.switching.linux.ruleset import Chain, Item, Key, of_map
from nubelet.node.wire import FloatingIpSpec, RouterPort, RouterSpec

NAT_TABLE = "ip nubelet"
GUARD_TABLE = "inet nubelet"


def items(spec: RouterSpec) -> dict[Key, Item]:
    """The whole ruleset of a router."""
    floating = floating_addresses(spec)
    gateway = spec.gateway.port if spec.gateway else None
    leg = gateway_leg(gateway.port_id) if gateway else ""
    outside = first_ipv4(gateway) if gateway else None
    translates = bool(spec.gateway and spec.gateway.enable_snat and outside)
    inward = {f.floating_ip: f.fixed_ip for f in floating}
    outward = {f.fixed_ip: f.floating_ip for f in floating}
    to_fixed = "dnat to ip daddr map @floating_in"
    return {
        (NAT_TABLE, "floating_in"): of_map("type ipv4_addr : ipv4_addr;", inward),
        (NAT_TABLE, "floating_out"): of_map("type ipv4_addr : ipv4_addr;", outward),
        (NAT_TABLE, "prerouting"): Chain(
            (to_fixed,), "type nat hook prerouting priority dstnat; policy accept;"
        ),
        (NAT_TABLE, "output"): Chain(
            (to_fixed,), "type nat hook output priority -100; policy accept;"
        ),
        (NAT_TABLE, "postrouting"): Chain(
            _postrouting(leg, outside, translates),
            "type nat hook postrouting priority srcnat; policy accept;",
        ),
        (GUARD_TABLE, "forward"): Chain(
            _forward(leg, translates), "type filter hook forward priority filter; policy accept;"
        ),
        (GUARD_TABLE, "input"): Chain(
            _input(leg), "type filter hook input priority filter; policy accept;"
        ),
    }


def floating_addresses(spec: RouterSpec) -> list[FloatingIpSpec]:
    """The floating addresses a router can carry: those of a router with a way out."""
    return list(spec.floating_ips) if spec.gateway else []


def upholds(spec: RouterSpec, flow: Flow) -> bool:
    """Whether the router would translate a tracked connection so today. One that was made for a
    floating address that is gone, or leads elsewhere now, is to end.
    """
    pairs = {(f.floating_ip, f.fixed_ip) for f in floating_addresses(spec)}
    outside = first_ipv4(spec.gateway.port) if spec.gateway else None
    inward = flow.target == flow.reply_source or (flow.target, flow.reply_source) in pairs
    outward = flow.reply_target in (flow.source, outside)
    return inward and (outward or (flow.reply_target, flow.source) in pairs)


def first_ipv4(port: RouterPort) -> str | None:
    """A port's first IPv4 address: the one that hides the networks behind a router."""
    addresses = (ipaddress.ip_address(a.ip) for a in port.addresses)
    return next((str(a) for a in addresses if a.version == 4), None)


def _postrouting(leg: str, outside: str | None, translates: bool) -> tuple[str, ...]:
    if not leg:
        return ()
    rules = [f'oifname "{leg}" snat to ip saddr map @floating_out']
    if outside:
        # Came from a leg inside for a floating address and goes back inside.
        back = f'oifname != "{leg}" iifname != "{leg}" ct status dnat'
        rules += [f"{back} snat to ip saddr map @floating_out", f"{back} snat to {outside}"]
    if translates:
        rules.append(f'oifname "{leg}" ip saddr != {outside} snat to {outside}')
    return tuple(rules)


def _forward(leg: str, translates: bool) -> tuple[str, ...]:
    # Between two projects only the external network is shared; IPv6 is routed, not translated.
    if not translates:
        return ()
    from_outside = f'iifname "{leg}" meta nfproto ipv4'
    return (f"{from_outside} ct status dnat accept", f"{from_outside} ct state new,invalid drop")


def _input(leg: str) -> tuple[str, ...]:
    # Router advertisements come from here, DHCPv6 does not: it has its own service.
    rules = ["meta nfproto ipv6 udp dport 547 drop"]
    if leg:
        rules.append(f'iifname "{leg}" ip daddr {METADATA_ADDRESS} drop')
    return tuple(rules)
