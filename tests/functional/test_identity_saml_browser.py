"""SAML with another implementation: pysaml2 is the identity provider that logs in a browser (and
an ECP client), and it reads what this cloud writes."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from saml2 import BINDING_HTTP_REDIRECT

from tests.cloud import BASE_URL, make_cloud
from tests.identity_calls import V3
from tests.saml_provider import ENTITY, RSA_SHA256, SHA256, SSO, Provider, question_in

FEDERATION = f"{V3}/OS-FEDERATION"
PROVIDER = f"{FEDERATION}/identity_providers/uni/protocols/saml2/auth"
WEBSSO = f"{V3}/auth/OS-FEDERATION/identity_providers/uni/protocols/saml2/websso"
DASHBOARD = "http://dashboard.test/auth/websso/"
BOB = {"uid": ["bob"], "mail": ["bob@uni.test"]}


class University:
    """An identity provider of pysaml2's, and the cloud that relies on it."""

    def __init__(self, folder: Path) -> None:
        options = {"federation.trusted_dashboards": (DASHBOARD,), "http.public_url": BASE_URL}
        self.cloud = make_cloud(folder / "cloud", services=("identity",), hosts=(), options=options)
        self.provider = Provider(folder)
        self._register(self.provider.metadata)
        self.provider.know(self.cloud.client(None).get(f"{FEDERATION}/saml2/metadata").text)

    def _register(self, metadata: bytes) -> None:
        folder = self.cloud.cloud.settings.federation.directory
        folder.mkdir()
        (folder / "uni.xml").write_bytes(metadata)
        (folder / "uni.toml").write_text(
            f"[saml]\nmetadata = {json.dumps(str(folder / 'uni.xml'))}\n"
        )
        (folder / "uni.toml").chmod(0o600)
        rule = {
            "local": [{"user": {"name": "{0}", "email": "{1}"}}],
            "remote": [{"type": "uid"}, {"type": "mail"}],
        }
        settings = {"enabled": True, "remote_ids": [ENTITY]}
        for path, body in (
            ("identity_providers/uni", {"identity_provider": settings}),
            ("mappings/uni", {"mapping": {"rules": [rule]}}),
            ("identity_providers/uni/protocols/saml2", {"protocol": {"mapping_id": "uni"}}),
        ):
            admin = self.cloud.client("admin")
            assert admin.put(f"{FEDERATION}/{path}", json=body).status_code == 201

    def begin(self) -> tuple[httpx.Client, Any, str]:
        """A browser at the begin of a login; the question as pysaml2 reads it; its RelayState."""
        browser = self.cloud.client(None)
        answer = browser.get(WEBSSO, params={"origin": DASHBOARD})
        assert answer.status_code == 302, answer.text
        url = urlsplit(answer.headers["Location"])
        assert url._replace(query="").geturl() == SSO
        query = parse_qs(url.query)
        question = self.provider.server.parse_authn_request(
            query["SAMLRequest"][0], BINDING_HTTP_REDIRECT
        )
        return browser, question.message, query["RelayState"][0]

    def answer(self, question: Any, **more: Any) -> str:
        """pysaml2's response to a question."""
        return self.provider.answer(question, BOB, **more)

    @staticmethod
    def come_back(browser: httpx.Client, document: str, relay_state: str) -> httpx.Response:
        form = {
            "SAMLResponse": base64.b64encode(document.encode()).decode(),
            "RelayState": relay_state,
        }
        return browser.post(WEBSSO, data=form)


@pytest.fixture(scope="module")
def university(tmp_path_factory: pytest.TempPathFactory) -> Iterator[University]:
    if shutil.which("xmlsec1") is None:
        pytest.skip("Debian's package xmlsec1 is not installed")
    made = University(tmp_path_factory.mktemp("university"))
    yield made
    made.cloud.close()


def token_of(university: University, page: httpx.Response) -> dict[str, Any]:
    assert page.status_code == 200, page.text
    found = re.search(r'name="token" value="([^"]+)"', page.text)
    assert found
    client = university.cloud.client("admin", X_Subject_Token=found[1])
    return client.get(f"{V3}/auth/tokens").json()["token"]


@pytest.mark.parametrize(
    "signs",
    [
        {"sign_assertion": True, "sign_response": False},
        {"sign_assertion": False, "sign_response": True},
        {"sign_assertion": True, "sign_response": True},
    ],
)
def test_a_browser_logs_in(university: University, signs: dict[str, bool]) -> None:
    browser, question, relay_state = university.begin()
    assert question.assertion_consumer_service_url == BASE_URL + WEBSSO
    page = university.come_back(browser, university.answer(question, **signs), relay_state)
    token = token_of(university, page)
    assert (token["methods"], token["user"]["name"]) == (["saml2"], "bob")
    user = university.cloud.client("admin").get(f"{V3}/users/{token['user']['id']}").json()["user"]
    assert user["email"] == "bob@uni.test"


def test_an_unsigned_answer_is_refused(university: University) -> None:
    browser, question, relay_state = university.begin()
    document = university.answer(question, sign_assertion=False)
    answer = university.come_back(browser, document, relay_state)
    assert answer.status_code == 401
    assert "not signed" in answer.text


def test_a_signature_by_sha_1_is_refused(university: University) -> None:
    browser, question, relay_state = university.begin()
    weak = "http://www.w3.org/2000/09/xmldsig#rsa-sha1"
    document = university.answer(question, sign_alg=weak)
    assert university.come_back(browser, document, relay_state).status_code == 401


def test_an_answer_to_somebody_elses_question_is_refused(university: University) -> None:
    _, theirs, _ = university.begin()
    browser, _, relay_state = university.begin()
    document = university.answer(theirs)
    assert university.come_back(browser, document, relay_state).status_code == 401


def test_an_answer_that_nobody_asked_for_is_refused(university: University) -> None:
    browser, question, relay_state = university.begin()
    document = university.answer(question, in_response_to=None)
    assert university.come_back(browser, document, relay_state).status_code == 401
    assert university.come_back(browser, university.answer(question), "").status_code == 401


def test_another_browser_cannot_finish(university: University) -> None:
    _, question, relay_state = university.begin()
    stranger = university.cloud.client(None)
    document = university.answer(question)
    assert university.come_back(stranger, document, relay_state).status_code == 401


def test_an_answer_is_taken_once(university: University) -> None:
    browser, question, relay_state = university.begin()
    document = university.answer(question)
    cookies = dict(browser.cookies)
    assert university.come_back(browser, document, relay_state).status_code == 200
    browser.cookies.update(cookies)
    again = university.come_back(browser, document, relay_state)
    assert again.status_code == 401
    assert "used before" in again.text


def test_an_answer_for_somebody_else_is_refused(university: University) -> None:
    browser, question, relay_state = university.begin()
    other = university.answer(question, destination="https://other.test/acs")
    assert university.come_back(browser, other, relay_state).status_code == 401
    refused = university.provider.server.create_error_response(
        question.id,
        question.assertion_consumer_service_url,
        ("urn:x", "no"),
        sign=True,
        sign_alg=RSA_SHA256,
        digest_alg=SHA256,
    )
    answer = university.come_back(browser, str(refused), relay_state)
    assert answer.status_code == 401
    assert "did not let the user in" in answer.text


def test_an_answer_for_another_audience_is_refused(university: University) -> None:
    browser, question, relay_state = university.begin()
    document = university.answer(question)
    assert "AudienceRestriction" in document
    question.issuer.text = "https://other.test/sp"
    other = university.answer(question)
    assert university.come_back(browser, other, relay_state).status_code == 401


def test_a_client_without_a_browser_carries_the_answer(university: University) -> None:
    """ECP: what the `v3samlpassword` plugin does."""
    client = university.cloud.client(None)
    paos = {"Accept": "text/html; application/vnd.paos+xml"}
    question = client.get(PROVIDER, headers=paos)
    assert question.status_code == 200
    assert question.headers["Content-Type"] == "application/vnd.paos+xml"
    request = question_in(question.text)
    assert request.assertion_consumer_service_url == BASE_URL + PROVIDER
    relay_state = re.search(r"<ecp:RelayState[^>]*>([^<]+)<", question.text)
    assert relay_state
    document = university.answer(request).partition("?>")[2]
    envelope = (
        '<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Header>'
        '<ecp:RelayState xmlns:ecp="urn:oasis:names:tc:SAML:2.0:profiles:SSO:ecp">'
        f"{relay_state[1]}</ecp:RelayState></S:Header><S:Body>{document}</S:Body></S:Envelope>"
    )
    headers = {"Content-Type": "application/vnd.paos+xml"}
    lost = envelope.replace(relay_state[1], "")
    assert client.post(PROVIDER, content=lost, headers=headers).status_code == 401
    taken = client.post(PROVIDER, content=envelope, headers=headers)
    assert taken.status_code == 303, taken.text
    token = client.get(taken.headers["Location"], headers=paos)
    assert token.status_code == 201
    assert token.json()["token"]["user"]["name"] == "bob"


def test_without_ecp_a_stranger_gets_401(university: University) -> None:
    assert university.cloud.client(None).get(PROVIDER).status_code == 401
