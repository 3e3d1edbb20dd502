"""Who may do what in identity: one row per operation, one column per persona.

A row names the operation and those who may do it; everybody else must get 403, and nobody may
learn from the answer whether a thing of another domain exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.cloud import PERSONAS, TestedCloud, make_cloud
from tests.identity_calls import V3, make

ADMINS = {"admin", "admin_of_one", "system_admin", "domain_admin"}
# A token for a domain is not enough for what belongs to no domain.
GLOBAL_ADMINS = ADMINS - {"domain_admin"}
SEE_ALL = ADMINS | {"system_reader", "system_member", "system_manager"}
SEE_GLOBAL = SEE_ALL - {"domain_admin"}
# Those whose token is scoped to the default domain, by what they may do there.
DOMAIN_READERS = {"domain_reader", "domain_member", "domain_manager"}
DOMAIN_MANAGERS = {"domain_manager"}
FOREIGN = {"foreign_manager", "foreign_reader"}
ANYBODY = set(PERSONAS)
MANAGERS = DOMAIN_MANAGERS | {"foreign_manager"}


class Row(NamedTuple):
    """An operation and those who may do it. {name} in path and body is filled from `World`."""

    method: str
    path: str
    allowed: set[str]
    body: Any = None


DOMAIN_ROLE_ID = "{member_role}"
ROWS = (
    # Users, groups and projects of the default domain: its readers see, its managers change.
    Row("GET", "/users", SEE_ALL | DOMAIN_READERS | FOREIGN),
    Row("GET", "/users/{user}", SEE_ALL | DOMAIN_READERS),
    Row(
        "POST",
        "/users",
        ADMINS | DOMAIN_MANAGERS,
        {"user": {"name": "{fresh}", "domain_id": "default"}},
    ),
    Row("PATCH", "/users/{user}", ADMINS | DOMAIN_MANAGERS, {"user": {"note": "x"}}),
    Row("DELETE", "/users/{victim}", ADMINS | DOMAIN_MANAGERS),
    Row("GET", "/users/{user}/groups", SEE_ALL | DOMAIN_READERS),
    Row("GET", "/users/{user}/projects", SEE_ALL | DOMAIN_READERS),
    Row("DELETE", "/users/{user}/tokens", ADMINS),
    Row("GET", "/groups", SEE_ALL | DOMAIN_READERS | FOREIGN),
    Row("GET", "/groups/{group}", SEE_ALL | DOMAIN_READERS),
    Row("GET", "/groups/{group}/users", SEE_ALL | DOMAIN_READERS),
    Row("GET", "/groups/{group}/users/{user}", SEE_ALL | DOMAIN_READERS),
    Row("PUT", "/groups/{group}/users/{user}", ADMINS | DOMAIN_MANAGERS),
    Row(
        "POST",
        "/groups",
        ADMINS | DOMAIN_MANAGERS,
        {"group": {"name": "{fresh}", "domain_id": "default"}},
    ),
    Row("PATCH", "/groups/{group}", ADMINS | DOMAIN_MANAGERS, {"group": {"description": "x"}}),
    Row("GET", "/projects", SEE_ALL | DOMAIN_READERS | FOREIGN),
    Row("GET", "/projects/{project}", SEE_ALL | DOMAIN_READERS),
    Row(
        "POST",
        "/projects",
        ADMINS | DOMAIN_MANAGERS,
        {"project": {"name": "{fresh}", "domain_id": "default"}},
    ),
    Row("POST", "/projects", ADMINS, {"project": {"name": "{fresh}", "is_domain": True}}),
    Row("PATCH", "/projects/{project}", ADMINS | DOMAIN_MANAGERS, {"project": {"note": "x"}}),
    Row("PUT", "/projects/{project}/tags/{fresh}", ADMINS | DOMAIN_MANAGERS),
    Row("GET", "/projects/{project}/tags", SEE_ALL | DOMAIN_READERS),
    # A domain under its name as a project is for administrators.
    Row("GET", "/projects/default", SEE_ALL),
    Row("PATCH", "/projects/default", ADMINS, {"project": {"note": "x"}}),
    # Domains.
    Row("GET", "/domains", SEE_ALL | DOMAIN_READERS | FOREIGN),
    Row("GET", "/domains/{elsewhere}", SEE_ALL | FOREIGN),
    Row("POST", "/domains", GLOBAL_ADMINS, {"domain": {"name": "{fresh}"}}),
    Row("PATCH", "/domains/{elsewhere}", GLOBAL_ADMINS, {"domain": {"note": "x"}}),
    # Roles.
    Row("GET", "/roles", SEE_ALL | MANAGERS | {"project_admin"}),
    Row("GET", "/roles/{member_role}", SEE_ALL | MANAGERS | {"project_admin"}),
    Row("GET", "/roles?domain_id=default", SEE_GLOBAL),
    Row("POST", "/roles", GLOBAL_ADMINS, {"role": {"name": "{fresh}"}}),
    Row("POST", "/roles", GLOBAL_ADMINS, {"role": {"name": "{fresh}", "domain_id": "default"}}),
    Row("PATCH", "/roles/{role}", GLOBAL_ADMINS, {"role": {"description": "x"}}),
    Row("GET", "/roles/{role}/implies", SEE_GLOBAL),
    Row("GET", "/role_inferences", SEE_GLOBAL),
    # Grants: a manager hands out manager, member and reader inside the domain, nothing else.
    Row("PUT", "/projects/{project}/users/{user}/roles/{member_role}", ADMINS | DOMAIN_MANAGERS),
    Row("PUT", "/projects/{project}/users/{user}/roles/{admin_role}", ADMINS),
    Row("PUT", "/projects/{project}/users/{user}/roles/{role}", ADMINS),
    Row("PUT", "/domains/default/groups/{group}/roles/{member_role}", ADMINS | DOMAIN_MANAGERS),
    Row("PUT", "/domains/{elsewhere}/users/{user}/roles/{member_role}", ADMINS),
    Row("PUT", "/projects/{project}/users/{foreigner}/roles/{member_role}", ADMINS),
    Row("PUT", "/system/users/{user}/roles/{member_role}", GLOBAL_ADMINS),
    Row(
        "PUT",
        "/OS-INHERIT/domains/default/users/{user}/roles/{member_role}/inherited_to_projects",
        ADMINS | DOMAIN_MANAGERS,
    ),
    Row("GET", "/projects/{project}/users/{user}/roles", SEE_ALL | DOMAIN_READERS),
    Row("GET", "/projects/{project}/users/{user}/roles/{member_role}", SEE_ALL | DOMAIN_READERS),
    Row("GET", "/system/users/{user}/roles", SEE_GLOBAL),
    Row("GET", "/role_assignments", SEE_ALL | DOMAIN_READERS | FOREIGN),
    Row(
        "GET",
        "/role_assignments?scope.project.id={project}&include_subtree",
        SEE_ALL | DOMAIN_READERS,
    ),
    # Catalog.
    Row("GET", "/services", SEE_GLOBAL),
    Row("GET", "/services/{service}", SEE_GLOBAL),
    Row("POST", "/services", GLOBAL_ADMINS, {"service": {"type": "{fresh}"}}),
    Row("PATCH", "/services/{service}", GLOBAL_ADMINS, {"service": {"note": "x"}}),
    Row("GET", "/endpoints", SEE_GLOBAL),
    Row(
        "POST",
        "/endpoints",
        GLOBAL_ADMINS,
        {"endpoint": {"service_id": "{service}", "interface": "public", "url": "http://x"}},
    ),
    Row("GET", "/regions", ANYBODY),
    Row("GET", "/regions/RegionOne", ANYBODY),
    Row("POST", "/regions", GLOBAL_ADMINS, {"region": {"id": "{fresh}"}}),
    Row("PUT", "/regions/{fresh}", GLOBAL_ADMINS, {"region": {}}),
    # Oneself.
    Row("GET", "/auth/projects", ANYBODY),
    Row("GET", "/auth/domains", ANYBODY),
    Row("GET", "/auth/system", ANYBODY),
    Row("GET", "/auth/catalog", {who for who, kind in PERSONAS.items() if kind.project}),
)


class World:
    """Things of the default domain that are none of the personas', and one of elsewhere."""

    def __init__(self, cloud: TestedCloud) -> None:
        admin = cloud.client("admin")
        self.cloud, self._number = cloud, 0
        self.ids = {
            "elsewhere": cloud.user("foreign_manager").domain_id,
            "user": make(admin, "user", name="target-user")["id"],
            "group": make(admin, "group", name="target-group")["id"],
            "project": make(admin, "project", name="target-project")["id"],
            "role": make(admin, "role", name="target-role")["id"],
            "service": make(admin, "service", type="target")["id"],
        }
        self.ids["foreigner"] = make(
            admin, "user", name="foreigner", domain_id=self.ids["elsewhere"]
        )["id"]
        for name in ("member", "admin"):
            found = admin.get(f"{V3}/roles?name={name}").json()["roles"]
            self.ids[f"{name}_role"] = found[0]["id"]
        admin.put(f"{V3}/groups/{self.ids['group']}/users/{self.ids['user']}")
        admin.put(
            f"{V3}/projects/{self.ids['project']}/users/{self.ids['user']}"
            f"/roles/{self.ids['member_role']}"
        )

    def ask(self, persona: str, row: Row) -> int:
        """The status that the persona gets."""
        self._number += 1
        ids = {**self.ids, "fresh": f"fresh-{self._number}"}
        if "{victim}" in row.path:
            ids["victim"] = make(self.cloud.client("admin"), "user", name=f"victim-{self._number}")[
                "id"
            ]
        answer = self.cloud.client(persona).request(
            row.method, V3 + row.path.format(**ids), json=_fill(row.body, ids)
        )
        return answer.status_code


def _fill(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _fill(each, ids) for name, each in value.items()}
    return value.format(**ids) if isinstance(value, str) else value


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    tested = make_cloud(tmp_path_factory.mktemp("identity"), services=("identity",), hosts=())
    yield World(tested)
    tested.close()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_row(world, row):
    allowed, wrong = set(), {}
    for persona in PERSONAS:
        status = world.ask(persona, row)
        if 200 <= status < 300:
            allowed.add(persona)
        elif status != 403:
            wrong[persona] = status
    assert wrong == {}
    assert sorted(allowed - row.allowed) == [], "these may do what they must not"
    assert sorted(row.allowed - allowed) == [], "these may not do what they must"


@pytest.mark.parametrize(
    "path",
    [
        "/users/{}",
        "/groups/{}",
        "/projects/{}",
        "/domains/{}",
        "/users/{}/groups",
        "/users/{}/projects",
        "/groups/{}/users",
        "/projects/{}/tags",
    ],
)
def test_strangers_do_not_learn_what_exists(world, path):
    kind = path.split("/")[1].removesuffix("s")
    real = world.ids["elsewhere"] if kind == "domain" else world.ids[kind]
    for persona in ("stranger", "nobody", "member", "manager"):
        client = world.cloud.client(persona)
        there, not_there = (client.get(V3 + path.format(each)) for each in (real, "no-such-thing"))
        assert (there.status_code, there.json()) == (not_there.status_code, not_there.json())
        assert there.status_code == 403
    assert world.cloud.client("admin").get(V3 + path.format("no-such-thing")).status_code == 404


def test_everybody_learns_which_roles_exist_as_upstream(world):
    """And of a domain to be changed, and of a group to be deleted, that it is not there."""
    for persona in ("stranger", "nobody", "domain_reader"):
        client = world.cloud.client(persona)
        assert client.get(f"{V3}/roles/{world.ids['role']}").status_code == 403
        assert client.get(f"{V3}/roles/no-such-thing").status_code == 404
        change = {"domain": {"note": "x"}}
        assert client.patch(f"{V3}/domains/no-such-thing", json=change).status_code == 404
        assert client.delete(f"{V3}/groups/{world.ids['group']}").status_code == 403
        assert client.delete(f"{V3}/groups/no-such-thing").status_code == 404


def test_a_manager_must_name_the_domain_of_a_new_user(world):
    manager = world.cloud.client("domain_manager")
    assert manager.post(f"{V3}/users", json={"user": {"name": "nowhere"}}).status_code == 403


def test_lists_of_members_hold_who_is_of_the_domain(world):
    admin, ids = world.cloud.client("admin"), world.ids
    admin.put(f"{V3}/groups/{ids['group']}/users/{ids['foreigner']}")
    path = f"{V3}/groups/{ids['group']}/users"
    everybody = {each["id"] for each in admin.get(path).json()["users"]}
    assert everybody == {ids["user"], ids["foreigner"]}
    seen = world.cloud.client("domain_reader").get(path).json()["users"]
    assert [each["id"] for each in seen] == [ids["user"]]
    groups = f"{V3}/users/{ids['foreigner']}/groups"
    assert [each["id"] for each in admin.get(groups).json()["groups"]] == [ids["group"]]
    assert world.cloud.client("foreign_reader").get(groups).json()["groups"] == []


def test_everybody_sees_themselves_and_the_project_of_their_token(world):
    for persona in ("member", "reader", "stranger", "service"):
        who, client = world.cloud.user(persona), world.cloud.client(persona)
        for path in (
            f"/users/{who.user_id}",
            f"/users/{who.user_id}/groups",
            f"/users/{who.user_id}/projects",
            f"/projects/{who.project_id}",
            "/domains/default",
        ):
            assert client.get(V3 + path).status_code == 200, (persona, path)
        other = world.cloud.user("stranger" if persona != "stranger" else "member")
        assert client.get(f"{V3}/projects/{other.project_id}").status_code == 403


def test_lists_of_a_domain_hold_what_is_of_the_domain(world):
    foreign = world.cloud.client("foreign_manager")
    users = foreign.get(f"{V3}/users").json()["users"]
    assert {each["domain_id"] for each in users} == {world.ids["elsewhere"]}
    assert foreign.get(f"{V3}/users?domain_id=default").json()["users"] == []
    assert foreign.get(f"{V3}/groups?domain_id=default").json()["groups"] == []
    assert foreign.get(f"{V3}/projects").json()["projects"] == []
    domains = foreign.get(f"{V3}/domains").json()["domains"]
    assert [each["id"] for each in domains] == [world.ids["elsewhere"]]
    for row in foreign.get(f"{V3}/role_assignments").json()["role_assignments"]:
        assert row["scope"] == {"domain": {"id": world.ids["elsewhere"]}}
    query = f"scope.project.id={world.ids['project']}"
    assert foreign.get(f"{V3}/role_assignments?{query}").json()["role_assignments"] == []


def test_only_services_readers_and_bearers_validate_tokens(world):
    subject = {"X-Subject-Token": world.cloud.user("reader").token}
    allowed = {
        persona
        for persona in PERSONAS
        if world.cloud.client(persona).get(f"{V3}/auth/tokens", headers=subject).status_code == 200
    }
    assert allowed == SEE_ALL | {"service", "reader"}


def test_a_domain_manager_makes_nobody_an_administrator(world):
    """Neither by a grant, nor by an implied role, nor by moving somebody to another domain."""
    manager, ids = world.cloud.client("domain_manager"), world.ids
    for path in (
        f"/projects/{ids['project']}/users/{ids['user']}/roles/{ids['admin_role']}",
        f"/domains/default/users/{ids['user']}/roles/{ids['admin_role']}",
        f"/system/users/{ids['user']}/roles/{ids['member_role']}",
        f"/roles/{ids['member_role']}/implies/{ids['role']}",
        f"/domains/{ids['elsewhere']}/users/{ids['user']}/roles/{ids['member_role']}",
    ):
        assert manager.put(V3 + path).status_code == 403, path
    body = {"user": {"name": "smuggled", "domain_id": ids["elsewhere"]}}
    assert manager.post(f"{V3}/users", json=body).status_code == 403


def test_a_domain_manager_does_not_learn_of_projects_and_roles_elsewhere(world):
    admin, manager = world.cloud.client("admin"), world.cloud.client("domain_manager")
    domain = make(admin, "domain", name="hidden-things")["id"]
    project = make(admin, "project", name="hidden", domain_id=domain)["id"]
    role = make(admin, "role", name="member", domain_id=domain)["id"]
    nothing = "0" * 32

    def create(parent: str, **more: str) -> tuple[int, str]:
        body = {"project": {"name": "below", "parent_id": parent, **more}}
        answer = manager.post(f"{V3}/projects", json=body)
        return answer.status_code, answer.text.replace(parent, "X")

    assert create(project) == create(nothing)
    assert create(project, domain_id="default") == create(nothing, domain_id="default")
    user = make(admin, "user", name="granted", domain_id="default")["id"]
    own = make(admin, "project", name="own-of-default", domain_id="default")["id"]

    def grant(role_id: str) -> tuple[int, str]:
        answer = manager.put(f"{V3}/projects/{own}/users/{user}/roles/{role_id}")
        return answer.status_code, answer.text

    assert grant(role) == grant(nothing)
