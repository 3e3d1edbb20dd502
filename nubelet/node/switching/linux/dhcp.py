"""The DHCP and DNS service of a network: one dnsmasq in a namespace of the network's own.

The namespace has one device, the DHCP port, with that port's MAC and addresses and, where the
service also answers for metadata, 169.254.169.254. It forwards nothing.

Read next: `dhcp_files.py` (what dnsmasq is told), `leases.py`, `metadata.py`.

In OpenStack: the DHCP agent.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from nubelet.node import trail
from nubelet.node.switching.linux import dhcp_files, leases, namespaces, veth
from nubelet.node.switching.linux.dhcp_files import Files
from nubelet.node.switching.linux.dnsmasq import Dnsmasq, service_user, write
from nubelet.node.switching.linux.metadata import Asker, MetadataServer
from nubelet.node.switching.linux.names import (
    DHCP_DEVICE,
    METADATA_ADDRESS,
    Names,
    alias,
)
from nubelet.node.switching.linux.netlink import Links, Netlink, StaticRoute
from nubelet.node.switching.linux.options import LinuxOptions
from nubelet.node.switching.linux.veth import Cable
from nubelet.node.wire import DhcpSpec, NetworkSpec, SubnetSpec

_MAX_LOG_BYTES = 1 << 20
# Addresses here are given by the control plane: nothing is learnt, probed or forwarded.
_SYSCTLS = {
    "ipv4/ip_forward": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    # Taking an address away must not take others of its subnet along.
    "ipv4/conf/all/promote_secondaries": "1",
    "ipv6/conf/all/forwarding": "0",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/autoconf": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/dad_transmits": "0",
}


class DhcpServices:
    """DHCP services of a cloud on this host."""

    def __init__(
        self,
        names: Names,
        netlink: Netlink,
        folder: Path,
        options: LinuxOptions,
        metadata: MetadataServer,
    ) -> None:
        self._names = names
        self._netlink = netlink
        self._folder = folder
        self._options = options
        self._metadata = metadata

    def ensure(
        self, network: NetworkSpec, former: NetworkSpec | None, routed: Iterable[str]
    ) -> None:
        """Make the service as the network says. `routed`: ids of subnets a router announces."""
        dhcp = network.dhcp
        if dhcp is None or not network.admin_state_up:
            self.remove(network.id)
            return
        namespace = self._names.dhcp_namespace(network.id)
        with trail.step("netlink", f"namespace {namespace}"):
            self._ensure_device(network, dhcp, namespace)
        self._ensure_process(network, dhcp, former, set(routed))
        if dhcp.serves_metadata:
            self.serve_metadata(network.id)
        else:
            self._metadata.withdraw(namespace)

    def remove(self, network_id: str) -> None:
        """End the service and take its namespace and files away."""
        namespace = self._names.dhcp_namespace(network_id)
        if not namespaces.exists(namespace) and not self._files(network_id).folder.exists():
            return
        with trail.step("netlink", f"remove namespace {namespace}"):
            self._metadata.withdraw(namespace)
            self._process(network_id).stop()
            outer = self._names.dhcp_leg(network_id)
            self._netlink.run(self._names.cloud_namespace, lambda links: links.delete(outer))
            self._netlink.forget(namespace)
            namespaces.remove(namespace)
        shutil.rmtree(self._files(network_id).folder, ignore_errors=True)

    def serve_metadata(self, network_id: str) -> None:
        """Answer 169.254.169.254 for the network, when its service is on this host."""
        namespace = self._names.dhcp_namespace(network_id)
        if namespaces.exists(namespace):
            self._metadata.serve(namespace, Asker(network_id=network_id))

    def alive(self, network_id: str) -> bool:
        """Whether the service runs."""
        return self._process(network_id).pid() is not None

    def _ensure_device(self, network: NetworkSpec, dhcp: DhcpSpec, namespace: str) -> None:
        namespaces.create(namespace)
        self._netlink.run(namespace, _prepare)
        cable = Cable(
            outer_namespace=self._names.cloud_namespace,
            outer=self._names.dhcp_leg(network.id),
            inner_namespace=namespace,
            inner=DHCP_DEVICE,
            alias=alias("dhcp", network.id),
            mtu=network.mtu,
            mac=dhcp.mac,
            bridge=self._names.bridge(network.id),
        )
        device = veth.ensure(self._netlink, cable)
        addresses = [f"{a.ip}/{a.prefix_length}" for a in dhcp.addresses]
        if dhcp.serves_metadata:
            addresses.append(f"{METADATA_ADDRESS}/32")
        gateways = [s.gateway_ip for s in network.subnets if s.gateway_ip and s.ip_version == 4]
        way_out = gateways[:1] if self._options.dns_forwarders else []

        def settle(links: Links) -> None:
            links.without_checksum_offload(DHCP_DEVICE)
            links.settle_addresses(device.index, addresses)
            links.settle_routes(StaticRoute("0.0.0.0/0", hop, device.index) for hop in way_out)

        self._netlink.run(namespace, settle)

    def _ensure_process(
        self, network: NetworkSpec, dhcp: DhcpSpec, former: NetworkSpec | None, routed: set[str]
    ) -> None:
        files = self._files(network.id)
        files.folder.mkdir(parents=True, exist_ok=True)
        if files.log.exists() and files.log.stat().st_size > _MAX_LOG_BYTES:
            os.truncate(files.log, 0)
        for folder in (self._folder, files.folder):
            folder.chmod(0o755)
        text = dhcp_files.configuration(
            files,
            network,
            dhcp,
            user=service_user(files.folder),
            forwarders=self._options.dns_forwarders,
            announced=tuple(_unannounced(network.subnets, routed)),
        )
        write(files.hosts, dhcp_files.hosts(network, dhcp))
        write(files.options, dhcp_files.options(network, dhcp))
        write(files.names, dhcp_files.names(dhcp))
        process = self._process(network.id)
        if former is not None and former.dhcp is not None:
            self._release(network, dhcp, former.dhcp, process)
        # Always: an earlier process may have died after writing the files.
        process.ensure(text, reread=True)

    def _release(
        self, network: NetworkSpec, dhcp: DhcpSpec, former: DhcpSpec, process: Dnsmasq
    ) -> None:
        """Give back the leases of addresses that their ports hold no more."""
        now = {(host.mac, ip) for host in dhcp.hosts for ip in host.ips}
        lost = [(h.mac, ip) for h in former.hosts for ip in h.ips if (h.mac, ip) not in now]
        path = self._files(network.id).leases
        if not lost or not path.exists():
            return
        gone_ipv6 = {ip for _, ip in lost} & leases.held(path, 6)
        if gone_ipv6:
            process.stop()  # it would write its own memory over the file
            path.write_text(leases.without(path.read_text(), {ip for _, ip in lost}))
            return
        gone_ipv4 = leases.held(path, 4)
        frames: list[bytes] = []
        outer = self._names.dhcp_leg(network.id)
        for mac, ip in lost:
            server = next((a.ip for a in dhcp.addresses if ":" not in a.ip), None)
            if ip in gone_ipv4 and server is not None:
                frames.append(leases.release_frame(mac, ip, dhcp.mac, server))
        if frames:
            cloud = self._names.cloud_namespace
            self._netlink.run(cloud, lambda _: leases.send(outer, frames))

    def _files(self, network_id: str) -> Files:
        return Files(self._folder / network_id)

    def _process(self, network_id: str) -> Dnsmasq:
        files = self._files(network_id)
        namespace = self._names.dhcp_namespace(network_id)
        return Dnsmasq(files.configuration, files.pid, namespace)


def _unannounced(subnets: Iterable[SubnetSpec], routed: set[str]) -> list[SubnetSpec]:
    return [s for s in subnets if s.ip_version == 6 and s.ipv6_ra_mode and s.id not in routed]


def _prepare(links: Links) -> None:
    links.sysctl(_SYSCTLS)
    links.socket.link("set", index=1, state="up")
