"""The relying party of OpenID Connect: discovery, keys, tokens, the code flow.

In OpenStack: mod_auth_openidc in front of Keystone.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from nubelet.identity.federation import fetching
from nubelet.identity.federation.registrations import Oidc
from nubelet.kernel.errors import ServiceUnavailable, Unauthorized

# Never `none`, and none where the key is the secret of a client: that is for ID tokens of
# providers we do not know.
_ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
_LEEWAY_SECONDS = 60
_documents = fetching.Remembered()


def discover(client: Oidc) -> dict[str, Any]:
    """The provider's own description; raises ServiceUnavailable."""
    url = client.discovery_url or f"{client.issuer.rstrip('/')}/.well-known/openid-configuration"
    found: dict[str, Any] = _documents.get(
        (url,), lambda: fetching.get_json(url, ca_file=client.ca_file)
    )
    if found.get("issuer") != client.issuer:
        raise ServiceUnavailable(
            f"{url} describes {found.get('issuer')}, but {client.issuer} is registered."
        )
    return found


def endpoint(client: Oidc, name: str) -> str:
    """The URL of one of the provider's endpoints; raises ServiceUnavailable without."""
    url = discover(client).get(name)
    if not isinstance(url, str):
        raise ServiceUnavailable(f"The identity provider {client.issuer} has no {name}.")
    return url


def verify(client: Oidc, token: str) -> dict[str, Any]:
    """The claims of a JWT that the provider signed and that is valid now; raises Unauthorized.
    Says nothing of whom it was made for."""
    import jwt

    try:
        header = jwt.get_unverified_header(token)
        key = _key(client, str(header.get("kid", "")), str(header.get("alg", "")))
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(_ALGORITHMS),
            issuer=client.issuer,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["iss", "exp"], "verify_aud": False},
        )
    except jwt.PyJWTError:
        raise Unauthorized from None
    return claims


def _key(client: Oidc, kid: str, algorithm: str) -> Any:
    """The provider's key of that name. An unknown one is looked for once more: keys rotate."""
    import jwt

    for again in (False, True):
        for each in _keys(client, again=again):
            if each.public_key_use in (None, "sig") and (
                each.key_id == kid if kid else each.algorithm_name in (None, algorithm)
            ):
                return each.key
    raise jwt.InvalidKeyError("no such key")


def _keys(client: Oidc, *, again: bool) -> list[Any]:
    import jwt

    url = endpoint(client, "jwks_uri")
    found = _documents.get(
        ("keys", url), lambda: fetching.get_json(url, ca_file=client.ca_file), again=again
    )
    keys = []
    for each in found.get("keys", ()):
        try:
            key = jwt.PyJWK(each)
        except (jwt.PyJWTError, ValueError):
            continue  # of a kind that we do not know
        if each.get("kty") != "oct":
            keys.append(key)
    return keys


def introspect(client: Oidc, token: str) -> dict[str, Any]:
    """What the provider says of a token (RFC 7662)."""
    return fetching.post_form(
        endpoint(client, "introspection_endpoint"),
        {"token": token, "token_type_hint": "access_token"},
        client=(client.client_id, client.client_secret),
        ca_file=client.ca_file,
    )


# --- The code flow ----------------------------------------------------------------------------


def new_verifier() -> str:
    """A secret for one login (PKCE, RFC 7636)."""
    return secrets.token_urlsafe(48)


def login_url(client: Oidc, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
    """Where a browser is sent to log in."""
    challenge = hashlib.sha256(verifier.encode()).digest()
    query = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(client.scopes),
        "state": state,
        "nonce": nonce,
        "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    start = endpoint(client, "authorization_endpoint")
    return f"{start}{'&' if '?' in start else '?'}{urlencode(query)}"


def redeem(client: Oidc, code: str, redirect_uri: str, nonce: str, verifier: str) -> dict[str, Any]:
    """The claims that the code of a login is worth: of the ID token, and of the userinfo endpoint
    where there is one. Raises Unauthorized, or ServiceUnavailable where the provider refuses."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    pair = (client.client_id, client.client_secret) if client.client_secret else None
    if pair is None:
        form["client_id"] = client.client_id
    answer = fetching.post_form(
        endpoint(client, "token_endpoint"), form, client=pair, ca_file=client.ca_file
    )
    claims = verify(client, str(answer.get("id_token", "")))
    audience = claims.get("aud", ())
    named = {audience} if isinstance(audience, str) else set(audience)
    if client.client_id not in named or claims.get("azp", client.client_id) != client.client_id:
        raise Unauthorized
    if not secrets.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise Unauthorized
    return {**userinfo(client, str(answer.get("access_token", "")), claims), **claims}


def userinfo(client: Oidc, token: str, claims: Mapping[str, Any]) -> dict[str, Any]:
    """What else the provider says of the subject of an access token; nothing where it says it of
    somebody else, or to no such token."""
    if not token or not discover(client).get("userinfo_endpoint"):
        return {}
    try:
        found = fetching.get_json(
            endpoint(client, "userinfo_endpoint"), ca_file=client.ca_file, bearer=token
        )
    except ServiceUnavailable:
        return {}
    return found if found.get("sub") == claims.get("sub") else {}
