"""169.254.169.254: who asks is known by address and network, never by what it says.

A node forwards a guest's request with the guest's address and the network (or router) it came
over; the port with that address there names the server. Nothing else in the request can make
the answer be about another server.

In OpenStack: nova/api/metadata/handler.py, and neutron's metadata agent.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet import network
from nubelet.compute.guestdata import documents, ec2
from nubelet.compute.guestdata.facts import Facts, gather
from nubelet.compute.guestdata.passwords import read_password, set_password
from nubelet.compute.model import server, server_nic
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Conflict
from nubelet.node.wire import MetadataRequest, MetadataResponse

_JSON = "application/json"


class _Missing(Exception):  # noqa: N818 - a state
    """There is nothing at the path."""


def metadata(cloud: Cloud, request: MetadataRequest) -> MetadataResponse:
    """Answer a guest's request."""
    if request.method not in ("GET", "HEAD", "POST"):
        return MetadataResponse(status=405, body=b"405 Method Not Allowed")
    parts = [part for part in request.path.split("?")[0].split("/") if part]
    try:
        if request.method == "POST":
            return _post(cloud, request, parts)
        with cloud.database.read() as tx:
            row = _server(tx, request)
            if row is None:
                return MetadataResponse(status=404, body=b"404 Not Found")
            response = _get(tx, row, parts)
    except _Missing:
        return MetadataResponse(status=404, body=b"404 Not Found")
    return (
        response
        if request.method == "GET"
        else MetadataResponse(status=response.status, content_type=response.content_type)
    )


def _server(tx: Tx, request: MetadataRequest) -> Any:
    """The server that asks, or None."""
    port = network.port_by_address(
        tx, request.source_ip, network_id=request.network_id, router_id=request.router_id
    )
    if port is None:
        return None
    # By its card: a port's device_id is what its owner wrote, and may name anybody's server.
    return tx.first(
        sa.select(server)
        .join(server_nic, server_nic.c.server_id == server.c.id)
        .where(server_nic.c.port_id == port.id, server.c.deleted_at.is_(None))
    )


def _get(tx: Tx, row: Any, parts: list[str]) -> MetadataResponse:
    if not parts:
        return _text("\n".join((*ec2.VERSIONS, ec2.LATEST)))
    if parts[0] == "openstack":
        return _openstack(tx, row, parts[1:])
    if parts[0] in (*ec2.VERSIONS, ec2.LATEST):
        return _ec2(gather(tx, row), parts[0], parts[1:])
    raise _Missing


def _openstack(tx: Tx, row: Any, parts: list[str]) -> MetadataResponse:
    if not parts:
        return _text("\n".join((*documents.VERSIONS, documents.LATEST)))
    if parts[0] == "content" and len(parts) == 2:
        content = documents.content(row, parts[1])
        if content is None:
            raise _Missing
        return MetadataResponse(status=200, body=content)
    if parts[0] not in (*documents.VERSIONS, documents.LATEST) or len(parts) > 2:
        raise _Missing
    found = documents.files(gather(tx, row), parts[0])
    if parts[0] >= documents.GRIZZLY:
        found["password"] = read_password(tx, row.id).encode()
    if len(parts) == 1:
        return _text("\n".join(sorted(found)))
    if parts[1] not in found:
        raise _Missing
    kind = _JSON if parts[1].endswith(".json") else "text/plain; charset=utf-8"
    return MetadataResponse(status=200, content_type=kind, body=found[parts[1]])


def _ec2(facts: Facts, version: str, parts: list[str]) -> MetadataResponse:
    if not parts:
        names = ["meta-data/"] + (["user-data"] if facts.user_data is not None else [])
        return _text("\n".join(names))
    if parts[0] == "user-data" and len(parts) == 1 and facts.user_data is not None:
        return MetadataResponse(
            status=200, content_type="application/octet-stream", body=facts.user_data
        )
    if parts[0] != "meta-data":
        raise _Missing
    place: Any = ec2.meta_data(facts, version)
    for part in parts[1:]:
        if not isinstance(place, dict) or part not in place or part == "_name":
            raise _Missing
        place = place[part]
    return _text(ec2.listing(place) if isinstance(place, dict) else str(place))


def _text(text: str) -> MetadataResponse:
    return MetadataResponse(status=200, body=text.encode())


def _post(cloud: Cloud, request: MetadataRequest, parts: list[str]) -> MetadataResponse:
    """A guest tells its password, encrypted with the user's public key, once."""
    if len(parts) != 3 or parts[0] != "openstack" or parts[2] != "password":
        raise _Missing
    with cloud.database.write() as tx:
        row = _server(tx, request)
        if row is None:
            raise _Missing
        try:
            set_password(tx, row.id, request.body)
        except Conflict as error:
            return MetadataResponse(status=error.status, body=error.message.encode())
    return MetadataResponse(status=200)
