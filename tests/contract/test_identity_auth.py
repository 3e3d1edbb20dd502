"""Logging in: methods, scopes, life times, and refusals that tell nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from nubelet import identity
from nubelet.identity import authenticator, model
from nubelet.identity.passwords import Passwords
from nubelet.kernel import clock
from nubelet.kernel.errors import Unauthorized
from tests.cloud import ADMIN_PASSWORD, REAL_HASHES, TestedCloud, make_cloud

TOKENS = "/identity/v3/auth/tokens"
HOUR = 3_600_000_000


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(
        tmp_path_factory.mktemp("identity"),
        services=("identity",),
        hosts=(),
        options=REAL_HASHES,
    )
    yield tested
    tested.close()


@pytest.fixture
def later() -> Iterator[Any]:
    """Moves the clock: `later(hours)`."""

    def move(hours: float) -> None:
        clock.use_source(lambda: time.time_ns() // 1000 + round(hours * HOUR))

    yield move
    clock.use_source(None)


def password(name: str = "admin", secret: str = ADMIN_PASSWORD, **domain: str) -> dict[str, Any]:
    return {
        "methods": ["password"],
        "password": {
            "user": {"name": name, "domain": domain or {"id": "default"}, "password": secret}
        },
    }


def by_token(token: str) -> dict[str, Any]:
    return {"methods": ["token"], "token": {"id": token}}


def log_in(
    cloud: TestedCloud,
    method: dict[str, Any],
    scope: Any = None,
    status: int = 201,
    query: str = "",
) -> Any:
    auth: dict[str, Any] = {"identity": method}
    if scope is not None:
        auth["scope"] = scope
    answer = cloud.client(None).post(TOKENS + query, json={"auth": auth})
    assert answer.status_code == status, answer.text
    return answer


def new_user(cloud: TestedCloud, name: str, secret: str = "geheim", **more: Any) -> str:
    answer = cloud.client("admin").post(
        "/identity/v3/users", json={"user": {"name": name, "password": secret, **more}}
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["user"]["id"])


# --- Scopes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scope",
    [
        {"project": {"name": "admin", "domain": {"id": "default"}}},
        {"project": {"name": "admin", "domain": {"name": "Default"}}},
    ],
)
def test_project_scope(cloud, scope):
    token = log_in(cloud, password(), scope).json()["token"]
    assert token["project"]["name"] == "admin"
    assert token["project"]["domain"] == {"id": "default", "name": "Default"}
    assert token["is_domain"] is False
    assert [role["name"] for role in token["roles"]] == ["admin", "manager", "member", "reader"]
    assert {"domain", "system"}.isdisjoint(token)


def test_domain_scope(cloud):
    for domain in ({"id": "default"}, {"name": "Default"}):
        token = log_in(cloud, password(), {"domain": domain}).json()["token"]
        assert token["domain"] == {"id": "default", "name": "Default"}
        assert {"project", "system", "is_domain"}.isdisjoint(token)


def test_system_scope(cloud):
    token = log_in(cloud, password(), {"system": {"all": True}}).json()["token"]
    assert token["system"] == {"all": True}
    assert {"project", "domain"}.isdisjoint(token)


@pytest.mark.parametrize("scope", [None, "unscoped", {"unscoped": {}}])
def test_no_scope(cloud, scope):
    token = log_in(cloud, password(), scope).json()["token"]
    assert {"project", "domain", "system", "roles", "catalog"}.isdisjoint(token)
    assert token["user"]["name"] == "admin"


def test_the_default_project_is_the_scope_unless_unscoped_is_asked_for(cloud):
    project = cloud.user("member").project_id
    user = new_user(cloud, "with-default", default_project_id=project)
    assert "project" not in log_in(cloud, password("with-default", "geheim")).json()["token"]
    role = _role(cloud, "reader")
    cloud.client("admin").put(f"/identity/v3/projects/{project}/users/{user}/roles/{role}")
    token = log_in(cloud, password("with-default", "geheim")).json()["token"]
    assert token["project"]["id"] == project
    token = log_in(cloud, password("with-default", "geheim"), "unscoped").json()["token"]
    assert "project" not in token


def test_two_scopes_at_once_are_refused(cloud):
    log_in(cloud, password(), {"domain": {"id": "default"}, "system": {"all": True}}, 400)


def test_the_catalog_can_be_left_out(cloud):
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    answer = log_in(cloud, password(), scope, query="?nocatalog")
    assert "catalog" not in answer.json()["token"]
    text = answer.headers["x-subject-token"]
    shown = cloud.client("admin").get(TOKENS, headers={"X-Subject-Token": text}).json()
    assert shown["token"]["catalog"]
    shown = (
        cloud.client("admin").get(TOKENS + "?nocatalog", headers={"X-Subject-Token": text}).json()
    )
    assert "catalog" not in shown["token"]


def test_a_user_by_id_and_the_answer_equals_its_validation(cloud):
    user = new_user(cloud, "by-id")
    answer = log_in(
        cloud, {"methods": ["password"], "password": {"user": {"id": user, "password": "geheim"}}}
    )
    text = answer.headers["x-subject-token"]
    assert answer.headers["vary"] == "X-Auth-Token"
    validated = cloud.client("admin").get(TOKENS, headers={"X-Subject-Token": text})
    assert validated.json() == answer.json()
    assert validated.headers["x-subject-token"] == text


# --- Tokens from tokens -----------------------------------------------------------------------


def test_a_token_from_a_token_does_not_live_longer(cloud, later):
    first = log_in(cloud, password())
    later(0.5)
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    second = log_in(cloud, by_token(first.headers["x-subject-token"]), scope)
    one, two = first.json()["token"], second.json()["token"]
    assert two["expires_at"] == one["expires_at"]
    assert two["issued_at"] > one["issued_at"]
    assert two["audit_ids"][1:] == one["audit_ids"]
    assert set(two["methods"]) == {"password", "token"}
    third = log_in(cloud, by_token(second.headers["x-subject-token"]), "unscoped").json()["token"]
    assert third["audit_ids"][1:] == one["audit_ids"]


def test_a_token_expires(cloud, later):
    text = log_in(cloud, password()).headers["x-subject-token"]
    later(1.01)
    client = cloud.client(None)
    assert (
        client.get("/identity/v3/auth/projects", headers={"X-Auth-Token": text}).status_code == 401
    )
    log_in(cloud, by_token(text), status=404)


def test_an_expired_token_serves_services_for_a_while(cloud, later):
    text = log_in(cloud, password()).headers["x-subject-token"]
    later(2)
    validator = log_in(cloud, password(), {"system": {"all": True}}).headers["x-subject-token"]
    client = cloud.client(None, X_Auth_Token=validator)
    subject = {"X-Subject-Token": text}
    assert client.get(TOKENS, headers=subject).status_code == 404
    assert client.get(TOKENS + "?allow_expired=1", headers=subject).status_code == 200
    mine = log_in(cloud, password(), "unscoped").headers["x-subject-token"]
    assert (
        cloud.client(None, X_Auth_Token=mine)
        .get(TOKENS + "?allow_expired=1", headers=subject)
        .status_code
        == 404
    ), "not for its bearer"
    later(50)
    validator = log_in(cloud, password(), {"system": {"all": True}}).headers["x-subject-token"]
    client = cloud.client(None, X_Auth_Token=validator)
    assert client.get(TOKENS + "?allow_expired=1", headers=subject).status_code == 404


def test_a_service_may_act_on_an_expired_token(cloud, later):
    text = cloud.user("reader").token
    found = authenticator.of(cloud.cloud)
    later(2)
    service, member = (
        identity.issue_token(
            cloud.cloud, cloud.user(name).user_id, project_id=cloud.user(name).project_id
        )
        for name in ("service", "member")
    )
    with pytest.raises(Unauthorized):
        found.authenticate(text, {}, "")
    with pytest.raises(Unauthorized):
        found.authenticate(text, {"x-service-token": member}, "")
    credentials = found.authenticate(text, {"x-service-token": service}, "")
    assert credentials.user_id == cloud.user("reader").user_id
    assert credentials.service_roles == ("service",)
    assert credentials.roles == ("reader",)
    later(50)
    service = identity.issue_token(
        cloud.cloud, cloud.user("service").user_id, project_id=cloud.user("service").project_id
    )
    with pytest.raises(Unauthorized):
        found.authenticate(text, {"x-service-token": service}, "")


def test_a_broken_service_token_is_refused(cloud):
    member = cloud.client("member", X_Service_Token="nonsense")
    assert member.get("/identity/v3/auth/projects").status_code == 401


# --- Refusals ---------------------------------------------------------------------------------


def test_all_refusals_look_alike(cloud):
    new_user(cloud, "disabled", enabled=False)
    cloud.client("admin").post("/identity/v3/users", json={"user": {"name": "without-password"}})
    refused = [
        log_in(cloud, password(secret="wrong"), status=401),
        log_in(cloud, password("nobody-of-that-name", "wrong"), status=401),
        log_in(cloud, password("disabled", "geheim"), status=401),
        log_in(cloud, password("without-password", "x"), status=401),
        log_in(cloud, password(id="no-such-domain"), status=401),
        log_in(cloud, password(), {"project": {"id": "no-such-project"}}, 401),
        log_in(cloud, password(), {"project": {"name": "x", "domain": {"id": "default"}}}, 401),
        log_in(cloud, password(), {"project": {"id": cloud.user("stranger").project_id}}, 401),
        log_in(cloud, password(), {"domain": {"name": "no-such-domain"}}, 401),
        log_in(cloud, password(), {"domain": {"id": cloud.user("member").project_id}}, 401),
    ]
    bodies = {answer.text for answer in refused}
    assert len(bodies) == 1, bodies
    assert refused[0].json() == {
        "error": {
            "code": 401,
            "title": "Unauthorized",
            "message": "The request you have made requires authentication.",
        }
    }


def test_a_token_that_is_of_no_use_is_told_from_a_wrong_password(cloud):
    gone = log_in(cloud, password()).headers["x-subject-token"]
    headers = {"X-Auth-Token": gone, "X-Subject-Token": gone}
    cloud.client(None).delete("/identity/v3/auth/tokens", headers=headers)
    bodies = {log_in(cloud, by_token(text), status=404).text for text in ("nonsense", gone)}
    assert len(bodies) == 1, "revoked and never valid look alike"


def test_a_refusal_says_where_to_log_in(cloud):
    answer = cloud.client(None).get("/identity/v3/users")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Keystone uri="http://cloud.test/identity"'


@pytest.mark.parametrize(
    ("auth", "field"),
    [
        ({}, "auth"),
        ({"auth": {}}, "identity"),
        ({"auth": {"identity": {}}}, "methods"),
        ({"auth": {"identity": {"methods": ["password"]}}}, "password"),
        (
            {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "x"}}}}},
            "password",
        ),
        (
            {
                "auth": {
                    "identity": {
                        "methods": ["password"],
                        "password": {"user": {"name": "x", "password": "y"}},
                    }
                }
            },
            "domain",
        ),
        (
            {
                "auth": {
                    "identity": {"methods": ["password"], "password": {"user": {"password": "y"}}}
                }
            },
            "name",
        ),
        ({"auth": {"identity": {"methods": "password"}}}, "methods"),
        (
            {
                "auth": {
                    "identity": {
                        "methods": ["password"],
                        "password": {
                            "user": {
                                "name": "admin",
                                "password": "x" * 5000,
                                "domain": {"id": "default"},
                            }
                        },
                    }
                }
            },
            "password",
        ),
    ],
)
def test_bad_requests_name_the_field(cloud, auth, field):
    answer = cloud.client(None).post(TOKENS, json=auth)
    assert answer.status_code == 400, answer.text
    assert field in answer.json()["error"]["message"]


def test_an_unknown_method_is_refused(cloud):
    log_in(cloud, {"methods": ["magic"], "magic": {}}, status=401)
    log_in(cloud, {"methods": []}, status=401)


def test_two_methods_must_mean_the_same_user(cloud):
    mine = log_in(cloud, password()).headers["x-subject-token"]
    both = {**password(), **by_token(mine), "methods": ["password", "token"]}
    log_in(cloud, both)
    new_user(cloud, "another")
    both = {**password("another", "geheim"), **by_token(mine), "methods": ["password", "token"]}
    log_in(cloud, both, status=401)


def test_rules_for_several_factors_hold(cloud):
    new_user(cloud, "careful", options={"multi_factor_auth_rules": [["password", "totp"]]})
    log_in(cloud, password("careful", "geheim"), status=401)
    new_user(
        cloud,
        "free",
        options={
            "multi_factor_auth_rules": [["password", "totp"]],
            "multi_factor_auth_enabled": False,
        },
    )
    log_in(cloud, password("free", "geheim"))


# --- Hashes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("earlier", [Passwords("bcrypt", 4), Passwords("argon2id", 2)])
def test_hashes_of_before_and_of_other_clouds_are_replaced_at_the_next_login(cloud, earlier):
    name = f"imported-{earlier.cost}"
    user = new_user(cloud, name)
    old = earlier.hash("from-elsewhere")
    with cloud.cloud.database.write() as tx:
        tx.update(model.password, model.password.c.user_id == user, hash=old)
    log_in(cloud, password(name, "wrong"), status=401)
    assert _stored(cloud, user) == old
    log_in(cloud, password(name, "from-elsewhere"))
    assert _stored(cloud, user).startswith("$argon2id$v=19$m=7168,t=5,p=1$")
    log_in(cloud, password(name, "from-elsewhere"))


def test_passwords_are_shown_nowhere(cloud):
    user = new_user(cloud, "discreet", secret="very-secret")
    for path in (f"/users/{user}", "/users", "/users?name=discreet"):
        text = cloud.client("admin").get(f"/identity/v3{path}").text
        assert "very-secret" not in text
        assert "argon2" not in text


def _stored(cloud: TestedCloud, user: str) -> str:
    with cloud.cloud.database.read() as tx:
        return str(
            tx.scalar(sa.select(model.password.c.hash).where(model.password.c.user_id == user))
        )


def _role(cloud: TestedCloud, name: str) -> str:
    roles = cloud.client("admin").get(f"/identity/v3/roles?name={name}").json()["roles"]
    return str(roles[0]["id"])
