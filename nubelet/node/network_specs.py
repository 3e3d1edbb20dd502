"""How networks, ports, routers and security groups shall be, and are: part of `wire.py`, which
hands these names on.
"""

from __future__ import annotations

from typing import Literal

from nubelet.node.messages import Spec

NetworkKind = Literal["flat", "vxlan", "local"]


class Address(Spec):
    """One fixed address of a port."""

    ip: str
    prefix_length: int
    subnet_id: str


class Route(Spec):
    """A static route: destination in CIDR form, next hop as an address."""

    destination: str
    next_hop: str


class SubnetSpec(Spec):
    """A subnet as DHCP, router advertisements and routers need it."""

    id: str
    cidr: str
    ip_version: int
    gateway_ip: str | None = None
    enable_dhcp: bool = True
    dns_servers: tuple[str, ...] = ()
    host_routes: tuple[Route, ...] = ()
    ipv6_ra_mode: str | None = None
    ipv6_address_mode: str | None = None


class DhcpHost(Spec):
    """One port that DHCP knows: its addresses, its name, and its extra options."""

    port_id: str
    mac: str
    ips: tuple[str, ...]
    host_name: str
    extra_options: tuple[tuple[str, str, int], ...] = ()  # (name or number, value, ip version)


class DhcpSpec(Spec):
    """The DHCP service of a network: its own port there, and whom it serves."""

    port_id: str
    mac: str
    addresses: tuple[Address, ...]
    hosts: tuple[DhcpHost, ...] = ()
    domain: str = "openstacklocal"
    lease_seconds: int = 86400
    serves_metadata: bool = True


class NetworkSpec(Spec):
    """A layer-2 network on this node.

    `tunnel_endpoints`: addresses of the other nodes that carry this VXLAN network.
    `forwarding`: MAC address -> tunnel endpoint, for unicast without flooding.
    """

    id: str
    kind: NetworkKind
    mtu: int
    segmentation_id: int | None = None
    physical_network: str | None = None
    admin_state_up: bool = True
    subnets: tuple[SubnetSpec, ...] = ()
    dhcp: DhcpSpec | None = None
    tunnel_endpoints: tuple[str, ...] = ()
    forwarding: tuple[tuple[str, str], ...] = ()


class AddressPair(Spec):
    """An additional source that a port may use: address or CIDR, and MAC (None: the port's)."""

    ip: str
    mac: str | None = None


class PortSpec(Spec):
    """A tap on a network for a guest. Its device name is `tap_name(id)`."""

    id: str
    network_id: str
    mac: str
    addresses: tuple[Address, ...] = ()
    mtu: int = 1500
    admin_state_up: bool = True
    port_security_enabled: bool = True
    security_group_ids: tuple[str, ...] = ()
    allowed_address_pairs: tuple[AddressPair, ...] = ()


class SecurityGroupRule(Spec):
    """One allow rule. None means "any"; ports are ICMP type and code for ICMP."""

    id: str
    direction: Literal["ingress", "egress"]
    ethertype: Literal["IPv4", "IPv6"]
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None


class SecurityGroupSpec(Spec):
    """A security group: its rules, and the addresses of all its members in the whole cloud
    (used where another group's rule names this one as its remote group).
    """

    id: str
    rules: tuple[SecurityGroupRule, ...] = ()
    members: tuple[str, ...] = ()
    stateful: bool = True


class RouterPort(Spec):
    """A leg of a router."""

    port_id: str
    network_id: str
    mac: str
    addresses: tuple[Address, ...]
    mtu: int = 1500


class FloatingIpSpec(Spec):
    """A one-to-one translation between an external and a fixed address."""

    id: str
    floating_ip: str
    fixed_ip: str


class RouterGateway(Spec):
    """The router's leg on the external network."""

    port: RouterPort
    enable_snat: bool = True
    next_hops: tuple[str, ...] = ()


class RouterSpec(Spec):
    """A router: a namespace with a leg on each of its networks."""

    id: str
    admin_state_up: bool = True
    interfaces: tuple[RouterPort, ...] = ()
    gateway: RouterGateway | None = None
    floating_ips: tuple[FloatingIpSpec, ...] = ()
    routes: tuple[Route, ...] = ()
    serves_metadata: bool = True


class SecurityGroups(Spec):
    """Argument of `ensure_security_groups`: these groups are now so; others stay as they are."""

    groups: tuple[SecurityGroupSpec, ...]


class NetworkState(Spec):
    """What the node's switching carries, as found on the host (not as remembered)."""

    networks: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    dhcp_servers: tuple[str, ...] = ()  # ids of networks whose DHCP service is alive
    unknown_devices: tuple[str, ...] = ()  # devices, namespaces, tables of this cloud with no owner
