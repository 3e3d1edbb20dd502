"""What things of one cloud are called on its host.

Device names end after 15 characters and are shared by all clouds of a machine, so each holds the
cloud's tag and the first ten hex digits of its owner's id; the whole id stands in the device's
alias (`ip link` shows it), which is where `observation.py` reads it from.

Read next: `README.md` (a packet's way through these devices).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from nubelet.node.wire import tap_name

# Devices inside a namespace of their own need no tag: nobody else is there.
DHCP_DEVICE = "dhcp0"
METADATA_ADDRESS = "169.254.169.254"
METADATA_PORT = 80


def _short(identifier: str) -> str:
    return identifier.replace("-", "")[:10]


def interior_leg(port_id: str) -> str:
    """A router's leg on a project network, inside the router's namespace."""
    return f"qr-{port_id.replace('-', '')[:11]}"


def gateway_leg(port_id: str) -> str:
    """A router's leg on the external network, inside the router's namespace."""
    return f"qg-{port_id.replace('-', '')[:11]}"


def alias(kind: str, identifier: str) -> str:
    """The alias of a device: what it is and whose it is, with the whole id."""
    return f"{kind} {identifier}"


def read_alias(text: str) -> tuple[str, str]:
    """Kind and id from an alias; empty strings where it is not one of ours."""
    kind, _, identifier = text.partition(" ")
    return (kind, identifier) if identifier else ("", "")


@dataclass(frozen=True)
class Names:
    """The names of one cloud, told apart by its tag (`wire.cloud_tag`)."""

    tag: str

    @property
    def cloud_namespace(self) -> str:
        """The namespace of bridges, taps and security groups."""
        return f"nb-{self.tag}"

    @property
    def host_table(self) -> str:
        """The nft table in the host's own namespace (only with masquerading)."""
        return f"nubelet-{self.tag}"

    def router_namespace(self, router_id: str) -> str:
        """The namespace of a router."""
        return f"{self.cloud_namespace}-r-{router_id}"

    def dhcp_namespace(self, network_id: str) -> str:
        """The namespace of a network's DHCP service."""
        return f"{self.cloud_namespace}-d-{network_id}"

    def owner(self, namespace: str) -> tuple[str, str] | None:
        """Kind ("cloud", "router", "dhcp") and id behind a namespace of this cloud, else None."""
        if namespace == self.cloud_namespace:
            return ("cloud", "")
        for kind, letter in (("router", "r"), ("dhcp", "d")):
            prefix = f"{self.cloud_namespace}-{letter}-"
            if namespace.startswith(prefix):
                return (kind, namespace[len(prefix) :])
        if namespace.startswith(f"{self.cloud_namespace}-"):
            return ("unknown", namespace)
        return None

    def bridge(self, network_id: str) -> str:
        """The bridge of a network."""
        return f"b{self.tag}{_short(network_id)}"

    def vxlan(self, network_id: str) -> str:
        """The tunnel device of a VXLAN network."""
        return f"x{self.tag}{_short(network_id)}"

    def tap(self, port_id: str) -> str:
        """The tap of a guest's port; the hypervisor opens it by this name."""
        return tap_name(self.tag, port_id)

    def dhcp_leg(self, network_id: str) -> str:
        """The bridge's end of the veth into the DHCP namespace."""
        return f"d{self.tag}{_short(network_id)}"

    def router_leg(self, port_id: str) -> str:
        """The bridge's end of the veth into a router's namespace."""
        return f"q{self.tag}{_short(port_id)}"

    def physical_leg(self, physical_network: str) -> str:
        """The bridge's end of the veth to the host, for a host-only external network."""
        return f"p{self.tag}{_digest(physical_network)}"

    def host_leg(self, physical_network: str) -> str:
        """The host's end of that veth; it carries the host's address on the external network."""
        return f"h{self.tag}{_digest(physical_network)}"

    def is_host_device(self, device: str) -> bool:
        """Whether a device in the host's namespace was made by this cloud."""
        return len(device) == 15 and device[0] in "hpx" and device[1:5] == self.tag


def _digest(name: str) -> str:
    # Names of physical networks are an operator's free text: not fit for a device name.
    return hashlib.sha256(name.encode()).hexdigest()[:10]
