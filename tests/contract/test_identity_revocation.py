"""A token is worth what its user is now: every change is seen by the next request, also in
another process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nubelet import identity
from nubelet.identity import TokenAuthenticator
from nubelet.kernel.errors import Unauthorized
from tests.cloud import TestedCloud, make_cloud

V3 = "/identity/v3"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path_factory.mktemp("identity"), services=("identity",), hosts=())
    yield tested
    tested.close()


class Somebody:
    """A new user with a role on a new project in a new domain, and a token for it; a second
    authenticator plays another process of the cloud."""

    def __init__(self, cloud: TestedCloud, number: int) -> None:
        self.cloud, self.admin = cloud, cloud.client("admin")
        self.domain = self.make("domain", name=f"d{number}")
        self.project = self.make("project", name="p", domain_id=self.domain)
        self.user = self.make("user", name="u", domain_id=self.domain, password="first")
        self.role = self.make("role", name=f"r{number}")
        self.grant = f"{V3}/projects/{self.project}/users/{self.user}/roles/{self.role}"
        self.admin.put(self.grant)
        self.token = self.new_token()
        self.elsewhere = TokenAuthenticator(cloud.cloud)
        assert self.is_valid()

    def make(self, noun: str, **values: Any) -> str:
        answer = self.admin.post(f"{V3}/{noun}s", json={noun: values})
        assert answer.status_code == 201, answer.text
        return str(answer.json()[noun]["id"])

    def change(self, noun: str, **values: Any) -> None:
        identifier = getattr(self, noun)
        answer = self.admin.patch(f"{V3}/{noun}s/{identifier}", json={noun: values})
        assert answer.status_code == 200, answer.text

    def new_token(self) -> str:
        return identity.issue_token(self.cloud.cloud, self.user, project_id=self.project)

    def is_valid(self) -> bool:
        """Asked of this process, of another one, and of the API; they must agree."""
        answers = {
            self.cloud.client(None, X_Auth_Token=self.token).get(f"{V3}/auth/projects").status_code
            == 200,
            self.admin.get(f"{V3}/auth/tokens", headers={"X-Subject-Token": self.token}).status_code
            == 200,
            self._is_valid_elsewhere(),
        }
        assert len(answers) == 1
        return answers.pop()

    def _is_valid_elsewhere(self) -> bool:
        try:
            self.elsewhere.authenticate(self.token, {}, "")
        except Unauthorized:
            return False
        return True


_numbers = iter(range(1000))


@pytest.fixture
def somebody(cloud: TestedCloud) -> Iterator[Somebody]:
    made = Somebody(cloud, next(_numbers))
    yield made
    made.elsewhere.close()


def test_a_token_is_revoked_by_its_bearer(somebody):
    other = somebody.new_token()
    mine = somebody.cloud.client(None, X_Auth_Token=other)
    assert (
        mine.delete(f"{V3}/auth/tokens", headers={"X-Subject-Token": somebody.token}).status_code
        == 204
    )
    assert not somebody.is_valid()
    assert mine.get(f"{V3}/auth/projects").status_code == 200, "the other token is still good"


def test_a_stranger_cannot_revoke_a_token(somebody):
    stranger = somebody.cloud.client("stranger")
    for method in ("GET", "DELETE"):
        assert (
            stranger.request(
                method, f"{V3}/auth/tokens", headers={"X-Subject-Token": somebody.token}
            ).status_code
            == 403
        )
    assert somebody.is_valid()


def test_a_changed_password_revokes(somebody):
    client = somebody.cloud.client(None)
    url = f"{V3}/users/{somebody.user}/password"
    wrong = client.post(url, json={"user": {"original_password": "x", "password": "second"}})
    assert wrong.status_code == 401
    assert somebody.is_valid()
    right = client.post(url, json={"user": {"original_password": "first", "password": "second"}})
    assert right.status_code == 204
    assert not somebody.is_valid()
    somebody.token = somebody.new_token()
    assert somebody.is_valid()


def test_changing_the_password_of_nobody_looks_like_a_wrong_one(somebody):
    client = somebody.cloud.client(None)
    body = {"user": {"original_password": "x", "password": "y"}}
    answers = {
        client.post(f"{V3}/users/{user}/password", json=body).text
        for user in (somebody.user, "no-such-user")
    }
    assert len(answers) == 1


def test_a_locked_password_stays(somebody):
    somebody.change("user", options={"lock_password": True})
    answer = somebody.cloud.client(None).post(
        f"{V3}/users/{somebody.user}/password",
        json={"user": {"original_password": "first", "password": "second"}},
    )
    assert answer.status_code == 400
    assert somebody.is_valid()


def test_a_password_set_by_an_administrator_revokes(somebody):
    somebody.change("user", password="other")
    assert not somebody.is_valid()


def test_other_changes_of_a_user_do_not_revoke(somebody):
    somebody.change("user", email="u@example.org", name="renamed")
    assert somebody.is_valid()


@pytest.mark.parametrize("noun", ["user", "project", "domain"])
def test_disabling_revokes_for_good(somebody, noun):
    somebody.change(noun, enabled=False)
    assert not somebody.is_valid()
    with pytest.raises(Unauthorized):
        somebody.new_token()
    somebody.change(noun, enabled=True)
    assert not somebody.is_valid(), "a token of before stays revoked"
    somebody.token = somebody.new_token()
    assert somebody.is_valid()


def test_losing_the_last_role_revokes(somebody):
    assert somebody.admin.delete(somebody.grant).status_code == 204
    assert not somebody.is_valid()
    somebody.admin.put(somebody.grant)
    assert somebody.is_valid(), "roles are looked up: who has one again may go on"


def test_roles_of_a_token_follow_the_assignments(somebody):
    more = somebody.make("role", name=f"more-{somebody.role}")
    implied = somebody.make("role", name=f"implied-{somebody.role}")

    def roles() -> set[str]:
        return set(somebody.elsewhere.authenticate(somebody.token, {}, "").role_ids)

    assert roles() == {somebody.role}
    url = f"{V3}/projects/{somebody.project}/users/{somebody.user}/roles/{more}"
    somebody.admin.put(url)
    assert roles() == {somebody.role, more}
    somebody.admin.put(f"{V3}/roles/{more}/implies/{implied}")
    assert roles() == {somebody.role, more, implied}
    somebody.admin.delete(url)
    assert roles() == {somebody.role}
    somebody.admin.delete(f"{V3}/roles/{somebody.role}")
    assert not somebody.is_valid()


def test_leaving_a_group_takes_its_roles(somebody):
    group = somebody.make("group", name="g", domain_id=somebody.domain)
    somebody.admin.delete(somebody.grant)
    somebody.admin.put(f"{V3}/projects/{somebody.project}/groups/{group}/roles/{somebody.role}")
    assert not somebody.is_valid()
    somebody.admin.put(f"{V3}/groups/{group}/users/{somebody.user}")
    assert somebody.is_valid()
    somebody.admin.delete(f"{V3}/groups/{group}/users/{somebody.user}")
    assert not somebody.is_valid()


@pytest.mark.parametrize("noun", ["user", "project"])
def test_deleting_revokes(somebody, noun):
    somebody.admin.delete(f"{V3}/{noun}s/{getattr(somebody, noun)}")
    assert not somebody.is_valid()


def test_all_tokens_of_a_user_can_be_revoked_at_once(somebody):
    mine = somebody.cloud.client(None, X_Auth_Token=somebody.token)
    assert mine.delete(f"{V3}/users/{somebody.user}/tokens").status_code == 204
    assert not somebody.is_valid()
    somebody.token = somebody.new_token()
    assert somebody.is_valid()


def test_a_rename_shows_in_the_token_at_once(somebody):
    somebody.change("project", name="renamed")
    shown = somebody.admin.get(f"{V3}/auth/tokens", headers={"X-Subject-Token": somebody.token})
    assert shown.json()["token"]["project"]["name"] == "renamed"


def test_the_catalog_of_a_token_follows_the_endpoints(somebody):
    service = somebody.make("service", type="x-test", name="x")
    somebody.make(
        "endpoint",
        service_id=service,
        interface="public",
        region_id="RegionOne",
        url="http://x.example.org/v1/$(project_id)s",
    )

    def urls() -> list[str]:
        shown = somebody.admin.get(
            f"{V3}/auth/tokens", headers={"X-Subject-Token": somebody.token}
        ).json()["token"]["catalog"]
        return [
            endpoint["url"]
            for entry in shown
            if entry["type"] == "x-test"
            for endpoint in entry["endpoints"]
        ]

    assert urls() == [f"http://x.example.org/v1/{somebody.project}"]
    somebody.admin.patch(f"{V3}/services/{service}", json={"service": {"enabled": False}})
    assert urls() == []
    somebody.admin.delete(f"{V3}/services/{service}")


def test_forgotten_marks_are_of_expired_tokens_only(somebody):
    somebody.cloud.client(None, X_Auth_Token=somebody.token).delete(
        f"{V3}/auth/tokens", headers={"X-Subject-Token": somebody.token}
    )
    somebody.cloud.reconcile("identity-forgetting")
    assert not somebody.is_valid()


def test_rotated_keys_keep_tokens_good(somebody):
    somebody.cloud.reconcile("identity-key-rotation")  # too young: nothing happens
    keys = somebody.elsewhere.keys
    keys.rotate()
    keys.rotate()
    assert somebody.is_valid()
    somebody.token = somebody.new_token()
    assert somebody.is_valid()
