"""What is known of a SAML identity provider: its metadata, read from a URL or a file.

The registration says where; the metadata says its name, its certificates, and where it logs people
in. Metadata from a URL is asked for again after an hour.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import NamedTuple

from nubelet.identity.federation import fetching
from nubelet.identity.federation.registrations import Saml
from nubelet.identity.federation.saml import xml
from nubelet.identity.federation.saml.xml import Element
from nubelet.kernel.errors import ServiceUnavailable, Unauthorized

_documents = fetching.Remembered()


class Peer(NamedTuple):
    """An identity provider. sso_url: where browsers are sent; empty for one without."""

    entity_id: str
    certificates: tuple[bytes, ...]
    sso_url: str


def find(registration: Saml) -> Peer:
    """The registered provider; raises ServiceUnavailable."""
    place = registration.metadata
    if "://" in place:
        key = (place, registration.ca_file)
        document = _documents.get(key, lambda: fetching.get(place, ca_file=registration.ca_file))
    else:
        try:
            document = Path(place).read_bytes()
        except OSError as error:
            raise ServiceUnavailable(f"The metadata {place} cannot be read: {error}.") from None
    try:
        return _read(xml.parse(document), registration)
    except Unauthorized:
        raise ServiceUnavailable(f"The metadata {place} is no XML document.") from None


def _read(root: Element, registration: Saml) -> Peer:
    entity = f"{{{xml.METADATA}}}EntityDescriptor"
    for each in root.iter(entity):
        provider = xml.find(each, "md:IDPSSODescriptor")
        name = each.get("entityID") or ""
        if provider is None or registration.entity_id not in ("", name):
            continue
        certificates = [
            xml.text_of(certificate)
            for key in xml.find_all(provider, "md:KeyDescriptor")
            if key.get("use", "signing") == "signing"
            for certificate in xml.find_all(key, "ds:KeyInfo/ds:X509Data/ds:X509Certificate")
        ]
        if not certificates:
            break
        urls = [
            service.get("Location") or ""
            for service in xml.find_all(provider, "md:SingleSignOnService")
            if service.get("Binding") == xml.REDIRECT_BINDING
        ]
        return Peer(name, tuple(map(_pem, certificates)), urls[0] if urls else "")
    raise ServiceUnavailable(
        f"The metadata {registration.metadata} describes no identity provider with a certificate."
    )


def _pem(text: str) -> bytes:
    lines = textwrap.wrap("".join(text.split()), 64)
    return "\n".join(
        ["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""]
    ).encode()
