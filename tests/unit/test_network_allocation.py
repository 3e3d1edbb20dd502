"""Giving out addresses: never twice, until none is left, on every database, by many at once."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nubelet.kernel import clock
from nubelet.kernel.database import Database, Tx
from nubelet.kernel.ids import new_uuid
from nubelet.network import allocation, model, networks
from nubelet.network.addresses import Pool
from tests import databases


def new_subnet(tx: Tx, cidr: str, *pools: tuple[str, str]) -> tuple[str, str]:
    """A network and a subnet with these pools; returns their ids."""
    network_id, subnet_id, now = new_uuid(), new_uuid(), clock.now()
    common: dict[str, Any] = {
        "project_id": "p",
        "name": "",
        "description": "",
        "tags": [],
        "revision_number": 1,
        "created_at": now,
        "updated_at": now,
    }
    tx.insert(
        model.network,
        id=network_id,
        admin_state_up=True,
        network_type="local",
        mtu=1500,
        external=False,
        port_security_enabled=True,
        **common,
    )
    tx.insert(
        model.subnet,
        id=subnet_id,
        network_id=network_id,
        ip_version=4,
        cidr=cidr,
        enable_dhcp=False,
        **common,
    )
    allocation.replace_ranges(
        tx,
        subnet_id,
        [Pool(ipaddress.ip_address(first), ipaddress.ip_address(last)) for first, last in pools],
        new_uuid,
    )
    return network_id, subnet_id


def take(tx: Tx, network_id: str, chosen: allocation.Allocation) -> str:
    """A port with this address; returns its id."""
    port_id, now = new_uuid(), clock.now()
    tx.insert(
        model.port,
        id=port_id,
        project_id="p",
        network_id=network_id,
        tags=[],
        mac_address=allocation.free_mac(tx, network_id),
        admin_state_up=True,
        status="DOWN",
        port_security_enabled=True,
        revision_number=1,
        created_at=now,
        updated_at=now,
    )
    tx.insert(
        model.port_address,
        port_id=port_id,
        subnet_id=chosen.subnet_id,
        ip=chosen.ip,
        position=0,
        range_id=chosen.range_id,
        range_index=chosen.range_index,
    )
    return port_id


def give_back(tx: Tx, port_id: str) -> None:
    tx.delete(model.port_address, model.port_address.c.port_id == port_id)
    tx.delete(model.port, model.port.c.id == port_id)


def test_all_addresses_of_all_pools_are_given_out_once(database: Database) -> None:
    with database.write() as tx:
        network_id, subnet_id = new_subnet(
            tx, "10.0.0.0/24", ("10.0.0.5", "10.0.0.9"), ("10.0.0.20", "10.0.0.21")
        )
        found = []
        while (chosen := allocation.next_free(tx, subnet_id)) is not None:
            take(tx, network_id, chosen)
            found.append(chosen.ip)
    assert found == [*(f"10.0.0.{n}" for n in range(5, 10)), "10.0.0.20", "10.0.0.21"]


def test_an_address_that_was_given_back_comes_again_only_after_the_others(
    database: Database,
) -> None:
    with database.write() as tx:
        network_id, subnet_id = new_subnet(tx, "10.0.0.0/24", ("10.0.0.5", "10.0.0.8"))
        first = allocation.next_free(tx, subnet_id)
        assert first is not None
        give_back(tx, take(tx, network_id, first))
        later = []
        while (chosen := allocation.next_free(tx, subnet_id)) is not None:
            take(tx, network_id, chosen)
            later.append(chosen.ip)
    assert later == ["10.0.0.6", "10.0.0.7", "10.0.0.8", "10.0.0.5"]


def test_chosen_addresses_are_stepped_over(database: Database) -> None:
    with database.write() as tx:
        network_id, subnet_id = new_subnet(tx, "10.0.0.0/24", ("10.0.0.5", "10.0.0.9"))
        for ip in ("10.0.0.5", "10.0.0.6", "10.0.0.8"):
            take(tx, network_id, allocation.place(tx, subnet_id, ip))
        chosen = allocation.next_free(tx, subnet_id)
    assert chosen is not None
    assert chosen.ip == "10.0.0.7"


def test_used_addresses_keep_their_places_when_the_pools_change(database: Database) -> None:
    with database.write() as tx:
        network_id, subnet_id = new_subnet(tx, "10.0.0.0/24", ("10.0.0.5", "10.0.0.9"))
        for ip in ("10.0.0.6", "10.0.0.9", "10.0.0.100"):
            take(tx, network_id, allocation.place(tx, subnet_id, ip))
        allocation.replace_ranges(
            tx,
            subnet_id,
            [Pool(ipaddress.ip_address("10.0.0.9"), ipaddress.ip_address("10.0.0.11"))],
            new_uuid,
        )
        found = []
        while (chosen := allocation.next_free(tx, subnet_id)) is not None:
            take(tx, network_id, chosen)
            found.append(chosen.ip)
    assert found == ["10.0.0.10", "10.0.0.11"]


def test_a_full_pool_of_thousands_is_not_read_as_a_whole(database: Database) -> None:
    """The last free place among sixty thousand used ones is found in a blink."""
    with database.write() as tx:
        network_id, subnet_id = new_subnet(tx, "10.0.0.0/16", ("10.0.0.1", "10.0.255.254"))
        row = allocation.ranges_of(tx, [subnet_id])[subnet_id][0]
        port_id = take(tx, network_id, allocation.place(tx, subnet_id, "10.0.0.1"))
        base = ipaddress.ip_address("10.0.0.1")
        tx.insert(
            model.port_address,
            *(
                {
                    "port_id": port_id,
                    "subnet_id": subnet_id,
                    "ip": str(base + n),
                    "position": n,
                    "range_id": row.id,
                    "range_index": n,
                }
                for n in range(1, row.size)
                if n != 40_000
            ),
        )
        tx.update(model.subnet_range, model.subnet_range.c.id == row.id, next_index=39_000)
        reads = _Reads(tx)
        chosen = allocation.next_free(tx, subnet_id)
    assert chosen is not None
    assert chosen.ip == str(base + 40_000)
    assert reads.rows <= 5


class _Reads:
    """Counts the rows that a transaction brings over."""

    def __init__(self, tx: Tx) -> None:
        self.rows = 0
        for name in ("all", "first", "scalar"):
            self._watch(tx, name)

    def _watch(self, tx: Tx, name: str) -> None:
        original = getattr(Tx, name)

        def counted(_self: Tx, statement: Any, **parameters: Any) -> Any:
            found = original(_self, statement, **parameters)
            if _self is tx:
                self.rows += len(found) if name == "all" else 1
            return found

        setattr(Tx, name, counted)
        self._restore = lambda: setattr(Tx, name, original)


@pytest.fixture(autouse=True)
def _unwatched() -> Iterator[None]:
    before = {name: getattr(Tx, name) for name in ("all", "first", "scalar")}
    yield
    for name, function in before.items():
        setattr(Tx, name, function)


def test_many_at_once_never_get_the_same_address(database: Database) -> None:
    with database.write() as tx:
        network_id, subnet_id = new_subnet(tx, "10.0.0.0/24", ("10.0.0.10", "10.0.0.49"))
    given: list[str] = []
    refused: list[int] = []

    def work() -> None:
        for _ in range(12):

            def one(tx: Tx) -> str | None:
                networks.lock(tx, network_id)
                chosen = allocation.next_free(tx, subnet_id)
                if chosen is not None:
                    take(tx, network_id, chosen)
                return chosen.ip if chosen else None

            ip = database.transact(one)
            given.append(ip) if ip else refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given) == sorted(f"10.0.0.{n}" for n in range(10, 50))
    assert len(refused) == 8
    with database.read() as tx:
        assert tx.scalar(sa.select(sa.func.count()).select_from(model.port_address)) == 40


def test_no_two_networks_get_one_vni(database: Database) -> None:
    with database.write() as tx:
        found = set()
        for _ in range(20):
            vni = allocation.free_vni(tx, 100, 119)
            now = clock.now()
            tx.insert(
                model.network,
                id=new_uuid(),
                project_id="p",
                name="",
                description="",
                tags=[],
                revision_number=1,
                created_at=now,
                updated_at=now,
                admin_state_up=True,
                network_type="vxlan",
                segmentation_id=vni,
                segment_key=f"vxlan:{vni}",
                mtu=1450,
                external=False,
                port_security_enabled=True,
            )
            found.add(vni)
        assert found == set(range(100, 120))
        with pytest.raises(Exception, match="All VXLAN identifiers from 100 to 119 are in use"):
            allocation.free_vni(tx, 100, 119)


class Pool8(RuleBasedStateMachine):
    """Any order of taking, choosing and giving back, on a pool of eight addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.database = Database(databases.sqlite_url(Path(_folder, f"{new_uuid()}.db")))
        with self.database.write() as tx:
            self.network_id, self.subnet_id = new_subnet(
                tx, "10.0.0.0/24", ("10.0.0.8", "10.0.0.15")
            )
        self.ports: dict[str, str] = {}

    @rule()
    def take_any(self) -> None:
        with self.database.write() as tx:
            chosen = allocation.next_free(tx, self.subnet_id)
            if chosen is None:
                assert len(self.ports) == 8, "addresses were free, but none was found"
                return
            assert chosen.ip not in self.ports
            self.ports[chosen.ip] = take(tx, self.network_id, chosen)

    @rule(last=st.integers(8, 15))
    def take_one(self, last: int) -> None:
        ip = f"10.0.0.{last}"
        with self.database.write() as tx:
            owner = allocation.owner(tx, self.subnet_id, ip)
            assert (owner is None) == (ip not in self.ports)
            if owner is None:
                self.ports[ip] = take(tx, self.network_id, allocation.place(tx, self.subnet_id, ip))

    @precondition(lambda self: self.ports)
    @rule(data=st.data())
    def give_one_back(self, data: st.DataObject) -> None:
        ip = data.draw(st.sampled_from(sorted(self.ports)))
        with self.database.write() as tx:
            give_back(tx, self.ports.pop(ip))

    @invariant()
    def addresses_are_those_of_the_ports(self) -> None:
        with self.database.read() as tx:
            rows = tx.all(sa.select(model.port_address.c.ip, model.port_address.c.port_id))
        assert {row.ip: row.port_id for row in rows} == self.ports

    def teardown(self) -> None:
        self.database.close()


_folder = ""


def test_any_order_of_taking_and_giving_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    global _folder
    _folder = str(tmp_path_factory.mktemp("pools"))
    run_state_machine_as_test(
        Pool8,
        settings=settings(  # type: ignore[no-untyped-call]
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@given(st.integers(1, 30))
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
def test_subnets_of_a_pool_never_overlap(count: int) -> None:
    from nubelet.network.subnet_pools import _first_free

    prefixes = [ipaddress.ip_network("10.0.0.0/26"), ipaddress.ip_network("10.1.0.0/27")]
    used: list[Any] = []
    for number in range(count):
        found = _first_free(prefixes, sorted(used), 28 + number % 3)
        if found is None:
            break
        assert not any(found.overlaps(other) for other in used)
        assert any(found.subnet_of(prefix) for prefix in prefixes)  # type: ignore[arg-type]
        used.append(found)
