"""A login with a browser, from the way out to the identity provider to the way back.

What must be remembered meanwhile (the dashboard, the secrets of the exchange) goes along in a
sealed cookie of the browser, so that any process can take up the thread, and so that nobody can
make somebody else's browser finish a login that they began.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from nubelet.decoding import prepared
from nubelet.identity import authenticator
from nubelet.identity.federation import oidc, registrations, sessions
from nubelet.identity.federation.assertions import Assertion, of_claims
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.errors import BadRequest, NotFound, Unauthorized

LIFETIME_SECONDS = 600
_NAME = "nubelet-websso-"


class Started(NamedTuple):
    """Where to send a browser, and the cookie it takes along."""

    url: str
    cookie: str


class _Thread(msgspec.Struct, frozen=True, kw_only=True):
    """A login under way. secret, verifier: of OpenID Connect; request_id: of SAML."""

    state: str
    idp_id: str
    protocol_id: str
    origin: str
    expires_at: int
    nonce: str = ""
    verifier: str = ""
    request_id: str = ""


def begin(
    cloud: Cloud, idp_id: str, protocol_id: str, base_url: str, own_url: str, origin: str
) -> Started:
    """Send a browser to the identity provider. Raises NotFound where none is registered."""
    known = registrations.find(cloud, idp_id)
    thread = _Thread(
        state=secrets.token_urlsafe(24),
        idp_id=idp_id,
        protocol_id=protocol_id,
        origin=origin,
        expires_at=clock.now() + LIFETIME_SECONDS * 1_000_000,
        nonce=secrets.token_urlsafe(24),
        verifier=oidc.new_verifier(),
        request_id=f"_{secrets.token_hex(20)}",
    )
    if known.oidc is not None:
        url = oidc.login_url(known.oidc, own_url, thread.state, thread.nonce, thread.verifier)
    elif known.saml is not None:
        from nubelet.identity.federation.saml import relying

        url = relying.login_url(known.saml, base_url, own_url, thread.request_id, thread.state)
    else:
        raise NotFound(message=f"This cloud is not registered with the identity provider {idp_id}.")
    value = authenticator.of(cloud).keys.seal(msgspec.json.encode(thread))
    secure = own_url.startswith("https:")
    name = _cookie_name(thread.state)
    return Started(url, sessions.cookie(name, value, LIFETIME_SECONDS, secure=secure))


def end(
    cloud: Cloud,
    idp_id: str,
    protocol_id: str,
    base_url: str,
    own_url: str,
    headers: Mapping[str, str],
    given: Mapping[str, str],
) -> tuple[Assertion, str]:
    """What the identity provider says of somebody who comes back, and the dashboard they began
    at. Raises Unauthorized for what does not belong to a login of this browser."""
    thread = _find(cloud, headers, given.get("state") or given.get("RelayState") or "")
    if (thread.idp_id, thread.protocol_id) != (idp_id, protocol_id):
        raise Unauthorized
    if "error" in given:
        raise Unauthorized(f"The identity provider refused: {given['error'][:200]}")
    if given.get("SAMLResponse"):
        from nubelet.identity.federation.saml import relying

        text = given["SAMLResponse"]
        found = relying.from_form(cloud, idp_id, base_url, own_url, text, thread.request_id)
        return found, thread.origin
    known = registrations.find(cloud, idp_id)
    if known.oidc is not None:
        if not given.get("code"):
            raise BadRequest("There is no code in what the identity provider sent along.")
        if given.get("iss", known.oidc.issuer) != known.oidc.issuer:  # RFC 9207
            raise Unauthorized
        claims = oidc.redeem(known.oidc, given["code"], own_url, thread.nonce, thread.verifier)
        return of_claims(known.oidc.issuer, claims), thread.origin
    raise Unauthorized


def forget_cookie(given: Mapping[str, str], own_url: str) -> str:
    """A Set-Cookie header that ends the login's cookie."""
    state = given.get("state") or given.get("RelayState") or ""
    return sessions.cookie(_cookie_name(state), "", 0, secure=own_url.startswith("https:"))


def _find(cloud: Cloud, headers: Mapping[str, str], state: str) -> _Thread:
    value = sessions.read_cookie(headers, _cookie_name(state))
    try:
        thread = msgspec.json.decode(
            authenticator.of(cloud).keys.open(value), type=prepared(_Thread)
        )
    except (ValueError, msgspec.DecodeError):
        raise Unauthorized from None
    if (
        not secrets.compare_digest(thread.state.encode(), state.encode())
        or thread.expires_at <= clock.now()
    ):
        raise Unauthorized
    return thread


def _cookie_name(state: str) -> str:
    return _NAME + hashlib.sha256(state.encode()).hexdigest()[:16]
