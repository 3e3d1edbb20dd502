"""The callers of the tests: who they are, which roles they hold and where.

`member`, `reader` and `manager` share the project "one"; `stranger` is a member of "two" and must
never see anything of "one". `nobody` has no role at all (an unscoped token).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from nubelet.kernel.cloud import Cloud
from nubelet.kernel.context import Credentials
from nubelet.kernel.errors import Unauthorized
from nubelet.kernel.http.app import Authenticator
from nubelet.kernel.ids import new_hex


class Kind(NamedTuple):
    """One row of PERSONAS: role, and the project, domain or system it is held on."""

    role: str | None
    project: str | None = None
    domain: str | None = None
    system: bool = False


PERSONAS: Mapping[str, Kind] = {
    "admin": Kind("admin", project="admin"),
    "member": Kind("member", project="one"),
    "reader": Kind("reader", project="one"),
    "manager": Kind("manager", project="one"),
    "admin_of_one": Kind("admin", project="one"),
    "project_admin": Kind("project_admin", project="one"),
    "compute_admin": Kind("compute_admin", project="services"),
    "image_admin": Kind("image_admin", project="services"),
    "network_admin": Kind("network_admin", project="services"),
    "placement_admin": Kind("placement_admin", project="services"),
    "reseller": Kind("ResellerAdmin", project="services"),
    "stranger": Kind("member", project="two"),
    "nobody": Kind(None),
    "service": Kind("service", project="service"),
    "system_manager": Kind("manager", system=True),
    "system_admin": Kind("admin", system=True),
    "system_member": Kind("member", system=True),
    "system_reader": Kind("reader", system=True),
    "domain_admin": Kind("admin", domain="default"),
    "domain_manager": Kind("manager", domain="default"),
    "domain_member": Kind("member", domain="default"),
    "domain_reader": Kind("reader", domain="default"),
    "foreign_manager": Kind("manager", domain="elsewhere"),
    "foreign_reader": Kind("reader", domain="elsewhere"),
}
_IMPLIED = {
    "admin": ("admin", "manager", "member", "reader"),
    "manager": ("manager", "member", "reader"),
    "member": ("member", "reader"),
}


@dataclass
class Persona:
    """A caller that exists in a cloud."""

    name: str
    user_id: str
    project_id: str | None
    domain_id: str | None
    token: str

    def credentials(self, cloud: Cloud) -> Credentials:
        """What the persona's token is worth now."""
        return cloud.get(Authenticator).authenticate(self.token, {}, "")


def register(cloud: Cloud, name: str) -> Persona:
    """Make the user, its project or domain and its role; issue a token."""
    kind = PERSONAS[name]
    if "identity" not in cloud.services:
        return cloud.get(FakeAuthenticator).register(name, kind)
    return _register(cloud, name, kind)


def _register(cloud: Cloud, name: str, kind: Kind) -> Persona:
    from nubelet import identity

    with cloud.database.write() as tx:
        domain_id = identity.ensure_domain(tx, kind.domain) if kind.domain else None
        project_id = identity.ensure_project(tx, kind.project) if kind.project else None
        user_id = identity.ensure_user(tx, f"test-{name}")
        if kind.role:
            identity.ensure_assignment(
                tx,
                user_id,
                kind.role,
                project_id=project_id,
                domain_id=domain_id,
                system=kind.system,
            )
    token = identity.issue_token(
        cloud, user_id, project_id=project_id, domain_id=domain_id, system=kind.system
    )
    return Persona(name, user_id, project_id, domain_id, token)


class FakeAuthenticator:
    """Tokens that are the name of a persona: for clouds without the identity service."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._known: dict[str, Credentials] = {}

    @staticmethod
    def provide(cloud: Cloud) -> None:
        fake = FakeAuthenticator()
        cloud.provide(FakeAuthenticator, fake)
        cloud.provide(Authenticator, fake)  # type: ignore[type-abstract]

    def register(self, name: str, kind: Kind) -> Persona:
        project_id = self._id(f"project {kind.project}") if kind.project else None
        domain_id = None
        if kind.domain:
            domain_id = "default" if kind.domain == "default" else self._id(f"domain {kind.domain}")
        user_id = self._id(f"user {name}")
        more: dict[str, Any] = {}
        if kind.project:
            more = {
                "project_name": kind.project,
                "project_domain_id": "default",
                "project_domain_name": "Default",
            }
        self._known[name] = Credentials(
            user_id=user_id,
            user_name=f"test-{name}",
            user_domain_id="default",
            user_domain_name="Default",
            project_id=project_id,
            domain_id=domain_id,
            domain_name=kind.domain,
            system_scope="all" if kind.system else None,
            roles=_IMPLIED.get(kind.role, (kind.role,)) if kind.role else (),
            **more,
        )
        return Persona(name, user_id, project_id, domain_id, name)

    def authenticate(self, token: str, headers: Mapping[str, str], route: str) -> Credentials:
        if token not in self._known:
            raise Unauthorized()
        return self._known[token]

    def _id(self, key: str) -> str:
        return self._ids.setdefault(key, new_hex())
