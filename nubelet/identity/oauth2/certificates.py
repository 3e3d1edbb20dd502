"""Clients that prove themselves by a certificate (RFC 8705, `tls_client_auth`).

The mapping `oauth2_mapping` says what the names in a certificate mean: its `user` must be the
client that asks. It is written in the language of federation, with attributes such as
`SSL_CLIENT_SUBJECT_DN_CN` and `SSL_CLIENT_ISSUER_DN_O`.

In OpenStack: keystone/api/os_oauth2.py _tls_client_auth.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity.federation import mappings, rules
from nubelet.identity.federation.rules import Mapped
from nubelet.identity.model import project, user
from nubelet.identity.tokens import Scope
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import BadRequest, NotFound, Unauthorized

MAPPING = "oauth2_mapping"
_home = project.alias("home")
_SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "emailAddress": "EMAILADDRESS",
    "userId": "UID",
    "domainComponent": "DC",
}


def scope_of_client(tx: Tx, client_id: str, certificate: bytes) -> Scope:
    """The default project of the user `client_id`, if the certificate (DER) is theirs by the
    mapping; raises Unauthorized."""
    row = tx.first(
        sa.select(user, _home.c.name.label("domain_name"))
        .join(_home, _home.c.id == user.c.domain_id)
        .where(user.c.id == client_id)
    )
    if row is None or not row.default_project_id:
        raise Unauthorized
    try:
        found = mappings.find(tx, MAPPING)
        attributes = rules.split(names(certificate))
        mapped = rules.evaluate(MAPPING, found.rules, found.schema_version, attributes)
    except (NotFound, BadRequest, ValueError):
        raise Unauthorized from None
    if not _is(mapped, row):
        raise Unauthorized
    return Scope("project", row.default_project_id)


def _is(mapped: Mapped, row: Any) -> bool:
    """Do all that the mapping says agree with the user, and does it name one at all?"""
    domain = mapped.domain
    pairs = (
        (mapped.id, row.id),
        (mapped.name, row.name),
        (mapped.email, row.extra.get("email")),
        (domain.id if domain else None, row.domain_id),
        (domain.name if domain else None, row.domain_name),
    )
    return bool(mapped.id or mapped.name) and all(
        said is None or said == is_so for said, is_so in pairs
    )


def names(certificate: bytes) -> dict[str, str]:
    """The names of subject and issuer as mappings see them; raises ValueError."""
    from cryptography import x509

    loaded = x509.load_der_x509_certificate(certificate)
    found: dict[str, str] = {}
    for kind, name in (("SUBJECT", loaded.subject), ("ISSUER", loaded.issuer)):
        for each in name:
            oid_name = each.oid._name
            short = _SHORT.get(oid_name, oid_name.upper())
            found[f"SSL_CLIENT_{kind}_DN_{short}"] = str(each.value)
    return found
