"""Networks: what is created, changed and removed, each in the caller's transaction.

Read next: `subnets.py`, `ports.py`; `api/networks.py` for the URLs.
In OpenStack: neutron/plugins/ml2/plugin.py create_network.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.network import allocation, hosts, presence, records, refusals, sharing
from nubelet.network.model import (
    dhcp_service,
    floating_ip,
    host,
    network,
    port,
    router,
    subnet,
    subnet_range,
)
from nubelet.network.quotas import quotas

VXLAN_OVERHEAD_BYTES = 50
MIN_MTU = 68
TYPES = ("vxlan", "flat", "local")
DHCP_OWNER = "network:dhcp"


def find(tx: Tx, network_id: str) -> Any:
    """The row of a network, whoever may see it; raises NetworkNotFound."""
    row = tx.first(_BY_ID, id=network_id)
    if row is None:
        raise refusals.not_found("Network", network_id)
    return row


_BY_ID = sa.select(network).where(network.c.id == sa.bindparam("id"))


def visible(ctx: Context) -> sa.ColumnElement[bool] | None:
    """Which networks the caller may know of; None for all: own, shared and external ones."""
    if ctx.is_admin or ctx.allows("service_api"):
        return None
    return sa.or_(
        network.c.project_id == ctx.project_id, network.c.id.in_(sharing.granted(ctx, "network"))
    )


def find_visible(ctx: Context, tx: Tx, network_id: str) -> Any:
    """The row of a network that the caller may use; else NetworkNotFound."""
    condition = visible(ctx)
    statement = _BY_ID if condition is None else _BY_ID.where(condition)
    row = tx.first(statement, id=network_id)
    if row is None:
        raise refusals.not_found("Network", network_id)
    return row


def lock(tx: Tx, network_id: str) -> None:
    """Make allocations on a network wait for each other."""
    tx.lock("network", network_id)


def create(ctx: Context, tx: Tx, values: dict[str, Any]) -> str:
    """Insert a network with its segment; returns its id."""
    quotas(ctx).require(tx, values["project_id"], network=1)
    hosts.require_zones(tx, values["availability_zone_hints"])
    segment = _segment(ctx, tx, values)
    mtu = _mtu(ctx, segment["network_type"], values.get("mtu"))
    if values["is_default"]:
        _require_default_free(tx, values["external"], "")
    columns = {**values, **segment, "mtu": mtu}
    network_id = records.insert(ctx, tx, network, **columns)
    if values["shared"]:
        sharing.open_to_all(tx, "network", network_id, values["project_id"], sharing.SHARED)
    if values["external"]:
        sharing.open_to_all(tx, "network", network_id, values["project_id"], sharing.EXTERNAL)
    return network_id


def update(ctx: Context, tx: Tx, row: Any, changes: dict[str, Any]) -> None:
    """Change attributes; where the network is, it is sent again."""
    if "mtu" in changes:
        changes["mtu"] = _mtu(ctx, row.network_type, changes["mtu"])
        _require_ipv6_mtu(tx, row.id, changes["mtu"])
    if "external" in changes and changes["external"] != row.external:
        _update_external(tx, row, changes["external"])
    if changes.get("is_default"):
        _require_default_free(tx, changes.get("external", row.external), row.id)
    if "shared" in changes:
        _update_shared(tx, row, changes["shared"])
    records.change(ctx, tx, network, row, **changes)
    if {"mtu", "admin_state_up", "dns_domain"} & set(changes):
        resend(tx, row.id)
    if "mtu" in changes:
        presence.touch(
            tx,
            presence.PORT,
            [
                each.id
                for each in tx.all(
                    sa.select(port.c.id).where(port.c.network_id == row.id, port.c.host != "")
                )
            ],
        )


def delete(ctx: Context, tx: Tx, row: Any) -> None:
    """Remove a network that only the network service itself uses: its DHCP ports, its subnets
    and floating IPs that point nowhere go with it."""
    from nubelet.network import floating_ips, ports

    lock(tx, row.id)
    floating_ips.delete_unused(ctx, tx, row.id)
    found = tx.all(sa.select(port).where(port.c.network_id == row.id))
    others = [each.id for each in found if each.device_owner != DHCP_OWNER]
    if others:
        raise refusals.network_in_use(row.id, others)
    tx.delete(dhcp_service, dhcp_service.c.network_id == row.id)
    for each in found:
        ports.remove(ctx, tx, each)
    for each in tx.all(sa.select(subnet).where(subnet.c.network_id == row.id)):
        tx.delete(subnet_range, subnet_range.c.subnet_id == each.id)
        records.remove(ctx, tx, subnet, each)
    sharing.forget(tx, row.id)
    records.remove(ctx, tx, network, row)
    presence.release(tx, presence.NETWORK, [row.id])


def resend(tx: Tx, network_id: str) -> None:
    """The network or a subnet of it changed: for its bridges, its DHCP and its routers."""
    presence.touch(tx, presence.NETWORK, [network_id])
    presence.touch(tx, presence.ROUTER, routers_on(tx, [network_id]))


def routers_on(tx: Tx, network_ids: Collection[str]) -> list[str]:
    """The routers with a leg on these networks."""
    from nubelet.network.model import router_interface

    inside = (
        sa.select(router_interface.c.router_id)
        .join(port, port.c.id == router_interface.c.port_id)
        .where(port.c.network_id.in_(network_ids))
    )
    outside = sa.select(router.c.id).where(router.c.gateway_network_id.in_(network_ids))
    return [row[0] for row in tx.all(inside.union(outside))]


# --- Segments --------------------------------------------------------------------------------


def known_physical_networks(tx: Tx) -> set[str]:
    """`external`, which every cloud may have, and what nodes say they are connected to."""
    found = {"external"}
    for row in tx.all(sa.select(host.c.physical_networks)):
        found.update(row.physical_networks)
    return found


def _segment(ctx: Context, tx: Tx, values: dict[str, Any]) -> dict[str, Any]:
    kind = values.get("network_type")
    physical, number = values.get("physical_network"), values.get("segmentation_id")
    if kind is None:
        if physical is not None or number is not None:
            raise refusals.invalid(
                "provider:network_type required beside "
                "provider:physical_network and provider:segmentation_id"
            )
        kind = "vxlan"
    if kind not in TYPES:
        raise refusals.invalid(f"network_type value '{kind}' not supported")
    if kind == "vxlan":
        return _vxlan_segment(ctx, tx, physical, number)
    if number is not None:
        raise refusals.invalid(f"segmentation_id prohibited for {kind} provider network")
    if kind == "local":
        if physical is not None:
            raise refusals.invalid("physical_network prohibited for local provider network")
        return {
            "network_type": kind,
            "physical_network": None,
            "segmentation_id": None,
            "segment_key": None,
        }
    return _flat_segment(tx, physical)


def _vxlan_segment(
    ctx: Context,
    tx: Tx,
    physical: str | None,
    number: int | None,
) -> dict[str, Any]:
    if physical is not None:
        raise refusals.invalid("provider:physical_network specified for vxlan network")
    if number is None:
        number = allocation.free_vni(tx, *ctx.cloud.settings.network.vni_range)
    elif not 1 <= number < 2**24:
        raise refusals.invalid(f"segmentation_id out of range (1 through {2**24 - 1})")
    key = f"vxlan:{number}"
    tx.lock("network", key)
    if _segment_used(tx, key):
        raise refusals.conflict(
            "TunnelIdInUse", f"Unable to create the network. The tunnel ID {number} is in use."
        )
    return {
        "network_type": "vxlan",
        "physical_network": None,
        "segmentation_id": number,
        "segment_key": key,
    }


def _flat_segment(tx: Tx, physical: str | None) -> dict[str, Any]:
    if physical is None:
        raise refusals.invalid("physical_network required for flat provider network")
    if physical not in known_physical_networks(tx):
        raise refusals.invalid(f"physical_network '{physical}' unknown for flat provider network")
    key = f"flat:{physical}"
    tx.lock("network", key)
    if _segment_used(tx, key):
        raise refusals.conflict(
            "FlatNetworkInUse",
            f"Unable to create the flat network. Physical network {physical} is in use.",
        )
    return {
        "network_type": "flat",
        "physical_network": physical,
        "segmentation_id": None,
        "segment_key": key,
    }


def _segment_used(tx: Tx, key: str) -> bool:
    return tx.scalar(sa.select(network.c.id).where(network.c.segment_key == key)) is not None


def _mtu(ctx: Context, kind: str, asked: int | None) -> int:
    largest = ctx.cloud.settings.network.mtu
    if kind == "vxlan":
        largest -= VXLAN_OVERHEAD_BYTES
    if not asked:  # 0 asks for the default, as upstream has it
        return largest
    if asked > largest:
        raise refusals.invalid(f"Requested MTU is too big, maximum is {largest}")
    if asked < MIN_MTU:
        raise refusals.invalid(f"Requested MTU {asked} is too small, minimum is {MIN_MTU}")
    return asked


def _require_ipv6_mtu(tx: Tx, network_id: str, mtu: int) -> None:
    if mtu < 1280 and tx.first(
        sa.select(subnet.c.id).where(subnet.c.network_id == network_id, subnet.c.ip_version == 6)
    ):
        raise refusals.conflict(
            "NetworkMTUSubnetConflict",
            f"The network MTU {mtu} is too small: a subnet with IPv6 needs at least 1280.",
        )


# --- Sharing ---------------------------------------------------------------------------------


def _update_shared(tx: Tx, row: Any, shared: bool) -> None:
    if shared:
        sharing.open_to_all(tx, "network", row.id, row.project_id, sharing.SHARED)
    elif sharing.is_open(tx, row.id, sharing.SHARED):
        require_unused_by_others(tx, row)
        sharing.close_to_all(tx, row.id, sharing.SHARED)


def require_unused_by_others(tx: Tx, row: Any) -> None:
    """Refuse to stop sharing a network while other projects have ports or subnets on it."""
    mine = ("", row.project_id)
    for table, extra in ((port, port.c.device_owner.not_like("network:%")), (subnet, sa.true())):
        if tx.first(
            sa.select(table.c.id)
            .where(table.c.network_id == row.id, table.c.project_id.not_in(mine), extra)
            .limit(1)
        ):
            raise refusals.conflict(
                "InvalidSharedSetting",
                "Unable to reconfigure sharing settings for network "
                f"{row.id}. Multiple projects are using it.",
            )


def _update_external(tx: Tx, row: Any, external: bool) -> None:
    if external:
        sharing.open_to_all(tx, "network", row.id, row.project_id, sharing.EXTERNAL)
        return
    used = tx.first(
        sa.select(router.c.id).where(router.c.gateway_network_id == row.id).limit(1)
    ) or tx.first(
        sa.select(floating_ip.c.id).where(floating_ip.c.floating_network_id == row.id).limit(1)
    )
    if used:
        raise refusals.conflict(
            "ExternalNetworkInUse",
            f"External network {row.id} cannot be updated to be made "
            "non-external, since it has existing gateway ports.",
        )
    sharing.close_to_all(tx, row.id, sharing.EXTERNAL)


def _require_default_free(tx: Tx, external: bool, network_id: str) -> None:
    if not external:
        raise refusals.invalid("only an external network can be the default one")
    other = tx.scalar(
        sa.select(network.c.id).where(
            network.c.is_default, network.c.external, network.c.id != network_id
        )
    )
    if other:
        raise refusals.conflict(
            "DefaultExternalNetworkExists", f"A default external network already exists: {other}."
        )
