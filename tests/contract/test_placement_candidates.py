"""Allocation candidates: trees, sharing providers, traits, aggregates, granular groups; and the
reasons that other services get."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import NAMESPACE_DNS, uuid4, uuid5

import pytest

from nubelet import placement
from nubelet.placement.names import SHARING
from tests.cloud import TestedCloud, make_cloud

URL = "/placement/allocation_candidates"


def ident(name: str) -> str:
    return str(uuid5(NAMESPACE_DNS, name))


class World:
    """Two hosts with two NUMA nodes each, a network card below the first, one shared disk."""

    def __init__(self, cloud: TestedCloud) -> None:
        self.cloud = cloud
        self.names: dict[str, str] = {}
        with cloud.cloud.database.write() as tx:
            for host in ("h1", "h2"):
                self.add(tx, host, {"DISK_GB": 100} if host == "h2" else {}, groups=["pool"])
                for node in ("a", "b"):
                    self.add(
                        tx, f"{host}{node}", {"VCPU": 4, "MEMORY_MB": 1024}, host, ["HW_NUMA_ROOT"]
                    )
            self.add(tx, "nic", {"SRIOV_NET_VF": 4}, "h1a", ["HW_NIC_SRIOV"])
            self.add(
                tx, "nas", {"DISK_GB": 1000}, traits=[SHARING, "STORAGE_DISK_SSD"], groups=["pool"]
            )

    def add(
        self,
        tx: Any,
        name: str,
        stock: dict[str, int],
        parent: str | None = None,
        traits: list[str] | None = None,
        groups: list[str] | None = None,
    ) -> None:
        self.names[ident(name)] = name
        placement.ensure_provider(tx, ident(name), name, ident(parent) if parent else None)
        placement.set_inventory(tx, ident(name), {key: {"total": n} for key, n in stock.items()})
        placement.set_traits(tx, ident(name), traits or [])
        placement.set_aggregates(tx, ident(name), [ident(group) for group in groups or []])

    def get(self, query: str, version: str = "1.39") -> Any:
        client = self.cloud.client("admin", OpenStack_API_Version=f"placement {version}")
        for name in [*self.names.values(), "pool"]:
            query = query.replace(f"<{name}>", ident(name))
        return client.get(f"{URL}?{query}")

    def found(self, query: str, version: str = "1.39") -> set[tuple[str, ...]]:
        """The candidates, each as the sorted names of its providers."""
        answer = self.get(query, version)
        assert answer.status_code == 200, answer.text
        return {
            tuple(sorted(self.names[one] for one in each["allocations"]))
            for each in answer.json()["allocation_requests"]
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = make_cloud(tmp_path_factory.mktemp("placement"), services=("placement",))
    yield World(made)
    made.close()


def test_resources_may_come_from_a_whole_tree_and_from_what_is_shared(world: World) -> None:
    assert world.found("resources=VCPU:1,DISK_GB:50") == {
        ("h1a", "nas"),
        ("h1b", "nas"),
        ("h2a", "nas"),
        ("h2b", "nas"),
        ("h2", "h2a"),
        ("h2", "h2b"),
    }
    assert world.found("resources=VCPU:1,DISK_GB:500") == {
        ("h1a", "nas"),
        ("h1b", "nas"),
        ("h2a", "nas"),
        ("h2b", "nas"),
    }
    assert world.found("resources=DISK_GB:500") == {("nas",)}
    assert world.found("resources=VCPU:5") == set()


def test_before_1_29_a_tree_gives_from_one_provider_only(world: World) -> None:
    assert ("h2", "h2a") not in world.found("resources=VCPU:1,DISK_GB:50", "1.28")
    assert ("h2a", "nas") in world.found("resources=VCPU:1,DISK_GB:50", "1.28")


def test_summaries_hold_the_whole_trees_of_the_candidates(world: World) -> None:
    answer = world.get("resources=SRIOV_NET_VF:1").json()
    shown = {world.names[one]: each for one, each in answer["provider_summaries"].items()}
    assert shown.keys() == {"h1", "h1a", "h1b", "nic"}
    assert shown["nic"]["parent_provider_uuid"] == ident("h1a")
    assert shown["nic"]["root_provider_uuid"] == ident("h1")
    assert shown["h1a"]["resources"]["VCPU"] == {"capacity": 4, "used": 0}
    assert shown["nic"]["traits"] == ["HW_NIC_SRIOV"]


def test_traits_of_the_plain_group_are_those_of_its_providers_together(world: World) -> None:
    assert world.found("resources=VCPU:1,DISK_GB:50&required=STORAGE_DISK_SSD") == {
        ("h1a", "nas"),
        ("h1b", "nas"),
        ("h2a", "nas"),
        ("h2b", "nas"),
    }
    assert world.found("resources=VCPU:1,DISK_GB:50&required=!STORAGE_DISK_SSD") == {
        ("h2", "h2a"),
        ("h2", "h2b"),
    }
    assert world.found("resources=DISK_GB:5&required=in:STORAGE_DISK_SSD,HW_NIC_SRIOV") == {
        ("nas",)
    }
    assert world.found("resources=DISK_GB:5&required=HW_NIC_SRIOV") == set()


def test_aggregates_of_a_root_hold_for_the_plain_group_only(world: World) -> None:
    assert world.found("resources=VCPU:1&member_of=<pool>") == {
        ("h1a",),
        ("h1b",),
        ("h2a",),
        ("h2b",),
    }
    assert world.found("resources1=VCPU:1&member_of1=<pool>") == set()
    assert world.found("resources=VCPU:1&member_of=!<pool>") == set()
    assert world.found(f"resources=VCPU:1&member_of=in:<pool>,{uuid4()}") == world.found(
        "resources=VCPU:1"
    )
    assert world.found(f"resources=VCPU:1&member_of=<pool>&member_of={uuid4()}") == set()


def test_a_tree_can_be_asked_for(world: World) -> None:
    assert world.found("resources=VCPU:1&in_tree=<nic>") == {("h1a",), ("h1b",)}
    assert world.found("resources=VCPU:1,DISK_GB:5&in_tree=<h2>") == {("h2", "h2a"), ("h2", "h2b")}
    assert world.found(f"resources=VCPU:1&in_tree={uuid4()}") == set()
    assert world.found("resources=VCPU:1&in_tree=<h1>&resources1=DISK_GB:5&in_tree1=<nas>") == {
        ("h1a", "nas"),
        ("h1b", "nas"),
    }


def test_groups_take_one_provider_each(world: World) -> None:
    two = "resources1=VCPU:2&resources2=VCPU:2"
    assert world.found(f"{two}&group_policy=isolate&in_tree1=<h1>") == {("h1a", "h1b")}
    assert world.found(f"{two}&group_policy=none&in_tree1=<h1>") == {
        ("h1a",),
        ("h1b",),
        ("h1a", "h1b"),
    }
    three = "resources1=VCPU:3&resources2=VCPU:3&group_policy=none"
    assert world.found(three) == {("h1a", "h1b"), ("h2a", "h2b")}  # 6 of 4 do not fit into one
    assert world.get(two).status_code == 400
    [only] = world.get("resources_N=SRIOV_NET_VF:1&required_N=HW_NIC_SRIOV").json()[
        "allocation_requests"
    ]
    assert only["mappings"] == {"_N": [ident("nic")]}


def test_groups_can_be_bound_to_one_subtree(world: World) -> None:
    asked = "resources_C=VCPU:1&resources_N=SRIOV_NET_VF:1&group_policy=none"
    assert world.found(asked) == {("h1a", "nic"), ("h1b", "nic")}
    assert world.found(f"{asked}&same_subtree=_C,_N") == {("h1a", "nic")}
    bare = "resources_N=SRIOV_NET_VF:1&required_R=HW_NUMA_ROOT&group_policy=none"
    assert world.found(f"{bare}&same_subtree=_N,_R") == {("nic",)}
    assert world.get(bare).status_code == 400


def test_the_root_can_have_to_have_traits(world: World) -> None:
    with world.cloud.cloud.database.write() as tx:
        placement.set_traits(tx, ident("h2"), ["COMPUTE_VOLUME_MULTI_ATTACH"])
    assert world.found("resources=VCPU:1&root_required=COMPUTE_VOLUME_MULTI_ATTACH") == {
        ("h2a",),
        ("h2b",),
    }
    assert world.found("resources=VCPU:1&root_required=!COMPUTE_VOLUME_MULTI_ATTACH") == {
        ("h1a",),
        ("h1b",),
    }


def test_a_limit_ends_the_list(world: World) -> None:
    assert len(world.found("resources=VCPU:1&limit=3")) == 3
    for wrong in ("0", "-1", "x", ""):
        assert world.get(f"resources=VCPU:1&limit={wrong}").status_code == 400


@pytest.mark.parametrize(
    ("query", "version"),
    [
        ("", "1.39"),
        ("resources=VCPU", "1.39"),
        ("resources=VCPU:0", "1.39"),
        ("resources=VCPU:-1", "1.39"),
        ("resources=NOTHING:1", "1.39"),
        ("resources=VCPU:1&required=NOT_A_TRAIT", "1.39"),
        ("resources=VCPU:1&required=", "1.39"),
        ("resources=VCPU:1&required=HW_NUMA_ROOT,!HW_NUMA_ROOT", "1.39"),
        ("resources=VCPU:1&required=in:HW_NUMA_ROOT", "1.38"),
        ("resources=VCPU:1&required=!HW_NUMA_ROOT", "1.21"),
        ("resources=VCPU:1&member_of=x", "1.39"),
        ("resources=VCPU:1&member_of=<pool>,<pool>", "1.39"),
        ("resources=VCPU:1&member_of=<pool>&member_of=<pool>", "1.23"),
        ("resources=VCPU:1&member_of=!<pool>", "1.31"),
        ("resources=VCPU:1&in_tree=x", "1.39"),
        ("resources=VCPU:1&in_tree=<h1>", "1.30"),
        ("resources1=VCPU:1", "1.24"),
        ("resources_A=VCPU:1", "1.32"),
        ("resources=VCPU:1&required1=HW_NUMA_ROOT", "1.39"),
        ("resources=VCPU:1&group_policy=some", "1.39"),
        ("resources1=VCPU:1&same_subtree=1,2", "1.39"),
        ("resources=VCPU:1&root_required=in:HW_NUMA_ROOT,HW_NIC_SRIOV", "1.39"),
        ("resources=VCPU:1&root_required=HW_NUMA_ROOT", "1.34"),
        ("resources=VCPU:1&nonsense=1", "1.39"),
        ("resources=VCPU:1&limit=1", "1.15"),
    ],
)
def test_a_wrong_question_is_refused(world: World, query: str, version: str) -> None:
    answer = world.get(query, version)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["detail"]


def test_reasons_say_in_words_why_a_tree_does_not_fit(world: World) -> None:
    def ask(**asked: Any) -> dict[str, list[str]]:
        with world.cloud.cloud.database.read() as tx:
            found = placement.candidates(tx, placement.CandidateRequest(**asked))
        return {world.names[one]: reasons for one, reasons in found.reasons.items()}

    reasons = ask(resources={"VCPU": 5, "DISK_GB": 500})
    assert reasons["h1"] == ["not enough vCPUs: needs 5, free 4"]
    assert reasons["nas"] == ["has no vCPUs"]
    assert ask(resources={"SRIOV_NET_VF": 1})["h2"] == ["has no SRIOV_NET_VF"]
    assert ask(resources={"VCPU": 1}, required=["HW_NIC_SRIOV"])["h2"] == [
        "lacks trait HW_NIC_SRIOV"
    ]
    assert ask(resources={"VCPU": 1}, not_member_of=[ident("pool")])["h2"] == [
        f"is in the forbidden aggregate {ident('pool')}"
    ]
    other = str(uuid4())
    assert ask(resources={"VCPU": 1}, member_of=([other],))["h2"] == [
        f"is in none of the aggregates {other}"
    ]
