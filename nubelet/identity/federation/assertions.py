"""What was said of somebody, after it was found to be said by whom it claims.

Attributes have the names that Apache's modules give them, since mappings are written for those:
`OIDC-email` and `HTTP_OIDC_ISS` (mod_auth_openidc), the names in the assertion and
`Shib-Identity-Provider` (Shibboleth), `MELLON_IDP` (mod_auth_mellon), `REMOTE_USER`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from nubelet.identity.federation.rules import split

OIDC_PREFIX = "OIDC-"
OIDC_ISSUER = "HTTP_OIDC_ISS"
SAML_ISSUERS = ("Shib-Identity-Provider", "MELLON_IDP")
REMOTE_USER = "REMOTE_USER"
# Where the name of the provider may stand in what a proxy passes on.
_ISSUERS = (
    OIDC_ISSUER,
    *SAML_ISSUERS,
    "HTTP_OIDC_CLAIM_ISS",
    "HTTP_SHIB_IDENTITY_PROVIDER",
    "HTTP_MELLON_IDP",
)


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes of somebody, and who says so (`issuer`, empty where nobody can tell)."""

    attributes: Mapping[str, list[str]]
    issuer: str = ""

    def first(self, name: str) -> str:
        """The first value of an attribute; empty where there is none."""
        values = self.attributes.get(name)
        return values[0] if values else ""


def of_claims(issuer: str, claims: Mapping[str, Any]) -> Assertion:
    """An assertion of the claims of a token."""
    attributes = {
        OIDC_PREFIX + name: _values(value) for name, value in claims.items() if value is not None
    }
    attributes[OIDC_ISSUER] = [issuer]
    subject = claims.get("sub")
    if subject:
        attributes[REMOTE_USER] = [str(subject)]
    return Assertion(attributes=attributes, issuer=issuer)


def of_saml(issuer: str, name_id: str, attributes: Mapping[str, Sequence[str]]) -> Assertion:
    """An assertion of a SAML document."""
    found = {name: list(values) for name, values in attributes.items()}
    found |= {name: [issuer] for name in SAML_ISSUERS}
    if name_id:
        found.setdefault(REMOTE_USER, [name_id])
    return Assertion(attributes=found, issuer=issuer)


def of_environment(environment: Mapping[str, str]) -> Assertion:
    """An assertion of what a trusted proxy passes on."""
    attributes = split(environment)
    issuer = next((environment[name] for name in _ISSUERS if environment.get(name)), "")
    return Assertion(attributes=attributes, issuer=issuer)


def _values(value: Any) -> list[str]:
    """A claim as texts: lists are several values, structures are JSON."""
    if isinstance(value, list):
        return [each if isinstance(each, str) else _text(each) for each in value]
    return [value if isinstance(value, str) else _text(value)]


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
