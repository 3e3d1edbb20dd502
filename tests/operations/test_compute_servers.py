"""Every operation on servers, with every fault at every step: what failed leaves nothing behind,
what succeeded is all there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from nubelet import network, placement
from nubelet.compute import servers
from nubelet.compute.model import server_nic
from nubelet.compute.operations import (
    ATTACH_INTERFACE,
    CREATE_SERVER,
    DELETE_SERVER,
    DETACH_INTERFACE,
    POWER_OPERATIONS,
    REBUILD_SERVER,
    RECOVER_SERVER,
)
from nubelet.kernel.database import Tx
from nubelet.kernel.operations import journal
from tests.cloud import make_cloud
from tests.compute_calls import Caller, Project
from tests.operations import harness
from tests.operations.harness import Scenario


class ServerWorld:
    """Two hosts, a project, and a server that something is done to."""

    server_id = ""

    def __init__(self, folder: Path) -> None:
        self.tested = make_cloud(
            folder, run_operations=False, services=("image", "placement", "network", "compute")
        )
        self.cloud = self.tested.cloud
        self.project = Project(self.tested)
        self.project.raise_quotas(instances=-1, cores=-1, ram=-1)
        self.caller = Caller(self.tested)

    def begin(self) -> str:
        """A new server, whatever was there before, and the operation on it."""
        self.prepare()
        self.act()
        return self.started()

    def prepare(self) -> None:
        """Make what is there before the operation."""

    def act(self) -> None:
        """Start the operation."""
        raise NotImplementedError

    def close(self) -> None:
        self.tested.close()

    def started(self) -> str:
        """The operation that is under way."""
        with self.cloud.database.read() as tx:
            return journal.find(tx, subject_id=self.server_id, states=journal.OPEN)[-1].id

    def running_server(self, **fields: Any) -> str:
        server_id = self.project.boot(self.caller, **fields)
        assert self.project.show(server_id)["status"] == "ACTIVE"
        return server_id

    # --- Looking ----------------------------------------------------------------------------

    def row(self, tx: Tx) -> Any:
        return servers.get(tx, self.server_id, deleted=True)

    def traces(self) -> list[str]:
        """Where there is still something of the server."""
        found = []
        with self.cloud.database.read() as tx:
            if placement.allocations_of(tx, [self.server_id]):
                found.append("an allocation")
            found += [
                f"port {port.id}" for port in network.ports_of(tx, [self.server_id])[self.server_id]
            ]
        for name, agent in self.tested.agents.items():
            guests = {state.id for state in agent.hypervisor.observe_guests()}
            if self.server_id in guests:
                found.append(f"a guest on {name}")
            if self.server_id in agent.disks.observe().guest_disks:
                found.append(f"disks on {name}")
            found += [f"tap {port} on {name}" for port in self.stray_taps(name, agent)]
        return found

    def stray_taps(self, name: str, agent: Any) -> list[str]:
        taps = agent.switching.observe().ports
        with self.cloud.database.read() as tx:
            ports = network.ports_by_id(tx, taps)
        return [tap for tap in taps if tap not in ports or ports[tap].host != name]

    def guest(self) -> Any:
        """The guest as its host has it."""
        with self.cloud.database.read() as tx:
            host = self.row(tx).host
        return self.tested.agents[host].hypervisor.observe_guest(self.server_id)

    def state(self, vm_state: str, power: str | None = None) -> list[str]:
        """What differs from a settled server in this state."""
        with self.cloud.database.read() as tx:
            row = self.row(tx)
        found = []
        if (row.vm_state, row.task_state) != (vm_state, None):
            found.append(f"vm_state {row.vm_state}, task_state {row.task_state}")
        if vm_state == "error" and not (row.fault and row.fault["message"]):
            found.append("no fault tells why")
        if power and self.guest().power != power:
            found.append(f"the guest is {self.guest().power}, not {power}")
        return found


class Create(ServerWorld):
    def act(self) -> None:
        self.server_id = self.project.boot(self.caller, wait=False, config_drive=True)

    def nothing_left(self) -> list[str]:
        with self.cloud.database.read() as tx:
            host = self.row(tx).host
        return self.state("error") + self.traces() + ([f"still on {host}"] if host else [])

    def all_there(self) -> list[str]:
        found = self.state("active", "running")
        with self.cloud.database.read() as tx:
            allocations = placement.allocations_of(tx, [self.server_id])
            ports = network.ports_of(tx, [self.server_id])[self.server_id]
        if len(allocations.get(self.server_id, {})) != 1:
            found.append(f"allocations {allocations}")
        if [port.status for port in ports] != ["ACTIVE"]:
            found.append(f"ports {ports}")
        if len(self.guest().nics) != 1:
            found.append("the guest has not one card")
        return found


class CreateWithPort(Create):
    """The port is the user's: it must outlive a failure."""

    def act(self) -> None:
        self.port_id = self.project.new_port()["id"]
        self.server_id = self.project.boot(
            self.caller, wait=False, networks=[{"port": self.port_id}]
        )

    def nothing_left(self) -> list[str]:
        with self.cloud.database.read() as tx:
            port = network.ports_by_id(tx, [self.port_id]).get(self.port_id)
        kept = [] if port and not port.device_id and not port.host else [f"the port is {port}"]
        return super().nothing_left() + kept


class Delete(ServerWorld):
    def prepare(self) -> None:
        self.server_id = self.running_server()

    def act(self) -> None:
        self.caller.delete(f"/servers/{self.server_id}", 204)

    def nothing_left(self) -> list[str]:
        with self.cloud.database.read() as tx:
            deleted = self.row(tx).deleted_at is not None
        if deleted:  # the fault came too late to matter
            return self.all_there()
        return self.state("error")  # from where it may be deleted again

    def all_there(self) -> list[str]:
        with self.cloud.database.read() as tx:
            deleted = self.row(tx).deleted_at is not None
        return self.traces() + self.state("deleted") + ([] if deleted else ["it is not deleted"])


class DeleteWhileBuilding(Delete):
    """The deletion stops the creation that is under way."""

    def prepare(self) -> None:
        self.server_id = self.project.boot(self.caller, wait=False)


def power_world(
    action: str,
    body: dict[str, Any],
    before: tuple[str, str],
    after: tuple[str, str],
    *,
    first: str = "",
    breaks: bool = False,
) -> Callable[[Path], ServerWorld]:
    """A world for an action that brings the guest to another power state."""

    class Power(ServerWorld):
        def prepare(self) -> None:
            self.server_id = self.running_server()
            if first:
                self.caller.act(self.server_id, first)
                self.tested.settle()

        def act(self) -> None:
            self.caller.post(f"/servers/{self.server_id}/action", body, 202)

        def nothing_left(self) -> list[str]:
            return self.state("error") if breaks else self.state(*before)

        def all_there(self) -> list[str]:
            return self.state(*after)

    return Power


class Rebuild(ServerWorld):
    def prepare(self) -> None:
        self.server_id = self.running_server()
        self.image_id = self.project.new_image("other")

    def act(self) -> None:
        self.caller.act(self.server_id, "rebuild", {"imageRef": self.image_id})

    def nothing_left(self) -> list[str]:
        return self.state("error")  # from where it may be rebuilt again

    def all_there(self) -> list[str]:
        return self.state("active", "running")


class Attach(ServerWorld):
    def prepare(self) -> None:
        self.server_id = self.running_server()

    def act(self) -> None:
        made = self.caller.post(
            f"/servers/{self.server_id}/os-interface",
            {"interfaceAttachment": {"net_id": self.project.network_id}},
            200,
        )
        self.port_id = made["interfaceAttachment"]["port_id"]

    def cards(self, count: int) -> list[str]:
        with self.cloud.database.read() as tx:
            rows = tx.all(sa.select(server_nic).where(server_nic.c.server_id == self.server_id))
            ports = network.ports_of(tx, [self.server_id])[self.server_id]
        present = (len(rows), len(ports), len(self.guest().nics))
        found = self.state("active", "running")
        return found if present == (count,) * 3 else [*found, f"rows, ports, cards: {present}"]

    def nothing_left(self) -> list[str]:
        return self.cards(1)

    def all_there(self) -> list[str]:
        return self.cards(2)


class Detach(Attach):
    def act(self) -> None:
        path = f"/servers/{self.server_id}/os-interface"
        self.port_id = self.caller.get(path)["interfaceAttachments"][0]["port_id"]
        self.caller.delete(f"{path}/{self.port_id}", 202)

    def nothing_left(self) -> list[str]:
        found = self.state("active", "running")
        with self.cloud.database.read() as tx:
            rows = tx.all(sa.select(server_nic).where(server_nic.c.server_id == self.server_id))
            ports = network.ports_of(tx, [self.server_id])[self.server_id]
        same = [row.port_id for row in rows] == [port.id for port in ports]
        return found if same else [*found, f"cards {rows}, ports {ports}"]

    def all_there(self) -> list[str]:
        return self.cards(0)


class Recover(ServerWorld):
    """The host was started again and has lost the guest."""

    def prepare(self) -> None:
        self.server_id = self.running_server()
        with self.cloud.database.read() as tx:
            self.host = self.row(tx).host
        self.tested.agents[self.host].hypervisor.forget(self.server_id)

    def act(self) -> None:
        with self.cloud.database.write() as tx:
            row = self.row(tx)
            journal.start(
                tx,
                RECOVER_SERVER,
                project_id=row.project_id,
                subject_type="server",
                subject_id=row.id,
                inputs={"host": self.host},
            )

    def nothing_left(self) -> list[str]:
        return self.state("error")

    def all_there(self) -> list[str]:
        return self.state("active", "running")


ACTIVE, STOPPED = ("active", "running"), ("stopped", "shutdown")
PAUSED, SUSPENDED = ("paused", "paused"), ("suspended", "suspended")
_HARD = {"reboot": {"type": "HARD"}}
_ALL = (
    Scenario("create", CREATE_SERVER, Create),
    Scenario("create_with_port", CREATE_SERVER, CreateWithPort),
    Scenario("delete", DELETE_SERVER, Delete),
    Scenario("delete_while_building", DELETE_SERVER, DeleteWhileBuilding),
    Scenario(
        "start",
        POWER_OPERATIONS["start"],
        power_world("start", {"os-start": None}, STOPPED, ACTIVE, first="os-stop"),
    ),
    Scenario(
        "stop", POWER_OPERATIONS["stop"], power_world("stop", {"os-stop": None}, ACTIVE, STOPPED)
    ),
    Scenario(
        "reboot",
        POWER_OPERATIONS["reboot"],
        power_world("reboot", _HARD, ACTIVE, ACTIVE),
        inputs={"hard": True},
    ),
    Scenario(
        "pause", POWER_OPERATIONS["pause"], power_world("pause", {"pause": None}, ACTIVE, PAUSED)
    ),
    Scenario(
        "unpause",
        POWER_OPERATIONS["unpause"],
        power_world("unpause", {"unpause": None}, PAUSED, ACTIVE, first="pause"),
    ),
    Scenario(
        "suspend",
        POWER_OPERATIONS["suspend"],
        power_world("suspend", {"suspend": None}, ACTIVE, SUSPENDED, breaks=True),
    ),
    Scenario(
        "resume",
        POWER_OPERATIONS["resume"],
        power_world("resume", {"resume": None}, SUSPENDED, ACTIVE, first="suspend", breaks=True),
    ),
    Scenario("rebuild", REBUILD_SERVER, Rebuild),
    Scenario("attach_interface", ATTACH_INTERFACE, Attach),
    Scenario("detach_interface", DETACH_INTERFACE, Detach),
    Scenario("recover", RECOVER_SERVER, Recover),
)
SCENARIOS = [dataclasses.replace(each, shared=True) for each in _ALL]


@pytest.mark.parametrize("case", harness.cases(*SCENARIOS), ids=str)
def test_crash(case: harness.Case, tmp_path: Path) -> None:
    case.run(tmp_path)
