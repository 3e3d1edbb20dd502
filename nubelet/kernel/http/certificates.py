"""The certificate that a client showed to the TLS proxy in front of this cloud.

The proxy passes it on, after it verified it, as PEM with percent-escapes in one header (nginx:
`proxy_set_header X-SSL-Client-Cert $ssl_client_escaped_cert`). From anybody else the header is
dropped before anything looks at it.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from collections.abc import Iterable, Mapping, MutableMapping
from urllib.parse import unquote

HEADER = "x-ssl-client-cert"
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


def drop_untrusted(headers: MutableMapping[str, str], remote: str, proxies: Iterable[str]) -> None:
    """Remove the header unless it comes from one of the proxies (addresses or networks)."""
    if HEADER not in headers:
        return
    try:
        address = ipaddress.ip_address(remote)
    except ValueError:
        address = None
    if address is None or not any(address in ipaddress.ip_network(each) for each in proxies):
        del headers[HEADER]


def read(headers: Mapping[str, str]) -> bytes | None:
    """The certificate (DER) that the client showed; None for none, or one that cannot be read."""
    found = _PEM.search(unquote(headers.get(HEADER, "")))
    if found is None:
        return None
    try:
        return base64.b64decode(found.group(1))
    except ValueError:
        return None


def thumbprint(certificate: bytes) -> str:
    """The SHA-256 thumbprint of a certificate (DER), as RFC 8705 spells it."""
    digest = hashlib.sha256(certificate).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
