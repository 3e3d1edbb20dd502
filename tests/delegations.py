"""People who let others act for them: users with roles, their logins, what tokens are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.cloud import TestedCloud
from tests.identity_calls import V3, make

TOKENS = f"{V3}/auth/tokens"
SECRET = "a-secret-of-a-user"


@dataclass
class Person:
    """A user with a password, and roles on a project of their own."""

    cloud: TestedCloud
    name: str
    user_id: str
    project_id: str

    def log_in(self, scope: Any = None, status: int = 201) -> httpx.Response:
        """A login by password; for the project unless another scope is asked for."""
        scope = {"project": {"id": self.project_id}} if scope is None else scope
        return log_in(self.cloud, self.identity, scope, status)

    @property
    def identity(self) -> dict[str, Any]:
        """The method password."""
        return {
            "methods": ["password"],
            "password": {"user": {"id": self.user_id, "password": SECRET}},
        }

    def client(self, scope: Any = None, **headers: str) -> httpx.Client:
        """A client with a new token."""
        token = self.log_in(scope).headers["x-subject-token"]
        return self.cloud.client(None, X_Auth_Token=token, **headers)

    def grant(self, role: str, project_id: str = "", method: str = "PUT") -> None:
        """Give (or, with DELETE, take) a role by name."""
        url = f"{V3}/projects/{project_id or self.project_id}/users/{self.user_id}/roles"
        answer = self.cloud.client("admin").request(method, f"{url}/{role_id(self.cloud, role)}")
        assert answer.status_code == 204, answer.text


def person(cloud: TestedCloud, name: str, *roles: str, project_id: str = "") -> Person:
    """A new user with roles on a project, new unless given."""
    admin = cloud.client("admin")
    user = make(admin, "user", name=name, password=SECRET)["id"]
    project = project_id or make(admin, "project", name=f"project-of-{name}")["id"]
    made = Person(cloud, name, user, project)
    for role in roles:
        made.grant(role)
    return made


def role_id(cloud: TestedCloud, name: str) -> str:
    """The id of a global role."""
    roles = cloud.client("admin").get(f"{V3}/roles?name={name}").json()["roles"]
    return str(roles[0]["id"])


def log_in(
    cloud: TestedCloud, identity: Mapping[str, Any], scope: Any = None, status: int = 201
) -> httpx.Response:
    """`POST /v3/auth/tokens`."""
    auth: dict[str, Any] = {"identity": identity}
    if scope is not None:
        auth["scope"] = scope
    answer = cloud.client(None).post(TOKENS, json={"auth": auth})
    assert answer.status_code == status, answer.text
    return answer


def is_valid(cloud: TestedCloud, token: str) -> bool:
    """Is a token good for anything?"""
    answer = cloud.client(None, X_Auth_Token=token).get(f"{V3}/auth/projects")
    assert answer.status_code in (200, 401), answer.text
    return answer.status_code == 200


def roles_of(answer: httpx.Response) -> list[str]:
    """The names of the roles in a token."""
    return [role["name"] for role in answer.json()["token"]["roles"]]
