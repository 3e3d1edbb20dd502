"""Switching without a network: the same rules, kept in small files.

It refuses what the real one must refuse (a port on a network that is not here, a network kind
that this host has no uplink for), so that a test with fakes meets the same answers.

Read next: `switching/linux` for the real thing.
"""

from __future__ import annotations

from pathlib import Path

from nubelet.node.errors import NETWORK_UNSUPPORTED, NO_SUCH_NETWORK, HostError
from nubelet.node.faults import Faults
from nubelet.node.records import Records
from nubelet.node.switching import AskMetadata
from nubelet.node.wire import (
    NetworkSpec,
    NetworkState,
    PortSpec,
    RouterSpec,
    SecurityGroups,
    SecurityGroupSpec,
)


class FakeSwitching:
    """Networks, ports, routers and security groups as records."""

    name = "fake"

    def __init__(
        self,
        state_dir: Path,
        *,
        physical_networks: tuple[str, ...] = ("external",),
        faults: Faults | None = None,
    ) -> None:
        self._folder = state_dir / "switching"
        self._physical_networks = physical_networks
        self.faults = faults or Faults(state_dir / "faults")
        self._networks = Records(self._folder / "networks", NetworkSpec)
        self._ports = Records(self._folder / "ports", PortSpec)
        self._routers = Records(self._folder / "routers", RouterSpec)
        self._groups = Records(self._folder / "security_groups", SecurityGroupSpec)
        self.ask_metadata: AskMetadata | None = None

    def start(self, ask_metadata: AskMetadata | None) -> None:
        """Records were read when this was made; keep the way to the metadata service."""
        self.ask_metadata = ask_metadata

    def stop(self) -> None:
        """Nothing lives in this process."""

    def ensure_network(self, spec: NetworkSpec) -> None:
        """Record a network."""
        self.faults.meet("ensure_network")
        if spec.kind == "flat" and spec.physical_network not in self._physical_networks:
            raise HostError(
                NETWORK_UNSUPPORTED,
                f"Network {spec.id} lies on physical network {spec.physical_network!r}, "
                f"which this host is not connected to",
            )
        self._networks.put(spec.id, spec)

    def remove_network(self, network_id: str) -> None:
        """Forget a network."""
        self.faults.meet("remove_network")
        self._networks.drop(network_id)

    def ensure_security_groups(self, groups: SecurityGroups) -> None:
        """Record groups."""
        self.faults.meet("ensure_security_groups")
        for group in groups.groups:
            self._groups.put(group.id, group)

    def remove_security_group(self, group_id: str) -> None:
        """Forget a group."""
        self.faults.meet("remove_security_group")
        self._groups.drop(group_id)

    def ensure_port(self, spec: PortSpec) -> None:
        """Record a port; its network must be here."""
        self.faults.meet("ensure_port")
        if self._networks.get(spec.network_id) is None:
            raise HostError(
                NO_SUCH_NETWORK, f"Port {spec.id} needs network {spec.network_id}, not present here"
            )
        self._ports.put(spec.id, spec)

    def remove_port(self, port_id: str) -> None:
        """Forget a port."""
        self.faults.meet("remove_port")
        self._ports.drop(port_id)

    def ensure_router(self, spec: RouterSpec) -> None:
        """Record a router; the networks of its legs must be here."""
        self.faults.meet("ensure_router")
        legs = [*spec.interfaces, *([spec.gateway.port] if spec.gateway else [])]
        for leg in legs:
            if self._networks.get(leg.network_id) is None:
                raise HostError(
                    NO_SUCH_NETWORK,
                    f"Router {spec.id} needs network {leg.network_id}, not present here",
                )
        self._routers.put(spec.id, spec)

    def remove_router(self, router_id: str) -> None:
        """Forget a router."""
        self.faults.meet("remove_router")
        self._routers.drop(router_id)

    def has_port(self, port_id: str) -> bool:
        """Is there a tap for this port? The fake hypervisor asks, as QEMU would find out."""
        return self._ports.get(port_id) is not None

    def observe(self) -> NetworkState:
        """What is recorded. Networks whose spec asks for DHCP count as served."""
        self.faults.meet("observe_network")
        networks = self._networks.values()
        return NetworkState(
            networks=tuple(network.id for network in networks),
            ports=self._ports.keys(),
            routers=self._routers.keys(),
            security_groups=self._groups.keys(),
            dhcp_servers=tuple(network.id for network in networks if network.dhcp),
        )

    def physical_networks(self) -> tuple[str, ...]:
        """As given when this was made."""
        return self._physical_networks

    def tap_namespace(self) -> str | None:
        """There are no taps."""
        return None

    def purge(self) -> list[str]:
        """Remove all records."""
        said = [
            *self._ports.purge("port"),
            *self._routers.purge("router"),
            *self._networks.purge("network"),
            *self._groups.purge("security group"),
        ]
        if self._folder.is_dir():
            self._folder.rmdir()
        return said
