"""The doctor finds every violated invariant and names the thing; a whole cloud has no findings.

Each test damages one thing, sees it found, and mends it; that nothing is found afterwards is
checked after each. What a reconciler mends is left to it.
"""

from __future__ import annotations

import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from nubelet import __version__
from nubelet.cli.doctor import versions
from nubelet.compute.model import compute_host, server, server_nic
from nubelet.identity import model as identity
from nubelet.image.model import image
from nubelet.kernel import clock, reconcile
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.ids import new_uuid
from nubelet.kernel.operations.journal import operation
from nubelet.kernel.reconcile import Reconciler, Reconcilers, reconciler_state
from nubelet.network.model import (
    dhcp_service,
    floating_ip,
    port,
    port_address,
    presence,
    router,
    router_interface,
)
from nubelet.network.model import host as network_host
from nubelet.node.control import CONTROL_TARGET
from nubelet.operating import doctor
from nubelet.placement.model import allocation, consumer, inventory
from tests.cloud import ALL_SERVICES, make_cloud
from tests.compute_calls import Caller, Project
from tests.functional.command import CommandCloud, items, pretty

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]


class Ward:
    """A cloud with a server behind a router, and ways to damage and to heal it."""

    def __init__(self, folder: Path) -> None:
        self.tested = make_cloud(
            folder, services=(*ALL_SERVICES, "operating"), run_operations=False
        )
        self.cloud = self.tested.cloud
        self.admin = self.tested.client("admin")
        self.project = Project(self.tested)
        self.member = Caller(self.tested)
        self._route()
        self.server = self.project.boot(self.member)
        shown = self.project.show(self.server)
        self.host = str(shown["OS-EXT-SRV-ATTR:host"])
        self.other_host = next(name for name in self.tested.agents if name != self.host)
        self.agent: Any = self.tested.agents[self.host]
        self.port = str(self.rows(port, port.c.device_id == self.server)[0]["id"])
        self.floating = self._made(
            "floatingips",
            "member",
            floatingip={"floating_network_id": self.outside, "port_id": self.port},
        )["id"]
        self.tested.reconcile()
        self.tested.settle()

    def _made(self, path: str, who: str, **body: Any) -> Any:
        answer = self.tested.client(who).post(f"/network/v2.0/{path}", json=body)
        assert answer.is_success, answer.text
        return next(iter(answer.json().values()))

    def _route(self) -> None:
        self.outside = str(
            self._made(
                "networks",
                "admin",
                network={
                    "router:external": True,
                    "provider:network_type": "flat",
                    "provider:physical_network": "external",
                },
            )["id"]
        )
        self._made(
            "subnets",
            "admin",
            subnet={
                "network_id": self.outside,
                "cidr": "172.24.4.0/24",
                "ip_version": 4,
                "enable_dhcp": False,
            },
        )
        self.router = str(
            self._made(
                "routers", "member", router={"external_gateway_info": {"network_id": self.outside}}
            )["id"]
        )
        answer = self.tested.client("member").put(
            f"/network/v2.0/routers/{self.router}/add_router_interface",
            json={"subnet_id": self.project.subnet_id},
        )
        assert answer.is_success, answer.text

    # --- What is found ----------------------------------------------------------------------

    def found(self) -> dict[str, list[str]]:
        answer = self.admin.get("/operating/v1/doctor")
        assert answer.status_code == 200, answer.text
        doctor = answer.json()["doctor"]
        found = {area: each for area, each in doctor["findings"].items() if each}
        assert doctor["healthy"] == (not found)
        return found

    def finds(self, area: str, *sentences: str) -> None:
        """Each of these is found in the area."""
        found = self.found().get(area, [])
        for sentence in sentences:
            assert sentence in found, pretty([sentence, found])

    # --- Damage ------------------------------------------------------------------------------

    def rows(self, table: sa.Table, *where: Any) -> list[dict[str, Any]]:
        with self.cloud.database.read() as tx:
            return [dict(row._mapping) for row in tx.all(sa.select(table).where(*where))]

    @contextmanager
    def _careless(self) -> Iterator[sa.Connection]:
        """A connection that does not mind foreign keys."""
        with self.cloud.database.engine.connect() as connection:
            lite = self.cloud.database.is_sqlite
            connection.exec_driver_sql(
                "PRAGMA foreign_keys=OFF" if lite else "SET session_replication_role = replica"
            )
            connection.commit()
            try:
                yield connection
                connection.commit()
            finally:
                connection.exec_driver_sql(
                    "PRAGMA foreign_keys=ON" if lite else "SET session_replication_role = DEFAULT"
                )
                connection.commit()

    @contextmanager
    def changed(self, table: sa.Table, *where: Any, **values: Any) -> Iterator[None]:
        """Rows that say something else, until they are put back."""
        before = self.rows(table, *where)
        assert before
        with self._careless() as connection:
            connection.execute(sa.update(table).where(*where).values(**values))
        yield
        keys = [column.name for column in table.primary_key]
        with self._careless() as connection:
            for row in before:
                now = {
                    **{key: row[key] for key in keys},
                    **{key: value for key, value in values.items() if key in keys},
                }
                connection.execute(
                    sa.update(table)
                    .where(*(table.c[key] == value for key, value in now.items()))
                    .values(**row)
                )

    @contextmanager
    def without(self, table: sa.Table, *where: Any) -> Iterator[None]:
        """Rows that are gone, until they are put back."""
        before = self.rows(table, *where)
        assert before
        with self._careless() as connection:
            connection.execute(sa.delete(table).where(*where))
        yield
        with self._careless() as connection:
            connection.execute(sa.insert(table), before)

    @contextmanager
    def with_row(self, table: sa.Table, **values: Any) -> Iterator[None]:
        """A row that belongs to nothing."""
        with self._careless() as connection:
            connection.execute(sa.insert(table).values(**values))
        yield
        with self._careless() as connection:
            connection.execute(
                sa.delete(table).where(
                    *(
                        column == values[column.name]
                        for column in table.c
                        if column.name in values
                        and not isinstance(values[column.name], dict | list)
                    )
                )
            )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    ward = Ward(tmp_path_factory.mktemp("doctor"))
    # Its loops have run once; that they do not run while the tests below do is no finding.
    with pytest.MonkeyPatch.context() as patience:
        patience.setattr(doctor, "_LATE_SECONDS", 1800.0)
        try:
            yield ward
        finally:
            ward.tested.close()


@pytest.fixture
def ward(shared: Ward) -> Iterator[Ward]:
    assert not shared.found(), pretty(shared.found())
    yield shared
    assert not shared.found(), pretty(shared.found())


# --- Operations and reconcilers ----------------------------------------------------------------


def test_operations_that_do_not_go_on(ward: Ward) -> None:
    (done,) = ward.rows(operation, operation.c.subject_id == ward.server)
    mine, what = (
        operation.c.id == done["id"],
        f"operation {done['id']} (create_server of server {ward.server})",
    )
    now, open_ = clock.now(), {"finished_at": None, "subject_id": ward.server}
    late = now - 7_200_000_000
    with ward.changed(operation, mine, state="running", kind="conjure", **open_):
        ward.finds(
            "operations",
            f"operation {done['id']} (conjure of server {ward.server}) is of "
            "a kind that no worker here knows",
        )
    with ward.changed(
        operation, mine, state="unwinding", undo_error="the disk is busy", tries=7, **open_
    ):
        ward.finds(
            "operations", f"{what} cannot be taken back yet, tried 7 times: the disk is busy"
        )
    with ward.changed(operation, mine, state="running", step="start_guest", deadline=late, **open_):
        ward.finds(
            "operations", f"{what} is past its deadline at step start_guest: are workers running?"
        )
    with ward.changed(operation, mine, state="pending", created_at=late, run_at=late, **open_):
        ward.finds("operations", f"{what} has not begun since {clock.iso_seconds(late)}")


def test_reconcilers_that_fail_or_are_not_run(ward: Ward) -> None:
    mine, late = reconciler_state.c.name == "networks", clock.now() - 3_600_000_000
    failed = "reconciler networks failed 3 times in a row since"
    (row,) = ward.rows(reconciler_state, mine)
    since, then = clock.iso_seconds(row["started_at"]), clock.iso_seconds(late)
    with ward.changed(reconciler_state, mine, failures=3, error="OSError: no space"):
        ward.finds("reconcilers", f"{failed} {since}: OSError: no space")
    gone = {"started_at": late - 1_000_000, "finished_at": late}
    with ward.changed(reconciler_state, mine, failures=3, error="OSError: no space", **gone):
        since = clock.iso_seconds(late - 1_000_000)
        ward.finds(
            "reconcilers", f"{failed} {since}: OSError: no space; it was last tried at {then}"
        )
    with ward.changed(reconciler_state, mine, **gone):
        ward.finds(
            "reconcilers", f"reconciler networks has not run since {then}; it should every 5 s"
        )


@contextmanager
def looping(ward: Ward, run: Callable[[Cloud], None]) -> Iterator[None]:
    """A loop more in the cloud."""
    loops = Reconcilers(ward.cloud, [Reconciler("more", 0.05, run)])
    loops.start()
    try:
        yield
    finally:
        loops.stop()
        with ward.cloud.database.write() as tx:
            tx.delete(reconciler_state, reconciler_state.c.name == "more")


def until_found(ward: Ward, pattern: str) -> None:
    end = time.monotonic() + 60
    while not any(re.fullmatch(pattern, one) for one in ward.found().get("reconcilers", ())):
        assert time.monotonic() < end, pretty([pattern, ward.found()])
        time.sleep(0.05)


def test_a_reconciler_that_dies_or_hangs_is_named(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, moment = threading.Event(), r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"

    def die(cloud: Cloud) -> None:
        raise SystemExit("a library gave up")

    def hang(cloud: Cloud) -> None:
        may_end.wait(120)

    with looping(ward, die):
        failed = rf"reconciler more failed \d+ times in a row since {moment}"
        until_found(ward, f"{failed}: SystemExit: a library gave up")
    monkeypatch.setattr(reconcile, "_MIN_LEASE_SECONDS", 1.0)
    monkeypatch.setattr(reconcile, "_LONG_RUN_SECONDS", 0.1)
    monkeypatch.setattr(doctor, "_LATE_SECONDS", 0.0)
    with looping(ward, hang):
        where = r"it is in wait \(threading.py:\d+\), called by .*hang \(test_doctor.py:\d+\).*"
        until_found(ward, rf"reconciler more runs since {moment} and does not end: {where}")
        may_end.set()
        until_found_no_more = time.monotonic() + 60
        while any("reconciler more" in one for one in ward.found().get("reconcilers", ())):
            assert time.monotonic() < until_found_no_more
            time.sleep(0.05)


def test_a_check_that_fails_is_a_finding(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    from nubelet.image import FileStore

    def burn(self: FileStore) -> list[str]:
        raise OSError("the store burns")

    monkeypatch.setattr(FileStore, "list_ids", burn)
    ward.finds("image", "the check itself failed: the store burns")
    monkeypatch.undo()


# --- Servers -----------------------------------------------------------------------------------


def test_servers_in_transition_that_nobody_works_on(ward: Ward) -> None:
    mine = server.c.id == ward.server
    with ward.changed(server, mine, task_state="powering-off"):
        ward.finds(
            "compute",
            f"server {ward.server} is in task_state powering-off, but no operation owns it",
        )
    with ward.changed(server, mine, vm_state="building"):
        ward.finds(
            "compute", f"server {ward.server} is in vm_state building, but no operation builds it"
        )
    with ward.changed(server, mine, vm_state="error", fault=None):
        ward.finds("compute", f"server {ward.server} is in vm_state error, but no fault tells why")


def test_servers_on_no_host_or_an_unknown_one(ward: Ward) -> None:
    mine = server.c.id == ward.server
    with ward.changed(server, mine, host=None):
        ward.finds(
            "compute",
            f"server {ward.server} is active, but on no host",
            f"server {ward.server} has an allocation on {ward.host}, but is on no host",
            f"port {ward.port} of server {ward.server} is bound to {ward.host}, the server "
            "is on no host",
            f"host {ward.host} has guest {ward.server}, which is no server there",
            f"host {ward.host} has disks of {ward.server}, which is no server there",
        )
    with ward.changed(server, mine, host="atlantis"):
        ward.finds("compute", f"server {ward.server} is on host atlantis, which is not known")
    with ward.changed(server, mine, host=ward.other_host):
        ward.finds(
            "compute",
            f"server {ward.server} is active on host {ward.other_host}, which has no such guest",
            f"server {ward.server} has no disks on host {ward.other_host}",
        )


def test_what_is_left_of_a_server_that_is_gone(ward: Ward) -> None:
    (card,) = ward.rows(server_nic, server_nic.c.server_id == ward.server)
    with ward.changed(server, server.c.id == ward.server, deleted_at=clock.now()):
        ward.finds(
            "compute",
            f"server {ward.server} is gone, but still has an allocation",
            f"server {ward.server} is gone, but still has a card on {card['network_id']}",
            f"port {ward.port} is bound to server {ward.server}, which is gone",
            f"host {ward.host} has guest {ward.server}, which is no server there",
            f"host {ward.host} has disks of {ward.server}, which is no server there",
        )


def test_claims_that_are_missing_wrong_or_nobodys(ward: Ward) -> None:
    mine = allocation.c.consumer_id == ward.server
    hosts = {row["name"]: row["hypervisor_id"] for row in ward.rows(compute_host)}
    with ward.without(allocation, mine):
        ward.finds("compute", f"server {ward.server} is on host {ward.host} without an allocation")
        ward.finds("placement", f"placement: consumer {ward.server} uses nothing")
    with ward.changed(allocation, mine, allocation.c.resource_class == "MEMORY_MB", used=1):
        ward.finds(
            "compute",
            f"server {ward.server} has an allocation of 1 MEMORY_MB, its flavor asks for 512",
        )
    with ward.changed(allocation, mine, provider_id=hosts[ward.other_host]):
        ward.finds(
            "compute",
            f"server {ward.server} has an allocation on {ward.other_host}, but is on {ward.host}",
        )
    nobody, now = new_uuid(), clock.now()
    with (
        ward.with_row(
            consumer, id=nobody, project_id="p", user_id="u", created_at=now, updated_at=now
        ),
        ward.with_row(
            allocation,
            consumer_id=nobody,
            provider_id=hosts[ward.host],
            resource_class="VCPU",
            used=1,
            updated_at=now,
        ),
    ):
        ward.finds(
            "compute", f"consumer {nobody} has an allocation on {ward.host}, but is no server"
        )


def test_cards_and_ports_that_do_not_match(ward: Ward) -> None:
    (card,) = ward.rows(server_nic, server_nic.c.server_id == ward.server)
    mine = port.c.id == ward.port
    with ward.changed(server_nic, server_nic.c.auto_id == card["auto_id"], port_id=None):
        ward.finds(
            "compute",
            f"server {ward.server} has a card without a port on network {card['network_id']}",
            f"the guest of server {ward.server} on host {ward.host} has a card for port "
            f"{ward.port}, which is not the server's",
        )
    with ward.changed(port, mine, device_id="elsewhere"):
        ward.finds(
            "compute",
            f"port {ward.port} is a card of server {ward.server}, but belongs to elsewhere",
        )
    with ward.changed(port, mine, host=ward.other_host):
        ward.finds(
            "compute",
            f"port {ward.port} of server {ward.server} is bound to "
            f"{ward.other_host}, the server is on {ward.host}",
        )
    guest = ward.agent.hypervisor._guests.get(ward.server)
    ward.agent.hypervisor.detach_nic(ward.server, ward.port, "")
    ward.finds(
        "compute",
        f"the guest of server {ward.server} on host {ward.host} has no card for port {ward.port}",
    )
    ward.agent.hypervisor._guests.put(ward.server, guest)


def test_guests_that_are_not_as_their_servers(ward: Ward) -> None:
    hypervisor, disks = ward.agent.hypervisor, ward.agent.disks
    hypervisor.set_power(ward.server, "paused", 0)
    ward.finds(
        "compute", f"server {ward.server} is active, but its guest on host {ward.host} is paused"
    )
    hypervisor.set_power(ward.server, "running", 0)

    kept = disks._guests.get(ward.server)
    disks._guests.drop(ward.server)
    ward.finds("compute", f"server {ward.server} has no disks on host {ward.host}")
    disks._guests.put(ward.server, kept)

    stray, guest = new_uuid(), hypervisor._guests.get(ward.server)
    hypervisor._guests.put(
        stray, msgspec.structs.replace(guest, spec=msgspec.structs.replace(guest.spec, id=stray))
    )
    disks._guests.put(stray, kept)
    ward.finds(
        "compute",
        f"host {ward.host} has guest {stray}, which is no server there",
        f"host {ward.host} has disks of {stray}, which is no server there",
    )
    hypervisor.forget(stray)
    disks._guests.drop(stray)


def test_a_guest_that_was_removed_behind_our_back_is_brought_back(ward: Ward) -> None:
    ward.agent.hypervisor.forget(ward.server)
    ward.finds(
        "compute", f"server {ward.server} is active on host {ward.host}, which has no such guest"
    )
    ward.tested.reconcile("power_states")
    ward.tested.settle()
    assert ward.agent.hypervisor.observe_guest(ward.server).power == "running"


@contextmanager
def _without_heartbeats(ward: Ward) -> Iterator[None]:
    """Nobody hears of any host for a while."""
    bus: Any = ward.cloud.bus
    served = bus._servers.pop(CONTROL_TARGET)
    time.sleep(0.2)  # one that is on its way arrives
    end = time.monotonic() + 60
    while any(each.threads._free < each.threads._alive for each in served):
        assert time.monotonic() < end
        time.sleep(0.01)
    try:
        yield
    finally:
        bus._servers[CONTROL_TARGET] = served


def test_hosts_that_are_silent(ward: Ward) -> None:
    long_ago = clock.now() - 3_600_000_000
    with (
        _without_heartbeats(ward),
        ward.changed(compute_host, compute_host.c.name == ward.host, seen_at=long_ago),
        ward.changed(network_host, network_host.c.name == ward.host, seen_at=long_ago),
    ):
        ward.finds(
            "compute",
            f"host {ward.host}, with 1 servers, was not heard of since "
            f"{clock.iso_seconds(long_ago)}",
        )
        ward.finds("network", f"port {ward.port} is ACTIVE on host {ward.host}, which is silent")
    mine = compute_host.c.name == ward.host
    with (
        _without_heartbeats(ward),
        ward.changed(compute_host, mine, seen_at=long_ago, forced_down=True),
    ):
        assert not ward.found()


def test_hosts_that_do_not_answer(ward: Ward) -> None:
    for method, area, what in (
        ("observe_guests", "compute", "runs"),
        ("observe_storage", "compute", "runs"),
        ("observe_network", "network", "carries"),
    ):
        ward.agent.hypervisor.faults.fail_next(method, "node_error", "it burns")
        ward.finds(
            area, f"host {ward.host} does not say what it {what}: it burns (host {ward.host})"
        )


# --- Networks: rows ----------------------------------------------------------------------------


def test_service_ports_that_serve_nothing(ward: Ward) -> None:
    (leg,) = ward.rows(router_interface, router_interface.c.router_id == ward.router)
    (through,) = ward.rows(router, router.c.id == ward.router)
    (outer,) = ward.rows(floating_ip, floating_ip.c.id == ward.floating)
    (dhcp,) = ward.rows(dhcp_service, dhcp_service.c.network_id == ward.project.network_id)
    with ward.without(router_interface, router_interface.c.port_id == leg["port_id"]):
        ward.finds(
            "network", f"port {leg['port_id']} (network:router_interface) is no router's leg"
        )
    with ward.changed(router, router.c.id == ward.router, gateway_port_id=None):
        ward.finds(
            "network",
            f"port {through['gateway_port_id']} (network:router_gateway) is no router's gateway",
        )
    with ward.without(floating_ip, floating_ip.c.id == ward.floating):
        ward.finds(
            "network", f"port {outer['floating_port_id']} (network:floatingip) holds no floating IP"
        )
    with ward.changed(dhcp_service, dhcp_service.c.port_id == dhcp["port_id"], port_id=None):
        ward.finds("network", f"port {dhcp['port_id']} (network:dhcp) serves no DHCP")
    with ward.changed(port, port.c.id == leg["port_id"], device_id="elsewhere"):
        ward.finds(
            "network",
            f"router {ward.router} has leg {leg['port_id']}, but that port says otherwise",
        )


def test_what_members_write_on_their_own_ports_is_no_finding(ward: Ward) -> None:
    member = ward.tested.client("member")
    lost = ward.project.boot(ward.member)
    member.delete(f"/compute/v2.1/servers/{lost}")
    ward.tested.settle()
    made = [
        ward._made(
            "ports",
            "member",
            port={
                "network_id": ward.project.network_id,
                "device_owner": owner,
                "device_id": device,
            },
        )["id"]
        for owner, device in (
            ("network:dhcp", ""),
            ("network:dhcp", "dhcp-of-mine"),
            ("network:router_gateway", ""),
            ("network:router_interface", ""),
            ("network:floatingip", "mine"),
            ("compute:nova", lost),
            ("compute:nova", ward.server),
        )
    ]
    for device in (lost, "", "elsewhere"):
        refused = member.put(
            f"/network/v2.0/ports/{ward.port}", json={"port": {"device_id": device}}
        )
        assert refused.status_code == 409, refused.text
        assert ward.server in refused.text
    ward.tested.settle()
    try:
        assert not ward.found(), ward.found()
    finally:
        for each in made:
            assert member.delete(f"/network/v2.0/ports/{each}").status_code == 204


def test_addresses_that_belong_to_nothing_or_lie_elsewhere(ward: Ward) -> None:
    (held,) = ward.rows(port_address, port_address.c.port_id == ward.port)
    mine, ip, gone = port_address.c.ip == held["ip"], held["ip"], new_uuid()
    own = (mine, port_address.c.port_id == ward.port)
    outside = ward.rows(
        port_address, port_address.c.port_id != ward.port, port_address.c.ip.like("172.24.%")
    )[0]["subnet_id"]
    with ward.changed(port_address, *own, port_id=gone):
        ward.finds(
            "network", f"address {ip} of subnet {held['subnet_id']} is allocated without a port"
        )
    with ward.changed(port_address, *own, subnet_id=gone):
        ward.finds("network", f"address {ip} of port {ward.port} is of no subnet")
    with ward.changed(port_address, *own, subnet_id=outside):
        ward.finds("network", f"address {ip} of port {ward.port} is of another network")
    with ward.changed(port_address, *own, ip="192.0.2.1"):
        ward.finds(
            "network",
            f"address 192.0.2.1 of port {ward.port} lies outside of 10.0.0.0/20",
            f"floating IP {ward.floating} leads to {ip}, which port {ward.port} does not have",
        )


def test_floating_ips_that_lead_nowhere(ward: Ward) -> None:
    (row,) = ward.rows(floating_ip, floating_ip.c.id == ward.floating)
    mine, outer = floating_ip.c.id == ward.floating, row["floating_ip_address"]
    what = f"floating IP {ward.floating} ({outer}) leads to a port"
    with ward.changed(floating_ip, mine, fixed_ip_address="10.0.0.99"):
        ward.finds(
            "network",
            f"floating IP {ward.floating} leads to 10.0.0.99, which port {ward.port} does not have",
        )
    with ward.changed(floating_ip, mine, router_id=None):
        ward.finds("network", f"{what}, but through no router")
    with ward.changed(router, router.c.id == ward.router, gateway_network_id=None):
        ward.finds(
            "network",
            f"{what} through router {ward.router}, which has no gateway on network {ward.outside}",
        )


def test_what_cannot_be_brought_to_a_host_or_taken_off_it(ward: Ward) -> None:
    mine = (presence.c.subject_id == ward.port, presence.c.host == ward.host)
    failing = {"applied": 1, "tries": 4, "error": "no tap", "not_before": clock.now() + 10**12}
    with ward.changed(presence, *mine, **failing):
        ward.finds("network", f"port {ward.port} cannot be brought to host {ward.host}: no tap")
    with ward.changed(presence, *mine, **failing, absent=True):
        ward.finds("network", f"port {ward.port} cannot be taken off host {ward.host}: no tap")
    with ward.without(presence, *mine):
        ward.finds(
            "network", f"port {ward.port} shall be on host {ward.host}, but nothing sees to it"
        )


# --- Networks: hosts ---------------------------------------------------------------------------


def look_again(ward: Ward) -> None:
    """The reconciler compares hosts every minute; now."""
    with ward.cloud.database.write() as tx:
        tx.update(network_host, network_host.c.name != "", observed_at=0)
    ward.tested.reconcile("networks")
    ward.tested.reconcile("networks")


@pytest.mark.parametrize("kind", ["port", "router", "network", "security_group"])
def test_what_is_missing_on_a_host_is_found_and_comes_back(ward: Ward, kind: str) -> None:
    row = ward.rows(presence, presence.c.kind == kind, presence.c.applied == presence.c.wanted)[0]
    switching: Any = ward.tested.agents[row["host"]].switching
    getattr(switching, f"remove_{kind}")(row["subject_id"])
    ward.finds("network", f"{kind} {row['subject_id']} is missing on host {row['host']}")
    look_again(ward)


@pytest.mark.parametrize("kind", ["port", "router", "network", "security_group"])
def test_what_nothing_asks_for_is_found_and_goes(ward: Ward, kind: str) -> None:
    row = ward.rows(presence, presence.c.kind == kind, presence.c.applied == presence.c.wanted)[0]
    switching: Any = ward.tested.agents[row["host"]].switching
    stray = new_uuid()
    records = getattr(switching, "_groups" if kind == "security_group" else f"_{kind}s")
    records.put(stray, msgspec.structs.replace(records.get(row["subject_id"]), id=stray))
    ward.finds("network", f"host {row['host']} has {kind} {stray}, which nothing asks for")
    look_again(ward)


def test_dhcp_that_is_dead_is_found_and_comes_back(ward: Ward) -> None:
    (row,) = ward.rows(dhcp_service, dhcp_service.c.network_id == ward.project.network_id)
    switching: Any = ward.tested.agents[row["host"]].switching
    spec = switching._networks.get(row["network_id"])
    switching._networks.put(spec.id, msgspec.structs.replace(spec, dhcp=None))
    ward.finds("network", f"network {spec.id} has no living DHCP service on host {row['host']}")
    look_again(ward)


# --- Images, placement, identity ---------------------------------------------------------------


def test_image_data_that_is_missing_cut_short_or_nobodys(ward: Ward) -> None:
    [path] = ward.cloud.settings.image.directory.glob(f"{ward.project.image_id}.*")
    name, data = f"image {ward.project.image_id} (boots)", path.read_bytes()
    path.unlink()
    ward.finds("image", f"{name} is active but its data is missing from the store file")
    path.write_bytes(data[:100])
    ward.finds("image", f"{name} should have 1024 bytes of data, the store file has 100")
    path.write_bytes(data)
    with ward.changed(image, image.c.id == ward.project.image_id, status="saving", lease_until=1):
        ward.finds("image", f"{name} is saving but no upload is alive")
    stray = path.with_name(new_uuid())
    stray.write_bytes(data)
    ward.finds("image", f"data of image {stray.name} lies in the store file but no image owns it")
    for loop in ("image.note_strays", "image.clean_up_uploads"):
        ward.tested.reconcile(loop)
    assert not stray.exists()


def test_more_is_used_than_there_is(ward: Ward) -> None:
    mine = allocation.c.consumer_id == ward.server
    (used,) = ward.rows(allocation, mine, allocation.c.resource_class == "MEMORY_MB")
    provider = used["provider_id"]
    stock = (inventory.c.provider_id == provider, inventory.c.resource_class == "MEMORY_MB")
    with ward.changed(inventory, *stock, total=100, reserved=0, allocation_ratio=1.0):
        ward.finds(
            "placement",
            f"placement: 512 MEMORY_MB are used on provider {provider}, which can give out 100",
        )
    with ward.without(inventory, *stock):
        ward.finds(
            "placement", f"placement: MEMORY_MB is used on provider {provider}, which has none"
        )


def test_identity_that_does_not_hang_together(ward: Ward) -> None:
    user = ward.tested.user("member").user_id
    project = ward.tested.user("member").project_id
    role = ward.rows(identity.role)[0]["id"]
    with ward.with_row(
        identity.assignment,
        actor_type="user",
        actor_id="ghost",
        inherited=False,
        target_type="project",
        target_id=project,
        role_id=role,
    ):
        ward.finds(
            "identity",
            f"The user ghost holds the role {role} on the project {project}, "
            "and one of them does not exist.",
        )
    with ward.changed(identity.user, identity.user.c.id == user, domain_id="void"):
        ward.finds("identity", f"The user {user} is in the domain void, which is not a domain.")
    someone = ward.rows(identity.password)[0]["user_id"]
    with ward.changed(identity.password, identity.password.c.user_id == someone, hash="secret"):
        ward.finds("identity", f"The password of the user {someone} is not stored as a hash.")
        assert "secret" not in str(ward.found()["identity"])


def test_token_keys_that_others_can_read(ward: Ward) -> None:
    key = max((ward.cloud.settings.state_dir / "fernet-keys").iterdir())
    mode = stat.S_IMODE(key.stat().st_mode)
    key.chmod(0o644)
    ward.finds("identity", f"The token key {key} can be read by others: its mode must be 0600.")
    key.chmod(mode)


def test_only_operators_may_ask(ward: Ward) -> None:
    for who, status in (
        ("member", 403),
        ("manager", 403),
        ("reader", 403),
        (None, 401),
        ("system_reader", 200),
        ("admin", 200),
    ):
        answer = ward.tested.client(who).get("/operating/v1/doctor")
        assert answer.status_code == status, (who, answer.text)
        if status == 403:
            assert re.search("operating:doctor", answer.text)


# --- The command --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandCloud]:
    cloud = CommandCloud(tmp_path_factory.mktemp("doctor-command"), "--fake", "--nodes", "2")
    cloud.up()
    cloud.login()
    try:
        yield cloud
    finally:
        cloud.purge()


def test_the_command_says_what_is_well_and_what_is_not(command: CommandCloud) -> None:
    assert [line[2:] for line in command.well().splitlines()] == [
        "operations",
        "reconcilers",
        "identity",
        "image",
        "placement",
        "network",
        "compute",
        "endpoints",
        "files",
        "versions",
    ]
    password = command.state_dir / "admin-password"
    password.chmod(0o644)
    ill = command.run("doctor", check=False)
    assert ill.returncode == 1
    assert f"✗ files\n    {password} can be read by others: its mode must be 0600\n" in ill.stdout
    password.chmod(0o600)


def test_endpoints_that_are_missing_or_do_not_answer(command: CommandCloud) -> None:
    with command.client() as client:
        (service,) = items(client, "/identity/v3/services?type=image")
        endpoints = items(client, f"/identity/v3/endpoints?service_id={service['id']}")
        path = f"/identity/v3/endpoints/{endpoints[0]['id']}"
        for url, why in (
            ("http://127.0.0.1:9/image", "does not answer: [Errno 111] Connection refused"),
            (f"{command.url}/nowhere", "answers 404 Not Found"),
        ):
            client.patch(path, json={"endpoint": {"url": url}}).raise_for_status()
            ill = command.run("doctor", check=False)
            assert ill.returncode == 1
            assert f"endpoint {url} of service image {why}" in ill.stdout
        client.patch(path, json={"endpoint": {"url": endpoints[0]["url"]}}).raise_for_status()
        for each in endpoints:
            client.patch(
                f"/identity/v3/endpoints/{each['id']}", json={"endpoint": {"enabled": False}}
            ).raise_for_status()
        ill = command.run("doctor", check=False)
        assert "service image is not in the administrator's catalog" in ill.stdout
        for each in endpoints:
            client.patch(
                f"/identity/v3/endpoints/{each['id']}", json={"endpoint": {"enabled": True}}
            ).raise_for_status()
    command.well()


def test_a_cloud_of_another_version_is_named() -> None:
    assert versions(__version__) == []
    [finding] = versions("0.0.1")
    assert "0.0.1" in finding
    assert __version__ in finding


def test_status_shows_nodes_and_says_by_its_exit_code_how_they_fare(command: CommandCloud) -> None:
    well = command.run("status").stdout
    for name in ("fake-1", "fake-2"):
        assert re.search(rf"  {name} +fake/none +0 servers  up since \d{{4}}-\S+Z", well), well
    with command.client() as client:
        client.headers["OpenStack-API-Version"] = "compute 2.90"
        services = {
            one["host"]: one["id"]
            for one in items(client, "/compute/v2.1/os-services")
            if one["binary"] == "nova-compute"
        }
        client.put(
            f"/compute/v2.1/os-services/{services['fake-1']}", json={"forced_down": True}
        ).raise_for_status()
        client.put(
            f"/compute/v2.1/os-services/{services['fake-2']}",
            json={"status": "disabled", "disabled_reason": "new memory"},
        ).raise_for_status()
        ill = command.run("status", check=False)
        assert ill.returncode == 1
        assert re.search("  fake-1 .* down: an administrator said so\n", ill.stdout), ill.stdout
        assert re.search("  fake-2 .* up since .*, disabled: new memory\n", ill.stdout)
        client.put(
            f"/compute/v2.1/os-services/{services['fake-1']}", json={"forced_down": False}
        ).raise_for_status()
        client.put(
            f"/compute/v2.1/os-services/{services['fake-2']}", json={"status": "enabled"}
        ).raise_for_status()
    command.run("down")
    stopped = command.run("status", check=False)
    assert stopped.returncode == 3
    assert "is not running; start it: nubelet up" in stopped.stdout
    dead = command.run("doctor", check=False)
    assert dead.returncode == 1
    assert "the cloud does not answer" in dead.stderr
    command.up()


def test_status_where_no_cloud_is(tmp_path: Path) -> None:
    nothing = CommandCloud(tmp_path).run("status", check=False)
    assert (nothing.returncode, nothing.stdout) == (3, f"There is no cloud in {tmp_path}/cloud.\n")
