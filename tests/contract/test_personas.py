"""The personas of docs/operating/personas.md: each may do what the page says, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nubelet import identity
from nubelet.identity.bootstrap import bootstrap
from nubelet.kernel.ids import new_hex
from nubelet.kernel.policy import Policy
from tests.cloud import TestedCloud, make_cloud
from tests.identity_calls import V3, make

PAGE = Path(__file__).parents[2] / "docs/operating/personas.md"
_SERVICES = ("compute", "image", "network", "placement")
BOUND = ("project_admin", "ResellerAdmin", *(f"{name}_admin" for name in _SERVICES))
READS = (
    "/compute/v2.1/servers/detail?all_tenants=1",
    "/compute/v2.1/flavors/detail",
    "/compute/v2.1/os-hypervisors/detail",
    "/compute/v2.1/os-services",
    "/compute/v2.1/limits",
    "/network/v2.0/networks",
    "/network/v2.0/ports",
    "/network/v2.0/quotas",
    "/image/v2/images",
    "/placement/resource_providers",
    f"{V3}/users",
    f"{V3}/projects",
    f"{V3}/role_assignments",
    f"{V3}/endpoints",
)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path)
    yield tested
    tested.close()


def somebody(cloud: TestedCloud, role: str, project: str) -> tuple[httpx.Client, str]:
    """A client of somebody with a role in a project, and the id of the project."""
    with cloud.cloud.database.write() as tx:
        project_id = identity.ensure_project(tx, project)
        user_id = identity.ensure_user(tx, new_hex())
        identity.ensure_assignment(tx, user_id, role, project_id=project_id)
    token = identity.issue_token(cloud.cloud, user_id, project_id=project_id)
    return cloud.client(None, X_Auth_Token=token), project_id


def test_roles_out_of_the_box(cloud):
    admin = cloud.client("admin")
    roles = {each["id"]: each["name"] for each in admin.get(f"{V3}/roles").json()["roles"]}
    assert set(roles.values()) == {"admin", "manager", "member", "reader", "service", *BOUND}
    rules = admin.get(f"{V3}/role_inferences").json()["role_inferences"]
    implies = {
        (rule["prior_role"]["name"], each["name"]) for rule in rules for each in rule["implies"]
    }
    assert implies == {("admin", "manager"), ("manager", "member"), ("member", "reader")}


def test_the_page_names_every_role(cloud):
    page = PAGE.read_text()
    for each in cloud.client("admin").get(f"{V3}/roles").json()["roles"]:
        assert f"`{each['name']}`" in page


def test_a_cloud_from_before_gets_the_roles_that_it_lacks(cloud):
    admin = cloud.client("admin")
    kept = {each["name"]: each["id"] for each in admin.get(f"{V3}/roles").json()["roles"]}
    gone = kept.pop("image_admin")
    admin.patch(f"{V3}/roles/{gone}", json={"role": {"options": {"immutable": None}}})
    assert admin.delete(f"{V3}/roles/{gone}").status_code == 204
    for _ in range(2):
        bootstrap(cloud.cloud, "unused", "RegionOne", "http://127.0.0.1:1")
    now = admin.get(f"{V3}/roles").json()["roles"]
    assert {each["name"] for each in now} == {*kept, "image_admin"}
    assert kept.items() <= {each["name"]: each["id"] for each in now}.items()


# --- monitor ------------------------------------------------------------------------------------


def image_of_a_member(cloud: TestedCloud) -> str:
    member = cloud.client("member")
    made = member.post(
        "/image/v2/images", json={"name": "i", "disk_format": "raw", "container_format": "bare"}
    ).json()
    member.put(
        f"/image/v2/images/{made['id']}/file",
        content=b"x" * 512,
        headers={"Content-Type": "application/octet-stream"},
    )
    return str(made["id"])


def test_a_monitor_reads_in_every_service(cloud):
    network = cloud.client("member").post(
        "/network/v2.0/networks", json={"network": {"name": "private"}}
    )
    image = image_of_a_member(cloud)
    monitor = cloud.client("system_reader")
    for path in READS:
        assert monitor.get(path).status_code == 200, path
    assert monitor.get(f"/network/v2.0/networks/{network.json()['network']['id']}").is_success
    assert monitor.get(f"/image/v2/images/{image}").is_success
    assert image in [each["id"] for each in monitor.get("/image/v2/images").json()["images"]]


def test_a_monitor_changes_nothing_and_reads_no_content(cloud):
    image = image_of_a_member(cloud)
    monitor = cloud.client("system_reader")
    assert monitor.get(f"/image/v2/images/{image}/file").status_code == 403
    for method, path, body in (
        ("DELETE", f"/image/v2/images/{image}", None),
        ("POST", "/image/v2/images", {"name": "x"}),
        ("POST", "/network/v2.0/networks", {"network": {"name": "x"}}),
        ("POST", "/compute/v2.1/flavors", {"flavor": {"name": "x", "ram": 1, "vcpus": 1}}),
        ("PUT", f"/compute/v2.1/os-quota-sets/{new_hex()}", {"quota_set": {"cores": 1}}),
        ("POST", "/placement/resource_providers", {"name": "x"}),
        ("POST", f"{V3}/users", {"user": {"name": "x", "domain_id": "default"}}),
    ):
        assert monitor.request(method, path, json=body).status_code in (400, 403, 404), (
            method,
            path,
        )
    assert cloud.client("member").get(f"/image/v2/images/{image}").status_code == 200
    names = [each["name"] for each in cloud.client("admin").get(f"{V3}/users").json()["users"]]
    assert "x" not in names


def test_a_monitor_sees_which_objects_there_are(cloud):
    member, monitor = cloud.client("member"), cloud.client("system_reader")
    account = f"/object-store/v1/AUTH_{cloud.user('member').project_id}"
    member.put(f"{account}/box").raise_for_status()
    member.put(f"{account}/box/letter", content=b"dear").raise_for_status()
    assert monitor.get(account).text == "box\n"
    assert monitor.get(f"{account}/box").text == "letter\n"
    assert monitor.head(f"{account}/box/letter").status_code == 200
    assert monitor.get(f"{account}/box/letter").status_code == 403
    assert monitor.put(f"{account}/box/letter", content=b"x").status_code == 403
    assert monitor.delete(f"{account}/box").status_code == 403
    assert cloud.client("domain_reader").get(account).status_code == 403


def test_readers_of_anything_less_are_no_monitors(cloud):
    image = image_of_a_member(cloud)
    for persona in ("stranger", "domain_reader", "nobody"):
        client = cloud.client(persona)
        assert client.get(f"/image/v2/images/{image}").status_code in (403, 404)
        assert client.get("/compute/v2.1/os-hypervisors").status_code == 403


def test_an_operator_can_do_without_monitors(cloud, tmp_path):
    path = tmp_path / "compute.yaml"
    path.write_text('"monitor": "!"\n')
    cloud.cloud.policies["compute"] = Policy.load(cloud.cloud.services["compute"].rules, path)
    monitor = cloud.client("system_reader")
    assert monitor.get("/compute/v2.1/os-hypervisors").status_code == 403
    assert monitor.get("/network/v2.0/networks").status_code == 200


# --- project administrator ------------------------------------------------------------------------


class ProjectAdmin:
    """A project administrator, and somebody to be made a member."""

    def __init__(self, cloud: TestedCloud) -> None:
        self.cloud, self.admin = cloud, cloud.client("admin")
        self.client, self.project = somebody(cloud, "project_admin", "one")
        self.other = cloud.user("stranger").project_id or ""
        self.user = make(self.admin, "user", name=new_hex(), domain_id="default")["id"]
        listed = self.admin.get(f"{V3}/roles").json()["roles"]
        self.roles = {each["name"]: each["id"] for each in listed}

    def grant(self, project: str, role: str, inherited: bool = False) -> httpx.Response:
        path = f"/projects/{project}/users/{self.user}/roles/{self.roles[role]}"
        if inherited:
            path = f"/OS-INHERIT{path}/inherited_to_projects"
        return self.client.put(V3 + path)


@pytest.fixture
def project_admin(cloud: TestedCloud) -> ProjectAdmin:
    return ProjectAdmin(cloud)


def test_a_project_administrator_manages_members(project_admin):
    p = project_admin
    for role in ("member", "reader"):
        assert p.grant(p.project, role).status_code == 204
    listed = p.client.get(
        f"{V3}/role_assignments?scope.project.id={p.project}&include_subtree=true"
    )
    assert p.user in [each["user"]["id"] for each in listed.json()["role_assignments"]]
    held = f"{V3}/projects/{p.project}/users/{p.user}/roles"
    assert len(p.client.get(held).json()["roles"]) == 2
    assert p.client.delete(f"{held}/{p.roles['member']}").status_code == 204
    for role in ("admin", "manager", "service", "project_admin"):
        assert p.grant(p.project, role).status_code == 403, role
    assert p.grant(p.project, "member", inherited=True).status_code == 403
    assert p.grant(p.other, "reader").status_code == 403


def test_a_project_administrator_sees_who_is_in_the_project(project_admin):
    p = project_admin
    assert p.grant(p.project, "member").status_code == 204
    listed = f"{V3}/role_assignments?scope.project.id={{}}"
    found = p.client.get(listed.format(p.project))
    assert p.user in [each["user"]["id"] for each in found.json()["role_assignments"]]
    for hidden in (
        listed.format(p.other),
        f"{V3}/role_assignments",
        f"{V3}/role_assignments?effective",
    ):
        assert p.client.get(hidden).status_code == 403, hidden
    assert p.client.get(f"{V3}/roles?name=member").json()["roles"][0]["id"] == p.roles["member"]
    assert p.client.get(f"{V3}/roles/{p.roles['reader']}").status_code == 200
    assert p.client.get(f"{V3}/roles/{p.roles['admin']}").status_code == 403


def test_a_project_administrator_of_no_project_is_none(project_admin):
    """The role on a domain or the system, or given by a domain's role of that name."""
    p = project_admin
    with p.cloud.cloud.database.write() as tx:
        user = identity.ensure_user(tx, new_hex())
        identity.ensure_assignment(tx, user, "project_admin", domain_id="default")
        identity.ensure_assignment(tx, user, "project_admin", system=True)
    service = make(p.admin, "service", type=new_hex())["id"]
    given = {
        "service_id": service,
        "resource_name": "x",
        "resource_limit": 3,
        "domain_id": "default",
    }
    grant = f"{V3}/projects/{p.project}/users/{p.user}/roles/{p.roles['member']}"
    for scope in ({"domain_id": "default"}, {"system": True}):
        token = identity.issue_token(p.cloud.cloud, user, **scope)
        client = p.cloud.client(None, X_Auth_Token=token)
        assert client.put(grant).status_code == 403
        assert client.post(f"{V3}/limits", json={"limits": [given]}).status_code == 403
        for path in (
            "/compute/v2.1/os-quota-sets/None",
            f"/compute/v2.1/os-quota-sets/{p.project}",
        ):
            assert client.put(path, json={"quota_set": {"cores": 1}}).status_code == 403
        assert client.put("/network/v2.0/quotas/None", json={"quota": {}}).status_code == 403


def test_a_project_administrator_manages_quotas(project_admin):
    p = project_admin
    for path, body in (
        ("/compute/v2.1/os-quota-sets/{}", {"quota_set": {"cores": 3}}),
        ("/network/v2.0/quotas/{}", {"quota": {"network": 3}}),
    ):
        assert p.client.put(path.format(p.project), json=body).status_code == 200, path
        assert p.client.get(path.format(p.project)).status_code == 200, path
        assert p.client.put(path.format(p.other), json=body).status_code == 403, path
        assert p.client.get(path.format(p.other)).status_code in (403, 404), path
    assert p.client.get("/network/v2.0/quotas").status_code == 403, "the limits of all projects"


def test_a_project_administrator_manages_unified_limits(project_admin):
    p = project_admin
    service = make(p.admin, "service", type=new_hex())["id"]
    shared: dict[str, Any] = {"service_id": service, "resource_name": "things"}
    p.admin.post(
        f"{V3}/registered_limits",
        json={"registered_limits": [{**shared, "default_limit": 5}]},
    )

    def limit(project: str) -> httpx.Response:
        given = {**shared, "resource_limit": 3, "project_id": project}
        return p.client.post(f"{V3}/limits", json={"limits": [given]})

    assert limit(p.other).status_code == 403
    made = limit(p.project)
    assert made.status_code == 201
    one = f"{V3}/limits/{made.json()['limits'][0]['id']}"
    assert p.client.patch(one, json={"limit": {"resource_limit": 4}}).status_code == 200
    assert p.client.delete(one).status_code == 204


def test_a_project_administrator_does_nothing_else(project_admin):
    p = project_admin
    for method, path, body in (
        ("GET", "/compute/v2.1/servers", None),
        ("GET", "/compute/v2.1/os-hypervisors", None),
        ("POST", "/network/v2.0/networks", {"network": {"name": "x"}}),
        ("POST", "/image/v2/images", {"name": "x"}),
        ("GET", "/placement/resource_providers", None),
        ("GET", f"{V3}/users", None),
        ("POST", f"{V3}/users", {"user": {"name": "x", "domain_id": "default"}}),
        ("PATCH", f"{V3}/projects/{p.project}", {"project": {"name": "x"}}),
        ("DELETE", f"{V3}/projects/{p.project}", None),
        ("POST", f"{V3}/roles", {"role": {"name": "x"}}),
        ("GET", f"{V3}/projects/{p.other}", None),
    ):
        answer = p.client.request(method, path, json=body)
        assert answer.status_code == 403, (method, path, answer.text)


# --- A role bound to one service ------------------------------------------------------------------

ADMINISTRATION = {
    "compute_admin": ("GET", "/compute/v2.1/os-hypervisors/detail", None),
    "image_admin": ("GET", "/image/v2/tasks", None),
    "network_admin": ("GET", "/network/v2.0/quotas", None),
    "placement_admin": ("GET", "/placement/resource_providers", None),
}
MORE = (
    ("GET", f"{V3}/users", None),
    ("GET", f"{V3}/domains", None),
    ("POST", f"{V3}/roles", {"role": {"name": "x"}}),
    ("POST", "/network/v2.0/networks", {"network": {"name": "x", "shared": True}}),
    ("POST", "/image/v2/images", {"name": "x", "visibility": "public"}),
    ("POST", "/compute/v2.1/flavors", {"flavor": {"name": "x", "ram": 1, "vcpus": 1, "disk": 0}}),
    ("GET", "/operating/v1/status", None),
)


@pytest.mark.parametrize("role", sorted(ADMINISTRATION))
def test_an_administrator_of_one_service_is_one_of_nothing_else(cloud, role):
    client, _ = somebody(cloud, role, "two")
    for mine, (method, path, body) in ADMINISTRATION.items():
        answer = client.request(method, path, json=body)
        assert answer.status_code == (200 if mine == role else 403), (path, answer.text)
    for method, path, body in MORE:
        own = path.split("/")[1] == role.removesuffix("_admin")
        status = client.request(method, path, json=body).status_code
        assert (status in (200, 201)) if own else (status in (403, 404)), (path, status)


def test_an_administrator_of_images_acts_on_everybodys(cloud):
    image = image_of_a_member(cloud)
    client, _ = somebody(cloud, "image_admin", "two")
    patch = [{"op": "replace", "path": "/visibility", "value": "public"}]
    answer = client.patch(
        f"/image/v2/images/{image}",
        json=patch,
        headers={"Content-Type": "application/openstack-images-v2.1-json-patch"},
    )
    assert answer.status_code == 200, answer.text
    assert client.delete(f"/image/v2/images/{image}").status_code == 204


def test_an_administrator_of_compute_boots_from_no_images_and_networks_of_others(cloud):
    """Compute asks image and network as whom the caller is there: nobody."""
    image = image_of_a_member(cloud)
    member = cloud.client("member")
    network = member.post("/network/v2.0/networks", json={"network": {"name": "private"}}).json()
    client, _ = somebody(cloud, "compute_admin", "two")
    given = {"name": "x", "ram": 64, "vcpus": 1, "disk": 0}
    flavor = client.post("/compute/v2.1/flavors", json={"flavor": given}).json()["flavor"]["id"]
    server = {"name": "x", "flavorRef": flavor, "imageRef": image}
    for networks in ("none", [{"uuid": network["network"]["id"]}]):
        answer = client.post(
            "/compute/v2.1/servers",
            json={"server": {**server, "networks": networks}},
            headers={"OpenStack-API-Version": "compute 2.90"},
        )
        assert answer.status_code in (400, 403), answer.text


def test_the_owner_of_every_account_owns_nothing_else(cloud):
    account = f"/object-store/v1/AUTH_{cloud.user('member').project_id}"
    client, _ = somebody(cloud, "ResellerAdmin", "two")
    assert client.put(f"{account}/box").status_code == 201
    assert client.delete(f"{account}/box").status_code == 204
    for method, path, body in (*ADMINISTRATION.values(), *MORE):
        assert client.request(method, path, json=body).status_code in (403, 404), path
