"""OpenID Connect against a real provider: a browser's login for a dashboard, and the command
line's bearer tokens."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from keystoneauth1 import session as keystone_session
from keystoneauth1.identity import v3

from tests import glewlwyd
from tests.cloud import BASE_URL, TestedCloud, make_cloud
from tests.glewlwyd import Provider
from tests.identity_calls import V3
from tests.wire import wire

FEDERATION = f"{V3}/OS-FEDERATION"
AUTH = f"{FEDERATION}/identity_providers/acme/protocols/openid/auth"
WEBSSO = f"{V3}/auth/OS-FEDERATION/identity_providers/acme/protocols/openid/websso"
DASHBOARD = "http://dashboard.test/auth/websso/"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    folder = tmp_path_factory.mktemp("glewlwyd")
    running = glewlwyd.start(folder, [BASE_URL + WEBSSO])
    yield running
    running.stop()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[TestedCloud]:
    tested = make_cloud(
        tmp_path_factory.mktemp("identity"),
        services=("identity",),
        hosts=(),
        options={"federation.trusted_dashboards": (DASHBOARD,), "http.public_url": BASE_URL},
    )
    register(tested, provider)
    admin = tested.client("admin")
    rules = [
        {
            "local": [{"user": {"id": "{0}", "name": "{1}", "email": "{2}"}}],
            "remote": [
                {"type": "OIDC-sub"},
                {"type": "OIDC-preferred_username"},
                {"type": "OIDC-email"},
            ],
        },
        # What an access token says without asking further.
        {"local": [{"user": {"id": "{0}"}}], "remote": [{"type": "OIDC-sub"}]},
    ]
    settings = {"enabled": True, "remote_ids": [provider.issuer]}
    for path, body in (
        ("identity_providers/acme", {"identity_provider": settings}),
        ("mappings/m", {"mapping": {"rules": rules}}),
        ("identity_providers/acme/protocols/openid", {"protocol": {"mapping_id": "m"}}),
    ):
        assert admin.put(f"{FEDERATION}/{path}", json=body).status_code == 201
    yield tested
    tested.close()


def register(tested: TestedCloud, provider: Provider, **more: Any) -> None:
    """Write the registration; `more` are further lines of it."""
    folder = tested.cloud.settings.federation.directory
    folder.mkdir(exist_ok=True)
    given = {
        "issuer": provider.issuer,
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
        **more,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in given.items()]
    path = folder / "acme.toml"
    path.write_text("\n".join(["[oidc]", *lines, f"# {time.monotonic_ns()}", ""]))
    path.chmod(0o600)


def begin(cloud: TestedCloud, path: str = WEBSSO) -> tuple[httpx.Client, str]:
    """A browser at the begin of a login, and where it is sent."""
    browser = cloud.client(None)
    answer = browser.get(path, params={"origin": DASHBOARD})
    assert answer.status_code == 302, answer.text
    return browser, answer.headers["Location"]


def token_of(page: httpx.Response) -> str:
    assert page.status_code == 200, page.text
    assert f'action="{DASHBOARD}"' in page.text
    found = re.search(r'name="token" value="([^"]+)"', page.text)
    assert found
    return found[1]


def validate(cloud: TestedCloud, text: str) -> dict[str, Any]:
    answer = cloud.client("admin", X_Subject_Token=text).get(f"{V3}/auth/tokens")
    assert answer.status_code == 200, answer.text
    return answer.json()["token"]


def test_a_browser_logs_in_for_a_dashboard(cloud: TestedCloud, provider: Provider) -> None:
    browser, url = begin(cloud)
    asked = parse_qs(urlsplit(url).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == [BASE_URL + WEBSSO]
    page = browser.get(provider.log_in(url))
    token = validate(cloud, token_of(page))
    assert token["methods"] == ["openid"]
    assert token["user"]["name"] == "bob"
    assert token["user"]["OS-FEDERATION"]["identity_provider"] == {"id": "acme"}
    user = cloud.client("admin").get(f"{V3}/users/{token['user']['id']}").json()["user"]
    assert user["email"] == "bob@example.org"
    assert page.headers["Cache-Control"] == "no-store"
    assert "form-action http://dashboard.test" in page.headers["Content-Security-Policy"]
    # It does not work twice: the code and the browser's cookie are used up.
    assert browser.get(provider_url_of(page)).status_code in (401, 503)


def provider_url_of(page: httpx.Response) -> str:
    return str(page.request.url)


def test_the_protocol_alone_suffices_with_one_provider(
    cloud: TestedCloud, provider: Provider
) -> None:
    browser, url = begin(cloud, f"{V3}/auth/OS-FEDERATION/websso/openid")
    assert validate(cloud, token_of(browser.get(provider.log_in(url, "eve"))))["user"]["name"]
    answer = browser.get(f"{V3}/auth/OS-FEDERATION/websso/other", params={"origin": DASHBOARD})
    assert answer.status_code == 401


def test_another_browser_cannot_finish_a_login(cloud: TestedCloud, provider: Provider) -> None:
    """Or somebody could be logged in as the attacker without noticing."""
    _, url = begin(cloud)
    back = provider.log_in(url)
    assert cloud.client(None).get(back).status_code == 401
    victim, _ = begin(cloud)
    assert victim.get(back).status_code == 401


def test_a_code_of_another_login_is_refused(cloud: TestedCloud, provider: Provider) -> None:
    """PKCE and the nonce bind a code to the login that asked for it."""
    _, first = begin(cloud)
    stolen = parse_qs(urlsplit(provider.log_in(first)).query)["code"][0]
    browser, url = begin(cloud)
    state = parse_qs(urlsplit(url).query)["state"][0]
    answer = browser.get(WEBSSO, params={"code": stolen, "state": state})
    assert answer.status_code in (401, 503), answer.text
    assert "X-Subject-Token" not in answer.headers


def test_a_refusal_of_the_provider_is_told(cloud: TestedCloud) -> None:
    browser, url = begin(cloud)
    state = parse_qs(urlsplit(url).query)["state"][0]
    answer = browser.get(WEBSSO, params={"error": "access_denied", "state": state})
    assert answer.status_code == 401
    assert "access_denied" in answer.text


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("", 400),
        ("http://evil.test/auth/websso/", 401),
        ("http://dashboard.test.evil.test/auth/websso/", 401),
        ("http://DASHBOARD.test/auth/websso/", 302),
        ("http://dashboard.test/auth/other/", 401),
    ],
)
def test_only_trusted_dashboards_get_tokens(cloud: TestedCloud, origin: str, status: int) -> None:
    query = {"origin": origin} if origin else {}
    for path in (WEBSSO, f"{V3}/auth/OS-FEDERATION/websso/openid"):
        assert cloud.client(None).get(path, params=query).status_code == status


def bearer(cloud: TestedCloud, token: str, status: int = 201) -> Any:
    answer = cloud.client(None, Authorization=f"Bearer {token}").post(AUTH)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_access_tokens_and_id_tokens_are_taken(cloud: TestedCloud, provider: Provider) -> None:
    tokens = provider.password_token()
    by_access = bearer(cloud, tokens["access_token"])["token"]["user"]
    by_id = bearer(cloud, tokens["id_token"])["token"]["user"]
    assert by_access["id"] == by_id["id"]
    assert by_id["name"] == "bob"


def test_the_client_library_logs_in_by_password_and_by_token(
    cloud: TestedCloud, provider: Provider
) -> None:
    """The plugins `v3oidcpassword` and `v3oidcaccesstoken`, as the command line uses them."""
    session = keystone_session.Session(session=wire({"cloud.test": cloud}))
    known = {
        "auth_url": BASE_URL + V3,
        "identity_provider": "acme",
        "protocol": "openid",
    }
    by_password = v3.OidcPassword(
        **known,
        client_id=provider.client_id,
        client_secret=provider.client_secret,
        access_token_endpoint=f"{provider.issuer}/token",
        username="bob",
        password=glewlwyd.PASSWORD,
    )
    found = by_password.get_access(session)
    tokens = provider.password_token()
    by_token = v3.OidcAccessToken(**known, access_token=tokens["access_token"])
    assert by_token.get_access(session).user_id == found.user_id
    answer = session.get(f"{BASE_URL}{V3}/auth/projects", auth=by_password)
    assert answer.json()["projects"] == []


def test_a_token_that_another_client_got_is_refused_unless_it_is_named(
    cloud: TestedCloud, provider: Provider
) -> None:
    tokens = provider.password_token("another")
    bearer(cloud, tokens["access_token"], 401)
    bearer(cloud, tokens["id_token"], 401)
    register(cloud, provider, audiences=["another"])
    try:
        bearer(cloud, tokens["access_token"])
    finally:
        register(cloud, provider)


def test_the_provider_may_be_asked_about_every_token(
    cloud: TestedCloud, provider: Provider
) -> None:
    tokens = provider.password_token()
    register(cloud, provider, introspection=True, userinfo=True)
    try:
        assert bearer(cloud, tokens["access_token"])["token"]["user"]["name"] == "bob"
        pair = (provider.client_id, provider.client_secret)
        form = {"token": tokens["access_token"]}
        assert (
            httpx.post(f"{provider.issuer}/revoke", data=form, auth=pair, timeout=60).status_code
            == 200
        )
        bearer(cloud, tokens["access_token"], 401)
    finally:
        register(cloud, provider)


def test_forged_tokens_are_refused(cloud: TestedCloud, provider: Provider) -> None:
    good = provider.password_token()["id_token"]
    header, body, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    kid = jwt.get_unverified_header(good)["kid"]
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = httpx.get(f"{provider.issuer}/jwks", timeout=60).json()["keys"][0]

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    forged = [
        f"{header}.{part({**claims, 'sub': 'root'})}.{signature}",
        f"{part({'alg': 'none', 'kid': kid})}.{body}.",
        jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid}),
        # The public key as a secret of both.
        jwt.encode(claims, public["n"] * 2, algorithm="HS256", headers={"kid": kid}),
        "no.token.atall",
        "opaque",
        "",
    ]
    for token in forged:
        bearer(cloud, token, 401)


def test_a_provider_that_is_not_there_is_told_apart_from_a_bad_token(
    cloud: TestedCloud, provider: Provider
) -> None:
    good = provider.password_token()["id_token"]
    register(cloud, provider, discovery_url="http://127.0.0.1:9/nothing")
    try:
        answer = cloud.client(None, Authorization=f"Bearer {good}").post(AUTH)
        assert answer.status_code == 503
        assert "127.0.0.1:9" in answer.text
    finally:
        register(cloud, provider)


def test_a_broken_registration_is_no_secret_to_the_log_alone(
    cloud: TestedCloud, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    register(cloud, provider, isuer="typo")
    try:
        answer = cloud.client(None, Authorization="Bearer a.b.c").post(AUTH)
        assert answer.status_code == 503
        assert "isuer" in caplog.text
        assert provider.client_secret not in answer.text + caplog.text
    finally:
        register(cloud, provider)


def test_the_doctor_finds_a_registration_that_others_can_read(
    cloud: TestedCloud, provider: Provider
) -> None:
    check = cloud.cloud.services["identity"].check
    assert check
    assert check(cloud.cloud) == []
    path = cloud.cloud.settings.federation.directory / "acme.toml"
    path.chmod(0o644)
    assert str(path) in check(cloud.cloud)[0]
    register(cloud, provider)
