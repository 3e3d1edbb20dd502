"""What is on the host, looked up: never what the records say.

Devices carry their owner's id in their alias, namespaces in their name, security groups in the
names of their chains. The records are only asked whose things nobody knows: a device of this
cloud that belongs to no subject on record is a leak, and is named.
"""

from __future__ import annotations

import json
from pathlib import Path

from nubelet.node import commands
from nubelet.node.switching.linux import namespaces, security_rules
from nubelet.node.switching.linux.dhcp import DhcpServices
from nubelet.node.switching.linux.dnsmasq import command_line, processes
from nubelet.node.switching.linux.names import Names, read_alias
from nubelet.node.switching.linux.netlink import Netlink
from nubelet.node.switching.linux.options import LinuxOptions
from nubelet.node.switching.linux.records import Records
from nubelet.node.switching.linux.ruleset import Key
from nubelet.node.wire import NetworkState


class Observation:
    """The eyes of the driver."""

    def __init__(
        self,
        names: Names,
        netlink: Netlink,
        records: Records,
        options: LinuxOptions,
        dhcp: DhcpServices,
    ) -> None:
        self._names = names
        self._netlink = netlink
        self._records = records
        self._options = options
        self._dhcp = dhcp

    def state(self) -> NetworkState:
        """Everything of this cloud on this host."""
        cloud = self._names.cloud_namespace
        if not namespaces.exists(cloud):
            return NetworkState(unknown_devices=tuple(self._unknown_namespaces()))
        links = self._netlink.run(cloud, lambda links: links.all())
        owners = [(link, *read_alias(link.alias)) for link in links]
        networks = [i for link, kind, i in owners if kind == "network" and link.kind == "bridge"]
        return NetworkState(
            networks=tuple(sorted(networks)),
            ports=tuple(sorted(i for _, kind, i in owners if kind == "port")),
            routers=tuple(self._subjects("router")),
            security_groups=tuple(self._groups()),
            dhcp_servers=tuple(i for i in self._subjects("dhcp") if self._dhcp.alive(i)),
            unknown_devices=tuple(self._unknown([link.name for link in links])),
        )

    def _subjects(self, kind: str) -> list[str]:
        """Ids of routers or DHCP services whose namespace is there."""
        found = []
        for namespace in namespaces.listing(self._names.cloud_namespace):
            owner = self._names.owner(namespace)
            if owner is not None and owner[0] == kind and namespaces.exists(namespace):
                found.append(owner[1])
        return found

    def _groups(self) -> list[str]:
        done = commands.run(
            ["nft", "-j", "list", "chains"], namespace=self._names.cloud_namespace, check=False
        )
        if done.status != 0:
            return []
        chains = (entry.get("chain", {}) for entry in json.loads(done.stdout)["nftables"])
        keys: list[Key] = [(f"{c['family']} {c['table']}", c["name"]) for c in chains if c]
        known = {record.id for record in self._records.groups.all()}
        # A group that others only refer to has empty chains, but nobody ensured it here.
        return sorted(security_rules.groups_in(keys) & known)

    def _unknown(self, devices: list[str]) -> list[str]:
        expected = self._expected_devices()
        leaks = [f"device {name}" for name in devices if name not in expected]
        present = self._netlink.run(None, lambda links: [link.name for link in links.all()])
        leaks += [
            f"device {name} (host)"
            for name in present
            if self._names.is_host_device(name) and name not in expected
        ]
        return leaks + self._unknown_namespaces() + self._unknown_processes()

    def _unknown_namespaces(self) -> list[str]:
        leaks = []
        for namespace in namespaces.listing(self._names.cloud_namespace):
            kind, identifier = self._names.owner(namespace) or ("", "")
            router_known = kind == "router" and self._records.routers.get(identifier)
            dhcp_known = kind == "dhcp" and self._records.networks.get(identifier)
            if kind and not (kind == "cloud" or router_known or dhcp_known):
                leaks.append(f"namespace {namespace}")
        return leaks

    def _unknown_processes(self) -> list[str]:
        """Services on configurations that are nobody's."""
        folder = self._records.folder
        expected = {str(folder / "dhcp" / record.id) for record in self._records.networks.all()}
        expected |= {
            str(folder / "router-announcements" / r.id) for r in self._records.routers.all()
        }
        leaks = []
        for pid in processes(f"--conf-file={folder}/"):
            path = Path(command_line(pid).partition("--conf-file=")[2].strip())
            if str(path.parent) not in expected:
                leaks.append(f"process {pid} ({path})")
        return leaks

    def _expected_devices(self) -> set[str]:
        names = self._names
        expected = {names.tap(record.id) for record in self._records.ports.all()}
        for network in self._records.networks.all():
            spec = network.spec
            expected |= {names.bridge(spec.id), names.vxlan(spec.id), names.dhcp_leg(spec.id)}
            if spec.kind == "flat" and spec.physical_network:
                name = spec.physical_network
                expected |= {names.physical_leg(name), names.host_leg(name)}
                external = self._options.physical_networks.get(name)
                expected |= {external.uplink} if external and external.uplink else set()
        for router in self._records.routers.all():
            legs = [leg.port_id for leg in router.spec.interfaces]
            legs += [router.spec.gateway.port.port_id] if router.spec.gateway else []
            expected |= {names.router_leg(leg) for leg in legs}
        return expected
