"""Ask the running cloud as its administrator."""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import click

from nubelet.cli.instance import Instance
from nubelet.cli.openrc import credentials

_TIMEOUT_SECONDS = 120


class Session:
    """The running cloud as its administrator reaches it; made by logging in."""

    def __init__(self, instance: Instance) -> None:
        instance.require_exists()
        values = credentials(instance)
        self.base = values["OS_AUTH_URL"].removesuffix("/identity/v3")
        self._token = _login(self.base, values)

    def call(
        self, method: str, path: str, body: object = None, *, kind: str = "application/json"
    ) -> Any:
        """The decoded answer, None without one; `body` is sent as JSON, said to be of a `kind`.

        Raises Refused.
        """
        request = urllib.request.Request(  # noqa: S310 - always http(s): our own cloud
            self.base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Auth-Token": self._token, "Content-Type": kind},
        )
        return _send(request)[1]

    def upload(self, path: str, pieces: Iterable[bytes], size: int) -> None:
        """PUT data as it is, in the pieces given; raises Refused."""
        parts = urlsplit(self.base + path)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(str(parts.hostname), parts.port, timeout=_TIMEOUT_SECONDS)
        headers = {
            "X-Auth-Token": self._token,
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size),
        }
        with contextlib.closing(connection):
            # What refuses an upload may answer, and hang up, before it has read all of it.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request("PUT", parts.path, body=pieces, headers=headers)
            try:
                answer = connection.getresponse()
                if answer.status >= 400:
                    raise Refused(answer.status, _message_of(answer.read(), answer.reason))
            except (OSError, http.client.HTTPException) as error:
                raise click.ClickException(f"the upload was interrupted: {error}") from None


def ask(instance: Instance, path: str) -> Any:
    """The answer to GET `/operating/v1<path>`; a refusal ends the command with its message."""
    return Session(instance).call("GET", f"/operating/v1{path}")


def catalog(instance: Instance) -> list[dict[str, Any]]:
    """The catalog that the administrator gets with a token."""
    values = credentials(instance)
    answer = _authenticate(values["OS_AUTH_URL"].removesuffix("/identity/v3"), values)[1]
    found: list[dict[str, Any]] = answer["token"].get("catalog", [])
    return found


def _login(base: str, values: dict[str, str]) -> str:
    return str(_authenticate(base, values)[0]["X-Subject-Token"])


def _authenticate(base: str, values: dict[str, str]) -> tuple[Any, Any]:
    domain = {"id": "default"}
    body = {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {
                    "user": {
                        "name": values["OS_USERNAME"],
                        "domain": domain,
                        "password": values["OS_PASSWORD"],
                    }
                },
            },
            "scope": {"project": {"name": values["OS_PROJECT_NAME"], "domain": domain}},
        }
    }
    request = urllib.request.Request(  # noqa: S310
        f"{base}/identity/v3/auth/tokens",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    return _send(request)


class Refused(click.ClickException):
    """The cloud answered with an error; uncaught, it ends the command with the cloud's words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _send(request: urllib.request.Request) -> tuple[Any, Any]:
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
            content = answer.read()
            return answer.headers, json.loads(content) if content else None
    except urllib.error.HTTPError as error:
        raise Refused(error.code, _message(error)) from None
    except OSError as error:
        raise click.ClickException(f"the cloud does not answer ({error}): is it up?") from None


def _message(error: urllib.error.HTTPError) -> str:
    return _message_of(error.read(), f"{error.code} {error.reason}")


def _message_of(content: bytes, reason: str) -> str:
    try:
        body = json.loads(content)
        return str(body.get("message") or body["error"]["message"])
    except (ValueError, KeyError, AttributeError):
        return reason
