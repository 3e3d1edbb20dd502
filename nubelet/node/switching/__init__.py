"""Switching drivers: networks, ports, security groups and routers on one host.

`fake` keeps them in files (tests, `nubelet up --fake`), `linux` makes them of bridges, taps,
network namespaces, nftables and dnsmasq. Both pass the same driver suite.

In OpenStack: the Neutron Open vSwitch/Linux bridge, DHCP, L3 and metadata agents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from nubelet.node.wire import (
    MetadataRequest,
    MetadataResponse,
    NetworkSpec,
    NetworkState,
    PortSpec,
    RouterSpec,
    SecurityGroups,
)

# How a driver asks the control plane on behalf of a guest that asked 169.254.169.254.
AskMetadata = Callable[[MetadataRequest], MetadataResponse]


class Switching(Protocol):
    """What the agent asks of a switching driver.

    Every `ensure_` makes the subject exactly as the spec says, whatever was there before; every
    `remove_` succeeds when there is nothing (any more). Both may be called again at any time,
    also after a crash in the middle of a former call. Calls for different subjects come from
    different threads at once; two calls for one subject never do. Refusals are
    `nubelet.node.errors.HostError` with a sentence that names the cause.
    """

    name: str  # "fake", "linux": what a heartbeat says

    def start(self, ask_metadata: AskMetadata | None) -> None:
        """Take up what an earlier process left (nothing is rebuilt) and serve metadata with
        `ask_metadata`. Called once, before any other call.
        """

    def stop(self) -> None:
        """Stop what lives in this process (threads, sockets). Networks go on."""

    def ensure_network(self, spec: NetworkSpec) -> None:
        """Bridge, VXLAN or uplink, and DHCP of a network."""

    def remove_network(self, network_id: str) -> None:
        """Take a network away, with its DHCP service."""

    def ensure_security_groups(self, groups: SecurityGroups) -> None:
        """These groups are now so; groups not named stay as they are."""

    def remove_security_group(self, group_id: str) -> None:
        """Forget a group."""

    def ensure_port(self, spec: PortSpec) -> None:
        """The tap `wire.tap_name(tag, spec.id)` exists in `tap_namespace()`, on its network's
        bridge, with its filters. It exists before the guest starts and survives its stop.
        """

    def remove_port(self, port_id: str) -> None:
        """Take a port's tap and filters away."""

    def ensure_router(self, spec: RouterSpec) -> None:
        """Router namespace with legs, routes, NAT and floating addresses."""

    def remove_router(self, router_id: str) -> None:
        """Take a router away."""

    def observe(self) -> NetworkState:
        """What is on the host now: looked up, not remembered."""

    def physical_networks(self) -> tuple[str, ...]:
        """Names of the physical networks that flat networks may use here."""

    def tap_namespace(self) -> str | None:
        """The network namespace (name under /run/netns) that holds bridges and taps; None: the
        host's own. The hypervisor opens taps there.
        """

    def purge(self) -> list[str]:
        """Remove everything this driver ever made for this cloud on this host, also what it does
        not remember, and say what: one line each.
        """
