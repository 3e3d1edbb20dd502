"""Subnets: ranges, pools, gateways, IPv6 modes, routes, and what they do to ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.network_world import NetworkWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NetworkWorld]:
    made = NetworkWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkWorld]:
    """One world for tests that need nothing of their own."""
    made = NetworkWorld(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


def pools(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["start"], each["end"]) for each in found["allocation_pools"]]


def test_a_new_subnet_is_complete(world: NetworkWorld) -> None:
    made = world.subnet(
        "10.0.0.5/24",
        name="s",
        dns_nameservers=["9.9.9.9", "1.1.1.1"],
        host_routes=[{"destination": "10.9.0.0/16", "nexthop": "10.0.0.7"}],
    )
    assert world.show("subnet", made["id"]) == made
    assert made["cidr"] == "10.0.0.0/24"
    assert made["gateway_ip"] == "10.0.0.1"
    assert pools(made) == [("10.0.0.2", "10.0.0.254")]
    assert made["dns_nameservers"] == ["9.9.9.9", "1.1.1.1"]
    assert made["enable_dhcp"] is True
    assert (made["ipv6_ra_mode"], made["ipv6_address_mode"]) == (None, None)
    assert world.show("network", made["network_id"])["subnets"] == [made["id"]]


@pytest.mark.parametrize(
    ("values", "gateway", "expected"),
    [
        ({"gateway_ip": None}, None, [("10.0.0.1", "10.0.0.254")]),
        ({"gateway_ip": "10.0.0.254"}, "10.0.0.254", [("10.0.0.1", "10.0.0.253")]),
        (
            {
                "gateway_ip": "10.0.0.9",
                "allocation_pools": [{"start": "10.0.0.50", "end": "10.0.0.60"}],
            },
            "10.0.0.9",
            [("10.0.0.50", "10.0.0.60")],
        ),
        ({"gateway_ip": "192.0.2.1"}, "192.0.2.1", [("10.0.0.1", "10.0.0.254")]),
    ],
)
def test_gateways_and_pools(
    shared: NetworkWorld,
    values: dict[str, Any],
    gateway: str | None,
    expected: list[tuple[str, str]],
) -> None:
    made = shared.subnet(**values)
    assert made["gateway_ip"] == gateway
    assert pools(made) == expected


@pytest.mark.parametrize(
    ("values", "status", "kind"),
    [
        ({"cidr": "10.0.0.0"}, 400, "HTTPBadRequest"),
        ({"cidr": "10.0.0.300/24"}, 400, "HTTPBadRequest"),
        ({"cidr": None}, 400, "HTTPBadRequest"),
        ({"cidr": "fd00::/64"}, 400, "InvalidInput"),
        ({"cidr": "224.0.0.0/24"}, 400, "InvalidInput"),
        ({"cidr": "0.0.0.0/0"}, 400, "InvalidInput"),
        ({"ip_version": 5}, 400, "HTTPBadRequest"),
        ({"network_id": "00000000-0000-4000-8000-000000000000"}, 404, "NetworkNotFound"),
        ({"network_id": "no uuid"}, 400, "HTTPBadRequest"),
        ({"gateway_ip": "10.0.0.0"}, 400, "InvalidInput"),
        ({"gateway_ip": "10.0.0.255"}, 400, "InvalidInput"),
        ({"gateway_ip": "fd00::1"}, 400, "InvalidInput"),
        ({"gateway_ip": "first"}, 400, "HTTPBadRequest"),
        (
            {"allocation_pools": [{"start": "10.0.0.1", "end": "10.0.0.9"}]},
            409,
            "GatewayConflictWithAllocationPools",
        ),
        (
            {"allocation_pools": [{"start": "10.0.0.9", "end": "10.0.1.9"}]},
            400,
            "OutOfBoundsAllocationPool",
        ),
        ({"allocation_pools": [{"start": "10.0.0.9"}]}, 400, "HTTPBadRequest"),
        (
            {
                "allocation_pools": [
                    {"start": "10.0.0.9", "end": "10.0.0.12"},
                    {"start": "10.0.0.11", "end": "10.0.0.20"},
                ]
            },
            409,
            "OverlappingAllocationPools",
        ),
        ({"cidr": "10.0.0.0/31"}, 400, "InvalidInput"),
        ({"dns_nameservers": [f"10.0.0.{n}" for n in range(6)]}, 400, "DNSNameServersExhausted"),
        ({"dns_nameservers": ["9.9.9.9", "9.9.9.9"]}, 400, "HTTPBadRequest"),
        ({"dns_nameservers": ["nine"]}, 400, "HTTPBadRequest"),
        (
            {"host_routes": [{"destination": "10.9.0.0/16", "nexthop": "fd00::1"}]},
            400,
            "InvalidInput",
        ),
        ({"host_routes": [{"destination": "10.9.0.0/16"}]}, 400, "HTTPBadRequest"),
        ({"ipv6_ra_mode": "slaac"}, 400, "InvalidInput"),
        ({"ipv6_ra_mode": "magic"}, 400, "HTTPBadRequest"),
        ({"prefixlen": 24}, 400, "HTTPBadRequest"),
        ({"subnetpool_id": "00000000-0000-4000-8000-000000000000"}, 404, "SubnetPoolNotFound"),
        ({"colour": "blue"}, 400, "HTTPBadRequest"),
    ],
)
def test_nonsense_is_refused(
    shared: NetworkWorld, values: dict[str, Any], status: int, kind: str
) -> None:
    network = shared.create("network")["id"]
    shared.cannot_create(
        status,
        kind,
        "subnet",
        **{"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24", **values},
    )
    assert shared.show("network", network)["subnets"] == []


def test_small_subnets_do_without_dhcp(shared: NetworkWorld) -> None:
    made = shared.subnet("10.0.0.0/31", enable_dhcp=False)
    assert (made["gateway_ip"], pools(made)) == ("10.0.0.1", [("10.0.0.0", "10.0.0.0")])
    port = shared.create("port", network_id=made["network_id"])
    assert port["fixed_ips"][0]["ip_address"] == "10.0.0.0"
    alone = shared.subnet("10.0.0.7/32", enable_dhcp=False)
    assert (alone["gateway_ip"], pools(alone)) == (None, [("10.0.0.7", "10.0.0.7")])


def test_subnets_of_a_network_do_not_overlap_but_those_of_two_may(world: NetworkWorld) -> None:
    one = world.subnet("10.0.0.0/24")
    said = world.cannot_create(
        400,
        "InvalidInput",
        "subnet",
        network_id=one["network_id"],
        ip_version=4,
        cidr="10.0.0.128/25",
    )
    assert "overlaps with another subnet" in said
    world.subnet("10.0.1.0/24", network=one["network_id"])
    world.subnet("10.0.0.0/24")


# --- IPv6 ------------------------------------------------------------------------------------

MODES = ("slaac", "dhcpv6-stateless", "dhcpv6-stateful", None)


@pytest.mark.parametrize("ra_mode", MODES)
@pytest.mark.parametrize("address_mode", MODES)
def test_ipv6_modes_go_together_or_not(
    shared: NetworkWorld, ra_mode: str | None, address_mode: str | None
) -> None:
    values = {
        "network_id": shared.create("network")["id"],
        "ip_version": 6,
        "cidr": "fd00::/64",
        "ipv6_ra_mode": ra_mode,
        "ipv6_address_mode": address_mode,
    }
    if ra_mode and address_mode and ra_mode != address_mode:
        shared.cannot_create(400, "InvalidInput", "subnet", **values)
        return
    shared.create("subnet", **values)
    mac = "fa:16:3e:00:00:01"
    port = shared.create("port", network_id=values["network_id"], mac_address=mac)
    address = port["fixed_ips"][0]["ip_address"]
    automatic = {ra_mode, address_mode} & {"slaac", "dhcpv6-stateless"}
    assert (address == "fd00::f816:3eff:fe00:1") == bool(automatic)


def test_ipv6_modes_need_dhcp_and_a_prefix_of_64(shared: NetworkWorld) -> None:
    network = shared.create("network")["id"]
    for values in ({"cidr": "fd00::/64", "enable_dhcp": False}, {"cidr": "fd00::/80"}):
        shared.cannot_create(
            400,
            "InvalidInput",
            "subnet",
            network_id=network,
            ip_version=6,
            ipv6_address_mode="slaac",
            **values,
        )


def test_ipv6_needs_room(shared: NetworkWorld) -> None:
    network = shared.create("network", mtu=1200)["id"]
    shared.cannot_create(
        409,
        "NetworkMTUSubnetConflict",
        "subnet",
        network_id=network,
        ip_version=6,
        cidr="fd00::/64",
    )


def test_ports_take_part_in_a_new_slaac_subnet(world: NetworkWorld) -> None:
    one = world.subnet()
    port = world.create("port", network_id=one["network_id"])
    new = world.subnet(
        "fd00::/64", network=one["network_id"], ipv6_ra_mode="slaac", ipv6_address_mode="slaac"
    )
    seen = world.show("port", port["id"])["fixed_ips"]
    assert [each["subnet_id"] for each in seen] == [one["id"], new["id"]]
    world.delete("subnet", new["id"])  # what a host made for itself goes with the subnet
    assert world.show("port", port["id"])["fixed_ips"] == port["fixed_ips"]


def test_a_port_has_an_address_of_each_kind(world: NetworkWorld) -> None:
    network = world.create("network")["id"]
    found = [
        world.subnet(cidr, network=network, **modes)["id"]
        for cidr, modes in (
            ("10.0.0.0/24", {}),
            ("10.0.1.0/24", {}),
            ("fd00::/64", {}),
            ("fd00:1::/64", {"ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"}),
            ("fd00:2::/64", {"ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"}),
        )
    ]
    port = world.create("port", network_id=network)
    assert [each["subnet_id"] for each in port["fixed_ips"]] == [
        found[0],
        found[2],
        found[3],
        found[4],
    ]


# --- Changes ---------------------------------------------------------------------------------


def test_a_subnet_changes(world: NetworkWorld) -> None:
    made = world.subnet(allocation_pools=[{"start": "10.0.0.50", "end": "10.0.0.60"}])
    changed = world.update(
        "subnet",
        made["id"],
        name="new",
        gateway_ip="10.0.0.2",
        dns_nameservers=["9.9.9.9"],
        allocation_pools=[{"start": "10.0.0.100", "end": "10.0.0.101"}],
        enable_dhcp=False,
        host_routes=[{"destination": "0.0.0.0/0", "nexthop": "10.0.0.3"}],
    )
    assert changed["gateway_ip"] == "10.0.0.2"
    assert pools(changed) == [("10.0.0.100", "10.0.0.101")]
    assert changed["revision_number"] > made["revision_number"]
    port = world.create("port", network_id=made["network_id"])
    assert port["fixed_ips"][0]["ip_address"] == "10.0.0.100"
    assert world.update("subnet", made["id"], host_routes=None)["host_routes"] == []
    for values in ({"cidr": "10.0.1.0/24"}, {"ip_version": 4}, {"network_id": made["network_id"]}):
        world.cannot_update(400, "HTTPBadRequest", "subnet", made["id"], **values)
    world.cannot_update(
        409, "GatewayConflictWithAllocationPools", "subnet", made["id"], gateway_ip="10.0.0.101"
    )


def test_the_gateway_a_router_holds_stays(world: NetworkWorld) -> None:
    found = world.routed()
    said = world.cannot_update(
        409, "GatewayIpInUse", "subnet", found["subnet"]["id"], gateway_ip="10.0.0.200"
    )
    assert "10.0.0.1" in said


def test_a_subnet_in_use_stays(world: NetworkWorld) -> None:
    made = world.subnet()
    port = world.create("port", network_id=made["network_id"])
    world.refused(409, "SubnetInUse", "DELETE", f"/subnets/{made['id']}")
    world.delete("port", port["id"])
    world.delete("subnet", made["id"])
    assert world.list("port", caller="admin") == []
    world.refused(404, "SubnetNotFound", "DELETE", f"/subnets/{made['id']}")


def test_dhcp_has_a_port_as_long_as_a_subnet_asks_for_it(world: NetworkWorld) -> None:
    made = world.subnet()
    query = f"?network_id={made['network_id']}&device_owner=network:dhcp"
    port = world.list("port", query)[0]
    assert port["fixed_ips"] == [{"subnet_id": made["id"], "ip_address": "10.0.0.2"}]
    assert port["port_security_enabled"] is False
    second = world.subnet("10.0.1.0/24", network=made["network_id"])
    assert len(world.list("port", query)[0]["fixed_ips"]) == 2
    world.update("subnet", made["id"], enable_dhcp=False)
    assert [each["subnet_id"] for each in world.list("port", query)[0]["fixed_ips"]] == [
        second["id"]
    ]
    world.delete("subnet", second["id"])
    assert world.list("port", query) == []


def test_a_full_subnet_is_served_without_dhcp_until_there_is_room(world: NetworkWorld) -> None:
    made = world.subnet(
        enable_dhcp=False, allocation_pools=[{"start": "10.0.0.9", "end": "10.0.0.9"}]
    )
    port = world.create("port", network_id=made["network_id"])
    world.update("subnet", made["id"], enable_dhcp=True)
    query = f"?network_id={made['network_id']}&device_owner=network:dhcp"
    assert world.list("port", query) == []
    world.delete("port", port["id"])
    world.realize()
    assert len(world.list("port", query)) == 1


# --- Who -------------------------------------------------------------------------------------


def test_others_subnets_do_not_exist(world: NetworkWorld) -> None:
    made = world.subnet()
    for method, body in (("GET", None), ("PUT", {"subnet": {"name": "x"}}), ("DELETE", None)):
        world.refused(
            404, "SubnetNotFound", method, f"/subnets/{made['id']}", "stranger", json=body
        )
    assert world.list("subnet", caller="stranger") == []
    world.cannot_create(
        404,
        "NetworkNotFound",
        "subnet",
        "stranger",
        ip_version=4,
        network_id=made["network_id"],
        cidr="10.0.1.0/24",
    )
    world.refused(403, "PolicyNotAuthorized", "DELETE", f"/subnets/{made['id']}", "reader")


def test_only_owners_make_subnets_on_shared_networks(world: NetworkWorld) -> None:
    shared = world.create("network", "admin", shared=True)
    said = world.cannot_create(
        403,
        "PolicyNotAuthorized",
        "subnet",
        ip_version=4,
        network_id=shared["id"],
        cidr="10.0.1.0/24",
    )
    assert "create_subnet" in said


def test_service_types_choose_among_subnets(world: NetworkWorld) -> None:
    network = world.create("network")["id"]
    world.refused(
        403,
        "PolicyNotAuthorized",
        "POST",
        "/subnets",
        json={
            "subnet": {
                "network_id": network,
                "ip_version": 4,
                "cidr": "10.0.1.0/24",
                "service_types": ["compute:nova"],
            }
        },
    )
    plain = world.subnet("10.0.0.0/24", network=network)
    special = world.create(
        "subnet",
        "admin",
        network_id=network,
        ip_version=4,
        cidr="10.0.1.0/24",
        service_types=["compute:"],
    )
    for owner, expected in (("", plain), ("compute:nova", special)):
        port = world.create("port", network_id=network, device_owner=owner)
        assert port["fixed_ips"][0]["subnet_id"] == expected["id"]


def test_lists_are_filtered(world: NetworkWorld) -> None:
    one = world.subnet("10.0.0.0/24", name="a")
    world.subnet("fd00::/64", name="b", network=one["network_id"], enable_dhcp=False)
    outside = world.external()

    def names(query: str) -> list[str]:
        return sorted(each["name"] for each in world.list("subnet", query))

    assert names("?ip_version=6") == ["b"]
    assert names("?cidr=10.0.0.0/24") == ["a"]
    assert names("?enable_dhcp=false&ip_version=6") == ["b"]
    assert names(f"?network_id={one['network_id']}") == ["a", "b"]
    assert [each["network_id"] for each in world.list("subnet", "?router:external=true")] == [
        outside["id"]
    ]
    assert names("?gateway_ip=10.0.0.1") == ["a"]
