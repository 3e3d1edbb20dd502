"""What callers see of the catalog: filtered endpoints, three interfaces, policies for endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nubelet.identity.catalog_file import CatalogError
from nubelet.kernel.ids import new_hex
from tests.cloud import TestedCloud, make_cloud
from tests.identity_calls import V3, change, make

FILTER = f"{V3}/OS-EP-FILTER"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path_factory.mktemp("catalog"), services=("identity",), hosts=())
    yield tested
    tested.close()


class World:
    """Two endpoints of a service of its own, in a region and in one below it."""

    def __init__(self, cloud: TestedCloud) -> None:
        self.cloud, self.admin = cloud, cloud.client("admin")
        self.project = cloud.user("member").project_id or ""
        self.service = make(self.admin, "service", type=new_hex())["id"]
        self.region = make(self.admin, "region", id=new_hex())["id"]
        self.below = make(self.admin, "region", id=new_hex(), parent_region_id=self.region)["id"]
        self.public = self.endpoint("public", self.region)
        self.internal = self.endpoint("internal", self.below)

    def endpoint(self, interface: str, region: str) -> str:
        return str(
            make(
                self.admin,
                "endpoint",
                service_id=self.service,
                interface=interface,
                region_id=region,
                url=f"http://{interface}.test/%(project_id)s",
            )["id"]
        )

    def catalog(self, persona: str = "member") -> set[str]:
        """The ids of the endpoints that a caller sees."""
        answer = self.cloud.client(persona).get(f"{V3}/auth/catalog").json()["catalog"]
        return {endpoint["id"] for each in answer for endpoint in each["endpoints"]}

    def group(self, **filters: str) -> str:
        answer = self.admin.post(
            f"{FILTER}/endpoint_groups",
            json={"endpoint_group": {"name": new_hex(), "filters": filters}},
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["endpoint_group"]["id"])

    def ask(self, method: str, path: str) -> httpx.Response:
        return self.admin.request(method, path)


@pytest.fixture
def world(cloud: TestedCloud) -> Iterator[World]:
    world = World(cloud)
    yield world
    cloud.client("admin").delete(f"{V3}/services/{world.service}")


# --- Filters --------------------------------------------------------------------------------------


def test_without_a_filter_a_project_sees_all(world):
    assert world.catalog() >= {world.public, world.internal}


def test_a_project_sees_the_endpoints_it_is_shown(world):
    one = f"{FILTER}/projects/{world.project}/endpoints/{world.public}"
    assert world.ask("PUT", one).status_code == 204
    assert world.catalog() == {world.public}
    assert world.internal in world.catalog("stranger"), "others are not concerned"
    assert world.ask("DELETE", one).status_code == 204
    assert world.internal in world.catalog()


def test_a_project_sees_the_endpoints_of_its_groups(world):
    group = world.group(service_id=world.service, interface="internal")
    pair = f"{FILTER}/endpoint_groups/{group}/projects/{world.project}"
    assert world.ask("PUT", pair).status_code == 204
    assert world.catalog() == {world.internal}
    later = world.endpoint("internal", world.region)
    assert world.catalog() == {world.internal, later}, "groups are found anew"
    answer = world.admin.patch(
        f"{FILTER}/endpoint_groups/{group}",
        json={"endpoint_group": {"filters": {"interface": "public"}}},
    ).json()["endpoint_group"]
    assert answer["filters"] == {"service_id": world.service, "interface": "public"}
    assert world.catalog() == {world.public}
    assert world.ask("DELETE", f"{FILTER}/endpoint_groups/{group}").status_code == 204
    assert world.internal in world.catalog()


def test_a_disabled_endpoint_is_not_shown_by_a_filter(world):
    group = world.group(service_id=world.service)
    world.ask("PUT", f"{FILTER}/endpoint_groups/{group}/projects/{world.project}")
    change(world.admin, "endpoint", world.public, enabled=False)
    assert world.catalog() == {world.internal}
    world.ask("DELETE", f"{FILTER}/endpoint_groups/{group}")


def test_deleting_takes_the_associations_along(world):
    project = make(world.admin, "project", name=new_hex(), domain_id="default")["id"]
    one = f"{FILTER}/projects/{project}/endpoints/{world.public}"
    assert world.ask("PUT", one).status_code == 204
    assert world.ask("DELETE", f"{V3}/endpoints/{world.public}").status_code == 204
    assert world.ask("GET", one).status_code == 404
    group = world.group(service_id=world.service)
    world.ask("PUT", f"{FILTER}/endpoint_groups/{group}/projects/{project}")
    assert world.ask("DELETE", f"{V3}/projects/{project}").status_code == 204
    listed = world.ask("GET", f"{FILTER}/endpoint_groups/{group}/projects").json()
    assert listed["projects"] == []


@pytest.mark.parametrize(
    ("filters", "field"),
    [({}, "filters"), ({"interface": "inner"}, "interface"), ({"type": "x"}, "filters")],
)
def test_bad_filters_name_the_field(world, filters, field):
    answer = world.admin.post(
        f"{FILTER}/endpoint_groups", json={"endpoint_group": {"name": "x", "filters": filters}}
    )
    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]


def test_what_does_not_exist_is_not_associated(world):
    for path in (
        f"projects/{world.project}/endpoints/{new_hex()}",
        f"projects/{new_hex()}/endpoints/{world.public}",
        f"endpoint_groups/{new_hex()}/projects/{world.project}",
    ):
        assert world.ask("PUT", f"{FILTER}/{path}").status_code == 404


# --- Interfaces -----------------------------------------------------------------------------------


def test_three_interfaces_may_have_three_urls(world):
    admin_url = world.endpoint("admin", world.region)
    catalog = world.cloud.client("member").get(f"{V3}/auth/catalog").json()["catalog"]
    [mine] = [each for each in catalog if each["id"] == world.service]
    shown = {each["interface"]: (each["id"], each["url"]) for each in mine["endpoints"]}
    assert shown == {
        "public": (world.public, f"http://public.test/{world.project}"),
        "internal": (world.internal, f"http://internal.test/{world.project}"),
        "admin": (admin_url, f"http://admin.test/{world.project}"),
    }


# --- Policies for endpoints ---------------------------------------------------------------------


def policy(world: World) -> str:
    answer = world.admin.post(
        f"{V3}/policies", json={"policy": {"blob": "{}", "type": "application/json"}}
    )
    return str(answer.json()["policy"]["id"])


def found(world: World, endpoint: str) -> str | None:
    answer = world.ask("GET", f"{V3}/endpoints/{endpoint}/OS-ENDPOINT-POLICY/policy")
    return answer.json()["policy"]["id"] if answer.status_code == 200 else None


def test_the_most_particular_policy_wins(world):
    for_service, for_region, for_endpoint = policy(world), policy(world), policy(world)

    def put(chosen: str, subject: str) -> None:
        answer = world.ask("PUT", f"{V3}/policies/{chosen}/OS-ENDPOINT-POLICY/{subject}")
        assert answer.status_code == 204

    put(for_service, f"services/{world.service}")
    assert found(world, world.internal) == for_service
    put(for_region, f"services/{world.service}/regions/{world.region}")
    assert found(world, world.internal) == for_region, "by the region above"
    put(for_endpoint, f"endpoints/{world.internal}")
    assert found(world, world.internal) == for_endpoint
    assert found(world, world.public) == for_region
    listed = world.ask("GET", f"{V3}/policies/{for_region}/OS-ENDPOINT-POLICY/endpoints").json()
    assert {each["id"] for each in listed["endpoints"]} == {world.public, world.internal}


def test_another_policy_takes_the_place_of_the_first(world):
    first, second = policy(world), policy(world)
    for each in (first, second):
        world.ask("PUT", f"{V3}/policies/{each}/OS-ENDPOINT-POLICY/services/{world.service}")
    assert found(world, world.public) == second
    gone = world.ask("GET", f"{V3}/policies/{first}/OS-ENDPOINT-POLICY/services/{world.service}")
    assert gone.status_code == 404


def test_a_policy_goes_with_what_it_is_for(world):
    chosen = policy(world)
    world.ask("PUT", f"{V3}/policies/{chosen}/OS-ENDPOINT-POLICY/endpoints/{world.public}")
    assert world.ask("DELETE", f"{V3}/endpoints/{world.public}").status_code == 204
    assert world.ask("DELETE", f"{V3}/policies/{chosen}").status_code == 204


@pytest.mark.parametrize("values", [{"type": "x"}, {"blob": "x"}, {"blob": 3, "type": "x"}])
def test_a_policy_needs_a_text_and_a_type(world, values):
    assert world.admin.post(f"{V3}/policies", json={"policy": values}).status_code == 400


def test_certificates_are_gone(world):
    for what in ("ca", "certificates"):
        answer = world.cloud.client(None).get(f"{V3}/OS-SIMPLE-CERT/{what}")
        assert answer.status_code == 410
        assert "PKI" in answer.json()["error"]["message"]


# --- A catalog from a file ------------------------------------------------------------------------

TEMPLATE = """
# of Keystone's form
catalog.North.identity.name = keystone
catalog.North.identity.publicURL = http://cloud.test/identity
catalog.North.compute.publicURL = http://cloud.test/compute/$(project_id)s
catalog.North.compute.adminURL = http://admin.test/compute
catalog.South.compute.publicURL = http://south.test/compute
"""


@pytest.fixture
def from_file(tmp_path: Path) -> Iterator[TestedCloud]:
    path = tmp_path / "catalog.templates"
    path.write_text(TEMPLATE)
    tested = make_cloud(
        tmp_path, services=("identity",), hosts=(), options={"identity.catalog_file": path}
    )
    yield tested
    tested.close()


def urls(cloud: TestedCloud) -> dict[tuple[str, str, str], str]:
    shown = cloud.client("member").get(f"{V3}/auth/catalog").json()["catalog"]
    return {
        (each["type"], endpoint["region"], endpoint["interface"]): endpoint["url"]
        for each in shown
        for endpoint in each["endpoints"]
    }


def test_a_catalog_from_a_file_is_shown_like_another(from_file):
    project = from_file.user("member").project_id
    expected = {
        ("identity", "North", "public"): "http://cloud.test/identity",
        ("compute", "North", "public"): f"http://cloud.test/compute/{project}",
        ("compute", "North", "admin"): "http://admin.test/compute",
        ("compute", "South", "public"): "http://south.test/compute",
    }
    assert urls(from_file) == expected
    admin = from_file.client("admin")
    services = admin.get(f"{V3}/services").json()["services"]
    assert {(each["type"], each["name"]) for each in services} == {
        ("identity", "keystone"),
        ("compute", "compute"),
    }
    regions = admin.get(f"{V3}/regions").json()["regions"]
    assert {each["id"] for each in regions} == {"North", "South"}
    [south] = admin.get(f"{V3}/endpoints?region_id=South").json()["endpoints"]
    project_path = f"{FILTER}/projects/{project}/endpoints/{south['id']}"
    assert admin.put(project_path).status_code == 204
    assert set(urls(from_file)) == {("compute", "South", "public")}, "filters hold, too"


def test_a_file_that_changed_is_read_again(from_file):
    before = from_file.client("admin").get(f"{V3}/endpoints?region_id=South").json()["endpoints"]
    path = from_file.cloud.settings.identity.catalog_file
    path.write_text(TEMPLATE.replace("south.test", "new.test").replace("adminURL", "internalURL"))
    from_file.reconcile("identity-catalog-file")
    found = urls(from_file)
    assert found["compute", "South", "public"] == "http://new.test/compute"
    assert ("compute", "North", "admin") not in found
    assert ("compute", "North", "internal") in found
    after = from_file.client("admin").get(f"{V3}/endpoints?region_id=South").json()["endpoints"]
    assert after[0]["id"] == before[0]["id"]
    path.write_text("catalog.North.identity.publicURL = http://cloud.test/identity\n")
    from_file.reconcile("identity-catalog-file")
    assert set(urls(from_file)) == {("identity", "North", "public")}


def test_a_catalog_from_a_file_is_changed_there_only(from_file):
    admin = from_file.client("admin")
    service = admin.get(f"{V3}/services").json()["services"][0]["id"]
    endpoint = admin.get(f"{V3}/endpoints").json()["endpoints"][0]["id"]
    for method, path, body in (
        ("POST", "services", {"service": {"type": "x"}}),
        ("PATCH", f"services/{service}", {"service": {"name": "x"}}),
        ("DELETE", f"services/{service}", None),
        ("PATCH", f"endpoints/{endpoint}", {"endpoint": {"enabled": False}}),
        ("DELETE", f"endpoints/{endpoint}", None),
        ("POST", "regions", {"region": {"id": "x"}}),
        ("PUT", "regions/x", {"region": {}}),
        ("DELETE", "regions/North", None),
    ):
        answer = admin.request(method, f"{V3}/{path}", json=body)
        assert answer.status_code == 403, (method, path)
        assert "catalog.templates" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "line", ["catalog.North.identity = x", "North.identity.publicURL = x", "catalog.a.b.url = x"]
)
def test_a_line_that_is_none_is_named_and_changes_nothing(from_file, line):
    before = urls(from_file)
    path = from_file.cloud.settings.identity.catalog_file
    path.write_text(f"{TEMPLATE}{line}\n")
    with pytest.raises(CatalogError, match="line 8"):
        from_file.reconcile("identity-catalog-file")
    assert urls(from_file) == before
