"""Users and groups of a domain from a real LDAP server: lists, logins, roles, and its absence."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from nubelet.identity import authenticator
from nubelet.identity.directories import mirror, reading
from nubelet.identity.directories.ldap import OPTIONS
from nubelet.identity.reconcilers import check
from nubelet.kernel.ids import new_hex
from nubelet.settings import load
from tests.cloud import TestedCloud, make_cloud
from tests.identity_calls import V3, change, make
from tests.slapd import READER, READER_PASSWORD, SUFFIX, USERS, Slapd


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with Slapd(tmp_path_factory.mktemp("ldap")) as running:
        running.add_user("ann", "Ann", "ann-secret", mail="ann@cloud.test", description="boss")
        running.add_user("bob", "Bob", "bob-secret")
        running.add_group("staff", "Staff", ["ann", "bob"], description="everybody")
        running.add_group("bosses", "Bosses", ["ann"])
        yield running


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(
        tmp_path_factory.mktemp("cloud"),
        services=("identity",),
        hosts=(),
        options={"identity.directory_refresh_seconds": 0},
    )
    yield tested
    tested.close()


class Place:
    """A domain whose users are in the server."""

    def __init__(self, cloud: TestedCloud, server: Slapd, **ldap: Any) -> None:
        self.cloud, self.server, self.admin = cloud, server, cloud.client("admin")
        self.id = make(self.admin, "domain", name=new_hex())["id"]
        options = {
            "url": server.url,
            "suffix": SUFFIX,
            "user": READER,
            "password": READER_PASSWORD,
            **ldap,
        }
        self.configure(identity={"driver": "ldap"}, ldap=options)

    def configure(self, **config: Any) -> None:
        answer = self.admin.patch(f"{V3}/domains/{self.id}/config", json={"config": config})
        assert answer.status_code == 200, answer.text

    def list(self, noun: str, query: str = "") -> dict[str, dict[str, Any]]:
        answer = self.admin.get(f"{V3}/{noun}?domain_id={self.id}{query}")
        assert answer.status_code == 200, answer.text
        return {each["name"]: each for each in answer.json()[noun]}

    def id_of(self, kind: str, local_id: str) -> str:
        return mirror.public_id(self.id, kind, local_id)

    def log_in(self, name: str, password: str, scope: Any = None, **user: Any) -> httpx.Response:
        who = user or {"name": name, "domain": {"id": self.id}}
        auth: dict[str, Any] = {
            "identity": {
                "methods": ["password"],
                "password": {"user": {**who, "password": password}},
            }
        }
        if scope:
            auth["scope"] = scope
        return self.cloud.client(None).post(f"{V3}/auth/tokens", json={"auth": auth})


@pytest.fixture
def place(cloud: TestedCloud, server: Slapd) -> Place:
    return Place(cloud, server)


# --- Lists --------------------------------------------------------------------------------------


def test_users_of_the_directory_are_listed_and_shown(place):
    users = place.list("users")
    assert set(users) == {"Ann", "Bob"}
    ann = users["Ann"]
    assert ann["id"] == place.id_of("user", "ann")
    assert (ann["email"], ann["description"], ann["enabled"]) == ("ann@cloud.test", "boss", True)
    assert ann["domain_id"] == place.id
    assert "password" not in str(ann).replace("password_expires_at", "")
    assert place.admin.get(f"{V3}/users/{ann['id']}").json()["user"] == ann
    assert set(place.list("users", "&name=Bob")) == {"Bob"}
    assert set(place.list("users", "&name__startswith=A")) == {"Ann"}


def test_groups_and_memberships_are_those_of_the_directory(place):
    place.list("users")
    groups = place.list("groups")
    assert set(groups) == {"Staff", "Bosses"}
    assert groups["Staff"]["description"] == "everybody"
    members = place.admin.get(f"{V3}/groups/{groups['Staff']['id']}/users").json()["users"]
    assert {each["name"] for each in members} == {"Ann", "Bob"}
    mine = place.admin.get(f"{V3}/users/{place.id_of('user', 'ann')}/groups").json()["groups"]
    assert {each["name"] for each in mine} == {"Staff", "Bosses"}


def test_a_filter_narrows_the_directory(cloud, server):
    place = Place(cloud, server, user_filter="(mail=*)", group_filter="description=every*")
    assert set(place.list("users")) == {"Ann"}
    assert set(place.list("groups")) == {"Staff"}


def test_attributes_are_mapped(cloud, server):
    place = Place(
        cloud,
        server,
        user_name_attribute="cn",
        user_additional_attribute_mapping=["sn:surname"],
        group_name_attribute="cn",
        page_size=1,
        query_scope="sub",
    )
    users = place.list("users")
    assert set(users) == {"ann", "bob"}
    assert users["bob"]["surname"] == "Bob"
    assert set(place.list("groups")) == {"staff", "bosses"}


def test_the_directory_says_who_is_enabled(cloud, server):
    dn = server.add_user("off", "Off", employeeType="514", roomNumber="locked")
    server.add_user("on", "On", employeeType="512", roomNumber="open")
    by_mask = Place(
        cloud, server, user_enabled_attribute="employeeType", user_enabled_mask=2,
        user_enabled_default="512",
    )  # fmt: skip
    users = by_mask.list("users")
    assert users["Off"]["enabled"] is False
    assert users["On"]["enabled"] is True
    assert users["Ann"]["enabled"] is True
    assert by_mask.log_in("Off", "secret").status_code == 401
    assert by_mask.log_in("On", "secret").status_code == 201
    server.change(dn, employeeType=["TRUE"])
    inverted = Place(
        cloud, server, user_enabled_attribute="employeeType", user_enabled_invert=True,
        user_enabled_default="False",
    )  # fmt: skip
    users = inverted.list("users")
    assert users["Off"]["enabled"] is False
    assert users["Ann"]["enabled"] is True
    for uid in ("off", "on"):
        server.delete(f"cn={uid},{USERS}")


# --- Logins -------------------------------------------------------------------------------------


def test_a_user_of_the_directory_logs_in_by_name_and_by_id(place):
    answer = place.log_in("Ann", "ann-secret")
    assert answer.status_code == 201
    user = answer.json()["token"]["user"]
    assert user["id"] == place.id_of("user", "ann"), "known before any list"
    assert user["domain"]["id"] == place.id
    assert place.log_in("", "ann-secret", id=user["id"]).status_code == 201


@pytest.mark.parametrize(
    ("name", "password"),
    [("Ann", "wrong"), ("Ann", ""), ("Nobody", "secret"), ("*", "ann-secret"), ("ann", "x")],
)
def test_nobody_else_is_let_in(place, name, password):
    refused = place.log_in(name, password)
    assert refused.status_code == 401
    assert refused.json()["error"]["message"] == (
        "The request you have made requires authentication."
    )


def test_roles_are_held_directly_and_by_groups_of_the_directory(place):
    project = make(place.admin, "project", name=new_hex(), domain_id=place.id)["id"]
    role = place.admin.get(f"{V3}/roles?name=member").json()["roles"][0]["id"]
    place.list("groups")
    bosses = place.id_of("group", "bosses")
    url = f"{V3}/projects/{project}/groups/{bosses}/roles/{role}"
    assert place.admin.put(url).status_code == 204
    scope = {"project": {"id": project}}
    token = place.log_in("Ann", "ann-secret", scope).json()["token"]
    assert "member" in [each["name"] for each in token["roles"]]
    assert place.log_in("Bob", "bob-secret", scope).status_code == 401
    listed = place.admin.get(f"{V3}/role_assignments?scope.project.id={project}&include_names")
    [assignment] = listed.json()["role_assignments"]
    assert assignment["group"]["name"] == "Bosses"


def test_who_joins_a_group_has_its_roles_at_the_next_login(place):
    project = make(place.admin, "project", name=new_hex(), domain_id=place.id)["id"]
    role = place.admin.get(f"{V3}/roles?name=reader").json()["roles"][0]["id"]
    group = place.server.add_group("new", "New", ["ann"])
    place.list("groups")
    url = f"{V3}/projects/{project}/groups/{place.id_of('group', 'new')}/roles/{role}"
    assert place.admin.put(url).status_code == 204
    scope = {"project": {"id": project}}
    assert place.log_in("Bob", "bob-secret", scope).status_code == 401
    place.server.change(group, member=place.server.dns(["ann", "bob"]))
    assert place.log_in("Bob", "bob-secret", scope).status_code == 201
    place.server.delete(group)


def test_who_left_is_let_in_nowhere_and_comes_back_with_their_roles(place):
    dn = place.server.add_user("eve", "Eve", "eve-secret")
    token = place.log_in("Eve", "eve-secret").headers["x-subject-token"]
    project = make(place.admin, "project", name=new_hex(), domain_id=place.id)["id"]
    role = place.admin.get(f"{V3}/roles?name=member").json()["roles"][0]["id"]
    eve = place.id_of("user", "eve")
    place.admin.put(f"{V3}/projects/{project}/users/{eve}/roles/{role}")
    place.server.delete(dn)
    place.cloud.reconcile("identity-directories")
    headers = {"X-Auth-Token": token, "X-Subject-Token": token}
    assert place.cloud.client(None).get(f"{V3}/auth/tokens", headers=headers).status_code == 401
    assert place.log_in("Eve", "eve-secret").status_code == 401
    assert place.list("users")["Eve"]["enabled"] is False
    place.server.add_user("eve", "Eve", "eve-secret")
    back = place.log_in("Eve", "eve-secret", {"project": {"id": project}})
    assert back.status_code == 201
    place.server.delete(dn)
    place.list("users")
    assert place.admin.delete(f"{V3}/users/{eve}").status_code == 204
    assert "Eve" not in place.list("users")


# --- Encryption -----------------------------------------------------------------------------------


@pytest.mark.parametrize("start_tls", [False, True])
def test_a_certificate_that_is_known_is_trusted(cloud, server, start_tls):
    url = f"ldap://localhost:{server.port}" if start_tls else server.tls_url
    place = Place(cloud, server, url=url, use_tls=start_tls, tls_cacertfile=str(server.certificate))
    assert place.log_in("Ann", "ann-secret").status_code == 201


@pytest.mark.parametrize("start_tls", [False, True])
def test_a_certificate_of_nobody_is_not_trusted_unless_that_is_wanted(cloud, server, start_tls):
    url = f"ldap://localhost:{server.port}" if start_tls else server.tls_url
    strict = Place(cloud, server, url=url, use_tls=start_tls)
    answer = strict.log_in("Ann", "ann-secret")
    assert answer.status_code == 503
    assert "certificate" in answer.json()["error"]["message"].lower()
    lenient = Place(cloud, server, url=url, use_tls=start_tls, tls_req_cert="never")
    assert lenient.log_in("Ann", "ann-secret").status_code == 201


# --- The directory is only read -------------------------------------------------------------------


def test_nothing_of_the_directory_can_be_changed_here(place):
    place.list("users")
    place.list("groups")
    ann, staff = place.id_of("user", "ann"), place.id_of("group", "staff")
    assert "directory" in make(place.admin, "user", 403, name="x", domain_id=place.id)["message"]
    assert "directory" in make(place.admin, "group", 403, name="x", domain_id=place.id)["message"]
    assert "directory" in change(place.admin, "user", ann, 403, name="x")["message"]
    assert "directory" in change(place.admin, "group", staff, 403, name="x")["message"]
    for path in (f"users/{ann}", f"groups/{staff}", f"groups/{staff}/users/{ann}"):
        assert place.admin.delete(f"{V3}/{path}").status_code == 403
    body = {"user": {"original_password": "ann-secret", "password": "other"}}
    answer = place.cloud.client(None).post(f"{V3}/users/{ann}/password", json=body)
    assert answer.status_code == 403
    assert place.log_in("Ann", "ann-secret").status_code == 201


def test_a_user_of_the_directory_may_join_a_group_of_the_database(place):
    place.list("users")
    group = make(place.admin, "group", name=new_hex(), domain_id="default")["id"]
    member = f"{V3}/groups/{group}/users/{place.id_of('user', 'ann')}"
    assert place.admin.put(member).status_code == 204
    place.list("groups")
    assert place.admin.get(member).status_code == 204, "that is not the directory's to say"


def test_a_name_that_is_taken_is_left_out(cloud, server):
    place = Place(cloud, server)
    place.configure(identity={"driver": "sql"})
    make(place.admin, "user", name="Ann", domain_id=place.id, password="local-1")
    place.configure(identity={"driver": "ldap"})
    users = place.list("users")
    assert set(users) == {"Ann", "Bob"}
    assert users["Ann"]["id"] != place.id_of("user", "ann")
    assert place.log_in("Ann", "local-1").status_code == 201
    assert place.log_in("Ann", "ann-secret").status_code == 401


def test_names_may_be_swapped(place):
    first = place.server.add_user("u1", "One")
    second = place.server.add_user("u2", "Two")
    place.list("users")
    place.server.change(first, sn=["Two"])
    place.server.change(second, sn=["One"])
    users = place.list("users")
    assert users["Two"]["id"] == place.id_of("user", "u1")
    assert users["One"]["id"] == place.id_of("user", "u2")
    for dn in (first, second):
        place.server.delete(dn)


def test_a_domain_may_part_from_its_directory(place):
    place.list("users")
    ann, staff = place.id_of("user", "ann"), place.id_of("group", "staff")
    place.configure(identity={"driver": "sql"})
    assert place.log_in("Ann", "ann-secret").status_code == 401
    assert place.log_in("", "ann-secret", id=ann).status_code == 401
    change(place.admin, "user", ann, password="here-now")
    assert place.log_in("Ann", "here-now").status_code == 201
    assert place.admin.delete(f"{V3}/groups/{staff}").status_code == 204
    assert place.admin.delete(f"{V3}/users/{ann}").status_code == 204


def test_a_domain_with_a_directory_can_be_deleted(place):
    place.list("users")
    place.list("groups")
    change(place.admin, "domain", place.id, enabled=False)
    assert place.admin.delete(f"{V3}/domains/{place.id}").status_code == 204
    assert place.admin.get(f"{V3}/users/{place.id_of('user', 'ann')}").status_code == 404


# --- A directory that does not answer -----------------------------------------------------------


@pytest.fixture
def down(cloud: TestedCloud, server: Slapd) -> Iterator[Place]:
    """A place whose users are known and whose server is down."""
    place = Place(cloud, server)
    place.list("users")
    server.stop()
    yield place
    server.start()
    authenticator.of(cloud.cloud).directories.changed()
    change(place.admin, "domain", place.id, enabled=False)
    place.admin.delete(f"{V3}/domains/{place.id}")


def test_a_directory_that_is_down_says_so_and_stops_nothing_else(down):
    for answer in (
        down.log_in("Ann", "ann-secret"),
        down.admin.get(f"{V3}/users?domain_id={down.id}"),
        down.admin.get(f"{V3}/groups?domain_id={down.id}"),
    ):
        assert answer.status_code == 503, answer.text
        assert down.server.url in answer.json()["error"]["message"]
        assert READER_PASSWORD not in answer.text
    assert down.admin.get(f"{V3}/users").status_code == 200
    assert down.admin.get(f"{V3}/users/{down.id_of('user', 'ann')}").status_code == 200
    assert down.cloud.client("member").get(f"{V3}/auth/projects").status_code == 200
    down.cloud.reconcile("identity-directories")
    user = down.admin.get(f"{V3}/users/{down.id_of('user', 'ann')}").json()["user"]
    assert user["enabled"] is True, "nobody left only because nobody could be asked"


def test_a_directory_that_is_down_is_left_alone_for_a_while(down, monkeypatch):
    now = [time.monotonic()]
    monkeypatch.setattr(reading, "time", SimpleNamespace(monotonic=lambda: now[0]))
    down.log_in("Ann", "ann-secret")
    asked, make = [], reading.Directories._make
    monkeypatch.setattr(
        reading.Directories, "_make", lambda *args: (asked.append(1), make(*args))[1]
    )
    for _ in range(20):
        assert down.log_in("Ann", "ann-secret").status_code == 503
    down.server.start()
    assert down.log_in("Ann", "ann-secret").status_code == 503
    assert asked == []
    now[0] += 16
    assert down.log_in("Ann", "ann-secret").status_code == 201
    down.server.stop()


def test_tokens_outlive_the_directory(cloud, server):
    place = Place(cloud, server)
    token = place.log_in("Ann", "ann-secret").headers["x-subject-token"]
    server.stop()
    try:
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        assert cloud.client(None).get(f"{V3}/auth/tokens", headers=headers).status_code == 200
    finally:
        server.start()


def test_the_doctor_names_the_directory_that_is_down(down):
    [finding] = [each for each in check(down.cloud.cloud) if down.id in each]
    assert "cannot log in" in finding
    assert down.server.url in finding


@pytest.mark.parametrize(
    ("ldap", "named"),
    [
        ({"password": "wrong"}, "does not let in"),
        ({"user_tree_dn": "ou=Nowhere,dc=cloud,dc=test"}, "ou=Nowhere"),
        ({"query_scope": "everything"}, "query_scope"),
        ({"page_size": "many"}, "page_size"),
        ({"connection_timeout": [1]}, "connection_timeout"),
        ({"use_tls": "perhaps"}, "use_tls"),
        ({"user_additional_attribute_mapping": ["sn"]}, "user_additional_attribute_mapping"),
        ({"user_filter": {"a": 1}}, "user_filter"),
        ({"url": "gopher://nowhere"}, "gopher"),
        ({"url": None}, "does not answer"),
        ({"user_filter": "((("}, "does not answer"),
    ],
)
def test_a_wrong_configuration_is_named(cloud, server, ldap, named):
    place = Place(cloud, server, **ldap)
    answer = place.admin.get(f"{V3}/users?domain_id={place.id}")
    assert answer.status_code == 503
    assert named in answer.json()["error"]["message"]


def test_a_driver_that_is_not_installed_is_named(cloud, server):
    place = Place(cloud, server)
    place.configure(identity={"driver": "punchcards"})
    answer = place.log_in("Ann", "ann-secret")
    assert answer.status_code == 503
    assert "punchcards" in answer.json()["error"]["message"]


def test_the_page_for_operators_is_true(place, tmp_path):
    page = (Path(__file__).parents[2] / "docs/operating/users-and-passwords.md").read_text()
    [config] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    answer = place.admin.put(f"{V3}/domains/{place.id}/config", json=json.loads(config))
    assert answer.status_code == 200, answer.text
    for quoted in re.findall(r'"(user_enabled_\w+)"', page):
        assert quoted in OPTIONS
    [rules] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "nubelet.toml"
    path.write_text(rules)
    assert load(path, environ={}).security_compliance.unique_last_password_count == 5
