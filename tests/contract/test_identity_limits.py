"""Unified limits: registered for everybody, set for a project or a domain, read by services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nubelet import identity
from nubelet.kernel.ids import new_hex
from tests.cloud import TestedCloud, make_cloud
from tests.identity_calls import V3, make
from tests.published import Contract

REGISTERED, LIMITS = f"{V3}/registered_limits", f"{V3}/limits"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path_factory.mktemp("limits"), services=("identity",), hosts=())
    yield tested
    tested.close()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(
        tmp_path_factory.mktemp("strict"),
        services=("identity",),
        hosts=(),
        options={"identity.limit_model": "strict_two_level"},
    )
    yield tested
    tested.close()


class World:
    """A service of a type of its own, and an administrator."""

    def __init__(self, cloud: TestedCloud) -> None:
        self.cloud, self.admin = cloud, cloud.client("admin")
        self.type = f"limited-{new_hex()}"
        self.service = make(self.admin, "service", type=self.type)["id"]

    def register(
        self, name: str, default: int, region: str | None = None, status: int = 201
    ) -> Any:
        given = {"service_id": self.service, "resource_name": name, "default_limit": default}
        if region:
            given["region_id"] = region
        answer = self.admin.post(REGISTERED, json={"registered_limits": [given]})
        assert answer.status_code == status, answer.text
        return answer.json()["registered_limits"][0] if status == 201 else answer.json()["error"]

    def limit(self, name: str, value: int, status: int = 201, **whose: str) -> Any:
        given = {
            "service_id": self.service, "resource_name": name, "resource_limit": value, **whose
        }  # fmt: skip
        answer = self.admin.post(LIMITS, json={"limits": [given]})
        assert answer.status_code == status, answer.text
        return answer.json()["limits"][0] if status == 201 else answer.json()["error"]

    def of(self, project_id: str, region: str | None = None) -> dict[str, int]:
        with self.cloud.cloud.database.read() as tx:
            return identity.project_limits(tx, project_id, self.type, region)


@pytest.fixture
def world(cloud: TestedCloud) -> World:
    return World(cloud)


def project(admin: httpx.Client, **values: Any) -> str:
    return str(make(admin, "project", name=new_hex(), domain_id="default", **values)["id"])


# --- What services see --------------------------------------------------------------------------


def test_a_project_has_what_is_registered_unless_it_has_a_limit(world):
    one, two = project(world.admin), project(world.admin)
    assert world.of(one) == {}
    world.register("volumes", 10)
    world.register("snapshots", -1)
    world.limit("volumes", 3, project_id=one)
    assert world.of(one) == {"volumes": 3, "snapshots": -1}
    assert world.of(two) == {"volumes": 10, "snapshots": -1}


def test_a_limit_registered_for_the_region_wins(world):
    one = project(world.admin)
    make(world.admin, "region", id=f"far-{world.service}")
    world.register("volumes", 20, region=f"far-{world.service}")
    world.register("volumes", 10)
    assert world.of(one) == {"volumes": 10}
    assert world.of(one, f"far-{world.service}") == {"volumes": 20}
    assert world.of(one, "RegionOne") == {"volumes": 10}


# --- Registered limits --------------------------------------------------------------------------


def test_a_registered_limit_is_shown_as_published(world, published: Path):
    contract = Contract(published / "openapi/identity/v3.14.yaml")
    made = world.register("volumes", 10)
    one = f"{REGISTERED}/{made['id']}"
    assert made == {
        "id": made["id"],
        "service_id": world.service,
        "region_id": None,
        "resource_name": "volumes",
        "default_limit": 10,
        "description": None,
        "links": {"self": f"http://cloud.test{one}"},
    }
    shown = world.admin.get(one).json()
    assert shown == {"registered_limit": made}
    changed = world.admin.patch(one, json={"registered_limit": {"default_limit": 5}}).json()
    assert changed == {"registered_limit": {**made, "default_limit": 5}}
    listed = world.admin.get(f"{REGISTERED}?service_id={world.service}").json()
    assert listed["registered_limits"] == [changed["registered_limit"]]
    judged = [
        ("GET", "/v3/registered_limits/{id}", shown),
        ("PATCH", "/v3/registered_limits/{id}", changed),
        ("GET", "/v3/registered_limits", listed),
        ("GET", "/v3/limits/model", world.admin.get(f"{LIMITS}/model").json()),
    ]
    assert [p for call in judged for p in contract.problems(*call)] == []
    assert world.admin.delete(one).status_code == 204
    assert world.admin.get(one).status_code == 404


def test_several_are_registered_all_or_none(world):
    given = [
        {"service_id": world.service, "resource_name": "one", "default_limit": 1},
        {"service_id": new_hex(), "resource_name": "two", "default_limit": 1},
    ]
    answer = world.admin.post(REGISTERED, json={"registered_limits": given})
    assert answer.status_code == 400
    assert "service_id" in answer.json()["error"]["message"]
    listed = world.admin.get(f"{REGISTERED}?service_id={world.service}").json()
    assert listed["registered_limits"] == []


def test_a_resource_is_registered_once_per_place(world):
    make(world.admin, "region", id=f"r-{world.service}")
    first = world.register("volumes", 10)
    world.register("volumes", 10, region=f"r-{world.service}")
    error = world.register("volumes", 11, status=409)
    assert first["id"] in error["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("default_limit", -2),
        ("default_limit", 1 << 31),
        ("default_limit", "5"),
        ("resource_name", ""),
        ("region_id", "nowhere"),
        ("surprise", 1),
    ],
)
def test_what_cannot_be_registered(world, field, value):
    given = {"service_id": world.service, "resource_name": "x", "default_limit": 1, field: value}
    answer = world.admin.post(REGISTERED, json={"registered_limits": [given]})
    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]


def test_a_registered_limit_with_exceptions_stays(world):
    made = world.register("volumes", 10)
    own = world.limit("volumes", 3, project_id=project(world.admin))
    one = f"{REGISTERED}/{made['id']}"
    for answer in (
        world.admin.delete(one),
        world.admin.patch(one, json={"registered_limit": {"default_limit": 1}}),
    ):
        assert answer.status_code == 403
        assert own["id"] in answer.json()["error"]["message"]
    assert world.admin.delete(f"{LIMITS}/{own['id']}").status_code == 204
    assert world.admin.delete(one).status_code == 204


def test_a_service_with_registered_limits_stays(world):
    made = world.register("volumes", 10)
    answer = world.admin.delete(f"{V3}/services/{world.service}")
    assert answer.status_code == 409
    assert made["id"] in answer.json()["error"]["message"]


def test_registered_limits_are_filtered(world):
    make(world.admin, "region", id=f"f-{world.service}")
    here = world.register("volumes", 10, region=f"f-{world.service}")
    other = world.register("snapshots", 10)

    def found(query: str) -> list[str]:
        listed = world.admin.get(f"{REGISTERED}?{query}&service_id={world.service}").json()
        return [each["id"] for each in listed["registered_limits"]]

    assert found(f"region_id=f-{world.service}") == [here["id"]]
    assert found("resource_name=snapshots") == [other["id"]]
    assert found("resource_name__contains=snap") == [other["id"]]


# --- Limits ---------------------------------------------------------------------------------------


def test_a_limit_is_shown_as_published(world, published: Path):
    contract = Contract(published / "openapi/identity/v3.14.yaml")
    world.register("volumes", 10)
    one = project(world.admin)
    made = world.limit("volumes", 3, project_id=one, description="few")
    path = f"{LIMITS}/{made['id']}"
    assert made == {
        "id": made["id"],
        "service_id": world.service,
        "region_id": None,
        "resource_name": "volumes",
        "project_id": one,
        "domain_id": None,
        "resource_limit": 3,
        "description": "few",
        "links": {"self": f"http://cloud.test{path}"},
    }
    shown = world.admin.get(path).json()
    assert shown == {"limit": made}
    changed = world.admin.patch(path, json={"limit": {"resource_limit": -1}}).json()
    assert changed == {"limit": {**made, "resource_limit": -1}}
    listed = world.admin.get(f"{LIMITS}?project_id={one}").json()
    assert listed["limits"] == [changed["limit"]]
    for query in (f"service_id={world.service}", "resource_name=volumes"):
        assert changed["limit"] in world.admin.get(f"{LIMITS}?{query}").json()["limits"]
    assert world.admin.get(f"{LIMITS}?project_id={one}&resource_name=x").json()["limits"] == []
    judged = [
        ("GET", "/v3/limits/{id}", shown),
        ("PATCH", "/v3/limits/{id}", changed),
        ("GET", "/v3/limits", listed),
    ]
    assert [p for call in judged for p in contract.problems(*call)] == []
    assert world.admin.delete(path).status_code == 204
    assert world.admin.get(path).status_code == 404


def test_a_limit_needs_a_registered_one(world):
    error = world.limit("volumes", 3, 400, project_id=project(world.admin))
    assert "resource_name" in error["message"]


def test_a_limit_is_somebodys(world):
    world.register("volumes", 10)
    one = project(world.admin)
    world.limit("volumes", 3, 400)
    world.limit("volumes", 3, 400, project_id=one, domain_id="default")
    assert "project_id" in world.limit("volumes", 3, 400, project_id=new_hex())["message"]
    assert "domain_id" in world.limit("volumes", 3, 400, domain_id=one)["message"]
    world.limit("volumes", 3, project_id=one)
    assert "already" in world.limit("volumes", 4, 409, project_id=one)["message"]


def test_the_service_of_a_limit_cannot_be_changed(world):
    world.register("volumes", 10)
    made = world.limit("volumes", 3, project_id=project(world.admin))
    answer = world.admin.patch(
        f"{LIMITS}/{made['id']}", json={"limit": {"service_id": world.service}}
    )
    assert answer.status_code == 400


def test_a_project_takes_its_limits_along(world):
    world.register("volumes", 10)
    one = project(world.admin)
    made = world.limit("volumes", 3, project_id=one)
    assert world.admin.delete(f"{V3}/projects/{one}").status_code == 204
    assert world.admin.get(f"{LIMITS}/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("persona", "sees"),
    [
        ("member", {"one"}),
        ("reader", {"one"}),
        ("stranger", {"two"}),
        ("nobody", set()),
        ("domain_reader", {"one", "two", "default"}),
        ("foreign_manager", {"elsewhere"}),
        ("system_reader", {"one", "two", "default", "elsewhere"}),
        ("admin", {"one", "two", "default", "elsewhere"}),
    ],
)
def test_limits_are_seen_by_those_they_hold_for(world, persona, sees):
    world.register("volumes", 10)
    made = {
        "one": world.limit("volumes", 1, project_id=world.cloud.user("member").project_id),
        "two": world.limit("volumes", 2, project_id=world.cloud.user("stranger").project_id),
        "default": world.limit("volumes", 3, domain_id="default"),
        "elsewhere": world.limit(
            "volumes", 4, domain_id=world.cloud.user("foreign_manager").domain_id
        ),
    }
    client = world.cloud.client(persona)
    listed = client.get(f"{LIMITS}?service_id={world.service}").json()["limits"]
    assert {each["id"] for each in listed} == {made[name]["id"] for name in sees}
    for name, each in made.items():
        answer = client.get(f"{LIMITS}/{each['id']}")
        assert answer.status_code == (200 if name in sees else 403)
    missing = client.get(f"{LIMITS}/{new_hex()}").status_code
    assert missing == (404 if "elsewhere" in sees and "one" in sees else 403)


@pytest.mark.parametrize(
    "persona", ["member", "manager", "domain_manager", "system_reader", "system_member", "service"]
)
def test_limits_are_set_by_administrators(world, persona):
    registered = world.register("volumes", 10)
    other = world.register("others", 10)
    made = world.limit("volumes", 1, project_id=project(world.admin))
    client = world.cloud.client(persona)
    given = {"service_id": world.service, "resource_name": "x", "default_limit": 1}
    own = {
        "service_id": world.service, "resource_name": "others", "resource_limit": 1,
        "project_id": world.cloud.user("member").project_id,
    }  # fmt: skip
    for method, path, body in (
        ("POST", REGISTERED, {"registered_limits": [given]}),
        ("PATCH", f"{REGISTERED}/{other['id']}", {"registered_limit": {"default_limit": 1}}),
        ("DELETE", f"{REGISTERED}/{registered['id']}", None),
        ("POST", LIMITS, {"limits": [own]}),
        ("PATCH", f"{LIMITS}/{made['id']}", {"limit": {"resource_limit": 9}}),
        ("DELETE", f"{LIMITS}/{made['id']}", None),
    ):
        assert client.request(method, path, json=body).status_code == 403, (method, path)
    assert client.get(f"{REGISTERED}/{other['id']}").status_code == 200


# --- Models ---------------------------------------------------------------------------------------


def test_the_flat_model_takes_each_project_by_itself(world):
    assert world.admin.get(f"{LIMITS}/model").json()["model"]["name"] == "flat"
    world.register("volumes", 10)
    world.limit("volumes", 1, domain_id="default")
    world.limit("volumes", 100, project_id=project(world.admin))


def test_a_domain_is_a_ceiling_in_the_strict_model(strict):
    world = World(strict)
    assert world.admin.get(f"{LIMITS}/model").json()["model"]["name"] == "strict_two_level"
    world.register("volumes", 10)
    one, two = project(world.admin), project(world.admin)
    assert "10" in world.limit("volumes", 11, 403, project_id=one)["message"]
    world.limit("volumes", -1, 403, project_id=one)
    own = world.limit("volumes", 8, project_id=one)
    assert one in world.limit("volumes", 7, 403, domain_id="default")["message"]
    ceiling = world.limit("volumes", 12, domain_id="default")
    world.limit("volumes", 12, project_id=two)
    for identifier, value in ((own["id"], 13), (ceiling["id"], 11)):
        answer = world.admin.patch(
            f"{LIMITS}/{identifier}", json={"limit": {"resource_limit": value}}
        )
        assert answer.status_code == 403


def test_a_domain_and_its_project_are_limited_at_once_in_the_strict_model(strict):
    world = World(strict)
    world.register("volumes", 10)
    domain = make(world.admin, "domain", name=new_hex())["id"]
    below = make(world.admin, "project", name=new_hex(), domain_id=domain)["id"]

    def both(of_project: int) -> int:
        shared = {"service_id": world.service, "resource_name": "volumes"}
        given = [
            {**shared, "resource_limit": of_project, "project_id": below},
            {**shared, "resource_limit": 20, "domain_id": domain},
        ]
        return world.admin.post(LIMITS, json={"limits": given}).status_code

    assert both(21) == 403
    assert world.admin.get(f"{LIMITS}?domain_id={domain}").json()["limits"] == []
    assert both(20) == 201


def test_the_strict_model_allows_one_level_of_projects(strict):
    admin = strict.client("admin")
    error = make(admin, "project", 403, name=new_hex(), parent_id=project(admin))
    assert "nested 1 deep" in error["message"]
