"""Directories: users and groups of a domain that are kept elsewhere, and read from there.

A domain has a driver (`identity.driver` of its domain configuration): `sql`, the database, unless
set; `ldap`; or one of an installed package, by an entry point of the group
`nubelet.identity.backends` whose name is the driver's:

    [project.entry-points."nubelet.identity.backends"]
    staff = "our_staff.directory:DRIVER"

What a directory holds is mirrored into the tables of identity (`mirror.py`), so that roles,
tokens and lists know its users as they know all others; it is never written to, and passwords are
proven by the directory itself.

Read next: `ldap.py`, then `mirror.py`.
In OpenStack: keystone/identity/backends/, keystone/identity/core.py DomainConfigs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from nubelet.kernel.errors import ServiceUnavailable

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "nubelet.identity.backends"
SQL = "sql"  # the driver of domains whose users are in the database alone
_BUILT_IN = {"ldap": "nubelet.identity.directories.ldap"}


class DirectoryUser(NamedTuple):
    """A user as the directory knows them. `local_id` never changes; `extra` are attributes such as
    `email` and `description`."""

    local_id: str
    name: str
    enabled: bool
    extra: Mapping[str, Any]


class DirectoryGroup(NamedTuple):
    """A group as the directory knows it, with the local ids of its members."""

    local_id: str
    name: str
    description: str
    member_ids: frozenset[str]


class Directory(Protocol):
    """An open directory. All methods may take long, and raise `DirectoryUnavailable`."""

    def users(self) -> Iterable[DirectoryUser]:
        """All users."""

    def groups(self) -> Iterable[DirectoryGroup]:
        """All groups."""

    def find_user(self, name: str) -> DirectoryUser | None:
        """The user of that name."""

    def groups_of(self, local_id: str) -> Iterable[DirectoryGroup]:
        """The groups that a user belongs to; their members need not be complete."""

    def authenticate(self, local_id: str | None, password: str) -> bool:
        """Is it the password of that user? With None it is not, after the same time."""

    def close(self) -> None:
        """Let go of connections."""


class Driver(NamedTuple):
    """A kind of directory.

    options: the options of its group in a domain's configuration (the group has the driver's name)
    with their defaults. secrets: options that are never shown. open: makes a directory of the
    options, defaults filled in; raises DirectoryUnavailable, or ValueError naming a bad option.
    """

    name: str
    options: Mapping[str, Any]
    secrets: frozenset[str]
    open: Callable[[Mapping[str, Any]], Directory]


class DirectoryUnavailable(ServiceUnavailable):
    """The directory of a domain does not answer, or not as its configuration says."""


def find(name: str) -> Driver | None:
    """The driver of that name; None where there is none (`sql` needs none)."""
    found = _loaded.get(name)
    if found is None and name in _BUILT_IN:
        found = _loaded[name] = importlib.import_module(_BUILT_IN[name]).DRIVER
    elif found is None and name in _installed():
        found = _loaded[name] = _installed()[name].load()
    return found


def names() -> list[str]:
    """The names of all drivers but `sql`."""
    return sorted({*_BUILT_IN, *_installed()})


_loaded: dict[str, Driver] = {}


@cache
def _installed() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {each.name: each for each in entry_points(group=ENTRY_POINTS)}
