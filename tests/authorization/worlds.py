"""The things that the callers of the matrix ask about.

Three worlds: `own` is project "one" of the default domain, `other` project "two" beside it, and
`foreign` a project in another domain. In each, every service's `things` (examples/) makes one of
everything as a member of the project, and names it as the path parameters of the routes do.
`belongings` are what a user has (keys, credentials), made for each caller that asks about itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import httpx

from nubelet import identity
from nubelet.identity import authenticator
from tests.authorization.callers import ABOUT_THEMSELVES
from tests.cloud import TestedCloud

DOMAINS = {"own": "default", "other": "default", "foreign": "elsewhere"}
PASSWORD = "a-test-password"
PROJECTS = {"own": "one", "other": "two", "foreign": "three"}
Things = dict[str, str]


class Maker:
    """Makes things through the API; a refusal is a mistake in the examples."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def __call__(self, path: str, body: Any, *keys: str, method: str = "POST") -> str:
        """Make a thing; the value in the answer that `keys` lead to."""
        answer = self.client.request(method, path, json=body)
        assert answer.status_code < 300, (method, path, answer.status_code, answer.text)
        found = answer.json() if answer.content else {}
        for key in keys:
            found = found[key]
        return str(found)


@dataclass
class World:
    """One project with a user in it. `marks` are ids that only an answer contains which shows
    something of this world (things that are named `public_...` everybody may see)."""

    name: str
    domain_id: str
    project_id: str
    user_id: str
    member: Maker
    admin: Maker
    things: Things = field(default_factory=dict)
    marks: frozenset[str] = frozenset()
    settle: Callable[[], None] = lambda: None


def make_worlds(cloud: TestedCloud, areas: Iterable[ModuleType]) -> dict[str, World]:
    """All worlds with their things, when everything that takes time is done."""
    admin = Maker(cloud.client("admin"))
    worlds = {name: _world(cloud, name, admin) for name in DOMAINS}
    for world in worlds.values():
        for module in areas:
            world.things |= module.things(world)
            cloud.settle()
        world.things |= _belongings(world.member, world.user_id, areas)
    for world in worlds.values():
        others = [each.things.values() for each in worlds.values() if each is not world]
        world.marks = frozenset(
            value
            for name, value in world.things.items()
            if len(value) >= 32
            and not name.startswith("public_")
            and not any(value in each for each in others)
        )
    return worlds


def make_belongings(cloud: TestedCloud, areas: Iterable[ModuleType]) -> dict[str | None, Things]:
    """What each caller has that asks about itself."""
    found: dict[str | None, Things] = {}
    for name in ABOUT_THEMSELVES:
        user = cloud.user(name)
        found[name] = {"self/user_id": user.user_id, "token": user.token}
        if user.project_id:
            found[name] |= _belongings(Maker(cloud.client(name)), user.user_id, areas)
    return found


def _belongings(maker: Maker, user_id: str, areas: Iterable[ModuleType]) -> Things:
    made: Things = {}
    for module in areas:
        make: Callable[[Maker, str], Things] | None = getattr(module, "belongings", None)
        if make is not None:
            made |= make(maker, user_id)
    return made


def _world(cloud: TestedCloud, name: str, admin: Maker) -> World:
    database = cloud.cloud.database
    hashed = authenticator.of(cloud.cloud).passwords.hash(PASSWORD)
    with database.write() as tx:
        domain = identity.ensure_domain(tx, DOMAINS[name])
        project = identity.ensure_project(tx, PROJECTS[name], domain)
        user = identity.ensure_user(tx, f"of-{name}", domain, hashed=hashed)
        identity.ensure_assignment(tx, user, "member", project_id=project)
    token = identity.issue_token(cloud.cloud, user, project_id=project)
    member = cloud.client(None, X_Auth_Token=token, OpenStack_API_Version="compute 2.90")
    things = {"domain_id": domain, "project_id": project, "user_id": user, "token": token}
    things["password_user_id"] = user
    return World(name, domain, project, user, Maker(member), admin, things, settle=cloud.settle)
