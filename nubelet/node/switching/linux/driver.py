"""The Linux switching driver: bridges, taps, namespaces, nftables and dnsmasq of one cloud.

Each call writes down what was asked, then makes the host so. Calls take turns: the work is short,
and two of them may share a bridge, a ruleset or a DHCP service.

Read next: `README.md`, then the file of the noun you are after.

In OpenStack: the Open vSwitch or Linux bridge agent, the DHCP, L3 and metadata agents.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from nubelet.node.errors import HostError
from nubelet.node.switching import AskMetadata
from nubelet.node.switching.linux import namespaces, removal
from nubelet.node.switching.linux.bridges import Bridges
from nubelet.node.switching.linux.dhcp import DhcpServices
from nubelet.node.switching.linux.filters import Filters
from nubelet.node.switching.linux.metadata import MetadataServer
from nubelet.node.switching.linux.names import Names
from nubelet.node.switching.linux.netlink import Links, Netlink
from nubelet.node.switching.linux.observation import Observation
from nubelet.node.switching.linux.options import LinuxOptions
from nubelet.node.switching.linux.ports import Ports
from nubelet.node.switching.linux.records import (
    GroupRecord,
    NetworkRecord,
    Records,
    RouterRecord,
)
from nubelet.node.switching.linux.routers import Routers
from nubelet.node.switching.linux.taps import PersistentTaps, TapFactory
from nubelet.node.wire import (
    NetworkSpec,
    NetworkState,
    PortSpec,
    RouterSpec,
    SecurityGroups,
    cloud_tag,
)

log = logging.getLogger(__name__)

_SYSCTLS = {
    "bridge/bridge-nf-call-iptables": "1",
    "bridge/bridge-nf-call-ip6tables": "1",
    "bridge/bridge-nf-call-arptables": "0",
    "ipv4/ip_forward": "0",
    # Bridges and taps are wires: they have no addresses of their own.
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    # A connection that was cut shall not be taken up again in its middle by the other side.
    "netfilter/nf_conntrack_tcp_loose": "0",
}


class LinuxSwitching:
    """`Switching` on the Linux kernel's own networking. One object per cloud and host."""

    name = "linux"

    def __init__(
        self,
        state_dir: Path,
        options: LinuxOptions | None = None,
        taps: TapFactory | None = None,
    ) -> None:
        self._options = options or LinuxOptions()
        self._names = Names(cloud_tag(str(state_dir)))
        self._folder = state_dir / "switching"
        self._lock = threading.RLock()
        self._netlink = Netlink(self._options.host_namespace)
        self._metadata = MetadataServer(self._netlink, self._options.metadata_threads)
        self._records = Records(self._folder)
        names, netlink, records = self._names, self._netlink, self._records
        self._filters = Filters(names, records)
        self._bridges = Bridges(names, netlink, self._options)
        self._ports = Ports(names, netlink, records, self._filters, taps or PersistentTaps())
        self._dhcp = DhcpServices(
            names, netlink, self._folder / "dhcp", self._options, self._metadata
        )
        self._routers = Routers(
            names, netlink, records, self._folder / "router-announcements", self._metadata
        )
        self._observation = Observation(names, netlink, records, self._options, self._dhcp)

    def start(self, ask_metadata: AskMetadata | None) -> None:
        """Read the records and listen for metadata requests in the namespaces that an earlier
        process left. Where not even the cloud's own namespace is left the host was rebooted:
        then everything on record is made anew before guests are started.
        """
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._records.load()
            rebooted = self._ensure_cloud_namespace()
            # Also where an earlier process died between making the namespace and preparing it.
            self._netlink.run(self._names.cloud_namespace, _prepare)
            if ask_metadata is not None:
                self._metadata.start(ask_metadata)
            if rebooted:
                self.restore()
            else:
                self._listen_again()

    def stop(self) -> None:
        """Close sockets and threads; networks, filters and DHCP services go on."""
        with self._lock:
            self._metadata.stop()
            self._netlink.close()

    def restore(self) -> list[str]:
        """Make everything on record anew, after a reboot or whatever else was done to the host;
        what is as it should be stays untouched. Returns a line for each subject that could not be.
        """
        failed: list[str] = []

        def attempt(subject: str, work: Callable[[], None]) -> None:
            try:
                work()
            except Exception as error:  # one broken subject must not keep the others down
                log.exception("%s could not be restored", subject)
                failed.append(f"{subject}: {error}")

        with self._lock:
            self._ensure_cloud_namespace()
            # All filters in one go, before there is anything to pass; without them, nothing.
            attempt("filters", self._filters.reload)
            if failed:
                return failed
            for network in self._records.networks.all():
                attempt(f"network {network.id}", partial(self.ensure_network, network.spec))
            for port in self._records.ports.all():
                attempt(f"port {port.id}", partial(self._ports.ensure_device, port.spec))
            for router in self._records.routers.all():
                attempt(f"router {router.id}", partial(self.ensure_router, router.spec))
        return failed

    def ensure_network(self, spec: NetworkSpec) -> None:
        """Bridge, tunnels or external link, and DHCP of a network."""
        with self._lock:
            self._ensure_cloud_namespace()
            known = self._records.networks.get(spec.id)
            record = NetworkRecord(spec=spec, zone=self._records.zone_for(spec.id))
            self._records.networks.put(record)
            self._filters.networks_changed()
            self._bridges.ensure(spec)
            routed = self._routers.announced_subnets(spec.id)
            self._dhcp.ensure(spec, known.spec if known else None, routed)
            # How a subnet is announced is the network's to say.
            for router in self._records.routers_of(spec.id):
                if namespaces.exists(self._names.router_namespace(router.id)):
                    self._routers.ensure_advertisements(router.spec)

    def remove_network(self, network_id: str) -> None:
        """Take a network away, with its DHCP service."""
        with self._lock:
            known = self._records.networks.get(network_id)
            self._records.networks.set_aside(network_id)
            self._dhcp.remove(network_id)
            if namespaces.exists(self._names.cloud_namespace):
                self._bridges.remove(network_id, known.spec if known else None)
                if known is not None:
                    self._filters.networks_changed()
                    self._filters.cut_zone(known.zone)
            self._records.networks.drop(network_id)

    def ensure_security_groups(self, groups: SecurityGroups) -> None:
        """These groups are now so; others stay as they are."""
        with self._lock:
            self._ensure_cloud_namespace()
            known = [self._records.groups.get(group.id) for group in groups.groups]
            for group in groups.groups:
                self._records.groups.put(GroupRecord(spec=group))
            former = [record.spec for record in known if record is not None]
            self._filters.ensure_groups(groups.groups, former)

    def remove_security_group(self, group_id: str) -> None:
        """Forget a group; where it is still named it allows nothing."""
        with self._lock:
            known = self._records.groups.get(group_id)
            self._records.groups.set_aside(group_id)
            if known is not None and namespaces.exists(self._names.cloud_namespace):
                self._filters.remove_group(known.spec)
            self._records.groups.drop(group_id)

    def ensure_port(self, spec: PortSpec) -> None:
        """The port's tap, on its network's bridge, with its filters."""
        with self._lock:
            self._ensure_bridges({spec.network_id})
            self._ports.ensure(spec)

    def remove_port(self, port_id: str) -> None:
        """Take a port's tap and filters away."""
        with self._lock:
            if namespaces.exists(self._names.cloud_namespace):
                self._ports.remove(port_id)
            self._records.ports.drop(port_id)

    def ensure_router(self, spec: RouterSpec) -> None:
        """Router namespace with legs, routes, NAT and floating addresses."""
        with self._lock:
            known = self._records.routers.get(spec.id)
            outside = {spec.gateway.port.network_id} if spec.gateway else set()
            self._ensure_bridges({leg.network_id for leg in spec.interfaces} | outside)
            self._records.routers.put(RouterRecord(spec=spec))
            self._routers.ensure(spec, known.spec if known else None)
            self._refresh_dhcp(known.spec if known else None, spec)

    def remove_router(self, router_id: str) -> None:
        """Take a router away."""
        with self._lock:
            known = self._records.routers.get(router_id)
            self._records.routers.set_aside(router_id)
            self._routers.remove(router_id, known.spec if known else None)
            if known is not None:
                self._refresh_dhcp(known.spec, None)
            self._records.routers.drop(router_id)

    def observe(self) -> NetworkState:
        """What is on the host now: looked up, not remembered."""
        with self._lock:
            return self._observation.state()

    def physical_networks(self) -> tuple[str, ...]:
        """Names of the physical networks that flat networks may use here."""
        return tuple(sorted(self._options.physical_networks))

    def tap_namespace(self) -> str:
        """The namespace that holds the taps."""
        return self._names.cloud_namespace

    def purge(self) -> list[str]:
        """Remove everything of this cloud from this host; one line for each thing."""
        with self._lock:
            self._metadata.stop()
            return removal.purge(self._names, self._netlink, self._options, self._folder)

    def _ensure_cloud_namespace(self) -> bool:
        """Have the cloud's namespace; True when it had to be made."""
        if not namespaces.create(self._names.cloud_namespace):
            return False
        self._filters.forget()
        self._netlink.run(self._names.cloud_namespace, _prepare)
        return True

    def _ensure_bridges(self, network_ids: set[str]) -> None:
        """Make networks on record anew that a reboot has taken away."""
        for network_id in network_ids:
            record = self._records.networks.get(network_id)
            if record is not None and not self._bridges.present(network_id):
                self.ensure_network(record.spec)

    def _listen_again(self) -> None:
        """Metadata in every namespace that is there; what is broken comes with its next ensure."""
        serving = [
            partial(self._dhcp.serve_metadata, record.id)
            for record in self._records.networks.all()
            if record.spec.dhcp and record.spec.dhcp.serves_metadata
        ]
        serving += [
            partial(self._routers.serve_metadata, record.id)
            for record in self._records.routers.all()
            if record.spec.serves_metadata
        ]
        for serve in serving:
            try:
                serve()
            except HostError as fault:
                log.warning("metadata is not served: %s", fault.message)

    def _refresh_dhcp(self, former: RouterSpec | None, now: RouterSpec | None) -> None:
        """The DHCP service announces IPv6 prefixes only where no router does."""
        legs = {leg for spec in (former, now) if spec for leg in spec.interfaces}
        for network_id in {leg.network_id for leg in legs}:
            record = self._records.networks.get(network_id)
            if record and any(subnet.ipv6_ra_mode for subnet in record.spec.subnets):
                routed = self._routers.announced_subnets(network_id)
                self._dhcp.ensure(record.spec, record.spec, routed)


def _prepare(links: Links) -> None:
    links.sysctl(_SYSCTLS)
