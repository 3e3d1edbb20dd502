"""The columns of the matrix: who asks, and about whose thing.

none      without a token
unscoped  a user without any role, about itself and what is of project "one"
own       reader, member, manager and admin of project "one", about things of that project
          (and about themselves where the path names a user)
other     the same four about things of the project beside theirs, and of its user
domain    reader, member, manager and admin of the domain, about things in it
foreign   the same four about things of another domain
system    reader, member, manager and admin of the system, about things of project "one"
service   a service of the cloud, about things of project "one"
keeper    the administrator of the members of project "one" (role project_admin), about things of
          that project, and about things of the project beside it
bound     administrators of one service each (compute, image, network, placement, object store),
          whose roles are held in a project of their own, about things of project "one"
"""

from __future__ import annotations

from typing import NamedTuple


class Caller(NamedTuple):
    """A persona (tests/personas.py; None: nobody) that asks about things of a world."""

    persona: str | None
    world: str


class Column(NamedTuple):
    """Callers whose outcomes stand together, a letter each."""

    name: str
    callers: tuple[Caller, ...]


_PROJECT = ("reader", "member", "manager", "admin_of_one")
_DOMAIN = ("domain_reader", "domain_member", "domain_manager", "domain_admin")
_SYSTEM = ("system_reader", "system_member", "system_manager", "system_admin")

_BOUND = ("compute_admin", "image_admin", "network_admin", "placement_admin", "reseller")


def _column(name: str, world: str, *personas: str | None) -> Column:
    return Column(name, tuple(Caller(persona, world) for persona in personas))


COLUMNS = (
    _column("none", "own", None),
    _column("unscoped", "own", "nobody"),
    _column("own", "own", *_PROJECT),
    _column("other", "other", *_PROJECT),
    _column("domain", "own", *_DOMAIN),
    _column("foreign", "foreign", *_DOMAIN),
    _column("system", "own", *_SYSTEM),
    _column("service", "own", "service"),
    Column("keeper", (Caller("project_admin", "own"), Caller("project_admin", "other"))),
    _column("bound", "own", *_BOUND),
)
# Whom a path that names a user is about in the column "own": themselves.
ABOUT_THEMSELVES = frozenset({*_PROJECT, "nobody"})
