"""Ports: the tap of a guest, on its network's bridge, behind its filters.

The filters are in place before the device goes up, and go after it is gone.

Read next: `port_filters.py` (the rules), `taps.py` (the device).
"""

from __future__ import annotations

from nubelet.node import trail
from nubelet.node.errors import NO_SUCH_NETWORK, HostError
from nubelet.node.switching.linux.filters import Filters
from nubelet.node.switching.linux.names import Names, alias
from nubelet.node.switching.linux.netlink import Links, Netlink
from nubelet.node.switching.linux.records import PortRecord, Records
from nubelet.node.switching.linux.taps import TapFactory
from nubelet.node.wire import PortSpec


class Ports:
    """Ports of a cloud on this host."""

    def __init__(
        self, names: Names, netlink: Netlink, records: Records, filters: Filters, taps: TapFactory
    ) -> None:
        self._names = names
        self._netlink = netlink
        self._records = records
        self._filters = filters
        self._taps = taps

    def ensure(self, spec: PortSpec) -> None:
        """Make the port so; its network must be on this host."""
        if self._records.networks.get(spec.network_id) is None:
            raise HostError(
                NO_SUCH_NETWORK, f"port {spec.id}: network {spec.network_id} is not on this host"
            )
        known = self._records.ports.get(spec.id)
        record = PortRecord(spec=spec, mark=self._records.mark_for(spec.id))
        self._records.ports.put(record)
        self._filters.ensure_port(record, known.spec if known else None)
        self.ensure_device(spec)

    def ensure_device(self, spec: PortSpec) -> None:
        """Make the device of a port whose filters are in place."""
        name = self._names.tap(spec.id)
        bridge = self._names.bridge(spec.network_id)
        with trail.step("netlink", f"tap {name} on {bridge}"):
            self._netlink.run(
                self._names.cloud_namespace,
                lambda links: self._settle(links, name, bridge, spec),
            )

    def remove(self, port_id: str) -> None:
        """Take the port away."""
        name = self._names.tap(port_id)
        with trail.step("netlink", f"remove tap {name}"):
            self._netlink.run(self._names.cloud_namespace, lambda links: links.delete(name))
        known = self._records.ports.get(port_id)
        if known is not None:
            self._records.ports.set_aside(port_id)
            self._filters.remove_port(known.spec)
        self._records.ports.drop(port_id)

    def _settle(self, links: Links, name: str, bridge: str, spec: PortSpec) -> None:
        tap = links.find(name)
        if tap is None:
            self._taps.make(links, name, spec.id)
            tap = links.get(name)
        if tap.alias != alias("port", spec.id):
            links.change(tap, ifalias=alias("port", spec.id))
        controller = links.get(bridge).index
        links.settle(tap, up=spec.admin_state_up, mtu=spec.mtu, controller=controller)
