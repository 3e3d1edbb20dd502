"""From rows to nodes: what is asked for comes about, comes back, and goes, whatever happens.

Hosts are fake, but real in what they keep and refuse. Time is moved by hand.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from nubelet.kernel import clock, guards
from nubelet.network import model, realization, results
from nubelet.node.client import NodeClient, NodeError, NodeUnreachable
from nubelet.node.errors import DHCP_FAILED, FENCED
from nubelet.node.wire import NetworkSpec, PortSpec
from tests.network_world import NetworkWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[NetworkWorld]:
    made = NetworkWorld(tmp_path)
    yield made
    made.close()


class Time:
    """The clock, moved by hand."""

    def __init__(self) -> None:
        self.ahead = 0.0
        clock.use_source(lambda: time.time_ns() // 1000 + round(self.ahead * 1e6))


@pytest.fixture
def now() -> Iterator[Time]:
    yield Time()
    clock.use_source(None)


def server_port(world: NetworkWorld, network: str, **values: Any) -> dict[str, Any]:
    return world.create(
        "port", network_id=network, device_owner="compute:nova", device_id="server", **values
    )


def status(world: NetworkWorld, noun: str, identifier: str) -> str:
    return str(world.show(noun, identifier, "admin")["status"])


def network_on(world: NetworkWorld, host: str, network: str) -> NetworkSpec:
    found = world.switching(host)._networks.get(network)
    assert found is not None, f"network {network} is not on {host}"
    assert isinstance(found, NetworkSpec)
    return found


# --- Coming about ----------------------------------------------------------------------------


def test_a_network_with_dhcp_is_on_one_node(world: NetworkWorld) -> None:
    network = world.create("network", dns_domain="blue.example.")["id"]
    inside = world.subnet(
        network=network,
        dns_nameservers=["9.9.9.9"],
        host_routes=[{"destination": "192.0.2.0/24", "nexthop": "10.0.0.9"}],
    )
    port = world.create(
        "port",
        network_id=network,
        dns_name="web",
        extra_dhcp_opts=[{"opt_name": "mtu", "opt_value": "1400"}],
    )
    world.realize()
    (host,) = [name for name in ("host1", "host2") if network in world.on(name).networks]
    spec = network_on(world, host, network)
    assert (spec.kind, spec.mtu) == ("vxlan", 1450)
    assert spec.subnets[0].dns_servers == ("9.9.9.9",)
    assert spec.subnets[0].host_routes[0].next_hop == "10.0.0.9"
    assert spec.dhcp is not None
    assert spec.dhcp.domain == "blue.example"
    assert [each.ip for each in spec.dhcp.addresses] == ["10.0.0.2"]
    (entry,) = spec.dhcp.hosts
    assert (entry.port_id, entry.mac, entry.host_name) == (port["id"], port["mac_address"], "web")
    assert entry.ips == (port["fixed_ips"][0]["ip_address"],)
    assert entry.extra_options == (("mtu", "1400", 4),)
    assert world.list("port", "?device_owner=network:dhcp")[0]["status"] == "ACTIVE"
    world.delete("port", port["id"])
    world.realize()
    assert network_on(world, host, network).dhcp.hosts == ()  # type: ignore[union-attr]
    world.delete("subnet", inside["id"])
    world.realize()
    assert world.on(host).networks == (), "nothing needs the network there any more"
    assert world.doctor() == []


def test_a_port_on_a_host_brings_its_network_and_groups(world: NetworkWorld) -> None:
    network = world.subnet()["network_id"]
    group = world.create("security_group", name="g")["id"]
    remote = world.create("security_group", name="r")["id"]
    world.create(
        "security_group_rule", security_group_id=group, direction="ingress", remote_group_id=remote
    )
    port = server_port(
        world,
        network,
        security_groups=[group],
        allowed_address_pairs=[{"ip_address": "10.0.0.128/28"}],
    )
    world.put(port["id"], "host2")
    assert status(world, "port", port["id"]) == "ACTIVE"
    assert world.show("port", port["id"], "admin")["binding:host_id"] == "host2"
    state = world.on("host2")
    assert state.ports == (port["id"],)
    assert set(state.security_groups) == {group, remote}
    spec = world.switching("host2")._ports.get(port["id"])
    assert isinstance(spec, PortSpec)
    assert (spec.mac, spec.mtu, spec.security_group_ids) == (port["mac_address"], 1450, (group,))
    assert [each.ip for each in spec.allowed_address_pairs] == ["10.0.0.128/28"]
    world.put(port["id"], "host2")  # again: nothing differs
    world.take(port["id"], "host2")
    world.realize()
    state = world.on("host2")
    assert (
        state.ports,
        state.networks if network not in world.on("host1").networks else (),
        state.security_groups,
    ) == ((), (), ())
    assert status(world, "port", port["id"]) == "DOWN"
    world.take(port["id"], "host2")
    assert world.doctor() == []


def test_nodes_of_one_network_know_each_other(world: NetworkWorld) -> None:
    for name in ("host1", "host2"):
        world.tested.agents[name]._addresses = type(  # each with a tunnel address of its own
            world.tested.agents[name]._addresses
        )(ip="127.0.0.1", tunnel_ip=f"192.0.2.{name[-1]}")
        world.beat(name)
    network = world.create("network")["id"]
    one, two = server_port(world, network), server_port(world, network)
    world.put(one["id"], "host1")
    assert network_on(world, "host1", network).tunnel_endpoints == ()
    world.put(two["id"], "host2")
    world.realize()
    assert network_on(world, "host1", network).tunnel_endpoints == ("192.0.2.2",)
    assert network_on(world, "host2", network).tunnel_endpoints == ("192.0.2.1",)
    world.take(two["id"], "host2")
    world.realize()
    world.realize()
    assert network_on(world, "host1", network).tunnel_endpoints == ()


def test_groups_know_their_members_wherever_they_are(world: NetworkWorld) -> None:
    network = world.subnet()["network_id"]
    here = server_port(world, network)
    world.put(here["id"], "host1")
    group = here["security_groups"][0]

    def members() -> set[str]:
        return set(world.switching("host1")._groups.get(group).members)

    there = server_port(world, network)
    world.realize()
    ips = {each["fixed_ips"][0]["ip_address"] for each in (here, there)}
    assert members() == ips
    world.update("port", there["id"], fixed_ips=[{"ip_address": "10.0.0.77"}])
    world.realize()
    assert "10.0.0.77" in members()
    world.delete("port", there["id"])
    world.realize()
    assert members() == {here["fixed_ips"][0]["ip_address"]}
    world.update("port", here["id"], security_groups=[])
    world.realize()
    assert (
        world.on("host1").security_groups == ()
        or group not in world.switching("host1")._ports.get(here["id"]).security_group_ids
    )


def test_changes_of_a_port_and_its_rules_arrive(world: NetworkWorld) -> None:
    network = world.subnet()["network_id"]
    port = server_port(world, network)
    world.put(port["id"], "host1")
    group = port["security_groups"][0]
    world.create(
        "security_group_rule",
        security_group_id=group,
        direction="ingress",
        protocol="tcp",
        port_range_min=22,
        port_range_max=22,
    )
    world.update("port", port["id"], admin_state_up=False)
    world.update("network", network, mtu=1400)
    world.realize()
    rules = world.switching("host1")._groups.get(group).rules
    assert any(rule.protocol == "tcp" and rule.port_range_min == 22 for rule in rules)
    spec = world.switching("host1")._ports.get(port["id"])
    assert (spec.admin_state_up, spec.mtu) == (False, 1400)
    assert status(world, "port", port["id"]) == "DOWN"
    world.update("port", port["id"], admin_state_up=True)
    world.realize()
    assert status(world, "port", port["id"]) == "ACTIVE"


def test_a_router_is_made_with_all_that_it_does(world: NetworkWorld) -> None:
    found = world.routed()
    router = found["router"]["id"]
    port = world.create("port", network_id=found["network_id"])
    floating = world.create(
        "floatingip", floating_network_id=found["external"]["id"], port_id=port["id"]
    )
    world.update("router", router, routes=[{"destination": "192.0.2.0/24", "nexthop": "10.0.0.9"}])
    assert floating["status"] == "DOWN"
    world.realize()
    host = world.ok("GET", f"/routers/{router}/l3-agents", "admin")["agents"][0]["host"]
    spec = world.switching(host)._routers.get(router)
    assert [each.addresses[0].ip for each in spec.interfaces] == ["10.0.0.1"]
    assert spec.gateway.next_hops == ("172.24.4.1",)
    assert spec.gateway.port.addresses[0].prefix_length == 24
    assert spec.gateway.enable_snat is True
    assert [(each.floating_ip, each.fixed_ip) for each in spec.floating_ips] == [
        (floating["floating_ip_address"], port["fixed_ips"][0]["ip_address"])
    ]
    assert spec.routes[0].destination == "192.0.2.0/24"
    assert network_on(world, host, found["external"]["id"]).physical_network == "external"
    assert status(world, "floatingip", floating["id"]) == "ACTIVE"
    legs = world.list("port", f"?device_id={router}", "admin")
    assert {each["status"] for each in legs} == {"ACTIVE"}
    world.update("floatingip", floating["id"], port_id=None)
    world.update("router", router, admin_state_up=False, routes=[])
    world.realize()
    spec = world.switching(host)._routers.get(router)
    assert (spec.admin_state_up, spec.floating_ips, spec.routes) == (False, (), ())
    assert status(world, "floatingip", floating["id"]) == "DOWN"
    world.ok(
        "PUT",
        f"/routers/{router}/remove_router_interface",
        json={"subnet_id": found["subnet"]["id"]},
    )
    world.delete("router", router)
    world.realize()
    assert world.on(host).routers == ()
    assert world.doctor() == []


def test_without_any_node_the_api_works(tmp_path: Path) -> None:
    world = NetworkWorld(tmp_path, hosts=())
    try:
        found = world.routed()
        port = world.create("port", network_id=found["network_id"])
        made = world.create(
            "floatingip", floating_network_id=found["external"]["id"], port_id=port["id"]
        )
        world.realize()
        assert status(world, "floatingip", made["id"]) == "DOWN"
        assert {each["status"] for each in world.list("port", caller="admin")} <= {"DOWN", "N/A"}
        assert world.show("network", found["network_id"])["availability_zones"] == []
        world.tested._start_hosts(("host1",))
        world.beat("host1")
        world.realize()
        assert status(world, "floatingip", made["id"]) == "ACTIVE"
        assert world.on("host1").routers == (found["router"]["id"],)
        assert world.on("host1").dhcp_servers == (found["network_id"],)
    finally:
        world.close()


def test_a_change_is_on_its_node_at_once(world: NetworkWorld) -> None:
    """The loop is rung by the commit: its period is an hour here."""
    loop = world.tested.reconcilers._loops["networks"]
    loop.reconciler = dataclasses.replace(loop.reconciler, period_seconds=3600.0)
    world.tested.reconcilers.start()
    try:
        network = world.subnet()["network_id"]
        until = time.monotonic() + 60
        while time.monotonic() < until and not any(
            network in world.on(name).dhcp_servers for name in ("host1", "host2")
        ):
            time.sleep(0.002)
        host = next(name for name in ("host1", "host2") if network in world.on(name).networks)
        for _ in range(5):
            port = world.create("port", network_id=network)
            until = time.monotonic() + 60
            while port["id"] not in {
                each.port_id for each in network_on(world, host, network).dhcp.hosts
            }:  # type: ignore[union-attr]
                assert time.monotonic() < until, "the change did not come to its node"
                time.sleep(0.002)
    finally:
        world.tested.reconcilers.stop()


# --- Coming back -----------------------------------------------------------------------------


def wipe(world: NetworkWorld, host: str) -> None:
    """The machine was rebooted: nothing is there."""
    world.switching(host).purge()
    world.tested.agents[host].switching.__init__(  # type: ignore[misc]
        world.cloud.settings.state_dir / "nodes" / host
    )


def test_after_a_reboot_everything_comes_back(world: NetworkWorld) -> None:
    found = world.routed()
    port = server_port(world, found["network_id"])
    world.put(port["id"], "host1")
    world.realize()
    before = {name: world.on(name) for name in ("host1", "host2")}
    for name in before:
        wipe(world, name)
        assert world.on(name).networks == ()
        world.beat(name, restarted=True)
    world.realize()
    assert {name: world.on(name) for name in before} == before
    assert world.doctor() == []


@pytest.mark.parametrize("is_noticed", [True, False])
def test_a_port_finds_its_network_on_a_rebooted_host(
    world: NetworkWorld,
    is_noticed: bool,
) -> None:
    """A server is started again before the reconciler has looked at the host."""
    port = server_port(world, world.subnet()["network_id"])
    world.put(port["id"], "host1")
    world.realize()
    before = world.on("host1")
    wipe(world, "host1")
    if is_noticed:
        world.beat("host1", restarted=True)
    world.put(port["id"], "host1")
    assert world.on("host1").ports == before.ports
    assert world.on("host1").security_groups == before.security_groups


def test_what_goes_astray_is_mended(world: NetworkWorld, now: Time) -> None:
    found = world.routed()
    port = server_port(world, found["network_id"])
    world.put(port["id"], "host1")
    world.realize()
    before = {name: world.on(name) for name in ("host1", "host2")}
    world.switching("host1").remove_port(port["id"])
    for name in before:
        for router in world.on(name).routers:
            world.switching(name).remove_router(router)
    world.switching("host2").ensure_network(NetworkSpec(id="stray", kind="local", mtu=1500))
    said = world.doctor()
    assert f"port {port['id']} is missing on host host1" in said
    assert any(each.startswith("router ") and "is missing on host" in each for each in said)
    assert "host host2 has network stray, which nothing asks for" in said
    now.ahead = 70
    for name in before:
        world.beat(name)
    world.realize()
    assert {name: world.on(name) for name in before} == before
    assert world.doctor() == []


def test_dead_dhcp_is_started_again(world: NetworkWorld, now: Time) -> None:
    network = world.subnet()["network_id"]
    world.realize()
    host = next(name for name in ("host1", "host2") if network in world.on(name).networks)
    switching = world.switching(host)
    spec = network_on(world, host, network)
    switching._networks.put(network, NetworkSpec(id=network, kind="vxlan", mtu=1450))
    assert any("no living DHCP service" in each for each in world.doctor())
    now.ahead = 70
    world.beat("host1")
    world.beat("host2")
    world.realize()
    assert network_on(world, host, network) == spec


def test_the_work_of_a_lost_host_goes_to_others(world: NetworkWorld, now: Time) -> None:
    found = world.routed()
    port = world.create("port", network_id=found["network_id"])
    floating = world.create(
        "floatingip", floating_network_id=found["external"]["id"], port_id=port["id"]
    )
    world.realize()
    router, network = found["router"]["id"], found["network_id"]
    first = world.ok("GET", f"/routers/{router}/l3-agents", "admin")["agents"][0]["host"]
    other = "host2" if first == "host1" else "host1"
    now.ahead = 40
    world.beat(other)
    world.realize()
    assert world.on(other).routers == (router,)
    assert world.ok("GET", f"/routers/{router}/l3-agents", "admin")["agents"][0]["host"] == other
    assert status(world, "floatingip", floating["id"]) == "ACTIVE"
    dhcp = world.ok("GET", f"/networks/{network}/dhcp-agents", "admin")["agents"]
    assert [each["host"] for each in dhcp] == [other]
    assert world.on(other).dhcp_servers == (network,)
    assert len(world.list("port", "?device_owner=network:dhcp")) == 1
    world.beat(first)
    world.realize()
    assert (world.on(first).routers, world.on(first).networks) == ((), ())
    assert world.doctor() == []


def test_when_all_hosts_are_lost_the_status_says_so(world: NetworkWorld, now: Time) -> None:
    found = world.routed()
    world.realize()
    now.ahead = 100
    world.realize()
    assert status(world, "router", found["router"]["id"]) == "DOWN"
    assert world.list("port", "?status=ACTIVE", "admin") == []
    for name in ("host1", "host2"):
        world.beat(name)
    world.realize()
    assert status(world, "router", found["router"]["id"]) == "ACTIVE"
    assert world.doctor() == []


# --- Failing ---------------------------------------------------------------------------------


def behind(world: NetworkWorld) -> list[Any]:
    with world.cloud.database.read() as tx:
        return list(
            tx.all(
                sa.select(model.presence).where(model.presence.c.applied != model.presence.c.wanted)
            )
        )


def test_a_failure_is_told_and_tried_again(world: NetworkWorld, now: Time) -> None:
    faults = [world.switching(name).faults for name in ("host1", "host2")]
    for each in faults:
        each.fail_next(
            "ensure_network", DHCP_FAILED, "dnsmasq does not start: no such user", keep=True
        )
    network = world.subnet()["network_id"]
    world.realize()
    (row,) = behind(world)
    assert "dnsmasq does not start" in row.error
    assert world.list("port", "?device_owner=network:dhcp")[0]["status"] == "DOWN"
    port = server_port(world, network)
    with pytest.raises(NodeError, match="dnsmasq does not start") as refusal:
        world.put(port["id"], "host1")
    assert refusal.value.code == DHCP_FAILED
    for each in faults:
        each.clear()
    now.ahead = 20
    world.beat("host1")
    world.beat("host2")
    world.put(port["id"], "host1")
    world.realize()
    assert behind(world) == []
    assert world.list("port", "?device_owner=network:dhcp")[0]["status"] == "ACTIVE"


def test_what_keeps_failing_is_found_by_the_doctor(world: NetworkWorld, now: Time) -> None:
    for name in ("host1", "host2"):
        world.switching(name).faults.fail_next(
            "ensure_router", "command_failed", "nft says no", keep=True
        )
    router = world.routed()["router"]["id"]
    for _ in range(6):
        now.ahead += 15
        world.beat("host1")
        world.beat("host2")
        world.realize()
    assert status(world, "router", router) == "ERROR"
    assert any("nft says no" in each and router in each for each in world.doctor())


def test_a_silent_host_holds_up_nobody(world: NetworkWorld) -> None:
    one, two = world.subnet()["network_id"], world.subnet()["network_id"]
    world.cloud.bus._servers["node.host1"] = ()  # type: ignore[attr-defined]
    world.realize()
    reached = [each for each in (one, two) if each in world.on("host2").networks]
    assert len(reached) == 1
    assert all("nobody serves it" in row.error for row in behind(world))
    port = server_port(world, one)
    with pytest.raises(NodeUnreachable):
        world.put(port["id"], "host1")
    assert status(world, "port", port["id"]) == "DOWN"


def test_a_node_refuses_what_is_older_than_what_it_has(world: NetworkWorld) -> None:
    network = world.subnet()["network_id"]
    world.realize()
    host = next(name for name in ("host1", "host2") if network in world.on(name).networks)
    with world.cloud.database.read() as tx:
        row = tx.first(sa.select(model.presence).where(model.presence.c.subject_id == network))
    world.create("port", network_id=network)
    world.realize()
    newest = network_on(world, host, network)
    with guards.node_calls_allowed(), pytest.raises(NodeError) as refusal:
        NodeClient(world.cloud.bus, host).ensure_network(
            NetworkSpec(id=network, kind="vxlan", mtu=1450), realization.fence(row)
        )
    assert refusal.value.code == FENCED
    assert network_on(world, host, network) == newest


class Killed(BaseException):
    """The process is gone."""


def test_a_kill_between_call_and_record_loses_nothing(
    world: NetworkWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = world.subnet()["network_id"]

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(results, "record", die)
    with pytest.raises(Killed):
        world.tested.reconcile("networks")
    assert any(network in world.on(name).networks for name in ("host1", "host2"))
    assert len(behind(world)) == 1
    port = server_port(world, network)
    with pytest.raises(Killed):
        world.put(port["id"], "host1")
    assert status(world, "port", port["id"]) == "DOWN"
    monkeypatch.undo()
    world.realize()
    assert behind(world) == []
    assert status(world, "port", port["id"]) == "ACTIVE"
    monkeypatch.setattr(results, "record", die)
    with pytest.raises(Killed):
        world.take(port["id"], "host1")
    monkeypatch.undo()
    world.realize()
    world.delete("port", port["id"])
    world.delete("network", network)
    world.realize()
    for name in ("host1", "host2"):
        state = world.on(name)
        assert (state.networks, state.ports, state.security_groups) == ((), (), ())
    with world.cloud.database.read() as tx:
        assert tx.all(sa.select(model.presence)) == []


def test_a_kill_before_the_call_leaves_the_wish(
    world: NetworkWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = world.create("network")["id"]
    port = server_port(world, network)

    def die(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(realization, "send", die)
    with pytest.raises(Killed):
        world.put(port["id"], "host1")
    monkeypatch.undo()
    assert world.on("host1").ports == ()
    world.realize()
    assert world.on("host1").ports == (port["id"],)


def test_what_changes_while_it_is_sent_is_sent_again(world: NetworkWorld) -> None:
    network = world.subnet()["network_id"]
    world.realize()
    host = next(name for name in ("host1", "host2") if network in world.on(name).networks)
    faults = world.switching(host).faults
    original, late = faults.meet, []

    def slowly(method: str) -> None:
        if method == "ensure_network" and not late:  # a port is made in this very moment
            late.append(world.create("port", network_id=network)["id"])
        original(method)

    faults.meet = slowly
    world.create("port", network_id=network)
    world.realize()
    hosts = {each.port_id for each in network_on(world, host, network).dhcp.hosts}  # type: ignore[union-attr]
    assert late[0] in hosts
    assert behind(world) == []


def test_a_port_that_is_deleted_goes_from_its_host(world: NetworkWorld) -> None:
    network = world.create("network")["id"]
    port = server_port(world, network)
    world.put(port["id"], "host1")
    world.delete("port", port["id"])
    world.realize()
    assert world.on("host1").ports == ()
    assert world.on("host1").networks == ()


# --- The doctor ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("leg", "is no router's leg"),
        ("address", "lies outside of"),
        ("translation", "does not have"),
        ("dhcp", "serves no DHCP"),
        ("floating", "holds no floating IP"),
        ("gateway", "is no router's gateway"),
        ("presence", "but nothing sees to it"),
        ("orphan", "is allocated without a port"),
    ],
)
def test_each_violation_is_seen(world: NetworkWorld, damage: str, sentence: str) -> None:
    found = world.routed()
    port = world.create("port", network_id=found["network_id"])
    world.create("floatingip", floating_network_id=found["external"]["id"], port_id=port["id"])
    world.realize()
    assert world.doctor() == []
    with world.cloud.database.engine.connect() as connection:
        if world.cloud.database.is_sqlite:
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        else:
            connection.exec_driver_sql("SET session_replication_role = replica")
        statements = {
            "leg": sa.delete(model.router_interface),
            "address": sa.update(model.port_address)
            .where(model.port_address.c.port_id == port["id"])
            .values(ip="192.0.2.9"),
            "translation": sa.update(model.floating_ip).values(fixed_ip_address="10.0.0.250"),
            "dhcp": sa.update(model.dhcp_service).values(port_id=None),
            "floating": sa.delete(model.floating_ip),
            "gateway": sa.update(model.router).values(gateway_port_id=None),
            "presence": sa.delete(model.presence),
            "orphan": sa.delete(model.port).where(model.port.c.id == port["id"]),
        }
        connection.execute(statements[damage])
        connection.commit()
        if world.cloud.database.is_sqlite:
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        else:
            connection.exec_driver_sql("SET session_replication_role = DEFAULT")
    said = world.doctor()
    assert any(sentence in each for each in said), said
