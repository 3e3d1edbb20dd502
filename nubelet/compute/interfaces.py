"""Interfaces of servers: the network cards as the API shows, attaches and detaches them.

The port of a new interface is made or adopted here, in the request's transaction, so that the
answer shows it; `operations/interfaces.py` plugs it in.

In OpenStack: nova/api/openstack/compute/attach_interfaces.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from nubelet import network
from nubelet.compute import guests, server_actions, server_networks, states
from nubelet.compute.model import server_nic
from nubelet.compute.operations import ATTACH_INTERFACE, DETACH_INTERFACE
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import ApiError, BadRequest, Conflict, NotFound
from nubelet.kernel.operations import journal


class Interface(NamedTuple):
    """A card and its port."""

    card: Any
    port: network.PortView


def all_of(tx: Tx, server_id: str) -> list[Interface]:
    """The interfaces of a server, in their order."""
    cards = [card for card in guests.nics_of(tx, server_id) if card.port_id]
    ports = network.ports_by_id(tx, [card.port_id for card in cards])
    return [Interface(card, ports[card.port_id]) for card in cards if card.port_id in ports]


def find(tx: Tx, server_id: str, port_id: str) -> Interface:
    """One interface; raises NotFound."""
    for interface in all_of(tx, server_id):
        if interface.card.port_id == port_id:
            return interface
    raise NotFound(message=f"Port {port_id} could not be found on instance {server_id}.")


def attach(ctx: Context, tx: Tx, row: Any, given: Mapping[str, Any]) -> Interface:
    """Make or adopt the port and start plugging it in."""
    states.require("attach_interface", row)
    server_actions.require_host_up(ctx, tx, row)
    try:
        requested = _requested(ctx, tx, given)
        port_id = _take_port(ctx, tx, row, requested)
    except Conflict as error:
        raise BadRequest(error.message) from None
    if requested.tag and any(card.tag == requested.tag for card in guests.nics_of(tx, row.id)):
        raise BadRequest(
            f"Device tags must be unique; instance {row.id} has '{requested.tag}' already."
        )
    tx.insert(server_nic, **{**requested.row(row.id), "port_id": port_id})
    journal.start(
        tx,
        ATTACH_INTERFACE,
        project_id=row.project_id,
        subject_type="server",
        subject_id=row.id,
        ctx=ctx,
        inputs={"port_id": port_id, "host": row.host, "mac": _mac(tx, port_id)},
    )
    return find(tx, row.id, port_id)


def _mac(tx: Tx, port_id: str) -> str:
    return network.nic_spec(tx, port_id).mac


def _requested(ctx: Context, tx: Tx, given: Mapping[str, Any]) -> server_networks.RequestedNic:
    """What is to be attached: a port, an address on a network, a network, or anything."""
    network_id, port_id = given.get("net_id"), given.get("port_id")
    fixed_ips = given.get("fixed_ips") or []
    if network_id and port_id:
        raise BadRequest("Must not input both network_id and port_id")
    if fixed_ips and not network_id:
        raise BadRequest("Must input network_id when request IP address")
    tag = given.get("tag")
    if not network_id and not port_id:
        found = server_networks.resolve(ctx, tx, "auto", 1)
        return found[0]._replace(tag=tag)
    _require_known(ctx, tx, network_id, port_id)
    return server_networks.resolve_one(
        ctx,
        tx,
        {
            "uuid": network_id,
            "port": port_id,
            "tag": tag,
            "fixed_ip": fixed_ips[0]["ip_address"] if fixed_ips else None,
        },
    )


def _require_known(ctx: Context, tx: Tx, network_id: str | None, port_id: str | None) -> None:
    """Here, other than at a creation, what is not there is a 404."""
    within = ctx.within("network")
    if port_id:
        network.find_port(within, tx, port_id)
    elif network_id:
        network.find_network(within, tx, network_id)


def _take_port(ctx: Context, tx: Tx, row: Any, requested: server_networks.RequestedNic) -> str:
    """The port of the new interface, now the server's and bound to its host."""
    within = ctx.within("network")
    fields: dict[str, Any] = {
        "device_id": row.id,
        "host": row.host,
        "device_owner": f"compute:{row.availability_zone}",
    }
    try:
        if requested.port_id:
            network.update_port(within, tx, requested.port_id, **fields)
            return requested.port_id
        fields |= {"network_id": requested.network_id, "project_id": row.project_id}
        if requested.fixed_ip:
            fields["fixed_ips"] = [{"ip_address": requested.fixed_ip}]
        return str(network.create_port(within, tx, **fields).id)
    except ApiError as error:
        if error.status == 409 and "quota" in error.message.lower():
            error.status = 403
        raise


def detach(ctx: Context, tx: Tx, row: Any, port_id: str) -> None:
    """Start unplugging an interface."""
    interface = find(tx, row.id, port_id)
    states.require("detach_interface", row)
    journal.start(
        tx,
        DETACH_INTERFACE,
        project_id=row.project_id,
        subject_type="server",
        subject_id=row.id,
        ctx=ctx,
        inputs={"port_id": port_id, "host": row.host, "mac": interface.port.mac},
    )
