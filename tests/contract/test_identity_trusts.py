"""Trusts: what a trustee gets, what they cannot get, and what ends it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from nubelet.identity import TokenAuthenticator
from nubelet.kernel import clock
from nubelet.kernel.errors import Unauthorized
from tests.cloud import TestedCloud, make_cloud
from tests.delegations import Person, is_valid, log_in, person, role_id, roles_of
from tests.identity_calls import V3

TRUSTS = f"{V3}/OS-TRUST/trusts"
HOUR = 3_600_000_000
_numbers = itertools.count()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path_factory.mktemp("identity"), services=("identity",), hosts=())
    yield tested
    tested.close()


@pytest.fixture
def trustor(cloud: TestedCloud) -> Person:
    return person(cloud, f"trustor-{next(_numbers)}", "member", "manager")


@pytest.fixture
def trustee(cloud: TestedCloud) -> Person:
    return person(cloud, f"trustee-{next(_numbers)}", "reader")


@pytest.fixture
def later() -> Iterator[Any]:
    yield lambda hours: clock.use_source(lambda: time.time_ns() // 1000 + round(hours * HOUR))
    clock.use_source(None)


def create(
    trustor: Person,
    trustee: Person,
    status: int = 201,
    client: httpx.Client | None = None,
    **values: Any,
) -> dict[str, Any]:
    body = {
        "trustor_user_id": trustor.user_id,
        "trustee_user_id": trustee.user_id,
        "impersonation": True,
        "project_id": trustor.project_id,
        "roles": [{"name": "member"}],
        **values,
    }
    answer = (client or trustor.client()).post(TRUSTS, json={"trust": body})
    assert answer.status_code == status, answer.text
    return dict(answer.json().get("trust") or answer.json()["error"])


def enter(trustee: Person, trust: dict[str, Any], status: int = 201) -> httpx.Response:
    return trustee.log_in({"OS-TRUST:trust": {"id": trust["id"]}}, status)


def client_of(trustee: Person, trust: dict[str, Any]) -> httpx.Client:
    return trustee.client({"OS-TRUST:trust": {"id": trust["id"]}})


# --- Using one ----------------------------------------------------------------------------------


def test_impersonation_makes_the_trustee_the_trustor(trustor, trustee):
    trust = create(trustor, trustee)
    answer = enter(trustee, trust)
    token = answer.json()["token"]
    assert token["user"]["id"] == trustor.user_id
    assert token["project"]["id"] == trustor.project_id
    assert roles_of(answer) == ["member", "reader"]
    assert token["OS-TRUST:trust"] == {
        "id": trust["id"],
        "impersonation": True,
        "trustor_user": {"id": trustor.user_id},
        "trustee_user": {"id": trustee.user_id},
    }


def test_without_impersonation_the_trustee_stays_who_they_are(trustor, trustee):
    token = enter(trustee, create(trustor, trustee, impersonation=False)).json()["token"]
    assert token["user"]["id"] == trustee.user_id
    assert token["project"]["id"] == trustor.project_id
    assert token["OS-TRUST:trust"]["impersonation"] is False


def test_a_token_of_the_trustee_does_too_and_sets_the_end(trustor, trustee):
    trust = create(trustor, trustee)
    first = trustee.log_in("unscoped")
    identity = {"methods": ["token"], "token": {"id": first.headers["x-subject-token"]}}
    second = log_in(trustee.cloud, identity, {"OS-TRUST:trust": {"id": trust["id"]}})
    assert second.json()["token"]["expires_at"] == first.json()["token"]["expires_at"]


def test_its_token_makes_no_other_token(trustor, trustee):
    text = enter(trustee, create(trustor, trustee)).headers["x-subject-token"]
    identity = {"methods": ["token"], "token": {"id": text}}
    for scope in (None, "unscoped", {"project": {"id": trustor.project_id}}):
        log_in(trustee.cloud, identity, scope, 403)


def test_nobody_else_can_use_it(trustor, trustee):
    trust = create(trustor, trustee)
    enter(trustor, trust, 403)
    enter(trustee, {"id": "unknown"}, 401)


def test_uses_are_counted(trustor, trustee):
    trust = create(trustor, trustee, remaining_uses=2)
    tokens = [enter(trustee, trust).headers["x-subject-token"]]
    shown = trustor.client().get(f"{TRUSTS}/{trust['id']}").json()["trust"]
    assert shown["remaining_uses"] == 1
    tokens.append(enter(trustee, trust).headers["x-subject-token"])
    enter(trustee, trust, 401)
    assert trustor.client().get(f"{TRUSTS}/{trust['id']}").status_code == 404
    assert all(is_valid(trustor.cloud, token) for token in tokens)


def test_a_use_that_gives_no_token_does_not_count(trustor, trustee):
    trust = create(trustor, trustee, remaining_uses=1)
    trustor.grant("member", method="DELETE")
    trustor.grant("manager", method="DELETE")
    enter(trustee, trust, 401)
    trustor.grant("member")
    enter(trustee, trust)


def test_it_and_its_tokens_end_at_its_time(trustor, trustee, later):
    end = clock.now() + HOUR // 4
    trust = create(trustor, trustee, expires_at=clock.iso_micros_z(end))
    assert trust["expires_at"] == clock.iso_micros_z(end)
    answer = enter(trustee, trust)
    assert answer.json()["token"]["expires_at"] == trust["expires_at"]
    later(0.3)
    assert not is_valid(trustor.cloud, answer.headers["x-subject-token"])
    enter(trustee, trust, 401)
    assert trustor.client().get(f"{TRUSTS}/{trust['id']}").status_code == 404


# --- What ends it -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what",
    [
        "deleted",
        "role removed",
        "role deleted",
        "trustor disabled",
        "trustee disabled",
        "trustor deleted",
        "trustee deleted",
        "trustor password",
        "project disabled",
        "project deleted",
    ],
)
@pytest.mark.parametrize("impersonation", [True, False])
def test_what_ends_it_ends_its_tokens_at_the_next_request(trustor, trustee, what, impersonation):
    admin, role = trustor.cloud.client("admin"), f"role-{next(_numbers)}"
    made = admin.post(f"{V3}/roles", json={"role": {"name": role}}).json()["role"]["id"]
    trustor.grant(role)
    trust = create(trustor, trustee, roles=[{"name": role}], impersonation=impersonation)
    token = enter(trustee, trust).headers["x-subject-token"]
    elsewhere = TokenAuthenticator(trustor.cloud.cloud)
    elsewhere.authenticate(token, {}, "")
    noun, _, verb = what.partition(" ")
    who = {"trustor": trustor.user_id, "trustee": trustee.user_id}.get(noun, trustor.project_id)
    thing = f"{V3}/{'project' if noun == 'project' else 'user'}s/{who}"
    kind = "project" if noun == "project" else "user"
    if what == "deleted":
        assert trustor.client().delete(f"{TRUSTS}/{trust['id']}").status_code == 204
    elif what == "role removed":
        trustor.grant(role, method="DELETE")
    elif what == "role deleted":
        assert admin.delete(f"{V3}/roles/{made}").status_code == 204
    elif verb == "disabled":
        assert admin.patch(thing, json={kind: {"enabled": False}}).status_code == 200
    elif verb == "password":
        assert admin.patch(thing, json={kind: {"password": "another"}}).status_code == 200
    else:
        assert admin.delete(thing).status_code == 204
    with pytest.raises(Unauthorized):
        elsewhere.authenticate(token, {}, "")
    elsewhere.close()
    assert not is_valid(trustor.cloud, token)


# --- Making one ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "status", "word"),
    [
        ({"trustee_user_id": "unknown"}, 404, "unknown"),
        ({"project_id": "unknown"}, 404, "Role"),
        ({"roles": [{"name": "admin"}]}, 404, "Role"),
        ({"roles": [{"name": "nonsense"}]}, 404, "nonsense"),
        ({"roles": []}, 403, "role"),
        ({"roles": [{}]}, 400, "roles"),
        ({"expires_at": "bad"}, 400, "expires_at"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, 400, "expires_at"),
        ({"remaining_uses": 0}, 400, "remaining_uses"),
        ({"remaining_uses": -1}, 400, "remaining_uses"),
        ({"remaining_uses": "1"}, 400, "remaining_uses"),
        ({"impersonation": None}, 400, "impersonation"),
        ({"allow_redelegation": True, "redelegation_count": 4}, 403, "redelegation_count"),
        ({"allow_redelegation": True, "remaining_uses": 3}, 400, "remaining_uses"),
    ],
)
def test_what_it_cannot_be(trustor, trustee, values, status, word):
    assert word in create(trustor, trustee, status, **values)["message"]


def test_only_the_trustor_makes_it(trustor, trustee):
    create(trustor, trustee, 403, trustee.client())
    create(trustor, trustee, 403, trustor.cloud.client("admin"))


def test_a_trust_without_a_project_gives_no_roles(trustor, trustee):
    trust = create(trustor, trustee, project_id=None, roles=[])
    token = enter(trustee, trust).json()["token"]
    assert token["user"]["id"] == trustor.user_id
    assert {"project", "roles", "catalog"}.isdisjoint(token)


def test_who_sees_it(trustor, trustee):
    trust = create(trustor, trustee)
    one, role = f"{TRUSTS}/{trust['id']}", role_id(trustor.cloud, "member")
    for client in (trustor.client(), trustee.client(), trustor.cloud.client("system_reader")):
        assert client.get(one).json()["trust"] == trust
        [shown] = client.get(f"{one}/roles").json()["roles"]
        assert shown["id"] == role
        assert client.get(f"{one}/roles/{role}").json()["role"] == shown
        assert client.head(f"{one}/roles/{role}").status_code == 200
        assert client.get(f"{one}/roles/unknown").status_code == 404
    stranger = trustor.cloud.client("stranger")
    for path in (one, f"{one}/roles", f"{one}/roles/{role}"):
        assert stranger.get(path).status_code == 403
    assert stranger.delete(one).status_code == 403
    assert trustee.client().delete(one).status_code == 403
    assert trustor.cloud.client("admin").delete(one).status_code == 204
    assert trustor.client().get(one).status_code == 404


def test_lists(trustor, trustee):
    trust = create(trustor, trustee)
    mine = f"{TRUSTS}?trustor_user_id={trustor.user_id}"
    theirs = f"{TRUSTS}?trustee_user_id={trustee.user_id}"
    for client, query in ((trustor.client(), mine), (trustee.client(), theirs)):
        [shown] = client.get(query).json()["trusts"]
        assert shown["id"] == trust["id"]
        assert "roles" not in shown
    with_slash = mine.replace("?", "/?")  # as Tempest's client asks
    assert trustor.client().get(with_slash).json()["trusts"][0]["id"] == trust["id"]
    assert trustee.client().get(mine).status_code == 403
    assert trustor.client().get(theirs).status_code == 403
    assert trustor.client().get(TRUSTS).status_code == 403
    everything = trustor.cloud.client("system_reader").get(TRUSTS).json()["trusts"]
    assert trust["id"] in {each["id"] for each in everything}


# --- From one to the next -----------------------------------------------------------------------


def test_redelegation_goes_as_far_as_allowed_and_ends_together(cloud, trustor, trustee):
    third = person(cloud, f"third-{next(_numbers)}")
    fourth = person(cloud, f"fourth-{next(_numbers)}")
    first = create(trustor, trustee, allow_redelegation=True, redelegation_count=1)
    assert first["redelegation_count"] == 1
    second = create(trustor, third, 201, client_of(trustee, first), allow_redelegation=True)
    assert second["redelegated_trust_id"] == first["id"]
    assert second["redelegation_count"] == 0
    answer = third.log_in({"OS-TRUST:trust": {"id": second["id"]}})
    assert roles_of(answer) == ["member", "reader"]
    assert answer.json()["token"]["OS-TRUST:trust"]["redelegated_trust_id"] == first["id"]
    create(trustor, fourth, 403, client_of(third, second))
    trustor.client().delete(f"{TRUSTS}/{first['id']}")
    assert not is_valid(cloud, answer.headers["x-subject-token"])
    third.log_in({"OS-TRUST:trust": {"id": second["id"]}}, 401)


def test_a_trust_that_is_not_redelegatable(trustor, trustee):
    trust = create(trustor, trustee)
    assert trust["redelegation_count"] == 0
    create(trustor, trustor, 403, client_of(trustee, trust))
    assert create(trustor, trustee, allow_redelegation=True)["redelegation_count"] == 3


@pytest.mark.parametrize(
    "values",
    [
        {"roles": [{"name": "manager"}]},
        {"remaining_uses": 1, "allow_redelegation": False},
        {"redelegation_count": 3},
        {"expires_at": "2999-01-01T00:00:00Z"},
        {"project_id": None, "roles": []},
    ],
)
def test_a_redelegated_trust_is_at_most_what_the_first_is(trustor, trustee, values):
    end = clock.iso_micros_z(clock.now() + HOUR)
    first = create(trustor, trustee, allow_redelegation=True, expires_at=end)
    client = client_of(trustee, first)
    assert create(trustor, trustee, 201, client)["expires_at"] == end
    create(trustor, trustee, 403, client, **{"allow_redelegation": True, **values})


def test_impersonation_is_not_gained_by_redelegation(trustor, trustee):
    first = create(trustor, trustee, allow_redelegation=True, impersonation=False)
    client = client_of(trustee, first)
    create(trustee, trustee, 403, client, project_id=trustor.project_id)
    second = create(
        trustee, trustee, 201, client, project_id=trustor.project_id, impersonation=False
    )
    assert roles_of(enter(trustee, second)) == ["member", "reader"], "the first trustor's roles"


def test_a_trustee_manages_nothing_else_of_the_trustor(trustor, trustee):
    trust = create(trustor, trustee, allow_redelegation=True)
    client = client_of(trustee, trust)
    mine = f"{V3}/users/{trustor.user_id}/application_credentials"
    body = {"application_credential": {"name": "x"}}
    assert client.post(mine, json=body).status_code == 403
    assert client.delete(f"{TRUSTS}/{trust['id']}").status_code == 403
