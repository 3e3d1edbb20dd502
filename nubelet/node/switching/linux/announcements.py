"""Router advertisements: a dnsmasq in the router's namespace that does nothing else.

It tells guests on IPv6 subnets that this is their router, and how they get addresses: by
themselves (slaac), by themselves and with DHCPv6 for the rest (dhcpv6-stateless), or by DHCPv6.
DHCPv6 itself is served by the network's own service; the router's guard (`nat.py`) keeps
requests away from this process, which would otherwise answer that it has no addresses.

RFC 4861 section 4.2. In OpenStack: neutron/agent/linux/ra.py (radvd).
"""

from __future__ import annotations

import ipaddress
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nubelet.node.switching.linux import dhcp_files
from nubelet.node.switching.linux.dhcp_files import SLAAC, STATEFUL
from nubelet.node.switching.linux.dnsmasq import Dnsmasq, service_user
from nubelet.node.switching.linux.names import interior_leg
from nubelet.node.wire import NetworkSpec, RouterPort, RouterSpec, SubnetSpec

LIFETIME_SECONDS = 1800
INTERVAL_SECONDS = 30


@dataclass(frozen=True)
class Announced:
    """A subnet announced on one leg."""

    leg: RouterPort
    network: NetworkSpec
    subnet: SubnetSpec


def announced(spec: RouterSpec, networks: Mapping[str, NetworkSpec]) -> list[Announced]:
    """The IPv6 subnets that a router announces: those on its inner legs with an RA mode."""
    return [
        Announced(leg, networks[leg.network_id], subnet)
        for leg in (spec.interfaces if spec.admin_state_up else ())
        if leg.network_id in networks
        for subnet in networks[leg.network_id].subnets
        if subnet.ip_version == 6 and subnet.ipv6_ra_mode
        if any(address.subnet_id == subnet.id for address in leg.addresses)
    ]


def configuration(subjects: list[Announced], pid_file: Path, user: str) -> str:
    """The configuration of the announcing dnsmasq."""
    lines = [
        "port=0",
        "no-hosts",
        "no-resolv",
        f"user={user}",
        f"pid-file={pid_file}",
        "dhcp-leasefile=/dev/null",
        "bind-interfaces",
        "except-interface=lo",
        "enable-ra",
        "quiet-ra",
        "quiet-dhcp6",
    ]
    for device, mtu in sorted({(interior_leg(s.leg.port_id), s.leg.mtu) for s in subjects}):
        lines.append(f"interface={device}")
        lines.append(f"ra-param={device},mtu:{mtu},{INTERVAL_SECONDS},{LIFETIME_SECONDS}")
    for subject in subjects:
        lines += _subnet_lines(subject)
    return "".join(line + "\n" for line in lines)


def _subnet_lines(subject: Announced) -> list[str]:
    subnet = subject.subnet
    prefix = ipaddress.ip_network(subnet.cidr, strict=False)
    tag = dhcp_files.subnet_tag(subnet.id)
    mode = {SLAAC: "ra-only", STATEFUL: "static"}.get(subnet.ipv6_ra_mode or "", "ra-stateless")
    lines = [
        f"dhcp-range=set:{tag},{prefix.network_address},{mode},{prefix.prefixlen},"
        f"{dhcp_files.RA_LIFETIME_SECONDS}s"
    ]
    dhcp = subject.network.dhcp
    servers = dhcp_files.dns_servers(dhcp, subnet) if dhcp else subnet.dns_servers
    if servers:
        shown = ",".join(f"[{server}]" for server in servers)
        lines.append(f"dhcp-option=tag:{tag},option6:dns-server,{shown}")
    domain = dhcp_files.domain_name(dhcp) if dhcp else ""
    if domain:
        lines.append(f"dhcp-option=tag:{tag},option6:domain-search,{domain}")
    return lines


class Announcer:
    """The announcing process of one router."""

    def __init__(self, folder: Path, namespace: str) -> None:
        self._folder = folder
        self._pid_file = folder / "pid"
        self._process = Dnsmasq(folder / "dnsmasq.conf", self._pid_file, namespace)

    def ensure(self, subjects: list[Announced]) -> None:
        """Announce these subnets; none of them, no process."""
        if not subjects:
            self.remove()
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        for folder in (self._folder.parent, self._folder):
            folder.chmod(0o755)
        text = configuration(subjects, self._pid_file, service_user(self._folder))
        self._process.ensure(text, reread=False)

    def remove(self) -> None:
        """Stop announcing."""
        if self._folder.exists():
            self._process.stop()
            shutil.rmtree(self._folder, ignore_errors=True)
