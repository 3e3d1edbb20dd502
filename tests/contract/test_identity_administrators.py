"""Nobody can shut everybody out: the last administrator stays, whatever is tried."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from nubelet import identity
from nubelet.identity import administrators
from nubelet.identity.federation.model import expiring_membership
from nubelet.kernel import clock
from nubelet.kernel.ids import new_hex
from tests.cloud import ADMIN_PASSWORD, TestedCloud, make_cloud
from tests.identity_calls import V3, change, make


@pytest.fixture
def cloud(tmp_path) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path, services=("identity",), hosts=())
    yield tested
    tested.close()


class Alone:
    """The administrator of bootstrap, who is the only one."""

    def __init__(self, cloud: TestedCloud) -> None:
        self.cloud = cloud
        identity_part = {
            "methods": ["password"],
            "password": {
                "user": {
                    "name": "admin", "domain": {"id": "default"}, "password": ADMIN_PASSWORD,
                }
            },
        }  # fmt: skip
        answer = cloud.client(None).post(
            f"{V3}/auth/tokens",
            json={"auth": {"identity": identity_part, "scope": {"system": {"all": True}}}},
        )
        self.id = answer.json()["token"]["user"]["id"]
        self.client = cloud.client(None, X_Auth_Token=answer.headers["x-subject-token"])
        self.role = self.client.get(f"{V3}/roles?name=admin").json()["roles"][0]["id"]

    def grants(self) -> list[str]:
        """The URLs of all assignments of the administrator."""
        listed = self.client.get(f"{V3}/role_assignments?user.id={self.id}").json()
        return [each["links"]["assignment"] for each in listed["role_assignments"]]

    def second(self, **values: Any) -> str:
        """Another administrator, of the system."""
        made = make(self.client, "user", name=new_hex(), domain_id="default", **values)["id"]
        url = f"{V3}/system/users/{made}/roles/{self.role}"
        assert self.client.put(url).status_code == 204
        return str(made)


@pytest.fixture
def alone(cloud: TestedCloud) -> Alone:
    return Alone(cloud)


def refused(answer: httpx.Response) -> None:
    assert answer.status_code == 409, answer.text
    assert "role admin" in answer.json()["error"]["message"]


def test_the_last_one_is_neither_deleted_nor_disabled(alone):
    refused(alone.client.delete(f"{V3}/users/{alone.id}"))
    refused(alone.client.patch(f"{V3}/users/{alone.id}", json={"user": {"enabled": False}}))
    assert alone.client.get(f"{V3}/users/{alone.id}").json()["user"]["enabled"] is True
    alone.second()
    change(alone.client, "user", alone.id, enabled=False)


def test_the_last_one_keeps_a_role(alone):
    urls = alone.grants()
    assert len(urls) == 3
    for url in urls[:-1]:
        assert alone.client.delete(url).status_code in (204, 401)
    admin = Alone(alone.cloud) if "/system/" in urls[-1] else alone
    refused(admin.client.delete(urls[-1]))


def test_a_disabled_administrator_is_none(alone):
    other = alone.second(enabled=False)
    refused(alone.client.delete(f"{V3}/users/{alone.id}"))
    change(alone.client, "user", other, enabled=True)
    assert alone.client.delete(f"{V3}/users/{alone.id}").status_code == 204


def test_the_domain_of_the_last_one_stays_enabled(alone):
    refused(alone.client.patch(f"{V3}/domains/default", json={"domain": {"enabled": False}}))


def test_the_role_itself_stays(alone):
    role = f"{V3}/roles/{alone.role}"
    assert alone.client.delete(role).status_code == 403
    change(alone.client, "role", alone.role, options={"immutable": None})
    refused(alone.client.delete(role))
    refused(alone.client.patch(role, json={"role": {"name": "other"}}))


def test_a_group_that_makes_the_last_one_stays(alone, cloud):
    boss = make(alone.client, "user", name="boss", domain_id="default")["id"]
    group = make(alone.client, "group", name="bosses", domain_id="default")["id"]
    member = f"{V3}/groups/{group}/users/{boss}"
    assert alone.client.put(member).status_code == 204
    grant = f"{V3}/system/groups/{group}/roles/{alone.role}"
    assert alone.client.put(grant).status_code == 204
    change(alone.client, "user", alone.id, enabled=False)
    token = identity.issue_token(cloud.cloud, boss, system=True)
    client = cloud.client(None, X_Auth_Token=token)
    refused(client.delete(member))
    refused(client.delete(f"{V3}/groups/{group}"))
    refused(client.delete(grant))
    assert client.get(member).status_code == 204


def only_on(alone: Alone, cloud: TestedCloud, kind: str) -> tuple[httpx.Client, str]:
    """The only administrator that is left holds the role on a project or a domain: their client,
    and its URL. It is below a domain of its own, so that nothing else keeps it."""
    boss = make(alone.client, "user", name="boss", domain_id="default")["id"]
    home = make(alone.client, "domain", name="home")["id"]
    place = home
    if kind == "project":
        place = make(alone.client, "project", name="seat", domain_id=home)["id"]
    grant = f"{V3}/{kind}s/{place}/users/{boss}/roles/{alone.role}"
    assert alone.client.put(grant).status_code == 204
    if kind == "domain":  # whoever deletes domains has a token of a project or the system
        other = alone.second()
        token = identity.issue_token(cloud.cloud, other, system=True)
        client = cloud.client(None, X_Auth_Token=token)
        change(alone.client, "user", alone.id, enabled=False)
        return client, f"{V3}/domains/{home}"
    change(alone.client, "user", alone.id, enabled=False)
    token = identity.issue_token(cloud.cloud, boss, project_id=place)
    return cloud.client(None, X_Auth_Token=token), f"{V3}/projects/{place}"


def test_the_project_of_the_last_one_stays(alone, cloud):
    client, project = only_on(alone, cloud, "project")
    refused(client.patch(project, json={"project": {"enabled": False}}))
    refused(client.delete(project))
    home = client.get(project).json()["project"]["domain_id"]
    refused(client.patch(f"{V3}/domains/{home}", json={"domain": {"enabled": False}}))
    assert client.get(project).json()["project"]["enabled"] is True
    assert client.get(f"{V3}/domains/{home}").json()["domain"]["enabled"] is True


def test_the_domain_where_the_last_one_holds_the_role_stays(alone, cloud):
    client, domain = only_on(alone, cloud, "domain")
    query = f"role.id={alone.role}&scope.system=all"
    listed = client.get(f"{V3}/role_assignments?{query}").json()["role_assignments"]
    [system] = [each["links"]["assignment"] for each in listed if each["user"]["id"] != alone.id]
    me = system.split("/users/")[1].split("/")[0]
    change(client, "domain", domain.rpartition("/")[2], enabled=False)  # one is left, of the system
    refused(client.delete(f"{V3}/users/{me}"))
    refused(client.delete(system))
    assert client.delete(domain).status_code == 204


def test_an_inherited_role_makes_no_administrator_of_the_cloud(alone, cloud):
    boss = make(alone.client, "user", name="boss", domain_id="default")["id"]
    url = f"{V3}/OS-INHERIT/domains/default/users/{boss}/roles/{alone.role}/inherited_to_projects"
    assert alone.client.put(url).status_code == 204
    refused(alone.client.delete(f"{V3}/users/{alone.id}"))


def test_a_role_that_implies_admin_is_never_made(alone):
    """So that taking away an implication takes administration from nobody."""
    other = make(alone.client, "role", name="other")["id"]
    answer = alone.client.put(f"{V3}/roles/{other}/implies/{alone.role}")
    assert answer.status_code == 403
    member = alone.client.get(f"{V3}/roles?name=manager").json()["roles"][0]["id"]
    assert alone.client.delete(f"{V3}/roles/{alone.role}/implies/{member}").status_code == 204
    assert alone.client.get(f"{V3}/users").status_code == 200


def test_a_membership_that_expires_makes_no_administrator(alone, cloud):
    """A group's role counts for members for good, not for those of federation for a while."""
    group = make(alone.client, "group", name="bosses", domain_id="default")["id"]
    boss = make(alone.client, "user", name="boss", domain_id="default")["id"]
    grant = f"{V3}/system/groups/{group}/roles/{alone.role}"
    assert alone.client.put(grant).status_code == 204
    provider = f"{V3}/OS-FEDERATION/identity_providers/idp"
    assert alone.client.put(provider, json={"identity_provider": {}}).status_code == 201
    now = clock.now()
    with cloud.cloud.database.write() as tx:
        tx.insert(
            expiring_membership, user_id=boss, group_id=group, idp_id="idp", verified_at=now,
            expires_at=now + 3_600_000_000,
        )  # fmt: skip
    refused(alone.client.delete(f"{V3}/users/{alone.id}"))


def test_the_lock_out_of_the_last_one_ends(cloud, tmp_path):
    """Wrong passwords lock an administrator's account as anybody's, and not for good."""
    options = {
        "security_compliance.lockout_failure_attempts": 2,
        "security_compliance.lockout_duration": 60,
    }
    tested = make_cloud(tmp_path / "locked", services=("identity",), hosts=(), options=options)
    wrong = {
        "methods": ["password"],
        "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": "no"}},
    }
    try:
        for _ in range(3):
            answer = tested.client(None).post(
                f"{V3}/auth/tokens", json={"auth": {"identity": wrong}}
            )
            assert answer.status_code == 401
        with tested.cloud.database.read() as tx:
            assert administrators.exist(tx)
        clock.use_source(lambda: time.time_ns() // 1000 + 120_000_000)
        assert Alone(tested).id
    finally:
        clock.use_source(None)
        tested.close()
