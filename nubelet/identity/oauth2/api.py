"""`/v3/OS-OAUTH2/token`. In OpenStack: keystone/api/os_oauth2.py."""

from __future__ import annotations

import base64
import binascii
from typing import NoReturn

from nubelet.identity import authentication, authenticator
from nubelet.identity.authentication import Proof
from nubelet.identity.methods import Attempt
from nubelet.identity.oauth2 import certificates
from nubelet.identity.tokens import Origin
from nubelet.kernel import clock
from nubelet.kernel.context import Context
from nubelet.kernel.errors import ApiError, BadRequest, Unauthorized
from nubelet.kernel.http.certificates import read as read_certificate
from nubelet.kernel.http.certificates import thumbprint
from nubelet.kernel.http.messages import Request, Response
from nubelet.kernel.http.routes import Route

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def create(ctx: Context, request: Request) -> object:
    """An access token (a token as any other) for client credentials: the secret of an application
    credential, or the certificate of a user."""
    form = request.body or {}
    grant = form.get("grant_type")
    if not grant:
        return _error(400, "invalid_request", "The parameter grant_type is required.")
    if grant != "client_credentials":
        return _error(400, "unsupported_grant_type", f"The grant type {grant} is not supported.")
    certificate = read_certificate(request.headers)
    try:
        if certificate is not None and form.get("client_id"):
            text = _by_certificate(ctx, form["client_id"], certificate)
        else:
            text = _by_secret(ctx, request, form)
    except Unauthorized:
        return _error(401, "invalid_client", "Client authentication failed.")
    except BadRequest as error:
        return _error(400, "invalid_request", error.message)
    except ApiError as error:
        return _error(error.status, "other_error", error.message)
    ends_at = authenticator.of(ctx.cloud).look_at(text).expires_at
    body = {
        "access_token": text,
        "token_type": "Bearer",
        "expires_in": max(0, (ends_at - clock.now()) // 1_000_000),
    }
    return Response(200, body, dict(_NO_STORE))


def _by_secret(ctx: Context, request: Request, form: dict[str, str]) -> str:
    identifier, secret = _client(request, form)
    return authentication.log_in(
        Attempt(cloud=ctx.cloud, headers={}, url=request.url),
        {
            "identity": {
                "methods": ["application_credential"],
                "application_credential": {"id": identifier, "secret": secret},
            }
        },
    )


def _by_certificate(ctx: Context, client_id: str, certificate: bytes) -> str:
    """A token that is good only together with the certificate."""
    with ctx.cloud.database.read() as tx:
        scope = certificates.scope_of_client(tx, client_id, certificate)
    origin = Origin(thumbprint=thumbprint(certificate))
    proof = Proof(client_id, ("oauth2_credential",), origin=origin)
    return authentication.issue(ctx.cloud, proof, scope)


def _client(request: Request, form: dict[str, str]) -> tuple[str, str]:
    """Id and secret, from the header Authorization or else from the form; raises Unauthorized."""
    kind, _, rest = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            identifier, _, secret = base64.b64decode(rest, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            _refuse()
    else:
        identifier, secret = form.get("client_id", ""), form.get("client_secret", "")
    if not identifier or not secret:
        _refuse()
    return identifier, secret


def _refuse() -> NoReturn:
    raise Unauthorized


def _error(status: int, code: str, description: str) -> Response:
    headers = dict(_NO_STORE)
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="identity"'
    return Response(status, {"error": code, "error_description": description}, headers)


ROUTES = (
    Route(
        method="POST",
        path="/OS-OAUTH2/token",
        handler=create,
        open=True,
        form=True,
        slow=True,
    ),
)
