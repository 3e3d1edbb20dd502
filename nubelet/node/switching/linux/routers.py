"""Routers: a namespace with a veth leg on each network, routes, and address translation.

Everything is declarative: legs, addresses and routes that the spec no longer names go, the
others stay untouched, so that interfaces come and go while traffic runs.

Read next: `nat.py` (floating addresses and the guard), `announcements.py` (IPv6).

In OpenStack: the L3 agent.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

from nubelet.node import trail
from nubelet.node.errors import NO_SUCH_NETWORK, HostError
from nubelet.node.switching.linux import arp, flows, namespaces, nat, veth
from nubelet.node.switching.linux.announcements import Announcer, announced
from nubelet.node.switching.linux.metadata import Asker, MetadataServer
from nubelet.node.switching.linux.names import (
    METADATA_ADDRESS,
    Names,
    alias,
    gateway_leg,
    interior_leg,
)
from nubelet.node.switching.linux.netlink import Links, Netlink, StaticRoute
from nubelet.node.switching.linux.nftables import Tables
from nubelet.node.switching.linux.records import Records
from nubelet.node.switching.linux.ruleset import Item, Key
from nubelet.node.switching.linux.security_rules import Network
from nubelet.node.switching.linux.veth import Cable
from nubelet.node.wire import RouterPort, RouterSpec

_LOOPBACK = 1
_SYSCTLS = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    # Taking an address away must not take others of its subnet along.
    "ipv4/conf/all/promote_secondaries": "1",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    # Each leg answers for its own addresses only.
    "ipv4/conf/all/arp_ignore": "1",
    "ipv4/conf/all/arp_announce": "2",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/default/forwarding": "1",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/dad_transmits": "0",
    "ipv6/conf/default/ndisc_notify": "1",
}


class Routers:
    """Routers of a cloud on this host."""

    def __init__(
        self,
        names: Names,
        netlink: Netlink,
        records: Records,
        folder: Path,
        metadata: MetadataServer,
    ) -> None:
        self._names = names
        self._netlink = netlink
        self._records = records
        self._folder = folder
        self._metadata = metadata
        self._tables: dict[str, Tables] = {}

    def ensure(self, asked: RouterSpec, former: RouterSpec | None) -> None:
        """Make the router so (it is on record already). One that is down has no legs."""
        spec = _effective(asked)
        self._check(spec)
        namespace = self._names.router_namespace(spec.id)
        # Of an earlier process's connections nobody here knows whether they are to end.
        is_new = spec.id not in self._tables
        with trail.step("netlink", f"router namespace {namespace}"):
            if namespaces.create(namespace):
                self._tables.pop(spec.id, None)
            self._netlink.run(namespace, _prepare)
            # Before any leg: a packet must not pass before the guard stands.
            self._tables_of(spec.id).change(nat.items(spec))
            self._ensure_legs(spec, namespace)
            self._netlink.run(namespace, lambda links: _settle_routes(links, spec))
        self.ensure_advertisements(spec)
        if is_new or former is None or set(former.floating_ips) - set(spec.floating_ips):
            flows.cut(namespace, None, lambda flow: not nat.upholds(spec, flow))
        if spec.serves_metadata:
            self.serve_metadata(spec.id)
        else:
            self._metadata.withdraw(namespace)

    def remove(self, router_id: str, former: RouterSpec | None) -> None:
        """Take the router away."""
        namespace = self._names.router_namespace(router_id)
        with trail.step("netlink", f"remove namespace {namespace}"):
            self._metadata.withdraw(namespace)
            self._announcer(router_id).remove()
            self._tables.pop(router_id, None)
            if namespaces.exists(namespace):
                for leg in self._netlink.run(namespace, lambda links: links.all()):
                    self._delete(namespace, leg.name)
            for port in _legs(former) if former else []:
                self._delete(self._names.cloud_namespace, self._names.router_leg(port.port_id))
            self._netlink.forget(namespace)
            namespaces.remove(namespace)

    def serve_metadata(self, router_id: str) -> None:
        """Answer 169.254.169.254 for guests behind the router, when it is on this host."""
        namespace = self._names.router_namespace(router_id)
        if namespaces.exists(namespace):
            self._metadata.serve(namespace, Asker(router_id=router_id))

    def ensure_advertisements(self, spec: RouterSpec) -> None:
        """Announce the router's IPv6 subnets as its networks are now."""
        networks = {record.id: record.spec for record in self._records.networks.all()}
        self._announcer(spec.id).ensure(announced(_effective(spec), networks))

    def announced_subnets(self, network_id: str) -> set[str]:
        """Ids of a network's subnets that a router on this host announces."""
        networks = {record.id: record.spec for record in self._records.networks.all()}
        return {
            subject.subnet.id
            for record in self._records.routers_of(network_id)
            for subject in announced(record.spec, networks)
            if subject.network.id == network_id
        }

    def _check(self, spec: RouterSpec) -> None:
        for port in _legs(spec):
            if self._records.networks.get(port.network_id) is None:
                raise HostError(
                    NO_SUCH_NETWORK, f"router {spec.id}: network {port.network_id} is not here"
                )

    def _tables_of(self, router_id: str) -> Tables:
        if router_id not in self._tables:

            def render() -> dict[Key, Item]:
                record = self._records.routers.get(router_id)
                assert record is not None
                return nat.items(_effective(record.spec))

            namespace = self._names.router_namespace(router_id)
            self._tables[router_id] = Tables(namespace, render)
        return self._tables[router_id]

    def _announcer(self, router_id: str) -> Announcer:
        return Announcer(self._folder / router_id, self._names.router_namespace(router_id))

    def _ensure_legs(self, spec: RouterSpec, namespace: str) -> None:
        """Lay the legs, and tell their networks which addresses are new."""
        wanted = {interior_leg(port.port_id): port for port in spec.interfaces}
        outside = spec.gateway.port if spec.gateway else None
        if outside:
            wanted[gateway_leg(outside.port_id)] = outside
        present = self._netlink.run(namespace, lambda links: links.all())
        for link in present:
            if link.name not in wanted:
                self._delete(namespace, link.name)
        for name, port in wanted.items():
            device = veth.ensure(self._netlink, self._cable(namespace, name, port))
            addresses = [f"{a.ip}/{a.prefix_length}" for a in port.addresses]
            if port is outside:
                addresses += [f"{f.floating_ip}/32" for f in nat.floating_addresses(spec)]
            self._address(namespace, name, device.index, addresses, port.mac)

    def _delete(self, namespace: str, device: str) -> None:
        self._netlink.run(namespace, lambda links: links.delete(device))

    def _address(
        self, namespace: str, leg: str, index: int, addresses: list[str], mac: str
    ) -> None:
        """Addresses of a leg. Neighbours hear of new ones at once: they may know the address
        from another router, or wait for one to come up.
        """

        def settle(links: Links) -> None:
            new = links.settle_addresses(index, addresses)
            arp.announce(leg, mac, (a.partition("/")[0] for a in sorted(new) if ":" not in a))

        self._netlink.run(namespace, settle)

    def _cable(self, namespace: str, name: str, port: RouterPort) -> Cable:
        return Cable(
            outer_namespace=self._names.cloud_namespace,
            outer=self._names.router_leg(port.port_id),
            inner_namespace=namespace,
            inner=name,
            alias=alias("router-port", port.port_id),
            mtu=port.mtu,
            mac=port.mac,
            bridge=self._names.bridge(port.network_id),
        )


def _effective(spec: RouterSpec) -> RouterSpec:
    return spec if spec.admin_state_up else RouterSpec(id=spec.id, admin_state_up=False)


def _legs(spec: RouterSpec) -> list[RouterPort]:
    return [*spec.interfaces, *([spec.gateway.port] if spec.gateway else [])]


def _prepare(links: Links) -> None:
    links.sysctl(_SYSCTLS)
    links.socket.link("set", index=_LOOPBACK, state="up")
    links.settle_addresses(_LOOPBACK, ["127.0.0.1/8", "::1/128", f"{METADATA_ADDRESS}/32"])


def _settle_routes(links: Links, spec: RouterSpec) -> None:
    """Default routes by the gateway's next hops, and the routes of the project."""
    networks: list[tuple[Network, int]] = []
    for port in spec.interfaces:
        networks += _on_link(port, links.get(interior_leg(port.port_id)).index)
    wanted: list[StaticRoute] = []
    if spec.gateway is not None:
        outside = links.get(gateway_leg(spec.gateway.port.port_id)).index
        networks += _on_link(spec.gateway.port, outside)
        for hop in map(ipaddress.ip_address, spec.gateway.next_hops):
            default = "::/0" if hop.version == 6 else "0.0.0.0/0"
            wanted.append(StaticRoute(default, str(hop), outside))
    for route in spec.routes:
        address = ipaddress.ip_address(route.next_hop)
        index = next((i for network, i in networks if address in network), None)
        if index is not None:  # a next hop on no leg leads nowhere yet
            destination = str(ipaddress.ip_network(route.destination, strict=False))
            wanted.append(StaticRoute(destination, str(address), index))
    links.settle_routes(wanted)


def _on_link(port: RouterPort, index: int) -> list[tuple[Network, int]]:
    interfaces = (f"{a.ip}/{a.prefix_length}" for a in port.addresses)
    return [(ipaddress.ip_network(interface, strict=False), index) for interface in interfaces]
