"""Floating IPs for clients that know only compute: the network service's, in compute's words.

A pool is an external network. Leading an address to a server means to one of its fixed addresses:
the one that is named, or its first.

In OpenStack: nova/network/neutron.py, nova/api/openstack/compute/floating_ips.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nubelet import network
from nubelet.compute import server_ports
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import ApiError, BadRequest, Conflict, NotFound, QuotaExceeded
from nubelet.kernel.ids import is_uuid

View = dict[str, Any]
_PLURAL = "floatingips"


def pools(ctx: Context, tx: Tx) -> list[View]:
    """The external networks that the caller may see."""
    return network.list_resources(ctx.within("network"), tx, "networks", external=True)


def floating_ips(ctx: Context, tx: Tx) -> list[View]:
    """The floating IPs of the caller's project."""
    return _views(
        ctx,
        tx,
        network.list_resources(ctx.within("network"), tx, _PLURAL, project_id=ctx.project_id or ""),
    )


def floating_ip(ctx: Context, tx: Tx, floating_ip_id: str) -> View:
    """One floating IP; raises NotFound."""
    return _views(ctx, tx, [_find(ctx, tx, floating_ip_id)])[0]


def _find(ctx: Context, tx: Tx, floating_ip_id: str) -> View:
    try:
        return network.show_resource(ctx.within("network"), tx, _PLURAL, floating_ip_id)
    except NotFound:
        raise NotFound(message=f"Floating IP not found for ID {floating_ip_id}") from None


def _views(ctx: Context, tx: Tx, found: Sequence[View]) -> list[View]:
    ids = {each["floating_network_id"] for each in found}
    names = (
        {
            each["id"]: each["name"]
            for each in network.list_resources(ctx.within("network"), tx, "networks", id=ids)
        }
        if ids
        else {}
    )
    return [
        {
            "id": each["id"],
            "ip": each["floating_ip_address"],
            "fixed_ip": each["fixed_ip_address"],
            "pool": names.get(each["floating_network_id"]) or each["floating_network_id"],
            "instance_id": (each["port_details"] or {}).get("device_id") or None,
        }
        for each in found
    ]


def create(ctx: Context, tx: Tx, pool: str | None) -> View:
    """Take an address of a pool (by name or id; None: of the only one).

    Raises NotFound for an unknown or exhausted pool, Conflict for a name of several.
    """
    network_id = _pool_id(ctx, tx, pool)
    try:
        made = network.create_resource(
            ctx.within("network"), tx, _PLURAL, {"floating_network_id": network_id}
        )
    except QuotaExceeded:
        raise
    except Conflict as error:
        raise NotFound(message=f"No more floating IPs in pool {pool}: {error.message}") from None
    return _views(ctx, tx, [made])[0]


def _pool_id(ctx: Context, tx: Tx, pool: str | None) -> str:
    present = pools(ctx, tx)
    key = "id" if pool is not None and is_uuid(pool) else "name"
    found = [each["id"] for each in present if pool is None or each[key] == pool]
    if not found:
        raise NotFound(
            message="Floating IP pool not found."
            if pool is None
            else f"Floating IP pool {pool} not found."
        )
    if len(found) > 1:
        raise Conflict(
            "Multiple floating IP pools matches found"
            + (f" for name '{pool}'." if pool is not None else "; name one of them.")
        )
    return str(found[0])


def delete(ctx: Context, tx: Tx, floating_ip_id: str) -> None:
    """Give an address back; raises NotFound."""
    _find(ctx, tx, floating_ip_id)
    network.delete_resource(ctx.within("network"), tx, _PLURAL, floating_ip_id)


# --- Servers -------------------------------------------------------------------------------------


def _by_address(ctx: Context, tx: Tx, address: str) -> View:
    found = network.list_resources(ctx.within("network"), tx, _PLURAL, floating_ip_address=address)
    if not found:
        raise NotFound(message=f"floating IP {address} not found")
    return found[0]


def add(ctx: Context, tx: Tx, row: Any, address: str, fixed: str | None) -> None:
    """Lead a floating IP to a server, wherever it led before."""
    floating = _by_address(ctx, tx, address)
    port_id, fixed = _fixed_address(tx, row.id, fixed)
    try:
        network.update_resource(
            ctx.within("network"),
            tx,
            _PLURAL,
            floating["id"],
            {"port_id": port_id, "fixed_ip_address": fixed},
        )
    except ApiError as error:
        if error.status not in (404, 409):
            raise
        raise BadRequest(
            f"Unable to associate floating IP {address} to fixed IP {fixed} for "
            f"instance {row.id}. Error: {error.message}"
        ) from None


def _fixed_address(tx: Tx, server_id: str, wanted: str | None) -> tuple[str, str]:
    """The port and the IPv4 address to lead to."""
    found = [
        (port.id, each.ip)
        for port in server_ports.ports_of(tx, [server_id])[server_id]
        for each in port.addresses
        if each.version == 4 and not each.is_floating
    ]
    if not found:
        raise BadRequest("No fixed IPs associated to instance")
    for port_id, ip in found:
        if wanted in (None, ip):
            return port_id, ip
    raise BadRequest("Specified fixed address not assigned to instance")


def remove(ctx: Context, tx: Tx, row: Any, address: str) -> None:
    """Lead a floating IP to nowhere; raises Conflict when it does not lead to the server."""
    floating = _by_address(ctx, tx, address)
    if (floating["port_details"] or {}).get("device_id") != row.id:
        raise Conflict(f"Floating IP {address} is not associated with instance {row.id}.")
    network.update_resource(ctx.within("network"), tx, _PLURAL, floating["id"], {"port_id": None})
