"""/agents, what they host, and /availability_zones.

API reference: https://docs.openstack.org/api-ref/network/v2/#networking-agents
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.database import Tx
from nubelet.kernel.http.fields import Condition, Field, Resource, read_bool
from nubelet.kernel.http.messages import Request
from nubelet.kernel.http.routes import Route
from nubelet.network import dhcp, hosts, presence, refusals, routers
from nubelet.network.api import networks as network_api
from nubelet.network.api import routers as router_api
from nubelet.network.api.attributes import FLAG, TEXT, UUID, flag, shown
from nubelet.network.api.noun import Noun, Values, View, authorize_list
from nubelet.network.model import agent, dhcp_service, host, network, router


def _lower(name: str) -> Any:
    """Names of kinds are compared without regard to case, as clients write them both ways."""

    def condition(values: list[str], ctx: Context) -> Condition:
        return sa.func.lower(agent.c[name]).in_([value.lower() for value in values])

    return condition


def _alive(values: list[str], ctx: Context) -> Condition:
    living = agent.c.host.in_(sa.select(host.c.name).where(hosts.alive()))
    return sa.or_(*(living if read_bool("alive", value) else ~living for value in values))


def _text(name: str, **more: Any) -> Field:
    return shown(name, {"type": ["string", "null"]}, sort=True, **{"filter": "exact", **more})


AGENTS = Resource(
    "agent",
    "agents",
    agent,
    (
        shown("id", UUID, filter="exact", sort=True),
        _text("agent_type", filter=_lower("agent_type")),
        _text("binary"),
        _text("topic"),
        _text("host"),
        _text("availability_zone"),
        flag("admin_state_up", default=True),
        Field(
            name="description",
            schema={**TEXT, "type": ["string", "null"]},
            update=True,
            filter="exact",
            sort=True,
        ),
        shown("alive", FLAG, filter=_alive),
        shown("configurations", {"type": "object"}),
        shown("resources_synced", {"type": ["boolean", "null"]}),
        shown("created_at", TEXT),
        shown("started_at", TEXT),
        shown("heartbeat_timestamp", TEXT),
    ),
)


class Agents(Noun):
    """Agents."""

    resource, kind, rule, path = AGENTS, "Agent", "agent", "/agents"
    verbs = frozenset({"list", "show", "update", "delete"})
    default_sort = (("host", "asc"), ("id", "asc"))

    def visible(self, ctx: Context) -> sa.ColumnElement[bool] | None:
        """Operators see all, others none."""
        return None if ctx.allows("get_agent") else sa.false()

    def targets(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[Values]:
        """They are nobody's."""
        return [{} for _ in rows]

    def present(self, ctx: Context, tx: Tx, rows: Sequence[Any]) -> list[View]:
        """Agents as answered."""
        found = {row.name: row for row in tx.all(sa.select(host))}
        loads = {hosts.DHCP: _loads(tx, dhcp_service), hosts.L3: _loads(tx, router)}
        return [_view(row, found[row.host], loads) for row in rows]

    def update(self, ctx: Context, tx: Tx, row: Any, changes: Values) -> None:
        """PUT."""
        values = {
            name: changes[name] for name in ("admin_state_up", "description") if name in changes
        }
        if "description" in values:
            values["description"] = values["description"] or ""
        if values:
            tx.update(agent, agent.c.id == row.id, **values)
        presence.ring(tx)

    def delete(self, ctx: Context, tx: Tx, row: Any) -> None:
        """DELETE: forgotten until its node is heard of again."""
        living = tx.scalar(sa.select(host.c.name).where(host.c.name == row.host, hosts.alive()))
        if living:
            raise refusals.conflict(
                "AgentInUse", f"Agent {row.id} is alive on host {row.host}: stop its node first."
            )
        tx.delete(agent, agent.c.id == row.id)
        tx.update(host, host.c.name == row.host, lost=True)


def _loads(tx: Tx, table: sa.Table) -> Mapping[str, int]:
    return {
        row.host: row.total
        for row in tx.all(
            sa.select(table.c.host, sa.func.count().label("total")).group_by(table.c.host)
        )
    }


def _view(row: Any, of: Any, loads: Mapping[str, Mapping[str, int]]) -> View:
    return {
        "id": row.id,
        "agent_type": row.agent_type,
        "binary": row.binary,
        "topic": row.topic,
        "host": row.host,
        "availability_zone": row.availability_zone,
        "admin_state_up": row.admin_state_up,
        "description": row.description or None,
        "alive": hosts.is_alive(of),
        "resources_synced": None,
        "created_at": _time(row.created_at),
        "started_at": _time(of.started_at),
        "heartbeat_timestamp": _time(of.seen_at),
        "configurations": _configuration(row, of, loads),
    }


def _time(micros: int) -> str:
    return (clock.iso_seconds(micros) or "").replace("T", " ").rstrip("Z")


def _configuration(row: Any, of: Any, loads: Mapping[str, Mapping[str, int]]) -> View:
    if row.agent_type == hosts.DHCP:
        return {"networks": loads[hosts.DHCP].get(row.host, 0)}
    if row.agent_type == hosts.L3:
        return {"agent_mode": "legacy", "routers": loads[hosts.L3].get(row.host, 0)}
    if row.agent_type.startswith("Metadata"):
        return {}
    return {
        "switching": of.switching,
        "tunneling_ip": of.tunnel_ip,
        "tunnel_types": ["vxlan"],
        "physical_networks": of.physical_networks,
    }


NOUN = Agents()


# --- What they host --------------------------------------------------------------------------


def _agent_of(ctx: Context, tx: Tx, request: Request, kind: str, error: str) -> Any:
    row, _target = NOUN.find(ctx, tx, request.params["agent_id"])
    if row.agent_type != kind:
        raise refusals.conflict(error, f"Agent {row.id} is not a {kind}.")
    return row


def list_dhcp_networks(ctx: Context, request: Request) -> View:
    """The networks a node serves with DHCP."""
    with ctx.cloud.database.read() as tx:
        row = _agent_of(ctx, tx, request, hosts.DHCP, "InvalidDHCPAgent")
        served = sa.select(dhcp_service.c.network_id).where(dhcp_service.c.host == row.host)
        return network_api.NOUN.page(ctx, tx, request, network.c.id.in_(served))


def add_dhcp_network(ctx: Context, request: Request) -> View:
    """Let a node serve a network."""
    network_id = _named(request, "network_id")
    with NOUN.writing(ctx) as tx:
        row = _agent_of(ctx, tx, request, hosts.DHCP, "InvalidDHCPAgent")
        of, _target = network_api.NOUN.find(ctx, tx, network_id)
        if any(each.host == row.host for each in dhcp.services_of(tx, of.id)):
            raise refusals.conflict(
                "NetworkHostedByDHCPAgent",
                f"The network {of.id} has been already hosted by the DHCP Agent {row.id}.",
            )
        dhcp.add(ctx, tx, of, row.host)
    return {}


def remove_dhcp_network(ctx: Context, request: Request) -> None:
    """Let a node no longer serve a network."""
    with NOUN.writing(ctx) as tx:
        row = _agent_of(ctx, tx, request, hosts.DHCP, "InvalidDHCPAgent")
        of, _target = network_api.NOUN.find(ctx, tx, request.params["network_id"])
        if not dhcp.remove(ctx, tx, of.id, row.host):
            raise refusals.conflict(
                "NetworkNotHostedByDhcpAgent",
                f"The network {of.id} is not hosted by the DHCP agent {row.id}.",
            )
        if not dhcp.services_of(tx, of.id):
            tx.update(network, network.c.id == of.id, unscheduled=True)


def list_dhcp_agents(ctx: Context, request: Request) -> View:
    """The nodes that serve a network with DHCP."""
    with ctx.cloud.database.read() as tx:
        of, _target = network_api.NOUN.find(ctx, tx, request.params["network_id"])
        serving = sa.select(dhcp_service.c.host).where(dhcp_service.c.network_id == of.id)
        return NOUN.page(
            ctx, tx, request, agent.c.host.in_(serving), agent.c.agent_type == hosts.DHCP
        )


def list_l3_routers(ctx: Context, request: Request) -> View:
    """The routers on a node."""
    with ctx.cloud.database.read() as tx:
        row = _agent_of(ctx, tx, request, hosts.L3, "InvalidL3Agent")
        return router_api.NOUN.page(ctx, tx, request, router.c.host == row.host)


def add_l3_router(ctx: Context, request: Request) -> View:
    """Put a router on a node."""
    router_id = _named(request, "router_id")
    with NOUN.writing(ctx) as tx:
        row = _agent_of(ctx, tx, request, hosts.L3, "InvalidL3Agent")
        found, _target = router_api.NOUN.find(ctx, tx, router_id)
        if found.host:
            raise refusals.conflict(
                "RouterHostedByL3Agent",
                f"The router {router_id} has been "
                f"already hosted by the L3 Agent on host {found.host}.",
            )
        routers.assign(tx, found, row.host)
    return {}


def remove_l3_router(ctx: Context, request: Request) -> None:
    """Take a router off a node."""
    with NOUN.writing(ctx) as tx:
        row = _agent_of(ctx, tx, request, hosts.L3, "InvalidL3Agent")
        found, _target = router_api.NOUN.find(ctx, tx, request.params["router_id"])
        if found.host != row.host:
            raise refusals.conflict(
                "RouterNotHostedByL3Agent",
                f"The router {found.id} is not hosted by L3 agent {row.id}.",
            )
        routers.assign(tx, found, "")
        tx.update(router, router.c.id == found.id, unscheduled=True)


def list_l3_agents(ctx: Context, request: Request) -> View:
    """The node a router is on."""
    with ctx.cloud.database.read() as tx:
        found, _target = router_api.NOUN.find(ctx, tx, request.params["router_id"])
        answer = NOUN.page(
            ctx, tx, request, agent.c.host == found.host, agent.c.agent_type == hosts.L3
        )
    for view in answer["agents"]:
        view["ha_state"] = None
    return answer


def _named(request: Request, name: str) -> str:
    value = request.body.get(name) if isinstance(request.body, dict) else None
    if not isinstance(value, str) or set(request.body) != {name}:
        raise refusals.malformed(f"The body must hold {name}")
    return value


# --- Zones -----------------------------------------------------------------------------------

_ZONES = {hosts.DHCP: "network", hosts.L3: "router"}


def list_zones(ctx: Context, request: Request) -> View:
    """Availability zones: where networks and routers may be asked to be."""
    authorize_list(ctx, "get_availability_zone")
    unknown = set(request.query) - {"name", "resource", "state", "fields"}
    if unknown:
        raise refusals.malformed(f"{sorted(unknown)} is invalid attribute for filtering")
    if not ctx.allows("get_availability_zone"):
        return {"availability_zones": []}
    with ctx.cloud.database.read() as tx:
        rows = tx.all(
            sa.select(
                agent.c.availability_zone,
                agent.c.agent_type,
                sa.func.max(sa.case((agent.c.admin_state_up, 1), else_=0)).label("up"),
            )
            .where(agent.c.availability_zone.is_not(None))
            .group_by(agent.c.availability_zone, agent.c.agent_type)
        )
    zones = [
        {
            "name": row.availability_zone,
            "resource": _ZONES[row.agent_type],
            "state": "available" if row.up else "unavailable",
        }
        for row in rows
    ]
    for name in ("name", "resource", "state"):
        if name in request.query:
            zones = [zone for zone in zones if zone[name] in request.query[name]]
    return {"availability_zones": zones}


def _route(method: str, path: str, rule: str, handler: Any, status: int = 200) -> Route:
    return Route(
        method=method,
        path=path,
        rule=rule,
        handler=handler,
        status=status,
        summary=(handler.__doc__ or "").split("\n")[0],
    )


ROUTES = (
    *NOUN.routes(),
    _route("GET", "/agents/{agent_id}/dhcp-networks", "get_dhcp-networks", list_dhcp_networks),
    _route(
        "POST", "/agents/{agent_id}/dhcp-networks", "create_dhcp-network", add_dhcp_network, 201
    ),
    _route(
        "DELETE",
        "/agents/{agent_id}/dhcp-networks/{network_id}",
        "delete_dhcp-network",
        remove_dhcp_network,
        204,
    ),
    _route("GET", "/networks/{network_id}/dhcp-agents", "get_dhcp-agents", list_dhcp_agents),
    _route("GET", "/agents/{agent_id}/l3-routers", "get_l3-routers", list_l3_routers),
    _route("POST", "/agents/{agent_id}/l3-routers", "create_l3-router", add_l3_router, 201),
    _route(
        "DELETE",
        "/agents/{agent_id}/l3-routers/{router_id}",
        "delete_l3-router",
        remove_l3_router,
        204,
    ),
    _route("GET", "/routers/{router_id}/l3-agents", "get_l3-agents", list_l3_agents),
    Route(
        method="GET",
        path="/availability_zones",
        rule="get_availability_zone",
        rule_needs_target=True,
        handler=list_zones,
        summary="List availability zones",
    ),
)
