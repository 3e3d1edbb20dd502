"""A real OpenID provider for tests: Glewlwyd (Debian's package), in a folder of its own.

    provider = glewlwyd.start(folder)
    provider.issuer, provider.client_id, provider.client_secret
    provider.log_in(url)       # what a browser does: follow, log in, agree, come back with a code
    provider.password_token()  # an access token for the resource owner's password

One user (bob), one confidential client, RS256; PKCE, introspection and userinfo are on.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.serving import free_port

_SCHEMA = Path("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3")
_MODULES = Path("/usr/lib/glewlwyd")
_CONFIG = """
port={port}
bind_address="127.0.0.1"
external_url="http://127.0.0.1:{port}"
login_url="login.html"
api_prefix="api"
allow_origin="*"
log_mode="file"
log_level="DEBUG"
log_file="{folder}/log"
cookie_secure=0
session_expiration=2419200
session_key="GLEWLWYD2_SESSION_ID"
admin_session_authentication="cookie"
profile_session_authentication="cookie"
login_api_enabled=true
max_post_size=16778240
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="{modules}/user"
client_module_path="{modules}/client"
user_auth_scheme_module_path="{modules}/scheme"
plugin_module_path="{modules}/plugin"
hash_algorithm="SHA512"
database = {{ type = "sqlite3"; path = "{folder}/database.sqlite"; }};
"""
PASSWORD = "a-password-of-bob"
# As the package installs it.
ADMIN, ADMIN_PASSWORD = "admin", "password"
SCOPES = "openid profile email"


@dataclass
class Provider:
    """A running Glewlwyd."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    client_id: str = "cloud"
    client_secret: str = "a-secret-of-the-cloud"
    issuer: str = field(init=False)

    def __post_init__(self) -> None:
        self.issuer = f"http://127.0.0.1:{self.port}/api/oidc"

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def set_up(self, redirect_uris: list[str]) -> None:
        """Users, clients and the OpenID Connect plugin, by the administration API."""
        with httpx.Client(timeout=60) as admin:
            self._wait(admin)
            self._ask(admin, "auth/", {"username": ADMIN, "password": ADMIN_PASSWORD})
            there = {each["name"] for each in admin.get(f"{self.api}/scope/").json()}
            for name in set(SCOPES.split()) - there:
                self._ask(admin, "scope/", {"name": name, "password_required": True})
            for name in ("bob", "eve"):
                user = {
                    "username": name,
                    "name": name.title(),
                    "email": f"{name}@example.org",
                    "password": PASSWORD,
                    "scope": ["g_profile", *SCOPES.split()],
                    "enabled": True,
                }
                self._ask(admin, "user/?source=database", user)
            for client_id in (self.client_id, "another"):
                client = {
                    "client_id": client_id,
                    "name": client_id,
                    "confidential": True,
                    "password": self.client_secret,
                    "client_secret": self.client_secret,
                    "redirect_uri": redirect_uris,
                    "authorization_type": ["code", "password", "refresh_token"],
                    "scope": SCOPES.split(),
                    "token_endpoint_auth_method": ["client_secret_basic", "client_secret_post"],
                    "enabled": True,
                }
                self._ask(admin, "client/?source=database", client)
            self._ask(admin, "mod/plugin/", self._plugin())

    def _plugin(self) -> dict[str, Any]:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        kinds = ("code", "password", "refresh")
        parameters: dict[str, Any] = {
            "iss": self.issuer,
            "jwt-type": "rsa",
            "jwt-key-size": "256",
            "key": private.decode(),
            "cert": public.decode(),
            "access-token-duration": 3600,
            "refresh-token-duration": 3600,
            "code-duration": 600,
            "refresh-token-rolling": True,
            "allow-non-oidc": True,
            "subject-type": "public",
            "name-claim": "mandatory",
            "email-claim": "mandatory",
            "scope-claim": "no",
            "jwks-show": True,
            "pkce-allowed": True,
            "introspection-revocation-allowed": True,
            "introspection-revocation-allow-target-client": True,
            "claims": [
                {
                    "name": "preferred_username",
                    "user-property": "username",
                    "type": "string",
                    "mandatory": True,
                }
            ],
            "scope": [],
        } | {f"auth-type-{kind}-enabled": True for kind in kinds}
        return {
            "module": "oidc",
            "name": "oidc",
            "display_name": "OpenID",
            "enabled": True,
            "parameters": parameters,
        }

    def log_in(self, url: str, user: str = "bob") -> str:
        """What a browser and its user do at the provider; answers the URL it sends them back to."""
        with httpx.Client(timeout=60) as browser:
            self._ask(browser, "auth/", {"username": user, "password": PASSWORD})
            grant = {"scope": SCOPES}
            answer = browser.put(f"{self.api}/auth/grant/{self.client_id}", json=grant)
            assert answer.status_code == 200, answer.text
            answer = browser.get(f"{url}&g_continue")
            assert answer.status_code == 302, answer.text
            return answer.headers["Location"]

    def password_token(self, client_id: str = "", user: str = "bob") -> dict[str, Any]:
        """The tokens for the resource owner's password."""
        form = {
            "grant_type": "password",
            "username": user,
            "password": PASSWORD,
            "scope": SCOPES,
        }
        pair = (client_id or self.client_id, self.client_secret)
        answer = httpx.post(f"{self.issuer}/token", data=form, auth=pair, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _wait(self, client: httpx.Client) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                if client.get(f"http://127.0.0.1:{self.port}/config").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def _ask(self, client: httpx.Client, path: str, body: Any) -> None:
        answer = client.post(f"{self.api}/{path}", json=body)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)


def start(folder: Path, redirect_uris: list[str]) -> Provider:
    """A provider that knows the cloud; skips the test where the package is not installed."""
    if shutil.which("glewlwyd") is None or not _SCHEMA.exists():
        pytest.skip("Debian's package glewlwyd is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(folder / "database.sqlite") as database:
        database.executescript(_SCHEMA.read_text())
    port = free_port()
    config = folder / "glewlwyd.conf"
    config.write_text(_CONFIG.format(port=port, folder=folder, modules=_MODULES))
    process = subprocess.Popen(
        ["glewlwyd", f"--config-file={config}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    provider = Provider(folder, port, process)
    try:
        provider.set_up(redirect_uris)
    except BaseException:
        provider.stop()
        raise
    return provider
