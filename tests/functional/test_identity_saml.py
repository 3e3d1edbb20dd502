"""SAML: users of one cloud in another (Keystone to Keystone), by the unmodified client library."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from keystoneauth1 import session as keystone_session
from keystoneauth1.identity import v3

from nubelet.kernel import clock
from tests.cloud import TestedCloud, make_cloud
from tests.identity_calls import V3, make
from tests.wire import wire

FEDERATION = f"{V3}/OS-FEDERATION"
HOME, AWAY = "http://home.test", "http://away.test"


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, TestedCloud]]:
    """Two clouds: users of `home` may enter `away`."""
    found = {
        name: make_cloud(
            tmp_path_factory.mktemp(name.partition(".")[0]),
            services=("identity",),
            hosts=(),
            options={
                "http.public_url": f"http://{name}",
                "federation.trusted_dashboards": ("http://dashboard.test/",),
            },
        )
        for name in ("home.test", "away.test")
    }
    yield found
    for each in found.values():
        each.close()


@pytest.fixture(scope="module")
def acquainted(clouds: dict[str, TestedCloud]) -> dict[str, TestedCloud]:
    home, away = clouds["home.test"], clouds["away.test"]
    url = f"{AWAY}{FEDERATION}/identity_providers/home/protocols/saml2/auth"
    admin = home.client("admin")
    provider = {"sp_url": url, "auth_url": url, "enabled": True}
    put(admin, "service_providers/away", service_provider=provider)
    metadata = admin.get(f"{FEDERATION}/saml2/metadata")
    assert metadata.status_code == 200
    assert metadata.headers["Content-Type"].startswith("text/xml")
    register(away, "home", metadata.content)
    admin = away.client("admin")
    remote = f"{HOME}{FEDERATION}/saml2/idp"
    put(
        admin,
        "identity_providers/home",
        identity_provider={"enabled": True, "remote_ids": [remote]},
    )
    group = make(admin, "group", name="guests", domain_id="default")["id"]
    project = make(admin, "project", name="guesthouse", domain_id="default")["id"]
    [role] = admin.get(f"{V3}/roles?name=member").json()["roles"]
    admin.put(f"{V3}/projects/{project}/groups/{group}/roles/{role['id']}")
    rules = [
        {
            "local": [{"user": {"name": "{0} of {1}"}}, {"group": {"id": group}}],
            "remote": [
                {"type": "openstack_user"},
                {"type": "openstack_project"},
                {"type": "openstack_roles", "any_one_of": ["member"]},
            ],
        }
    ]
    put(admin, "mappings/guests", mapping={"rules": rules})
    protocol = {"mapping_id": "guests"}
    put(admin, "identity_providers/home/protocols/saml2", protocol=protocol)
    return clouds


def put(admin: httpx.Client, path: str, **body: Any) -> None:
    answer = admin.put(f"{FEDERATION}/{path}", json=body)
    assert answer.status_code == 201, answer.text


def register(tested: TestedCloud, name: str, metadata: bytes) -> None:
    folder = tested.cloud.settings.federation.directory
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.xml").write_bytes(metadata)
    path = folder / f"{name}.toml"
    path.write_text(f"[saml]\nmetadata = {json.dumps(str(folder / f'{name}.xml'))}\n")
    path.chmod(0o600)


def home_token(clouds: dict[str, TestedCloud], who: str = "member") -> str:
    return clouds["home.test"].user(who).token


def ask(clouds: dict[str, TestedCloud], path: str = "/ecp", **more: Any) -> httpx.Response:
    token = more.pop("token", None) or home_token(clouds, more.pop("who", "member"))
    auth = {
        "identity": {"methods": ["token"], "token": {"id": token}},
        "scope": {"service_provider": {"id": more.pop("provider", "away")}},
    }
    client = clouds["home.test"].client(None)
    return client.post(f"{V3}/auth/OS-FEDERATION/saml2{path}", json={"auth": auth})


def enter(clouds: dict[str, TestedCloud], document: bytes) -> httpx.Response:
    client = clouds["away.test"].client(None)
    url = f"{FEDERATION}/identity_providers/home/protocols/saml2/auth"
    answer = client.post(
        url, content=document, headers={"Content-Type": "application/vnd.paos+xml"}
    )
    if answer.status_code != 303:
        return answer
    assert "X-Subject-Token" not in answer.headers
    return client.get(url)


def test_the_client_library_takes_a_user_into_the_other_cloud(
    acquainted: dict[str, TestedCloud],
) -> None:
    home = acquainted["home.test"]
    session = keystone_session.Session(session=wire(acquainted))
    base = v3.Token(
        f"{HOME}{V3}", token=home_token(acquainted), project_id=home.user("member").project_id
    )
    plugin = v3.Keystone2Keystone(
        base, "away", project_name="guesthouse", project_domain_name="Default"
    )
    access = plugin.get_access(session)
    assert access.username == "test-member of one"
    assert access.role_names == ["member", "reader"]
    assert access.project_name == "guesthouse"
    assert session.get(f"{AWAY}{V3}/auth/projects", auth=plugin).status_code == 200


def test_tokens_tell_which_clouds_may_be_entered(acquainted: dict[str, TestedCloud]) -> None:
    text = home_token(acquainted)
    client = acquainted["home.test"].client("admin", X_Subject_Token=text)
    url = f"{AWAY}{FEDERATION}/identity_providers/home/protocols/saml2/auth"
    shown = client.get(f"{V3}/auth/tokens").json()["token"]
    assert shown["service_providers"] == [{"id": "away", "auth_url": url, "sp_url": url}]


def test_an_assertion_lets_in_once_and_for_a_time(acquainted: dict[str, TestedCloud]) -> None:
    answer = ask(acquainted)
    assert answer.status_code == 200
    assert answer.headers["X-sp-url"].startswith(AWAY)
    first = enter(acquainted, answer.content)
    assert first.status_code == 201, first.text
    assert first.json()["token"]["methods"] == ["saml2"]
    again = enter(acquainted, answer.content)
    assert again.status_code == 401
    assert "used before" in again.text
    late = ask(acquainted).content
    now = clock.now()
    clock.use_source(lambda: now + 3700 * 1_000_000)
    try:
        assert enter(acquainted, late).status_code == 401
    finally:
        clock.use_source(None)


def test_the_url_that_shibboleth_has_is_taken_too(acquainted: dict[str, TestedCloud]) -> None:
    """Clouds that are registered as if they were Keystones behind Apache."""
    consumer = f"{AWAY}/Shibboleth.sso/SAML2/ECP"
    url = f"{AWAY}{FEDERATION}/identity_providers/home/protocols/saml2/auth"
    provider = {"sp_url": consumer, "auth_url": url, "enabled": True}
    put(acquainted["home.test"].client("admin"), "service_providers/sso", service_provider=provider)
    document = ask(acquainted, provider="sso").content
    client = acquainted["away.test"].client(None)
    paos = {"Content-Type": "application/vnd.paos+xml"}
    taken = client.post("/Shibboleth.sso/SAML2/ECP", content=document, headers=paos)
    assert taken.status_code == 303, taken.text
    assert taken.headers["Location"] == url
    assert client.get(urlsplit(url).path).status_code == 201
    # What was made for that URL is taken nowhere else, and of nobody who is not known.
    other = ask(acquainted, provider="sso").content
    assert enter(acquainted, other).status_code == 401
    strange = document.replace(f"{HOME}{FEDERATION}".encode(), b"http://strange.test")
    assert (
        client.post("/Shibboleth.sso/SAML2/ECP", content=strange, headers=paos).status_code == 401
    )
    assert client.post("/Shibboleth.sso/SAML2/ECP", content=b"<", headers=paos).status_code == 401


def test_a_session_serves_once(acquainted: dict[str, TestedCloud]) -> None:
    client = acquainted["away.test"].client(None)
    url = f"{FEDERATION}/identity_providers/home/protocols/saml2/auth"
    client.post(
        url,
        content=ask(acquainted).content,
        headers={"Content-Type": "application/vnd.paos+xml"},
    )
    assert client.get(url).status_code == 201
    assert client.get(url).status_code == 401


@pytest.mark.parametrize(
    ("change", "by"),
    [
        (b"test-member<", b"admin<"),
        (b">one<", b">admin<"),
        (b"<saml:AttributeValue>member</saml:AttributeValue>", b""),
        (b"</saml:Issuer>", b".evil</saml:Issuer>"),
    ],
)
def test_a_changed_assertion_is_refused(
    acquainted: dict[str, TestedCloud], change: bytes, by: bytes
) -> None:
    document = ask(acquainted).content
    changed = document.replace(change, by)
    assert changed != document
    assert enter(acquainted, changed).status_code == 401


def test_an_assertion_wrapped_in_another_is_refused(acquainted: dict[str, TestedCloud]) -> None:
    """Signature wrapping: the signed assertion hides while a forged one stands in its place."""
    document = ask(acquainted).content.decode()
    found = re.search(r"<saml:Assertion.*</saml:Assertion>", document, re.DOTALL)
    assert found
    genuine = found[0]
    bare = re.sub(r"<ds:Signature.*</ds:Signature>", "", genuine, flags=re.DOTALL)
    forged = bare.replace("test-member", "admin")
    other = re.sub(r' ID="[^"]+"', ' ID="_forged"', forged, count=1)
    signature = re.search(r"<ds:Signature.*</ds:Signature>", genuine, re.DOTALL)
    assert signature
    issuer_end = other.index("</saml:Issuer>") + len("</saml:Issuer>")
    inside = (
        other[:issuer_end]
        + signature[0].replace("</ds:Signature>", f"<ds:Object>{bare}</ds:Object></ds:Signature>")
        + other[issuer_end:]
    )
    for attack in (
        forged,  # not signed at all
        other + genuine,  # two
        inside,  # the genuine one inside of the forged one's signature
        genuine.replace("<saml:Subject>", f"<saml:Subject>{forged}", 1),
    ):
        answer = enter(acquainted, document.replace(genuine, attack).encode())
        assert answer.status_code == 401, attack[:200]


def test_entities_and_broken_documents_are_refused(acquainted: dict[str, TestedCloud]) -> None:
    document = ask(acquainted).content.decode()
    body = document.partition("?>")[2]
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY f SYSTEM "file:///etc/passwd">]>'
    for attack in (bomb + body, bomb + body.replace("test-member<", "&f;<"), "<", "", "{}", "<a/>"):
        assert enter(acquainted, attack.encode()).status_code == 401, attack[:60]


def test_an_assertion_for_another_place_or_of_another_cloud_is_refused(
    acquainted: dict[str, TestedCloud],
) -> None:
    home, away = acquainted["home.test"], acquainted["away.test"]
    elsewhere = {"sp_url": "http://third.test/ECP", "auth_url": "http://third.test/auth"}
    put(
        home.client("admin"),
        "service_providers/third",
        service_provider={**elsewhere, "enabled": True},
    )
    assert enter(acquainted, ask(acquainted, provider="third").content).status_code == 401
    # `away` signs for itself: its key is not the one that is registered for `home`.
    url = f"{AWAY}{FEDERATION}/identity_providers/home/protocols/saml2/auth"
    put(
        away.client("admin"),
        "service_providers/self",
        service_provider={"sp_url": url, "auth_url": url, "enabled": True},
    )
    auth = {
        "identity": {"token": {"id": away.user("member").token}},
        "scope": {"service_provider": {"id": "self"}},
    }
    own = away.client(None).post(f"{V3}/auth/OS-FEDERATION/saml2/ecp", json={"auth": auth})
    assert own.status_code == 200
    assert enter(acquainted, own.content).status_code == 401


def test_the_host_of_a_request_does_not_say_whom_an_assertion_is_for(
    acquainted: dict[str, TestedCloud],
) -> None:
    """Or another service provider could show here what a user gave to it."""
    path = f"{FEDERATION}/identity_providers/home/protocols/saml2/auth"
    elsewhere = f"http://evil.test{path}"
    provider = {"sp_url": elsewhere, "auth_url": elsewhere, "enabled": True}
    put(
        acquainted["home.test"].client("admin"), "service_providers/evil", service_provider=provider
    )
    document = ask(acquainted, provider="evil").content
    client = acquainted["away.test"].client(None, Host="evil.test")
    paos = {"Content-Type": "application/vnd.paos+xml"}
    assert client.post(path, content=document, headers=paos).status_code == 401
    # And the other way round: what this cloud says of itself is not what a request says.
    metadata = (
        acquainted["home.test"].client(None, Host="evil.test").get(f"{FEDERATION}/saml2/metadata")
    )
    assert f'entityID="{HOME}' in metadata.text
    assert "evil.test" not in metadata.text


def test_who_gets_an_assertion(acquainted: dict[str, TestedCloud]) -> None:
    home = acquainted["home.test"]
    assert ask(acquainted, "").content.count(b"<saml:Assertion") == 1
    assert b"Envelope" not in ask(acquainted, "").content
    for who in ("nobody", "system_admin", "domain_admin"):
        refused = ask(acquainted, who=who)
        assert refused.status_code == 403
        assert "project scoped" in refused.text
    assert ask(acquainted, token="no-token").status_code == 401
    assert ask(acquainted, provider="unknown").status_code == 404
    admin = home.client("admin")
    off = {"sp_url": "http://off.test/", "auth_url": "http://off.test/"}
    put(admin, "service_providers/off", service_provider=off)
    assert "disabled" in ask(acquainted, provider="off").text
    assert ask(acquainted, provider="off").status_code == 403
    wrong = home.client(None).post(f"{V3}/auth/OS-FEDERATION/saml2", json={"auth": {}})
    assert wrong.status_code == 400
    assert home.client(None).get(f"{V3}/auth/OS-FEDERATION/saml2").status_code == 405
    assert home.client(None).get(f"{V3}/auth/OS-FEDERATION/saml2/ecp").status_code == 405


def test_groups_are_told_with_their_domains(acquainted: dict[str, TestedCloud]) -> None:
    home = acquainted["home.test"]
    admin = home.client("admin")
    group = make(admin, "group", name="travellers", domain_id="default")["id"]
    admin.put(f"{V3}/groups/{group}/users/{home.user('reader').user_id}")
    document = ask(acquainted, who="reader").text
    told = 'JSON:{"name": "travellers", "domain": {"name": "Default"}}'
    assert told in document


def test_the_key_is_nobody_elses_to_read(acquainted: dict[str, TestedCloud]) -> None:
    cloud = acquainted["home.test"].cloud
    key, check = cloud.settings.state_dir / "saml" / "key.pem", cloud.services["identity"].check
    assert check
    assert key.stat().st_mode & 0o777 == 0o600
    assert check(cloud) == []
    key.chmod(0o640)
    assert str(key) in check(cloud)[0]
    key.chmod(0o600)
