"""Networks as servers use them: what other services may ask and change, in their transaction.

All of it is handed on by `nubelet.network`. A `ctx` is the caller in this service
(`ctx.within("network")`), so that others' things are as invisible here as in the API.

In OpenStack: nova/network/neutron.py, from the other side.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx, by_ids
from nubelet.kernel.errors import Conflict
from nubelet.kernel.http.fields import UNSET
from nubelet.network import bindings, networks, ports, refusals, security_groups, sharing
from nubelet.network.model import (
    floating_ip,
    network,
    port,
    port_address,
    port_security_group,
    router,
    router_interface,
    security_group,
    subnet,
)
from nubelet.node.wire import NicSpec


class NetworkView(NamedTuple):
    """A network as somebody who attaches to it sees it."""

    id: str
    name: str
    project_id: str
    external: bool
    shared: bool
    mtu: int
    port_security_enabled: bool
    subnet_ids: tuple[str, ...]


class SubnetView(NamedTuple):
    """What a guest's configuration needs of a subnet."""

    id: str
    cidr: str
    ip_version: int
    gateway_ip: str | None
    enable_dhcp: bool
    dns_nameservers: tuple[str, ...]
    host_routes: tuple[tuple[str, str], ...]  # (destination, next hop)
    ipv6_ra_mode: str | None
    ipv6_address_mode: str | None


class AddressView(NamedTuple):
    """An address of a port: a fixed one, or a floating one that leads to `fixed_ip`."""

    ip: str
    version: int
    is_floating: bool
    subnet: SubnetView | None
    fixed_ip: str | None = None


class PortView(NamedTuple):
    """A port with everything that servers show of it."""

    id: str
    device_id: str
    network_id: str
    network_name: str
    project_id: str
    mac: str
    mtu: int
    status: str
    name: str
    host: str
    dns_name: str
    port_security_enabled: bool
    addresses: tuple[AddressView, ...]
    security_group_ids: tuple[str, ...]
    security_group_names: tuple[str, ...]


# --- Networks --------------------------------------------------------------------------------


def available_networks(ctx: Context, tx: Tx) -> list[NetworkView]:
    """The networks that a server of the caller's project is put on when it names none: its own,
    else those shared with it; never merely external ones. Only networks with subnets."""
    with_subnets = sa.select(subnet.c.network_id)
    own = tx.all(
        sa.select(network)
        .where(
            network.c.project_id == ctx.project_id,
            network.c.id.in_(with_subnets),
            ~network.c.external,
        )
        .order_by(network.c.created_at, network.c.id)
    )
    shared = tx.all(
        sa.select(network)
        .where(
            network.c.project_id != ctx.project_id,
            network.c.id.in_(with_subnets),
            network.c.id.in_(sharing.granted(ctx, "network", sharing.SHARED)),
        )
        .order_by(network.c.created_at, network.c.id)
    )
    return _network_views(ctx, tx, [*own, *shared])


def find_network(ctx: Context, tx: Tx, network_id: str) -> NetworkView:
    """A network the caller may use; raises NotFound."""
    return _network_views(ctx, tx, [networks.find_visible(ctx, tx, network_id)])[0]


_SUBNETS_OF = (
    sa.select(subnet.c.id, subnet.c.network_id)
    .where(subnet.c.network_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(subnet.c.created_at, subnet.c.id)
)


def _network_views(ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[NetworkView]:
    ids = [row.id for row in rows]
    shared = sharing.shared_ids(ctx, tx, "network", ids)
    subnets: dict[str, list[str]] = {each: [] for each in ids}
    for row in tx.all(_SUBNETS_OF, ids=ids):
        subnets[row.network_id].append(row.id)
    return [
        NetworkView(
            row.id,
            row.name,
            row.project_id,
            row.external,
            row.id in shared,
            row.mtu,
            row.port_security_enabled,
            tuple(subnets[row.id]),
        )
        for row in rows
    ]


# --- Ports -----------------------------------------------------------------------------------


def find_port(ctx: Context, tx: Tx, port_id: str) -> Any:
    """The row of a port the caller may see (id, network_id, device_id, project_id, mac_address,
    host...); raises NotFound."""
    statement = sa.select(port).where(port.c.id == port_id)
    condition = ports.visible(ctx)
    row = tx.first(statement if condition is None else statement.where(condition))
    if row is None:
        raise refusals.not_found("Port", port_id)
    return row


def create_port(ctx: Context, tx: Tx, **fields: Any) -> Any:
    """A port for the caller's project; returns its row.

    `fields` as in the API: network_id, and what of fixed_ips, security_groups, device_id,
    device_owner, mac_address, dns_name, name, project_id... Raises what the API answers, quota
    included.
    """
    values = {"project_id": ctx.project_id, **fields}
    if not values.get("security_groups"):
        values["security_groups"] = UNSET
    return ports.find(tx, ports.create(ctx, tx, values))


def update_port(ctx: Context, tx: Tx, port_id: str, **changes: Any) -> None:
    """Change a port the caller may see: device_id, device_owner, dns_name, security_groups...

    Raises Conflict when `device_id` names another device than the one that has the port.
    """
    row = find_port(ctx, tx, port_id)
    wanted = changes.get("device_id")
    if wanted and row.device_id and row.device_id != wanted:
        raise Conflict(f"Port {port_id} is still in use by {row.device_id}.", code="PortInUse")
    ports.update(ctx, tx, row, changes)


def delete_port(ctx: Context | None, tx: Tx, port_id: str) -> None:
    """Remove a port; nothing happens when it is no more. `ctx` None: nobody in particular."""
    row = tx.first(sa.select(port).where(port.c.id == port_id))
    if row is not None:
        ports.delete(ctx, tx, row)


def bind_port(tx: Tx, port_id: str, host: str) -> None:
    """The port shall be on the host; `ensure_port_on_host` or the reconciler makes it so."""
    bindings.move(tx, ports.find(tx, port_id), host)


def unbind_port(tx: Tx, port_id: str) -> None:
    """The port is on no host and belongs to no device any more; its owner keeps it."""
    row = tx.first(sa.select(port).where(port.c.id == port_id))
    if row is not None:
        bindings.move(tx, row, "")
        tx.update(port, port.c.id == port_id, device_id="", device_owner="")


_NIC = (
    sa.select(port.c.id, port.c.mac_address, network.c.mtu)
    .join(network, network.c.id == port.c.network_id)
    .where(port.c.id == sa.bindparam("id"))
)


def nic_spec(tx: Tx, port_id: str) -> NicSpec:
    """The network card of a port; raises NotFound."""
    row = tx.first(_NIC, id=port_id)
    if row is None:
        raise refusals.not_found("Port", port_id)
    return NicSpec(port_id=row.id, mac=row.mac_address, mtu=row.mtu)


def ports_of(tx: Tx, device_ids: Collection[str]) -> dict[str, list[PortView]]:
    """The ports that say they belong to these devices, oldest first, in a fixed number of queries.

    Their owners may have written so: it is no proof.
    """
    found: dict[str, list[PortView]] = {each: [] for each in device_ids}
    if device_ids:
        for view in _port_views(tx, _OF_DEVICES(tx, list(device_ids))):
            found[view.device_id].append(view)
    return found


def ports_by_id(tx: Tx, port_ids: Collection[str]) -> dict[str, PortView]:
    """Ports by their ids; those that are no more are left out."""
    if not port_ids:
        return {}
    return {view.id: view for view in _port_views(tx, _BY_ID(tx, list(port_ids)))}


def port_by_address(
    tx: Tx, ip: str, *, network_id: str | None = None, router_id: str | None = None
) -> Any:
    """The port with this address on a network, or on any network inside a router; None if there
    is none. (Whose metadata a guest asks for.)

    A router's owner decides where packets go that claim an address inside: through a router only
    ports of its project are found, and those on networks of its project.
    """
    statement = sa.select(port).join(port_address, port_address.c.port_id == port.c.id)
    if network_id is not None:
        statement = statement.where(port.c.network_id == network_id)
    else:
        leg = port.alias("leg")
        statement = statement.join(network, network.c.id == port.c.network_id).where(
            sa.select(router_interface.c.port_id)
            .join(leg, leg.c.id == router_interface.c.port_id)
            .join(router, router.c.id == router_interface.c.router_id)
            .where(
                router_interface.c.router_id == router_id,
                leg.c.network_id == port.c.network_id,
                router.c.project_id.in_([port.c.project_id, network.c.project_id]),
            )
            .exists()
        )
    return tx.first(
        statement.where(port_address.c.ip == ip, port.c.device_owner.not_like("network:%"))
    )


_PORT = [
    port.c[name]
    for name in (
        "id",
        "device_id",
        "network_id",
        "project_id",
        "mac_address",
        "status",
        "name",
        "host",
        "dns_name",
        "port_security_enabled",
    )
]


def _select_ports(condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(*_PORT).where(condition).order_by(port.c.created_at, port.c.id)


_OF_DEVICES = by_ids(port.c.device_id, _select_ports)
_BY_ID = by_ids(port.c.id, _select_ports)
_NETWORKS = by_ids(network.c.id, sa.select(network.c.id, network.c.name, network.c.mtu).where)


def _port_views(tx: Tx, rows: Sequence[Any]) -> list[PortView]:
    if not rows:
        return []
    ids = [row[0] for row in rows]
    networks_ = {
        row.id: (row.name, row.mtu) for row in _NETWORKS(tx, list({row[2] for row in rows}))
    }
    addresses, groups = _addresses(tx, ids), _groups(tx, ids)
    found = []
    for (
        port_id,
        device_id,
        network_id,
        project_id,
        mac,
        status,
        name,
        host,
        dns_name,
        security,
    ) in rows:
        network_name, mtu = networks_[network_id]
        group_ids, group_names = groups.get(port_id, ((), ()))
        found.append(
            PortView(
                port_id,
                device_id,
                network_id,
                network_name,
                project_id,
                mac,
                mtu,
                status,
                name,
                host,
                dns_name,
                security,
                addresses.get(port_id, ()),
                group_ids,
                group_names,
            )
        )
    return found


_MEMBERSHIPS = by_ids(
    port_security_group.c.port_id,
    sa.select(port_security_group.c.port_id, port_security_group.c.security_group_id).where,
)
_GROUP_NAMES = by_ids(
    security_group.c.id, sa.select(security_group.c.id, security_group.c.name).where
)


def _groups(tx: Tx, ids: Sequence[str]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Ids and names of the groups of ports, by name."""
    inside: dict[str, list[str]] = {}
    for port_id, group_id in _MEMBERSHIPS(tx, ids):
        inside.setdefault(port_id, []).append(group_id)
    named = {each for own in inside.values() for each in own}
    names = {row.id: row.name for row in _GROUP_NAMES(tx, list(named))}
    known: dict[tuple[str, ...], tuple[tuple[str, ...], tuple[str, ...]]] = {}
    found = {}
    for port_id, own in inside.items():
        key = tuple(own)
        if key not in known:
            ordered = tuple(sorted(own, key=lambda each: (names[each], each)))
            known[key] = (ordered, tuple(names[each] for each in ordered))
        found[port_id] = known[key]
    return found


_f, _a = floating_ip.c, port_address.c
_FLOATING = by_ids(
    _f.port_id, sa.select(_f.port_id, _f.fixed_ip_address, _f.floating_ip_address).where
)
_FIXED = by_ids(_a.port_id, sa.select(_a.port_id, _a.subnet_id, _a.ip).order_by(_a.position).where)
_SUBNETS = by_ids(subnet.c.id, sa.select(subnet).where)


def _addresses(tx: Tx, ids: Sequence[str]) -> dict[str, tuple[AddressView, ...]]:
    """Fixed addresses of ports, each followed by the floating one that leads to it."""
    floating = {
        (row.port_id, row.fixed_ip_address): row.floating_ip_address for row in _FLOATING(tx, ids)
    }
    rows = _FIXED(tx, ids)
    views = {row.id: _subnet_view(row) for row in _SUBNETS(tx, list({row[1] for row in rows}))}
    found: dict[str, tuple[AddressView, ...]] = {}
    for port_id, subnet_id, ip in rows:
        view = views[subnet_id]
        own: tuple[AddressView, ...] = (AddressView(ip, view.ip_version, False, view),)
        if floating and (outside := floating.get((port_id, ip))):
            own = (*own, AddressView(outside, 4, True, None, ip))
        found[port_id] = found[port_id] + own if port_id in found else own
    return found


def _subnet_view(row: Any) -> SubnetView:
    return SubnetView(
        row.id,
        row.cidr,
        row.ip_version,
        row.gateway_ip,
        row.enable_dhcp,
        tuple(row.dns_nameservers),
        tuple((each["destination"], each["nexthop"]) for each in row.host_routes),
        row.ipv6_ra_mode,
        row.ipv6_address_mode,
    )


# --- Security groups -------------------------------------------------------------------------


def security_group_ids(ctx: Context, tx: Tx, names: Sequence[str]) -> list[str]:
    """The ids of groups of the caller's project given by name or id. Raises NotFound, and
    Conflict when a name stands for several. `default` is made when it is first asked for."""
    found = []
    for name in names:
        if name == security_groups.DEFAULT and ctx.project_id:
            found.append(security_groups.default_group(ctx, tx, ctx.project_id))
            continue
        condition = security_groups.visible(ctx)
        statement = sa.select(security_group.c.id).where(
            sa.or_(
                security_group.c.id == name,
                sa.and_(
                    security_group.c.name == name, security_group.c.project_id == ctx.project_id
                ),
            )
        )
        rows = tx.all(statement if condition is None else statement.where(condition))
        exact = [row.id for row in rows if row.id == name]
        if not rows:
            raise refusals.not_found("SecurityGroup", name)
        if len(rows) > 1 and not exact:
            raise Conflict(
                f"Multiple security groups found matching '{name}'. Use an ID to be more specific.",
                code="NoUniqueMatch",
            )
        found.append(exact[0] if exact else rows[0].id)
    return list(dict.fromkeys(found))
