"""Identity providers, protocols, mappings and service providers: what they refuse, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.cloud import TestedCloud, make_cloud

FEDERATION = "/identity/v3/OS-FEDERATION"
RULES = {"rules": [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "UserName"}]}]}
SERVICE = {"auth_url": "https://b.example.org/auth", "sp_url": "https://b.example.org/ECP"}


@pytest.fixture
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path_factory.mktemp("identity"), services=("identity",), hosts=())
    yield tested
    tested.close()


@pytest.fixture
def admin(cloud: TestedCloud) -> httpx.Client:
    return cloud.client("admin")


def put(client: httpx.Client, path: str, status: int = 201, **body: Any) -> Any:
    answer = client.put(f"{FEDERATION}/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def patch(client: httpx.Client, path: str, status: int = 200, **body: Any) -> Any:
    answer = client.patch(f"{FEDERATION}/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def make_everything(admin: httpx.Client) -> None:
    put(admin, "identity_providers/acme", identity_provider={"remote_ids": ["acme"]})
    put(admin, "mappings/m", mapping=RULES)
    put(admin, "identity_providers/acme/protocols/saml2", protocol={"mapping_id": "m"})
    put(admin, "service_providers/b", service_provider=SERVICE)


THINGS = (
    ("identity_providers", "identity_providers/acme", {"identity_provider": {"description": "x"}}),
    ("mappings", "mappings/m", {"mapping": RULES}),
    (
        "identity_providers/acme/protocols",
        "identity_providers/acme/protocols/saml2",
        {"protocol": {"mapping_id": "m"}},
    ),
    ("service_providers", "service_providers/b", {"service_provider": {"description": "x"}}),
)
SEES = ("admin", "system_admin", "system_reader", "system_member", "admin_of_one")
CHANGES = ("admin", "system_admin", "admin_of_one")
OTHERS = ("stranger", "reader", "member", "manager", "domain_admin", "domain_manager", "nobody")


@pytest.mark.parametrize("who", [*SEES, *OTHERS])
def test_who_sees_and_who_changes(cloud: TestedCloud, admin: httpx.Client, who: str) -> None:
    make_everything(admin)
    client = cloud.client(who)
    for plural, one, change in THINGS:
        for path in (plural, one):
            answer = client.get(f"{FEDERATION}/{path}")
            assert answer.status_code == (200 if who in SEES else 403), (path, answer.text)
        made = client.put(f"{FEDERATION}/{one}", json=change)
        # What there is already is a conflict only for those who may make one.
        assert made.status_code in ((400, 409) if who in CHANGES else (403,)), made.text
        changed = client.patch(f"{FEDERATION}/{one}", json=change)
        assert changed.status_code == (200 if who in CHANGES else 403), changed.text
    for _, one, _ in reversed(THINGS):
        gone = client.delete(f"{FEDERATION}/{one}")
        assert gone.status_code == (204 if who in CHANGES else 403), gone.text
        missing = client.get(f"{FEDERATION}/{one}-no")
        assert missing.status_code == (404 if who in SEES else 403), missing.text


def test_nobody_without_a_token(cloud: TestedCloud) -> None:
    for plural, one, change in THINGS:
        assert cloud.client(None).get(f"{FEDERATION}/{plural}").status_code == 401
        assert cloud.client(None).put(f"{FEDERATION}/{one}", json=change).status_code == 401


def test_a_provider_has_a_domain_of_its_own_unless_one_is_named(admin: httpx.Client) -> None:
    made = put(admin, "identity_providers/acme", identity_provider={})["identity_provider"]
    assert made["enabled"] is False
    domain = admin.get(f"/identity/v3/domains/{made['domain_id']}").json()["domain"]
    assert "acme" in domain["description"]
    named = put(admin, "identity_providers/b", identity_provider={"domain_id": "default"})
    assert named["identity_provider"]["domain_id"] == "default"
    put(admin, "identity_providers/c", 404, identity_provider={"domain_id": "nowhere"})


def test_the_domain_of_a_provider_stays(admin: httpx.Client) -> None:
    put(admin, "identity_providers/acme", identity_provider={})
    error = patch(admin, "identity_providers/acme", 400, identity_provider={"domain_id": "default"})
    assert "domain_id" in error["error"]["message"]


def test_a_remote_id_belongs_to_one_provider(admin: httpx.Client) -> None:
    put(admin, "identity_providers/a", identity_provider={"remote_ids": ["x", "y"]})
    error = put(admin, "identity_providers/b", 409, identity_provider={"remote_ids": ["y"]})
    assert "y" in error["error"]["message"]
    assert admin.get(f"{FEDERATION}/identity_providers/b").status_code == 404
    put(admin, "identity_providers/b", identity_provider={"remote_ids": ["z"]})
    patch(admin, "identity_providers/b", 409, identity_provider={"remote_ids": ["x"]})
    patch(admin, "identity_providers/a", identity_provider={"remote_ids": None})
    kept = patch(admin, "identity_providers/b", identity_provider={"remote_ids": ["y", "x"]})
    assert kept["identity_provider"]["remote_ids"] == ["y", "x"]


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("identity_providers/a", {"identity_provider": {"remote_ids": ["x", "x"]}}, "remote_ids"),
        ("identity_providers/a", {"identity_provider": {"remote_ids": "x"}}, "remote_ids"),
        ("identity_providers/a", {"identity_provider": {"enabled": 7}}, "enabled"),
        ("identity_providers/a", {"identity_provider": {"authorization_ttl": -1}}, "ttl"),
        ("identity_providers/a", {"identity_provider": {"colour": "red"}}, "colour"),
        ("identity_providers/" + "a" * 65, {"identity_provider": {}}, "idp_id"),
        ("mappings/m", {"mapping": {}}, "rules"),
        ("mappings/m", {}, "mapping"),
        ("service_providers/b", {"service_provider": {}}, "auth_url"),
        ("service_providers/b", {"service_provider": {**SERVICE, "sp_url": "here"}}, "sp_url"),
        ("service_providers/b", {"service_provider": {**SERVICE, "x": 1}}, "x"),
    ],
)
def test_a_refusal_names_the_field(
    admin: httpx.Client, path: str, body: dict[str, Any], named: str
) -> None:
    error = put(admin, path, 400, **body)["error"]
    assert named in error["message"], error
    assert admin.get(f"{FEDERATION}/{path}").status_code == 404


def test_a_change_must_change_something(admin: httpx.Client) -> None:
    make_everything(admin)
    patch(admin, "identity_providers/acme", 400, identity_provider={})
    patch(admin, "service_providers/b", 400, service_provider={})
    patch(admin, "mappings/m", 400, mapping={})
    patch(admin, "identity_providers/acme/protocols/saml2", 400, protocol={})


def test_what_is_there_is_not_made_again(admin: httpx.Client) -> None:
    make_everything(admin)
    put(admin, "identity_providers/acme", 409, identity_provider={})
    put(admin, "mappings/m", 409, mapping=RULES)
    put(admin, "identity_providers/acme/protocols/saml2", 409, protocol={"mapping_id": "m"})
    put(admin, "service_providers/b", 409, service_provider=SERVICE)


def test_a_protocol_needs_its_provider_and_a_mapping(admin: httpx.Client) -> None:
    make_everything(admin)
    put(admin, "identity_providers/no/protocols/p", 404, protocol={"mapping_id": "m"})
    error = put(admin, "identity_providers/acme/protocols/p", 400, protocol={"mapping_id": "no"})
    assert "mapping_id" in error["error"]["message"]
    patch(admin, "identity_providers/acme/protocols/saml2", 400, protocol={"mapping_id": "no"})
    assert admin.get(f"{FEDERATION}/identity_providers/no/protocols").status_code == 404


def test_deleting_a_provider_takes_its_protocols_along(admin: httpx.Client) -> None:
    make_everything(admin)
    assert admin.delete(f"{FEDERATION}/identity_providers/acme").status_code == 204
    put(admin, "identity_providers/acme", identity_provider={"remote_ids": ["acme"]})
    listed = admin.get(f"{FEDERATION}/identity_providers/acme/protocols").json()
    assert listed["protocols"] == []


def test_lists_are_filtered(admin: httpx.Client) -> None:
    for name, enabled in (("a", True), ("b", False)):
        put(admin, f"identity_providers/{name}", identity_provider={"enabled": enabled})
        service = {**SERVICE, "enabled": enabled}
        put(admin, f"service_providers/{name}", service_provider=service)
    for plural in ("identity_providers", "service_providers"):
        for query, found in (("enabled=true", ["a"]), ("id=b", ["b"]), ("id=b&enabled=1", [])):
            listed = admin.get(f"{FEDERATION}/{plural}?{query}").json()[plural]
            assert [each["id"] for each in listed] == found, query


def test_deleting_a_domain_takes_its_providers_along(admin: httpx.Client) -> None:
    made = put(admin, "identity_providers/acme", identity_provider={"remote_ids": ["acme"]})
    domain = f"/identity/v3/domains/{made['identity_provider']['domain_id']}"
    assert admin.patch(domain, json={"domain": {"enabled": False}}).status_code == 200
    assert admin.delete(domain).status_code == 204
    assert admin.get(f"{FEDERATION}/identity_providers/acme").status_code == 404
