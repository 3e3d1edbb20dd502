"""What ends a token ends it at the next request, in each of several API processes.

A token is remembered by the processes that saw it, so each is asked over a connection of its own:
before the change, all must have accepted the token; after it, none may.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests import postgresql
from tests.functional.command import CommandCloud

pytestmark = [pytest.mark.functional, pytest.mark.timeout(600)]
V3 = "/identity/v3"
WORKERS = 2


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def cloud(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CommandCloud]:
    made = CommandCloud(tmp_path_factory.mktemp("revocation"), "--fake")
    url = postgresql.new_database() if request.param == "postgresql" else ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUBELET_HTTP_WORKERS", str(WORKERS))
        patch.setenv("NUBELET_IDENTITY_PASSWORD_HASH_COST", "1")
        if url:
            patch.setenv("NUBELET_DATABASE_URL", url)
        made.up()
    made.login()
    yield made
    made.purge()
    if url:
        postgresql.drop_database(url)


@pytest.fixture(scope="module")
def processes(cloud: CommandCloud) -> Iterator[list[http.client.HTTPConnection]]:
    """A connection to each API process."""
    with contextlib.ExitStack() as stack:
        found: dict[int, http.client.HTTPConnection] = {}
        deadline = time.monotonic() + 60  # which process takes a connection is chance
        while len(found) < WORKERS and time.monotonic() < deadline:
            many = [
                http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=60) for _ in range(32)
            ]
            for connection in many:  # at once, so that no process can take them all
                stack.callback(connection.close)
                connection.connect()
            for connection in many:
                connection.request("GET", "/healthcheck")
                found.setdefault(json.loads(connection.getresponse().read())["pid"], connection)
            for connection in many:
                if connection not in found.values():
                    connection.close()
            time.sleep(0.1)
        assert len(found) == WORKERS, found
        yield list(found.values())


class Somebody:
    """A new user in a group, with roles on a project, on a domain and on the system."""

    numbers = itertools.count(1)

    def __init__(self, cloud: CommandCloud) -> None:
        self.number = next(self.numbers)
        self.admin = cloud.client()
        self.url = cloud.url
        self.domain = self.make("domain", name=f"d{self.number}")
        self.project = self.make("project", name="p", domain_id=self.domain)
        self.user = self.make("user", name="u", domain_id=self.domain, password="first")
        self.group = self.make("group", name="g", domain_id=self.domain)
        self.role = self.make("role", name=f"r{self.number}")
        self.direct = f"/projects/{self.project}/users/{self.user}/roles/{self.role}"

    def make(self, noun: str, **values: Any) -> str:
        return str(self.ask("POST", f"/{noun}s", {noun: values}).json()[noun]["id"])

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        answer = self.admin.request(method, V3 + path, json=body, headers=headers or None)
        assert answer.status_code < 300, (method, path, answer.text)
        return answer

    def change(self, noun: str, **values: Any) -> None:
        self.ask("PATCH", f"/{noun}s/{getattr(self, noun)}", {noun: values})

    def log_in(self, scope: dict[str, Any] | None, password: str = "first") -> str:
        user = {"id": self.user, "password": password}
        body: dict[str, Any] = {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": scope or {"project": {"id": self.project}},
        }
        answer = httpx.post(f"{self.url}{V3}/auth/tokens", json={"auth": body}, timeout=60)
        assert answer.status_code == 201, answer.text
        return str(answer.headers["x-subject-token"])


def _log_out(who: Somebody, token: str) -> None:
    who.ask("DELETE", "/auth/tokens", **{"X-Subject-Token": token})


def _change_own_password(who: Somebody, token: str) -> None:
    body = {"user": {"original_password": "first", "password": "second"}}
    answer = httpx.post(f"{who.url}{V3}/users/{who.user}/password", json=body, timeout=60)
    assert answer.status_code == 204, answer.text


# What happens -> how. Everybody has a role on the project, directly.
CHANGES: dict[str, Callable[[Somebody, str], object]] = {
    "logging out": _log_out,
    "changing the password": _change_own_password,
    "a password set by an administrator": lambda who, _: who.change("user", password="other"),
    "losing the role": lambda who, _: who.ask("DELETE", who.direct),
    "deleting the role": lambda who, _: who.ask("DELETE", f"/roles/{who.role}"),
    "disabling the user": lambda who, _: who.change("user", enabled=False),
    "disabling the project": lambda who, _: who.change("project", enabled=False),
    "disabling the domain": lambda who, _: who.change("domain", enabled=False),
    "deleting the user": lambda who, _: who.ask("DELETE", f"/users/{who.user}"),
    "deleting the project": lambda who, _: who.ask("DELETE", f"/projects/{who.project}"),
    "revoking all tokens of the user": lambda who, _: who.ask(
        "DELETE", f"/users/{who.user}/tokens"
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_ends_the_token_in_every_process(cloud, processes, change):
    who = Somebody(cloud)
    who.ask("PUT", who.direct)
    token = who.log_in(None)
    for _ in range(2):  # the second is answered from memory
        assert [_status(each, token) for each in processes] == [200] * WORKERS
    CHANGES[change](who, token)
    assert [_status(each, token) for each in processes] == [401] * WORKERS
    assert [_validate(each, cloud.token, token) for each in processes] == [404] * WORKERS


def test_leaving_a_group_ends_what_it_gave(cloud, processes):
    who = Somebody(cloud)
    who.ask("PUT", f"/groups/{who.group}/users/{who.user}")
    who.ask("PUT", f"/projects/{who.project}/groups/{who.group}/roles/{who.role}")
    token = who.log_in(None)
    assert [_status(each, token) for each in processes] == [200] * WORKERS
    who.ask("DELETE", f"/groups/{who.group}/users/{who.user}")
    assert [_status(each, token) for each in processes] == [401] * WORKERS


def test_losing_one_of_two_roles_narrows_the_token(cloud, processes):
    """The token lives on, and is worth no more than what is left."""
    who = Somebody(cloud)
    member = who.ask("GET", "/roles?name=member").json()["roles"][0]["id"]
    grant = f"/projects/{who.project}/users/{who.user}/roles/{member}"
    who.ask("PUT", who.direct)
    who.ask("PUT", grant)
    token = who.log_in(None)
    name = {"network": {"name": "x"}}
    create = [_status(each, token, "POST", "/network/v2.0/networks", name) for each in processes]
    assert create == [201] * WORKERS
    who.ask("DELETE", grant)
    create = [_status(each, token, "POST", "/network/v2.0/networks", name) for each in processes]
    assert create == [403] * WORKERS
    assert [_status(each, token) for each in processes] == [200] * WORKERS


@pytest.mark.parametrize("where", ["domain", "system"])
def test_losing_a_role_on_a_domain_or_the_system(cloud, processes, where):
    who = Somebody(cloud)
    place = f"/domains/{who.domain}" if where == "domain" else "/system"
    scope = {"domain": {"id": who.domain}} if where == "domain" else {"system": {"all": True}}
    grant = f"{place}/users/{who.user}/roles/{who.role}"
    who.ask("PUT", grant)
    token = who.log_in(scope)
    assert [_status(each, token) for each in processes] == [200] * WORKERS
    who.ask("DELETE", grant)
    assert [_status(each, token) for each in processes] == [401] * WORKERS


def test_an_inherited_role_ends_with_its_grant(cloud, processes):
    who = Somebody(cloud)
    grant = (
        f"/OS-INHERIT/domains/{who.domain}/users/{who.user}/roles/{who.role}/inherited_to_projects"
    )
    who.ask("PUT", grant)
    token = who.log_in(None)
    assert [_status(each, token) for each in processes] == [200] * WORKERS
    who.ask("DELETE", grant)
    assert [_status(each, token) for each in processes] == [401] * WORKERS


def test_enabling_again_brings_no_old_token_back(cloud, processes):
    who = Somebody(cloud)
    who.ask("PUT", who.direct)
    token = who.log_in(None)
    for enabled in (False, True):
        who.change("user", enabled=enabled)
    assert [_status(each, token) for each in processes] == [401] * WORKERS
    fresh = who.log_in(None)
    assert [_status(each, fresh) for each in processes] == [200] * WORKERS


def _status(
    connection: http.client.HTTPConnection,
    token: str,
    method: str = "GET",
    path: str = f"{V3}/auth/projects",
    body: Any = None,
    **headers: str,
) -> int:
    sent = None if body is None else httpx.Request("POST", "http://x", json=body).content
    connection.request(method, path, body=sent, headers={"X-Auth-Token": token, **headers})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def _validate(connection: http.client.HTTPConnection, admin: str, token: str) -> int:
    return _status(connection, admin, path=f"{V3}/auth/tokens", **{"X-Subject-Token": token})
