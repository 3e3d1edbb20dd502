"""Servers and hosts grow alike again when nobody asked for a change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from nubelet import compute, placement
from nubelet.compute.model import compute_host, server
from nubelet.kernel import clock
from nubelet.node.wire import GuestEvent, Heartbeat
from tests.cloud import make_cloud
from tests.compute_calls import Caller, Project


class Place:
    """A cloud with a running server."""

    def __init__(self, folder: Path) -> None:
        self.tested = make_cloud(folder)
        self.cloud = self.tested.cloud
        self.project = Project(self.tested)
        self.server_id = self.project.boot(Caller(self.tested))
        self.host = self.shown()["OS-EXT-SRV-ATTR:host"]
        self.agent: Any = self.tested.agents[self.host]
        self.reconcile("returning_hosts")  # the agents have just started

    def shown(self) -> dict[str, Any]:
        return self.project.show(self.server_id)

    def change(self, table: sa.Table, *where: Any, **values: Any) -> None:
        with self.cloud.database.write() as tx:
            tx.update(table, *where, **values)

    def reconcile(self, name: str) -> None:
        self.tested.reconcile(name)
        self.tested.settle()

    def said(self) -> list[str]:
        assert compute.SERVICE.check
        return compute.SERVICE.check(self.cloud)

    def guests(self) -> set[str]:
        return {state.id for state in self.agent.hypervisor.observe_guests()}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.tested.close()


def test_a_guest_shut_down_from_inside_becomes_shutoff_by_an_action(place: Place) -> None:
    place.agent.hypervisor.shut_down_from_inside(place.server_id)
    compute.guest_changed(
        place.cloud, GuestEvent(host=place.host, guest_id=place.server_id, power="shutdown")
    )
    place.tested.settle()
    assert place.shown()["status"] == "SHUTOFF"
    assert place.shown()["OS-EXT-STS:power_state"] == 4
    actions = Caller(place.tested, who="admin").get(
        f"/servers/{place.server_id}/os-instance-actions"
    )["instanceActions"]
    assert actions[0]["action"] == "stop"


def test_a_lost_event_is_found_by_looking(place: Place) -> None:
    place.agent.hypervisor.set_power(place.server_id, "shutdown", 0)
    assert any("its guest on host" in each for each in place.said())
    place.reconcile("power_states")
    assert place.shown()["status"] == "SHUTOFF"
    assert not place.said()


def test_a_guest_that_crashed_runs_again_but_not_for_ever(place: Place) -> None:
    for _ in range(3):
        place.agent.hypervisor.crash(place.server_id)
        compute.guest_changed(
            place.cloud, GuestEvent(host=place.host, guest_id=place.server_id, power="crashed")
        )
        place.tested.settle()
        assert place.shown()["status"] == "ACTIVE"
        assert place.agent.hypervisor.observe_guest(place.server_id).power == "running"
    place.agent.hypervisor.crash(place.server_id)
    compute.guest_changed(
        place.cloud, GuestEvent(host=place.host, guest_id=place.server_id, power="crashed")
    )
    place.tested.settle()
    assert place.shown()["status"] == "SHUTOFF"


def test_an_event_of_another_host_is_not_believed(place: Place) -> None:
    other = next(name for name in place.tested.agents if name != place.host)
    compute.guest_changed(
        place.cloud, GuestEvent(host=other, guest_id=place.server_id, power="shutdown")
    )
    place.tested.settle()
    assert place.shown()["status"] == "ACTIVE"


def restart_host(place: Place, *, keep_guests: bool) -> None:
    """The host was started again: its agent says so, and the guests may be lost."""
    if not keep_guests:
        place.agent.hypervisor.forget(place.server_id)
    place.change(compute_host, compute_host.c.name == place.host, booted_at=1)
    compute.heartbeat(
        place.cloud,
        Heartbeat(host=place.agent.observe_host(), switching="fake", started_at=clock.now()),
    )


def test_servers_come_back_after_their_host_was_started_again(place: Place) -> None:
    restart_host(place, keep_guests=False)
    place.reconcile("returning_hosts")
    assert place.shown()["status"] == "ACTIVE"
    assert place.agent.hypervisor.observe_guest(place.server_id).power == "running"
    assert not place.said()


def test_stopped_servers_come_back_stopped(place: Place) -> None:
    Caller(place.tested).act(place.server_id, "os-stop")
    place.tested.settle()
    restart_host(place, keep_guests=False)
    place.reconcile("returning_hosts")
    assert place.shown()["status"] == "SHUTOFF"
    assert place.agent.hypervisor.observe_guest(place.server_id).power == "shutdown"


def test_what_was_only_in_memory_is_lost_with_the_host(place: Place) -> None:
    Caller(place.tested).act(place.server_id, "suspend")
    place.tested.settle()
    restart_host(place, keep_guests=False)
    place.reconcile("returning_hosts")
    assert place.shown()["status"] == "SHUTOFF"
    assert not place.said()


def test_a_restarted_agent_leaves_running_guests_alone(place: Place) -> None:
    before = place.agent.hypervisor.read_console(place.server_id, None)
    restart_host(place, keep_guests=True)
    place.reconcile("returning_hosts")
    assert place.shown()["status"] == "ACTIVE"
    assert place.agent.hypervisor.read_console(place.server_id, None) == before


def test_a_server_deleted_while_its_host_was_down_is_removed_when_it_returns(place: Place) -> None:
    bus: Any = place.cloud.bus
    served = bus._servers.pop(f"node.{place.host}")
    place.change(compute_host, compute_host.c.name == place.host, seen_at=1)
    Caller(place.tested).delete(f"/servers/{place.server_id}", 204)
    place.tested.settle()
    assert Caller(place.tested).call("GET", f"/servers/{place.server_id}").status_code == 404
    assert place.server_id in place.guests()

    bus._servers[f"node.{place.host}"] = served
    place.change(compute_host, compute_host.c.name == place.host, seen_at=clock.now())
    place.change(server, server.c.id == place.server_id, deleted_at=1)
    assert any(f"guest {place.server_id}" in each for each in place.said())
    place.reconcile("stray_guests")
    assert place.server_id not in place.guests()
    assert place.server_id not in place.agent.disks.observe().guest_disks


def test_a_silent_host_is_down_and_gets_no_servers(place: Place) -> None:
    place.change(compute_host, seen_at=1)
    caller = Caller(place.tested)
    failed = place.project.show(place.project.boot(caller))
    assert failed["status"] == "ERROR"
    for name in place.tested.agents:
        assert f"{name}: service down since 1970-01-01T00:00:00Z" in failed["fault"]["message"]
    refused = caller.call("POST", f"/servers/{place.server_id}/action", {"os-stop": None})
    assert refused.status_code == 409
    assert place.host in refused.text
    place.change(compute_host, seen_at=clock.now())


def test_a_heartbeat_tells_placement_what_the_host_has(place: Place) -> None:
    with place.cloud.database.read() as tx:
        row = tx.first(sa.select(compute_host).where(compute_host.c.name == place.host))
        assert row is not None
        assert placement.usages(tx, row.hypervisor_id) == {
            "VCPU": 1,
            "MEMORY_MB": 512,
            "DISK_GB": 1,
        }
        assert "COMPUTE_NODE" in placement.traits_of(tx, [row.hypervisor_id])[row.hypervisor_id]


# --- What doctor says ------------------------------------------------------------------------


def test_a_healthy_cloud_has_nothing_to_say(place: Place) -> None:
    assert place.said() == []


def test_doctor_finds_each_violation(place: Place) -> None:
    of_server = server.c.id == place.server_id

    def found(text: str) -> bool:
        return any(text in each for each in place.said())

    place.change(server, of_server, task_state="spawning")
    assert found("is in task_state spawning, but no operation owns it")
    place.change(server, of_server, task_state=None, vm_state="building")
    assert found("is in vm_state building, but no operation builds it")
    place.change(server, of_server, vm_state="active", host=None)
    assert found("is active, but on no host")
    place.change(server, of_server, host="no-such-host")
    assert found("is on host no-such-host, which is not known")
    place.change(server, of_server, host=place.host)
    assert not place.said()

    with place.cloud.database.write() as tx:
        held = placement.allocations_of(tx, [place.server_id])[place.server_id]
        placement.release(tx, place.server_id)
    assert found("without an allocation")
    with place.cloud.database.write() as tx:
        placement.claim(tx, place.server_id, held, project_id="p", user_id="u")
    assert not place.said()

    place.agent.hypervisor.forget(place.server_id)
    assert found("which has no such guest")


def test_doctor_finds_what_is_left_of_a_server_that_is_gone(place: Place) -> None:
    place.change(server, server.c.id == place.server_id, deleted_at=1, vm_state="deleted")
    said = "\n".join(place.said())
    for text in (
        "still has an allocation",
        "still has a card",
        "which is gone",
        "has guest",
        "has disks of",
    ):
        assert text in said
