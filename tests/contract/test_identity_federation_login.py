"""Coming in from elsewhere: what a mapping makes of it, as a trusted proxy tells it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from nubelet import identity
from nubelet.kernel import clock
from nubelet.kernel.errors import Unauthorized
from nubelet.kernel.http.app import Authenticator
from tests.cloud import TestedCloud, make_cloud
from tests.identity_calls import V3, change, make

FEDERATION = f"{V3}/OS-FEDERATION"
AUTH = f"{FEDERATION}/identity_providers/acme/protocols/mapped/auth"
BOB = {"Remote-User": "bob", "OIDC-claim-groups": "dev;ops", "OIDC-claim-iss": "acme-id"}


@pytest.fixture
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(
        tmp_path_factory.mktemp("identity"),
        services=("identity",),
        hosts=(),
        options={"federation.proxy_addresses": ("127.0.0.1",)},
    )
    yield tested
    tested.close()


@pytest.fixture
def admin(cloud: TestedCloud) -> httpx.Client:
    return cloud.client("admin")


def map_by(admin: httpx.Client, *local: dict[str, Any], remote: Any = None, **more: Any) -> None:
    """Let `acme` be known, with one rule (user by REMOTE_USER unless `local` names one)."""
    user = {"user": {"name": "{0}"}}
    rule = {
        "local": list(local) if any("user" in each for each in local) else [user, *local],
        "remote": remote or [{"type": "REMOTE_USER"}, {"type": "HTTP_OIDC_CLAIM_GROUPS"}],
    }
    version = more.pop("schema_version", "1.0")
    settings = {"enabled": True, "remote_ids": ["acme-id"], **more}
    for path, body in (
        ("identity_providers/acme", {"identity_provider": settings}),
        ("mappings/m", {"mapping": {"rules": [rule], "schema_version": version}}),
        ("identity_providers/acme/protocols/mapped", {"protocol": {"mapping_id": "m"}}),
    ):
        answer = admin.put(f"{FEDERATION}/{path}", json=body)
        assert answer.status_code == 201, answer.text


def come_in(cloud: TestedCloud, status: int = 201, **headers: str) -> tuple[str, Any]:
    """The token and its body; or the error."""
    answer = cloud.client(None).get(AUTH, headers={**BOB, **headers})
    assert answer.status_code == status, answer.text
    body = answer.json()
    return answer.headers.get("X-Subject-Token", ""), body.get("token") or body["error"]["message"]


def with_token(cloud: TestedCloud, text: str) -> httpx.Client:
    client = cloud.client(None)
    client.headers["X-Auth-Token"] = text
    return client


def rescope(cloud: TestedCloud, text: str, scope: Any, status: int = 201) -> Any:
    auth = {"identity": {"methods": ["token"], "token": {"id": text}}, "scope": scope}
    answer = cloud.client(None).post(f"{V3}/auth/tokens", json={"auth": auth})
    assert answer.status_code == status, answer.text
    return answer.json().get("token"), answer.headers.get("X-Subject-Token")


def group_with_project(admin: httpx.Client, name: str = "dev") -> tuple[str, str]:
    group = make(admin, "group", name=name, domain_id="default")["id"]
    project = make(admin, "project", name=f"of-{name}", domain_id="default")["id"]
    [role] = admin.get(f"{V3}/roles?name=member").json()["roles"]
    assert (
        admin.put(f"{V3}/projects/{project}/groups/{group}/roles/{role['id']}").status_code == 204
    )
    return group, project


def test_the_first_login_makes_a_user_and_the_next_finds_it(cloud, admin):
    map_by(admin)
    _, token = come_in(cloud)
    assert token["methods"] == ["mapped"]
    assert token["user"]["name"] == "bob"
    federation = token["user"]["OS-FEDERATION"]
    assert federation == {
        "identity_provider": {"id": "acme"},
        "protocol": {"id": "mapped"},
        "groups": [],
    }
    assert "project" not in token
    assert "roles" not in token
    provider = admin.get(f"{FEDERATION}/identity_providers/acme").json()["identity_provider"]
    assert token["user"]["domain"]["id"] == provider["domain_id"]
    user = admin.get(f"{V3}/users/{token['user']['id']}").json()["user"]
    assert user["federated"] == [
        {"idp_id": "acme", "protocols": [{"protocol_id": "mapped", "unique_id": "bob"}]}
    ]
    assert come_in(cloud)[1]["user"]["id"] == user["id"]
    assert come_in(cloud, **{"Remote-User": "eve"})[1]["user"]["id"] != user["id"]


def test_a_name_and_an_email_follow_the_provider(cloud, admin):
    remote = [{"type": "REMOTE_USER"}, {"type": "HTTP_OIDC_NAME"}, {"type": "HTTP_OIDC_EMAIL"}]
    map_by(admin, {"user": {"id": "{0}", "name": "{1}", "email": "{2}"}}, remote=remote)
    given = {"OIDC-name": "Bob", "OIDC-email": "bob@example.org"}
    _, first = come_in(cloud, **given)
    given = {"OIDC-name": "Bob Builder", "OIDC-email": "builder@example.org"}
    _, again = come_in(cloud, **given)
    assert again["user"]["id"] == first["user"]["id"]
    assert again["user"]["name"] == "Bob Builder"
    user = admin.get(f"{V3}/users/{first['user']['id']}").json()["user"]
    assert (user["name"], user["email"]) == ("Bob Builder", "builder@example.org")


def test_two_users_of_one_name_in_a_domain_are_told_apart(cloud, admin):
    map_by(admin, domain_id="default")
    local = make(admin, "user", name="bob", domain_id="default")
    _, token = come_in(cloud)
    assert token["user"]["id"] != local["id"]
    assert token["user"]["name"] == "bob@acme"
    _, again = come_in(cloud)
    assert (again["user"]["id"], again["user"]["name"]) == (token["user"]["id"], "bob@acme")


def test_groups_give_roles_to_whoever_holds_the_token(cloud, admin):
    group, project = group_with_project(admin)
    map_by(admin, {"groups": "{1}", "domain": {"id": "default"}})
    text, token = come_in(cloud)
    assert token["user"]["OS-FEDERATION"]["groups"] == [{"id": group}]
    for path in ("auth/projects", "OS-FEDERATION/projects"):
        projects = with_token(cloud, text).get(f"{V3}/{path}").json()["projects"]
        assert [each["id"] for each in projects] == [project]
    scoped, scoped_text = rescope(cloud, text, {"project": {"id": project}})
    assert [each["name"] for each in scoped["roles"]] == ["member", "reader"]
    assert scoped["user"]["OS-FEDERATION"]["groups"] == [{"id": group}]
    assert set(scoped["methods"]) == {"token", "mapped"}
    assert scoped["expires_at"] == token["expires_at"]
    # Beyond the token the user is in no group.
    user = token["user"]["id"]
    assert admin.get(f"{V3}/users/{user}/groups").json()["groups"] == []
    assert admin.get(f"{V3}/users/{user}/projects").json()["projects"] == []
    # Without the group there is no role, also with a token of before.
    assert admin.delete(f"{V3}/groups/{group}").status_code == 204
    assert with_token(cloud, scoped_text).get(f"{V3}/auth/projects").status_code == 401


def test_groups_hold_also_for_what_goes_on_after_the_answer_as_long_as_the_token_would(
    cloud, admin, monkeypatch
):
    _, project = group_with_project(admin)
    map_by(admin, {"groups": "{1}", "domain": {"id": "default"}})
    text, _ = come_in(cloud)
    scoped, scoped_text = rescope(cloud, text, {"project": {"id": project}})
    asked_as = cloud.cloud.get(Authenticator).authenticate(scoped_text, {}, "")
    later = with_token(cloud, identity.issue_token_as(cloud.cloud, asked_as))
    shown = later.get(
        f"{V3}/auth/tokens", headers={"X-Subject-Token": later.headers["X-Auth-Token"]}
    ).json()["token"]
    for field in ("project", "roles", "user", "expires_at"):
        assert shown[field] == scoped[field], field
    now = clock.now()
    monkeypatch.setattr(clock, "_source", lambda: now + 25 * 3600 * 1_000_000)
    with pytest.raises(Unauthorized):
        identity.issue_token_as(cloud.cloud, asked_as)
    # What was given to the user beside it holds on.
    monkeypatch.undo()
    [role] = admin.get(f"{V3}/roles?name=reader").json()["roles"]
    given = f"{V3}/projects/{project}/users/{scoped['user']['id']}/roles/{role['id']}"
    assert admin.put(given).status_code == 204
    monkeypatch.setattr(clock, "_source", lambda: now + 25 * 3600 * 1_000_000)
    later = cloud.cloud.get(Authenticator).authenticate(
        identity.issue_token_as(cloud.cloud, asked_as), {}, ""
    )
    assert (later.roles, later.federated_group_ids) == (("reader",), ())


def test_a_domain_may_be_entered_by_a_group(cloud, admin):
    group, _ = group_with_project(admin)
    [role] = admin.get(f"{V3}/roles?name=reader").json()["roles"]
    admin.put(f"{V3}/domains/default/groups/{group}/roles/{role['id']}")
    map_by(admin, {"group": {"name": "dev", "domain": {"name": "Default"}}})
    text, _ = come_in(cloud)
    domains = with_token(cloud, text).get(f"{FEDERATION}/domains").json()["domains"]
    assert [each["id"] for each in domains] == ["default"]
    assert rescope(cloud, text, {"domain": {"id": "default"}})[0]["domain"]["id"] == "default"


def test_a_group_that_a_mapping_names_by_id_must_exist(cloud, admin):
    map_by(admin, {"group": {"id": "nothing"}})
    _, message = come_in(cloud, 403)
    assert "nothing" in message
    assert admin.get(f"{V3}/users?name=bob").json()["users"] == []


def test_groups_hold_for_the_time_that_the_provider_sets(cloud, admin, monkeypatch):
    group, project = group_with_project(admin)
    map_by(admin, {"groups": "{1}", "domain": {"id": "default"}}, authorization_ttl=10)
    _, token = come_in(cloud)
    user = token["user"]["id"]
    [shown] = admin.get(f"{V3}/users/{user}/groups").json()["groups"]
    assert shown["id"] == group
    assert shown["membership_expires_at"] > token["issued_at"]
    assert admin.head(f"{V3}/groups/{group}/users/{user}").status_code == 204
    [held] = admin.get(f"{V3}/users/{user}/projects").json()["projects"]
    assert held["id"] == project
    later = clock.now() + 11 * 60 * 1_000_000
    monkeypatch.setattr(clock, "now", lambda: later)
    cloud.reconcile("identity-federation")
    monkeypatch.undo()
    assert admin.get(f"{V3}/users/{user}/groups").json()["groups"] == []
    assert admin.get(f"{V3}/users/{user}/projects").json()["projects"] == []


def test_a_group_that_is_not_given_again_is_lost(cloud, admin):
    group_with_project(admin)
    map_by(admin, {"groups": "{1}", "domain": {"id": "default"}}, authorization_ttl=10)
    _, token = come_in(cloud)
    user = token["user"]["id"]
    assert len(admin.get(f"{V3}/users/{user}/groups").json()["groups"]) == 1
    come_in(cloud, **{"OIDC-claim-groups": "ops"})
    assert admin.get(f"{V3}/users/{user}/groups").json()["groups"] == []


def test_projects_are_made_and_given(cloud, admin):
    projects = [{"name": "of {0}", "roles": [{"name": "member"}]}]
    map_by(admin, {"projects": projects})
    text, token = come_in(cloud)
    [project] = with_token(cloud, text).get(f"{V3}/auth/projects").json()["projects"]
    assert project["name"] == "of bob"
    assert project["domain_id"] == token["user"]["domain"]["id"]
    scoped, _ = rescope(cloud, text, {"project": {"id": project["id"]}})
    assert [each["name"] for each in scoped["roles"]] == ["member", "reader"]
    come_in(cloud)
    assert len(admin.get(f"{V3}/projects?name=of bob").json()["projects"]) == 1


def test_projects_and_users_of_version_2_are_where_the_rule_says(cloud, admin):
    home = make(admin, "domain", name="home")["id"]
    local = {
        "user": {"name": "{0}"},
        "domain": {"name": "home"},
        "projects": [{"name": "p", "roles": [{"name": "reader"}], "domain": {"id": "default"}}],
    }
    map_by(admin, local, schema_version="2.0")
    text, token = come_in(cloud)
    assert token["user"]["domain"]["id"] == home
    [project] = with_token(cloud, text).get(f"{V3}/auth/projects").json()["projects"]
    assert project["domain_id"] == "default"


def test_a_role_that_is_not_there_writes_nothing(cloud, admin):
    map_by(admin, {"projects": [{"name": "p", "roles": [{"name": "king"}]}]})
    _, message = come_in(cloud, 403)
    assert "king" in message
    assert admin.get(f"{V3}/projects?name=p").json()["projects"] == []
    assert admin.get(f"{V3}/users?name=bob").json()["users"] == []


def test_a_local_user_is_the_one_we_know(cloud, admin):
    local = make(admin, "user", name="bob", domain_id="default")
    user = {"name": "{0}", "type": "local", "domain": {"id": "default"}}
    map_by(admin, {"user": user})
    _, token = come_in(cloud)
    assert token["user"]["id"] == local["id"]
    assert "OS-FEDERATION" not in token["user"]
    come_in(cloud, 401, **{"Remote-User": "nobody-here"})
    change(admin, "user", local["id"], enabled=False)
    come_in(cloud, 401)


def test_a_disabled_provider_lets_nobody_in_and_its_tokens_end(cloud, admin):
    map_by(admin)
    text, _ = come_in(cloud)
    assert with_token(cloud, text).get(f"{V3}/auth/projects").status_code == 200
    provider = f"{FEDERATION}/identity_providers/acme"
    admin.patch(provider, json={"identity_provider": {"enabled": False}})
    assert with_token(cloud, text).get(f"{V3}/auth/projects").status_code == 401
    assert "acme is disabled" in come_in(cloud, 403)[1]
    admin.patch(provider, json={"identity_provider": {"enabled": True}})
    assert admin.delete(provider).status_code == 204
    assert with_token(cloud, text).get(f"{V3}/auth/projects").status_code == 401
    come_in(cloud, 404)


def test_only_the_remote_ids_of_a_provider_speak_for_it(cloud, admin):
    map_by(admin)
    assert "other-id" in come_in(cloud, 403, **{"OIDC-claim-iss": "other-id"})[1]
    come_in(cloud, 403, **{"OIDC-claim-iss": ""})
    protocol = f"{FEDERATION}/identity_providers/acme/protocols/mapped"
    change = {"mapping_id": "m", "remote_id_attribute": "HTTP_OIDC_VOUCHER"}
    assert admin.patch(protocol, json={"protocol": change}).status_code == 200
    come_in(cloud, 403)
    come_in(cloud, **{"OIDC-voucher": "acme-id"})


def test_the_method_mapped_logs_in_at_the_usual_place_and_may_name_a_scope(cloud, admin):
    _, project = group_with_project(admin)
    map_by(admin, {"groups": "{1}", "domain": {"id": "default"}})
    part = {"identity_provider": "acme", "protocol": "mapped"}
    auth = {
        "identity": {"methods": ["mapped"], "mapped": part},
        "scope": {"project": {"id": project}},
    }
    answer = cloud.client(None, **BOB).post(f"{V3}/auth/tokens", json={"auth": auth})
    assert answer.status_code == 201, answer.text
    assert answer.json()["token"]["project"]["id"] == project
    assert cloud.client(None).post(f"{V3}/auth/tokens", json={"auth": auth}).status_code == 401


def test_nobody_without_a_mapping(cloud, admin):
    map_by(admin, remote=[{"type": "REMOTE_USER", "any_one_of": ["alice"]}, {"type": "x"}])
    assert "no rule of the mapping m fits" in come_in(cloud, 400)[1]
    assert admin.delete(f"{FEDERATION}/mappings/m").status_code == 204
    come_in(cloud, 404)


def test_unknown_providers_and_protocols(cloud, admin):
    map_by(admin)
    for path in ("identity_providers/no/protocols/mapped", "identity_providers/acme/protocols/no"):
        answer = cloud.client(None).get(f"{FEDERATION}/{path}/auth", headers=BOB)
        assert answer.status_code == 404, answer.text


def test_users_are_found_by_where_they_come_from(cloud, admin):
    map_by(admin)
    user = come_in(cloud)[1]["user"]["id"]
    come_in(cloud, **{"Remote-User": "eve"})
    for query, found in (
        ("idp_id=acme&unique_id=bob", [user]),
        ("protocol_id=mapped&unique_id=bob", [user]),
        ("unique_id=nobody", []),
        ("idp_id=other", []),
    ):
        listed = admin.get(f"{V3}/users?{query}").json()["users"]
        assert [each["id"] for each in listed] == found, query
    assert len(admin.get(f"{V3}/users?idp_id=acme").json()["users"]) == 2


def test_a_list_shows_how_each_user_comes_in(cloud, admin):
    map_by(admin)
    bob = come_in(cloud)[1]["user"]["id"]
    eve = come_in(cloud, **{"Remote-User": "eve"})[1]["user"]["id"]
    local = make(admin, "user", name="local", domain_id="default")["id"]
    listed = {each["id"]: each for each in admin.get(f"{V3}/users").json()["users"]}
    for identifier, names in ((bob, ["bob"]), (eve, ["eve"]), (local, [])):
        links = listed[identifier]["federated"]
        assert [each["unique_id"] for link in links for each in link["protocols"]] == names
        assert listed[identifier] == admin.get(f"{V3}/users/{identifier}").json()["user"]


def test_an_administrator_says_how_a_user_comes_in(cloud, admin):
    map_by(admin)
    links = [{"idp_id": "acme", "protocols": [{"protocol_id": "mapped", "unique_id": "bob"}]}]
    user = make(admin, "user", name="robert", domain_id="default", federated=links)
    assert user["federated"] == links
    assert come_in(cloud)[1]["user"]["id"] == user["id"]
    other = [{"idp_id": "acme", "protocols": [{"protocol_id": "mapped", "unique_id": "robert"}]}]
    assert change(admin, "user", user["id"], federated=other)["federated"] == other
    assert come_in(cloud)[1]["user"]["id"] != user["id"]
    wrong = [{"idp_id": "no", "protocols": [{"protocol_id": "mapped", "unique_id": "x"}]}]
    assert "no" in make(admin, "user", 400, name="x", federated=wrong)["message"]
    taken = make(admin, "user", 409, name="x", federated=other)
    assert "robert" in taken["message"]
    assert admin.get(f"{V3}/users?name=x").json()["users"] == []


def test_deleting_a_user_forgets_how_they_came_in(cloud, admin):
    map_by(admin, authorization_ttl=10)
    user = come_in(cloud)[1]["user"]["id"]
    assert admin.delete(f"{V3}/users/{user}").status_code == 204
    assert come_in(cloud)[1]["user"]["id"] != user


def test_headers_of_anybody_else_say_nothing(tmp_path):
    for options in ({}, {"federation.proxy_addresses": ("10.20.0.5",)}):
        folder = tmp_path / str(len(options))
        tested = make_cloud(folder, services=("identity",), hosts=(), options=options)
        try:
            map_by(tested.client("admin"))
            assert tested.client(None).get(AUTH, headers=BOB).status_code == 401
        finally:
            tested.close()


def test_other_headers_of_the_proxy_are_not_attributes(cloud, admin):
    map_by(admin, remote=[{"type": "HTTP_X_EVIL"}, {"type": "REMOTE_USER"}])
    come_in(cloud, 400, **{"X-Evil": "yes"})
