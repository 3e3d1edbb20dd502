"""Users, groups, roles, and the many ways to hold one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.cloud import TestedCloud, make_cloud
from tests.identity_calls import change, make

V3 = "/identity/v3"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path_factory.mktemp("identity"), services=("identity",), hosts=())
    yield tested
    tested.close()


@pytest.fixture(scope="module")
def admin(cloud: TestedCloud) -> httpx.Client:
    return cloud.client("admin")


class Place:
    """A fresh domain with a project, one below it, a user, a group with that user, a role."""

    def __init__(self, admin: httpx.Client, name: str) -> None:
        self.admin = admin
        self.domain = make(admin, "domain", name=name)["id"]
        self.top = make(admin, "project", name="top", domain_id=self.domain)["id"]
        self.below = make(admin, "project", name="below", parent_id=self.top)["id"]
        self.user = make(admin, "user", name="u", domain_id=self.domain, password="x")["id"]
        self.group = make(admin, "group", name="g", domain_id=self.domain)["id"]
        self.role = make(admin, "role", name=f"role-of-{name}")["id"]
        admin.put(f"{V3}/groups/{self.group}/users/{self.user}")

    def grant(self, path: str, role: str = "", status: int = 204) -> None:
        start, _, end = path.partition("+")
        answer = self.admin.put(f"{V3}/{start.format(**vars(self))}/roles/{role or self.role}{end}")
        assert answer.status_code == status, answer.text

    def list(self, query: str = "", status: int = 200) -> Any:
        answer = self.admin.get(f"{V3}/role_assignments?{query.format(**vars(self))}")
        assert answer.status_code == status, answer.text
        return answer.json().get("role_assignments")


_numbers = iter(range(1000))


@pytest.fixture
def place(admin: httpx.Client) -> Place:
    return Place(admin, f"place-{next(_numbers)}")


# --- Users and groups ---------------------------------------------------------------------------


def test_a_user_shows_what_was_given(admin, place):
    user = make(
        admin,
        "user",
        name="full",
        domain_id=place.domain,
        description="d",
        email="e@example.org",
        enabled="no",
        default_project_id=place.top,
        phone={"home": 1},
    )
    assert user == {
        "id": user["id"],
        "name": "full",
        "domain_id": place.domain,
        "description": "d",
        "email": "e@example.org",
        "enabled": False,
        "default_project_id": place.top,
        "phone": {"home": 1},
        "options": {},
        "password_expires_at": None,
        "federated": [],
        "links": {"self": f"http://cloud.test/identity/v3/users/{user['id']}"},
    }
    changed = change(admin, "user", user["id"], default_project_id=None, email=None, enabled=True)
    assert "default_project_id" not in changed
    assert changed["email"] is None
    assert changed["enabled"] is True


def test_a_user_stays_in_its_domain(admin, place):
    assert "domain_id" in change(admin, "user", place.user, 400, domain_id="default")["message"]
    assert "domain_id" in change(admin, "group", place.group, 400, domain_id="default")["message"]
    make(admin, "user", 404, name="x", domain_id="nothing")
    make(admin, "group", 404, name="x", domain_id="nothing")
    change(admin, "domain", place.domain, enabled=False)
    assert "disabled" in make(admin, "user", 400, name="x", domain_id=place.domain)["message"]


def test_a_domain_is_nobodys_default_project(admin, place):
    error = make(admin, "user", 400, name="x", default_project_id=place.domain)
    assert "default_project_id" in error["message"]


def test_an_empty_change_is_refused(admin, place):
    assert admin.patch(f"{V3}/users/{place.user}", json={"user": {}}).status_code == 400


def test_user_options_are_merged(admin, place):
    change(admin, "user", place.user, options={"lock_password": True})
    changed = change(admin, "user", place.user, options={"ignore_password_expiry": True})
    assert changed["options"] == {"lock_password": True, "ignore_password_expiry": True}
    changed = change(admin, "user", place.user, options={"lock_password": None})
    assert changed["options"] == {"ignore_password_expiry": True}


@pytest.mark.parametrize("noun", ["user", "group"])
def test_names_are_unique_per_domain(admin, place, noun):
    made = make(admin, noun, name="same", domain_id=place.domain)
    assert made["id"] in make(admin, noun, 409, name="same", domain_id=place.domain)["message"]
    other = make(admin, noun, name="other", domain_id=place.domain)
    assert "same" in change(admin, noun, other["id"], 409, name="same")["message"]


def test_users_are_filtered(admin, place):
    make(admin, "user", name="off", domain_id=place.domain, enabled=False)

    def found(query: str) -> list[str]:
        answer = admin.get(f"{V3}/users?domain_id={place.domain}&{query}")
        assert answer.status_code == 200, answer.text
        return sorted(each["name"] for each in answer.json()["users"])

    assert found("") == ["off", "u"]
    assert found("name=u") == ["u"]
    assert found("enabled=false") == ["off"]
    assert found("password_expires_at=lt:2030-01-01T00:00:00Z") == []
    assert found("idp_id=x") == []
    bad = admin.get(f"{V3}/users?password_expires_at=soon")
    assert bad.status_code == 400
    assert "password_expires_at" in bad.json()["error"]["message"]


def test_a_membership_needs_both(admin, place):
    for path in (f"groups/{place.group}/users/nobody", f"groups/nothing/users/{place.user}"):
        assert admin.put(f"{V3}/{path}").status_code == 404
    assert admin.put(f"{V3}/groups/{place.group}/users/{place.user}").status_code == 204
    members = admin.get(f"{V3}/groups/{place.group}/users?name__contains=u").json()["users"]
    assert [each["id"] for each in members] == [place.user]
    assert admin.get(f"{V3}/groups/{place.group}/users?enabled=false").json()["users"] == []


def test_projects_of_a_user(admin, place):
    assert admin.get(f"{V3}/users/{place.user}/projects").json()["projects"] == []
    place.grant("OS-INHERIT/domains/{domain}/groups/{group}+/inherited_to_projects")
    found = admin.get(f"{V3}/users/{place.user}/projects").json()["projects"]
    assert sorted(each["name"] for each in found) == ["below", "top"]


# --- Roles --------------------------------------------------------------------------------------


def test_role_names_are_unique_where_they_belong(admin, place):
    make(admin, "role", 409, name="member")
    assert make(admin, "role", name="member", domain_id=place.domain)["domain_id"] == place.domain
    make(admin, "role", 409, name="member", domain_id=place.domain)
    make(admin, "role", 404, name="x", domain_id="nothing")
    assert "domain_id" in change(admin, "role", place.role, 400, domain_id="default")["message"]


def test_admin_is_never_implied(admin, place):
    roles = {each["name"]: each["id"] for each in admin.get(f"{V3}/roles").json()["roles"]}
    answer = admin.put(f"{V3}/roles/{place.role}/implies/{roles['admin']}")
    assert answer.status_code == 403
    assert admin.put(f"{V3}/roles/{place.role}/implies/{roles['member']}").status_code == 201


def test_a_role_of_the_cloud_cannot_imply_one_of_a_domain(admin, place):
    mine = make(admin, "role", name="mine", domain_id=place.domain)["id"]
    assert admin.put(f"{V3}/roles/{place.role}/implies/{mine}").status_code == 403
    assert admin.put(f"{V3}/roles/{mine}/implies/{place.role}").status_code == 201
    for path in (f"nothing/implies/{mine}", f"{mine}/implies/nothing"):
        assert admin.put(f"{V3}/roles/{path}").status_code == 404


def test_a_role_of_a_domain_stays_there(cloud, admin, place):
    mine = make(admin, "role", name="bundle", domain_id=place.domain)["id"]
    admin.put(f"{V3}/roles/{mine}/implies/{place.role}")
    elsewhere = cloud.user("member").project_id
    for path, status in (
        (f"projects/{elsewhere}", 403),
        ("domains/default", 204),  # as upstream: what it implies shows, itself it does not
        ("system", 400),
        (f"projects/{place.top}", 204),
        (f"domains/{place.domain}", 204),
    ):
        answer = admin.put(f"{V3}/{path}/users/{place.user}/roles/{mine}")
        assert answer.status_code == status, path
    # In a token (and in the effective list) only what it implies shows.
    found = place.list("effective&scope.project.id={top}&user.id={user}")
    assert [each["role"]["id"] for each in found] == [place.role]
    assert found[0]["links"]["prior_role"].endswith(f"/roles/{mine}")


# --- Grants ---------------------------------------------------------------------------------------


def test_a_grant_needs_all_three(place):
    place.grant("projects/{top}/users/{user}", "nothing", 404)
    place.grant("projects/nothing/users/{user}", status=404)
    place.grant("projects/{top}/users/nobody", status=404)
    place.grant("domains/{top}/users/{user}", status=404)  # a project is not a domain
    place.grant("system/groups/nobody", status=404)


def test_a_grant_of_somebody_gone_can_be_taken_back(admin, place):
    assert (
        admin.delete(f"{V3}/projects/{place.top}/users/gone/roles/{place.role}").status_code == 404
    )


def test_deleting_somebody_takes_their_roles(admin, place):
    place.grant("projects/{top}/users/{user}")
    place.grant("projects/{top}/groups/{group}")
    assert len(place.list("scope.project.id={top}")) == 2
    admin.delete(f"{V3}/users/{place.user}")
    admin.delete(f"{V3}/groups/{place.group}")
    assert place.list("scope.project.id={top}") == []


# --- The list of assignments --------------------------------------------------------------------


def brief(rows: Any) -> set[tuple[str, ...]]:
    """(actor, scope, inherited?) of each."""
    found = set()
    for row in rows:
        [actor] = [kind for kind in ("user", "group") if kind in row]
        [scope] = [kind for kind in ("project", "domain", "system") if kind in row["scope"]]
        place = row["scope"][scope].get("id", "all")
        found.add((actor, place, "inherited" if "OS-INHERIT:inherited_to" in row["scope"] else ""))
    return found


def test_assignments_as_they_were_made(place):
    place.grant("projects/{top}/users/{user}")
    place.grant("OS-INHERIT/projects/{top}/groups/{group}+/inherited_to_projects")
    place.grant("domains/{domain}/groups/{group}")
    place.grant("OS-INHERIT/domains/{domain}/users/{user}+/inherited_to_projects")
    place.grant("system/users/{user}")
    everything = {
        ("user", place.top, ""),
        ("group", place.top, "inherited"),
        ("group", place.domain, ""),
        ("user", place.domain, "inherited"),
        ("user", "all", ""),
    }
    assert brief(place.list("role.id={role}")) == everything
    assert brief(place.list("role.id={role}&user.id={user}")) == {
        each for each in everything if each[0] == "user"
    }
    assert brief(place.list("group.id={group}")) == {
        each for each in everything if each[0] == "group"
    }
    assert brief(place.list("scope.project.id={top}")) == {
        each for each in everything if each[1] == place.top
    }
    assert brief(place.list("scope.domain.id={domain}")) == {
        each for each in everything if each[1] == place.domain
    }
    assert ("user", "all", "") in brief(place.list("scope.system=all&role.id={role}"))
    assert brief(place.list("role.id={role}&scope.OS-INHERIT:inherited_to=projects")) == {
        each for each in everything if each[2]
    }


def test_assignments_as_they_take_effect(place):
    place.grant("OS-INHERIT/domains/{domain}/groups/{group}+/inherited_to_projects")
    place.grant("projects/{top}/users/{user}")
    found = place.list("effective&role.id={role}")
    assert brief(found) == {
        ("user", place.top, ""),
        ("user", place.top, "inherited"),
        ("user", place.below, "inherited"),
    }
    [inherited] = place.list("effective&scope.project.id={below}")
    assert inherited["links"] == {
        "assignment": f"http://cloud.test{V3}/OS-INHERIT/domains/{place.domain}/groups/"
        f"{place.group}/roles/{place.role}/inherited_to_projects",
        "membership": f"http://cloud.test{V3}/groups/{place.group}/users/{place.user}",
    }
    assert place.list("effective&scope.domain.id={domain}") == []
    assert brief(place.list("effective&scope.OS-INHERIT:inherited_to=projects&user.id={user}")) == {
        ("user", place.top, "inherited"),
        ("user", place.below, "inherited"),
    }


def test_assignments_in_a_tree(cloud, admin, place):
    place.grant("projects/{below}/users/{user}")
    assert place.list("scope.project.id={top}") == []
    assert brief(place.list("scope.project.id={top}&include_subtree")) == {
        ("user", place.below, "")
    }
    place.list("include_subtree=true", 400)


def test_assignments_with_names(admin, place):
    place.grant("projects/{top}/users/{user}")
    domain = {
        "id": place.domain,
        "name": admin.get(f"{V3}/domains/{place.domain}").json()["domain"]["name"],
    }
    [row] = place.list("include_names&user.id={user}")
    assert row["user"] == {"id": place.user, "name": "u", "domain": domain}
    assert row["scope"]["project"] == {"id": place.top, "name": "top", "domain": domain}
    assert row["role"] == {"id": place.role, "name": f"role-of-{domain['name']}"}
    [row] = place.list("user.id={user}")
    assert row["user"] == {"id": place.user}


@pytest.mark.parametrize(
    "query",
    [
        "user.id=a&group.id=b",
        "scope.project.id=a&scope.domain.id=b",
        "effective&group.id=a",
        "effective&scope.domain.id=a&scope.OS-INHERIT:inherited_to=projects",
        "scope.system=all&scope.project.id=a",
        "scope.OS-INHERIT:inherited_to=domains",
    ],
)
def test_filters_that_exclude_each_other(place, query):
    place.list(query, 400)


def test_implied_roles_in_the_effective_list(admin, place):
    reader = admin.get(f"{V3}/roles?name=reader").json()["roles"][0]["id"]
    member = admin.get(f"{V3}/roles?name=member").json()["roles"][0]["id"]
    place.grant("projects/{top}/users/{user}", member)
    found = {each["role"]["id"]: each for each in place.list("effective&user.id={user}")}
    assert set(found) == {member, reader}
    assert found[reader]["links"]["assignment"].endswith(f"/roles/{member}")
    assert "prior_role" not in found[member]["links"]


# --- Catalog --------------------------------------------------------------------------------------


def test_an_endpoint_makes_its_region_by_name(admin):
    service = make(admin, "service", type="t")["id"]
    made = make(
        admin,
        "endpoint",
        service_id=service,
        interface="public",
        url="http://x.example.org",
        region="by-name",
    )
    assert (made["region"], made["region_id"]) == ("by-name", "by-name")
    assert admin.get(f"{V3}/regions/by-name").status_code == 200
    assert make(
        admin,
        "endpoint",
        400,
        service_id=service,
        interface="public",
        url="http://x.example.org",
        region_id="no-such",
    )["message"].count("region_id")
    assert make(
        admin, "endpoint", 400, service_id="no-such", interface="public", url="http://x.example.org"
    )["message"].count("service_id")
    assert make(
        admin,
        "endpoint",
        400,
        service_id=service,
        interface="public",
        url="http://x.example.org/%(secret)s",
    )["message"].count("secret")
    moved = change(admin, "endpoint", made["id"], region="elsewhere", name="n", enabled=False)
    assert (moved["region"], moved["name"], moved["enabled"]) == ("elsewhere", "n", False)
    [found] = admin.get(f"{V3}/endpoints?service_id={service}&interface=public").json()["endpoints"]
    assert found["id"] == made["id"]
    admin.delete(f"{V3}/services/{service}")
    assert admin.get(f"{V3}/endpoints/{made['id']}").status_code == 404


def test_regions_are_a_tree(admin):
    top = make(admin, "region", id="r-top")["id"]
    make(admin, "region", id="r-below", parent_region_id=top)
    assert make(admin, "region", 409, id="r-top")["message"].count("r-top")
    make(admin, "region", 404, id="r-x", parent_region_id="nothing")
    assert "below" in change(admin, "region", top, 400, parent_region_id="r-below")["message"]
    found = admin.get(f"{V3}/regions?parent_region_id=r-top").json()["regions"]
    assert [each["id"] for each in found] == ["r-below"]
    mismatch = admin.put(f"{V3}/regions/r-y", json={"region": {"id": "r-z"}})
    assert mismatch.status_code == 400
    assert admin.delete(f"{V3}/regions/r-top").status_code == 204
    assert admin.get(f"{V3}/regions/r-below").status_code == 404
