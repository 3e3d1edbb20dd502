"""Properties of placement that hold whatever happens: nothing is given out twice, what the search
finds can be claimed, and what it does not find cannot."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from nubelet import placement
from nubelet.kernel.database import Database, Tx
from nubelet.kernel.errors import ApiError, Conflict
from nubelet.placement import search
from nubelet.placement.capacity import stocks
from nubelet.placement.names import SHARING
from tests import databases

CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB")
PATIENT = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def empty(tmp_path: Path) -> Database:
    return Database(databases.sqlite_url(tmp_path / "p.db"))


inventories = st.dictionaries(
    st.sampled_from(CLASSES),
    st.builds(
        lambda total, reserved, step, ratio, most: {
            "total": total,
            "reserved": min(reserved, total),
            "step_size": step,
            "allocation_ratio": ratio,
            "max_unit": most,
        },
        st.integers(1, 20),
        st.integers(0, 10),
        st.integers(1, 3),
        st.sampled_from([0.5, 1.0, 2.0]),
        st.integers(1, 20),
    ),
    max_size=3,
)
amounts = st.dictionaries(st.sampled_from(CLASSES), st.integers(1, 12), min_size=1, max_size=3)


class Undo(Exception):
    """Ends a transaction without a commit."""


@contextlib.contextmanager
def undone(database: Database) -> Iterator[Tx]:
    """A transaction of which nothing stays."""
    with contextlib.suppress(Undo), database.write() as tx:
        yield tx
        raise Undo


def ident(number: int) -> str:
    return str(uuid.UUID(int=number + 1))


def within_capacity(tx: Tx) -> bool:
    return all(
        stock.used <= stock.capacity for held in stocks(tx).values() for stock in held.values()
    )


@PATIENT
@given(
    kept=st.lists(inventories, min_size=1, max_size=3),
    steps=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 2), amounts | st.none()), max_size=25
    ),
)
def test_whatever_is_claimed_and_released_nothing_is_given_out_twice(
    empty: Database, kept: list[Any], steps: list[Any]
) -> None:
    with undone(empty) as tx:
        for number, stock in enumerate(kept):
            placement.ensure_provider(tx, ident(number), f"p{number}")
            placement.set_inventory(tx, ident(number), stock)
        expected: dict[str, Any] = {}
        for consumer, provider, asked in steps:
            if asked is None:
                placement.release(tx, f"c{consumer}")
                expected.pop(f"c{consumer}", None)
                continue
            target = ident(provider % len(kept))
            savepoint = tx.connection.begin_nested()
            try:
                placement.claim(tx, f"c{consumer}", {target: asked}, project_id="p", user_id="u")
                savepoint.commit()
                expected[f"c{consumer}"] = {target: asked}
            except Conflict:
                savepoint.rollback()
            assert within_capacity(tx)
        assert placement.allocations_of(tx) == expected


trees = st.lists(
    st.tuples(
        st.none() | st.integers(0, 5),
        inventories,
        st.sets(st.sampled_from(["HW_NUMA_ROOT", "STORAGE_DISK_SSD"])),
        st.sets(st.sampled_from(["g1", "g2"])),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)
groups = st.lists(
    st.tuples(
        amounts,
        st.sets(st.sampled_from(["HW_NUMA_ROOT"])),
        st.sets(st.sampled_from(["STORAGE_DISK_SSD"])),
    ),
    min_size=1,
    max_size=3,
)


def build(tx: Tx, described: list[Any]) -> None:
    for number, (parent, stock, traits, aggregates, sharing) in enumerate(described):
        above = ident(parent % number) if parent is not None and number else None
        placement.ensure_provider(tx, ident(number), f"p{number}", above)
        placement.set_inventory(tx, ident(number), stock)
        shares = {SHARING} if sharing and above is None else set()
        placement.set_traits(tx, ident(number), traits | shares)
        placement.set_aggregates(tx, ident(number), aggregates)


@PATIENT
@given(described=trees, asked=groups, isolate=st.booleans())
def test_every_candidate_can_be_claimed(
    empty: Database, described: list[Any], asked: list[Any], isolate: bool
) -> None:
    wanted = search.Search(
        tuple(
            search.Group(
                "" if number == 0 else str(number),
                resources,
                tuple(frozenset((one,)) for one in required),
                frozenset(forbidden),
            )
            for number, (resources, required, forbidden) in enumerate(asked)
        ),
        isolate=isolate,
    )
    with undone(empty) as tx:
        build(tx, described)
        state = search.load(tx, wanted)
        found = search.find(state, wanted)
        for candidate in found[:20]:
            placement.claim(tx, "c", candidate.amounts, project_id="p", user_id="u")
            assert within_capacity(tx)
            placement.release(tx, "c")


@PATIENT
@given(
    described=st.lists(
        st.tuples(st.none(), inventories, st.just(set()), st.just(set()), st.just(False)),
        min_size=1,
        max_size=6,
    ),
    asked=amounts,
)
def test_a_provider_is_no_candidate_exactly_when_a_claim_fails(
    empty: Database, described: list[Any], asked: dict[str, int]
) -> None:
    with undone(empty) as tx:
        build(tx, described)
        found = placement.candidates(tx, placement.CandidateRequest(asked))
        fitting = {provider for one in found.requests for provider in one}
        for number in range(len(described)):
            savepoint = tx.connection.begin_nested()
            try:
                placement.claim(tx, "c", {ident(number): asked}, project_id="p", user_id="u")
                claimable = True
            except ApiError:
                claimable = False
            savepoint.rollback()
            assert claimable == (ident(number) in fitting)
            assert claimable != (ident(number) in found.reasons)


def test_many_at_once_never_take_more_than_there_is(database: Database) -> None:
    """On SQLite and on PostgreSQL: 40 claims of 8 threads on 3 providers with room for 24."""
    with database.write() as tx:
        for number in range(3):
            placement.ensure_provider(tx, ident(number), f"p{number}")
            placement.set_inventory(tx, ident(number), {"VCPU": {"total": 8}})
    taken: list[str] = []

    def work(thread: int) -> None:
        for number, _ in product(range(5), "x"):
            consumer = f"c{thread}-{number}"

            def choose(tx: Tx, consumer: str = consumer) -> None:
                found = placement.candidates(tx, placement.CandidateRequest({"VCPU": 1}))
                for one in found.requests:
                    try:
                        placement.claim(tx, consumer, one, project_id="p", user_id="u")
                    except Conflict:
                        continue
                    taken.append(consumer)
                    return

            database.transact(choose, attempts=20)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as tx:
        assert {name: held["VCPU"].used for name, held in stocks(tx).items()} == {
            ident(number): 8 for number in range(3)
        }
        assert len(placement.allocations_of(tx)) == 24
    assert set(placement_consumers(database)) <= set(taken)


def placement_consumers(database: Database) -> list[str]:
    with database.read() as tx:
        return [*placement.allocations_of(tx)]


def test_the_same_consumer_claims_from_many_threads(database: Database) -> None:
    with database.write() as tx:
        placement.ensure_provider(tx, ident(0), "p")
        placement.set_inventory(tx, ident(0), {"VCPU": {"total": 4}})
    errors: list[BaseException] = []

    def work(amount: int) -> None:
        try:
            database.transact(
                lambda tx: placement.claim(
                    tx, "c", {ident(0): {"VCPU": amount}}, project_id="p", user_id="u"
                ),
                attempts=20,
            )
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(1 + number % 4,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    with database.read() as tx:
        assert list(placement.allocations_of(tx)) == ["c"]
