"""The way from a flat network to the outside: an uplink of the host, or the host itself.

A host-only external network is a veth pair: one end on the network's bridge, the other in the
host's namespace with the host's addresses. Nothing else of the host is changed, unless the
operator asked for masquerading (then: IP forwarding, and one nft table of this cloud's name).

In OpenStack: bridge mappings of the agents, and what DevStack does with br-ex.
"""

from __future__ import annotations

import ipaddress

from nubelet.node import commands, trail
from nubelet.node.errors import NETWORK_UNSUPPORTED, HostError
from nubelet.node.switching.linux import ruleset, veth
from nubelet.node.switching.linux.names import Names, alias
from nubelet.node.switching.linux.netlink import Links, Netlink
from nubelet.node.switching.linux.options import ExternalNetwork, LinuxOptions
from nubelet.node.switching.linux.ruleset import Chain, Item, Key
from nubelet.node.switching.linux.security_rules import Network
from nubelet.node.switching.linux.veth import Cable
from nubelet.node.wire import NetworkSpec


class ExternalLinks:
    """Physical networks of this host, as the cloud uses them."""

    def __init__(self, names: Names, netlink: Netlink, options: LinuxOptions) -> None:
        self._names = names
        self._netlink = netlink
        self._options = options

    def ensure(self, spec: NetworkSpec, bridge: str) -> None:
        """Connect a flat network's bridge to its physical network."""
        name, external = self._configured(spec)
        if external.uplink:
            self._ensure_uplink(external.uplink, bridge, spec)
        if external.host_addresses:
            self._check_addresses(name, external)
            cable = self._cable(name, spec, bridge)
            with trail.step("netlink", f"{cable.outer} and {cable.inner} to the host"):
                device = veth.ensure(self._netlink, cable)

                def settle(links: Links) -> None:
                    links.sysctl(_guard(device.name, external.masquerade))
                    links.settle_addresses(device.index, external.host_addresses)

                self._netlink.run(None, settle)
        self._settle_masquerade()

    def remove(self, spec: NetworkSpec) -> None:
        """Disconnect it; an uplink goes back to the host."""
        name = spec.physical_network or ""
        external = self._options.physical_networks.get(name, ExternalNetwork())
        if external.uplink:
            self.release_uplink(external.uplink)
        veth.remove(self._netlink, self._cable(name, spec, ""))
        self._settle_masquerade()

    def release_uplink(self, device: str) -> bool:
        """Give a device back to the host; False when the cloud does not hold it."""
        with self._netlink.descriptor(None) as host:

            def release(links: Links) -> bool:
                link = links.find(device)
                if link is None:
                    return False
                links.change(link, master=0, state="down")
                links.change(link, net_ns_fd=host)
                return True

            return self._netlink.run(self._names.cloud_namespace, release)

    def _configured(self, spec: NetworkSpec) -> tuple[str, ExternalNetwork]:
        name = spec.physical_network or ""
        external = self._options.physical_networks.get(name)
        if external is None:
            known = ", ".join(sorted(self._options.physical_networks)) or "none"
            raise HostError(
                NETWORK_UNSUPPORTED,
                f"flat network {spec.id} wants physical network {name!r};"
                f" this host is configured for: {known}",
            )
        return name, external

    def _cable(self, name: str, spec: NetworkSpec, bridge: str) -> Cable:
        return Cable(
            outer_namespace=self._names.cloud_namespace,
            outer=self._names.physical_leg(name),
            inner_namespace=None,
            inner=self._names.host_leg(name),
            alias=alias("network", spec.id),
            mtu=spec.mtu,
            bridge=bridge or None,
        )

    def _check_addresses(self, name: str, external: ExternalNetwork) -> None:
        """Refuse a range that the host has elsewhere: it would lose its own connections."""
        own = self._names.host_leg(name)

        def elsewhere(links: Links) -> list[tuple[str, str]]:
            others = (link for link in links.all() if link.name != own)
            return [(link.name, cidr) for link in others for cidr in links.addresses(link.index)]

        present = self._netlink.run(None, elsewhere)
        for wanted in external.host_addresses:
            network = ipaddress.ip_interface(wanted).network
            for device, cidr in present:
                other = ipaddress.ip_interface(cidr).network
                if network.version == other.version and network.overlaps(other):
                    raise HostError(
                        NETWORK_UNSUPPORTED,
                        f"physical network {name}: {wanted} overlaps {cidr} on {device}"
                        " of this host; choose another range",
                    )

    def _ensure_uplink(self, device: str, bridge: str, spec: NetworkSpec) -> None:
        namespace = self._names.cloud_namespace
        with trail.step("netlink", f"uplink {device} into {namespace}"):
            if self._netlink.run(namespace, lambda links: links.find(device)) is None:
                with self._netlink.descriptor(namespace) as destination:
                    self._netlink.run(
                        None,
                        lambda links: links.change(links.get(device), net_ns_fd=destination),
                    )

            def settle(links: Links) -> None:
                links.settle(
                    links.get(device), up=True, mtu=spec.mtu, controller=links.get(bridge).index
                )

            self._netlink.run(namespace, settle)

    def _settle_masquerade(self) -> None:
        """One table for all masqueraded networks that are up; none, and it goes."""
        configured = {n: e for n, e in self._options.physical_networks.items() if e.masquerade}
        if not configured:
            return
        present = self._netlink.run(None, lambda links: {link.name for link in links.all()})
        chosen = [
            ipaddress.ip_interface(address).network
            for name, external in configured.items()
            if self._names.host_leg(name) in present
            for address in external.host_addresses
        ]
        table = f"inet {self._names.host_table}"
        text = ruleset.removal([table])
        if chosen:
            self._netlink.run(None, lambda links: _let_through(links, chosen))
            hook = "type nat hook postrouting priority srcnat; policy accept;"
            items: dict[Key, Item] = {
                (table, "postrouting"): Chain(tuple(map(_masquerade, chosen)), hook)
            }
            text = ruleset.replacement(items)
        host = self._netlink.host_namespace
        commands.run(["nft", "-f", "-"], stdin=text.encode(), namespace=host)


def _guard(device: str, forwards: bool) -> dict[str, str]:
    """Settings of the host's end: what comes from guests is for the host itself, and goes no
    further unless masquerading is asked for, even where the host is a router for others.
    """
    return {
        f"ipv4/conf/{device}/forwarding": "1" if forwards else "0",
        f"ipv4/conf/{device}/accept_redirects": "0",
        f"ipv6/conf/{device}/accept_redirects": "0",
        f"ipv6/conf/{device}/accept_ra": "0",
    }


def _masquerade(network: Network) -> str:
    family = "ip" if network.version == 4 else "ip6"
    return f"{family} saddr {network} {family} daddr != {network} masquerade"


def _let_through(links: Links, networks: list[Network]) -> None:
    paths = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
    links.sysctl({paths[network.version]: "1" for network in networks})
