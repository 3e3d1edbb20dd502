"""`/v3/auth/OS-FEDERATION/.../websso`: log in with a browser, for a dashboard.

A dashboard sends its user here with `?origin=` its own URL. Somebody who is not known yet is sent
on to the identity provider, and comes back to the very same URL: with a code (OpenID Connect) or
a signed response (SAML). Then the answer is a page that posts a token to the origin.

The origin must be one of `federation.trusted_dashboards`: whoever gets the token has it.

In OpenStack: keystone/api/auth.py AuthFederationWebSSOResource.
"""

from __future__ import annotations

import html
from typing import Any
from urllib.parse import quote, urlsplit

import sqlalchemy as sa

from nubelet.identity import authentication
from nubelet.identity.federation import login, methods, providers, registrations, websso
from nubelet.identity.federation.api.login import attempt, public_url, read_body
from nubelet.identity.federation.assertions import Assertion
from nubelet.identity.federation.model import identity_provider, protocol
from nubelet.kernel.context import Context
from nubelet.kernel.errors import BadRequest, Unauthorized
from nubelet.kernel.http.messages import Request, Response, parse_query
from nubelet.kernel.http.routes import Route

_PAGE = """<!DOCTYPE html>
<html>
<head><meta charset="utf-8"><title>Logging in</title></head>
<body onload="document.forms[0].submit()">
<form action="{action}" method="post">
<input type="hidden" name="token" value="{token}">
<noscript><p>Your browser runs no scripts here:</p><button>Continue</button></noscript>
</form>
</body>
</html>
"""


def log_in(ctx: Context, request: Request) -> Response:
    """Log in by an identity provider and one of its protocols, or come back from there."""
    return _log_in(ctx, request, request.params["idp_id"], request.params["protocol_id"])


def log_in_by_protocol(ctx: Context, request: Request) -> Response:
    """Log in by a protocol: at the identity provider that a proxy names, or the only one."""
    protocol_id = request.params["protocol_id"]
    _origin(ctx, request)
    found = methods.find_assertion(attempt(ctx, request), "")
    with ctx.cloud.database.read() as tx:
        if found is not None and found.issuer:
            row = providers.by_remote_id(tx, found.issuer)
            if row is None:
                raise Unauthorized(f"No identity provider has the remote id {found.issuer}.")
            known = [row.id]
        else:
            known = [
                row.id
                for row in tx.all(
                    sa.select(identity_provider.c.id)
                    .join(protocol, protocol.c.idp_id == identity_provider.c.id)
                    .where(identity_provider.c.enabled, protocol.c.id == protocol_id)
                )
            ]
    if found is None:
        known = [
            each for each in known if registrations.find(ctx.cloud, each) != registrations.NOTHING
        ]
    if len(known) != 1:
        raise Unauthorized(
            f"The protocol {protocol_id} alone does not tell the identity provider: use the URL "
            "that names it."
        )
    return _log_in(ctx, request, known[0], protocol_id)


def _log_in(ctx: Context, request: Request, idp_id: str, protocol_id: str) -> Response:
    form = _form(request)
    if request.query.get("state") or form.get("SAMLResponse"):
        return _come_back(ctx, request, idp_id, protocol_id, form)
    origin = _origin(ctx, request)
    found = methods.find_assertion(attempt(ctx, request), idp_id)
    if found is not None:
        return _hand_over(ctx, idp_id, protocol_id, found, origin)
    with ctx.cloud.database.read() as tx:
        providers.find_protocol(tx, idp_id, protocol_id)
    own = own_url(ctx, idp_id, protocol_id)
    started = websso.begin(ctx.cloud, idp_id, protocol_id, public_url(ctx), own, origin)
    return Response(
        302,
        headers={
            "Location": started.url,
            "Set-Cookie": started.cookie,
            "Cache-Control": "no-store",
        },
    )


def _come_back(
    ctx: Context, request: Request, idp_id: str, protocol_id: str, form: dict[str, str]
) -> Response:
    given = {name: values[0] for name, values in request.query.items()} | form
    own = own_url(ctx, idp_id, protocol_id)
    found, origin = websso.end(
        ctx.cloud, idp_id, protocol_id, public_url(ctx), own, request.headers, given
    )
    if not _is_trusted(ctx, origin):
        raise Unauthorized(f"{origin} is not a trusted dashboard host")
    answer = _hand_over(ctx, idp_id, protocol_id, found, origin)
    answer.headers["Set-Cookie"] = websso.forget_cookie(given, own)
    return answer


def _hand_over(
    ctx: Context, idp_id: str, protocol_id: str, found: Assertion, origin: str
) -> Response:
    """The page that brings a token to the dashboard."""
    proven = login.admit(ctx.cloud, idp_id, protocol_id, found)
    text = authentication.issue_proven(ctx.cloud, proven, methods.name_for(protocol_id))
    page = _PAGE.format(action=html.escape(origin, quote=True), token=html.escape(text, quote=True))
    target = urlsplit(origin)
    policy = (
        f"default-src 'none'; script-src 'unsafe-inline'; form-action {target.scheme}://"
        f"{target.netloc}; frame-ancestors 'none'"
    )
    headers = {
        "Cache-Control": "no-store",
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Subject-Token": text,
    }
    return Response(200, page.encode(), headers, "text/html; charset=utf-8")


def _origin(ctx: Context, request: Request) -> str:
    origin = request.first("origin")
    if not origin:
        raise BadRequest("Request must have an origin query parameter")
    if not _is_trusted(ctx, origin):
        raise Unauthorized(f"{origin} is not a trusted dashboard host")
    return origin


def _is_trusted(ctx: Context, origin: str) -> bool:
    """Is it one of the dashboards? The case of a host's name says nothing."""
    trusted = ctx.cloud.settings.federation.trusted_dashboards
    return _lower_host(origin) in {_lower_host(each) for each in trusted}


def _lower_host(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower()).geturl()


def own_url(ctx: Context, idp_id: str, protocol_id: str) -> str:
    """Where the identity provider sends people back to: registered there."""
    return (
        f"{public_url(ctx)}/identity/v3/auth/OS-FEDERATION/identity_providers/"
        f"{quote(idp_id, safe='')}/protocols/{quote(protocol_id, safe='')}/websso"
    )


def _form(request: Request) -> dict[str, str]:
    """The fields of a posted form; nothing for anything else."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    return {name: values[0] for name, values in parse_query(read_body(request)).items()}


def _routes() -> tuple[Route, ...]:
    start = "/auth/OS-FEDERATION"
    by_provider = f"{start}/identity_providers/{{idp_id}}/protocols/{{protocol_id}}/websso"
    found: list[Any] = [
        (by_provider, log_in),
        (f"{start}/websso/{{protocol_id}}", log_in_by_protocol),
    ]
    return tuple(
        Route(method=method, path=path, handler=handler, open=True, stream=True)
        for path, handler in found
        for method in ("GET", "POST")
    )


ROUTES = _routes()
