"""Application credentials and their access rules: what a program with one can do, and cannot."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from nubelet.identity.application_credentials.access_rules import allowed, permits
from nubelet.identity.application_credentials.model import application_credential
from nubelet.kernel import clock
from tests.cloud import REAL_HASHES, TestedCloud, make_cloud
from tests.delegations import TOKENS, Person, is_valid, log_in, person, role_id, roles_of
from tests.identity_calls import V3

_numbers = itertools.count()
HOUR = 3_600_000_000


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(
        tmp_path_factory.mktemp("identity"),
        services=("identity", "image"),
        hosts=(),
        options=REAL_HASHES,
    )
    yield tested
    tested.close()


@pytest.fixture
def user(cloud: TestedCloud) -> Person:
    return person(cloud, f"user-{next(_numbers)}", "member", "manager")


@pytest.fixture
def later() -> Iterator[Any]:
    yield lambda hours: clock.use_source(lambda: time.time_ns() // 1000 + round(hours * HOUR))
    clock.use_source(None)


def url(user: Person, rest: str = "") -> str:
    return f"{V3}/users/{user.user_id}/application_credentials{rest}"


def create(
    user: Person, status: int = 201, client: httpx.Client | None = None, **values: Any
) -> dict[str, Any]:
    answer = (client or user.client()).post(
        url(user), json={"application_credential": {"name": "program", **values}}
    )
    assert answer.status_code == status, answer.text
    return dict(answer.json().get("application_credential") or answer.json()["error"])


def by_secret(made: dict[str, Any]) -> dict[str, Any]:
    return {
        "methods": ["application_credential"],
        "application_credential": {"id": made["id"], "secret": made["secret"]},
    }


def enter(user: Person, made: dict[str, Any], status: int = 201) -> httpx.Response:
    return log_in(user.cloud, by_secret(made), status=status)


def program(user: Person, made: dict[str, Any]) -> httpx.Client:
    token = enter(user, made).headers["x-subject-token"]
    return user.cloud.client(None, X_Auth_Token=token)


# --- Making and using one -----------------------------------------------------------------------


def test_a_program_gets_the_roles_of_its_credential(user):
    made = create(user, roles=[{"name": "member"}], description="d")
    assert made["project_id"] == user.project_id
    assert [role["name"] for role in made["roles"]] == ["member"]
    assert (made["unrestricted"], made["expires_at"], made["description"]) == (False, None, "d")
    answer = enter(user, made)
    token = answer.json()["token"]
    assert token["methods"] == ["application_credential"]
    assert token["application_credential"] == {
        "id": made["id"],
        "name": "program",
        "restricted": True,
    }
    assert token["project"]["id"] == user.project_id
    assert token["user"]["id"] == user.user_id
    assert roles_of(answer) == ["member", "reader"], "with what they imply, and no more"


def test_without_a_wish_it_has_all_roles_of_the_token(user):
    assert {role["name"] for role in create(user)["roles"]} == {"manager", "member", "reader"}


def test_a_user_by_name_and_their_credential_by_name(user):
    made = create(user, secret="chosen")
    assert made["secret"] == "chosen"
    for who in ({"id": user.user_id}, {"name": user.name, "domain": {"name": "Default"}}):
        part = {"name": "program", "secret": "chosen", "user": who}
        log_in(user.cloud, {"methods": ["application_credential"], "application_credential": part})
    part = {"name": "program", "secret": "chosen"}
    identity = {"methods": ["application_credential"], "application_credential": part}
    assert "user" in log_in(user.cloud, identity, status=400).json()["error"]["message"]


def test_the_secret_is_shown_once_and_kept_as_a_hash(user):
    made = create(user)
    client = user.client()
    shown = client.get(url(user, f"/{made['id']}")).json()["application_credential"]
    assert shown == {name: value for name, value in made.items() if name != "secret"}
    assert made["secret"] not in client.get(url(user)).text
    with user.cloud.cloud.database.read() as tx:
        row = tx.first(
            sa.select(application_credential).where(application_credential.c.id == made["id"])
        )
    assert row is not None
    assert row.secret_hash.startswith("$argon2id$")


def test_all_refusals_look_alike(user, later):
    made = create(user, expires_at=clock.iso_seconds(clock.now() + HOUR // 2))
    refused = [
        enter(user, {**made, "secret": "wrong"}, 401),
        enter(user, {**made, "id": "unknown"}, 401),
    ]
    later(1)
    refused.append(enter(user, made, 401))
    assert len({answer.text for answer in refused}) == 1


def test_its_token_ends_with_it(user):
    end = clock.now() + HOUR // 4
    made = create(user, expires_at=clock.iso_seconds(end))
    assert enter(user, made).json()["token"]["expires_at"] <= str(clock.iso_micros_z(end))


def test_a_login_cannot_choose_another_scope(user):
    made = create(user)
    log_in(user.cloud, by_secret(made), {"project": {"id": user.project_id}})
    for scope in ({"system": {"all": True}}, "unscoped", {"domain": {"id": "default"}}):
        log_in(user.cloud, by_secret(made), scope, 401)


@pytest.mark.parametrize(
    ("values", "status", "word"),
    [
        ({"name": ""}, 400, "name"),
        ({"expires_at": "yesterday"}, 400, "expires_at"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, 400, "expires_at"),
        ({"roles": [{"name": "admin"}]}, 400, "admin"),
        ({"roles": [{"name": "nonsense"}]}, 404, "nonsense"),
        ({"roles": [{"name": "member", "id": "x"}]}, 400, "roles"),
        ({"unrestricted": "perhaps"}, 400, "unrestricted"),
        ({"access_rules": [{"path": "no-slash", "method": "GET", "service": "x"}]}, 400, "rule"),
        ({"access_rules": [{"path": "/", "method": "FETCH", "service": "x"}]}, 400, "rule"),
        ({"access_rules": [{"id": "unknown"}]}, 404, "unknown"),
    ],
)
def test_what_it_cannot_be(user, values, status, word):
    assert word in create(user, status, **values)["message"]
    assert user.client().get(url(user)).json()["application_credentials"] == []


def test_names_are_unique_for_a_user(user):
    create(user)
    assert "program" in create(user, 409)["message"]
    [found] = user.client().get(url(user) + "?name=program").json()["application_credentials"]
    assert found["name"] == "program"
    assert user.client().get(url(user) + "?name=other").json()["application_credentials"] == []


def test_only_for_oneself_and_in_a_project(user):
    admin = user.cloud.client("admin")
    create(user, 403, admin)
    create(user, 403, user.client("unscoped"))
    made = create(user)
    assert admin.get(url(user, f"/{made['id']}")).status_code == 200
    stranger = user.cloud.client("stranger")
    for method in ("GET", "DELETE"):
        assert stranger.request(method, url(user, f"/{made['id']}")).status_code == 403
        assert stranger.request(method, url(user, "/unknown")).status_code == 403
    assert stranger.get(url(user)).status_code == 403
    theirs = f"{V3}/users/{user.cloud.user('stranger').user_id}/application_credentials"
    assert stranger.get(f"{theirs}/{made['id']}").status_code == 403, "by one's own path"
    assert stranger.delete(f"{theirs}/{made['id']}").status_code == 403
    assert stranger.get(f"{theirs}/unknown").status_code == 404
    assert admin.delete(url(user, f"/{made['id']}")).status_code == 204


# --- What ends it -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["itself", "role", "user", "disabled", "project", "password"])
def test_what_ends_it_ends_its_tokens_at_the_next_request(user, what):
    made = create(user)
    token = enter(user, made).headers["x-subject-token"]
    assert is_valid(user.cloud, token)
    admin = user.cloud.client("admin")
    if what == "itself":
        assert user.client().delete(url(user, f"/{made['id']}")).status_code == 204
    elif what == "role":
        user.grant("manager", method="DELETE")
    elif what == "disabled":
        admin.patch(f"{V3}/users/{user.user_id}", json={"user": {"enabled": False}})
    elif what == "password":
        admin.patch(f"{V3}/users/{user.user_id}", json={"user": {"password": "another"}})
    else:
        identifier = user.user_id if what == "user" else user.project_id
        assert admin.delete(f"{V3}/{what}s/{identifier}").status_code == 204
    assert not is_valid(user.cloud, token)
    enter(user, made, 201 if what == "password" else 401)


def test_a_role_that_comes_back_does_not_bring_it_back(user):
    made = create(user)
    user.grant("manager", method="DELETE")
    user.grant("manager")
    enter(user, made, 401)


# --- What its bearer cannot do ------------------------------------------------------------------


def test_a_restricted_one_makes_and_deletes_none(user):
    made = create(user)
    client = program(user, made)
    create(user, 403, client, name="second")
    assert client.delete(url(user, f"/{made['id']}")).status_code == 403
    assert client.get(url(user)).status_code == 200
    trust = {
        "trustor_user_id": user.user_id,
        "trustee_user_id": user.cloud.user("stranger").user_id,
        "impersonation": True,
        "project_id": user.project_id,
        "roles": [{"name": "member"}],
    }
    assert client.post(f"{V3}/OS-TRUST/trusts", json={"trust": trust}).status_code == 403


def test_an_unrestricted_one_may_but_not_more_than_it_is(user):
    made = create(user, unrestricted=True, roles=[{"name": "member"}])
    assert enter(user, made).json()["token"]["application_credential"]["restricted"] is False
    client = program(user, made)
    create(user, 400, client, name="more", roles=[{"name": "manager"}])
    second = create(user, 201, client, name="second")
    assert {role["name"] for role in second["roles"]} == {"member", "reader"}


def test_its_token_makes_no_other_token(user):
    made = create(user, unrestricted=True)
    token = enter(user, made).headers["x-subject-token"]
    identity = {"methods": ["token"], "token": {"id": token}}
    for scope in (None, "unscoped", {"project": {"id": user.project_id}}):
        log_in(user.cloud, identity, scope, 403)


# --- Access rules -------------------------------------------------------------------------------

RULE = {"service": "image", "method": "GET", "path": "/v2/images"}


def test_rules_hold_in_every_service(user):
    client = program(user, create(user, access_rules=[RULE]))
    assert client.get("/image/v2/images").status_code == 200
    for method, path in (
        ("POST", "/image/v2/images"),
        ("GET", "/image/v2/images/x"),
        ("GET", f"{V3}/auth/projects"),
        ("HEAD", "/image/v2/images"),
        ("GET", "/image/v2/images/x%2Fy"),
        ("GET", "/image/v2/%69mages/x"),
    ):
        assert client.request(method, path).status_code == 401, path
    assert client.get("/image/v2/%69mages").status_code == 200, "the same path, spelled oddly"


def test_a_rule_may_name_the_mount_of_the_service(user):
    rules = [{**RULE, "path": "/image/v2/images/**"}]
    client = program(user, create(user, access_rules=rules))
    assert client.get("/image/v2/images/x").status_code == 404
    assert client.get("/image/v2/images").status_code == 401


def test_an_empty_list_of_rules_allows_nothing(user):
    client = program(user, create(user, access_rules=[]))
    assert client.get("/image/v2/images").status_code == 401


def test_a_token_with_rules_shows_itself_only_to_those_who_heed_them(user):
    made = create(user, access_rules=[RULE])
    text = enter(user, made).headers["x-subject-token"]
    headers = {"X-Subject-Token": text}
    admin = user.cloud.client("admin")
    assert admin.get(TOKENS, headers=headers).status_code == 404
    headers["OpenStack-Identity-Access-Rules"] = "1.0"
    shown = admin.get(TOKENS, headers=headers).json()["token"]["application_credential"]
    [rule] = shown["access_rules"]
    assert rule == {**RULE, "id": rule["id"]}
    assert (
        user.cloud.client(None, X_Auth_Token=text).get(TOKENS, headers=headers).status_code == 200
    )


def test_a_service_acts_beyond_the_rules_for_a_request_they_allowed(user):
    made = create(user, access_rules=[{**RULE, "path": "/v2/info/import"}])
    text = enter(user, made).headers["x-subject-token"]
    other = user.cloud.client(
        None, X_Auth_Token=text, X_Service_Token=user.cloud.user("service").token
    )
    assert other.get("/image/v2/images").status_code == 200
    other = user.cloud.client(
        None, X_Auth_Token=text, X_Service_Token=user.cloud.user("member").token
    )
    assert other.get("/image/v2/images").status_code == 401


def test_equal_rules_are_one_and_stay_while_they_are_used(user):
    one, two = (create(user, name=name, access_rules=[RULE, RULE]) for name in ("one", "two"))
    assert one["access_rules"] == two["access_rules"]
    [rule] = one["access_rules"]
    client, rules = user.client(), f"{V3}/users/{user.user_id}/access_rules"
    [listed] = client.get(rules).json()["access_rules"]
    assert listed == {**rule, "links": {"self": f"http://cloud.test{rules}/{rule['id']}"}}
    assert client.get(f"{rules}?service=image&method=POST").json()["access_rules"] == []
    third = create(user, name="three", access_rules=[{"id": rule["id"]}])
    assert third["access_rules"] == [rule]
    assert client.delete(f"{rules}/{rule['id']}").status_code == 403
    for name in ("stranger", "admin"):
        assert user.cloud.client(name).get(f"{rules}/{rule['id']}").status_code == 403
    assert user.cloud.client("system_reader").get(f"{rules}/{rule['id']}").status_code == 200
    for each in (one, two, third):
        client.delete(url(user, f"/{each['id']}"))
    assert client.delete(f"{rules}/{rule['id']}").status_code == 204
    assert client.get(f"{rules}/{rule['id']}").status_code == 404


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/v2.1/servers", "/v2.1/servers", True),
        ("/v2.1/servers", "/v2x1/servers", False),
        ("/v2.1/servers/*", "/v2.1/servers/a", True),
        ("/v2.1/servers/*", "/v2.1/servers/", False),
        ("/v2.1/servers/*", "/v2.1/servers/a/b", False),
        ("/v2.1/servers/{server_id}/ips", "/v2.1/servers/a/ips", True),
        ("/v2.1/servers/x-*-y", "/v2.1/servers/x-1-y", True),
        ("/v2.1/**", "/v2.1/", True),
        ("/v2.1/**", "/v2.1/servers/a/b", True),
        ("/v2.1/**/b", "/v2.1/servers/a/b", True),
        ("/v2.1/**/b", "/v2.1/servers/a/c", False),
        ("**", "", True),
        ("/{", "/{", True),
    ],
)
def test_wildcards(pattern, path, fits):
    rule = allowed("compute", "GET", pattern)
    assert permits([rule], "GET", "compute", [path]) is fits
    assert not permits([rule], "POST", "compute", [path])
    assert not permits([rule], "GET", "image", [path])


def test_no_pattern_makes_matching_slow():
    rule = allowed("x", "GET", "/" + "**/*" * 56)
    began = time.thread_time()
    assert not permits([rule], "GET", "x", ["/" + "a/" * 400 + "\n"[:0] + "/"])
    assert time.thread_time() - began < 2


def test_a_role_by_id(user):
    made = create(user, roles=[{"id": role_id(user.cloud, "reader")}])
    assert roles_of(enter(user, made)) == ["reader"]
