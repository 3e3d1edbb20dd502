"""What other services are promised: networks as servers use them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import nubelet.network as network_service
from nubelet.kernel.context import Context
from nubelet.kernel.errors import ApiError, Conflict, NotFound, QuotaExceeded
from tests.network_world import NetworkWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NetworkWorld]:
    made = NetworkWorld(tmp_path)
    yield made
    made.close()


def caller(world: NetworkWorld, name: str = "member") -> Context:
    return world.tested.context(name, "network")


def test_networks_a_server_may_be_put_on(world: NetworkWorld) -> None:
    mine = world.subnet()["network_id"]
    world.create("network", name="without subnets")
    world.external()
    shared = world.create("network", "admin", shared=True)["id"]
    world.create("subnet", "admin", network_id=shared, ip_version=4, cidr="10.5.0.0/24")
    world.create("network", "stranger")
    with world.cloud.database.read() as tx:
        found = network_service.available_networks(caller(world), tx)
        assert [each.id for each in found] == [mine, shared]
        assert [each.shared for each in found] == [False, True]
        view = network_service.find_network(caller(world), tx, mine)
        assert (view.external, len(view.subnet_ids), view.mtu) == (False, 1, 1450)
        with pytest.raises(NotFound):
            network_service.find_network(caller(world, "stranger"), tx, mine)


def test_ports_are_made_bound_shown_and_given_back(world: NetworkWorld) -> None:
    found = world.routed()
    group = world.create("security_group", name="web")["id"]
    ctx = caller(world)
    with world.cloud.database.write() as tx:
        row = network_service.create_port(
            ctx,
            tx,
            network_id=found["network_id"],
            device_id="s1",
            device_owner="compute:nova",
            security_groups=[group],
            dns_name="",
        )
        network_service.bind_port(tx, row.id, "host1")
    floating = world.create(
        "floatingip", floating_network_id=found["external"]["id"], port_id=row.id
    )
    with world.cloud.database.read() as tx:
        (view,) = network_service.ports_of(tx, ["s1", "s2"])["s1"]
        assert network_service.ports_of(tx, ["s2"]) == {"s2": []}
        assert (view.id, view.mac, view.host, view.mtu) == (row.id, row.mac_address, "host1", 1450)
        assert view.security_group_names == ("web",)
        fixed, outside = view.addresses
        assert (fixed.is_floating, fixed.version) == (False, 4)
        assert fixed.subnet is not None
        assert fixed.subnet.gateway_ip == "10.0.0.1"
        assert (outside.ip, outside.is_floating, outside.fixed_ip) == (
            floating["floating_ip_address"],
            True,
            fixed.ip,
        )
        assert network_service.ports_by_id(tx, [row.id])[row.id] == view
        nic = network_service.nic_spec(tx, row.id)
        assert (nic.port_id, nic.mac, nic.mtu) == (row.id, row.mac_address, 1450)
        for where in ({"network_id": found["network_id"]}, {"router_id": found["router"]["id"]}):
            who = network_service.port_by_address(tx, fixed.ip, **where)
            assert who is not None
            assert who.device_id == "s1"
            assert network_service.port_by_address(tx, "10.0.0.1", **where) is None
    with world.cloud.database.write() as tx:
        network_service.unbind_port(tx, row.id)
    seen = world.show("port", row.id, "admin")
    assert (seen["device_id"], seen["device_owner"], seen["binding:host_id"]) == ("", "", "")
    with world.cloud.database.write() as tx:
        network_service.delete_port(None, tx, row.id)
        network_service.delete_port(None, tx, row.id)
        network_service.unbind_port(tx, row.id)
        with pytest.raises(NotFound):
            network_service.nic_spec(tx, row.id)


def test_a_router_tells_of_its_own_projects_ports_only(world: NetworkWorld) -> None:
    """Its owner may send packets through it that claim any address: whose user data is told must
    not be for him to choose."""
    shared = world.create("network", "admin", shared=True)["id"]
    world.create("subnet", "admin", network_id=shared, ip_version=4, cidr="10.77.0.0/24")
    routers = {}
    for caller in ("member", "stranger"):
        leg = world.create("port", caller, network_id=shared)
        routers[caller] = world.create("router", caller)["id"]
        path = f"/routers/{routers[caller]}/add_router_interface"
        world.ok("PUT", path, caller, json={"port_id": leg["id"]})
    victim = world.create("port", "stranger", network_id=shared)
    ip = victim["fixed_ips"][0]["ip_address"]

    def found(**where: str) -> str | None:
        with world.cloud.database.read() as tx:
            row = network_service.port_by_address(tx, ip, **where)
            return row.id if row is not None else None

    assert found(router_id=routers["member"]) is None
    assert found(router_id=routers["stranger"]) == victim["id"]
    assert found(network_id=shared) == victim["id"]
    # The owner of the network serves all who are on it.
    leg = world.create("port", "admin", network_id=shared)
    router = world.create("router", "admin")["id"]
    path = f"/routers/{router}/add_router_interface"
    world.ok("PUT", path, "admin", json={"port_id": leg["id"]})
    assert found(router_id=router) == victim["id"]


def test_ports_of_others_and_of_other_servers_are_not_taken(world: NetworkWorld) -> None:
    port = world.create("port", network_id=world.create("network")["id"])
    ctx = caller(world)
    with world.cloud.database.write() as tx:
        with pytest.raises(NotFound):
            network_service.find_port(caller(world, "stranger"), tx, port["id"])
        network_service.update_port(ctx, tx, port["id"], device_id="s1")
        network_service.update_port(ctx, tx, port["id"], device_id="s1")
        with pytest.raises(Conflict):
            network_service.update_port(ctx, tx, port["id"], device_id="s2")


def test_refusals_are_those_of_the_api(world: NetworkWorld) -> None:
    inside = world.subnet(enable_dhcp=False)
    ctx = caller(world)

    def make(**fields: Any) -> ApiError:
        with pytest.raises(ApiError) as refusal, world.cloud.database.write() as tx:
            network_service.create_port(ctx, tx, network_id=inside["network_id"], **fields)
        return refusal.value

    assert make(fixed_ips=[{"ip_address": "192.0.2.1"}]).code == "InvalidIpForNetwork"
    world.ok("PUT", f"/quotas/{world.project()}", "admin", json={"quota": {"port": 0}})
    assert isinstance(make(), QuotaExceeded)


def test_groups_by_name_or_id(world: NetworkWorld) -> None:
    one = world.create("security_group", name="one")["id"]
    for _ in range(2):
        world.create("security_group", name="two")
    world.create("security_group", "stranger", name="theirs")
    ctx = caller(world)
    with world.cloud.database.write() as tx:
        assert network_service.security_group_ids(ctx, tx, ["one", one]) == [one]
        assert len(network_service.security_group_ids(ctx, tx, ["default", "one"])) == 2
        with pytest.raises(Conflict, match="two"):
            network_service.security_group_ids(ctx, tx, ["two"])
        with pytest.raises(NotFound):
            network_service.security_group_ids(ctx, tx, ["theirs"])


def test_the_ports_of_many_servers_take_as_many_queries_as_those_of_one(
    world: NetworkWorld,
) -> None:
    network = world.subnet(enable_dhcp=False)["network_id"]
    world.ok(
        "POST",
        "/ports",
        json={"ports": [{"network_id": network, "device_id": f"s{n}"} for n in range(30)]},
    )
    counts = []
    for number in (1, 30):
        seen: list[str] = []

        def listen(_c: Any, _cursor: Any, statement: str, *_: Any, seen: list[str] = seen) -> None:
            seen.append(statement)

        with world.cloud.database.read() as tx:
            sa.event.listen(world.cloud.database.engine, "before_cursor_execute", listen)
            found = network_service.ports_of(tx, [f"s{n}" for n in range(number)])
            sa.event.remove(world.cloud.database.engine, "before_cursor_execute", listen)
        assert all(len(each) == 1 for each in found.values())
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 7
