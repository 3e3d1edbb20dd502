"""Bearer tokens of an OpenID provider, as the `v3oidc*` plugins of the clients send them.

A JWT (an ID token, or an access token of RFC 9068) is checked by the provider's keys; whatever
else, by asking the provider (RFC 7662). Either way it must have been made for a client that the
registration names: a token that some other service got from a user is not taken.

In OpenStack: `AuthType auth-openidc` and `oauth20` of mod_auth_openidc.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from nubelet.identity.federation import oidc, registrations
from nubelet.identity.federation.assertions import Assertion, of_claims
from nubelet.identity.federation.registrations import Oidc
from nubelet.identity.methods import Attempt
from nubelet.kernel.errors import Unauthorized


def assertion(attempt: Attempt, idp_id: str) -> Assertion | None:
    """What the bearer token of a request says; None without one. Raises Unauthorized for one that
    is not good."""
    kind, _, token = attempt.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        return None
    client = registrations.find(attempt.cloud, idp_id).oidc
    if client is None:
        raise Unauthorized
    return of_claims(client.issuer, claims(client, token.strip()))


def claims(client: Oidc, token: str) -> dict[str, Any]:
    """What a good bearer token says; raises Unauthorized."""
    if client.introspection or token.count(".") != 2:
        found = _introspect(client, token)
    else:
        found = oidc.verify(client, token)
    if not _is_for(client, found):
        raise Unauthorized
    return {**oidc.userinfo(client, token, found), **found} if client.userinfo else found


def _introspect(client: Oidc, token: str) -> dict[str, Any]:
    found = oidc.introspect(client, token)
    now = time.time()
    if found.get("active") is not True:
        raise Unauthorized
    if found.get("iss", client.issuer) != client.issuer or float(found.get("exp", now + 1)) <= now:
        raise Unauthorized
    return found


def _is_for(client: Oidc, found: Mapping[str, Any]) -> bool:
    audience = found.get("aud", ())
    named = {audience} if isinstance(audience, str) else set(audience)
    named |= {found[name] for name in ("azp", "client_id") if isinstance(found.get(name), str)}
    return bool(named & client.clients)
