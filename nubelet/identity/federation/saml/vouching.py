"""This cloud as an identity provider: an assertion that lets a user of ours into another cloud.

Keystone to Keystone: a project-scoped token becomes a signed assertion with the names of user,
project, roles and groups; the client carries it to the other cloud itself (ECP).

In OpenStack: keystone/federation/idp.py.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from nubelet.identity import assignments
from nubelet.identity.federation.saml import keys, xml
from nubelet.identity.federation.saml.xml import Element, make
from nubelet.identity.model import group, project
from nubelet.identity.validation import Subject
from nubelet.kernel import clock
from nubelet.kernel.cloud import Cloud
from nubelet.kernel.database import Tx

_PASSWORD_CONTEXT = "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"  # noqa: S105 - a name


def entity_id(base_url: str) -> str:
    """How this cloud calls itself to other clouds. `base_url`: the cloud's public one."""
    return f"{base_url}/identity/v3/OS-FEDERATION/saml2/idp"


def attributes(tx: Tx, subject: Subject) -> dict[str, list[str]]:
    """What other clouds are told of the bearer of a project-scoped token."""
    assert subject.place is not None
    home = project.alias("home")
    ids = {*assignments.group_ids(tx, subject.user_id), *subject.token.origin.group_ids}
    rows = tx.all(
        sa.select(group.c.name, home.c.name.label("domain_name"))
        .join(home, home.c.id == group.c.domain_id)
        .where(group.c.id.in_(ids))
        .order_by(group.c.name)
    )
    found = {
        "openstack_user": [subject.user_name],
        "openstack_user_domain": [subject.user_domain_name],
        "openstack_roles": [role.name for role in subject.roles],
        "openstack_project": [subject.place.name],
        "openstack_project_domain": [subject.place.domain_name or subject.place.name],
    }
    if rows:
        found["openstack_groups"] = [
            "JSON:" + json.dumps({"name": row.name, "domain": {"name": row.domain_name}})
            for row in rows
        ]
    return found


def respond(cloud: Cloud, base_url: str, recipient: str, told: dict[str, list[str]]) -> Element:
    """A SAML response with a signed assertion for whoever serves at `recipient`."""
    now = clock.now()
    end = now + cloud.settings.federation.assertion_lifetime_seconds * 1_000_000
    issuer = entity_id(base_url)
    assertion = _assertion(issuer, recipient, told, now, end)
    pair = keys.of(cloud)
    response = make(
        "samlp:Response",
        Version="2.0",
        ID=_new_id(),
        IssueInstant=xml.time_text(now),
        Destination=recipient,
    )
    status = make("samlp:Status")
    status.append(make("samlp:StatusCode", Value=xml.SUCCESS))
    for part in (make("saml:Issuer", issuer), status):
        response.append(part)
    response.append(xml.sign(assertion, pair.key, pair.certificate))
    return response


def wrap(response: Element, relay_state_prefix: str) -> Element:
    """The response in an envelope, as a client of ECP passes it on."""
    envelope, header, body = make("S:Envelope"), make("S:Header"), make("S:Body")
    relay_state = make("ecp:RelayState", relay_state_prefix + secrets.token_hex(16))
    relay_state.set(f"{{{xml.SOAP}}}mustUnderstand", "1")
    relay_state.set(f"{{{xml.SOAP}}}actor", xml.SOAP_NEXT)
    header.append(relay_state)
    body.append(response)
    envelope.append(header)
    envelope.append(body)
    return envelope


def metadata(cloud: Cloud, base_url: str, consumers: Sequence[str]) -> Element:
    """What others must know of this cloud: its name, its certificate, and where assertions for it
    are taken (`consumers`: URLs, first by browsers, then by ECP clients)."""
    descriptor = make("md:EntityDescriptor", entityID=entity_id(base_url))
    if consumers:
        service = make(
            "md:SPSSODescriptor",
            protocolSupportEnumeration=xml.SAMLP,
            WantAssertionsSigned="true",
        )
        service.append(_key_descriptor(cloud))
        for index, url in enumerate(consumers):
            binding = xml.POST_BINDING if url.endswith("/websso") else xml.PAOS_BINDING
            service.append(
                make(
                    "md:AssertionConsumerService",
                    Binding=binding,
                    Location=url,
                    index=str(index),
                )
            )
        descriptor.append(service)
    provider = make("md:IDPSSODescriptor", protocolSupportEnumeration=xml.SAMLP)
    provider.append(_key_descriptor(cloud))
    transient = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient"
    provider.append(make("md:NameIDFormat", transient))
    sso = f"{base_url}/identity/v3/OS-FEDERATION/saml2/sso"
    provider.append(make("md:SingleSignOnService", Binding=xml.URI_BINDING, Location=sso))
    descriptor.append(provider)
    return descriptor


def _key_descriptor(cloud: Cloud) -> Element:
    found, info, data = make("md:KeyDescriptor", use="signing"), make("ds:KeyInfo"), None
    data = make("ds:X509Data")
    data.append(make("ds:X509Certificate", keys.of(cloud).certificate_text))
    info.append(data)
    found.append(info)
    return found


def _assertion(
    issuer: str, recipient: str, told: dict[str, list[str]], now: int, end: int
) -> Element:
    made, until = xml.time_text(now), xml.time_text(end)
    assertion = make("saml:Assertion", Version="2.0", ID=_new_id(), IssueInstant=made)
    subject = make("saml:Subject")
    subject.append(make("saml:NameID", told["openstack_user"][0]))
    confirmation = make("saml:SubjectConfirmation", Method=xml.BEARER)
    confirmation.append(
        make("saml:SubjectConfirmationData", NotOnOrAfter=until, Recipient=recipient)
    )
    subject.append(confirmation)
    authentication = make(
        "saml:AuthnStatement",
        AuthnInstant=made,
        SessionIndex=secrets.token_hex(16),
        SessionNotOnOrAfter=until,
    )
    context = make("saml:AuthnContext")
    context.append(make("saml:AuthnContextClassRef", _PASSWORD_CONTEXT))
    context.append(make("saml:AuthenticatingAuthority", issuer))
    authentication.append(context)
    conditions = make("saml:Conditions", NotBefore=made, NotOnOrAfter=until)
    parts: list[Any] = [
        make("saml:Issuer", issuer),
        subject,
        conditions,
        authentication,
        _statement(told),
    ]
    assertion.extend(parts)
    return assertion


def _statement(told: dict[str, list[str]]) -> Element:
    statement = make("saml:AttributeStatement")
    for name, values in told.items():
        attribute = make("saml:Attribute", Name=name)
        attribute.extend([make("saml:AttributeValue", value) for value in values])
        statement.append(attribute)
    return statement


def _new_id() -> str:
    return f"_{secrets.token_hex(20)}"
