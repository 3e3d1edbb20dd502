"""OAuth: consumers that act for users (1.0a), client credentials (2.0), and revocation events."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from oauthlib.oauth1 import SIGNATURE_HMAC_SHA256, Client

from nubelet.kernel import clock
from tests.cloud import BASE_URL, TestedCloud, make_cloud
from tests.delegations import TOKENS, Person, is_valid, log_in, person, role_id, roles_of
from tests.identity_calls import V3, change, make

OAUTH = f"{V3}/OS-OAUTH1"
HOUR = 3_600_000_000
_numbers = itertools.count()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    tested = make_cloud(tmp_path_factory.mktemp("identity"), services=("identity",), hosts=())
    yield tested
    tested.close()


@pytest.fixture
def user(cloud: TestedCloud) -> Person:
    """Somebody with the role admin on their project: only those authorize consumers."""
    return person(cloud, f"user-{next(_numbers)}", "admin")


@pytest.fixture
def later() -> Iterator[Any]:
    yield lambda hours: clock.use_source(lambda: time.time_ns() // 1000 + round(hours * HOUR))
    clock.use_source(None)


class Consumer:
    """A program that was registered, and what it got."""

    def __init__(self, cloud: TestedCloud, **signing: Any) -> None:
        self.cloud, self.signing = cloud, signing
        body = {"consumer": {"description": "a program"}}
        answer = cloud.client("admin").post(f"{OAUTH}/consumers", json=body)
        assert answer.status_code == 201, answer.text
        made = answer.json()["consumer"]
        self.id, self.secret = made["id"], made["secret"]
        self.request_token: dict[str, str] = {}
        self.access_token: dict[str, str] = {}

    def send(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """A request that is signed; `more`: token, secret and verifier, or headers."""
        headers = more.pop("headers", {})
        signer = Client(self.id, client_secret=self.secret, **{**self.signing, **more})
        url = BASE_URL + path
        _, signed, _ = signer.sign(url, http_method="POST", headers=headers)
        return self.cloud.client(None).post(path, json=body, headers=signed)

    def ask(self, project_id: str) -> httpx.Response:
        headers = {"Requested-Project-Id": project_id}
        answer = self.send(f"{OAUTH}/request_token", headers=headers, callback_uri="oob")
        if answer.status_code == 201:
            self.request_token = _read(answer)
        return answer

    def turn(self, verifier: str) -> httpx.Response:
        """The request token with its verifier into an access token."""
        answer = self.send(
            f"{OAUTH}/access_token",
            resource_owner_key=self.request_token["oauth_token"],
            resource_owner_secret=self.request_token["oauth_token_secret"],
            verifier=verifier,
        )
        if answer.status_code == 201:
            self.access_token = _read(answer)
        return answer

    def enter(self, **more: Any) -> httpx.Response:
        body = {"auth": {"identity": {"methods": ["oauth1"], "oauth1": {}}}}
        keys = {
            "resource_owner_key": self.access_token["oauth_token"],
            "resource_owner_secret": self.access_token["oauth_token_secret"],
        }
        return self.send(TOKENS, body, **{**keys, **more})

    def authorize(self, user: Person, *roles: str, status: int = 200) -> str:
        path = f"{OAUTH}/authorize/{self.request_token['oauth_token']}"
        body = {"roles": [{"name": name} for name in roles]}
        answer = user.client().put(path, json=body)
        assert answer.status_code == status, answer.text
        return str(answer.json()["token"]["oauth_verifier"]) if status == 200 else ""


def _read(answer: httpx.Response) -> dict[str, str]:
    assert answer.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "%" not in answer.text, "clients of Keystone split it and decode nothing"
    return {name: values[0] for name, values in parse_qs(answer.text).items()}


def authorized(cloud: TestedCloud, user: Person, *roles: str, **signing: Any) -> Consumer:
    """A consumer with an access token for the user's project."""
    made = Consumer(cloud, **signing)
    assert made.ask(user.project_id).status_code == 201
    verifier = made.authorize(user, *(roles or ("member",)))
    assert made.turn(verifier).status_code == 201
    return made


@pytest.mark.parametrize("signing", [{}, {"signature_method": SIGNATURE_HMAC_SHA256}])
def test_a_consumer_acts_with_the_authorized_roles(cloud, user, signing):
    consumer = authorized(cloud, user, "member", **signing)
    answer = consumer.enter()
    assert answer.status_code == 201, answer.text
    token = answer.json()["token"]
    assert token["user"]["id"] == user.user_id
    assert token["project"]["id"] == user.project_id
    assert token["methods"] == ["oauth1"]
    assert roles_of(answer) == ["member", "reader"]
    assert token["OS-OAUTH1"] == {
        "access_token_id": consumer.access_token["oauth_token"],
        "consumer_id": consumer.id,
    }
    assert token["expires_at"] <= consumer.access_token["oauth_expires_at"]


def test_each_request_is_served_once(cloud, user):
    consumer = authorized(cloud, user)
    once = {"nonce": "12345", "timestamp": str(int(time.time()))}
    assert consumer.enter(**once).status_code == 201
    assert consumer.enter(**once).status_code == 401
    assert consumer.enter(timestamp=str(int(time.time()) - 3600)).status_code == 401


def test_wrong_signatures_are_refused(cloud, user):
    consumer = Consumer(cloud)
    right, consumer.secret = consumer.secret, "wrong"
    assert consumer.ask(user.project_id).status_code == 401
    consumer.secret = right
    consumer.ask(user.project_id)
    verifier = consumer.authorize(user, "member")
    assert consumer.turn("wrong").status_code == 401
    consumer.request_token["oauth_token_secret"] += "x"
    assert consumer.turn(verifier).status_code == 401
    consumer.request_token["oauth_token_secret"] = consumer.request_token["oauth_token_secret"][:-1]
    consumer.turn(verifier)
    assert consumer.enter(resource_owner_secret="wrong").status_code == 401
    assert consumer.enter(signature_method="PLAINTEXT").status_code == 401
    other = Consumer(cloud)
    other.access_token = consumer.access_token
    assert other.enter().status_code == 401


def test_a_signature_of_odd_letters_is_a_wrong_one(cloud, user):
    given = {
        "oauth_consumer_key": Consumer(cloud).id,
        "oauth_nonce": "odd",
        "oauth_timestamp": str(clock.now() // 1_000_000),
        "oauth_signature_method": "HMAC-SHA256",
        "oauth_signature": "%C3%A9",
    }
    words = ", ".join(f'{name}="{value}"' for name, value in given.items())
    headers = {"Authorization": f"OAuth {words}", "Requested-Project-Id": user.project_id}
    answer = cloud.client(None).post(f"{OAUTH}/request_token", headers=headers)
    assert answer.status_code == 401, answer.text


def test_a_request_token_is_no_access_token_before_it_is_authorized(cloud, user):
    consumer = Consumer(cloud)
    consumer.ask(user.project_id)
    assert consumer.turn("guessed").status_code == 401
    consumer.access_token = consumer.request_token
    assert consumer.enter().status_code == 401
    verifier = consumer.authorize(user, "member")
    assert consumer.turn(verifier).status_code == 201
    assert consumer.turn(verifier).status_code == 404, "used up"


def test_nobody_authorizes_more_than_they_have(cloud, user):
    consumer = Consumer(cloud)
    consumer.ask(cloud.user("stranger").project_id or "")
    consumer.authorize(user, "member", status=401)
    consumer.ask(user.project_id)
    consumer.authorize(user, "nonsense", status=404)
    consumer.authorize(user, status=400)
    member = person(cloud, f"user-{next(_numbers)}", "member", project_id=user.project_id)
    consumer.authorize(member, "member", status=403)


@pytest.mark.parametrize(
    ("headers", "status", "word"),
    [
        ({}, 400, "Authorization"),
        ({"Authorization": "Basic abc"}, 400, "Authorization"),
        ({"Authorization": "OAuth oauth_nonce=1"}, 400, "oauth_consumer_key"),
        ({"Authorization": 'OAuth oauth_consumer_key="unknown"'}, 400, "Requested-Project-Id"),
    ],
)
def test_bad_requests_name_what_is_missing(cloud, headers, status, word):
    answer = cloud.client(None).post(f"{OAUTH}/request_token", headers=headers)
    assert answer.status_code == status, answer.text
    assert word in answer.json()["error"]["message"]


def test_unknown_places(cloud, user):
    consumer = Consumer(cloud)
    assert consumer.ask("unknown").status_code == 404
    consumer.id = "unknown"
    assert consumer.ask(user.project_id).status_code == 404


def test_tokens_expire(cloud, user, later):
    consumer = Consumer(cloud)
    consumer.ask(user.project_id)
    later(8.1)
    consumer.authorize(user, "member", status=401)
    clock.use_source(None)
    consumer = authorized(cloud, user)
    later(24.1)
    now = str(clock.now() // 1_000_000)
    assert consumer.enter(timestamp=now).status_code == 401


@pytest.mark.parametrize("what", ["access token", "consumer", "role", "user", "disabled"])
def test_what_ends_it(cloud, user, what):
    role = f"role-{next(_numbers)}"
    make(cloud.client("admin"), "role", name=role)
    user.grant(role)
    consumer = authorized(cloud, user, role)
    token = consumer.enter().headers["x-subject-token"]
    assert is_valid(cloud, token)
    admin, access = cloud.client("admin"), consumer.access_token["oauth_token"]
    if what == "access token":
        path = f"{V3}/users/{user.user_id}/OS-OAUTH1/access_tokens/{access}"
        assert admin.delete(path).status_code == 204
    elif what == "consumer":
        assert admin.delete(f"{OAUTH}/consumers/{consumer.id}").status_code == 204
    elif what == "role":
        user.grant(role, method="DELETE")
    elif what == "disabled":
        admin.patch(f"{V3}/users/{user.user_id}", json={"user": {"enabled": False}})
    else:
        assert admin.delete(f"{V3}/users/{user.user_id}").status_code == 204
    assert not is_valid(cloud, token)
    assert consumer.enter().status_code == 401


def test_its_token_makes_nothing(cloud, user):
    text = authorized(cloud, user, "admin").enter().headers["x-subject-token"]
    client = cloud.client(None, X_Auth_Token=text)
    log_in(cloud, {"methods": ["token"], "token": {"id": text}}, "unscoped", 403)
    mine = f"{V3}/users/{user.user_id}"
    body = {"application_credential": {"name": "x"}}
    assert client.post(f"{mine}/application_credentials", json=body).status_code == 403
    body = {"tenant_id": user.project_id}
    assert client.post(f"{mine}/credentials/OS-EC2", json=body).status_code == 403
    assert client.get(f"{mine}/OS-OAUTH1/access_tokens").status_code == 403
    other = Consumer(cloud)
    other.ask(user.project_id)
    path = f"{OAUTH}/authorize/{other.request_token['oauth_token']}"
    body = {"roles": [{"name": "member"}]}
    assert client.put(path, json=body).status_code == 403


def test_access_tokens_of_a_user(cloud, user):
    consumer = authorized(cloud, user, "member")
    admin, identifier = cloud.client("admin"), consumer.access_token["oauth_token"]
    every = f"{V3}/users/{user.user_id}/OS-OAUTH1/access_tokens"
    [shown] = admin.get(every).json()["access_tokens"]
    assert shown == {
        "id": identifier,
        "consumer_id": consumer.id,
        "project_id": user.project_id,
        "authorizing_user_id": user.user_id,
        "expires_at": consumer.access_token["oauth_expires_at"],
        "links": {
            "self": f"{BASE_URL}{every}/{identifier}",
            "roles": f"{BASE_URL}{every}/{identifier}/roles",
        },
    }
    assert admin.get(f"{every}/{identifier}").json()["access_token"] == shown
    [role] = admin.get(f"{every}/{identifier}/roles").json()["roles"]
    assert role["id"] == role_id(cloud, "member")
    assert admin.get(f"{every}/{identifier}/roles/{role['id']}").json()["role"] == role
    assert admin.get(f"{every}/{identifier}/roles/unknown").status_code == 404
    theirs = f"{V3}/users/{cloud.user('member').user_id}/OS-OAUTH1/access_tokens"
    assert admin.get(f"{theirs}/{identifier}").status_code == 404
    assert cloud.client("stranger").get(every).status_code == 403


def test_consumers(cloud):
    admin = cloud.client("admin")
    made = admin.post(f"{OAUTH}/consumers", json={"consumer": {"note": "n"}}).json()["consumer"]
    one = f"{OAUTH}/consumers/{made['id']}"
    assert made["links"]["self"] == BASE_URL + one
    secret = made.pop("secret")
    assert admin.get(one).json()["consumer"] == made
    assert secret not in admin.get(f"{OAUTH}/consumers").text
    body = {"consumer": {"description": "d"}}
    assert admin.patch(one, json=body).json()["consumer"] == {**made, "description": "d"}
    for bad in ({"secret": "s"}, {"id": "x"}, {"description": 7}):
        assert admin.patch(one, json={"consumer": bad}).status_code == 400, bad
    for client in (cloud.client("member"), cloud.client("domain_reader")):
        assert client.get(one).status_code == 403
        assert client.post(f"{OAUTH}/consumers", json=body).status_code == 403
    assert cloud.client("system_reader").get(one).status_code == 200
    assert admin.delete(one).status_code == 204
    assert admin.get(one).status_code == 404


# --- OAuth 2 --------------------------------------------------------------------------------------

GRANT = {"grant_type": "client_credentials"}


@pytest.fixture
def credential(user: Person) -> dict[str, Any]:
    body = {"application_credential": {"name": "client", "roles": [{"name": "member"}]}}
    answer = user.client().post(f"{V3}/users/{user.user_id}/application_credentials", json=body)
    return dict(answer.json()["application_credential"])


def basic(identifier: str, secret: str) -> dict[str, str]:
    text = base64.b64encode(f"{identifier}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


def grant(cloud: TestedCloud, form: dict[str, str], headers: dict[str, str]) -> httpx.Response:
    return cloud.client(None).post(f"{V3}/OS-OAUTH2/token", data=form, headers=headers)


def test_client_credentials_give_a_token(cloud, user, credential):
    by_header = grant(cloud, GRANT, basic(credential["id"], credential["secret"]))
    form = {"client_id": credential["id"], "client_secret": credential["secret"]}
    by_form = grant(cloud, {**GRANT, **form}, {})
    for answer in (by_header, by_form):
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert set(body) == {"access_token", "token_type", "expires_in"}
        assert body["token_type"] == "Bearer"
        assert 3590 <= body["expires_in"] <= 3600
        assert answer.headers["cache-control"] == "no-store"
        assert is_valid(cloud, body["access_token"])
    text = by_header.json()["access_token"]
    headers = {"X-Subject-Token": text}
    token = cloud.client("admin").get(TOKENS, headers=headers).json()["token"]
    assert token["user"]["id"] == user.user_id
    assert token["application_credential"]["id"] == credential["id"]


@pytest.mark.parametrize(
    ("form", "client", "status", "code"),
    [
        ({}, True, 400, "invalid_request"),
        ({"grant_type": "password"}, True, 400, "unsupported_grant_type"),
        (GRANT, False, 401, "invalid_client"),
        ({**GRANT, "client_id": "unknown", "client_secret": "x"}, False, 401, "invalid_client"),
        ({**GRANT, "client_id": "unknown"}, False, 401, "invalid_client"),
    ],
)
def test_refusals_are_those_of_the_rfc(cloud, credential, form, client, status, code):
    headers = basic(credential["id"], credential["secret"]) if client else {}
    answer = grant(cloud, form, headers)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert answer.json()["error_description"]
    assert ("www-authenticate" in answer.headers) is (status == 401)


def test_a_wrong_header_is_refused(cloud):
    for header in ("Basic !!!", "Basic " + base64.b64encode(b"\xff").decode(), "Bearer x"):
        answer = grant(cloud, GRANT, {"Authorization": header})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


# --- Revocation events ----------------------------------------------------------------------------


def test_events_tell_what_is_revoked(cloud, user):
    service = cloud.client("service")

    def events(query: str = "") -> list[dict[str, Any]]:
        answer = service.get(f"{V3}/OS-REVOKE/events{query}")
        assert answer.status_code == 200, answer.text
        return list(answer.json()["events"])

    admin = cloud.client("admin")
    login = user.log_in()
    text = login.headers["x-subject-token"]
    audit_id = login.json()["token"]["audit_ids"][0]
    before = clock.iso_micros_z(clock.now())
    cloud.client(None, X_Auth_Token=text).delete(TOKENS, headers={"X-Subject-Token": text})
    admin.patch(f"{V3}/users/{user.user_id}", json={"user": {"password": "another"}})
    project = make(admin, "project", name=f"project-{next(_numbers)}")["id"]
    admin.patch(f"{V3}/projects/{project}", json={"project": {"enabled": False}})
    found = events(f"?since={before}")
    assert audit_id in {event.get("audit_id") for event in found}
    assert user.user_id in {event.get("user_id") for event in found}
    assert project in {event.get("project_id") for event in found}
    assert all(event["issued_before"] >= str(before) for event in found)
    later = clock.iso_micros_z(clock.now() + HOUR)
    assert events(f"?since={later}") == []
    assert service.get(f"{V3}/OS-REVOKE/events?since=yesterday").status_code == 400
    for caller in ("member", "system_reader", "nobody"):
        assert cloud.client(caller).get(f"{V3}/OS-REVOKE/events").status_code == 403
    assert admin.get(f"{TOKENS}/OS-PKI/revoked").status_code == 410


# --- Certificates (RFC 8705) ----------------------------------------------------------------------


def certificate(name: str, organization: str = "Test") -> str:
    """A certificate as a proxy passes it on."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
        ]
    )
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return quote(made.public_bytes(serialization.Encoding.PEM).decode())


MAPPING = [
    {
        "local": [{"user": {"name": "{0}", "domain": {"name": "{1}"}}}],
        "remote": [
            {"type": "SSL_CLIENT_SUBJECT_DN_CN"},
            {"type": "SSL_CLIENT_SUBJECT_DN_O"},
            {"type": "SSL_CLIENT_ISSUER_DN_O", "any_one_of": ["Default"]},
        ],
    }
]


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestedCloud]:
    """A cloud behind a proxy (tests come from 127.0.0.1) that knows what certificates mean."""
    tested = make_cloud(
        tmp_path_factory.mktemp("identity"),
        services=("identity",),
        hosts=(),
        options={"federation.proxy_addresses": ("127.0.0.0/8",)},
    )
    path = f"{V3}/OS-FEDERATION/mappings/oauth2_mapping"
    answer = tested.client("admin").put(path, json={"mapping": {"rules": MAPPING}})
    assert answer.status_code == 201, answer.text
    yield tested
    tested.close()


def client_of(cloud: TestedCloud, name: str) -> Person:
    made = person(cloud, name, "member")
    values = {"default_project_id": made.project_id}
    change(cloud.client("admin"), "user", made.user_id, **values)
    return made


def by_certificate(cloud: TestedCloud, user: Person, text: str) -> httpx.Response:
    form = {**GRANT, "client_id": user.user_id}
    return grant(cloud, form, {"X-SSL-Client-Cert": text})


def test_a_certificate_gives_a_token_that_is_bound_to_it(behind):
    user, mine = client_of(behind, "certified"), certificate("certified", "Default")
    answer = by_certificate(behind, user, mine)
    assert answer.status_code == 200, answer.text
    text = answer.json()["access_token"]
    headers = {"X-Subject-Token": text}
    token = behind.client("admin").get(TOKENS, headers=headers).json()["token"]
    assert token["methods"] == ["oauth2_credential"]
    assert token["project"]["id"] == user.project_id
    assert len(token["oauth2_credential"]["x5t#S256"]) == 43
    path = f"{V3}/auth/projects"
    for shown, status in ((mine, 200), ("", 401), (certificate("certified", "Default"), 401)):
        client = behind.client(None, X_Auth_Token=text, X_SSL_Client_Cert=shown)
        assert client.get(path).status_code == status
    log_in(behind, {"methods": ["token"], "token": {"id": text}}, "unscoped", 403)


def test_certificates_of_others_give_nothing(behind, cloud):
    user = client_of(behind, "certain")
    for text in (
        certificate("another", "Default"),
        certificate("certain", "Elsewhere"),
        "nonsense",
        quote("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
    ):
        answer = by_certificate(behind, user, text)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    without = person(behind, "without-default", "member")
    answer = by_certificate(behind, without, certificate("without-default", "Default"))
    assert answer.status_code == 401
    nobody = Person(behind, "x", "unknown", "x")
    assert by_certificate(behind, nobody, certificate("x", "Default")).status_code == 401


def test_a_certificate_counts_from_the_proxy_only(cloud):
    user = client_of(cloud, "direct")
    path = f"{V3}/OS-FEDERATION/mappings/oauth2_mapping"
    cloud.client("admin").put(path, json={"mapping": {"rules": MAPPING}})
    assert by_certificate(cloud, user, certificate("direct", "Default")).status_code == 401
