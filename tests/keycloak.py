"""The part of Keycloak's API that keystone_tempest_plugin's OpenID scenarios use, in front of the
real OpenID provider of the tests (`glewlwyd.py`).

    keycloak = Keycloak(provider)
    keycloak.serve()    # answers the URL that the scenarios are told
    keycloak.close()

The scenarios make their users by the administration API of a Keycloak and then log in by OpenID
Connect. Only the former differs between providers and is translated here. What belongs to OpenID
Connect (discovery, tokens for a client) is the provider's own and is passed on as it is.
"""

from __future__ import annotations

import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote

import httpx

from tests.glewlwyd import ADMIN, ADMIN_PASSWORD, SCOPES, Provider

REALM = "/realms/master"
DISCOVERY = f"{REALM}/.well-known/openid-configuration"
TOKEN = f"{REALM}/protocol/openid-connect/token"
USERS = f"/admin{REALM}/users"
# The client by which administrators log in.
ADMIN_CLIENT = "admin-cli"


class Keycloak:
    """Users by Keycloak's API, everything else by the provider."""

    username, password = ADMIN, ADMIN_PASSWORD

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._sessions: dict[str, httpx.Client] = {}
        self._http: ThreadingHTTPServer | None = None

    def serve(self) -> str:
        """Answer on loopback; the URL."""
        handler = type("_Handler", (_Handler,), {"keycloak": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
        for session in self._sessions.values():
            session.close()

    def discovery(self) -> httpx.Response:
        """What the provider says of itself. It does not tell of the grant by password, which it
        gives all the same; a Keycloak does tell, and clients look."""
        url = f"{self.provider.issuer}/.well-known/openid-configuration"
        found = httpx.get(url, timeout=100).json()
        found["grant_types_supported"] = [*found["grant_types_supported"], "password"]
        return httpx.Response(200, json=found)

    def token(self, form: bytes, headers: dict[str, str]) -> httpx.Response:
        """The provider's answer to a client; administrators log in to its administration."""
        asked = {name: values[-1] for name, values in parse_qs(form.decode()).items()}
        if asked.get("client_id") == ADMIN_CLIENT:
            return self._admin_token(asked)
        sent = {name: value for name, value in headers.items() if name in _OF_A_CLIENT}
        url = f"{self.provider.issuer}/token"
        return httpx.post(url, content=form, headers=sent, timeout=100)

    def create_user(self, bearer: str, given: dict[str, Any]) -> httpx.Response:
        """POST /admin/realms/master/users."""
        admin = self._sessions.get(bearer)
        if admin is None:
            return httpx.Response(401, json={"error": "HTTP 401 Unauthorized"})
        passwords = [each["value"] for each in given["credentials"] if each["type"] == "password"]
        user = {
            "username": given["username"],
            "name": f"{given['firstName']} {given['lastName']}",
            "email": given["email"],
            "password": passwords[0],
            "scope": SCOPES.split(),
            "enabled": given["enabled"],
        }
        answer = admin.post(f"{self.provider.api}/user/?source=database", json=user)
        return httpx.Response(201) if answer.status_code == 200 else answer

    def delete_user(self, bearer: str, given: dict[str, Any]) -> httpx.Response:
        """DELETE /admin/realms/master/users, with the user in the body as the plugin names it."""
        admin = self._sessions.get(bearer)
        if admin is None:
            return httpx.Response(401, json={"error": "HTTP 401 Unauthorized"})
        url = f"{self.provider.api}/user/{quote(given['id'], safe='')}?source=database"
        answer = admin.delete(url)
        return httpx.Response(204) if answer.status_code == 200 else answer

    def _admin_token(self, asked: dict[str, str]) -> httpx.Response:
        session = httpx.Client(timeout=100)
        login = {"username": asked.get("username"), "password": asked.get("password")}
        answer = session.post(f"{self.provider.api}/auth/", json=login)
        if asked.get("grant_type") != "password" or answer.status_code != 200:
            session.close()
            return httpx.Response(401, json={"error": "invalid_grant"})
        token = secrets.token_urlsafe(24)
        self._sessions[token] = session
        return httpx.Response(200, json={"access_token": token, "token_type": "Bearer"})


# Headers of a client that the provider is to see.
_OF_A_CLIENT = ("authorization", "content-type", "accept")


class _Handler(BaseHTTPRequestHandler):
    keycloak: Keycloak

    def do_GET(self) -> None:
        self._answer(self.keycloak.discovery() if self.path == DISCOVERY else _NOT_FOUND)

    def do_POST(self) -> None:
        body = self._body()
        if self.path == TOKEN:
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._answer(self.keycloak.token(body, headers))
        elif self.path == USERS:
            self._answer(self.keycloak.create_user(self._bearer(), json.loads(body)))
        else:
            self._answer(_NOT_FOUND)

    def do_DELETE(self) -> None:
        body = self._body()
        known = self.path == USERS
        self._answer(
            self.keycloak.delete_user(self._bearer(), json.loads(body)) if known else _NOT_FOUND
        )

    def log_message(self, *_: Any) -> None:
        """Tests have nothing to say."""

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _bearer(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _answer(self, answer: httpx.Response) -> None:
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers.get("content-type", "application/json"))
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)


_NOT_FOUND = httpx.Response(404, json={"error": "HTTP 404 Not Found"})
