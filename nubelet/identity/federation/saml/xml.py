"""XML as SAML uses it: namespaces, parsing without surprises, signing, verifying.

A document with a DTD is refused: no entity is ever expanded. What is verified is used in the form
that was verified, never in the form that came: so nothing can be wrapped around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from nubelet.kernel.clock import iso_micros_z
from nubelet.kernel.errors import NotImplementedByDriver, Unauthorized

# lxml.etree._Element; it has no types.
Element: TypeAlias = Any

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
SAMLP = "urn:oasis:names:tc:SAML:2.0:protocol"
METADATA = "urn:oasis:names:tc:SAML:2.0:metadata"
DSIG = "http://www.w3.org/2000/09/xmldsig#"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
PAOS = "urn:liberty:paos:2003-08"
ECP = "urn:oasis:names:tc:SAML:2.0:profiles:SSO:ecp"
SOAP_NEXT = "http://schemas.xmlsoap.org/soap/actor/next"
NAMESPACES = {
    "saml": SAML, "samlp": SAMLP, "md": METADATA, "ds": DSIG, "S": SOAP, "paos": PAOS, "ecp": ECP,
}  # fmt: skip

POST_BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
REDIRECT_BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
PAOS_BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:PAOS"
URI_BINDING = "urn:oasis:names:tc:SAML:2.0:bindings:URI"
BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success"


def etree() -> Any:
    """lxml.etree; raises NotImplementedByDriver where the extra is not installed."""
    try:
        from lxml import etree as found
    except ImportError:
        raise NotImplementedByDriver(
            "SAML needs the extra `saml` of this package: lxml and signxml."
        ) from None
    return found


def parse(document: bytes) -> Element:
    """The root of a document; raises Unauthorized for what is no XML, or has a DTD."""
    lxml = etree()
    parser = lxml.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,  # a comment inside a name must not cut it in two
        remove_pis=True,
    )
    try:
        root: Element = lxml.fromstring(document, parser)
    except (lxml.XMLSyntaxError, ValueError):
        raise Unauthorized("What was sent is no XML document.") from None
    if root.getroottree().docinfo.doctype:
        raise Unauthorized("A SAML document must not have a DTD.")
    return root


def make(tag: str, text: str = "", /, **attributes: str) -> Element:
    """An element; `tag` is `prefix:name`."""
    prefix, _, name = tag.partition(":")
    element: Element = etree().Element(
        f"{{{NAMESPACES[prefix]}}}{name}", nsmap={prefix: NAMESPACES[prefix]}, **attributes
    )
    if text:
        element.text = text
    return element


def find(root: Element, path: str) -> Element | None:
    """The element at a path of `prefix:name` steps; None where there is none."""
    return root.find(path, NAMESPACES)


def find_all(root: Element, path: str) -> list[Element]:
    """All elements at a path."""
    return list(root.findall(path, NAMESPACES))


def text_of(element: Element | None) -> str:
    """The text of an element, all of it; empty for none."""
    return "".join(element.itertext()).strip() if element is not None else ""


def time_text(micros: int) -> str:
    """A time as SAML writes it, in UTC."""
    return iso_micros_z(micros) or ""


def dump(element: Element) -> bytes:
    """An element as a document."""
    found: bytes = etree().tostring(element, xml_declaration=True, encoding="UTF-8")
    return found


def _signxml() -> Any:
    """signxml, which takes a while to load."""
    import signxml

    return signxml


def sign(element: Element, key: bytes, certificate: bytes) -> Element:
    """The element with an enveloped signature (RSA, SHA-256) behind its issuer, where the schema
    wants it."""
    signxml = _signxml()

    place = make("ds:Signature", Id="placeholder")
    issuer = find(element, "saml:Issuer")
    assert issuer is not None
    issuer.addnext(place)
    signer = signxml.XMLSigner(
        method=signxml.methods.enveloped,
        signature_algorithm="rsa-sha256",
        digest_algorithm="sha256",
        c14n_algorithm="http://www.w3.org/2001/10/xml-exc-c14n#",
    )
    signed: Element = signer.sign(
        element,
        key=key,
        cert=certificate.decode(),
        reference_uri=f"#{element.get('ID')}",
        id_attribute="ID",
    )
    return signed


def verify(element: Element, certificates: Sequence[bytes]) -> Element:
    """The element as one of the certificates' keys signed it; raises Unauthorized.

    The signature must be the element's own child and cover all of it. The certificate in the
    document is not looked at: anybody can put one in.
    """
    signxml = _signxml()

    identifier = element.get("ID")
    document = etree().tostring(element, with_tail=False)
    for certificate in certificates:
        try:
            result = signxml.XMLVerifier().verify(
                document,
                x509_cert=certificate.decode(),
                id_attribute="ID",
                expect_config=signxml.SignatureConfiguration(
                    location="./", expect_references=1, require_x509=False
                ),
            )
        except Exception:  # noqa: S112 - any failure of a parser of foreign input
            continue
        found: Element | None = result.signed_xml
        if found is not None and found.tag == element.tag and found.get("ID") == identifier:
            return found
    raise Unauthorized("The signature of the SAML document is not good.")


def is_signed(element: Element) -> bool:
    """Has the element a signature of its own?"""
    return find(element, "ds:Signature") is not None
