"""The authentication methods of federation: `mapped`, `saml2`, `openid`.

They do the same: who is it, by what this request carries? A bearer token of the provider, the
session that a login in the browser (or by ECP) left in a cookie, or headers of a trusted proxy.

In OpenStack: keystone/auth/plugins/{mapped,saml2}.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nubelet.identity.federation import bearers, login, proxies, sessions
from nubelet.identity.federation.assertions import Assertion
from nubelet.identity.methods import Attempt, Method, Proven
from nubelet.kernel.errors import Unauthorized

_SCHEMA = {
    "type": "object",
    "required": ["identity_provider", "protocol"],
    "properties": {
        "identity_provider": {"type": "string"},
        "protocol": {"type": "string"},
    },
}


def find_assertion(attempt: Attempt, idp_id: str) -> Assertion | None:
    """What the request carries about its sender, if it is genuine; None for nothing. Raises
    Unauthorized for what is not."""
    return (
        proxies.assertion(attempt)
        or bearers.assertion(attempt, idp_id)
        or sessions.assertion(attempt, idp_id)
    )


def prove(attempt: Attempt, idp_id: str, protocol_id: str) -> Proven:
    """Who the sender of a request is, by an identity provider and one of its protocols."""
    found = find_assertion(attempt, idp_id)
    if found is None:
        raise Unauthorized
    return login.admit(attempt.cloud, idp_id, protocol_id, found)


def _prove(attempt: Attempt, part: Mapping[str, Any]) -> Proven:
    return prove(attempt, part["identity_provider"], part["protocol"])


MAPPED = Method("mapped", _SCHEMA, _prove, direct=True)
OPENID = Method("openid", _SCHEMA, _prove, direct=True)
SAML2 = Method("saml2", _SCHEMA, _prove, direct=True)


def name_for(protocol_id: str) -> str:
    """The method by which a protocol logs in: the one of its name, or `mapped`."""
    return protocol_id if protocol_id in ("openid", "saml2") else "mapped"
