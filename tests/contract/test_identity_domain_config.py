"""Configuring a domain: what can be set, what is shown, and that secrets never are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from nubelet.identity import directories
from nubelet.identity.domain_config import options
from nubelet.identity.domain_config.model import domain_option
from nubelet.kernel.ids import new_hex
from tests.cloud import TestedCloud, make_cloud
from tests.identity_calls import V3, change, make

CONFIG = {"identity": {"driver": "ldap"}, "ldap": {"url": "ldap://a.test", "password": "hush-1"}}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(
        tmp_path_factory.mktemp("config"),
        services=("identity",),
        hosts=(),
        options={
            "security_compliance.password_regex": r"^.{3,}$",
            "security_compliance.password_regex_description": "Three characters.",
        },
    )
    yield tested
    tested.close()


class Domain:
    """A domain and its configuration."""

    def __init__(self, cloud: TestedCloud) -> None:
        self.cloud, self.admin = cloud, cloud.client("admin")
        self.id = make(self.admin, "domain", name=new_hex())["id"]

    def __call__(self, method: str, path: str = "", status: int = 200, config: Any = None) -> Any:
        body = None if config is None else {"config": config}
        answer = self.admin.request(method, f"{V3}/domains/{self.id}/config{path}", json=body)
        assert answer.status_code == status, answer.text
        if not answer.content:
            return None
        return answer.json()["config"] if status < 300 else answer.json()["error"]["message"]


@pytest.fixture
def domain(cloud: TestedCloud) -> Domain:
    return Domain(cloud)


def test_a_secret_is_kept_but_never_shown(domain):
    without = {"identity": {"driver": "ldap"}, "ldap": {"url": "ldap://a.test"}}
    assert domain("PUT", status=201, config=CONFIG) == without
    assert domain("GET") == without
    assert domain("GET", "/ldap") == {"ldap": {"url": "ldap://a.test"}}
    assert "password" in domain("GET", "/ldap/password", 404)
    assert "hush" not in str(domain("PATCH", "/ldap/password", config={"password": "hush-2"}))
    with domain.cloud.cloud.database.read() as tx:
        kept = tx.scalar(
            sa.select(domain_option.c.value).where(
                domain_option.c.domain_id == domain.id, domain_option.c.secret
            )
        )
        assert "hush" not in kept
        driver = directories.find("ldap")
        assert driver is not None
        values = options.effective(domain.cloud.cloud, tx, domain.id, driver)
    assert values["password"] == "hush-2"
    assert values["query_scope"] == "one"


def test_a_secret_may_stand_in_another_option(domain):
    domain("PUT", status=201, config={"ldap": {"url": "ldap://x:%(password)s@a", "password": "p"}})
    assert domain("GET", "/ldap/url") == {"url": "ldap://x:%(password)s@a"}
    with domain.cloud.cloud.database.read() as tx:
        driver = directories.find("ldap")
        assert driver is not None
        assert options.effective(domain.cloud.cloud, tx, domain.id, driver)["url"] == "ldap://x:p@a"


@pytest.mark.parametrize("value", [None, 0, False, "", [], {"a": [1]}])
def test_any_value_is_kept_as_it_is(domain, value):
    domain("PUT", status=201, config={"ldap": {"user_filter": value}})
    assert domain("GET", "/ldap/user_filter") == {"user_filter": value}


@pytest.mark.parametrize("noun", ["user", "group"])
def test_a_domain_limits_its_lists(domain, noun):
    for number in range(4):
        make(domain.admin, noun, name=f"{noun}-{number}", domain_id=domain.id)
    path = f"{V3}/{noun}s?domain_id={domain.id}"
    assert len(domain.admin.get(path).json()[f"{noun}s"]) == 4
    domain("PUT", status=201, config={"identity": {"list_limit": 3}})
    cut = domain.admin.get(path).json()
    assert (len(cut[f"{noun}s"]), cut["truncated"]) == (3, True)
    rest = domain.admin.get(cut["links"]["next"]).json()
    assert len(rest[f"{noun}s"]) == 1
    domain("PUT", config={"identity": {"list_limit": "none"}})
    assert len(domain.admin.get(path).json()[f"{noun}s"]) == 4


def test_only_a_secret_is_set(domain):
    assert domain("PUT", status=201, config={"ldap": {"password": "p"}}) == {}
    domain("GET", status=404)
    domain("DELETE", "/ldap/password", 204)


def test_setting_again_replaces_and_changing_merges(domain):
    domain("PUT", status=201, config=CONFIG)
    assert domain("PATCH", config={"ldap": {"user_tree_dn": "ou=x"}})["ldap"] == {
        "url": "ldap://a.test",
        "user_tree_dn": "ou=x",
    }
    assert domain("PUT", config={"identity": {"list_limit": 5}}) == {"identity": {"list_limit": 5}}


@pytest.mark.parametrize(
    ("path", "config", "named"),
    [
        ("", {}, "No options"),
        ("", {"surprise": {"x": 1}}, "Group surprise"),
        ("", {"ldap": {"surprise": 1}}, "Option surprise"),
        ("", {"ldap": {}}, "group ldap"),
        ("", {"ldap": "x"}, "group ldap"),
        ("", {"security_compliance": {"password_regex": "x"}}, "security_compliance"),
        ("/ldap", {"identity": {"driver": "sql"}}, "that and only that group"),
        ("/ldap", {"ldap": {"url": "x"}, "identity": {"driver": "sql"}}, "only that group"),
        ("/ldap/url", {"user": "x"}, "only that option"),
        ("/ldap/url", {"url": "x", "user": "x"}, "only that option"),
        ("/surprise", {"surprise": {"x": 1}}, "Group surprise"),
        ("/ldap/surprise", {"surprise": 1}, "Option surprise"),
    ],
)
def test_what_cannot_be_set_is_refused_by_name(domain, path, config, named):
    domain("PUT", status=201, config=CONFIG)
    assert named in domain("PATCH", path, 403, config)
    assert domain("GET", "/identity") == {"identity": {"driver": "ldap"}}


def test_what_is_not_set_cannot_be_changed_by_name(domain):
    domain("PUT", status=201, config={"ldap": {"url": "x"}})
    domain("PATCH", "/identity", 404, {"identity": {"driver": "sql"}})
    domain("PATCH", "/ldap/user", 404, {"user": "x"})


def test_an_unknown_domain_has_no_configuration(cloud):
    admin = cloud.client("admin")
    for method, body in (("GET", None), ("PUT", {"config": CONFIG}), ("DELETE", None)):
        answer = admin.request(method, f"{V3}/domains/{new_hex()}/config", json=body)
        assert answer.status_code == 404


def test_a_body_without_a_configuration_is_refused(domain):
    answer = domain.admin.put(f"{V3}/domains/{domain.id}/config", json={"ldap": {"url": "x"}})
    assert answer.status_code == 400


def test_defaults_hold_no_secret(cloud):
    admin = cloud.client("admin")
    shown = admin.get(f"{V3}/domains/config/default").json()["config"]
    assert set(shown) == {"identity", "ldap"}
    assert "password" not in shown["ldap"]
    assert admin.get(f"{V3}/domains/config/ldap/password/default").status_code == 403
    assert admin.get(f"{V3}/domains/config/surprise/default").status_code == 403


@pytest.mark.parametrize("persona", ["member", "nobody", "stranger", "domain_reader"])
def test_everybody_sees_what_a_password_must_be_like(cloud, persona):
    client = cloud.client(persona)
    root = f"{V3}/domains/default/config/security_compliance"
    assert client.get(root).json()["config"] == {
        "security_compliance": {
            "password_regex": r"^.{3,}$",
            "password_regex_description": "Three characters.",
        }
    }
    shown: httpx.Response = client.get(f"{root}/password_regex_description")
    assert shown.json()["config"] == {"password_regex_description": "Three characters."}
    assert client.get(f"{root}/lockout_failure_attempts").status_code == 403


def test_other_domains_have_no_security_compliance_of_their_own(domain):
    assert "default domain" in domain("GET", "/security_compliance", 403)


def test_a_domain_takes_its_configuration_along(domain):
    domain("PUT", status=201, config=CONFIG)
    change(domain.admin, "domain", domain.id, enabled=False)
    assert domain.admin.delete(f"{V3}/domains/{domain.id}").status_code == 204
