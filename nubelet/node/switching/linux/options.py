"""What an operator may choose about a host's networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ExternalNetwork:
    """How a physical network, used by one flat network, is reached from this host.

    Without an uplink it is a host-only network: a veth pair between the cloud and the host, where
    the host holds `host_addresses` (CIDR form; usually the gateway address of the external
    subnet), so that `ssh` from the host to a floating address works. With `masquerade` the
    host lets its guests out to where the host itself can go. With an uplink (a device of the
    host, which moves into the cloud's namespace) the network is that wire, and the host holds
    no address on it unless it also has `host_addresses`.
    """

    host_addresses: tuple[str, ...] = ()
    uplink: str | None = None
    masquerade: bool = False


@dataclass(frozen=True)
class LinuxOptions:
    """Settings of the Linux driver.

    `tunnel_ip`, `vxlan_port`: this host's end of VXLAN tunnels. Two clouds that share a machine
    and have tunnels need different ports (the kernel tells tunnels apart by port and VNI only).
    `dns_forwarders`: where the DNS service of a network asks for names outside it; empty: nowhere.
    `host_namespace`: the namespace that plays the host, where uplinks and tunnels start.
    """

    physical_networks: Mapping[str, ExternalNetwork] = field(default_factory=dict)
    tunnel_ip: str | None = None
    vxlan_port: int = 4789
    dns_forwarders: tuple[str, ...] = ()
    metadata_threads: int = 16
    host_namespace: str | None = None
