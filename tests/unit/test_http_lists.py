"""Lists: whatever the order and the page size, the pages together are the list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nubelet.kernel.http import dialects
from tests.unit.http_world import World, thing

ROWS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.sampled_from("abc")),
        st.one_of(st.none(), st.integers(0, 3)),
        st.integers(0, 2),
    ),
    max_size=12,
)
ORDERS = st.lists(
    st.tuples(
        st.sampled_from(["name", "rank", "created_at", "id"]), st.sampled_from(["asc", "desc"])
    ),
    max_size=3,
    unique_by=lambda o: o[0],
)


@pytest.fixture(scope="module", params=["links", "neutron"])
def world(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    dialect = dialects.COMPUTE if request.param == "links" else dialects.NETWORK
    made = World(tmp_path_factory.mktemp("lists"), dialect)
    yield made
    made.close()


def _fill(world: World, rows: list[tuple[Any, ...]]) -> None:
    with world.database.write() as tx:
        tx.delete(thing, thing.c.id.is_not(None))
        for number, (name, rank, created) in enumerate(rows):
            tx.insert(thing, id=f"id{number:02}", name=name, rank=rank, created_at=created)


def _prefix(world: World) -> str:
    return world.cloud.services["things"].dialect.prefixes[0]


def _query(order: list[tuple[str, str]]) -> str:
    return "".join(f"&sort_key={key}&sort_dir={direction}" for key, direction in order)


def _all(world: World, order: list[tuple[str, str]], limit: int) -> list[str]:
    """Follow the next links."""
    found: list[str] = []
    path: str | None = f"{_prefix(world)}/things?limit={limit}{_query(order)}"
    for _ in range(40):
        body = world.call("GET", path).json()
        assert len(body["things"]) <= limit
        found += [item["id"] for item in body["things"]]
        links = {link["rel"]: link["href"] for link in body.get("things_links", [])}
        if "next" not in links:
            return found
        path = links["next"].partition("/things-api")[2]
    raise AssertionError("the pages never end")


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS, order=ORDERS, limit=st.integers(1, 5))
def test_pages_together_are_the_list(
    world: World, rows: list[tuple[Any, ...]], order: list[tuple[str, str]], limit: int
) -> None:
    _fill(world, rows)
    whole = [
        item["id"]
        for item in world.call("GET", f"{_prefix(world)}/things?x=1{_query(order)}").json()[
            "things"
        ]
    ]
    assert sorted(whole) == sorted(f"id{number:02}" for number in range(len(rows)))
    assert _all(world, order, limit) == whole
    _assert_ordered(world, whole, order)


def _assert_ordered(world: World, whole: list[str], order: list[tuple[str, str]]) -> None:
    if not order:
        return
    key, direction = order[0]
    with world.database.read() as tx:
        values = {row.id: row._mapping[key] for row in tx.all(thing.select())}
    column = [(values[one] is not None, values[one]) for one in whole]
    assert column == sorted(
        column,
        key=lambda pair: (pair[0], pair[1] or 0) if not isinstance(pair[1], str) else pair,
        reverse=direction == "desc",
    )


def test_the_previous_page_is_the_one_before(tmp_path: Path) -> None:
    world = World(tmp_path, dialects.NETWORK)
    _fill(world, [("a", number, 0) for number in range(6)])
    path = "/v2.0/things?limit=2&sort_key=id&sort_dir=asc"
    first = world.call("GET", path).json()
    second = world.call("GET", f"{path}&marker=id01").json()
    links = {link["rel"]: link["href"] for link in second["things_links"]}
    back = world.call("GET", links["previous"].partition("/things-api")[2]).json()
    assert back["things"] == first["things"]
    assert "previous" not in {link["rel"] for link in first["things_links"]}
    world.close()


def test_filters_fields_and_refusals(tmp_path: Path) -> None:
    world = World(tmp_path)
    _fill(world, [("a", 1, 0), ("b", 2, 0), ("a", 3, 0)])

    def ids(query: str) -> list[str]:
        return sorted(item["id"] for item in world.get(f"/things?{query}").json()["things"])

    assert ids("name=a") == ["id00", "id02"]
    assert ids("name=a&rank=3") == ["id02"]
    assert ids("name=a&name=b") == ["id00", "id01", "id02"]
    assert world.get("/things?fields=id&fields=name&limit=1").json()["things"][0].keys() == {
        "id",
        "name",
    }
    for query in (
        "rank=x",
        "limit=-1",
        "limit=x",
        "marker=nobody",
        "sort_key=secret",
        "sort_key=id&sort_dir=up",
        "sort_key=id&sort_dir=asc&sort_dir=asc",
    ):
        assert world.get(f"/things?{query}").status_code == 400, query
    assert world.get("/things?limit=0").json()["things"] == []
    world.close()
