"""What placement refuses and how, generations, trees, usage: as its users see it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from nubelet.placement import SERVICE
from tests.cloud import PERSONAS, TestedCloud, make_cloud


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    made = make_cloud(tmp_path_factory.mktemp("placement"), services=("placement",))
    yield made
    made.close()


@pytest.fixture
def client(tested: TestedCloud) -> httpx.Client:
    return tested.client("admin", OpenStack_API_Version="placement 1.39")


def provider(client: httpx.Client, parent: str | None = None, **stock: int) -> str:
    identifier = str(uuid4())
    body = {"name": identifier, "uuid": identifier, "parent_provider_uuid": parent}
    assert client.post("/placement/resource_providers", json=body).status_code == 200
    if stock:
        answer = client.put(
            f"/placement/resource_providers/{identifier}/inventories",
            json={
                "resource_provider_generation": 0,
                "inventories": {name: {"total": total} for name, total in stock.items()},
            },
        )
        assert answer.status_code == 200, answer.text
    return identifier


def claim(
    client: httpx.Client,
    consumer: str,
    amounts: dict[str, dict[str, int]],
    generation: int | None = None,
    **more: Any,
) -> httpx.Response:
    return client.put(
        f"/placement/allocations/{consumer}",
        json={
            "allocations": {one: {"resources": resources} for one, resources in amounts.items()},
            "project_id": "p",
            "user_id": "u",
            "consumer_generation": generation,
            "consumer_type": "INSTANCE",
            **more,
        },
    )


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


def test_a_stale_generation_of_a_provider_is_a_conflict(client: httpx.Client) -> None:
    one = provider(client, VCPU=4)
    base = f"/placement/resource_providers/{one}"
    for answer in (
        client.put(
            f"{base}/inventories", json={"resource_provider_generation": 0, "inventories": {}}
        ),
        client.put(
            f"{base}/inventories/VCPU", json={"resource_provider_generation": 0, "total": 3}
        ),
        client.post(
            f"{base}/inventories",
            json={"resource_provider_generation": 0, "resource_class": "VGPU", "total": 3},
        ),
        client.put(f"{base}/traits", json={"resource_provider_generation": 0, "traits": []}),
        client.put(
            f"{base}/aggregates", json={"resource_provider_generation": 0, "aggregates": []}
        ),
    ):
        assert code(answer) == (409, "placement.concurrent_update")
    assert client.get(base).json()["generation"] == 1


def test_a_stale_generation_of_a_consumer_is_a_conflict(client: httpx.Client) -> None:
    one, consumer = provider(client, VCPU=4), str(uuid4())
    assert code(claim(client, consumer, {one: {"VCPU": 1}}, 5)) == (
        409,
        "placement.concurrent_update",
    )
    assert claim(client, consumer, {one: {"VCPU": 1}}).status_code == 204
    assert code(claim(client, consumer, {one: {"VCPU": 2}})) == (409, "placement.concurrent_update")
    assert claim(client, consumer, {one: {"VCPU": 2}}, 1).status_code == 204
    assert claim(client, consumer, {}, 2).status_code == 204
    assert client.get(f"/placement/allocations/{consumer}").json() == {"allocations": {}}


@pytest.mark.parametrize("amounts", [{"VCPU": 5}, {"VCPU": 1, "MEMORY_MB": 1}])
def test_what_does_not_fit_is_a_conflict(client: httpx.Client, amounts: dict[str, int]) -> None:
    one = provider(client, VCPU=4)
    answer = claim(client, str(uuid4()), {one: amounts})
    assert answer.status_code == 409
    assert one in answer.json()["errors"][0]["detail"]


def test_units_and_steps_are_kept(client: httpx.Client) -> None:
    one = provider(client)
    client.put(
        f"/placement/resource_providers/{one}/inventories",
        json={
            "resource_provider_generation": 0,
            "inventories": {
                "MEMORY_MB": {"total": 1000, "min_unit": 100, "max_unit": 400, "step_size": 50}
            },
        },
    )
    for amount, status in ((50, 409), (125, 409), (450, 409), (150, 204)):
        assert claim(client, str(uuid4()), {one: {"MEMORY_MB": amount}}).status_code == status


def test_claims_on_what_does_not_exist_are_bad_requests(client: httpx.Client) -> None:
    assert claim(client, str(uuid4()), {str(uuid4()): {"VCPU": 1}}).status_code == 400
    one = provider(client, VCPU=4)
    assert claim(client, str(uuid4()), {one: {"CUSTOM_NONE": 1}}).status_code == 400
    assert claim(client, "no-uuid", {one: {"VCPU": 1}}).status_code == 400


def test_several_consumers_change_at_once_or_not_at_all(client: httpx.Client) -> None:
    one, first, second = provider(client, VCPU=4), str(uuid4()), str(uuid4())
    claim(client, first, {one: {"VCPU": 4}})

    def swap(amount: int) -> httpx.Response:
        shared = {"project_id": "p", "user_id": "u", "consumer_type": "INSTANCE"}
        return client.post(
            "/placement/allocations",
            json={
                first: {**shared, "consumer_generation": 1, "allocations": {}},
                second: {
                    **shared,
                    "consumer_generation": None,
                    "allocations": {one: {"resources": {"VCPU": amount}}},
                },
            },
        )

    assert swap(5).status_code == 409
    assert client.get(f"/placement/allocations/{first}").json()["allocations"][one]
    assert swap(4).status_code == 204
    held = client.get(f"/placement/resource_providers/{one}/allocations").json()["allocations"]
    assert held == {second: {"resources": {"VCPU": 4}, "consumer_generation": 1}}


def test_an_inventory_in_use_cannot_go(client: httpx.Client) -> None:
    one = provider(client, VCPU=4, VGPU=1)
    claim(client, str(uuid4()), {one: {"VCPU": 1}})
    base = f"/placement/resource_providers/{one}"
    in_use = (409, "placement.inventory.inuse")
    assert code(client.delete(f"{base}/inventories/VCPU")) == in_use
    assert code(client.delete(f"{base}/inventories")) == in_use
    assert client.delete(f"{base}/inventories/VGPU").status_code == 204
    assert client.delete(f"{base}/inventories/VGPU").status_code == 404
    assert code(client.delete(base)) == (409, "placement.resource_provider.inuse")


def test_less_than_is_used_may_be_set_and_is_told_by_the_doctor(
    tested: TestedCloud, client: httpx.Client
) -> None:
    one = provider(client, VCPU=4)
    claim(client, str(uuid4()), {one: {"VCPU": 4}})
    answer = client.put(
        f"/placement/resource_providers/{one}/inventories/VCPU",
        json={"resource_provider_generation": 2, "total": 2},
    )
    assert answer.status_code == 200
    assert SERVICE.check is not None
    assert any(one in sentence for sentence in SERVICE.check(tested.cloud))


@pytest.mark.parametrize(
    "inventory",
    [
        {"total": 0},
        {"total": -1},
        {"total": 4, "reserved": 5},
        {"total": 4, "min_unit": 0},
        {"total": 4, "step_size": 0},
        {"total": 4, "allocation_ratio": 0},
        {"total": "4"},
        {},
        {"total": 4, "extra": 1},
        {"total": 2**31},
        {"total": 4, "min_unit": 3, "max_unit": 2},
    ],
)
def test_impossible_inventories_are_refused(
    client: httpx.Client, inventory: dict[str, Any]
) -> None:
    one = provider(client)
    answer = client.put(
        f"/placement/resource_providers/{one}/inventories",
        json={"resource_provider_generation": 0, "inventories": {"VCPU": inventory}},
    )
    assert answer.status_code == 400


def test_everything_may_be_reserved_from_1_26_on(tested: TestedCloud, client: httpx.Client) -> None:
    body = {"resource_provider_generation": 0, "inventories": {"VCPU": {"total": 4, "reserved": 4}}}
    one = provider(client)
    path = f"/placement/resource_providers/{one}/inventories"
    old = tested.client("admin", OpenStack_API_Version="placement 1.25")
    assert old.put(path, json=body).status_code == 400
    assert client.put(path, json=body).status_code == 200


def test_trees_grow_and_move(tested: TestedCloud, client: httpx.Client) -> None:
    root = provider(client)
    child = provider(client, root)
    grandchild = provider(client, child)
    base = "/placement/resource_providers"
    assert client.get(f"{base}/{grandchild}").json()["root_provider_uuid"] == root
    listed = client.get(f"{base}?in_tree={child}").json()["resource_providers"]
    assert {each["uuid"] for each in listed} == {root, child, grandchild}
    assert code(client.delete(f"{base}/{child}")) == (
        409,
        "placement.resource_provider.cannot_delete_parent",
    )

    def move(to: str | None, caller: httpx.Client) -> httpx.Response:
        return caller.put(f"{base}/{child}", json={"name": child, "parent_provider_uuid": to})

    other, old = provider(client), tested.client("admin", OpenStack_API_Version="placement 1.36")
    assert move(other, old).status_code == 400
    assert move(None, old).status_code == 400
    assert move(grandchild, client).status_code == 400
    assert move(str(uuid4()), client).status_code == 400
    assert move(other, client).json()["root_provider_uuid"] == other
    assert client.get(f"{base}/{grandchild}").json()["root_provider_uuid"] == other
    assert move(None, client).json()["root_provider_uuid"] == child
    assert client.get(f"{base}/{grandchild}").json()["root_provider_uuid"] == child


def test_names_and_ids_of_providers_are_unique(client: httpx.Client) -> None:
    one = provider(client)
    base = "/placement/resource_providers"
    duplicate = (409, "placement.duplicate_name")
    assert code(client.post(base, json={"name": one})) == duplicate
    assert code(client.post(base, json={"name": "x", "uuid": one})) == duplicate
    assert code(client.put(f"{base}/{provider(client)}", json={"name": one})) == duplicate
    assert (
        client.post(base, json={"name": "y", "parent_provider_uuid": str(uuid4())}).status_code
        == 400
    )
    assert client.get(f"{base}/nothing").status_code == 404


def test_providers_are_filtered(client: httpx.Client) -> None:
    group = str(uuid4())
    rich, poor = provider(client, VCPU=4, PCPU=8), provider(client, PCPU=2)
    base = "/placement/resource_providers"
    generation = client.get(f"{base}/{rich}").json()["generation"]
    client.put(
        f"{base}/{rich}/aggregates",
        json={"aggregates": [group], "resource_provider_generation": generation},
    )
    client.put(
        f"{base}/{rich}/traits",
        json={"traits": ["HW_CPU_X86_VMX"], "resource_provider_generation": generation + 1},
    )

    def found(query: str) -> set[str]:
        answer = client.get(f"{base}?{query}")
        assert answer.status_code == 200, answer.text
        return {each["uuid"] for each in answer.json()["resource_providers"]}

    assert found("resources=PCPU:3") == {rich}
    assert found("resources=PCPU:1") == {rich, poor}
    assert found(f"member_of={group}") == {rich}
    assert poor in found(f"member_of=!{group}")
    assert rich not in found(f"member_of=!{group}")
    assert found("required=HW_CPU_X86_VMX") == {rich}
    assert found("resources=PCPU:1&required=!HW_CPU_X86_VMX") == {poor}
    assert found(f"uuid={poor}") == {poor}
    assert client.get(f"{base}?resources=NONE:1").status_code == 400
    assert client.get(f"{base}?required=NONE").status_code == 400
    assert client.get(f"{base}?sort=1").status_code == 400


def test_traits_and_classes_in_use_or_standard_stay(client: httpx.Client) -> None:
    name = f"CUSTOM_{uuid4().hex.upper()}"
    client.put(f"/placement/traits/{name}")
    client.put(f"/placement/resource_classes/{name}")
    one = provider(client, None, **{name: 1})
    client.put(
        f"/placement/resource_providers/{one}/traits",
        json={"traits": [name], "resource_provider_generation": 1},
    )
    assert client.delete(f"/placement/traits/{name}").status_code == 409
    assert client.delete(f"/placement/resource_classes/{name}").status_code == 409
    assert client.delete("/placement/traits/HW_CPU_X86_VMX").status_code == 400
    assert client.delete("/placement/resource_classes/VCPU").status_code == 400
    assert client.delete("/placement/traits/CUSTOM_NONE").status_code == 404
    assert client.put("/placement/traits/HW_MINE").status_code == 400
    assert client.put("/placement/resource_classes/MINE").status_code == 400
    assert client.get("/placement/traits?name=x").status_code == 400
    assert client.get(f"/placement/traits?name=startswith:{name}").json() == {"traits": [name]}
    assert name in client.get("/placement/traits?associated=true").json()["traits"]
    assert name not in client.get("/placement/traits?associated=false").json()["traits"]
    assert client.get("/placement/traits?associated=1").status_code == 400


def test_inventory_can_move_with_what_is_used_of_it(
    tested: TestedCloud, client: httpx.Client
) -> None:
    root, consumer = provider(client, VCPU=4), str(uuid4())
    child = provider(client, root)
    claim(client, consumer, {root: {"VCPU": 3}})
    service = tested.client("service", OpenStack_API_Version="placement 1.39")

    def reshape(amount: int, generation: int) -> httpx.Response:
        return service.post(
            "/placement/reshaper",
            json={
                "inventories": {
                    root: {"inventories": {}, "resource_provider_generation": generation},
                    child: {
                        "inventories": {"VCPU": {"total": 4}},
                        "resource_provider_generation": 0,
                    },
                },
                "allocations": {
                    consumer: {
                        "allocations": {child: {"resources": {"VCPU": amount}}},
                        "project_id": "p",
                        "user_id": "u",
                        "consumer_generation": 1,
                        "consumer_type": "INSTANCE",
                    }
                },
            },
        )

    assert reshape(5, 2).status_code == 409
    assert code(reshape(3, 1)) == (409, "placement.concurrent_update")
    assert reshape(3, 2).status_code == 204
    assert (
        client.get(f"/placement/resource_providers/{root}/inventories").json()["inventories"] == {}
    )
    assert client.get(f"/placement/resource_providers/{child}/usages").json()["usages"] == {
        "VCPU": 3
    }


def test_usage_is_grouped_by_type_of_consumer(tested: TestedCloud, client: httpx.Client) -> None:
    one, project = provider(client, VCPU=9), uuid4().hex
    claim(client, str(uuid4()), {one: {"VCPU": 1}}, project_id=project)
    claim(client, str(uuid4()), {one: {"VCPU": 2}}, project_id=project)
    claim(client, str(uuid4()), {one: {"VCPU": 3}}, project_id=project, consumer_type="MIGRATION")
    old = tested.client("admin", OpenStack_API_Version="placement 1.37")
    old.put(
        f"/placement/allocations/{uuid4()}",
        json={
            "allocations": {one: {"resources": {"VCPU": 1}}},
            "project_id": project,
            "user_id": "v",
            "consumer_generation": None,
        },
    )

    def usage(query: str = "", caller: httpx.Client = client) -> Any:
        return caller.get(f"/placement/usages?project_id={project}{query}").json()["usages"]

    assert usage() == {
        "INSTANCE": {"consumer_count": 2, "VCPU": 3},
        "MIGRATION": {"consumer_count": 1, "VCPU": 3},
        "unknown": {"consumer_count": 1, "VCPU": 1},
    }
    assert usage("&consumer_type=all") == {"all": {"consumer_count": 4, "VCPU": 7}}
    assert usage("&consumer_type=unknown") == {"unknown": {"consumer_count": 1, "VCPU": 1}}
    assert usage("&user_id=v&consumer_type=INSTANCE") == {}
    assert usage(caller=old) == {"VCPU": 7}
    assert client.get("/placement/usages").status_code == 400


def test_who_may_do_what(tested: TestedCloud) -> None:
    """Hosts are for administrators and services; a project's readers see its own usage."""
    monitors = {who for who, kind in PERSONAS.items() if kind.system}
    may_look = {"admin", "admin_of_one", "placement_admin", "service", *monitors}
    for who in PERSONAS:
        client = tested.client(who, OpenStack_API_Version="placement 1.39")
        answer = client.get("/placement/resource_providers")
        assert answer.status_code == (200 if who in may_look else 403), who
        if who not in may_look:
            assert "placement:resource_providers:list" in answer.json()["errors"][0]["detail"]
        project = tested.user(who).project_id or "none"
        own = client.get(f"/placement/usages?project_id={project}").status_code
        sees_own = may_look | {"member", "reader", "manager", "stranger"}
        assert own == (200 if who in sees_own else 403), who
        other = client.get("/placement/usages?project_id=another").status_code
        assert other == (200 if who in may_look else 403), who
        body: dict[str, Any] = {"inventories": {}, "allocations": {}}
        reshaped = client.post("/placement/reshaper", json=body).status_code
        assert reshaped == (204 if who == "service" else 403), who
    assert tested.client(None).get("/placement/resource_providers").status_code == 401


def test_every_operation_refuses_a_member(tested: TestedCloud) -> None:
    client = tested.client("member", OpenStack_API_Version="placement 1.39")
    for route in SERVICE.routes:
        if route.open or route.until < (1, 39) or route.path == "/usages":
            continue
        path = route.path.format(
            uuid=uuid4(), name="VCPU", consumer_uuid=uuid4(), resource_class="VCPU"
        )
        answer = client.request(route.method, f"/placement{path}", json={})
        assert answer.status_code == 403, (route.method, route.path)
