"""From a signature to the credentials of its maker: by the identity service's EC2 credentials, or
by the password of a user of the store's own (`object_store.users`), whose key is `account:user`.

A key is worth what its user is now. Access rules of an application credential that a key was made
with hold for its requests, and for what they lead to (rules.py).

In OpenStack: keystonemiddleware/s3_token.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from nubelet import identity
from nubelet.kernel.context import Context, Credentials
from nubelet.kernel.database import Tx
from nubelet.kernel.errors import Unauthorized
from nubelet.kernel.http.messages import Request
from nubelet.object_store.features import own_auth
from nubelet.object_store.features.authorization import Allow
from nubelet.object_store.s3 import hosts, signing
from nubelet.object_store.s3.errors import S3Error
from nubelet.object_store.s3.signing import Signature

# With keys that are temporary, which there are none of here.
_OF_TEMPORARY = "x-amz-security-token"


class Signed(NamedTuple):
    """Who signed. key: of version 4, for chunks that are signed one by one. allow: asks the access
    rules of who signed, if there are any."""

    signature: Signature
    credentials: Credentials
    key: bytes
    allow: Allow | None = None


def identify(ctx: Context, request: Request, bucket: str = "") -> Signed | None:
    """Who signed the request; None for an anonymous one. Raises S3Error."""
    if request.method == "OPTIONS":
        return None
    signature = signing.read(request, bucket)
    return verify(ctx, request, signature) if signature else None


def verify(ctx: Context, request: Request, signature: Signature) -> Signed:
    """Who made a signature; raises S3Error for one that nobody made who may."""
    found = _verify(ctx, request, signature)
    if any(name.lower() == _OF_TEMPORARY for name in (*request.headers, *request.query)):
        raise S3Error("InvalidToken")
    return found


def _verify(ctx: Context, request: Request, signature: Signature) -> Signed:
    own = own_auth.find_user(ctx.cloud.settings, signature.access)
    if own is not None:
        secret, credentials = own
        _check(signature, secret)
        return Signed(signature, credentials, _key(signature, secret))
    with ctx.cloud.database.read() as tx:
        found = identity.find_ec2_credential(ctx.cloud, tx, signature.access)
        if found is None:
            raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=signature.access)
        _check(signature, found.secret)
        try:
            credentials, allow = _worth(ctx, tx, found, request)
        except Unauthorized:
            raise S3Error("AccessDenied", "The key is not good for this any more.") from None
    return Signed(signature, credentials, _key(signature, found.secret), allow)


def _worth(
    ctx: Context, tx: Tx, found: identity.Ec2Credential, request: Request
) -> tuple[Credentials, Allow | None]:
    """What the bearer of a key may claim, and what asks its access rules, which allow the request;
    raises Unauthorized."""
    try:  # no rule allows what has no name, so who may do that has none
        return identity.authorize_ec2_credential(ctx.cloud, tx, found, ""), None
    except Unauthorized:
        credentials = identity.authorize_ec2_credential(ctx.cloud, tx, found, _route(ctx, request))
    return credentials, partial(_allow, ctx, found)


def _route(ctx: Context, request: Request) -> str:
    """The request as access rules name it; the host may name the bucket."""
    named = hosts.find(ctx.cloud, request.headers)
    path = f"/{named.bucket}{request.path}" if named and named.bucket else request.path
    if path != "/s3" and not path.startswith("/s3/"):  # a bucket may be called as other mounts
        path = f"/s3{path}"
    return f"{request.method} object-store {path}"


def _allow(ctx: Context, found: identity.Ec2Credential, route: str) -> None:
    with ctx.cloud.database.read() as tx:
        identity.authorize_ec2_credential(ctx.cloud, tx, found, route)


def _check(signature: Signature, secret: str) -> None:
    if not signature.fits(secret):
        told = signature.explain()
        raise S3Error("SignatureDoesNotMatch", AWSAccessKeyId=signature.access, **told)


def _key(signature: Signature, secret: str) -> bytes:
    return signature.signing_key(secret) if signature.scope else b""
