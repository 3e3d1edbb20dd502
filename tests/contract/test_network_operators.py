"""What operators ask: agents and their work, quotas, extensions, address counts, versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.network_world import NetworkWorld

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NetworkWorld]:
    made = NetworkWorld(tmp_path)
    yield made
    made.close()


def agent(world: NetworkWorld, kind: str, host: str) -> dict[str, Any]:
    return world.list("agent", f"?agent_type={kind}&host={host}", "admin")[0]


def test_every_host_has_its_agents(world: NetworkWorld) -> None:
    found = world.list("agent", caller="admin")
    assert len(found) == 8
    assert {each["agent_type"] for each in found} == {
        "DHCP agent",
        "L3 agent",
        "Linux bridge agent",
        "Metadata agent",
    }
    one = found[0]
    assert world.show("agent", one["id"], "admin") == one
    assert one["alive"] is True
    assert one["configurations"] is not None
    assert len(world.list("agent", "?agent_type=DHCP Agent", "admin")) == 2
    assert len(world.list("agent", "?alive=false", "admin")) == 0
    assert len(world.list("agent", "?binary=neutron-l3-agent&host=host2", "admin")) == 1
    assert world.list("agent") == []
    world.refused(404, "AgentNotFound", "GET", f"/agents/{one['id']}")
    world.refused(404, "AgentNotFound", "GET", f"/agents/{NOBODY}", "admin")
    world.refused(409, "AgentInUse", "DELETE", f"/agents/{one['id']}", "admin")


def test_an_agent_that_is_switched_off_gets_no_work(world: NetworkWorld) -> None:
    one = agent(world, "DHCP agent", "host1")
    changed = world.update("agent", one["id"], "admin", admin_state_up=False, description="d")
    assert (changed["admin_state_up"], changed["description"]) == (False, "d")
    for _ in range(3):
        world.subnet()
    two = agent(world, "DHCP agent", "host2")
    assert two["configurations"] == {"networks": 3}
    assert world.ok("GET", "/availability_zones")["availability_zones"] == [
        {"name": "nova", "resource": "network", "state": "available"},
        {"name": "nova", "resource": "router", "state": "available"},
    ]
    assert (
        world.ok("GET", "/availability_zones?resource=router&fields=name")["availability_zones"][0][
            "name"
        ]
        == "nova"
    )
    world.refused(400, "HTTPBadRequest", "GET", "/availability_zones?colour=blue")


def test_work_is_spread(world: NetworkWorld) -> None:
    for _ in range(4):
        world.subnet()
    loads = [
        agent(world, "DHCP agent", host)["configurations"]["networks"]
        for host in ("host1", "host2")
    ]
    assert loads == [2, 2]


def test_a_network_is_moved_between_dhcp_agents(world: NetworkWorld) -> None:
    network = world.subnet()["network_id"]
    one = world.ok("GET", f"/networks/{network}/dhcp-agents", "admin")["agents"][0]
    other = agent(world, "DHCP agent", "host2" if one["host"] == "host1" else "host1")
    place = f"/agents/{other['id']}/dhcp-networks"
    assert world.call("POST", place, "admin", json={"network_id": network}).status_code == 201
    world.refused(
        409, "NetworkHostedByDHCPAgent", "POST", place, "admin", json={"network_id": network}
    )
    assert len(world.list("port", "?device_owner=network:dhcp")) == 2
    world.ok("DELETE", f"/agents/{one['id']}/dhcp-networks/{network}", "admin")
    world.refused(
        409,
        "NetworkNotHostedByDhcpAgent",
        "DELETE",
        f"/agents/{one['id']}/dhcp-networks/{network}",
        "admin",
    )
    assert [each["id"] for each in world.ok("GET", place, "admin")["networks"]] == [network]
    world.realize()
    assert world.on(other["host"]).dhcp_servers == (network,)
    assert world.on(one["host"]).networks == ()
    world.ok("DELETE", f"{place}/{network}", "admin")
    world.realize()
    assert world.ok("GET", f"/networks/{network}/dhcp-agents", "admin")["agents"] == []
    world.refused(403, "PolicyNotAuthorized", "GET", place)
    world.refused(404, "NetworkNotFound", "POST", place, "admin", json={"network_id": NOBODY})
    world.refused(400, "HTTPBadRequest", "POST", place, "admin", json={})
    router_agent = agent(world, "L3 agent", "host1")
    world.refused(
        409, "InvalidDHCPAgent", "GET", f"/agents/{router_agent['id']}/dhcp-networks", "admin"
    )


def test_a_router_is_moved_between_l3_agents(world: NetworkWorld) -> None:
    router = world.routed()["router"]["id"]
    world.realize()
    one = world.ok("GET", f"/routers/{router}/l3-agents", "admin")["agents"][0]
    other = agent(world, "L3 agent", "host2" if one["host"] == "host1" else "host1")
    place = f"/agents/{other['id']}/l3-routers"
    world.refused(409, "RouterHostedByL3Agent", "POST", place, "admin", json={"router_id": router})
    world.ok("DELETE", f"/agents/{one['id']}/l3-routers/{router}", "admin")
    world.realize()
    assert world.on(one["host"]).routers == ()
    assert world.call("POST", place, "admin", json={"router_id": router}).status_code == 201
    world.realize()
    assert world.on(other["host"]).routers == (router,)
    assert [each["id"] for each in world.ok("GET", place, "admin")["routers"]] == [router]
    world.refused(
        409,
        "RouterNotHostedByL3Agent",
        "DELETE",
        f"/agents/{one['id']}/l3-routers/{router}",
        "admin",
    )


# --- Quotas ----------------------------------------------------------------------------------


def test_quotas(world: NetworkWorld) -> None:
    project = world.project()
    names = {
        "network",
        "subnet",
        "subnetpool",
        "port",
        "router",
        "floatingip",
        "security_group",
        "security_group_rule",
        "rbac_policy",
    }
    assert set(world.ok("GET", f"/quotas/{project}")["quota"]) == names
    changed = world.ok(
        "PUT", f"/quotas/{project}", "admin", json={"quota": {"network": "5", "port": -1}}
    )["quota"]
    assert (changed["network"], changed["port"], changed["router"]) == (5, -1, 10)
    assert world.ok("GET", "/quotas", "admin")["quotas"] == [
        {**changed, "project_id": project, "tenant_id": project}
    ]
    assert world.ok("GET", f"/quotas/{project}/default")["quota"]["network"] == 100
    world.create("network")
    details = world.ok("GET", f"/quotas/{project}/details.json")["quota"]
    assert details["network"] == {"limit": 5, "used": 1, "reserved": 0}
    assert world.ok("GET", "/quotas/tenant")["tenant"]["tenant_id"] == project
    world.refused(
        409,
        "InvalidQuotaValue",
        "PUT",
        f"/quotas/{project}",
        "admin",
        json={"quota": {"network": 0, "check_limit": True}},
    )
    for body in ({"network": -2}, {"network": "many"}, {"colour": 1}, {"network": None}):
        world.refused(
            400, "HTTPBadRequest", "PUT", f"/quotas/{project}", "admin", json={"quota": body}
        )
    world.refused(
        403, "PolicyNotAuthorized", "PUT", f"/quotas/{project}", json={"quota": {"network": 5}}
    )
    world.refused(403, "PolicyNotAuthorized", "GET", f"/quotas/{project}", "stranger")
    world.refused(403, "PolicyNotAuthorized", "GET", "/quotas")
    world.ok("DELETE", f"/quotas/{project}", "admin")
    assert world.ok("GET", f"/quotas/{project}")["quota"]["network"] == 100
    world.refused(404, "TenantQuotaNotFound", "DELETE", f"/quotas/{project}", "admin")


def test_the_settings_say_what_holds_when_nothing_is_said(tmp_path: Path) -> None:
    world = NetworkWorld(tmp_path, options={"network.quotas": {"network": 1}})
    try:
        world.create("network")
        world.cannot_create(409, "OverQuota", "network")
    finally:
        world.close()


# --- The rest --------------------------------------------------------------------------------


def test_extensions_are_told(world: NetworkWorld) -> None:
    found = world.ok("GET", "/extensions")["extensions"]
    aliases = [each["alias"] for each in found]
    assert len(set(aliases)) == len(aliases) > 40
    for each in found:
        assert set(each) == {"alias", "name", "description", "updated", "links"}
        assert world.ok("GET", f"/extensions/{each['alias']}")["extension"] == each
    assert not {"metering", "dvr", "l3-ha", "qos", "trunk", "vlan-transparent"} & set(aliases)
    world.refused(404, "ExtensionNotFound", "GET", "/extensions/dvr")


def test_what_is_not_built_does_not_exist(world: NetworkWorld) -> None:
    for path in (
        "/trunks",
        "/metering/metering-labels",
        "/qos/policies",
        "/segments",
        "/flavors",
        "/auto-allocated-topology/x",
        "/floatingips/x/port_forwardings",
    ):
        assert world.call("GET", path, "admin").status_code == 404, path


def test_versions(world: NetworkWorld) -> None:
    found = world.tested.client(None).get("/network/")
    assert [each["id"] for each in found.json()["versions"]] == ["v2.0"]
    resources = {each["name"] for each in world.ok("GET", "", None)["resources"]}
    assert {"network", "subnet", "port", "router", "floatingip"} <= resources


def test_service_providers(world: NetworkWorld) -> None:
    assert (
        world.ok("GET", "/service-providers")["service_providers"][0]["service_type"]
        == "L3_ROUTER_NAT"
    )


def test_addresses_are_counted(world: NetworkWorld) -> None:
    inside = world.subnet("10.0.0.0/29")
    world.subnet("fd00::/64", network=inside["network_id"])
    world.create("port", network_id=inside["network_id"])
    path = f"/network-ip-availabilities/{inside['network_id']}"
    found = world.ok("GET", path, "admin")["network_ip_availability"]
    four, six = found["subnet_ip_availability"]
    assert (four["total_ips"], four["used_ips"]) == (5, 2)
    assert (six["total_ips"], six["used_ips"]) == (2**64 - 2, 2)
    assert found["total_ips"] == 2**64 + 3
    assert found["used_ips"] == 4
    only = world.ok("GET", "/network-ip-availabilities?ip_version=4", "admin")
    assert only["network_ip_availabilities"][0]["total_ips"] == 5
    world.refused(403, "PolicyNotAuthorized", "GET", path)
    world.refused(404, "NetworkNotFound", "GET", f"/network-ip-availabilities/{NOBODY}", "admin")
