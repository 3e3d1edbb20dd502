"""Which networks a new server is put on: the `networks` of a creation, checked and made definite.

    "none"                      no cards
    "auto", or absent (< 2.37)  the one network that the project can use
    [{uuid|port, fixed_ip, tag}, ...]

The result is rows for `server_nic`; ports are made or adopted by the operation.

In OpenStack: nova/network/neutron.py validate_networks, nova/objects/network_request.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import sqlalchemy as sa

from nubelet import network
from nubelet.compute.model import server_nic
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import ApiError, BadRequest, Conflict, Forbidden, NotFound
from nubelet.kernel.ids import is_uuid

EXTERNAL_RULE = "network:attach_external_network"


class RequestedNic(NamedTuple):
    """One network card of a server to be."""

    network_id: str
    port_id: str | None = None
    fixed_ip: str | None = None
    tag: str | None = None

    def row(self, server_id: str) -> dict[str, Any]:
        """The row of `server_nic`. A given port stays its owner's."""
        return {
            "server_id": server_id,
            "network_id": self.network_id,
            "port_id": self.port_id,
            "requested_port_id": self.port_id,
            "fixed_ip": self.fixed_ip,
            "tag": self.tag,
            "is_own": self.port_id is None,
        }


def resolve(ctx: Context, tx: Tx, requested: Any, count: int) -> list[RequestedNic]:
    """The cards of each of `count` servers; raises BadRequest, Conflict or Forbidden."""
    if requested == "none":
        return []
    if requested is None or requested == "auto":
        return _automatic(ctx, tx, allocate=requested == "auto")
    if not requested:
        return _automatic(ctx, tx, allocate=False)
    ctx.authorize("os_compute_api:servers:create:attach_network")
    cards = [resolve_one(ctx, tx, each) for each in requested]
    _check_together(cards, count)
    return cards


def _automatic(ctx: Context, tx: Tx, *, allocate: bool) -> list[RequestedNic]:
    found = network.available_networks(ctx.within("network"), tx)
    if len(found) > 1:
        raise Conflict("Multiple possible networks found, use a Network ID to be more specific.")
    if found:
        return [RequestedNic(found[0].id)]
    if allocate:
        raise BadRequest(
            "Unable to automatically allocate a network for project "
            f"{ctx.project_id}: it has no network, and this cloud makes none by "
            "itself."
        )
    return []


def resolve_one(ctx: Context, tx: Tx, given: Mapping[str, Any]) -> RequestedNic:
    """One item of `networks`, or the body of an interface to be attached."""
    port_id = given.get("port")
    if port_id:
        return _existing_port(ctx, tx, port_id, given)
    network_id = given.get("uuid") or ""
    if not is_uuid(network_id):
        raise BadRequest(
            f"Bad networks format: network uuid is not in proper format ({network_id})"
        )
    require_usable(ctx, tx, network_id)
    return RequestedNic(network_id, fixed_ip=given.get("fixed_ip"), tag=given.get("tag"))


def require_usable(ctx: Context, tx: Tx, network_id: str) -> None:
    """Raise unless the caller may attach a server to the network."""
    try:
        found = network.find_network(ctx.within("network"), tx, network_id)
    except NotFound:
        raise BadRequest(f"Network {network_id} could not be found.") from None
    _check_external(ctx, found)
    if not found.subnet_ids:
        raise BadRequest(f"Network {network_id} requires a subnet in order to boot instances on.")


def _check_external(ctx: Context, found: network.NetworkView) -> None:
    """Raise unless the caller may have servers on the network, be it by a port made before."""
    if found.external and not found.shared and not ctx.allows(EXTERNAL_RULE):
        raise Forbidden(
            f"It is not allowed to create an interface on external network {found.id}",
            code=EXTERNAL_RULE,
        )


def _existing_port(ctx: Context, tx: Tx, port_id: str, given: Mapping[str, Any]) -> RequestedNic:
    if given.get("fixed_ip"):
        raise BadRequest(
            f"Specified fixed IP '{given['fixed_ip']}' cannot be used with port "
            f"'{port_id}': the two cannot be specified together."
        )
    try:
        found = network.find_port(ctx.within("network"), tx, port_id)
    except NotFound:
        raise _no_port(port_id) from None
    # A network's owner sees the ports of others on it, but they are not his to use.
    if found.project_id != ctx.project_id and not ctx.is_admin:
        raise _no_port(port_id)
    with suppress(NotFound):  # a port may have been given to the project without its network
        _check_external(ctx, network.find_network(ctx.within("network"), tx, found.network_id))
    taken = tx.scalar(sa.select(server_nic.c.server_id).where(server_nic.c.port_id == port_id))
    if found.device_id or taken:
        raise Conflict(f"Port {port_id} is still in use.")
    return RequestedNic(found.network_id, port_id=port_id, tag=given.get("tag"))


def _no_port(port_id: str) -> BadRequest:
    return BadRequest(f"Port id {port_id} could not be found.")


def _check_together(cards: Sequence[RequestedNic], count: int) -> None:
    ports = [card.port_id for card in cards if card.port_id]
    if len(set(ports)) != len(ports):
        raise BadRequest("The same port is named twice.")
    if count > 1 and ports:
        raise BadRequest(
            "Failed to launch multiple instances with a single configured port ID. "
            "Please launch your instance one by one with different ports."
        )
    addresses = [(card.network_id, card.fixed_ip) for card in cards if card.fixed_ip]
    if count > 1 and addresses:
        raise BadRequest(
            "Failed to launch multiple instances with a fixed IP address: "
            f"{addresses[0][1]} can belong to one of them only."
        )
    if len(set(addresses)) != len(addresses):
        raise BadRequest("The same fixed IP address is named twice.")
    tags = [card.tag for card in cards if card.tag]
    if len(set(tags)) != len(tags):
        raise BadRequest(
            "Device tags must be unique; "
            f"'{next(tag for tag in tags if tags.count(tag) > 1)}' is there twice."
        )


def security_group_ids(ctx: Context, tx: Tx, names: Sequence[str]) -> list[str]:
    """The ids of security groups given by name or id; raises BadRequest naming the one that is
    not there or stands for several."""
    try:
        return network.security_group_ids(ctx.within("network"), tx, names)
    except NotFound as error:
        raise BadRequest(error.message) from None


def as_bad_request(error: ApiError) -> ApiError:
    """How compute's API tells what network refused about a port."""
    return BadRequest(error.message) if error.status == 404 else error
