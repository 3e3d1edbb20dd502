"""Many callers at once, on both databases: nothing is given out twice, nothing gets stuck."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.network_world import NetworkWorld


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NetworkWorld]:
    made = NetworkWorld(tmp_path, database=request.param)
    yield made
    made.close()


def at_once(number: int, work: Callable[[int], int]) -> list[int]:
    """Run `work(0..number-1)` together; returns the statuses."""
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(work, range(number)))


def test_ports_made_at_once_never_share_an_address(world: NetworkWorld) -> None:
    inside = world.subnet("10.0.0.0/27", enable_dhcp=False)  # room for 29 ports

    def work(_: int) -> int:
        return world.call(
            "POST", "/ports", json={"port": {"network_id": inside["network_id"]}}
        ).status_code

    found = at_once(36, work)
    assert (found.count(201), found.count(409)) == (29, 7)
    ports = world.list("port")
    addresses = [each["fixed_ips"][0]["ip_address"] for each in ports]
    assert len(set(addresses)) == len(addresses) == 29
    assert world.doctor() == []


def test_one_chosen_address_is_given_to_one(world: NetworkWorld) -> None:
    inside = world.subnet(enable_dhcp=False)

    def work(_: int) -> int:
        return world.call(
            "POST",
            "/ports",
            json={
                "port": {
                    "network_id": inside["network_id"],
                    "fixed_ips": [{"ip_address": "10.0.0.9"}],
                }
            },
        ).status_code

    found = at_once(8, work)
    assert (found.count(201), found.count(409)) == (1, 7)


def test_quota_holds_against_many(world: NetworkWorld) -> None:
    world.ok("PUT", f"/quotas/{world.project()}", "admin", json={"quota": {"network": 3}})

    def work(_: int) -> int:
        return world.call("POST", "/networks", json={"network": {}}).status_code

    found = at_once(10, work)
    assert (found.count(201), found.count(409)) == (3, 7)


def test_a_project_has_one_default_group_whoever_comes_first(world: NetworkWorld) -> None:
    network = world.create("network")["id"]

    def work(number: int) -> int:
        if number % 2:
            return world.call("GET", "/security-groups").status_code
        return world.call("POST", "/ports", json={"port": {"network_id": network}}).status_code

    assert set(at_once(10, work)) == {200, 201}
    assert len(world.list("security_group")) == 1


def test_making_and_deleting_at_once_leaves_nothing(world: NetworkWorld) -> None:
    """Networks, legs, floating IPs and ports come and go side by side, with the reconciler."""
    outside = world.external()
    world.ok(
        "PUT",
        f"/quotas/{world.project()}",
        "admin",
        json={"quota": {"router": -1, "floatingip": -1}},
    )
    world.tested.reconcilers.start()
    refused: list[str] = []
    ready = threading.Barrier(6)

    def call(method: str, path: str, body: object = None) -> dict[str, dict[str, str]]:
        answer = world.call(method, path, json=body)
        if answer.status_code >= 300:
            refused.append(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else {}  # type: ignore[no-any-return]

    def work(number: int) -> int:
        ready.wait()
        for _ in range(2):
            network = call("POST", "/networks", {"network": {}})["network"]["id"]
            subnet = call(
                "POST",
                "/subnets",
                {"subnet": {"network_id": network, "ip_version": 4, "cidr": f"10.{number}.0.0/24"}},
            )["subnet"]["id"]
            router = call(
                "POST",
                "/routers",
                {"router": {"external_gateway_info": {"network_id": outside["id"]}}},
            )["router"]["id"]
            call("PUT", f"/routers/{router}/add_router_interface", {"subnet_id": subnet})
            port = call("POST", "/ports", {"port": {"network_id": network}})["port"]["id"]
            floating = call(
                "POST",
                "/floatingips",
                {"floatingip": {"floating_network_id": outside["id"], "port_id": port}},
            )["floatingip"]["id"]
            call("DELETE", f"/ports/{port}")
            call("DELETE", f"/floatingips/{floating}")
            call("PUT", f"/routers/{router}/remove_router_interface", {"subnet_id": subnet})
            call("DELETE", f"/routers/{router}")
            call("DELETE", f"/networks/{network}")
        return 0

    try:
        at_once(6, work)
    finally:
        world.tested.reconcilers.stop()
    assert refused == []
    world.delete("network", outside["id"], "admin")
    world.realize()
    world.realize()
    for name in ("host1", "host2"):
        state = world.on(name)
        assert (state.networks, state.routers, state.ports, state.security_groups) == (
            (),
            (),
            (),
            (),
        )
    assert world.list("port", caller="admin") == []
    assert world.doctor() == []
