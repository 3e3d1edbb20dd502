"""`/v3/auth/OS-FEDERATION/saml2` and `/v3/OS-FEDERATION/saml2/metadata`: our users in other clouds.

A project-scoped token is exchanged for an assertion that the service provider in the scope takes;
`/ecp` wraps it for clients that carry it there themselves.

In OpenStack: keystone/api/auth.py AuthFederationSaml2Resource.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nubelet.identity import authenticator
from nubelet.identity.federation import registrations, service_providers
from nubelet.identity.federation.api.login import own_url, public_url
from nubelet.identity.federation.api.websso import own_url as websso_url
from nubelet.identity.federation.model import protocol
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.errors import Forbidden, Unauthorized
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route

_ID = {
    "type": "object",
    "required": ["id"],
    "additionalProperties": False,
    "properties": {"id": {"type": "string"}},
}


def _object(**properties: Any) -> dict[str, Any]:
    required = [name for name in properties if name != "methods"]
    return {
        "type": "object",
        "required": required,
        "additionalProperties": False,
        "properties": properties,
    }


_BODY = _object(
    auth=_object(
        identity=_object(token=_ID, methods={"type": "array"}),
        scope=_object(service_provider=_ID),
    )
)


def assertion(ctx: Context, request: Request) -> Response:
    """Exchange a token for a signed assertion."""
    response, provider = _vouch(ctx, request)
    return _answer(response, provider)


def ecp_assertion(ctx: Context, request: Request) -> Response:
    """Exchange a token for an assertion in an envelope."""
    from nubelet.identity.federation.saml import vouching

    response, provider = _vouch(ctx, request)
    return _answer(vouching.wrap(response, provider.relay_state_prefix), provider)


def show_metadata(ctx: Context, request: Request) -> Response:
    """What other clouds and identity providers must know of this one."""
    from nubelet.identity.federation.saml import vouching, xml

    with ctx.cloud.database.read() as tx:
        rows = tx.all(sa.select(protocol.c.idp_id, protocol.c.id).order_by(protocol.c.idp_id))
    consumers = []
    for row in rows:
        if registrations.find(ctx.cloud, row.idp_id).saml is not None:
            consumers += [make(ctx, row.idp_id, row.id) for make in (websso_url, own_url)]
    document = xml.dump(vouching.metadata(ctx.cloud, public_url(ctx), consumers))
    return Response(200, document, content_type="text/xml")


def _vouch(ctx: Context, request: Request) -> tuple[Any, Any]:
    from nubelet.identity.federation.saml import vouching

    asked = request.body["auth"]
    known = authenticator.of(ctx.cloud).look_at(asked["identity"]["token"]["id"])
    subject = known.subject
    if subject is None or known.expires_at <= clock.now():
        raise Unauthorized
    if subject.token.origin.is_delegated:
        raise Forbidden("Who acts with a part of a user's rights cannot enter another cloud.")
    with ctx.cloud.database.read() as tx:
        provider = service_providers.find(tx, asked["scope"]["service_provider"]["id"])
        if not provider.enabled:
            raise Forbidden(f"Service Provider {provider.id} is disabled.")
        if subject.token.scope.kind != "project":
            raise Forbidden("Use a project scoped token when attempting to create a SAML assertion")
        told = vouching.attributes(tx, subject)
    return vouching.respond(ctx.cloud, public_url(ctx), provider.sp_url, told), provider


def _answer(document: Any, provider: Any) -> Response:
    from nubelet.identity.federation.saml import xml

    headers = {
        "X-sp-url": provider.sp_url,
        "X-auth-url": provider.auth_url,
        "Cache-Control": "no-store",
    }
    return Response(200, xml.dump(document), headers, "text/xml")


_START = "/auth/OS-FEDERATION/saml2"
# Signing costs milliseconds of CPU.
ROUTES = (
    Route(method="POST", path=_START, handler=assertion, open=True, slow=True, body=_BODY),
    Route(
        method="POST", path=f"{_START}/ecp", handler=ecp_assertion, open=True, slow=True, body=_BODY
    ),
    Route(
        method="GET",
        path="/OS-FEDERATION/saml2/metadata",
        handler=show_metadata,
        open=True,
        slow=True,
    ),
)
