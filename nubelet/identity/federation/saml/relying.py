"""This cloud as a service provider: it asks an identity provider who somebody is, and believes a
signed answer that was made for it, now, and is shown for the first time.

Browsers are sent with a request in the URL and come back with a form; clients without a browser
carry request and answer themselves, in envelopes (ECP). An answer that nobody asked for is taken
from such clients only: that is how users of other clouds come in.

In OpenStack: mod_shib or mod_auth_mellon in front of Keystone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import zlib
from typing import Any
from urllib.parse import urlencode

import msgspec
import sqlalchemy as sa

from nubelet.decoding import prepared
from nubelet.identity import authenticator
from nubelet.identity.federation import registrations
from nubelet.identity.federation.assertions import Assertion, of_saml
from nubelet.identity.federation.model import used_assertion
from nubelet.identity.federation.registrations import Saml
from nubelet.identity.federation.saml import peers, vouching, xml
from nubelet.identity.federation.saml.peers import Peer
from nubelet.identity.federation.saml.xml import Element, make
from nubelet.kernel import clock
from nubelet.kernel.clock import parse_iso
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import NotFound, ServiceUnavailable, Unauthorized

_SKEW = 60_000_000  # clocks of others may be wrong by a minute
_ASKED_SECONDS = 600


class _Asked(msgspec.Struct, frozen=True):
    """A question that was carried away by a client, sealed in its RelayState."""

    request_id: str
    expires_at: int


def registration(cloud: Cloud, idp_id: str) -> Saml:
    """How this cloud knows a SAML provider; raises NotFound."""
    found = registrations.find(cloud, idp_id).saml
    if found is None:
        raise NotFound(message=f"This cloud is not registered with the identity provider {idp_id}.")
    return found


def sp_entity_id(known: Saml, base_url: str) -> str:
    """How this cloud calls itself to the provider."""
    return known.sp_entity_id or vouching.entity_id(base_url)


def login_url(known: Saml, base_url: str, consumer: str, request_id: str, relay_state: str) -> str:
    """Where a browser is sent to log in."""
    peer = peers.find(known)
    if not peer.sso_url:
        raise ServiceUnavailable(f"{peer.entity_id} does not log in browsers by a redirect.")
    request = _request(sp_entity_id(known, base_url), consumer, request_id, xml.POST_BINDING)
    request.set("Destination", peer.sso_url)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = deflate.compress(xml.etree().tostring(request)) + deflate.flush()
    query = {"SAMLRequest": base64.b64encode(packed).decode(), "RelayState": relay_state}
    return f"{peer.sso_url}{'&' if '?' in peer.sso_url else '?'}{urlencode(query)}"


def ask_by_ecp(cloud: Cloud, idp_id: str, base_url: str, consumer: str) -> bytes:
    """The envelope with the question that a client carries to the identity provider."""
    known = registration(cloud, idp_id)
    sp = sp_entity_id(known, base_url)
    asked = _Asked(f"_{secrets.token_hex(20)}", clock.now() + _ASKED_SECONDS * 1_000_000)
    sealed = authenticator.of(cloud).keys.seal(msgspec.json.encode(asked))
    envelope, header, body = make("S:Envelope"), make("S:Header"), make("S:Body")
    header.append(_addressed(make("paos:Request", responseConsumerURL=consumer, service=xml.ECP)))
    question = _addressed(make("ecp:Request", IsPassive="false"))
    question.append(make("saml:Issuer", sp))
    header.append(question)
    header.append(_addressed(make("ecp:RelayState", sealed)))
    body.append(_request(sp, consumer, asked.request_id, xml.PAOS_BINDING))
    envelope.append(header)
    envelope.append(body)
    return xml.dump(envelope)


def from_ecp(cloud: Cloud, idp_id: str, base_url: str, consumer: str, document: bytes) -> Assertion:
    """What an envelope with an answer says; raises Unauthorized."""
    envelope = xml.parse(document)
    response = xml.find(envelope, "S:Body/samlp:Response")
    if response is None:
        raise Unauthorized("There is no SAML response in what was sent.")
    relay_state = xml.text_of(xml.find(envelope, "S:Header/ecp:RelayState"))
    asked = _open(cloud, relay_state) if response.get("InResponseTo") else ""
    return _believe(cloud, idp_id, base_url, consumer, response, asked)


def issuer_of(document: bytes) -> str:
    """Who an envelope's answer claims to be from; nothing of it is believed yet."""
    response = xml.find(xml.parse(document), "S:Body/samlp:Response")
    if response is None:
        raise Unauthorized("There is no SAML response in what was sent.")
    issuer = xml.find(response, "saml:Issuer")
    return xml.text_of(
        issuer if issuer is not None else xml.find(response, "saml:Assertion/saml:Issuer")
    )


def from_form(
    cloud: Cloud, idp_id: str, base_url: str, consumer: str, text: str, request_id: str
) -> Assertion:
    """What a browser's form with an answer says; raises Unauthorized."""
    try:
        document = base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        raise Unauthorized("The SAML response is not base64.") from None
    return _believe(cloud, idp_id, base_url, consumer, xml.parse(document), request_id)


# --- What is believed -------------------------------------------------------------------------


def _believe(
    cloud: Cloud, idp_id: str, base_url: str, consumer: str, response: Element, asked: str
) -> Assertion:
    known = registration(cloud, idp_id)
    peer = peers.find(known)
    assertion = _signed_assertion(response, peer, consumer)
    if xml.text_of(xml.find(assertion, "saml:Issuer")) != peer.entity_id:
        raise Unauthorized("The assertion is not of the registered identity provider.")
    end = _check_subject(assertion, consumer, asked)
    # Keystone's assertions, which nobody asks for, name no audience; their recipient must do.
    _check_conditions(assertion, sp_entity_id(known, base_url), must_name_us=bool(asked))
    _use_once(cloud, peer, assertion, end)
    name_id = xml.text_of(xml.find(assertion, "saml:Subject/saml:NameID"))
    return of_saml(peer.entity_id, name_id, _attributes(assertion))


def _signed_assertion(response: Element, peer: Peer, consumer: str) -> Element:
    """The one assertion of a response, as it was signed itself or within the signed response."""
    if response.tag != f"{{{xml.SAMLP}}}Response":
        raise Unauthorized("There is no SAML response in what was sent.")
    if xml.is_signed(response):
        response = xml.verify(response, peer.certificates)
        signed = True
    else:
        signed = False
    status = xml.find(response, "samlp:Status/samlp:StatusCode")
    if status is None or status.get("Value") != xml.SUCCESS:
        raise Unauthorized("The identity provider did not let the user in.")
    if response.get("Destination", consumer) != consumer:
        raise Unauthorized("The SAML response was made for another address.")
    assertions = xml.find_all(response, "saml:Assertion")
    if len(assertions) != 1:
        raise Unauthorized("A SAML response must hold one assertion, not encrypted.")
    if xml.is_signed(assertions[0]):
        return xml.verify(assertions[0], peer.certificates)
    if not signed:
        raise Unauthorized("The SAML assertion is not signed.")
    return assertions[0]


def _check_subject(assertion: Element, consumer: str, asked: str) -> int:
    """Until when the bearer may show the assertion; raises Unauthorized unless it is made for this
    place, for now, and for the question that was asked (empty: none)."""
    for each in xml.find_all(assertion, "saml:Subject/saml:SubjectConfirmation"):
        data = xml.find(each, "saml:SubjectConfirmationData")
        if each.get("Method") != xml.BEARER or data is None:
            continue
        end = _time(data.get("NotOnOrAfter"))
        if (
            data.get("Recipient") == consumer
            and (data.get("InResponseTo") or "") == asked
            and end is not None
            and end + _SKEW > clock.now()
            and data.get("NotBefore") is None
        ):
            return end
    raise Unauthorized("The SAML assertion was not made for this address, request and time.")


def _check_conditions(assertion: Element, sp: str, *, must_name_us: bool) -> None:
    now = clock.now()
    if must_name_us and not xml.find_all(assertion, "saml:Conditions/saml:AudienceRestriction"):
        raise Unauthorized("The SAML assertion does not say for whom it was made.")
    for condition in xml.find_all(assertion, "saml:Conditions"):
        begin, end = _time(condition.get("NotBefore")), _time(condition.get("NotOnOrAfter"))
        if (begin is not None and begin - _SKEW > now) or (end is not None and end + _SKEW <= now):
            raise Unauthorized("The SAML assertion is not valid now.")
        for restriction in xml.find_all(condition, "saml:AudienceRestriction"):
            audiences = {xml.text_of(each) for each in xml.find_all(restriction, "saml:Audience")}
            if sp not in audiences:
                raise Unauthorized("The SAML assertion was made for somebody else.")
    for statement in xml.find_all(assertion, "saml:AuthnStatement"):
        end = _time(statement.get("SessionNotOnOrAfter"))
        if end is not None and end + _SKEW <= now:
            raise Unauthorized("The user's session at the identity provider is over.")


def _use_once(cloud: Cloud, peer: Peer, assertion: Element, end: int) -> None:
    """Remember that the assertion was shown; raises Unauthorized when it was before."""
    text = f"{peer.entity_id} {assertion.get('ID')}"
    digest = hashlib.sha256(text.encode()).hexdigest()

    def note(tx: Tx) -> bool:
        tx.lock("identity", "used_assertion", digest)
        there = sa.select(used_assertion.c.digest).where(used_assertion.c.digest == digest)
        if tx.first(there) is not None:
            return False
        tx.insert(used_assertion, digest=digest, expires_at=end + 2 * _SKEW)
        return True

    if not assertion.get("ID") or not cloud.database.transact(note):
        raise Unauthorized("The SAML assertion was used before.")


def _attributes(assertion: Element) -> dict[str, list[str]]:
    """Values by name, and by friendly name where there is one."""
    found: dict[str, list[str]] = {}
    for each in xml.find_all(assertion, "saml:AttributeStatement/saml:Attribute"):
        values = [xml.text_of(value) for value in xml.find_all(each, "saml:AttributeValue")]
        for name in {each.get("Name"), each.get("FriendlyName")} - {None, ""}:
            found.setdefault(str(name), []).extend(values)
    return found


# --- Parts ------------------------------------------------------------------------------------


def _request(sp: str, consumer: str, request_id: str, binding: str) -> Element:
    request = make(
        "samlp:AuthnRequest",
        Version="2.0",
        ID=request_id,
        IssueInstant=xml.time_text(clock.now()),
        ProtocolBinding=binding,
        AssertionConsumerServiceURL=consumer,
    )
    request.append(make("saml:Issuer", sp))
    return request


def _addressed(element: Element) -> Element:
    """A header that the client itself must understand."""
    element.set(f"{{{xml.SOAP}}}mustUnderstand", "1")
    element.set(f"{{{xml.SOAP}}}actor", xml.SOAP_NEXT)
    return element


def _open(cloud: Cloud, relay_state: str) -> str:
    """The id of the question that a RelayState of ours belongs to; raises Unauthorized."""
    try:
        content = authenticator.of(cloud).keys.open(relay_state)
        asked: Any = msgspec.json.decode(content, type=prepared(_Asked))
    except (ValueError, msgspec.DecodeError):
        raise Unauthorized("The answer belongs to no question of this cloud.") from None
    if asked.expires_at <= clock.now():
        raise Unauthorized("The question was asked too long ago.")
    return str(asked.request_id)


def _time(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_iso(text)
    except ValueError:
        raise Unauthorized("A time of the SAML assertion cannot be read.") from None
