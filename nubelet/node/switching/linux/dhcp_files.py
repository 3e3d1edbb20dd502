"""What dnsmasq reads: its configuration, the hosts it serves, their options, and names.

Pure. The configuration holds what needs a restart to change (subnets, and which ports have options
of their own); hosts, options and names are files of their own, which dnsmasq reads again on
SIGHUP, so that a new port costs no restart.
Every value comes from a project: `_clean` refuses what could end a field or a line.

In OpenStack: neutron/agent/linux/dhcp.py (class Dnsmasq). Tool: dnsmasq(8). RFC 2132, 3442, 3396.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nubelet.node.switching.linux.names import DHCP_DEVICE, METADATA_ADDRESS
from nubelet.node.wire import DhcpHost, DhcpSpec, NetworkSpec, SubnetSpec

log = logging.getLogger(__name__)

RA_LIFETIME_SECONDS = 86400  # how long a guest may use a prefix it was told of
STATEFUL = "dhcpv6-stateful"
STATELESS = "dhcpv6-stateless"
SLAAC = "slaac"
ON_LINK = str(ipaddress.IPv4Address(0))  # the next hop of an on-link route, RFC 3442

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_OPTION_NAME = re.compile(r"[A-Za-z0-9+-]{1,64}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Files:
    """Where one network's files are."""

    folder: Path

    @property
    def configuration(self) -> Path:
        """The configuration; its path on dnsmasq's command line tells whose process it is."""
        return self.folder / "dnsmasq.conf"

    @property
    def hosts(self) -> Path:
        """MAC addresses and their IP addresses."""
        return self.folder / "hosts"

    @property
    def options(self) -> Path:
        """DHCP options by tag."""
        return self.folder / "options"

    @property
    def names(self) -> Path:
        """DNS names of the network's ports."""
        return self.folder / "names"

    @property
    def leases(self) -> Path:
        """dnsmasq's own memory of leases."""
        return self.folder / "leases"

    @property
    def log(self) -> Path:
        """What dnsmasq has to say."""
        return self.folder / "log"

    @property
    def pid(self) -> Path:
        """The process id, written by dnsmasq."""
        return self.folder / "pid"


def served_subnets(network: NetworkSpec) -> list[SubnetSpec]:
    """The subnets that DHCP serves: those with DHCP on, and for IPv6 those that ask for DHCPv6."""
    return [
        s
        for s in network.subnets
        if s.enable_dhcp and (s.ip_version == 4 or s.ipv6_address_mode in (STATEFUL, STATELESS))
    ]


def configuration(
    files: Files,
    network: NetworkSpec,
    dhcp: DhcpSpec,
    *,
    user: str,
    forwarders: tuple[str, ...] = (),
    announced: tuple[SubnetSpec, ...] = (),
) -> str:
    """The configuration. `announced`: IPv6 subnets that no router announces; this service tells
    guests their prefix, and that it is no router (lifetime 0).
    """
    domain = domain_name(dhcp)
    bound = ", ".join(sorted(a.ip for a in dhcp.addresses))
    lines = [
        # dnsmasq binds to addresses when it starts: others are another configuration.
        f"# serves from {bound}",
        "no-hosts",
        "no-resolv",
        f"user={user}",
        f"pid-file={files.pid}",
        f"interface={DHCP_DEVICE}",
        "bind-interfaces",
        "except-interface=lo",
        # Addresses are the control plane's to give: no probing, and we are the only server.
        "no-ping",
        "dhcp-authoritative",
        "quiet-dhcp",
        "quiet-dhcp6",
        "quiet-ra",
        f"log-facility={files.log}",
        f"addn-hosts={files.names}",
        f"dhcp-hostsfile={files.hosts}",
        f"dhcp-optsfile={files.options}",
        f"dhcp-leasefile={files.leases}",
        "dhcp-lease-max=65536",
        *([f"domain={domain}", f"local=/{domain}/"] if domain else []),
        *(f"server={_clean(address)}" for address in forwarders),
        *_tagged_ports(dhcp),
    ]
    announced_ids = {subnet.id for subnet in announced}
    for subnet in served_subnets(network):
        here = subnet.id in announced_ids and subnet.ipv6_address_mode == STATELESS
        lines.append(_range(subnet, dhcp.lease_seconds, "ra-stateless" if here else "static"))
    if announced:
        lines += ["enable-ra", f"ra-param={DHCP_DEVICE},mtu:{network.mtu},10,0"]
        served = {subnet.id for subnet in served_subnets(network)}
        others = (subnet for subnet in announced if subnet.id not in served)
        lines += [_range(subnet, dhcp.lease_seconds, "ra-only") for subnet in others]
    return "".join(line + "\n" for line in lines)


def hosts(network: NetworkSpec, dhcp: DhcpSpec) -> str:
    """One line per port and address that DHCP gives.

    The lines carry no `set:` tag: dnsmasq (2.86 to 2.90 at least) ties tags of its stack to those
    of a host it has served, and dies of it when it frees them on the next SIGHUP.
    """
    subnets = served_subnets(network)
    lines = []
    for host in dhcp.hosts:
        mac, name = _clean(host.mac), host_name(host)
        for ip, subnet in _served_addresses(host, subnets):
            if subnet.ipv6_address_mode != STATELESS:
                shown = f"[{ip}]" if subnet.ip_version == 6 else ip
                lines.append(",".join(filter(None, [mac, name, shown])))
    return "".join(line + "\n" for line in lines)


def _tagged_ports(dhcp: DhcpSpec) -> list[str]:
    """Tags of ports with options of their own (see `hosts` for why they are not set there)."""
    return [
        f"dhcp-mac=set:{port_tag(host.port_id)},{_clean(host.mac)}"
        for host in dhcp.hosts
        if host.extra_options
    ]


def names(dhcp: DhcpSpec) -> str:
    """Names of all ports of the network, whichever way they got their addresses."""
    domain = domain_name(dhcp)
    lines = []
    for host in dhcp.hosts:
        name = host_name(host)
        if name:
            short = name.removesuffix(f".{domain}")
            full = f"{short}.{domain}" if domain else short
            lines += [
                f"{ip} {full} {short}" if full != short else f"{ip} {full}" for ip in host.ips
            ]
    return "".join(line + "\n" for line in lines)


def options(network: NetworkSpec, dhcp: DhcpSpec) -> str:
    """DHCP options: per subnet what it is to be used with, per port what its owner asked for."""
    lines = [
        line
        for subnet in served_subnets(network)
        for line in (
            _options_ipv4(network, dhcp, subnet)
            if subnet.ip_version == 4
            else _options_ipv6(dhcp, subnet)
        )
    ]
    for host in dhcp.hosts:
        lines += _port_options(host)
    return "".join(line + "\n" for line in lines)


def host_name(host: DhcpHost) -> str:
    """The host name, or nothing where it is no valid name."""
    return host.host_name if _HOST_NAME.fullmatch(host.host_name) else ""


def domain_name(dhcp: DhcpSpec) -> str:
    """The network's domain without its final dot, or nothing where it is no valid name."""
    domain = dhcp.domain.rstrip(".")
    return domain if _HOST_NAME.fullmatch(domain) else ""


def subnet_tag(subnet_id: str) -> str:
    """dnsmasq's tag of a subnet."""
    return f"subnet-{_clean(subnet_id)}"


def port_tag(port_id: str) -> str:
    """dnsmasq's tag of a port."""
    return f"port-{_clean(port_id)}"


def own_address(dhcp: DhcpSpec, subnet: SubnetSpec) -> str | None:
    """The DHCP port's address in a subnet."""
    return next((a.ip for a in dhcp.addresses if a.subnet_id == subnet.id), None)


def dns_servers(dhcp: DhcpSpec, subnet: SubnetSpec) -> tuple[str, ...]:
    """Whom guests of a subnet ask for names: its own servers, else this service. The unspecified
    address as the only server means "none".
    """
    own = own_address(dhcp, subnet)
    chosen = subnet.dns_servers or ((own,) if own else ())
    return () if chosen in (("0.0.0.0",), ("::",)) else chosen  # noqa: S104


def _range(subnet: SubnetSpec, lease_seconds: int, mode: str) -> str:
    network = ipaddress.ip_network(subnet.cidr, strict=False)
    lease = f"{lease_seconds}s" if lease_seconds > 0 else "infinite"
    width = network.prefixlen if network.version == 6 else network.netmask
    start = network.network_address
    return f"dhcp-range=set:{subnet_tag(subnet.id)},{start},{mode},{width},{lease}"


def _served_addresses(
    host: DhcpHost, subnets: list[SubnetSpec]
) -> Iterator[tuple[str, SubnetSpec]]:
    for ip in host.ips:
        address = ipaddress.ip_address(ip)
        for subnet in subnets:
            if address in ipaddress.ip_network(subnet.cidr, strict=False):
                yield (str(address), subnet)
                break


def _options_ipv4(network: NetworkSpec, dhcp: DhcpSpec, subnet: SubnetSpec) -> list[str]:
    own = own_address(dhcp, subnet)
    gateway = subnet.gateway_ip
    routes = [(route.destination, route.next_hop) for route in subnet.host_routes]
    routes += [
        (other.cidr, ON_LINK)
        for other in network.subnets
        if other.ip_version == 4 and other.id != subnet.id
    ]
    if dhcp.serves_metadata and own:
        routes.append((f"{METADATA_ADDRESS}/32", own))
    if gateway and not any(ipaddress.ip_network(d).prefixlen == 0 for d, _ in routes):
        # A client that understands option 121 ignores option 3: the default belongs in both.
        routes.append(("0.0.0.0/0", gateway))
    servers = dns_servers(dhcp, subnet)
    values = {
        "option:mtu": str(network.mtu),
        "option:router": gateway or "",
        "option:dns-server": ",".join(servers),
        "option:domain-name": domain_name(dhcp),
        "option:classless-static-route": ",".join(f"{d},{hop}" for d, hop in routes),
    }
    if routes:
        values["249"] = values["option:classless-static-route"]  # old Windows clients
    tag = f"tag:{subnet_tag(subnet.id)}"
    # An option without a value tells dnsmasq not to send its own default.
    return [f"{tag},{name},{_clean(v)}" if v else f"{tag},{name}" for name, v in values.items()]


def _options_ipv6(dhcp: DhcpSpec, subnet: SubnetSpec) -> list[str]:
    servers = dns_servers(dhcp, subnet)
    tag = f"tag:{subnet_tag(subnet.id)}"
    lines = []
    if servers:
        shown = ",".join(f"[{_clean(server)}]" for server in servers)
        lines.append(f"{tag},option6:dns-server,{shown}")
    if domain_name(dhcp):
        lines.append(f"{tag},option6:domain-search,{domain_name(dhcp)}")
    return lines


def _port_options(host: DhcpHost) -> Iterator[str]:
    tag = f"tag:{port_tag(host.port_id)}"
    for name, value, version in host.extra_options:
        if not _OPTION_NAME.fullmatch(name) or _UNPRINTABLE.search(value):
            log.warning("port %s: DHCP option %r is not usable and left out", host.port_id, name)
            continue
        prefix = "option6:" if version == 6 else "option:"
        chosen = f"{prefix}{name}" if version == 6 or not name.isdigit() else name
        yield f"{tag},{chosen},{value}"


def _clean(value: str) -> str:
    """A value for a line of dnsmasq; `ValueError` for one that would not stay in its line."""
    if _UNPRINTABLE.search(value):
        raise ValueError(f"{value!r} does not fit into a line")
    return value
