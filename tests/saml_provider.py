"""A SAML identity provider for tests: pysaml2 (with Debian's xmlsec1), in this process.

provider = Provider(folder)
provider.metadata                       # to be registered with a cloud
provider.answer(question, attributes)   # a signed response to an AuthnRequest of pysaml2's
provider.serve()                        # an ECP endpoint over HTTP; answers its URL
"""

from __future__ import annotations

import base64
import datetime
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from saml2 import BINDING_HTTP_REDIRECT, saml, samlp, server
from saml2 import metadata as saml2_metadata
from saml2.config import IdPConfig

ENTITY = "https://login.uni.test/idp"
SSO = "https://login.uni.test/sso"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
USER, PASSWORD = "bob", "a-password-of-bob"
_ENVELOPE = (
    '<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Header>'
    '<ecp:Response xmlns:ecp="urn:oasis:names:tc:SAML:2.0:profiles:SSO:ecp" S:mustUnderstand="1" '
    'S:actor="http://schemas.xmlsoap.org/soap/actor/next" AssertionConsumerServiceURL="{url}"/>'
    "</S:Header><S:Body>{body}</S:Body></S:Envelope>"
)


class Provider:
    """An identity provider with a key of its own."""

    def __init__(self, folder: Path) -> None:
        key, certificate = _key_pair(folder)
        self._config: dict[str, Any] = {
            "entityid": ENTITY,
            "service": {
                "idp": {
                    "endpoints": {"single_sign_on_service": [(SSO, BINDING_HTTP_REDIRECT)]},
                    "policy": {"default": {"lifetime": {"minutes": 5}}},
                }
            },
            "key_file": str(key),
            "cert_file": str(certificate),
            "xmlsec_binary": shutil.which("xmlsec1"),
        }
        described = saml2_metadata.entity_descriptor(IdPConfig().load(dict(self._config)))
        self.metadata = str(described).encode()
        self.server = server.Server(config=IdPConfig().load(dict(self._config)))
        self._http: ThreadingHTTPServer | None = None

    def know(self, service_metadata: str) -> None:
        """Take in the metadata of those who rely on this provider."""
        config = {**self._config, "metadata": {"inline": [service_metadata]}}
        self.server = server.Server(config=IdPConfig().load(config))

    def answer(self, question: Any, attributes: dict[str, list[str]], **more: Any) -> str:
        """A response to a question; signed as `more` says (by default the assertion is)."""
        given = {
            "identity": attributes,
            "in_response_to": question.id,
            "destination": question.assertion_consumer_service_url,
            "sp_entity_id": question.issuer.text,
            "name_id": saml.NameID(format=saml.NAMEID_FORMAT_TRANSIENT, text="t-1"),
            "authn": {"class_ref": saml.AUTHN_PASSWORD, "authn_auth": ENTITY},
            "sign_assertion": True,
            "sign_response": False,
            "sign_alg": RSA_SHA256,
            "digest_alg": SHA256,
            **more,
        }
        return str(self.server.create_authn_response(**given))

    def serve(self) -> str:
        """Answer ECP questions of `USER` with their uid; the URL to post them to."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
                if self.headers.get("Authorization") != f"Basic {pair}":
                    self.send_error(401)
                    return
                question = question_in(body)
                answer = provider.answer(question, {"uid": [USER]}).partition("?>")[2]
                url = question.assertion_consumer_service_url
                content = _ENVELOPE.format(url=url, body=answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._http.server_port}/ecp"

    def close(self) -> None:
        if self._http is not None:
            self._http.shutdown()


def question_in(document: str) -> Any:
    """The AuthnRequest in an envelope, as pysaml2 reads it."""
    found = re.search(r"<(\w+):AuthnRequest.*</\1:AuthnRequest>", document, re.DOTALL)
    assert found, document
    return samlp.authn_request_from_string(found[0])


def _key_pair(folder: Path) -> tuple[Path, Path]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "uni")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    traditional = serialization.PrivateFormat.TraditionalOpenSSL
    (folder / "key.pem").write_bytes(key.private_bytes(pem, traditional, plain))
    (folder / "certificate.pem").write_bytes(made.public_bytes(pem))
    return folder / "key.pem", folder / "certificate.pem"
