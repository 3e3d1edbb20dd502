"""Authentication methods: the ways to prove who one is.

A method has the name that stands in `auth.identity.methods`, a schema for its part of the body,
and a function that finds out who it is or raises Unauthorized. Those of the house are in this
folder and are loaded when first asked for. Others come from installed packages, by an entry point
of the group `nubelet.identity.methods` whose name is the method's:

    [project.entry-points."nubelet.identity.methods"]
    badge = "our_badges.method:METHOD"

A request may name several methods; all must prove the same user (authentication.py).

Read next: `password.py`, the plainest one.
In OpenStack: keystone/auth/plugins/.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from nubelet.identity.tokens import NO_ORIGIN, Origin, Scope, Token
from nubelet.kernel.cloud import Cloud

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "nubelet.identity.methods"
_BUILT_IN = {
    "application_credential": "nubelet.identity.methods.application_credential",
    "ec2credential": "nubelet.identity.methods.ec2credential",
    "totp": "nubelet.identity.methods.totp",
    "mapped": "nubelet.identity.federation.methods:MAPPED",
    "openid": "nubelet.identity.federation.methods:OPENID",
    "oauth1": "nubelet.identity.methods.oauth1",
    "password": "nubelet.identity.methods.password",
    "saml2": "nubelet.identity.federation.methods:SAML2",
    "token": "nubelet.identity.methods.token",
}


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A request to be let in, as far as methods look at it beyond their part of the body."""

    cloud: Cloud
    headers: Mapping[str, str] = {}  # lower-case names
    method: str = "POST"
    url: str = ""  # without query
    query: Mapping[str, list[str]] = {}
    remote_address: str = ""


class Proven(msgspec.Struct, frozen=True, kw_only=True):
    """Who somebody is, by one method.

    parent: the token they did it with, whose life the new one will not exceed. scope: the only
    one that this proof is good for. origin: what the token will be bound to. expires_at: the
    latest end of the new token (microseconds), where the proof has an end of its own.
    """

    user_id: str
    parent: Token | None = None
    scope: Scope | None = None
    origin: Origin = NO_ORIGIN
    expires_at: int | None = None


class Method(NamedTuple):
    """One way to prove who one is.

    schema: of the method's part of the body. prove: raises Unauthorized, or BadRequest naming a
    field; it runs outside any transaction, in a thread where hashing is welcome. direct: it is
    the user in person, not somebody or something that acts with a part of their rights. Tokens of
    other methods cannot make credentials, trusts or other tokens, so say so only if it is true.
    """

    name: str
    schema: Mapping[str, Any]
    prove: Callable[[Attempt, Mapping[str, Any]], Proven]
    direct: bool = False


def find(name: str) -> Method | None:
    """The method of that name; None where there is none."""
    found = _loaded.get(name)
    if found is None and name in _BUILT_IN:
        module, _, attribute = _BUILT_IN[name].partition(":")
        found = getattr(importlib.import_module(module), attribute or "METHOD")
        _loaded[name] = found
    elif found is None and name in _installed():
        found = _loaded[name] = _installed()[name].load()
    return found


_loaded: dict[str, Method] = {}


@cache
def _installed() -> dict[str, EntryPoint]:
    """The methods of installed packages. Reading what is installed takes milliseconds: once."""
    from importlib.metadata import entry_points

    return {each.name: each for each in entry_points(group=ENTRY_POINTS)}


def are_direct(names: Iterable[str]) -> bool:
    """Did the user prove themselves in person, by each of these methods? False for none at all."""
    found = [find(name) for name in names]
    return bool(found) and all(method is not None and method.direct for method in found)
