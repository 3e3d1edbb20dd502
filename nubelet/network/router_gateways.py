"""The leg of a router on an external network.

In OpenStack: neutron/db/l3_gwmode_db.py and l3_db.py _update_router_gw_info.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.network import fixed_ips, networks, ports, presence, records, refusals, routers
from nubelet.network.model import floating_ip, port, router
from nubelet.network.records import Who

OWNER = "network:router_gateway"


def set_gateway(ctx: Context, tx: Tx, row: Any, info: dict[str, Any] | None) -> None:
    """Give a router the gateway that `info` describes; none for {} and None."""
    network_id = (info or {}).get("network_id")
    if not info or not network_id:
        if row.gateway_port_id:
            clear(ctx, tx, row)
        return
    of = networks.find_visible(ctx, tx, network_id)
    if not of.external:
        raise refusals.bad_request("router", f"Network {network_id} is not an external network")
    if row.gateway_port_id and row.gateway_network_id != network_id:
        clear(ctx, tx, row)
        row = routers.find(tx, row.id)
    asked = info.get("external_fixed_ips")
    if row.gateway_port_id is None:
        _add(ctx, tx, row, of, asked)
    elif asked:
        _change_addresses(tx, row, of, asked)
    snat = info.get("enable_snat")
    if snat is not None or row.gateway_port_id is None:
        tx.update(router, router.c.id == row.id, enable_snat=True if snat is None else snat)
    records.bump(tx, router, row.id)
    routers.schedule(tx, routers.find(tx, row.id), avoid=_unconnected(tx, row, of))
    host = routers.find(tx, row.id).host
    tx.update(port, port.c.id == routers.find(tx, row.id).gateway_port_id, host=host)


def clear(ctx: Who, tx: Tx, row: Any) -> None:
    """Take a router's gateway away, unless floating IPs need it."""
    if tx.first(sa.select(floating_ip.c.id).where(floating_ip.c.router_id == row.id)):
        raise refusals.conflict(
            "RouterExternalGatewayInUseByFloatingIp",
            f"Gateway cannot be updated for router {row.id}, since a gateway to external network "
            f"{row.gateway_network_id} is required by one or more floating IPs.",
        )
    leg = ports.find(tx, row.gateway_port_id)
    tx.update(
        router,
        router.c.id == row.id,
        gateway_port_id=None,
        gateway_network_id=None,
        enable_snat=True,
    )
    ports.remove(ctx, tx, leg)
    records.bump(tx, router, row.id)
    presence.touch(tx, presence.ROUTER, [row.id])
    presence.collect(tx, [row.host])


def _add(ctx: Context, tx: Tx, row: Any, of: Any, asked: Sequence[dict[str, str]] | None) -> None:
    _check_overlap(tx, row, of)
    # The port is nobody's, so that the project can neither see nor change it.
    leg = ports.create_service_port(
        ctx, tx, of, device_owner=OWNER, device_id=row.id, project_id="", fixed_ips=asked or None
    )
    tx.update(router, router.c.id == row.id, gateway_port_id=leg.id, gateway_network_id=of.id)


def _change_addresses(tx: Tx, row: Any, of: Any, asked: Sequence[dict[str, str]]) -> None:
    networks.lock(tx, of.id)
    leg = ports.find(tx, row.gateway_port_id)
    if fixed_ips.replace(tx, of, leg, asked, leg.mac_address, OWNER):
        records.bump(tx, port, leg.id)


def _check_overlap(tx: Tx, row: Any, of: Any) -> None:
    import ipaddress

    from nubelet.network import addresses, subnets

    outside = [ipaddress.ip_network(each.cidr) for each in subnets.of_network(tx, of.id)]
    for inside in routers.leg_subnets(tx, row.id):
        clash = addresses.overlapping(outside, ipaddress.ip_network(inside.cidr))
        if clash is not None:
            raise refusals.bad_request(
                "router",
                f"Cidr {inside.cidr} of subnet {inside.id} "
                f"overlaps with cidr {clash} of network {of.id}",
            )


def _unconnected(tx: Tx, row: Any, of: Any) -> list[str]:
    """The router's host, when it is not connected to the physical network outside."""
    from nubelet.network import hosts

    if not row.host or of.physical_network is None:
        return []
    able = hosts.candidates(tx, hosts.L3, physical_network=of.physical_network)
    return [] if row.host in able or not able else [row.host]
