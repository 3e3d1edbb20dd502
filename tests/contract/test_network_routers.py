"""Routers and floating IPs: legs, gateways, routes, translations."""

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


def add(world: NetworkWorld, router: str, **body: str) -> Any:
    return world.ok("PUT", f"/routers/{router}/add_router_interface", json=body)


def cannot_add(world: NetworkWorld, status: int, kind: str, router: str, **body: str) -> str:
    return world.refused(status, kind, "PUT", f"/routers/{router}/add_router_interface", json=body)


def remove(world: NetworkWorld, router: str, **body: str) -> Any:
    return world.ok("PUT", f"/routers/{router}/remove_router_interface", json=body)


def cannot_remove(world: NetworkWorld, status: int, kind: str, router: str, **body: str) -> str:
    return world.refused(
        status, kind, "PUT", f"/routers/{router}/remove_router_interface", json=body
    )


def test_a_new_router_is_complete(world: NetworkWorld) -> None:
    made = world.create("router", name="r", tags=["a"], description="d")
    assert world.show("router", made["id"]) == made
    assert made["status"] == "ACTIVE"
    assert made["external_gateway_info"] is None
    assert made["routes"] == []
    for values in ({"distributed": True}, {"routes": []}, {"colour": 1}):
        world.cannot_create(400, "HTTPBadRequest", "router", **values)


def test_a_leg_by_subnet(world: NetworkWorld) -> None:
    inside, router = world.subnet(), world.create("router")
    leg = add(world, router["id"], subnet_id=inside["id"])
    port = world.show("port", leg["port_id"])
    assert (leg["id"], leg["subnet_id"], leg["subnet_ids"], leg["network_id"]) == (
        router["id"],
        inside["id"],
        [inside["id"]],
        inside["network_id"],
    )
    assert (port["device_id"], port["device_owner"]) == (router["id"], "network:router_interface")
    assert port["fixed_ips"] == [{"subnet_id": inside["id"], "ip_address": "10.0.0.1"}]
    said = world.refused(409, "ServicePortInUse", "DELETE", f"/ports/{port['id']}")
    assert "network:router_interface" in said
    world.refused(409, "RouterInUse", "DELETE", f"/routers/{router['id']}")
    world.refused(409, "SubnetInUse", "DELETE", f"/subnets/{inside['id']}")
    world.refused(409, "NetworkInUse", "DELETE", f"/networks/{inside['network_id']}")
    assert remove(world, router["id"], subnet_id=inside["id"])["port_id"] == port["id"]
    world.refused(404, "PortNotFound", "GET", f"/ports/{port['id']}")
    world.delete("router", router["id"])


def test_a_leg_by_port(world: NetworkWorld) -> None:
    inside, router = world.subnet(), world.create("router")
    port = world.create("port", network_id=inside["network_id"])
    leg = add(world, router["id"], port_id=port["id"])
    assert leg["port_id"] == port["id"]
    seen = world.show("port", port["id"])
    assert (seen["device_id"], seen["security_groups"]) == (router["id"], [])
    cannot_add(world, 409, "PortInUse", router["id"], port_id=port["id"])
    cannot_remove(
        world,
        409,
        "SubnetMismatchForPort",
        router["id"],
        port_id=port["id"],
        subnet_id=world.subnet("10.0.9.0/24")["id"],
    )
    remove(world, router["id"], port_id=port["id"])


def test_impossible_legs_are_refused(world: NetworkWorld) -> None:
    inside, router = world.subnet(), world.create("router")["id"]
    cannot_add(world, 400, "BadRequest", router)
    cannot_add(world, 400, "BadRequest", router, subnet_id=inside["id"], port_id=NOBODY)
    cannot_add(world, 404, "SubnetNotFound", router, subnet_id=NOBODY)
    cannot_add(world, 404, "PortNotFound", router, port_id=NOBODY)
    cannot_add(world, 404, "RouterNotFound", NOBODY, subnet_id=inside["id"])
    add(world, router, subnet_id=inside["id"])
    cannot_add(world, 400, "BadRequest", router, subnet_id=inside["id"])
    said = cannot_add(world, 400, "BadRequest", router, subnet_id=world.subnet()["id"])
    assert "overlaps" in said
    second = world.create("router")["id"]
    cannot_add(world, 409, "IpAddressAlreadyAllocated", second, subnet_id=inside["id"])
    bare = world.subnet("10.0.5.0/24", gateway_ip=None)
    said = cannot_add(world, 400, "BadRequest", router, subnet_id=bare["id"])
    assert "gateway" in said
    empty = world.create("port", network_id=world.create("network")["id"])
    cannot_add(world, 400, "BadRequest", router, port_id=empty["id"])
    cannot_remove(world, 400, "BadRequest", router)
    cannot_remove(world, 404, "RouterInterfaceNotFound", router, port_id=empty["id"])
    cannot_remove(world, 404, "RouterInterfaceNotFoundForSubnet", router, subnet_id=bare["id"])


def test_one_leg_serves_all_ipv6_subnets_of_a_network(world: NetworkWorld) -> None:
    router = world.create("router")["id"]
    one = world.subnet("fd00:1::/64")
    two = world.subnet("fd00:2::/64", network=one["network_id"])
    four = world.subnet("10.0.0.0/24", network=one["network_id"])
    legs = [add(world, router, subnet_id=each["id"])["port_id"] for each in (one, two, four)]
    assert legs[0] == legs[1] != legs[2]
    assert len(world.show("port", legs[0])["fixed_ips"]) == 2
    remove(world, router, subnet_id=one["id"])
    assert [each["subnet_id"] for each in world.show("port", legs[0])["fixed_ips"]] == [two["id"]]
    remove(world, router, subnet_id=two["id"])
    world.refused(404, "PortNotFound", "GET", f"/ports/{legs[0]}")


# --- Gateways --------------------------------------------------------------------------------


def test_a_gateway_comes_changes_and_goes(world: NetworkWorld) -> None:
    outside, router = world.external(), world.create("router")
    info = world.update(
        "router", router["id"], external_gateway_info={"network_id": outside["id"]}
    )["external_gateway_info"]
    assert info["enable_snat"] is True
    assert [each["ip_address"] for each in info["external_fixed_ips"]] == ["172.24.4.2"]
    port = world.list("port", f"?device_id={router['id']}", "admin")[0]
    assert (port["device_owner"], port["project_id"]) == ("network:router_gateway", "")
    assert world.list("port", f"?device_id={router['id']}") == [], "a project does not see it"
    world.refused(409, "ServicePortInUse", "DELETE", f"/ports/{port['id']}", "admin")
    again = world.update(
        "router", router["id"], external_gateway_info={"network_id": outside["id"]}
    )["external_gateway_info"]
    assert again == info
    changed = world.update(
        "router",
        router["id"],
        "admin",
        external_gateway_info={
            "network_id": outside["id"],
            "enable_snat": False,
            "external_fixed_ips": [{"ip_address": "172.24.4.99"}],
        },
    )["external_gateway_info"]
    assert changed["enable_snat"] is False
    assert [each["ip_address"] for each in changed["external_fixed_ips"]] == ["172.24.4.99"]
    for nothing in ({}, None):
        assert (
            world.update("router", router["id"], external_gateway_info=nothing)[
                "external_gateway_info"
            ]
            is None
        )
    assert world.list("port", caller="admin") == []


@pytest.mark.parametrize(
    "part", [{"enable_snat": False}, {"external_fixed_ips": [{"ip_address": "172.24.4.9"}]}]
)
def test_parts_of_a_gateway_are_for_operators(world: NetworkWorld, part: dict[str, Any]) -> None:
    outside = world.external()
    said = world.cannot_create(
        403,
        "PolicyNotAuthorized",
        "router",
        external_gateway_info={"network_id": outside["id"], **part},
    )
    assert f"create_router:external_gateway_info:{next(iter(part))}" in said
    world.create("router", "admin", external_gateway_info={"network_id": outside["id"], **part})


def test_impossible_gateways_are_refused(world: NetworkWorld) -> None:
    outside, inside = world.external(), world.subnet()
    for network, status, kind in (
        (inside["network_id"], 400, "BadRequest"),
        (NOBODY, 404, "NetworkNotFound"),
        ("x", 400, "HTTPBadRequest"),
    ):
        world.cannot_create(status, kind, "router", external_gateway_info={"network_id": network})
    world.cannot_create(
        409,
        "IpAddressAlreadyAllocated",
        "router",
        "admin",
        external_gateway_info={
            "network_id": outside["id"],
            "external_fixed_ips": [
                {
                    "ip_address": world.create("port", "admin", network_id=outside["id"])[
                        "fixed_ips"
                    ][0]["ip_address"]
                }
            ],
        },
    )
    clash = world.subnet("172.24.0.0/16")
    router = world.create("router")["id"]
    add(world, router, subnet_id=clash["id"])
    world.cannot_update(
        400, "BadRequest", "router", router, external_gateway_info={"network_id": outside["id"]}
    )
    assert len(world.list("router")) == 1, "a refused creation leaves nothing"


# --- Routes ----------------------------------------------------------------------------------


def test_static_routes(world: NetworkWorld) -> None:
    inside, router = world.subnet(), world.create("router")["id"]
    add(world, router, subnet_id=inside["id"])
    route = {"destination": "192.0.2.0/24", "nexthop": "10.0.0.9"}
    assert world.update("router", router, routes=[route])["routes"] == [route]
    for bad in (
        {"destination": "192.0.2.0/24", "nexthop": "10.9.0.9"},
        {"destination": "192.0.2.0/24", "nexthop": "10.0.0.1"},
    ):
        world.cannot_update(400, "InvalidRoutes", "router", router, routes=[bad])
    world.cannot_update(400, "HTTPBadRequest", "router", router, routes=[route, route])
    world.cannot_update(400, "HTTPBadRequest", "router", router, routes=[{"nexthop": "10.0.0.9"}])
    cannot_remove(world, 409, "RouterInterfaceInUseByRoute", router, subnet_id=inside["id"])
    second = {"destination": "198.51.100.0/24", "nexthop": "10.0.0.9"}
    body = {"router": {"routes": [route, second]}}
    path = f"/routers/{router}"
    assert world.ok("PUT", f"{path}/add_extraroutes", json=body)["router"]["routes"] == [
        route,
        second,
    ]
    assert world.ok("PUT", f"{path}/remove_extraroutes", json={"router": {"routes": [route]}})[
        "router"
    ]["routes"] == [second]
    world.refused(
        400, "HTTPBadRequest", "PUT", f"{path}/add_extraroutes", json={"router": {"name": "x"}}
    )
    assert world.update("router", router, routes=None)["routes"] == []


# --- Floating IPs ----------------------------------------------------------------------------


def test_a_floating_ip_leads_to_a_port(world: NetworkWorld) -> None:
    found = world.routed()
    port = world.create("port", network_id=found["network_id"], name="p")
    made = world.create(
        "floatingip",
        floating_network_id=found["external"]["id"],
        port_id=port["id"],
        description="d",
    )
    assert world.show("floatingip", made["id"]) == made
    assert made["fixed_ip_address"] == port["fixed_ips"][0]["ip_address"]
    assert made["router_id"] == found["router"]["id"]
    assert made["floating_ip_address"].startswith("172.24.4.")
    assert made["port_details"]["name"] == "p"
    holder = world.list("port", "?device_owner=network:floatingip", "admin")[0]
    assert (holder["device_id"], holder["status"]) == (made["id"], "N/A")
    world.refused(409, "ServicePortInUse", "DELETE", f"/ports/{holder['id']}", "admin")
    free = world.update("floatingip", made["id"], port_id=None)
    assert (
        free["port_id"],
        free["fixed_ip_address"],
        free["router_id"],
        free["port_details"],
        free["status"],
    ) == (None, None, None, None, "DOWN")
    again = world.update("floatingip", made["id"], port_id=port["id"], description="e")
    assert (again["port_id"], again["description"]) == (port["id"], "e")
    assert world.update("floatingip", made["id"], description="f")["port_id"] == port["id"]
    world.delete("port", port["id"])
    assert world.show("floatingip", made["id"])["port_id"] is None
    world.delete("floatingip", made["id"])
    assert world.list("port", "?device_owner=network:floatingip", "admin") == []


def test_impossible_floating_ips_are_refused(world: NetworkWorld) -> None:
    found = world.routed()
    outside, network = found["external"]["id"], found["network_id"]
    port = world.create("port", network_id=network)
    world.cannot_create(400, "BadRequest", "floatingip", floating_network_id=network)
    world.cannot_create(404, "NetworkNotFound", "floatingip", floating_network_id=NOBODY)
    world.cannot_create(
        404, "PortNotFound", "floatingip", floating_network_id=outside, port_id=NOBODY
    )
    world.cannot_create(
        400,
        "BadRequest",
        "floatingip",
        floating_network_id=outside,
        port_id=port["id"],
        fixed_ip_address="10.0.0.200",
    )
    world.cannot_create(
        400, "BadRequest", "floatingip", floating_network_id=outside, fixed_ip_address="10.0.0.200"
    )
    lonely = world.create("port", network_id=world.subnet("10.7.0.0/24")["network_id"])
    world.cannot_create(
        404,
        "ExternalGatewayForFloatingIPNotFound",
        "floatingip",
        floating_network_id=outside,
        port_id=lonely["id"],
    )
    said = world.cannot_create(
        403,
        "PolicyNotAuthorized",
        "floatingip",
        floating_network_id=outside,
        floating_ip_address="172.24.4.77",
    )
    assert "create_floatingip:floating_ip_address" in said
    made = world.create(
        "floatingip", "admin", floating_network_id=outside, floating_ip_address="172.24.4.77"
    )
    assert made["floating_ip_address"] == "172.24.4.77"
    world.cannot_create(
        409,
        "IpAddressAlreadyAllocated",
        "floatingip",
        "admin",
        floating_network_id=outside,
        floating_ip_address="172.24.4.77",
    )
    assert world.list("floatingip") == []


def test_a_fixed_address_has_one_floating_ip(world: NetworkWorld) -> None:
    found = world.routed()
    outside = found["external"]["id"]
    port = world.create(
        "port",
        network_id=found["network_id"],
        fixed_ips=[{"ip_address": "10.0.0.50"}, {"ip_address": "10.0.0.51"}],
    )
    said = world.cannot_create(
        400, "BadRequest", "floatingip", floating_network_id=outside, port_id=port["id"]
    )
    assert "multiple" in said
    for ip in ("10.0.0.50", "10.0.0.51"):
        world.create(
            "floatingip", floating_network_id=outside, port_id=port["id"], fixed_ip_address=ip
        )
    world.cannot_create(
        409,
        "FloatingIPPortAlreadyAssociated",
        "floatingip",
        floating_network_id=outside,
        port_id=port["id"],
        fixed_ip_address="10.0.0.51",
    )
    world.update("port", port["id"], fixed_ips=[{"ip_address": "10.0.0.51"}])
    leads = {each["fixed_ip_address"] for each in world.list("floatingip")}
    assert leads == {None, "10.0.0.51"}


def test_what_floating_ips_need_stays(world: NetworkWorld) -> None:
    found = world.routed()
    router = found["router"]["id"]
    port = world.create("port", network_id=found["network_id"])
    made = world.create(
        "floatingip", floating_network_id=found["external"]["id"], port_id=port["id"]
    )
    cannot_remove(
        world, 409, "RouterInterfaceInUseByFloatingIP", router, subnet_id=found["subnet"]["id"]
    )
    world.cannot_update(
        409, "RouterExternalGatewayInUseByFloatingIp", "router", router, external_gateway_info={}
    )
    world.delete("floatingip", made["id"])
    remove(world, router, subnet_id=found["subnet"]["id"])
    world.update("router", router, external_gateway_info={})


def test_unused_floating_ips_go_with_their_network(world: NetworkWorld) -> None:
    outside = world.external()
    world.create("floatingip", floating_network_id=outside["id"])
    world.delete("network", outside["id"], "admin")
    assert world.list("floatingip") == []
    assert world.list("port", caller="admin") == []


def test_quotas(world: NetworkWorld) -> None:
    outside = world.external()
    world.ok(
        "PUT", f"/quotas/{world.project()}", "admin", json={"quota": {"router": 1, "floatingip": 1}}
    )
    world.create("router")
    world.cannot_create(409, "OverQuota", "router")
    world.create("floatingip", floating_network_id=outside["id"])
    world.cannot_create(409, "OverQuota", "floatingip", floating_network_id=outside["id"])


def test_others_routers_and_floating_ips_do_not_exist(world: NetworkWorld) -> None:
    found = world.routed()
    made = world.create("floatingip", floating_network_id=found["external"]["id"])
    for noun, kind, identifier in (
        ("router", "RouterNotFound", found["router"]["id"]),
        ("floatingip", "FloatingIPNotFound", made["id"]),
    ):
        for method, body in (
            ("GET", None),
            ("PUT", {noun: {"description": "x"}}),
            ("DELETE", None),
        ):
            world.refused(404, kind, method, f"/{noun}s/{identifier}", "stranger", json=body)
        assert world.list(noun, caller="stranger") == []
        world.refused(403, "PolicyNotAuthorized", "DELETE", f"/{noun}s/{identifier}", "reader")
    inside = world.subnet("10.3.0.0/24")
    world.refused(
        403,
        "PolicyNotAuthorized",
        "PUT",
        f"/routers/{found['router']['id']}/add_router_interface",
        "reader",
        json={"subnet_id": inside["id"]},
    )
    theirs = world.create("router", "stranger")["id"]
    world.refused(
        404,
        "SubnetNotFound",
        "PUT",
        f"/routers/{theirs}/add_router_interface",
        "stranger",
        json={"subnet_id": inside["id"]},
    )
    port = world.create("port", network_id=found["network_id"])
    world.cannot_create(
        404,
        "PortNotFound",
        "floatingip",
        "stranger",
        floating_network_id=found["external"]["id"],
        port_id=port["id"],
    )


def test_lists_are_filtered(world: NetworkWorld) -> None:
    found = world.routed()
    port = world.create("port", network_id=found["network_id"])
    made = world.create(
        "floatingip", floating_network_id=found["external"]["id"], port_id=port["id"]
    )
    other = world.create("floatingip", floating_network_id=found["external"]["id"])

    def ids(query: str) -> set[str]:
        return {each["id"] for each in world.list("floatingip", query)}

    assert ids(f"?port_id={port['id']}") == {made["id"]}
    assert ids(f"?router_id={found['router']['id']}") == {made["id"]}
    assert ids(f"?floating_ip_address={other['floating_ip_address']}") == {other["id"]}
    assert ids(f"?fixed_ip_address={made['fixed_ip_address']}") == {made["id"]}
    assert ids("?status=DOWN") == {made["id"], other["id"]}
    assert ids("?status=ACTIVE") == set()
    world.realize()
    assert ids("?status=ACTIVE") == {made["id"]}
    assert len(world.list("router", "?name=&admin_state_up=true")) == 1


# --- Routers on what others own ----------------------------------------------------------------


def shared_subnet(world: NetworkWorld) -> dict[str, Any]:
    """Of the administrator's project, on a network that everybody may use."""
    of = world.create("network", "admin", shared=True)
    return world.create("subnet", "admin", network_id=of["id"], ip_version=4, cidr="10.77.0.0/24")


def test_nobodys_router_takes_the_gateway_of_others(world: NetworkWorld) -> None:
    outside = world.external()
    router = world.create("router")
    for subnet in (shared_subnet(world)["id"], world.show("network", outside["id"])["subnets"][0]):
        sentence = cannot_add(world, 400, "BadRequest", router["id"], subnet_id=subnet)
        assert subnet in sentence
    assert world.show("router", router["id"])["revision_number"] == router["revision_number"]


def test_a_router_is_connected_to_a_shared_network_by_a_port(world: NetworkWorld) -> None:
    subnet, router = shared_subnet(world), world.create("router")
    own = world.create("port", network_id=subnet["network_id"])
    leg = add(world, router["id"], port_id=own["id"])
    assert leg["subnet_ids"] == [subnet["id"]]
    assert world.show("port", own["id"])["fixed_ips"] == own["fixed_ips"]
    administrators = world.create("router", "admin")
    body = {"subnet_id": subnet["id"]}
    path = f"/routers/{administrators['id']}/add_router_interface"
    assert world.ok("PUT", path, "admin", json=body)["subnet_id"] == subnet["id"]


def test_who_shares_a_network_by_name_lets_routers_of_that_project_in(world: NetworkWorld) -> None:
    inside = world.subnet()
    path = f"/routers/{world.create('router', 'stranger')['id']}/add_router_interface"
    body = {"subnet_id": inside["id"]}
    assert world.call("PUT", path, "stranger", json=body).status_code == 404
    world.create(
        "rbac_policy",
        object_type="network",
        object_id=inside["network_id"],
        action="access_as_shared",
        target_tenant=world.tested.user("stranger").project_id,
    )
    assert world.ok("PUT", path, "stranger", json=body)["subnet_id"] == inside["id"]


def test_a_networks_owner_does_not_take_ports_of_other_projects(world: NetworkWorld) -> None:
    inside = world.subnet()
    world.create(
        "rbac_policy",
        object_type="network",
        object_id=inside["network_id"],
        action="access_as_shared",
        target_tenant=world.tested.user("stranger").project_id,
    )
    theirs = world.create("port", "stranger", network_id=inside["network_id"])
    router = world.create("router")
    cannot_add(world, 400, "BadRequest", router["id"], port_id=theirs["id"])
    after = world.show("port", theirs["id"], "stranger")
    assert (after["device_id"], after["security_groups"]) == ("", theirs["security_groups"])
    assert after["port_security_enabled"]
