"""From rows to specs: how things shall be on a host, in the words of `nubelet.node.wire`.

A `Specs` reads within one transaction and remembers what it has read, since many hosts and
many ports ask for the same networks and groups.

Read next: `realization.py`, which sends them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.network import model, presence, routers
from nubelet.node import wire

DEFAULT_DOMAIN = "openstacklocal"


_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_NETWORK = sa.select(model.network).where(model.network.c.id == sa.bindparam("id"))
_SUBNETS_OF = (
    sa.select(model.subnet)
    .where(model.subnet.c.network_id == sa.bindparam("network_id"))
    .order_by(model.subnet.c.created_at, model.subnet.c.id)
)
_PORTS = sa.select(model.port).where(model.port.c.id.in_(_IDS))
_groups = model.port_security_group.c
_GROUPS_OF = (
    sa.select(_groups.port_id, _groups.security_group_id)
    .where(_groups.port_id.in_(_IDS))
    .order_by(_groups.port_id, _groups.security_group_id)
)
_addresses = model.port_address.c
_ADDRESSES_OF = (
    sa.select(_addresses.port_id, _addresses.subnet_id, _addresses.ip)
    .where(_addresses.port_id.in_(_IDS))
    .order_by(_addresses.port_id, _addresses.position)
)


class Specs:
    """The specs of one moment."""

    def __init__(self, cloud: Cloud, tx: Tx) -> None:
        self._settings = cloud.settings.network
        self._tx = tx
        self._networks: dict[str, Any] = {}
        self._subnets: dict[str, list[Any]] = {}
        self._groups: dict[str, wire.SecurityGroupSpec] = {}
        self._hosts: dict[str, str] | None = None

    # --- Networks ----------------------------------------------------------------------------

    def network(self, network_id: str, host: str) -> wire.NetworkSpec | None:
        """A network as it shall be on a host; None when it is no more."""
        row = self._network(network_id)
        if row is None:
            return None
        return wire.NetworkSpec(
            id=row.id,
            kind=row.network_type,
            mtu=row.mtu,
            segmentation_id=row.segmentation_id,
            physical_network=row.physical_network,
            admin_state_up=row.admin_state_up,
            subnets=tuple(self._subnet(each) for each in self._subnets_of(row.id)),
            dhcp=self._dhcp(row, host),
            tunnel_endpoints=self._endpoints(row.id, host) if row.network_type == "vxlan" else (),
        )

    def _network(self, network_id: str) -> Any:
        if network_id not in self._networks:
            self._networks[network_id] = self._tx.first(_NETWORK, id=network_id)
        return self._networks[network_id]

    def _subnets_of(self, network_id: str) -> list[Any]:
        if network_id not in self._subnets:
            self._subnets[network_id] = list(self._tx.all(_SUBNETS_OF, network_id=network_id))
        return self._subnets[network_id]

    def _subnet(self, row: Any) -> wire.SubnetSpec:
        version = row.ip_version
        servers = tuple(row.dns_nameservers) or tuple(
            each
            for each in self._settings.dns_servers
            if ipaddress.ip_address(each).version == version
        )
        return wire.SubnetSpec(
            id=row.id,
            cidr=row.cidr,
            ip_version=version,
            gateway_ip=row.gateway_ip,
            enable_dhcp=row.enable_dhcp,
            dns_servers=servers,
            host_routes=tuple(
                wire.Route(destination=each["destination"], next_hop=each["nexthop"])
                for each in row.host_routes
            ),
            ipv6_ra_mode=row.ipv6_ra_mode,
            ipv6_address_mode=row.ipv6_address_mode,
        )

    def _endpoints(self, network_id: str, host: str) -> tuple[str, ...]:
        """Where else the network is. Frames to unknown addresses are sent to all of them."""
        if self._hosts is None:
            self._hosts = {
                row.name: row.tunnel_ip
                for row in self._tx.all(sa.select(model.host.c.name, model.host.c.tunnel_ip))
            }
        others = presence.hosts_of(self._tx, presence.NETWORK, network_id)
        return tuple(
            sorted({self._hosts[each] for each in others if each != host and each in self._hosts})
        )

    def _dhcp(self, row: Any, host: str) -> wire.DhcpSpec | None:
        own = self._tx.first(
            sa.select(model.port)
            .join(model.dhcp_service, model.dhcp_service.c.port_id == model.port.c.id)
            .where(model.dhcp_service.c.network_id == row.id, model.dhcp_service.c.host == host)
        )
        if own is None:
            return None
        served = {each.id for each in self._subnets_of(row.id) if each.enable_dhcp}
        addresses = self._addresses(row.id)
        return wire.DhcpSpec(
            port_id=own.id,
            mac=own.mac_address,
            addresses=self._wired(row.id, addresses, own.id),
            hosts=tuple(self._dhcp_hosts(row.id, addresses, served)),
            domain=row.dns_domain.rstrip(".") or DEFAULT_DOMAIN,
        )

    def _dhcp_hosts(
        self,
        network_id: str,
        addresses: dict[str, list[Any]],
        served: set[str],
    ) -> list[wire.DhcpHost]:
        c = model.port.c
        found = []
        for row in self._tx.all(
            sa.select(c.id, c.mac_address, c.dns_name, c.extra_dhcp_opts)
            .where(c.network_id == network_id, c.device_owner.not_like("network:%"))
            .order_by(c.id)
        ):
            ips = tuple(each.ip for each in addresses.get(row.id, ()) if each.subnet_id in served)
            if ips:
                name = row.dns_name or "host-" + ips[0].replace(".", "-").replace(":", "-")
                found.append(
                    wire.DhcpHost(
                        port_id=row.id,
                        mac=row.mac_address,
                        ips=ips,
                        host_name=name,
                        extra_options=tuple(
                            (each["opt_name"], each["opt_value"], each["ip_version"])
                            for each in row.extra_dhcp_opts
                        ),
                    )
                )
        return found

    def _addresses(self, network_id: str) -> dict[str, list[Any]]:
        """All addresses on a network, by port."""
        found: dict[str, list[Any]] = {}
        ids = [each.id for each in self._subnets_of(network_id)]
        c = model.port_address.c
        for row in self._tx.all(
            sa.select(c.port_id, c.subnet_id, c.ip)
            .where(c.subnet_id.in_(ids))
            .order_by(c.port_id, c.position)
        ):
            found.setdefault(row.port_id, []).append(row)
        return found

    def _wired(
        self,
        network_id: str,
        addresses: dict[str, list[Any]],
        port_id: str,
    ) -> tuple[wire.Address, ...]:
        lengths = {
            each.id: int(each.cidr.rpartition("/")[2]) for each in self._subnets_of(network_id)
        }
        return tuple(
            wire.Address(
                ip=each.ip, prefix_length=lengths[each.subnet_id], subnet_id=each.subnet_id
            )
            for each in addresses.get(port_id, ())
            if each.subnet_id in lengths
        )

    # --- Ports -------------------------------------------------------------------------------

    def ports(self, ids: Sequence[str]) -> dict[str, wire.PortSpec]:
        """Ports of guests; those that are no more are left out."""
        if not ids:
            return {}
        ids = list(ids)
        rows = self._tx.all(_PORTS, ids=ids)
        addresses = self._addresses_of(ids)
        groups: dict[str, list[str]] = {}
        for each in self._tx.all(_GROUPS_OF, ids=ids):
            groups.setdefault(each.port_id, []).append(each.security_group_id)
        found = {}
        for row in rows:
            of = self._network(row.network_id)
            found[row.id] = wire.PortSpec(
                id=row.id,
                network_id=row.network_id,
                mac=row.mac_address,
                mtu=of.mtu,
                addresses=self._wired(row.network_id, addresses, row.id),
                admin_state_up=row.admin_state_up,
                port_security_enabled=row.port_security_enabled,
                security_group_ids=tuple(groups.get(row.id, ())),
                allowed_address_pairs=tuple(
                    wire.AddressPair(ip=each["ip_address"], mac=each.get("mac_address"))
                    for each in row.allowed_address_pairs
                ),
            )
        return found

    def _addresses_of(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for row in self._tx.all(_ADDRESSES_OF, ids=list(ids)):
            found.setdefault(row.port_id, []).append(row)
        return found

    # --- Security groups ---------------------------------------------------------------------

    def security_groups(self, ids: Collection[str]) -> list[wire.SecurityGroupSpec]:
        """Groups with their rules and all their members; those that are no more are left out."""
        new = [each for each in ids if each not in self._groups]
        if new:
            self._load_groups(new)
        return [self._groups[each] for each in ids if each in self._groups]

    def _load_groups(self, ids: Sequence[str]) -> None:
        rules: dict[str, list[wire.SecurityGroupRule]] = {}
        for row in self._tx.all(
            sa.select(model.security_group_rule)
            .where(model.security_group_rule.c.security_group_id.in_(ids))
            .order_by(model.security_group_rule.c.id)
        ):
            rules.setdefault(row.security_group_id, []).append(
                wire.SecurityGroupRule(
                    id=row.id,
                    direction=row.direction,
                    ethertype=row.ethertype,
                    protocol=row.protocol,
                    port_range_min=row.port_range_min,
                    port_range_max=row.port_range_max,
                    remote_ip_prefix=row.remote_ip_prefix,
                    remote_group_id=row.remote_group_id,
                )
            )
        members = self._members(ids)
        c = model.security_group.c
        for row in self._tx.all(sa.select(c.id, c.stateful).where(c.id.in_(ids))):
            self._groups[row.id] = wire.SecurityGroupSpec(
                id=row.id,
                rules=tuple(rules.get(row.id, ())),
                members=tuple(sorted(members.get(row.id, ()))),
                stateful=row.stateful,
            )

    def _members(self, ids: Sequence[str]) -> dict[str, set[str]]:
        """The addresses of the members of groups that some rule names; nobody asks for others."""
        named = {
            row[0]
            for row in self._tx.all(
                sa.select(model.security_group_rule.c.remote_group_id)
                .where(model.security_group_rule.c.remote_group_id.in_(ids))
                .distinct()
            )
        }
        found: dict[str, set[str]] = {}
        if not named:
            return found
        g, a, p = model.port_security_group.c, model.port_address.c, model.port.c
        for row in self._tx.all(
            sa.select(g.security_group_id, a.ip)
            .join(model.port_address, a.port_id == g.port_id)
            .where(g.security_group_id.in_(named))
        ):
            found.setdefault(row.security_group_id, set()).add(row.ip)
        for row in self._tx.all(
            sa.select(g.security_group_id, p.allowed_address_pairs)
            .join(model.port, p.id == g.port_id)
            .where(g.security_group_id.in_(named), p.allowed_address_pairs != [])
        ):
            found.setdefault(row.security_group_id, set()).update(
                each["ip_address"] for each in row.allowed_address_pairs
            )
        return found

    # --- Routers -----------------------------------------------------------------------------

    def router(self, router_id: str) -> wire.RouterSpec | None:
        """A router with its legs, translations and routes; None when it is no more."""
        row = self._tx.first(sa.select(model.router).where(model.router.c.id == router_id))
        if row is None:
            return None
        legs = routers.leg_ports(self._tx, router_id)
        addresses = self._addresses_of([leg.id for leg in legs])
        inside = tuple(self._leg(leg, addresses) for leg in legs if leg.id != row.gateway_port_id)
        outside = next((leg for leg in legs if leg.id == row.gateway_port_id), None)
        return wire.RouterSpec(
            id=row.id,
            admin_state_up=row.admin_state_up,
            interfaces=inside,
            gateway=self._gateway(row, outside, addresses) if outside is not None else None,
            floating_ips=self._floating_ips(router_id),
            routes=tuple(
                wire.Route(destination=each["destination"], next_hop=each["nexthop"])
                for each in row.routes
            ),
        )

    def _leg(self, leg: Any, addresses: dict[str, list[Any]]) -> wire.RouterPort:
        return wire.RouterPort(
            port_id=leg.id,
            network_id=leg.network_id,
            mac=leg.mac_address,
            addresses=self._wired(leg.network_id, addresses, leg.id),
            mtu=self._network(leg.network_id).mtu,
        )

    def _gateway(self, row: Any, leg: Any, addresses: dict[str, list[Any]]) -> wire.RouterGateway:
        used = {each.subnet_id for each in addresses.get(leg.id, ())}
        hops = [
            each.gateway_ip
            for each in self._subnets_of(leg.network_id)
            if each.id in used and each.gateway_ip
        ]
        return wire.RouterGateway(
            port=self._leg(leg, addresses), enable_snat=row.enable_snat, next_hops=tuple(hops)
        )

    def _floating_ips(self, router_id: str) -> tuple[wire.FloatingIpSpec, ...]:
        c = model.floating_ip.c
        return tuple(
            wire.FloatingIpSpec(
                id=each.id, floating_ip=each.floating_ip_address, fixed_ip=each.fixed_ip_address
            )
            for each in self._tx.all(
                sa.select(c.id, c.floating_ip_address, c.fixed_ip_address)
                .where(c.router_id == router_id, c.port_id.is_not(None))
                .order_by(c.id)
            )
        )
