"""`/v3/OS-FEDERATION/identity_providers/{idp}/protocols/{protocol}/auth`: an unscoped token for
somebody who is known elsewhere; and `/v3/OS-FEDERATION/projects|domains`, what they may enter.

A client comes here with a bearer token, with the session of a login, or through a trusted proxy.
One that speaks ECP and has nothing yet gets the question to carry to its identity provider; the
answer it posts here too, and gets a session to come again with.

In OpenStack: keystone/api/os_federation.py OSFederationAuthResource.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from nubelet.identity import authentication, authenticator
from nubelet.identity.api.auth import list_domains, list_projects
from nubelet.identity.federation import methods, providers, sessions
from nubelet.identity.federation.api.resource import route
from nubelet.identity.federation.assertions import Assertion
from nubelet.identity.methods import Attempt
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest, Unauthorized
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route

# Shibboleth's place for assertions; SHIBBOLETH_MOUNT is a further mount of this service.
SHIBBOLETH_MOUNT, SHIBBOLETH_PATH = "/Shibboleth.sso", "/SAML2/ECP"
PAOS_TYPE = "application/vnd.paos+xml"
_MOST_BYTES = 1 << 20


def attempt(ctx: Context, request: Request) -> Attempt:
    """A request as the authentication methods see it."""
    return Attempt(
        cloud=ctx.cloud,
        headers=request.headers,
        method=request.method,
        url=request.url,
        query=request.query,
        remote_address=ctx.remote_address,
    )


def issue(ctx: Context, request: Request, idp_id: str, protocol_id: str) -> str:
    """An unscoped token for the sender of a request."""
    name = methods.name_for(protocol_id)
    part = {"identity_provider": idp_id, "protocol": protocol_id}
    auth: dict[str, Any] = {"identity": {"methods": [name], name: part}, "scope": "unscoped"}
    return authentication.log_in(attempt(ctx, request), auth)


def log_in(ctx: Context, request: Request) -> Response:
    """Log in at the URL of an identity provider's protocol."""
    idp_id, protocol_id = request.params["idp_id"], request.params["protocol_id"]
    if PAOS_TYPE in request.headers.get("content-type", "") and request.method == "POST":
        return _take_answer(ctx, request, idp_id, protocol_id)
    try:
        text = issue(ctx, request, idp_id, protocol_id)
    except Unauthorized:
        if PAOS_TYPE not in request.headers.get("accept", ""):
            raise
        return _ask(ctx, idp_id, protocol_id)
    found = authenticator.of(ctx.cloud)
    body = found.body(found.look_at(text))
    headers = {"X-Subject-Token": text, "Vary": "X-Auth-Token", "Cache-Control": "no-store"}
    return Response(201, body, headers, "application/json")


def _ask(ctx: Context, idp_id: str, protocol_id: str) -> Response:
    """The question for an ECP client to carry."""
    from nubelet.identity.federation.saml import relying

    own = own_url(ctx, idp_id, protocol_id)
    body = relying.ask_by_ecp(ctx.cloud, idp_id, public_url(ctx), own)
    return Response(200, body, {"Cache-Control": "no-store"}, PAOS_TYPE)


def _take_answer(ctx: Context, request: Request, idp_id: str, protocol_id: str) -> Response:
    """Believe the answer that an ECP client carried, and let it come again for its token."""
    from nubelet.identity.federation.saml import relying

    own = own_url(ctx, idp_id, protocol_id)
    body = read_body(request)
    found = relying.from_ecp(ctx.cloud, idp_id, public_url(ctx), own, body)
    return _let_come_again(ctx, idp_id, own, found)


def _let_come_again(ctx: Context, idp_id: str, own: str, found: Assertion) -> Response:
    cookie = sessions.start(ctx.cloud, idp_id, found, secure=own.startswith("https:"))
    headers = {"Location": own, "Set-Cookie": cookie, "Cache-Control": "no-store"}
    return Response(303, headers=headers)


def take_answer_of_anybody(ctx: Context, request: Request) -> Response:
    """Take an ECP client's answer at the one URL that Shibboleth has for all providers: service
    providers of Keystone clouds are registered with it (`/Shibboleth.sso/SAML2/ECP`)."""
    from nubelet.identity.federation.saml import relying

    body = read_body(request)
    issuer = relying.issuer_of(body)
    with ctx.cloud.database.read() as tx:
        provider = providers.by_remote_id(tx, issuer)
        first = providers.first_protocol(tx, provider.id) if provider is not None else None
    if provider is None or first is None:
        raise Unauthorized(f"No identity provider has the remote id {issuer[:200]}.")
    here = f"{public_url(ctx)}{request.path}"
    found = relying.from_ecp(ctx.cloud, provider.id, public_url(ctx), here, body)
    return _let_come_again(ctx, provider.id, own_url(ctx, provider.id, first), found)


def public_url(ctx: Context) -> str:
    """The cloud's URL by the settings. What a provider's answer must be made for is never taken
    from the request: whoever sends somebody else's answer here chooses its Host header."""
    return ctx.cloud.settings.http.url


def own_url(ctx: Context, idp_id: str, protocol_id: str) -> str:
    """The URL of a provider's protocol, where tokens are got and answers are taken."""
    return (
        f"{public_url(ctx)}/identity/v3/OS-FEDERATION/identity_providers/{quote(idp_id, safe='')}"
        f"/protocols/{quote(protocol_id, safe='')}/auth"
    )


def read_body(request: Request) -> bytes:
    """What was posted; raises BadRequest when it is more than any login needs."""
    body = b""
    for piece in request.chunks(65536):
        body += piece
        if len(body) > _MOST_BYTES:
            raise BadRequest("What was sent is too large.")
    return body


_AUTH = "/OS-FEDERATION/identity_providers/{idp_id}/protocols/{protocol_id}/auth"
# The body of a login, if any, is nothing that we read; and it may wait for another server, which
# must not hold up the API: hence the pool of streams.
ROUTES = (
    *(
        Route(method=method, path=_AUTH, handler=log_in, open=True, stream=True, status=201)
        for method in ("GET", "POST")
    ),
    Route(
        method="POST",
        path=SHIBBOLETH_PATH,
        handler=take_answer_of_anybody,
        open=True,
        stream=True,
        prefixed=False,
    ),
    route("GET", "/projects", list_projects, "get_auth_projects"),
    route("GET", "/domains", list_domains, "get_auth_domains"),
)
