"""Layer 2: a bridge per network, its VXLAN tunnels, and its way to the physical network.

Everything lies in the cloud's own namespace. A VXLAN device is made in the host's namespace,
where its outer packets go in and out, and then moved here; the kernel keeps its socket there.

Read next: `external.py` (flat networks), `ports.py` (what is plugged in).

In OpenStack: the Linux bridge agent of Neutron. Kernel: ip-link(8), bridge(8), RFC 7348.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable
from typing import Any, TypeVar

from nubelet.node import trail
from nubelet.node.errors import NETWORK_UNSUPPORTED, HostError
from nubelet.node.switching.linux import namespaces
from nubelet.node.switching.linux.external import ExternalLinks
from nubelet.node.switching.linux.names import Names, alias
from nubelet.node.switching.linux.netlink import Links, Netlink
from nubelet.node.switching.linux.options import LinuxOptions
from nubelet.node.wire import NetworkSpec

T = TypeVar("T")

_NTF_SELF = 0x02  # an entry of the tunnel device itself, not of the bridge it is a port of
FLOOD = "00:00:00:00:00:00"  # the forwarding entry for frames whose place is not known


class Bridges:
    """Bridges of a cloud on this host."""

    def __init__(self, names: Names, netlink: Netlink, options: LinuxOptions) -> None:
        self._names = names
        self._netlink = netlink
        self._options = options
        self._external = ExternalLinks(names, netlink, options)

    def ensure(self, spec: NetworkSpec) -> None:
        """Make the network's bridge and its connection to other hosts."""
        self._check(spec)
        name = self._names.bridge(spec.id)
        with trail.step("netlink", f"bridge {name} for {spec.kind} network {spec.id}"):
            self._run(lambda links: _ensure_bridge(links, name, spec))
            if spec.kind == "vxlan" and spec.tunnel_endpoints:
                self._ensure_tunnel(spec)
            else:
                self._run(lambda links: links.delete(self._names.vxlan(spec.id)))
        if spec.kind == "flat":
            self._external.ensure(spec, name)

    def present(self, network_id: str) -> bool:
        """Whether the network's bridge is there."""
        if not namespaces.exists(self._names.cloud_namespace):
            return False
        name = self._names.bridge(network_id)
        return self._run(lambda links: links.find(name)) is not None

    def remove(self, network_id: str, former: NetworkSpec | None) -> None:
        """Take the bridge and all that is plugged into it for the network's own sake away."""
        if former is not None and former.kind == "flat":
            self._external.remove(former)
        with trail.step("netlink", f"remove bridge of network {network_id}"):
            self._run(lambda links: links.delete(self._names.vxlan(network_id)))
            self._run(lambda links: links.delete(self._names.bridge(network_id)))

    def _check(self, spec: NetworkSpec) -> None:
        if spec.kind == "vxlan" and spec.segmentation_id is None:
            raise HostError(NETWORK_UNSUPPORTED, f"VXLAN network {spec.id} has no segmentation id")
        if spec.kind == "vxlan" and spec.tunnel_endpoints and not self._options.tunnel_ip:
            raise HostError(
                NETWORK_UNSUPPORTED, f"VXLAN network {spec.id}: this host has no tunnel address"
            )

    def _ensure_tunnel(self, spec: NetworkSpec) -> None:
        name = self._names.vxlan(spec.id)
        found = self._run(lambda links: _matching_tunnel(links, name, spec, self._options))
        if not found:
            self._run(lambda links: links.delete(name))
            self._make_tunnel(name, spec)
        bridge = self._names.bridge(spec.id)

        def settle(links: Links) -> None:
            tunnel = links.get(name)
            links.settle(tunnel, up=True, mtu=spec.mtu, controller=links.get(bridge).index)
            _settle_forwarding(links, tunnel.index, spec)

        self._run(settle)

    def _make_tunnel(self, name: str, spec: NetworkSpec) -> None:
        with self._netlink.descriptor(self._names.cloud_namespace) as destination:

            def make(links: Links) -> None:
                links.delete(name)  # of a call that died before the move
                attributes = _tunnel_attributes(spec, self._options)
                try:
                    device = links.add(name, "vxlan", **attributes)
                except Exception as error:
                    if getattr(error, "code", None) != errno.EEXIST:
                        raise
                    raise HostError(
                        NETWORK_UNSUPPORTED,
                        f"VNI {spec.segmentation_id} on UDP port {self._options.vxlan_port} is in"
                        " use on this host by another cloud: choose another vxlan_port",
                    ) from error
                links.change(device, ifalias=alias("network", spec.id), net_ns_fd=destination)

            self._netlink.run(None, make)

    def _run(self, work: Callable[[Links], T]) -> T:
        return self._netlink.run(self._names.cloud_namespace, work)


def _ensure_bridge(links: Links, name: str, spec: NetworkSpec) -> None:
    bridge = links.find(name)
    if bridge is None:
        bridge = links.add(
            name,
            "bridge",
            br_stp_state=0,
            br_forward_delay=0,
            # Snooping would lose neighbour discovery where nobody asks for members.
            br_mcast_snooping=0,
            br_nf_call_iptables=1,
            br_nf_call_ip6tables=1,
        )
    label = alias("network", spec.id)
    if bridge.alias != label:  # the kernel takes no alias at creation
        links.change(bridge, ifalias=label)
    links.settle(bridge, up=spec.admin_state_up, mtu=spec.mtu)


def _tunnel_attributes(spec: NetworkSpec, options: LinuxOptions) -> dict[str, Any]:
    assert options.tunnel_ip is not None
    local = ipaddress.ip_address(options.tunnel_ip)
    return {
        "vxlan_id": spec.segmentation_id,
        "vxlan_port": options.vxlan_port,
        ("vxlan_local6" if local.version == 6 else "vxlan_local"): str(local),
        "vxlan_learning": 0,
        "vxlan_ttl": 64,
    }


def _matching_tunnel(links: Links, name: str, spec: NetworkSpec, options: LinuxOptions) -> bool:
    """Whether the device is there with the right VNI, port and local address: none of these can
    be changed later.
    """
    if links.find(name) is None:
        return False
    message = links.socket.link("get", ifname=name)[0]
    data = message.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
    local = data.get_attr("IFLA_VXLAN_LOCAL") or data.get_attr("IFLA_VXLAN_LOCAL6")
    port = data.get_attr("IFLA_VXLAN_PORT")
    found = (data.get_attr("IFLA_VXLAN_ID"), port, local)
    return found == (spec.segmentation_id, options.vxlan_port, options.tunnel_ip)


def _settle_forwarding(links: Links, index: int, spec: NetworkSpec) -> None:
    wanted = {(FLOOD, endpoint) for endpoint in spec.tunnel_endpoints}
    wanted |= {(mac.lower(), endpoint) for mac, endpoint in spec.forwarding}
    present = set()
    for entry in links.socket.fdb("dump", ifindex=index):
        endpoint = entry.get_attr("NDA_DST")
        if endpoint:
            present.add((entry.get_attr("NDA_LLADDR"), endpoint))
    for mac, endpoint in present - wanted:
        links.socket.fdb("del", ifindex=index, lladdr=mac, dst=endpoint, flags=_NTF_SELF)
    for mac, endpoint in wanted - present:
        # Append: several endpoints share the flood entry.
        action = "append" if mac == FLOOD else "replace"
        links.socket.fdb(action, ifindex=index, lladdr=mac, dst=endpoint, flags=_NTF_SELF)
